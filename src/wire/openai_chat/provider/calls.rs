//! The calls of one choice, put together from fragments. Servers number them, or name them by id, or neither;
//! some give every call the number 0, some repeat id and name on each fragment. A call is opened when its
//! name is known, and closed as soon as its arguments are whole and another one begins.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::chunk::{Call, Custom, Function};
use crate::conversation::{CallKind, Content, Delta, Event, Format, Part, Seal, ToolCall};
use crate::wire::codec::Ids;
use crate::wire::fields::Fields;

/// The calls so far.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Begun>);

#[derive(Debug, Default)]
struct Begun {
    index: Option<u64>,
    /// The server's own; empty where it gave none.
    id: String,
    name: String,
    kind: CallKind,
    /// Known once the call is open.
    block: Option<u32>,
    /// What came before its name.
    held: String,
    whole: Whole,
    closed: bool,
}

/// Where events go.
pub(super) struct Sink<'o> {
    pub choice: u32,
    /// The number of the next block.
    pub next: &'o mut u32,
    pub out: &'o mut Vec<Event>,
}

/// A string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

/// Follows a JSON text as it comes, to see where its object ends.
#[derive(Debug, Default)]
struct Whole {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// Something other than blanks has come.
    begun: bool,
    done: bool,
}

/// One fragment of a call, whatever its kind.
struct Fragment<'t> {
    index: Option<u64>,
    id: &'t str,
    name: &'t str,
    arguments: Cow<'t, str>,
    kind: CallKind,
    seal: Option<String>,
}

impl Sink<'_> {
    /// Opens a block; its number.
    pub(super) fn open(&mut self, part: Part) -> u32 {
        let block = *self.next;
        *self.next = block.saturating_add(1);
        self.out.push(Event::Open { choice: self.choice, block, part });
        block
    }

    pub(super) fn delta(&mut self, block: u32, delta: Delta) {
        self.out.push(Event::Delta { choice: self.choice, block, delta });
    }

    pub(super) fn close(&mut self, block: u32) {
        self.out.push(Event::Close { choice: self.choice, block });
    }
}

impl Calls {
    /// Takes one fragment. `position` is its place in a list of whole calls.
    pub(super) fn take(
        &mut self,
        call: &Call<'_>,
        position: Option<u64>,
        ids: &mut Ids,
        sink: &mut Sink<'_>,
    ) {
        let fragment = Fragment::of(call, position);
        if fragment.is_stub() {
            return;
        }
        let at = self.place(&fragment);
        if at == self.0.len() {
            self.0.push(Begun { index: fragment.index, kind: fragment.kind, ..Begun::default() });
        }
        let taken = self.0.iter().take(at).any(|call| call.id == fragment.id);
        let Some(call) = self.0.get_mut(at) else { return };
        if call.id.is_empty() && !taken {
            fragment.id.clone_into(&mut call.id);
        }
        if call.name.is_empty() {
            fragment.name.clone_into(&mut call.name);
        }
        let opens = call.block.is_none() && !call.name.is_empty();
        if opens {
            for earlier in self.0.iter_mut().take(at).filter(|call| call.whole.done) {
                earlier.close(sink);
            }
        }
        if let Some(call) = self.0.get_mut(at) {
            if opens {
                call.open(ids, sink);
            }
            call.grow(&fragment, sink);
        }
    }

    /// Closes what is open. A call without arguments has the empty object.
    pub(super) fn close(&mut self, sink: &mut Sink<'_>) {
        self.0.iter_mut().for_each(|call| call.close(sink));
    }

    /// Whether a call was opened.
    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|call| call.block.is_some())
    }

    /// Which call a fragment belongs to; the length of the list for a new one.
    fn place(&self, fragment: &Fragment<'_>) -> usize {
        let new = self.0.len();
        let by_id = || {
            let known = !fragment.id.is_empty();
            known.then(|| self.0.iter().rposition(|call| call.id == fragment.id)).flatten()
        };
        match fragment.index {
            Some(index) => match self.0.iter().rposition(|call| call.index == Some(index)) {
                Some(at) if self.begins_anew(at, fragment) => by_id().unwrap_or(new),
                Some(at) => at,
                // A new number with no name continues the call whose id it has.
                None if fragment.name.is_empty() => by_id().unwrap_or(new),
                None => new,
            },
            None => by_id().unwrap_or_else(|| match new.checked_sub(1) {
                Some(last) if !self.begins_anew(last, fragment) => last,
                _ => new,
            }),
        }
    }

    /// Whether a fragment with the number of a call is another call all the same
    /// (<https://github.com/ollama/ollama/issues/15457>): it has a name, and an id of its own, or comes after
    /// that call was whole.
    fn begins_anew(&self, at: usize, fragment: &Fragment<'_>) -> bool {
        let Some(call) = self.0.get(at) else { return true };
        if fragment.name.is_empty() || call.name.is_empty() {
            return false;
        }
        if !fragment.id.is_empty() && !call.id.is_empty() {
            return fragment.id != call.id;
        }
        fragment.name != call.name || call.whole.done && !fragment.arguments.trim().is_empty()
    }
}

