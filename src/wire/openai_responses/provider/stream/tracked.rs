//! One output item of a stream: what of it has been told already, so that what comes again, in a `done` event or
//! in the last one, adds only what is missing. It knows nothing of the events' names.

use super::super::output::{self, Item};
use super::call::Call;
use super::thought::Thought;
use super::{Teller, grow};
use crate::conversation::{Annotation, CallKind, Content, Delta, Event, Extras, Json, Part};
use crate::ground::fault::Fault;

/// An item as far as it has come.
#[derive(Debug)]
pub(super) struct Tracked {
    pub index: Option<u64>,
    pub id: Option<String>,
    what: What,
    pub is_done: bool,
}

#[derive(Debug)]
pub(super) enum What {
    Message { extras: Extras, texts: Vec<Text> },
    Reasoning(Thought),
    Call(Call),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Reasoning,
    Call(CallKind),
    Other,
}

/// One content part of a message, opened with its first words.
#[derive(Debug)]
pub(super) struct Text {
    /// Its place in the content.
    place: u64,
    is_refusal: bool,
    block: u32,
    /// Bytes told so far.
    told: usize,
    annotations: usize,
    measured: bool,
}

impl Kind {
    pub(super) fn of(item: &Item) -> Self {
        match &item.what {
            output::What::Message { .. } => Self::Message,
            output::What::Reasoning(_) => Self::Reasoning,
            output::What::Call { call, .. } => Self::Call(call.kind),
            output::What::Other(_) => Self::Other,
        }
    }
}

impl What {
    pub(super) fn of(item: &Item) -> Self {
        Self::new(Kind::of(item))
    }

    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Message => Self::Message { extras: Extras::default(), texts: Vec::new() },
            Kind::Reasoning => Self::Reasoning(Thought::default()),
            Kind::Call(kind) => Self::Call(Call::new(kind)),
            Kind::Other => Self::Other,
        }
    }
}

impl Tracked {
    pub(super) fn new(index: Option<u64>, id: Option<String>, what: What) -> Self {
        Self { index, id, what, is_done: false }
    }

    pub(super) fn kind(&self) -> Kind {
        match &self.what {
            What::Message { .. } => Kind::Message,
            What::Reasoning(_) => Kind::Reasoning,
            What::Call(call) => Kind::Call(call.kind()),
            What::Other => Kind::Other,
        }
    }

    /// The item begins: a call is shown at once, the others with their first content.
    pub(super) fn announced(&mut self, item: Item, teller: &mut Teller, out: &mut Vec<Event>) {
        match (&mut self.what, item.what) {
            (What::Message { extras, texts }, output::What::Message { extras: own, .. })
                if texts.is_empty() =>
            {
                *extras = own;
            }
            (What::Call(call), output::What::Call { call: head, named }) => {
                call.learn(head, named);
                call.open(teller, out);
            }
            _ => {}
        }
    }

