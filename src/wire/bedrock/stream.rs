//! Reading a streamed answer. Blocks of text and reasoning have no beginning of their own: only calls and
//! pictures are announced. Blocks are told apart by `contentBlockIndex`, never by the order of frames
//! (<https://github.com/NousResearch/hermes-agent/pull/107472>). `messageStop` ends the answer; the counts
//! come after it, in `metadata`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::event_stream::ERROR;
use super::model::Model;
use super::{exception, reply};
use crate::conversation::{
    Content, Delta, Event, Finish, Head, MediaKind, Part, Reasoning, Seal, ToolCall,
};
use crate::wire::codec::{Decode, Frame, ReplyContext, broke_off};
use crate::wire::fields::Fields;

/// Begins to read.
pub(super) fn begin(context: ReplyContext) -> Box<dyn Decode> {
    let model = Model::named(&context.model);
    Box::new(Decoder { context, model, ..Decoder::default() })
}

struct Decoder {
    context: ReplyContext,
    model: Model<'static>,
    has_begun: bool,
    /// Blocks without an end yet, by Amazon's index.
    open: Vec<(u64, Block)>,
    /// The number of the next block that is shown.
    next: u32,
    has_calls: bool,
    /// `messageStop` has come: the answer is complete.
    has_stopped: bool,
    /// The counts have come too, which are the last.
    is_terminated: bool,
    has_failed: bool,
}

/// A block that is growing; `block` is its number among those shown.
enum Block {
    Text {
        block: u32,
    },
    Reasoning {
        block: u32,
        signature: String,
    },
    Call {
        block: u32,
        is_empty: bool,
    },
    /// The structured answer, whose tool's input is the text.
    Answer {
        block: u32,
        is_empty: bool,
    },
    /// Shown when whole.
    Redacted {
        chunks: Vec<String>,
    },
    /// Shown when whole.
    Image {
        format: String,
        chunks: Vec<String>,
    },
    /// Of no meaning to a client.
    Hidden,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            context: ReplyContext::default(),
            model: Model::named(""),
            has_begun: false,
            open: Vec::new(),
            next: 0,
            has_calls: false,
            has_stopped: false,
            is_terminated: false,
            has_failed: false,
        }
    }
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) {
        if self.has_failed {
            return;
        }
        if frame.name == ERROR || exception::is_exception(frame.name) {
            self.has_failed = true;
            out.push(Event::Fail(exception::fault(frame.name, frame.data)));
            return;
        }
        let Some(mut fields) = Fields::of_bytes(frame.data) else { return };
        match frame.name {
            "metadata" => {
                self.is_terminated = self.has_stopped;
                return metadata(&mut fields, out);
            }
            _ if self.has_stopped => return,
            "messageStart" | "contentBlockStart" | "contentBlockDelta" | "contentBlockStop"
            | "messageStop" => {}
            _ => return,
        }
        if !std::mem::replace(&mut self.has_begun, true) {
            out.push(Event::Begin(Head::default()));
        }
        let index = fields.whole("contentBlockIndex").unwrap_or(0);
        match frame.name {
            "contentBlockStart" => self.start(index, &mut fields, out),
            "contentBlockDelta" => self.delta(index, &mut fields, out),
            "contentBlockStop" => self.stop(index, out),
            "messageStop" => {
                self.stop_all(out);
                let reason = fields.text("stopReason").unwrap_or_default();
                let sequence = reply::stop_sequence(&mut fields);
                let finish = reply::finish(&reason, sequence).with_calls(self.has_calls);
                self.finish(finish, out);
            }
            _ => {}
        }
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        if !self.has_stopped && !self.has_failed {
            self.has_failed = true;
            out.push(Event::Fail(broke_off()));
        }
    }

    fn is_terminated(&self) -> bool {
        self.is_terminated
    }
}

impl Decoder {
    fn start(&mut self, index: u64, fields: &mut Fields<'_>, out: &mut Vec<Event>) {
        // An index that is used again begins another block.
        self.stop(index, out);
        let Some(mut start) = fields.inner("start") else { return };
        if let Some(mut call) = start.inner("toolUse") {
            let name = call.text("name").unwrap_or_default();
            let block = if call.has("type") {
                Block::Hidden
            } else if self.context.json_tool.as_deref() == Some(name.as_str()) {
                Block::Answer { block: self.show(Part::text(""), out), is_empty: true }
            } else {
                let id = call.text("toolUseId").filter(|id| !id.is_empty());
                let id = id.unwrap_or_else(|| self.context.ids.call());
                let call = ToolCall { id, name, ..ToolCall::default() };
                self.has_calls = true;
                let block = self.show(Part::new(Content::ToolCall(call)), out);
                Block::Call { block, is_empty: true }
            };
            self.open.push((index, block));
        } else if let Some(mut image) = start.inner("image") {
            let format = image.text("format").unwrap_or_default();
            self.open.push((index, Block::Image { format, chunks: Vec::new() }));
        } else if start.has("toolResult") {
            self.open.push((index, Block::Hidden));
        }
    }

