//! The two halves of a format, and what they are given. A client's half reads a request into an
//! [`Ask`] and writes the answer; a provider's half writes an `Ask` and reads the answer. Both are sans-I/O:
//! bytes in, values out, cut wherever the network cut. Nothing here knows which formats there are.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::catalogue::Provider;
use super::framing::Framing;
use crate::conversation::{Ask, Event, Format, Json, Losses, Reply};
use crate::ground::fault::{Fault, Kind};

/// The half that faces clients.
#[derive(Clone, Copy)]
pub struct ClientHalf {
    pub format: Format,
    /// Reads a request body.
    ///
    /// Errors: `InvalidRequest` with the path of the field and what it must be.
    pub request: fn(body: &[u8]) -> Result<Asked, Fault>,
    /// Writes a whole answer.
    ///
    /// Errors: `UpstreamGarbage` where what the provider answered is no answer to this request.
    pub reply: fn(reply: &Reply, echo: &Echo, stamp: &Stamp) -> Result<Vec<u8>, Fault>,
    /// Begins a streamed answer.
    pub stream: fn(echo: Echo, stamp: Stamp) -> Box<dyn Encode>,
    /// Writes a failure that comes before the answer.
    pub error: fn(fault: &Fault) -> Bytes,
}

/// The half that faces providers.
pub struct ProviderHalf {
    pub format: Format,
    pub framing: Framing,
    /// Writes a request. What the format cannot carry is added to the losses; what changes the meaning so
    /// much that an answer would be wrong is an error.
    ///
    /// Errors: `InvalidRequest` that says what to send instead.
    pub request: fn(ask: &Ask, target: &Target<'_>, losses: &mut Losses) -> Result<Outbound, Fault>,
    /// Reads a whole answer.
    ///
    /// Errors: `UpstreamGarbage` for what is no answer; the provider's own error, should there be one in a
    /// body with status 200.
    pub reply: fn(body: &[u8], context: &mut ReplyContext) -> Result<Reply, Fault>,
    /// Begins to read a streamed answer.
    pub stream: fn(context: ReplyContext) -> Box<dyn Decode>,
}

/// Reads a provider's stream, frame by frame.
pub trait Decode: Send {
    /// Takes one frame. Frames that say nothing, or nothing known, add nothing; one that cannot be read at all
    /// adds `Event::Fail`.
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<Event>);

    /// The connection ended. Without the format's own terminal signal before it, the last event is
    /// `Event::Fail` with [`broke_off`]; with it, open blocks are closed and what is owed is told.
    fn end(&mut self, out: &mut Vec<Event>);

    /// The format's own last frame has passed: nothing of the answer is missing.
    fn is_terminated(&self) -> bool;
}

/// Writes a stream for a client, event by event.
pub trait Encode: Send {
    /// Writes what the event becomes in this format. After `Event::Fail`, which becomes the format's own
    /// error event, nothing more is written, also not by `end`.
    fn event(&mut self, event: Event, out: &mut Vec<u8>);

    /// All events have come: writes the format's terminal events, once. `now` is in seconds since 1970.
    fn end(&mut self, now: i64, out: &mut Vec<u8>);

    /// What keeps a silent stream alive; written between whole events only.
    fn ping(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b": ping\n\n");
    }
}

/// One frame of a provider's stream.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'f> {
    /// The event's name, where the framing has names; else empty.
    pub name: &'f str,
    /// The payload, without its frame.
    pub data: &'f [u8],
}

/// Which model a request is written for, and how.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    /// The provider's name for the model.
    pub model: &'t str,
    pub provider: &'static Provider,
    /// The base URL that paths go below.
    pub base: &'t str,
    /// `model_info`: LiteLLM's `max_output_tokens`, `supports_…` and so on, where the operator says them.
    pub info: &'t Map<String, Value>,
    pub options: &'t Options,
    /// The client wants the answer streamed.
    pub stream: bool,
}

/// LiteLLM's switches of a deployment that say how requests are translated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// `Some(false)`: a parameter that the provider lacks is an error. Else it is dropped and reported.
    pub drop_params: Option<bool>,
    /// Parameters that are never sent: names, or paths such as `tools[*].strict`.
    pub additional_drop_params: Vec<String>,
    /// OpenAI parameters that are sent as they are, though the provider is not known to take them.
    pub allowed_openai_params: Vec<String>,
    /// What a provider would refuse (a conversation that does not begin with a user, an empty message) is
    /// mended rather than refused. `None` is true here.
    pub modify_params: Option<bool>,
    /// Thoughts go into the text, between `<think>` and `</think>`.
    pub merge_reasoning_content_in_choices: bool,
}

