//! Reading Anthropic's stream (<https://docs.anthropic.com/en/docs/build-with-claude/streaming>). Blocks of
//! Anthropic's own are gathered until they are whole; everything else is passed on as it comes. Only
//! `message_stop` ends an answer.

use serde_json::value::RawValue;

use super::super::types::{self, Object};
use super::answer::{self, Begun};
use crate::conversation::{Content, Delta, Event, Finish, Format, Json, Part, Seal};
use crate::wire::anthropic_usage::Counts;
use crate::wire::codec::{self, Decode, Frame, ReplyContext};
use crate::wire::fields::Fields;

/// Begins to read.
pub(super) fn stream(context: ReplyContext) -> Box<dyn Decode> {
    Box::new(Decoder { json_tool: context.json_tool, ..Decoder::default() })
}

#[derive(Default)]
struct Decoder {
    json_tool: Option<String>,
    counts: Counts,
    finish: Option<Finish>,
    has_calls: bool,
    /// The number of the next block.
    next: u32,
    live: Vec<Live>,
    /// `message_stop` has come.
    stopped: bool,
    failed: bool,
}

/// A block that has begun and not stopped.
struct Live {
    index: u64,
    begun: Begun,
    /// What it began with: what is not passed on yet.
    part: Part,
    /// Its number, once it is opened.
    block: Option<u32>,
    /// Its call is the answer's text.
    is_answer: bool,
    /// Arguments have come as deltas, or the input of a block of Anthropic's own.
    input: String,
    has_input: bool,
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) {
        if self.failed || self.stopped {
            return;
        }
        // An event may be empty, and compatible servers end as OpenAI's do.
        if matches!(frame.data.trim_ascii(), b"" | b"[DONE]") {
            return;
        }
        let Some(mut fields) = Fields::of_bytes(frame.data) else {
            let what = "The provider sent an event that is not the JSON object it should be.";
            return self.fail(Event::Fail(codec::garbage(what)), out);
        };
        let kind = fields.text("type").unwrap_or_else(|| frame.name.to_owned());
        match kind.as_str() {
            "message_start" => {
                let mut message = fields.inner("message").unwrap_or_default();
                let (head, counts) = answer::head(&mut message);
                self.counts = counts;
                out.push(Event::Begin(head));
                self.tell_usage(out);
            }
            "content_block_start" => self.start(&mut fields, out),
            "content_block_delta" => self.delta(&mut fields, out),
            "content_block_stop" => {
                let index = fields.whole("index").unwrap_or_default();
                if let Some(at) = self.live.iter().position(|live| live.index == index) {
                    let live = self.live.remove(at);
                    self.stop(live, out);
                }
            }
            "message_delta" => {
                if let Some(mut delta) = fields.inner("delta") {
                    self.finish = answer::finish(&mut delta).or(self.finish.take());
                }
                if let Some(usage) = fields.inner("usage") {
                    self.counts.learn(usage);
                    self.tell_usage(out);
                }
            }
            "message_stop" => self.message_stop(out),
            "error" => {
                let fault = types::told(fields.take("error"));
                self.fail(Event::Fail(fault), out);
            }
            // `ping`, and what is newer than this.
            _ => {}
        }
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        if !self.stopped && !self.failed {
            self.fail(Event::Fail(codec::broke_off()), out);
        }
    }

    fn is_terminated(&self) -> bool {
        self.stopped
    }
}

impl Decoder {
    fn fail(&mut self, event: Event, out: &mut Vec<Event>) {
        self.failed = true;
        out.push(event);
    }

    fn tell_usage(&self, out: &mut Vec<Event>) {
        let usage = self.counts.usage();
        if !usage.is_empty() {
            out.push(Event::Usage(usage));
        }
    }

    fn start(&mut self, fields: &mut Fields<'_>, out: &mut Vec<Event>) {
        let index = fields.whole("index").unwrap_or_default();
        let Some((part, begun)) = fields.take("content_block").and_then(answer::begun) else {
            return;
        };
        // One that never stopped before its index came again is as good as stopped.
        if let Some(at) = self.live.iter().position(|live| live.index == index) {
            let live = self.live.remove(at);
            self.stop(live, out);
        }
        self.begin(index, part, begun, out);
    }

    fn begin(&mut self, index: u64, mut part: Part, begun: Begun, out: &mut Vec<Event>) {
        let mut is_answer = false;
        let mut input = String::new();
        if let Content::ToolCall(call) = &mut part.content {
            // It counts only where no deltas come: they begin anew.
            input = std::mem::take(&mut call.arguments);
            is_answer = self.json_tool.as_ref() == Some(&call.name);
        }
        let (block, has_input) = (None, false);
        let mut live = Live { index, begun, part, block, is_answer, input, has_input };
        match begun {
            Begun::Call if is_answer => live.part = Part::text(""),
            Begun::Call => {
                self.has_calls = true;
                self.open(&mut live, out);
            }
            Begun::Text | Begun::Thinking | Begun::Whole if !answer::says_nothing(&live.part) => {
                self.open(&mut live, out);
            }
            _ => {}
        }
        self.live.push(live);
    }

    fn delta(&mut self, fields: &mut Fields<'_>, out: &mut Vec<Event>) {
        let index = fields.whole("index").unwrap_or_default();
        let Some(raw) = fields.take("delta") else { return };
        let Some(mut delta) = Fields::of(raw) else { return };
        let kind = delta.text("type").unwrap_or_default();
        let at = match self.live.iter().position(|live| live.index == index) {
            Some(at) => at,
            None => match unannounced(&kind) {
                Some((part, begun)) => {
                    self.begin(index, part, begun, out);
                    self.live.len().saturating_sub(1)
                }
                None => return,
            },
        };
        // Taken out and put back, as it may be opened on the way.
        let mut live = self.live.swap_remove(at);
        self.grow(&mut live, &kind, delta, raw, out);
        self.live.push(live);
    }

