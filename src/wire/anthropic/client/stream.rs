//! A streamed answer in Anthropic's order: `message_start`, blocks one after the other, `message_delta`,
//! `message_stop` (<https://docs.anthropic.com/en/docs/build-with-claude/streaming>). Blocks may not overlap
//! here, so what comes for a later one waits until the block before it is closed.

use std::collections::VecDeque;
use std::mem;

use super::super::types::{self, Node, Object};
use super::{error, reply, served};
use crate::conversation::served::{Served, ServedCall};
use crate::conversation::{
    Content, Delta, Event, Finish, Format, Head, Json, Part, Reasoning, ToolCall, Usage,
};
use crate::wire::codec::{self, Echo, Encode, Stamp};
use crate::wire::fields::Fields;

/// Begins a stream.
pub(super) fn stream(_echo: Echo, stamp: Stamp) -> Box<dyn Encode> {
    Box::new(Encoder { stamp, ..Encoder::default() })
}

#[derive(Default)]
struct Encoder {
    stamp: Stamp,
    head: Head,
    usage: Usage,
    finish: Option<Finish>,
    refused: bool,
    /// `message_start` is out.
    started: bool,
    /// The last event is out.
    done: bool,
    /// The index of the next block.
    next: u64,
    live: Option<Live>,
    waiting: VecDeque<Waiting>,
    /// Signatures of calls that came too late to stand before their call.
    late: Vec<String>,
}

/// The block that is being written.
struct Live {
    block: u32,
    /// What is known of it; of a text or a call only the frame, as the rest is already out.
    part: Part,
    /// Its `content_block_start` is out, with this index.
    index: Option<u64>,
    /// Something other than blanks of a call's arguments is out.
    argued: bool,
    /// The part of a summary that came last.
    summary: Option<u32>,
    /// URLs cited so far.
    cited: Vec<String>,
}

/// A block whose turn has not come.
struct Waiting {
    block: u32,
    part: Part,
    closed: bool,
}

impl Encode for Encoder {
    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.done {
            return;
        }
        match event {
            Event::Begin(head) if self.head == Head::default() => self.head = head,
            Event::Usage(usage) => {
                self.usage.learn(usage);
                self.start(out);
            }
            // Of what this format has no block for, nothing is told: what is known of usage may come yet.
            Event::Open { part, .. } if matches!(part.as_served(), Some(served) if !is_told(served)) =>
                {}
            Event::Open { choice: 0, block, part } => {
                self.start(out);
                self.open(block, part, out);
            }
            Event::Delta { choice: 0, block, delta } => self.delta(block, delta, out),
            Event::Close { choice: 0, block } => self.close(block, out),
            Event::Finish { choice: 0, finish } => self.finish = Some(finish),
            Event::Fail(fault) => {
                write(out, "error", &error::event(&fault));
                self.done = true;
            }
            // Of several choices the first is it: this format has no more.
            _ => {}
        }
    }

    fn end(&mut self, _now: i64, out: &mut Vec<u8>) {
        if self.done {
            return;
        }
        let Some(finish) = self.finish.take() else {
            return self.event(Event::Fail(codec::broke_off()), out);
        };
        self.start(out);
        self.close_live(out);
        while !self.waiting.is_empty() {
            self.advance(out);
            self.close_live(out);
        }
        for signature in mem::take(&mut self.late) {
            self.signature_block(signature, out);
        }
        let delta = reply::stop(Object::default(), Some(&finish), self.refused);
        let last = Object::of("message_delta").with("delta", delta);
        write(out, "message_delta", &last.with("usage", reply::usage(self.usage)));
        write(out, "message_stop", &Object::of("message_stop"));
        self.done = true;
    }

    fn ping(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
    }
}

impl Encoder {
    /// Writes `message_start`, once. What the provider said of usage so far is in it: Anthropic knows the input
    /// by then, others tell at the end.
    fn start(&mut self, out: &mut Vec<u8>) {
        if mem::replace(&mut self.started, true) {
            return;
        }
        let message = reply::stop(reply::message(&self.stamp, Vec::new()), None, false);
        let usage = reply::tier(reply::usage(self.usage), &self.head);
        let start = Object::of("message_start").with("message", message.with("usage", usage));
        write(out, "message_start", &start);
    }

    fn open(&mut self, block: u32, part: Part, out: &mut Vec<u8>) {
        self.refused |= matches!(part.content, Content::Refusal(_));
        if self.live.is_some() {
            self.waiting.push_back(Waiting { block, part, closed: false });
        } else {
            self.begin(block, part, out);
        }
    }