/// A request on its way to a provider.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outbound {
    /// Below the base URL, query included: `/chat/completions`.
    pub path: String,
    /// Further headers, in lower case, such as `anthropic-beta`.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The tool that stands in for a structured answer, where the format has none: its call is to be read as
    /// the answer's text.
    pub json_tool: Option<String>,
}

/// What reading an answer needs to know of its request.
#[derive(Clone, Debug, Default)]
pub struct ReplyContext {
    pub ids: Ids,
    /// As in [`Outbound`].
    pub json_tool: Option<String>,
    /// The provider's name for the model, as in [`Target`]; empty where nobody said.
    pub model: String,
}

/// Ids for calls whose provider gives none: unique among all requests, and the same in every try.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    /// 32 hexadecimal digits that no other request has.
    pub seed: String,
    next: u32,
}

/// What the client's half remembers of a request, to shape the answer by it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Echo {
    /// Fields of the request as they were sent: what a response object repeats.
    pub fields: Vec<(String, Json)>,
    /// Chat: `stream_options.include_usage`.
    pub include_usage: bool,
}

/// A request as a client's half has read it.
pub type Asked = (Ask, Echo);

/// What an answer is stamped with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// 32 hexadecimal digits that no other answer has; ids are made of it.
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The model's name as the client asked for it.
    pub model: String,
}

impl Ids {
    pub fn new(seed: impl Into<String>) -> Self {
        Self { seed: seed.into(), next: 0 }
    }

    /// For a later round of the same request: what the rounds before it made is not made again.
    pub fn after(seed: impl Into<String>, calls: usize) -> Self {
        Self { seed: seed.into(), next: u32::try_from(calls).unwrap_or(u32::MAX) }
    }

    /// `call_` and what is unique, at most 40 characters, which is what OpenAI takes.
    pub fn call(&mut self) -> String {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let seed = self.seed.get(..self.seed.len().min(28)).unwrap_or_default();
        format!("call_{seed}{number:x}")
    }
}

impl Echo {
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }
}

impl Target<'_> {
    /// A number that `model_info` says.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.info.get(name)?.as_u64()
    }

    /// A fact that `model_info` says.
    pub fn fact(&self, name: &str) -> Option<bool> {
        self.info.get(name)?.as_bool()
    }

    pub fn allows(&self, parameter: &str) -> bool {
        self.options.allowed_openai_params.iter().any(|allowed| allowed == parameter)
    }
}

/// The connection ended before the answer was complete.
pub fn broke_off() -> Fault {
    Fault::new(
        Kind::UpstreamGarbage,
        "The provider's stream broke off before it was complete. What came so far may be cut short.",
    )
}

/// The provider sent something that is no answer.
pub fn garbage(what: &'static str) -> Fault {
    Fault::new(Kind::UpstreamGarbage, what)
}

/// One server-sent event with a name.
pub fn write_event(out: &mut Vec<u8>, name: &str, data: &impl serde::Serialize) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    write_data(out, data);
}

/// One server-sent event without a name.
pub fn write_data(out: &mut Vec<u8>, data: &impl serde::Serialize) {
    out.extend_from_slice(b"data: ");
    let start = out.len();
    if serde_json::to_writer(&mut *out, data).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
    // JSON that is carried as text may be spread over lines, and a line end would end the field. Within strings it
    // is escaped, so here it is a blank like any other.
    for byte in out.get_mut(start..).unwrap_or_default() {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_ids_differ_and_are_short() {
        let mut ids = Ids::new("0123456789abcdef0123456789abcdef");
        let (one, two) = (ids.call(), ids.call());
        assert_ne!(one, two);
        assert!(one.len() <= 40 && one.starts_with("call_"));
        assert_ne!(Ids::default().call(), "");
    }

    #[test]
    fn json_over_several_lines_is_one_line_of_an_event() {
        let json = Json::parse("{\n  \"a\":\r\n \"b\\n\"}").expect("valid");
        let mut out = Vec::new();
        write_event(&mut out, "x", &json);
        assert_eq!(out, b"event: x\ndata: {   \"a\":   \"b\\n\"}\n\n");
    }
}