    /// The item is there as a whole: tells what has not come before, and closes it.
    pub(super) fn completed(&mut self, item: Item, teller: &mut Teller, out: &mut Vec<Event>) {
        if self.is_done {
            return;
        }
        match (&mut self.what, item.what) {
            (What::Message { extras, .. }, output::What::Message { parts, extras: own }) => {
                if extras.is_empty() {
                    *extras = own;
                }
                self.complete_message(parts, teller, out);
            }
            (What::Reasoning(thought), output::What::Reasoning(reasoning)) => {
                thought.complete(reasoning, self.id.as_deref(), teller, out);
            }
            (What::Call(call), output::What::Call { call: head, named }) => {
                let arguments = head.arguments.clone();
                call.learn(head, named);
                call.open(teller, out);
                call.tell_all(&arguments, out);
                if !call.is_named() {
                    // The last event may know the name.
                    return;
                }
            }
            (What::Other, output::What::Other(part)) => {
                let block = teller.block();
                out.push(Event::Open { choice: 0, block, part: *part });
                out.push(Event::Close { choice: 0, block });
            }
            _ => {}
        }
        // Named by now, if it is a call.
        let _ = self.close(teller, out);
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// `UpstreamGarbage`: a call whose tool was never named.
    pub(super) fn close(&mut self, teller: &mut Teller, out: &mut Vec<Event>) -> Result<(), Fault> {
        if std::mem::replace(&mut self.is_done, true) {
            return Ok(());
        }
        let mut close = |block| out.push(Event::Close { choice: 0, block });
        match &mut self.what {
            What::Message { texts, .. } => texts.iter().for_each(|text| close(text.block)),
            What::Reasoning(thought) => thought.block().into_iter().for_each(close),
            What::Call(call) => return call.close(teller, out),
            What::Other => {}
        }
        Ok(())
    }

    /// More of a text or a refusal.
    pub(super) fn say(
        &mut self,
        place: u64,
        is_refusal: bool,
        more: &str,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        let What::Message { extras, texts } = &mut self.what else { return };
        if self.is_done || more.is_empty() {
            return;
        }
        let known =
            texts.iter().position(|text| text.place == place && text.is_refusal == is_refusal);
        let known = known.unwrap_or_else(|| {
            let part = if is_refusal {
                Part::new(Content::Refusal(String::new()))
            } else {
                Part::text("")
            };
            let block = teller.block();
            let part = Part { extras: extras.clone(), ..part };
            out.push(Event::Open { choice: 0, block, part });
            let text = Text { place, is_refusal, block, told: 0, annotations: 0, measured: false };
            texts.push(text);
            texts.len() - 1
        });
        if let Some(text) = texts.get_mut(known) {
            text.told += more.len();
            grow(text.block, Delta::Text(more.to_owned()), out);
        }
    }

    /// The whole of a text or a refusal: its end may be new.
    pub(super) fn say_all(
        &mut self,
        place: u64,
        is_refusal: bool,
        whole: &str,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        let told = self.text(place, is_refusal).map_or(0, |text| text.told);
        self.say(place, is_refusal, rest(whole, told), teller, out);
    }

    pub(super) fn measure(&mut self, place: u64, logprobs: Json, out: &mut Vec<Event>) {
        if let Some(text) = self.text(place, false) {
            text.measured = true;
            grow(text.block, Delta::Logprobs(logprobs), out);
        }
    }

    pub(super) fn cite(&mut self, place: u64, annotation: Annotation, out: &mut Vec<Event>) {
        if let Some(text) = self.text(place, false) {
            text.annotations += 1;
            grow(text.block, Delta::Annotation(annotation), out);
        }
    }

    pub(super) fn summarise(
        &mut self,
        index: u32,
        more: &str,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        let is_done = self.is_done;
        if let What::Reasoning(thought) = &mut self.what
            && !is_done
        {
            thought.summarise(index, more, self.id.as_deref(), teller, out);
        }
    }

    pub(super) fn summarise_all(
        &mut self,
        index: u32,
        whole: &str,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        let What::Reasoning(thought) = &self.what else { return };
        let more = rest(whole, thought.summarised(index)).to_owned();
        if !more.is_empty() {
            self.summarise(index, &more, teller, out);
        }
    }

    pub(super) fn think(
        &mut self,
        place: u64,
        more: &str,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        let is_done = self.is_done;
        if let What::Reasoning(thought) = &mut self.what
            && !is_done
        {
            thought.think(place, more, self.id.as_deref(), teller, out);
        }
    }

    /// The whole of a thought, where nothing of that part has come.
    pub(super) fn think_once(
        &mut self,
        place: u64,
        whole: &str,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        let What::Reasoning(thought) = &self.what else { return };
        if thought.is_new(place) {
            self.think(place, whole, teller, out);
        }
    }

    pub(super) fn named(&mut self, name: &str, teller: &mut Teller, out: &mut Vec<Event>) {
        if let What::Call(call) = &mut self.what {
            call.name(name, self.id.as_deref(), teller, out);
        }
    }

    pub(super) fn argue(&mut self, more: &str, out: &mut Vec<Event>) {
        let is_done = self.is_done;
        if let What::Call(call) = &mut self.what
            && !is_done
        {
            call.tell(more, out);
        }
    }

    pub(super) fn argue_all(&mut self, whole: &str, out: &mut Vec<Event>) {
        let is_done = self.is_done;
        if let What::Call(call) = &mut self.what
            && !is_done
        {
            call.tell_all(whole, out);
        }
    }

    /// A content part that may still grow.
    fn text(&mut self, place: u64, is_refusal: bool) -> Option<&mut Text> {
        let What::Message { texts, .. } = &mut self.what else { return None };
        if self.is_done {
            return None;
        }
        texts.iter_mut().find(|text| text.place == place && text.is_refusal == is_refusal)
    }

    fn complete_message(
        &mut self,
        parts: Vec<(u64, Part)>,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        // A server that counts content differently in both places means the only one there is.
        let only = match &self.what {
            What::Message { texts, .. } if texts.len() == 1 && parts.len() == 1 => {
                texts.first().map(|text| text.place)
            }
            _ => None,
        };
        for (place, part) in parts {
            let place = only.unwrap_or(place);
            match part.content {
                Content::Refusal(text) => self.say_all(place, true, &text, teller, out),
                Content::Text { text, annotations, logprobs } => {
                    self.say_all(place, false, &text, teller, out);
                    let told = self.text(place, false);
                    let (told, measured) =
                        told.map_or((0, false), |text| (text.annotations, text.measured));
                    if let Some(logprobs) = logprobs.filter(|_| !measured) {
                        self.measure(place, logprobs, out);
                    }
                    for annotation in annotations.into_iter().skip(told) {
                        self.cite(place, annotation, out);
                    }
                }
                _ => {}
            }
        }
    }
}

/// What of a whole text has not been told.
pub(super) fn rest(whole: &str, told: usize) -> &str {
    whole.get(told..).unwrap_or_default()
}
