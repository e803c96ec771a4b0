//! An answer as `chat.completion.chunk`s: data events without names, one id over all of them, the role first,
//! calls numbered from 0 whatever blocks stand between them, one chunk with the finish reason, usage where it
//! was asked for, `[DONE]`. What comes whole at the end of a choice (seals, citations) goes out in one chunk
//! before the finish: the Python SDK adds up lists by `index`, the Node SDK keeps the last one it saw.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use super::reasoning;
use super::reply::Logprobs;
use super::request::LEGACY;
use super::said::{self, Answer, Call, Counts, Image, Said};
use super::served;
use crate::conversation::{
    Annotation, CallKind, Content, Delta, Event, Finish, Head, Json, MediaKind, Part, Usage,
};
use crate::ground::fault::Fault;
use crate::wire::codec::{self, Echo, Encode, Stamp};
use crate::wire::openai_error;

/// Begins a stream.
pub(super) fn begin(echo: Echo, stamp: Stamp) -> Box<dyn Encode> {
    let legacy = echo.get(LEGACY).is_some();
    let include_usage = echo.include_usage;
    let writer = Writer { stamp, head: Head::default(), include_usage };
    Box::new(Chat { writer, legacy, usage: None, choices: BTreeMap::new(), over: false })
}

/// More choices than `n` may ask for are a provider's mistake.
const MOST_CHOICES: u32 = 128;

struct Chat {
    writer: Writer,
    legacy: bool,
    usage: Option<Usage>,
    choices: BTreeMap<u32, Choice>,
    /// Failed or ended: nothing more is written.
    over: bool,
}

/// What is the same in every chunk.
struct Writer {
    stamp: Stamp,
    head: Head,
    include_usage: bool,
}

/// One of the answers as far as it has come.
#[derive(Default)]
struct Choice {
    blocks: Vec<(u32, Block)>,
    calls: usize,
    images: usize,
    has_audio: bool,
    refused: bool,
    /// The piece of reasoning that was written last: its block, and the summary in it or none.
    piece: Option<(u32, Option<u32>)>,
    /// Characters of text so far.
    characters: u64,
    annotations: Vec<Json>,
    finished: bool,
}

/// What must be known of a block later.
struct Block {
    /// Reasoning as a whole, calls without their arguments, of the rest nothing.
    part: Part,
    /// The number among the calls.
    call: usize,
    has_arguments: bool,
    /// Where its text begins.
    offset: u64,
}

#[derive(Serialize)]
struct Piece<'a> {
    index: u32,
    delta: Said<'a>,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
}

