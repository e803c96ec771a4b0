//! A streamed answer, read event by event. OpenAI's own streams announce every item, tell it in deltas and
//! repeat it whole; other servers leave out the announcement, the deltas, the repetition, the ids, the indexes,
//! or put the items into the last event only (codex#12798, llm-rosetta#56, litellm#19368, litellm#27144,
//! litellm#32724). Whatever comes first is told, and whatever comes again is compared and completed, never
//! told twice. Events: <https://platform.openai.com/docs/api-reference/responses-streaming>.

mod call;
mod thought;
mod tracked;

use super::super::super::codec::{Decode, Frame, Ids, ReplyContext, broke_off, garbage};
use super::super::super::fields::Fields;
use super::super::citation;
use super::error;
use super::output::{self, Item};
use crate::conversation::{CallKind, Delta, Event, Head};
use crate::ground::fault::Fault;
use tracked::{Kind, Tracked, What};

/// Begins to read a streamed answer.
pub(super) fn begin(context: ReplyContext) -> Box<dyn Decode> {
    Box::new(Stream {
        teller: Teller { ids: context.ids, ..Teller::default() },
        ..Stream::default()
    })
}

#[derive(Default)]
struct Stream {
    teller: Teller,
    /// In the order in which they appeared.
    items: Vec<Tracked>,
    begun: bool,
    is_terminated: bool,
    failed: bool,
}

/// Hands out the numbers of blocks and the ids of calls.
#[derive(Default)]
struct Teller {
    ids: Ids,
    next_block: u32,
    calls: bool,
}

/// Which item an event is about, as far as it says.
#[derive(Debug, Default)]
struct At {
    index: Option<u64>,
    id: Option<String>,
}

impl Decode for Stream {
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) {
        if self.is_terminated || self.failed {
            return;
        }
        let data = frame.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return;
        }
        let Some(mut fields) = Fields::of_bytes(data) else {
            return self
                .fail(garbage("The provider's stream holds an event that is not JSON."), out);
        };
        // The type within counts; the event's name stands in for it.
        let kind = fields.text("type").unwrap_or_else(|| frame.name.to_owned());
        self.event(&kind, fields, out);
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        if !self.is_terminated && !self.failed {
            self.fail(broke_off(), out);
        }
    }

    fn is_terminated(&self) -> bool {
        self.is_terminated
    }
}

