//! Cohere's stream (<https://docs.cohere.com/v2/docs/streaming>). The type inside the data decides; content
//! blocks say where they end, plans do not. The whole answer is read by the same steps, see [`super::reply`].

use serde_json::value::RawValue;

use super::citation;
use crate::conversation::{
    Content, Delta, Event, Finish, Head, Json, Part, Reasoning, ToolCall, Usage,
};
use crate::ground::fault::{Fault, Kind};
use crate::wire::codec::{Decode, Frame, ReplyContext, broke_off, garbage};
use crate::wire::fields::{Fields, as_string};
use crate::wire::provider_error;

/// A stream being read.
#[derive(Debug, Default)]
pub(super) struct Events {
    context: ReplyContext,
    begun: bool,
    /// The block that grows, and what it is.
    open: Option<(Grows, u32)>,
    /// A border between content blocks has passed: what comes next is a block of its own.
    border: bool,
    /// Calls whose arguments are still coming.
    calls: Vec<OpenCall>,
    /// The number of the next block.
    next: u32,
    has_calls: bool,
    /// Log probabilities kept for the text that comes.
    logprobs: Vec<Json>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grows {
    Thoughts,
    Text,
}

#[derive(Debug)]
struct OpenCall {
    index: u64,
    block: u32,
    has_arguments: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Running,
    Done,
    Failed,
}

impl Events {
    pub(super) fn new(context: ReplyContext) -> Self {
        Self { context, ..Self::default() }
    }

    pub(super) fn into_context(self) -> ReplyContext {
        self.context
    }