    fn grow(
        &mut self,
        live: &mut Live,
        kind: &str,
        mut delta: Fields<'_>,
        raw: &RawValue,
        out: &mut Vec<Event>,
    ) {
        match (kind, live.begun) {
            ("text_delta", Begun::Text) => {
                let text = delta.text("text").unwrap_or_default();
                self.pass(live, Delta::Text(text), out);
            }
            ("thinking_delta", Begun::Thinking) => {
                let text = delta.text("thinking").unwrap_or_default();
                self.pass(live, Delta::Text(text), out);
            }
            ("signature_delta", Begun::Thinking) => {
                let data = delta.text("signature").filter(|data| !data.is_empty());
                if let Some(data) = data {
                    let seal = Seal { format: Format::Anthropic, data };
                    self.pass(live, Delta::Seal(seal), out);
                }
            }
            ("citations_delta", Begun::Text) => {
                let citation = delta.json("citation");
                for annotation in citation.iter().flat_map(types::citation) {
                    self.pass(live, Delta::Annotation(annotation), out);
                }
            }
            ("input_json_delta", Begun::Call) => {
                let text = delta.text("partial_json").unwrap_or_default();
                live.has_input |= !text.is_empty();
                let delta = match live.is_answer {
                    true => Delta::Text(text),
                    false => Delta::Arguments(text),
                };
                self.pass(live, delta, out);
            }
            ("input_json_delta", Begun::Foreign) => {
                live.input.push_str(&delta.text("partial_json").unwrap_or_default());
            }
            (_, Begun::Foreign) => {
                if let Content::Foreign { value, .. } = &mut live.part.content {
                    *value = overlaid(value, raw);
                }
            }
            _ => {}
        }
    }

    /// Passes a delta on, after the block is opened. Empty texts say nothing.
    fn pass(&mut self, live: &mut Live, delta: Delta, out: &mut Vec<Event>) {
        if matches!(&delta, Delta::Text(text) | Delta::Arguments(text) if text.is_empty()) {
            return;
        }
        let block = self.open(live, out);
        out.push(Event::Delta { choice: 0, block, delta });
    }

    /// Opens the block, once, and tells its number.
    fn open(&mut self, live: &mut Live, out: &mut Vec<Event>) -> u32 {
        if let Some(block) = live.block {
            return block;
        }
        let block = self.next;
        self.next = self.next.saturating_add(1);
        live.block = Some(block);
        out.push(Event::Open { choice: 0, block, part: live.part.clone() });
        block
    }

    fn stop(&mut self, mut live: Live, out: &mut Vec<Event>) {
        match live.begun {
            Begun::Call if !live.has_input => {
                let input = std::mem::take(&mut live.input);
                let delta = match live.is_answer {
                    true => Delta::Text(input),
                    false => Delta::Arguments(input),
                };
                self.pass(&mut live, delta, out);
            }
            Begun::Foreign => {
                if let Content::Foreign { value, .. } = &mut live.part.content
                    && let Some(input) = Json::parse(std::mem::take(&mut live.input))
                {
                    *value = with_input(value, input);
                }
                self.open(&mut live, out);
            }
            _ => {}
        }
        if let Some(block) = live.block {
            out.push(Event::Close { choice: 0, block });
        }
    }

    fn message_stop(&mut self, out: &mut Vec<Event>) {
        for live in std::mem::take(&mut self.live) {
            self.stop(live, out);
        }
        let finish = self.finish.take().unwrap_or(Finish::Stop);
        out.push(Event::Finish { choice: 0, finish: finish.with_calls(self.has_calls) });
        self.stopped = true;
    }
}

/// What a delta is of whose block was never announced, as some servers do.
fn unannounced(kind: &str) -> Option<(Part, Begun)> {
    match kind {
        "text_delta" => Some((Part::text(""), Begun::Text)),
        "thinking_delta" => Some((Part::reasoning(<_>::default()), Begun::Thinking)),
        _ => None,
    }
}

/// A block with its input.
fn with_input(block: &Json, input: Json) -> Json {
    let mut fields = Fields::of(block.as_raw()).unwrap_or_default();
    let mut all = Object::default();
    let members: Vec<(String, Json)> =
        fields.iter().map(|(name, raw)| (name.to_owned(), Json::of_raw(raw))).collect();
    let had_input = fields.take("input").is_some();
    for (name, value) in members {
        let value = if name == "input" { input.clone() } else { value };
        all.push(name, value);
    }
    if had_input { all.json() } else { all.with("input", input).json() }
}

/// A block of Anthropic's own with what a delta of its own adds: texts grow, anything else replaces.
fn overlaid(block: &Json, delta: &RawValue) -> Json {
    let mut all: serde_json::Map<String, serde_json::Value> = block.read().unwrap_or_default();
    let more: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(delta.get()).unwrap_or_default();
    for (name, value) in more.into_iter().filter(|(name, _)| name != "type") {
        match (all.get_mut(&name), value) {
            (Some(serde_json::Value::String(text)), serde_json::Value::String(more)) => {
                text.push_str(&more);
            }
            (_, value) => {
                all.insert(name, value);
            }
        }
    }
    Json::of(&all)
}