    fn delta(&mut self, block: u32, delta: Delta, out: &mut Vec<u8>) {
        match &mut self.live {
            Some(live) if live.block == block => self.grow(delta, out),
            _ => {
                let waiting = self.waiting.iter_mut().find(|each| each.block == block);
                if let Some(waiting) = waiting {
                    waiting.part.grow(delta);
                }
            }
        }
    }

    fn close(&mut self, block: u32, out: &mut Vec<u8>) {
        if self.live.as_ref().is_some_and(|live| live.block == block) {
            self.close_live(out);
            self.advance(out);
        } else if let Some(waiting) = self.waiting.iter_mut().find(|each| each.block == block) {
            waiting.closed = true;
        }
    }

    /// Takes up the blocks that waited, as far as they are closed, and the first one that is not.
    fn advance(&mut self, out: &mut Vec<u8>) {
        while self.live.is_none() {
            let Some(Waiting { block, part, closed }) = self.waiting.pop_front() else { return };
            self.begin(block, part, out);
            if closed {
                self.close_live(out);
            }
        }
    }

    /// Begins a block, with whatever it holds already.
    fn begin(&mut self, block: u32, mut part: Part, out: &mut Vec<u8>) {
        if let Content::Media(media) = &part.content {
            part = Part::text(reply::media_note(media));
        }
        if let Content::ToolCall(call) = &mut part.content
            && let Some(signature) = reply::call_signature(call)
        {
            call.seal = None;
            self.signature_block(signature, out);
        }
        let deltas = part.split();
        let is_call = matches!(part.content, Content::ToolCall(_));
        let is_own = matches!(part.content, Content::Foreign { format: Format::Anthropic, .. });
        let (argued, summary, cited) = (false, None, Vec::new());
        self.live = Some(Live { block, part, index: None, argued, summary, cited });
        if is_call || is_own {
            self.block_start(out);
        }
        for delta in deltas {
            self.grow(delta, out);
        }
    }

    /// Adds to the live block.
    fn grow(&mut self, delta: Delta, out: &mut Vec<u8>) {
        let Some(live) = &mut self.live else { return };
        let written = match (&mut live.part.content, delta) {
            (Content::Text { .. } | Content::Refusal(_), Delta::Text(text)) => {
                (!text.is_empty()).then(|| Object::of("text_delta").with("text", text))
            }
            (Content::Text { .. }, Delta::Annotation(annotation)) => {
                let citation = reply::citation(&annotation, &mut live.cited);
                let citation = citation.map(|citation| Json::of(&citation));
                citation.map(|citation| Object::of("citations_delta").with("citation", citation))
            }
            (Content::Reasoning(reasoning), Delta::Seal(seal)) => {
                reasoning.seal = Some(seal);
                None
            }
            (Content::Reasoning(reasoning), delta) => {
                let text = thought(reasoning, &mut live.summary, delta);
                (!text.is_empty()).then(|| Object::of("thinking_delta").with("thinking", text))
            }
            (Content::ToolCall(_), Delta::Arguments(text)) => {
                live.argued |= !text.trim().is_empty();
                (!text.is_empty())
                    .then(|| Object::of("input_json_delta").with("partial_json", text))
            }
            (Content::Served(_), Delta::Called) => return self.call_served(out),
            (Content::Served(_), delta) => {
                live.part.grow(delta);
                None
            }
            (Content::ToolCall(call), Delta::Seal(seal)) => {
                let sealed = ToolCall { id: call.id.clone(), seal: Some(seal), ..<_>::default() };
                self.late.extend(reply::call_signature(&sealed));
                None
            }
            _ => None,
        };
        if let Some(delta) = written {
            let index = self.block_start(out);
            block_delta(index, delta, out);
        }
    }

    /// Writes the live block's `content_block_start`, once, and tells its index.
    fn block_start(&mut self, out: &mut Vec<u8>) -> u64 {
        let Some(live) = &mut self.live else { return self.next };
        if let Some(index) = live.index {
            return index;
        }
        let index = self.next;
        self.next += 1;
        live.index = Some(index);
        let extras = &live.part.extras;
        match &live.part.content {
            Content::Foreign { value, .. } => own_block(index, value, out),
            Content::ToolCall(call) => {
                let block = Object::of("tool_use")
                    .with("id", types::legal_id(&call.id))
                    .with("name", call.name.as_str())
                    .with("input", Object::default());
                block_start(index, block.extras(extras).into(), out);
            }
            Content::Served(served) => {
                if let Served::Call(call) = &**served {
                    block_start(index, served::used(call).into(), out);
                }
            }
            Content::Reasoning(_) => {
                let block = Object::of("thinking").with("thinking", "").with("signature", "");
                block_start(index, block.into(), out);
            }
            _ => {
                let block = Object::of("text").with("text", "").extras(extras);
                block_start(index, block.into(), out);
            }
        }
        index
    }