impl Stream {
    fn event(&mut self, kind: &str, mut fields: Fields<'_>, out: &mut Vec<Event>) {
        match kind {
            "response.created" | "response.in_progress" | "response.queued" => {
                let mut response = fields.inner("response").unwrap_or_default();
                // What tier it came to is known at the end.
                let head = Head { service_tier: None, ..output::head(&mut response) };
                self.begin(head, out);
            }
            "response.output_item.added" => self.added(fields, out),
            "response.output_item.done" => self.done(fields, out),
            "response.output_text.delta" => self.text(fields, false, out),
            "response.refusal.delta" => self.text(fields, true, out),
            "response.output_text.done" => self.whole_text(fields, false, out),
            "response.refusal.done" => self.whole_text(fields, true, out),
            "response.output_text.annotation.added" => self.annotation(fields, out),
            "response.reasoning_summary_text.delta" | "response.reasoning_summary_text.done" => {
                self.summary(fields, out);
            }
            "response.reasoning_text.delta" | "response.reasoning_text.done" => {
                self.thought(fields, out);
            }
            "response.function_call_arguments.delta" | "response.function_call_arguments.done" => {
                self.arguments(fields, CallKind::Function, out);
            }
            "response.custom_tool_call_input.delta" | "response.custom_tool_call_input.done" => {
                self.arguments(fields, CallKind::Custom, out);
            }
            "response.completed" | "response.done" => self.terminal(fields, false, out),
            "response.incomplete" => self.terminal(fields, true, out),
            "response.failed" | "response.cancelled" => {
                let told =
                    fields.inner("response").and_then(|mut response| response.inner("error"));
                self.fail(told.map_or_else(error::unexplained, error::read), out);
            }
            "error" => {
                let told = fields.inner("error").unwrap_or(fields);
                self.fail(error::read(told), out);
            }
            // A bare error object, as gateways and vLLM put into a stream.
            "" | "message" => {
                if let Some(told) = fields.inner("error") {
                    self.fail(error::read(told), out);
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, head: Head, out: &mut Vec<Event>) {
        if !self.begun {
            self.begun = true;
            out.push(Event::Begin(head));
        }
    }

    fn fail(&mut self, fault: Fault, out: &mut Vec<Event>) {
        self.failed = true;
        out.push(Event::Fail(fault));
    }

    fn added(&mut self, mut fields: Fields<'_>, out: &mut Vec<Event>) {
        let at = At::of(&mut fields);
        let Some(item) = fields.take("item").and_then(output::item) else { return };
        self.begin(Head::default(), out);
        let at = at.with(&item);
        let known = at.id.is_some().then(|| self.by_id(&at)).flatten();
        let number = known.unwrap_or_else(|| self.track(at, What::of(&item)));
        if let Some(tracked) = self.items.get_mut(number) {
            tracked.announced(item, &mut self.teller, out);
        }
    }

    fn done(&mut self, mut fields: Fields<'_>, out: &mut Vec<Event>) {
        let at = At::of(&mut fields);
        let Some(item) = fields.take("item").and_then(output::item) else { return };
        self.begin(Head::default(), out);
        let at = at.with(&item);
        let known = self.by_id(&at).or_else(|| self.by_index(&at, Kind::of(&item)));
        self.complete(known, at, item, out);
    }

    fn complete(&mut self, known: Option<usize>, at: At, item: Item, out: &mut Vec<Event>) {
        let number = known.unwrap_or_else(|| self.track(at, What::of(&item)));
        if let Some(tracked) = self.items.get_mut(number) {
            tracked.completed(item, &mut self.teller, out);
        }
    }

    fn text(&mut self, mut fields: Fields<'_>, is_refusal: bool, out: &mut Vec<Event>) {
        let Some(text) = fields.text("delta") else { return };
        let place = fields.whole("content_index").unwrap_or_default();
        let logprobs = output::logprobs(&mut fields);
        let (tracked, teller) = self.current(&mut fields, Kind::Message, out);
        tracked.say(place, is_refusal, &text, teller, out);
        if let Some(logprobs) = logprobs {
            tracked.measure(place, logprobs, out);
        }
    }

    fn whole_text(&mut self, mut fields: Fields<'_>, is_refusal: bool, out: &mut Vec<Event>) {
        let name = if is_refusal { "refusal" } else { "text" };
        let Some(text) = fields.text(name) else { return };
        let place = fields.whole("content_index").unwrap_or_default();
        let (tracked, teller) = self.current(&mut fields, Kind::Message, out);
        tracked.say_all(place, is_refusal, &text, teller, out);
    }

    fn annotation(&mut self, mut fields: Fields<'_>, out: &mut Vec<Event>) {
        let Some(annotation) = fields.take("annotation").map(citation::read) else { return };
        let place = fields.whole("content_index").unwrap_or_default();
        let (tracked, _) = self.current(&mut fields, Kind::Message, out);
        tracked.cite(place, annotation, out);
    }

    fn summary(&mut self, mut fields: Fields<'_>, out: &mut Vec<Event>) {
        let (delta, whole) = (fields.text("delta"), fields.text("text"));
        let index = fields.whole("summary_index").unwrap_or_default();
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let (tracked, teller) = self.current(&mut fields, Kind::Reasoning, out);
        match (delta, whole) {
            (Some(delta), _) => tracked.summarise(index, &delta, teller, out),
            (None, Some(whole)) => tracked.summarise_all(index, &whole, teller, out),
            (None, None) => {}
        }
    }

    fn thought(&mut self, mut fields: Fields<'_>, out: &mut Vec<Event>) {
        let (delta, whole) = (fields.text("delta"), fields.text("text"));
        let place = fields.whole("content_index").unwrap_or_default();
        let (tracked, teller) = self.current(&mut fields, Kind::Reasoning, out);
        match (delta, whole) {
            (Some(delta), _) => tracked.think(place, &delta, teller, out),
            (None, Some(whole)) => tracked.think_once(place, &whole, teller, out),
            (None, None) => {}
        }
    }

    fn arguments(&mut self, mut fields: Fields<'_>, kind: CallKind, out: &mut Vec<Event>) {
        let delta = fields.text("delta");
        let name = fields.text("name");
        let field = if kind == CallKind::Custom { "input" } else { "arguments" };
        let whole = output::json_text(&mut fields, field);
        let (tracked, teller) = self.current(&mut fields, Kind::Call(kind), out);
        if let Some(name) = name {
            tracked.named(&name, teller, out);
        }
        match (delta, whole) {
            (Some(delta), _) => tracked.argue(&delta, out),
            (None, Some(whole)) => tracked.argue_all(&whole, out),
            (None, None) => {}
        }
    }

    fn terminal(&mut self, mut fields: Fields<'_>, is_incomplete: bool, out: &mut Vec<Event>) {
        let mut response = fields.inner("response").unwrap_or_default();
        self.begin(Head::default(), out);
        if let Some(told) = response.inner("error") {
            return self.fail(error::read(told), out);
        }
        let searches = output::searches(&response);
        self.settle(&mut response, out);
        for tracked in &mut self.items {
            if let Err(fault) = tracked.close(&mut self.teller, out) {
                return self.fail(fault, out);
            }
        }
        let finish = output::finish(&mut response, is_incomplete).with_calls(self.teller.calls);
        let usage = output::usage(&mut response, searches);
        out.push(Event::Begin(output::head(&mut response)));
        out.extend(usage.map(Event::Usage));
        out.push(Event::Finish { choice: 0, finish });
        self.is_terminated = true;
    }

    /// Compares the whole output with what has come, and tells what has not.
    fn settle(&mut self, response: &mut Fields<'_>, out: &mut Vec<Event>) {
        let mut seen: Vec<Kind> = Vec::new();
        for (index, raw) in (0..).zip(response.items("output")) {
            let Some(item) = output::item(raw) else { continue };
            let kind = Kind::of(&item);
            let before = seen.iter().filter(|seen| **seen == kind).count();
            seen.push(kind);
            let at = At { index: Some(index), id: item.id.clone() };
            let known = self
                .by_id(&at)
                .or_else(|| self.first_at(index, kind))
                .or_else(|| self.by_order(kind, before));
            self.complete(known, at, item, out);
        }
    }

    /// The item that an event without the item itself is about: the one it names, else the last one of its
    /// kind that is not done, else a new one.
    fn current(
        &mut self,
        fields: &mut Fields<'_>,
        kind: Kind,
        out: &mut Vec<Event>,
    ) -> (&mut Tracked, &mut Teller) {
        self.begin(Head::default(), out);
        let at = At::of(fields);
        let is_open = |tracked: &Tracked| tracked.kind() == kind && !tracked.is_done;
        let named = self
            .by_id(&at)
            .filter(|number| self.items.get(*number).is_some_and(|tracked| tracked.kind() == kind));
        let number = named.or_else(|| self.by_index(&at, kind)).or_else(|| {
            let silent = at.id.is_none() && at.index.is_none();
            silent.then(|| self.items.iter().rposition(is_open)).flatten()
        });
        let number = number.unwrap_or_else(|| self.track(at, What::new(kind)));
        // Tracked just now, or found in the list.
        #[expect(clippy::indexing_slicing, reason = "the number is that of an item in the list")]
        (&mut self.items[number], &mut self.teller)
    }

    fn track(&mut self, at: At, what: What) -> usize {
        self.items.push(Tracked::new(at.index, at.id, what));
        self.items.len() - 1
    }

    fn by_id(&self, at: &At) -> Option<usize> {
        let id = at.id.as_ref()?;
        self.items.iter().position(|tracked| tracked.id.as_ref() == Some(id))
    }

    /// The last one at an index: servers without indexes give all of them the same.
    fn by_index(&self, at: &At, kind: Kind) -> Option<usize> {
        let index = at.index?;
        self.items
            .iter()
            .rposition(|tracked| tracked.index == Some(index) && tracked.kind() == kind)
    }

    fn first_at(&self, index: u64, kind: Kind) -> Option<usize> {
        self.items.iter().position(|tracked| tracked.index == Some(index) && tracked.kind() == kind)
    }

    fn by_order(&self, kind: Kind, before: usize) -> Option<usize> {
        let mut same = (0..).zip(&self.items).filter(|(_, tracked)| tracked.kind() == kind);
        same.nth(before).map(|(number, _)| number)
    }
}

impl Teller {
    fn block(&mut self) -> u32 {
        let block = self.next_block;
        self.next_block = block.saturating_add(1);
        block
    }
}

impl At {
    fn of(fields: &mut Fields<'_>) -> Self {
        let id = fields.text("item_id").filter(|id| !id.is_empty());
        Self { index: fields.whole("output_index"), id }
    }

    fn with(self, item: &Item) -> Self {
        Self { id: self.id.or_else(|| item.id.clone()), ..self }
    }
}

fn grow(block: u32, delta: Delta, out: &mut Vec<Event>) {
    out.push(Event::Delta { choice: 0, block, delta });
}

/// A call that nobody can answer.
fn nameless() -> Fault {
    garbage("The provider's answer calls a tool without saying which.")
}