impl Begun {
    fn open(&mut self, ids: &mut Ids, sink: &mut Sink<'_>) {
        let id = if self.id.is_empty() { ids.call() } else { self.id.clone() };
        let (name, kind) = (self.name.clone(), self.kind);
        let call = ToolCall { id, name, kind, ..ToolCall::default() };
        let block = sink.open(Part::new(Content::ToolCall(call)));
        self.block = Some(block);
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            sink.delta(block, Delta::Arguments(held));
        }
    }

    fn grow(&mut self, fragment: &Fragment<'_>, sink: &mut Sink<'_>) {
        if self.closed {
            return;
        }
        let arguments = &*fragment.arguments;
        if !arguments.is_empty() {
            self.whole.follow(arguments);
            match self.block {
                Some(block) => sink.delta(block, Delta::Arguments(arguments.to_owned())),
                None => self.held.push_str(arguments),
            }
        }
        if let Some((block, data)) = self.block.zip(fragment.seal.clone()) {
            sink.delta(block, Delta::Seal(Seal { format: Format::Gemini, data }));
        }
    }

    fn close(&mut self, sink: &mut Sink<'_>) {
        let Some(block) = self.block.filter(|_| !self.closed) else { return };
        if !self.whole.begun && self.kind == CallKind::Function {
            sink.delta(block, Delta::Arguments("{}".to_owned()));
        }
        sink.close(block);
        self.closed = true;
    }
}

impl<'t> Fragment<'t> {
    fn of(call: &'t Call<'t>, position: Option<u64>) -> Self {
        let (name, arguments, kind) = match (&call.function, &call.custom) {
            (None, Some(Custom { name, input })) => {
                let input = Cow::Borrowed(input.as_deref().unwrap_or_default());
                (name.as_deref(), input, CallKind::Custom)
            }
            (Some(Function { name, arguments }), _) => {
                let arguments = arguments.map(text_of).unwrap_or_default();
                (name.as_deref(), arguments, CallKind::Function)
            }
            (None, None) => (None, Cow::default(), CallKind::Function),
        };
        Self {
            index: position.or(call.index),
            id: call.id.as_deref().unwrap_or_default(),
            name: name.unwrap_or_default(),
            arguments,
            kind,
            seal: call.extra_content.and_then(signature),
        }
    }

    /// Some servers send empty calls beside the real ones
    /// (<https://github.com/BerriAI/litellm/issues/17425>).
    fn is_stub(&self) -> bool {
        self.id.is_empty()
            && self.name.is_empty()
            && self.arguments.is_empty()
            && self.seal.is_none()
    }
}

impl Whole {
    fn follow(&mut self, text: &str) {
        for byte in text.bytes() {
            self.begun |= !byte.is_ascii_whitespace();
            if self.escaped {
                self.escaped = false;
            } else if self.in_string {
                self.escaped = byte == b'\\';
                self.in_string = byte != b'"';
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        self.done |= self.depth == 0;
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Arguments as text: the string, or the object that stands in its place.
fn text_of(raw: &RawValue) -> Cow<'_, str> {
    let text = raw.get();
    if !text.starts_with('"') {
        return if text == "null" { Cow::default() } else { text.into() };
    }
    serde_json::from_str::<Text<'_>>(text).map(|text| text.0).unwrap_or_default()
}

/// Gemini's thought signature
/// (<https://ai.google.dev/gemini-api/docs/thought-signatures#openai>).
fn signature(raw: &RawValue) -> Option<String> {
    let mut google = Fields::of(raw)?.inner("google")?;
    google.text("thought_signature").filter(|signature| !signature.is_empty())
}