    fn read(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) -> Result<(), Fault> {
        if frame.data == b"[DONE]" {
            return Ok(());
        }
        let mut fields = Fields::of_bytes(frame.data)
            .ok_or_else(|| garbage("Cohere sent an event that is no JSON object."))?;
        let kind = fields.text("type");
        let kind = kind.as_deref().unwrap_or(frame.name);
        if kind.is_empty() || kind == "error" {
            return reported(&mut fields).map_or(Ok(()), Err);
        }
        let index = fields.whole("index").unwrap_or_default();
        let mut delta = fields.inner("delta").unwrap_or_default();
        let mut message = delta.inner("message").unwrap_or_default();
        match kind {
            "message-start" => self.begin(fields.text("id"), out),
            "tool-plan-delta" => self.grow(Grows::Thoughts, message.text("tool_plan"), out),
            "content-start" | "content-delta" => {
                self.border |= kind == "content-start";
                let mut content = message.inner("content").unwrap_or_default();
                self.grow(Grows::Thoughts, content.text("thinking"), out);
                self.grow(Grows::Text, content.text("text"), out);
                self.more_logprobs(fields.take("logprobs").into_iter().collect(), out);
            }
            "content-end" => self.border = true,
            "citation-start" => {
                let cited = message.take("citations").and_then(citation::read);
                self.cite(cited.into_iter().flat_map(|cited| cited.annotations).collect(), out);
            }
            "tool-call-start" => {
                if let Some(mut call) = one_call(&mut message) {
                    self.call(index, &mut call, out);
                }
            }
            "tool-call-delta" => {
                let function = one_call(&mut message).and_then(|mut call| call.inner("function"));
                let more = function.and_then(|mut function| function.text("arguments"));
                self.more_arguments(index, more.unwrap_or_default(), out);
            }
            "tool-call-end" => self.end_call(index, out),
            "message-end" => {
                let usage = delta.inner("usage").map(usage).unwrap_or_default();
                self.finish(delta.text("finish_reason").as_deref(), &mut delta, usage, out)?;
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn begin(&mut self, id: Option<String>, out: &mut Vec<Event>) {
        if !self.begun {
            self.begun = true;
            out.push(Event::Begin(Head { id, ..Head::default() }));
        }
    }

    pub(super) fn border(&mut self) {
        self.border = true;
    }

    pub(super) fn grow(&mut self, grows: Grows, text: Option<String>, out: &mut Vec<Event>) {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return };
        let block = match self.open {
            Some((open, block)) if open == grows && !self.border => block,
            _ => {
                let part = match grows {
                    Grows::Thoughts => Part::reasoning(Reasoning::default()),
                    Grows::Text => Part::text(""),
                };
                let block = self.open_block(part, out);
                self.open = Some((grows, block));
                self.border = false;
                block
            }
        };
        out.push(Event::Delta { choice: 0, block, delta: Delta::Text(text) });
    }

    pub(super) fn more_logprobs(&mut self, entries: Vec<&RawValue>, out: &mut Vec<Event>) {
        self.logprobs.extend(entries.into_iter().filter_map(citation::logprob));
        if let Some((Grows::Text, block)) = self.open
            && !self.logprobs.is_empty()
        {
            let delta = Delta::Logprobs(Json::of(&std::mem::take(&mut self.logprobs)));
            out.push(Event::Delta { choice: 0, block, delta });
        }
    }

    /// Citations of the text that is open. A block stays open past its end for those that come late.
    pub(super) fn cite(
        &mut self,
        annotations: Vec<crate::conversation::Annotation>,
        out: &mut Vec<Event>,
    ) {
        let Some((Grows::Text, block)) = self.open else { return };
        out.extend(annotations.into_iter().map(|annotation| {
            let delta = Delta::Annotation(annotation);
            Event::Delta { choice: 0, block, delta }
        }));
    }

    pub(super) fn call(&mut self, index: u64, call: &mut Fields<'_>, out: &mut Vec<Event>) {
        self.end_call(index, out);
        let mut function = call.inner("function").unwrap_or_default();
        let Some(name) = function.text("name").filter(|name| !name.is_empty()) else { return };
        let id = call.text("id").filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| self.context.ids.call());
        let call = ToolCall { id, name, ..ToolCall::default() };
        let block = self.open_block(Part::new(Content::ToolCall(call)), out);
        self.calls.push(OpenCall { index, block, has_arguments: false });
        self.has_calls = true;
        let arguments = function.take("arguments").map(|raw| {
            // Some servers that speak this format send an object.
            as_string(raw).unwrap_or_else(|| raw.get().to_owned())
        });
        self.more_arguments(index, arguments.unwrap_or_default(), out);
    }

    fn more_arguments(&mut self, index: u64, more: String, out: &mut Vec<Event>) {
        let Some(call) = self.calls.iter_mut().find(|call| call.index == index) else { return };
        if !more.is_empty() {
            call.has_arguments = true;
            let delta = Delta::Arguments(more);
            out.push(Event::Delta { choice: 0, block: call.block, delta });
        }
    }

    pub(super) fn end_call(&mut self, index: u64, out: &mut Vec<Event>) {
        if let Some(at) = self.calls.iter().position(|call| call.index == index) {
            self.calls.remove(at).end(out);
        }
    }

    fn open_block(&mut self, part: Part, out: &mut Vec<Event>) -> u32 {
        self.close(out);
        let block = self.next;
        self.next += 1;
        out.push(Event::Open { choice: 0, block, part });
        block
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        if let Some((_, block)) = self.open.take() {
            out.push(Event::Close { choice: 0, block });
        }
    }

    /// The last of an answer. Cohere says failures here too, under status 200.
    pub(super) fn finish(
        &mut self,
        reason: Option<&str>,
        fields: &mut Fields<'_>,
        usage: Usage,
        out: &mut Vec<Event>,
    ) -> Result<(), Fault> {
        let finish = match reason {
            Some("STOP_SEQUENCE") => Finish::StopSequence(None),
            Some("MAX_TOKENS" | "ERROR_LIMIT") => Finish::Length,
            Some("TOOL_CALL") => Finish::ToolCalls,
            Some("ERROR_TOXIC") => Finish::Filtered(None),
            Some("ERROR") => return Err(reported(fields).unwrap_or_else(|| garbage(NO_WORDS))),
            Some("TIMEOUT") => {
                let what = "Cohere stopped the answer because it took too long.";
                return Err(Fault::new(Kind::UpstreamTimeout, what));
            }
            _ => Finish::Stop,
        };
        self.close(out);
        self.calls.drain(..).for_each(|call| call.end(out));
        self.state = State::Done;
        out.push(Event::Finish { choice: 0, finish: finish.with_calls(self.has_calls) });
        if !usage.is_empty() {
            out.push(Event::Usage(usage));
        }
        Ok(())
    }
}

impl OpenCall {
    /// A call without arguments is one with an empty object.
    fn end(self, out: &mut Vec<Event>) {
        let block = self.block;
        if !self.has_arguments {
            out.push(Event::Delta { choice: 0, block, delta: Delta::Arguments("{}".into()) });
        }
        out.push(Event::Close { choice: 0, block });
    }
}

impl Decode for Events {
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) {
        if self.state != State::Running {
            return;
        }
        if let Err(fault) = self.read(frame, out) {
            self.state = State::Failed;
            out.push(Event::Fail(fault));
        }
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        if self.state == State::Running {
            self.state = State::Failed;
            out.push(Event::Fail(broke_off()));
        }
    }

    fn is_terminated(&self) -> bool {
        self.state == State::Done
    }
}

const NO_WORDS: &str = "Cohere reported an error without saying which.";

/// Tokens as the model counts them; what is billed is less, and stands in only where those are absent.
pub(super) fn usage(mut fields: Fields<'_>) -> Usage {
    let counts = fields.inner("tokens").or_else(|| fields.inner("billed_units"));
    let mut counts = counts.unwrap_or_default();
    Usage {
        input: counts.whole("input_tokens"),
        output: counts.whole("output_tokens"),
        cache_read: fields.whole("cached_tokens"),
        ..Usage::default()
    }
}

/// The error an object tells of, if it does: `{"message": …}`, `{"error": …}`.
pub(super) fn reported(fields: &mut Fields<'_>) -> Option<Fault> {
    let error = fields.take("error").or_else(|| fields.take("message"))?;
    Some(provider_error::in_stream(error.get()))
}

/// The one call of an event: an object, or a list of one as the older documents have it.
fn one_call<'t>(message: &mut Fields<'t>) -> Option<Fields<'t>> {
    let raw = message.take("tool_calls")?;
    Fields::of(raw).or_else(|| {
        let list: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
        Fields::of(list.first()?)
    })
}