    /// Tells of a call that the gateway runs, once all of it is there: Claude Code takes pieces of an input for a call of its
    /// own tools only, and ends with "The response stream was malformed".
    fn call_served(&mut self, out: &mut Vec<u8>) {
        if self.live.as_ref().is_some_and(|live| live.index.is_none()) {
            let index = self.block_start(out);
            block_stop(index, out);
        }
    }

    /// Closes a call that the gateway ran; its result is a block of its own.
    fn close_served(&mut self, call: &ServedCall, out: &mut Vec<u8>) {
        self.call_served(out);
        self.live = None;
        if let Some(result) = served::result(call) {
            own_block(self.next, &Json::of(&result), out);
            block_stop(self.next, out);
            self.next += 1;
        }
    }

    /// Closes the live block; one that said nothing has not been there.
    fn close_live(&mut self, out: &mut Vec<u8>) {
        let Some(live) = &self.live else { return };
        match &live.part.content {
            Content::Reasoning(reasoning) if reasoning.redacted => {
                let data = reply::signature(reasoning);
                if !data.is_empty() {
                    let block = Object::of("redacted_thinking").with("data", data);
                    block_start(self.next, block.into(), out);
                    block_stop(self.next, out);
                    self.next += 1;
                }
                self.live = None;
                return;
            }
            Content::Reasoning(reasoning) => {
                let signature = reply::signature(reasoning);
                if live.index.is_some() || !signature.is_empty() {
                    let index = self.block_start(out);
                    let delta = Object::of("signature_delta").with("signature", signature);
                    block_delta(index, delta, out);
                }
            }
            Content::Served(served) => {
                let served = served.clone();
                match *served {
                    Served::Call(call) => self.close_served(&call, out),
                    _ => self.live = None,
                }
                return;
            }
            // Without arguments it would be no JSON at all.
            Content::ToolCall(_) if !live.argued => {
                let index = self.block_start(out);
                let delta = Object::of("input_json_delta").with("partial_json", "{}");
                block_delta(index, delta, out);
            }
            _ => {}
        }
        if let Some(index) = self.live.take().and_then(|live| live.index) {
            block_stop(index, out);
        }
    }

    /// A thinking block that says nothing and carries a seal.
    fn signature_block(&mut self, signature: String, out: &mut Vec<u8>) {
        let index = self.next;
        self.next += 1;
        let block = Object::of("thinking").with("thinking", "").with("signature", "");
        block_start(index, block.into(), out);
        block_delta(index, Object::of("signature_delta").with("signature", signature), out);
        block_stop(index, out);
    }
}

/// Whether this format has blocks for it.
fn is_told(served: &Served) -> bool {
    matches!(served, Served::Call(_))
}

/// What a delta adds to the thoughts. The text is remembered, as a seal from elsewhere is wrapped with it;
/// a blank line parts it from the summary, and the parts of the summary from each other.
fn thought(reasoning: &mut Reasoning, last: &mut Option<u32>, delta: Delta) -> String {
    match delta {
        Delta::Text(text) => {
            reasoning.text.push_str(&text);
            if last.take().is_some() { format!("\n\n{text}") } else { text }
        }
        Delta::Summary { index, text } => match last.replace(index) {
            Some(before) if before != index => format!("\n\n{text}"),
            _ => text,
        },
        _ => String::new(),
    }
}

/// A block of Anthropic's own, come whole: an input goes out as Anthropic streams it.
fn own_block(index: u64, value: &Json, out: &mut Vec<u8>) {
    let mut fields = Fields::of(value.as_raw()).unwrap_or_default();
    let input = fields.json("input").filter(|input| input.is_object() && input.as_str() != "{}");
    let Some(input) = input else { return block_start(index, value.into(), out) };
    let rest = fields.rest(Format::Anthropic);
    let block = Object::default().extras(&rest).with("input", Object::default());
    block_start(index, block.into(), out);
    let delta = Object::of("input_json_delta").with("partial_json", input.as_str());
    block_delta(index, delta, out);
}

fn block_start(index: u64, block: Node<'_>, out: &mut Vec<u8>) {
    let event = Object::of("content_block_start").with("index", index);
    write(out, "content_block_start", &event.with("content_block", block));
}

fn block_delta(index: u64, delta: Object<'_>, out: &mut Vec<u8>) {
    let event = Object::of("content_block_delta").with("index", index);
    write(out, "content_block_delta", &event.with("delta", delta));
}

fn block_stop(index: u64, out: &mut Vec<u8>) {
    write(out, "content_block_stop", &Object::of("content_block_stop").with("index", index));
}

fn write(out: &mut Vec<u8>, name: &str, event: &Object<'_>) {
    codec::write_event(out, name, event);
}
