//! Ollama's stream: one JSON object a line, the last of which says `done`
//! (<https://docs.ollama.com/api/streaming>). Thoughts and text come in pieces, calls whole.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::conversation::{
    Content, Delta, Event, Finish, Head, Json, Part, Reasoning, ToolCall, Usage,
};
use crate::ground::fault::Fault;
use crate::wire::codec::{Decode, Frame, ReplyContext, broke_off, garbage};
use crate::wire::fields::{Fields, as_string};
use crate::wire::provider_error;

/// A stream being read.
#[derive(Debug, Default)]
pub(super) struct Lines {
    context: ReplyContext,
    begun: bool,
    /// The block that grows, and what it is.
    open: Option<(Grows, u32)>,
    /// The number of the next block.
    next: u32,
    has_calls: bool,
    /// Log probabilities of tokens that were no text, kept for the text that comes: the whole answer does not
    /// tell them apart either.
    logprobs: Vec<Json>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grows {
    Thoughts,
    Text,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Running,
    Done,
    Failed,
}

impl Lines {
    pub(super) fn new(context: ReplyContext) -> Self {
        Self { context, ..Self::default() }
    }

    pub(super) fn into_context(self) -> ReplyContext {
        self.context
    }

    fn line(&mut self, data: &[u8], out: &mut Vec<Event>) -> Result<(), Fault> {
        let mut fields = Fields::of_bytes(data)
            .ok_or_else(|| garbage("Ollama sent a line that is no JSON object."))?;
        if let Some(error) = fields.take("error") {
            // https://docs.ollama.com/api/errors
            return Err(provider_error::in_stream(error.get()));
        }
        if !self.begun {
            self.begun = true;
            out.push(Event::Begin(head(&mut fields)));
        }
        if let Some(mut message) = fields.inner("message") {
            self.grow(Grows::Thoughts, message.text("thinking"), out);
            self.grow(Grows::Text, message.text("content"), out);
            self.more_logprobs(fields.items("logprobs"), out);
            for call in message.items("tool_calls") {
                self.call(call, out);
            }
        }
        if fields.lenient("done") == Some(true) {
            self.finish(&mut fields, out);
        }
        Ok(())
    }

    fn grow(&mut self, grows: Grows, text: Option<String>, out: &mut Vec<Event>) {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return };
        let block = match self.open {
            Some((open, block)) if open == grows => block,
            _ => {
                let part = match grows {
                    Grows::Thoughts => Part::reasoning(Reasoning::default()),
                    Grows::Text => Part::text(""),
                };
                let block = self.open_block(part, out);
                self.open = Some((grows, block));
                block
            }
        };
        out.push(Event::Delta { choice: 0, block, delta: Delta::Text(text) });
    }

    fn more_logprobs(&mut self, entries: Vec<&RawValue>, out: &mut Vec<Event>) {
        self.logprobs.extend(entries.into_iter().filter_map(logprob));
        if let Some((Grows::Text, block)) = self.open
            && !self.logprobs.is_empty()
        {
            let delta = Delta::Logprobs(Json::of(&std::mem::take(&mut self.logprobs)));
            out.push(Event::Delta { choice: 0, block, delta });
        }
    }

    fn call(&mut self, raw: &RawValue, out: &mut Vec<Event>) {
        let Some(mut call) = Fields::of(raw) else { return };
        let Some(mut function) = call.inner("function") else { return };
        // A call of nothing is a parser's stub, not a call (litellm#17425).
        let Some(name) = function.text("name").filter(|name| !name.is_empty()) else { return };
        // Servers before 0.12 give no ids.
        let id = call.text("id").filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| self.context.ids.call());
        let arguments = arguments(function.take("arguments"));
        let call = ToolCall { id, name, ..ToolCall::default() };
        let block = self.open_block(Part::new(Content::ToolCall(call)), out);
        out.push(Event::Delta { choice: 0, block, delta: Delta::Arguments(arguments) });
        out.push(Event::Close { choice: 0, block });
        self.has_calls = true;
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

    fn finish(&mut self, fields: &mut Fields<'_>, out: &mut Vec<Event>) {
        self.state = State::Done;
        self.close(out);
        let finish = match fields.text("done_reason").as_deref() {
            Some("length") => Finish::Length,
            // `stop`, `load`, `unload`, and nothing at all from servers before 0.3.
            _ => Finish::Stop,
        };
        out.push(Event::Finish { choice: 0, finish: finish.with_calls(self.has_calls) });
        let usage = Usage {
            // Absent where all of the prompt was cached (ollama#2068).
            input: fields.whole("prompt_eval_count"),
            output: fields.whole("eval_count"),
            ..Usage::default()
        };
        if !usage.is_empty() {
            out.push(Event::Usage(usage));
        }
    }
}

impl Decode for Lines {
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) {
        if self.state != State::Running {
            return;
        }
        if let Err(fault) = self.line(frame.data, out) {
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

fn head(fields: &mut Fields<'_>) -> Head {
    let created = fields.lenient::<jiff::Timestamp>("created_at");
    Head {
        model: fields.text("model"),
        created: created.map(jiff::Timestamp::as_second),
        ..Head::default()
    }
}

/// The arguments as JSON text: an object as it stands, or a text that holds one, as some servers that speak
/// Ollama's format send it.
fn arguments(raw: Option<&RawValue>) -> String {
    let text = raw.map(|raw| as_string(raw).unwrap_or_else(|| raw.get().to_owned()));
    text.filter(|text| !text.trim().is_empty()).unwrap_or_else(|| "{}".into())
}

/// One entry of log probabilities as OpenAI has it: `bytes` and `top_logprobs` always there.
#[derive(Serialize)]
struct Entry {
    token: String,
    logprob: Json,
    bytes: Vec<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<Vec<Entry>>,
}

fn logprob(raw: &RawValue) -> Option<Json> {
    let others = Fields::of(raw)?.items("top_logprobs");
    let others = others.into_iter().filter_map(entry).collect();
    Some(Json::of(&Entry { top_logprobs: Some(others), ..entry(raw)? }))
}

fn entry(raw: &RawValue) -> Option<Entry> {
    let mut fields = Fields::of(raw)?;
    let token = fields.text("token")?;
    let bytes = fields.lenient("bytes").unwrap_or_else(|| token.clone().into_bytes());
    Some(Entry { logprob: fields.json("logprob")?, token, bytes, top_logprobs: None })
}