impl Encode for Chat {
    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        match event {
            Event::Begin(head) => self.writer.learn(head),
            Event::Usage(usage) => self.usage.get_or_insert_default().learn(usage),
            Event::Fail(fault) => self.fail(&fault, out),
            Event::Open { choice, block, part } => self.open(choice, block, part, out),
            Event::Delta { choice, block, delta } => self.delta(choice, block, delta, out),
            Event::Close { choice, block } => self.close(choice, block, out),
            Event::Finish { choice, finish } => self.finish(choice, &finish, out),
        }
    }

    fn end(&mut self, _now: i64, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        let complete = self.choices.values().all(|choice| choice.finished);
        if self.choices.is_empty() || !complete {
            return self.fail(&codec::broke_off(), out);
        }
        self.over = true;
        if let Some(usage) = self.usage.filter(|_| self.writer.include_usage) {
            self.writer.usage(&usage, out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

impl Chat {
    fn fail(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        self.over = true;
        codec::write_data(out, &openai_error::object(fault));
    }

    /// The choice of an event, begun where it is new; `None` where it is over, or none that could be.
    fn begun(
        &mut self,
        number: u32,
        part: Option<&Part>,
        out: &mut Vec<u8>,
    ) -> Option<&mut Choice> {
        if number >= MOST_CHOICES {
            return None;
        }
        // The SDKs keep choices in a list and take the next new one to be the next in it.
        for below in 0..=number {
            if self.choices.contains_key(&below) {
                continue;
            }
            self.choices.insert(below, Choice::default());
            let speaks = part.is_some_and(|part| !said::speaks_otherwise(part));
            let content = if speaks || part.is_none() { Some("".into()) } else { None };
            let role = Some("assistant");
            let delta = Said { role, content: Some(content), ..Said::default() };
            self.writer.piece(below, delta, out);
        }
        self.choices.get_mut(&number).filter(|choice| !choice.finished)
    }

    fn open(&mut self, number: u32, block: u32, mut part: Part, out: &mut Vec<u8>) {
        let legacy = self.legacy;
        let Some(choice) = self.begun(number, Some(&part), out) else { return };
        let offset = choice.characters;
        let call = choice.calls;
        let first = start_of(&mut part);
        choice.calls += usize::from(part.as_call().is_some());
        let Self { writer, choices, .. } = self;
        let Some(choice) = choices.get_mut(&number) else { return };
        match &part.content {
            Content::ToolCall(called) => {
                let piece = Call::piece(called.kind, Some(&called.name), "");
                let piece = Call { id: Some(&called.id), ..piece.typed(called.kind) };
                writer.call(number, call, piece.sealed(called.seal.as_ref()), legacy, out);
            }
            Content::Media(media) if media.kind == MediaKind::Image => {
                let image = Image::new(choice.images, media);
                choice.images += usize::from(image.is_some());
                if image.is_some() {
                    let images = image.into_iter().collect();
                    writer.piece(number, Said { images, ..Said::default() }, out);
                }
            }
            Content::Media(media) if media.kind == MediaKind::Audio && !choice.has_audio => {
                let audio = said::audio(&part, media, &writer.stamp);
                choice.has_audio = audio.is_some();
                if audio.is_some() {
                    writer.piece(number, Said { audio, ..Said::default() }, out);
                }
            }
            _ => {}
        }
        let kept = Block { part, call, has_arguments: false, offset };
        choice.blocks.push((block, kept));
        for delta in first {
            self.delta(number, block, delta, out);
        }
    }

    fn delta(&mut self, number: u32, at: u32, delta: Delta, out: &mut Vec<u8>) {
        let Self { writer, choices, legacy, .. } = self;
        let Some(choice) = choices.get_mut(&number).filter(|choice| !choice.finished) else {
            return;
        };
        let Some(position) = choice.blocks.iter().rposition(|(block, _)| *block == at) else {
            return;
        };
        let Some((_, block)) = choice.blocks.get_mut(position) else { return };
        match (&mut block.part.content, delta) {
            (Content::Text { .. }, Delta::Text(text)) => {
                choice.characters += text.chars().count() as u64;
                writer.text(number, &text, out);
            }
            (Content::Text { .. }, Delta::Annotation(annotation)) => {
                let offset = block.offset;
                choice.annotate(&annotation, offset);
            }
            (Content::Text { .. }, Delta::Logprobs(list)) => {
                writer.logprobs(number, list.read().unwrap_or_default(), out);
            }
            (Content::Refusal(_), Delta::Text(text)) => {
                choice.refused = true;
                writer.refusal(number, &text, out);
            }
            (Content::Reasoning(_), Delta::Text(text)) => {
                block.part.grow(Delta::Text(text.clone()));
                choice.reason(writer, number, (at, None), text, out);
            }
            (Content::Reasoning(_), Delta::Summary { index, text }) => {
                block.part.grow(Delta::Summary { index, text: text.clone() });
                choice.reason(writer, number, (at, Some(index)), text, out);
            }
            (Content::ToolCall(call), Delta::Arguments(text)) if !text.is_empty() => {
                block.has_arguments |= !text.trim().is_empty();
                let piece = Call::piece(call.kind, None, &text);
                writer.call(number, block.call, piece, *legacy, out);
            }
            (Content::ToolCall(call), Delta::Seal(seal)) => {
                // The Python SDK wants a function in every piece of a call.
                let piece = Call::piece(call.kind, None, "").sealed(Some(&seal));
                if piece.extra_content.is_some() && !*legacy {
                    writer.call(number, block.call, piece, false, out);
                }
                call.seal = Some(seal);
            }
            (_, delta) => block.part.grow(delta),
        }
    }

    fn close(&mut self, number: u32, at: u32, out: &mut Vec<u8>) {
        let Self { writer, choices, legacy, .. } = self;
        let Some(choice) = choices.get_mut(&number) else { return };
        let block = choice.blocks.iter_mut().rev().find(|(block, _)| *block == at);
        if let Some((_, block)) = block {
            block.complete(writer, number, *legacy, out);
        }
    }

    fn finish(&mut self, number: u32, finish: &Finish, out: &mut Vec<u8>) {
        if self.begun(number, None, out).is_none() {
            return;
        }
        let Self { writer, choices, legacy, .. } = self;
        let Some(choice) = choices.get_mut(&number) else { return };
        for (_, block) in &mut choice.blocks {
            block.complete(writer, number, *legacy, out);
        }
        if let (Finish::Filtered(Some(why)), false) = (finish, choice.refused) {
            writer.refusal(number, why, out);
        }
        let last = choice.last();
        let is_empty = last.annotations.is_empty() && last.reasoning_details.is_empty();
        if !is_empty || last.provider_specific_fields.is_some() {
            writer.piece(number, last, out);
        }
        let reason = said::finish_reason(finish, choice.calls > 0, *legacy);
        writer.write(number, Said::default(), None, Some(reason), out);
        choice.finished = true;
        choice.blocks.clear();
    }
}

impl Choice {
    fn annotate(&mut self, annotation: &Annotation, offset: u64) {
        let index = Some(self.annotations.len());
        self.annotations.extend(said::annotation(annotation, offset, index));
    }

    /// Writes a piece of reasoning; a blank line parts it from one that went before.
    fn reason(
        &mut self,
        writer: &Writer,
        number: u32,
        piece: (u32, Option<u32>),
        text: String,
        out: &mut Vec<u8>,
    ) {
        if text.is_empty() {
            return;
        }
        let is_new = self.piece.is_some_and(|last| last != piece);
        self.piece = Some(piece);
        let text = if is_new { format!("\n\n{text}") } else { text };
        writer.piece(number, Said::reasoned(text), out);
    }

    /// What goes out whole before the finish.
    fn last(&mut self) -> Said<'static> {
        let sealed = reasoning::sealed(self.blocks.iter().map(|(_, block)| &block.part));
        let mut thinking_blocks = sealed.thinking_blocks;
        for (index, block) in thinking_blocks.iter_mut().enumerate() {
            block.index = Some(index);
        }
        Said {
            thinking_blocks,
            reasoning_details: sealed.reasoning_details,
            annotations: std::mem::take(&mut self.annotations),
            provider_specific_fields: served::fields(
                self.blocks.iter().map(|(_, block)| &block.part),
            ),
            ..Said::default()
        }
    }
}

impl Block {
    /// A function that is called without arguments is called with none: `{}`.
    fn complete(&mut self, writer: &Writer, number: u32, legacy: bool, out: &mut Vec<u8>) {
        let Some(call) = self.part.as_call() else { return };
        if call.kind != CallKind::Custom && !self.has_arguments {
            writer.call(number, self.call, Call::piece(call.kind, None, "{}"), legacy, out);
        }
        self.has_arguments = true;
    }
}

impl Writer {
    fn learn(&mut self, head: Head) {
        self.head.service_tier = head.service_tier.or(self.head.service_tier.take());
        self.head.system_fingerprint =
            head.system_fingerprint.or(self.head.system_fingerprint.take());
    }

    fn text(&self, number: u32, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            let content = Some(Some(Cow::Borrowed(text)));
            self.piece(number, Said { content, ..Said::default() }, out);
        }
    }

    fn refusal(&self, number: u32, text: &str, out: &mut Vec<u8>) {
        let refusal = Some(Some(Cow::Borrowed(text)));
        self.piece(number, Said { refusal, ..Said::default() }, out);
    }

    fn logprobs(&self, number: u32, content: Vec<Json>, out: &mut Vec<u8>) {
        let logprobs = Some(Logprobs { content, refusal: None });
        self.write(number, Said::default(), logprobs, None, out);
    }

    /// A piece of the call `index`. The older form has room for the first one only.
    fn call(&self, number: u32, index: usize, call: Call<'_>, legacy: bool, out: &mut Vec<u8>) {
        if !legacy {
            let tool_calls = vec![Call { index: Some(index), ..call }];
            self.piece(number, Said { tool_calls, ..Said::default() }, out);
        } else if index == 0 {
            let function_call = call.function;
            self.piece(number, Said { function_call, ..Said::default() }, out);
        }
    }

    fn piece(&self, number: u32, delta: Said<'_>, out: &mut Vec<u8>) {
        self.write(number, delta, None, None, out);
    }

    fn write(
        &self,
        index: u32,
        delta: Said<'_>,
        logprobs: Option<Logprobs>,
        finish_reason: Option<&'static str>,
        out: &mut Vec<u8>,
    ) {
        let mut chunk = self.chunk();
        chunk.usage = self.include_usage.then_some(None);
        chunk.choices.push(Piece { index, delta, logprobs, finish_reason });
        codec::write_data(out, &chunk);
    }

    fn usage(&self, usage: &Usage, out: &mut Vec<u8>) {
        let mut chunk = self.chunk();
        chunk.usage = Some(Some(Counts::new(usage)));
        codec::write_data(out, &chunk);
    }

    fn chunk(&self) -> Answer<'_, Piece<'_>> {
        Answer::new(("chatcmpl", "chat.completion.chunk"), &self.stamp, &self.head)
    }
}

/// Takes out of a block what it already holds when it is opened, to be written as its first deltas.
fn start_of(part: &mut Part) -> Vec<Delta> {
    let text = |text: &mut String| Some(std::mem::take(text)).filter(|text| !text.is_empty());
    match &mut part.content {
        Content::Text { text: start, annotations, logprobs } => {
            let mut deltas: Vec<Delta> = text(start).map(Delta::Text).into_iter().collect();
            deltas.extend(logprobs.take().map(Delta::Logprobs));
            deltas.extend(std::mem::take(annotations).into_iter().map(Delta::Annotation));
            deltas
        }
        Content::Refusal(start) => text(start).map(Delta::Text).into_iter().collect(),
        Content::Reasoning(reasoning) => {
            let summaries = std::mem::take(&mut reasoning.summary).into_iter();
            let summary = |(index, text)| Delta::Summary { index, text };
            let mut deltas: Vec<Delta> = (0..).zip(summaries).map(summary).collect();
            deltas.extend(text(&mut reasoning.text).map(Delta::Text));
            deltas
        }
        Content::ToolCall(call) => {
            text(&mut call.arguments).map(Delta::Arguments).into_iter().collect()
        }
        Content::Media(_)
        | Content::ToolResult(_)
        | Content::Served(_)
        | Content::Foreign { .. } => Vec::new(),
    }
}