    fn delta(&mut self, index: u64, fields: &mut Fields<'_>, out: &mut Vec<Event>) {
        let Some(mut delta) = fields.inner("delta") else { return };
        if let Some(text) = delta.text("text").filter(|text| !text.is_empty()) {
            let block = self.text(index, out);
            out.extend(block.map(|block| grow(block, Delta::Text(text))));
        } else if let Some(citation) = delta.take("citation") {
            let block = self.text(index, out);
            let annotation = Delta::Annotation(reply::citation(citation));
            out.extend(block.map(|block| grow(block, annotation)));
        } else if let Some(mut call) = delta.inner("toolUse") {
            let more = call.text("input").unwrap_or_default();
            self.input(index, more, out);
        } else if let Some(mut thought) = delta.inner("reasoningContent") {
            self.thought(index, &mut thought, out);
        } else if let Some(mut image) = delta.inner("image") {
            let more = image.inner("source").and_then(|mut source| source.text("bytes"));
            if let Some(Block::Image { chunks, .. }) = self.at(index) {
                chunks.extend(more);
            }
        }
    }

    /// The text block at an index, opened if need be; none where something else is open there.
    fn text(&mut self, index: u64, out: &mut Vec<Event>) -> Option<u32> {
        match self.at(index) {
            Some(Block::Text { block }) => return Some(*block),
            Some(Block::Reasoning { .. } | Block::Redacted { .. }) => self.stop(index, out),
            Some(_) => return None,
            None => {}
        }
        let block = self.show(Part::text(""), out);
        self.open.push((index, Block::Text { block }));
        Some(block)
    }

    fn input(&mut self, index: u64, more: String, out: &mut Vec<Event>) {
        if more.is_empty() {
            return;
        }
        match self.at(index) {
            Some(Block::Call { block, is_empty }) => {
                *is_empty = false;
                out.push(grow(*block, Delta::Arguments(more)));
            }
            Some(Block::Answer { block, is_empty }) => {
                *is_empty = false;
                out.push(grow(*block, Delta::Text(more)));
            }
            _ => {}
        }
    }

    fn thought(&mut self, index: u64, thought: &mut Fields<'_>, out: &mut Vec<Event>) {
        if let Some(more) = thought.text("redactedContent") {
            match self.at(index) {
                Some(Block::Redacted { chunks }) => chunks.push(more),
                _ => {
                    self.stop(index, out);
                    self.open.push((index, Block::Redacted { chunks: vec![more] }));
                }
            }
            return;
        }
        let text = thought.text("text").filter(|text| !text.is_empty());
        let more = thought.text("signature").filter(|signature| !signature.is_empty());
        if text.is_none() && more.is_none() {
            return;
        }
        if !matches!(self.at(index), Some(Block::Reasoning { .. })) {
            self.stop(index, out);
            let block = self.show(Part::reasoning(Reasoning::default()), out);
            self.open.push((index, Block::Reasoning { block, signature: String::new() }));
        }
        if let Some(Block::Reasoning { block, signature }) = self.at(index) {
            out.extend(text.map(|text| grow(*block, Delta::Text(text))));
            signature.extend(more);
        }
    }

    fn at(&mut self, index: u64) -> Option<&mut Block> {
        self.open.iter_mut().find(|(at, _)| *at == index).map(|(_, block)| block)
    }

    /// Shows a new block.
    fn show(&mut self, part: Part, out: &mut Vec<Event>) -> u32 {
        let block = self.next;
        self.next = self.next.saturating_add(1);
        out.push(Event::Open { choice: 0, block, part });
        block
    }

    fn stop(&mut self, index: u64, out: &mut Vec<Event>) {
        let Some(at) = self.open.iter().position(|(at, _)| *at == index) else { return };
        let (_, block) = self.open.remove(at);
        let block = match block {
            Block::Text { block } => block,
            Block::Call { block, is_empty } => {
                // A call without arguments sends none.
                out.extend(is_empty.then(|| grow(block, Delta::Arguments("{}".to_owned()))));
                block
            }
            Block::Answer { block, is_empty } => {
                out.extend(is_empty.then(|| grow(block, Delta::Text("{}".to_owned()))));
                block
            }
            Block::Reasoning { block, signature } => {
                if !signature.is_empty() {
                    let seal = Seal { format: self.model.seals(), data: signature };
                    out.push(grow(block, Delta::Seal(seal)));
                }
                block
            }
            Block::Redacted { chunks } => {
                let thought = reply::redacted(joined(chunks), &self.model);
                self.show(Part::reasoning(thought), out)
            }
            Block::Image { format, chunks } => {
                self.show(reply::media(MediaKind::Image, &format, joined(chunks)), out)
            }
            Block::Hidden => return,
        };
        out.push(Event::Close { choice: 0, block });
    }

    fn stop_all(&mut self, out: &mut Vec<Event>) {
        while let Some(index) = self.open.first().map(|(index, _)| *index) {
            self.stop(index, out);
        }
    }

    fn finish(&mut self, finish: Finish, out: &mut Vec<Event>) {
        self.has_stopped = true;
        out.push(Event::Finish { choice: 0, finish });
    }
}

fn metadata(fields: &mut Fields<'_>, out: &mut Vec<Event>) {
    let service_tier = reply::service_tier(fields);
    let usage = reply::usage(fields, service_tier.as_deref());
    if let Some(service_tier) = service_tier {
        out.push(Event::Begin(Head { service_tier: Some(service_tier), ..Head::default() }));
    }
    out.extend(usage.map(Event::Usage));
}

fn grow(block: u32, delta: Delta) -> Event {
    Event::Delta { choice: 0, block, delta }
}

/// Bytes that came in pieces, each in base64 of its own.
fn joined(mut chunks: Vec<String>) -> String {
    if chunks.len() == 1 {
        return chunks.pop().unwrap_or_default();
    }
    let bytes = chunks.iter().filter_map(|chunk| STANDARD.decode(chunk).ok());
    STANDARD.encode(bytes.collect::<Vec<_>>().concat())
}

#[cfg(test)]
mod tests;
