//! The tap on an answer that passes through: it looks at each event or at the whole reply, keeps what
//! the journal wants to know, and says whether a stream came to its proper end. It changes nothing and
//! cannot fail: what it does not understand it leaves alone.

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::anthropic_usage::{self, Counts, MessageAccount, MessageEvent};
use super::fields::Fields;
use super::json::{self, Member};
use super::openai_error;
use super::openai_responses::client;
use super::openai_usage::{self, Account};
use super::sse;
use crate::conversation::{Delta, Event, Finish, Reply, Usage};
use crate::ground::fault::Fault;

/// How streams of an endpoint begin, end and fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Chat and legacy completions: chunks, `finish_reason`, `data: [DONE]`.
    Chat,
    /// Responses: typed events, one of three terminal ones.
    Responses,
    /// Anthropic's messages: typed events, `message_stop` at the end.
    Messages,
    /// Anything else: bytes or events that simply end.
    Other,
}

/// What is known of an answer so far.
#[derive(Debug)]
pub struct Tap {
    family: Family,
    pub usage: Option<Usage>,
    pub finish_reason: Option<String>,
    pub model: Option<String>,
    /// The provider's own id of the answer.
    pub answer_id: Option<String>,
    /// The response's own id, of the responses family.
    pub response_id: Option<String>,
    /// Something of the answer itself has passed.
    pub has_content: bool,
    /// The provider reported an error inside the stream: its message.
    pub error: Option<String>,
    /// The stream's own last event has passed.
    terminated: bool,
    sequence_number: u64,
    /// The response object as the stream opened with it, to be closed with if the stream breaks.
    opened: Option<Map<String, Value>>,
    /// Anthropic's counts so far: they come in two parts.
    message_counts: Counts,
}

/// What the tap saw in one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The event carries usage and nothing else.
    pub usage_only: bool,
}

/// In valid JSON these bytes can only be a string of their own: inside a text the quotation marks
/// would be escaped.
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
static FINISH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"finish_reason\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));

impl Tap {
    pub fn new(family: Family) -> Self {
        Self {
            family,
            usage: None,
            finish_reason: None,
            model: None,
            answer_id: None,
            response_id: None,
            has_content: false,
            error: None,
            terminated: false,
            sequence_number: 0,
            opened: None,
            message_counts: Counts::default(),
        }
    }

    /// Looks at one whole event of a stream. Most events are only searched, not parsed.
    pub fn event(&mut self, event: &[u8]) -> Seen {
        let Some(data) = sse::data(event) else { return Seen::default() };
        if data.trim_ascii() == b"[DONE]" {
            self.terminated = true;
            return Seen::default();
        }
        let worth_parsing = match self.family {
            Family::Chat => {
                !self.has_content
                    || has_value(&USAGE, &data)
                    || has_value(&FINISH, &data)
                    || ERROR.find(&data).is_some()
            }
            // The type alone decides, and only a few types matter; deltas are the many.
            Family::Responses => {
                self.sequence_number += 1;
                !self.has_content || !is_delta(&data)
            }
            Family::Messages => !self.has_content || !is_block_delta(&data),
            Family::Other => has_value(&USAGE, &data) || ERROR.find(&data).is_some(),
        };
        if !worth_parsing {
            return Seen::default();
        }
        if self.family == Family::Messages {
            self.take_message_event(&data);
            return Seen::default();
        }
        let Ok(account) = serde_json::from_slice::<Account<'_>>(&data) else {
            return Seen::default();
        };
        self.take(&account);
        Seen { usage_only: account.is_usage_only() && account.error.is_none() }
    }

    /// Looks at a whole reply; says whether it is a JSON object at all. Only the few small fields that
    /// are accounted for are parsed, the answer itself is passed over.
    pub fn reply(&mut self, body: &[u8]) -> bool {
        if self.family == Family::Messages {
            return self.take_message(body);
        }
        let (mut account, mut choices, mut searches) = (Account::default(), None, 0);
        let mut units = Units::default();
        let scanned = json::scan_object(body, |Member { key, value }| {
            let value = body.get(value).unwrap_or_default();
            match body.get(key).unwrap_or_default() {
                b"model" => account.model = serde_json::from_slice(value).ok(),
                b"usage" => account.usage = serde_json::from_slice(value).ok(),
                b"id" => {
                    account.id = serde_json::from_slice(value).ok();
                    if self.family == Family::Responses {
                        self.response_id.clone_from(&account.id);
                    }
                }
                b"status" => account.status = serde_json::from_slice(value).ok(),
                b"service_tier" => account.service_tier = serde_json::from_slice(value).ok(),
                b"output" if self.family == Family::Responses => {
                    searches = openai_usage::searches(value);
                }
                b"meta" if self.family == Family::Other => {
                    units.billed = serde_json::from_slice(value).unwrap_or_default();
                }
                b"duration" if self.family == Family::Other => {
                    units.seconds = seconds(value);
                }
                b"data" if self.family == Family::Other => units.pictures = pictures(value),
                b"error" => account.error = serde_json::from_slice(value).ok(),
                b"choices" => choices = Some(value),
                _ => {}
            }
        });
        if scanned.is_err() {
            return false;
        }
        self.has_content = true;
        self.take(&account);
        if let Some(usage) = self.usage.as_mut().filter(|_| searches > 0) {
            usage.searches = usage.searches.or(Some(searches));
        }
        self.usage = units.with(self.usage);
        self.finish_reason = choices.and_then(first_finish_reason).or(self.finish_reason.take());
        true
    }

    /// Looks for usage in the last bytes of a reply too large to be held: every known server puts it
    /// at the end.
    pub fn tail(&mut self, tail: &[u8]) {
        let Some(at) = memchr::memmem::rfind(tail, b"\"usage\"") else { return };
        let rest = tail.get(at + b"\"usage\"".len()..).unwrap_or_default().trim_ascii_start();
        let Some(object) = rest.strip_prefix(b":") else { return };
        let first = serde_json::Deserializer::from_slice(object).into_iter::<Value>().next();
        let Some(Ok(usage)) = first else { return };
        let text = serde_json::json!({ "usage": usage }).to_string();
        if let Ok(account) = serde_json::from_str::<Account<'_>>(&text) {
            self.take(&account);
        }
    }

    /// The stream's own last event has passed: nothing of the answer is missing.
    pub fn is_terminated(&self) -> bool {
        self.terminated
    }

    /// Whether the answer, now that the connection ended, came to its end by its own rules.
    pub fn is_complete(&self) -> bool {
        match self.family {
            Family::Chat => self.terminated || self.finish_reason.is_some() || self.error.is_some(),
            Family::Responses | Family::Messages => self.terminated || self.error.is_some(),
            Family::Other => true,
        }
    }

    /// What still has to be said to clients that wait for it, after a complete stream: some servers
    /// leave out the last line.
    pub fn missing_end(&self) -> Option<Bytes> {
        let missing = self.family == Family::Chat && !self.terminated && self.error.is_none();
        missing.then(|| Bytes::from_static(b"data: [DONE]\n\n"))
    }

    /// What keeps a silent stream alive: what each format has for that. Codex's clock for silence hears events
    /// only, but the SDKs want none before the first of the stream.
    pub fn ping(&self) -> Bytes {
        match self.family {
            Family::Messages => Bytes::from_static(b"event: ping\ndata: {\"type\":\"ping\"}\n\n"),
            Family::Responses if self.opened.is_some() => {
                let number = self.sequence_number;
                let event = serde_json::json!({ "type": "keepalive", "sequence_number": number });
                Bytes::from(format!("event: keepalive\ndata: {event}\n\n"))
            }
            Family::Responses | Family::Chat | Family::Other => Bytes::from_static(b": ping\n\n"),
        }
    }

    /// The event that tells a client in its own format that the stream broke off: never an ending
    /// that looks like a complete answer.
    pub fn broken(&self, fault: &Fault) -> Bytes {
        match self.family {
            Family::Responses => {}
            Family::Messages => {
                let error = anthropic_usage::error(fault);
                return Bytes::from(format!("event: error\ndata: {error}\n\n"));
            }
            Family::Chat | Family::Other => {
                return Bytes::from(format!("data: {}\n\n", openai_error::object(fault)));
            }
        }
        // Codex and the SDKs ignore a bare `error` event; `response.failed` ends the turn.
        let mut response = self.opened.clone().unwrap_or_else(|| {
            let empty =
                serde_json::json!({ "id": "resp_broken", "object": "response", "output": [] });
            empty.as_object().cloned().unwrap_or_default()
        });
        response.insert("status".to_owned(), "failed".into());
        response.insert("error".to_owned(), client::failure(fault).to_value());
        let event = serde_json::json!({
            "type": "response.failed",
            "sequence_number": self.sequence_number,
            "response": response,
        });
        Bytes::from(format!("event: response.failed\ndata: {event}\n\n"))
    }

    /// Takes note of an event of an answer that is being translated.
    pub fn observe(&mut self, event: &Event) {
        match event {
            Event::Begin(head) => {
                if self.model.is_none() {
                    self.model.clone_from(&head.model);
                }
                if self.answer_id.is_none() {
                    self.answer_id.clone_from(&head.id);
                }
            }
            Event::Close { .. } | Event::Open { .. } => {}
            Event::Delta { delta, .. } => {
                self.has_content |= !matches!(delta, Delta::Seal(_));
            }
            Event::Finish { finish, .. } => self.finish_reason = Some(finish_word(finish)),
            Event::Usage(usage) => self.usage.get_or_insert_default().learn(*usage),
            Event::Fail(fault) => self.error = Some(fault.message.to_string()),
        }
    }

    /// The same for a whole answer.
    pub fn observe_reply(&mut self, reply: &Reply) {
        self.model.clone_from(&reply.head.model);
        self.answer_id.clone_from(&reply.head.id);
        self.has_content = true;
        self.usage = reply.usage;
        let finish = reply.choices.iter().find_map(|choice| choice.finish.as_ref());
        self.finish_reason = finish.map(finish_word);
    }

    fn take_message_event(&mut self, data: &[u8]) {
        let Ok(event) = serde_json::from_slice::<MessageEvent<'_>>(data) else { return };
        if let Some(message) = &event.message {
            self.take_message_account(message);
        }
        self.take_message_usage(event.usage);
        match event.kind.as_deref() {
            Some("content_block_delta") => self.has_content = true,
            Some("message_delta") => {
                let delta = event.delta.as_ref();
                let reason = delta.and_then(|delta| delta.stop_reason.clone());
                self.finish_reason = reason.or(self.finish_reason.take());
            }
            Some("message_stop") => self.terminated = true,
            kind if kind == Some("error") || event.error.is_some() => {
                let message = event.error.as_ref().and_then(|error| error.get("message")?.as_str());
                self.error = Some(message.unwrap_or("the provider reported an error").to_owned());
            }
            _ => {}
        }
    }

    fn take_message(&mut self, body: &[u8]) -> bool {
        // To serde a list is a struct, too.
        let is_object = body.trim_ascii_start().starts_with(b"{");
        let account = serde_json::from_slice::<MessageAccount<'_>>(body).ok().filter(|_| is_object);
        let Some(account) = account else { return false };
        self.has_content = true;
        self.take_message_account(&account);
        self.finish_reason = account.stop_reason;
        true
    }

    /// Later counts replace earlier ones.
    fn take_message_usage(&mut self, usage: Option<&RawValue>) {
        if let Some(usage) = usage.and_then(Fields::of) {
            self.message_counts.learn(usage);
            self.usage = Some(self.message_counts.usage());
        }
    }

    fn take_message_account(&mut self, account: &MessageAccount<'_>) {
        self.take_message_usage(account.usage);
        if self.model.is_none() {
            self.model.clone_from(&account.model);
        }
        if self.answer_id.is_none() {
            self.answer_id.clone_from(&account.id);
        }
    }

    fn take(&mut self, account: &Account<'_>) {
        if let Some(usage) = account.usage().filter(|usage| !usage.is_empty()) {
            self.usage = Some(usage);
        }
        if let Some(reason) = account.finish_reason() {
            self.finish_reason = Some(reason.to_owned());
        }
        if self.model.is_none() {
            self.model = account.model.as_deref().map(str::to_owned);
        }
        if self.answer_id.is_none() {
            self.answer_id.clone_from(&account.id);
        }
        self.has_content |= account.has_content();
        if let Some(number) = account.sequence_number {
            self.sequence_number = number + 1;
        }
        if let Some(error) = account.error.as_ref().filter(|error| !error.is_null()) {
            let message = error.get("message").and_then(Value::as_str);
            self.error = Some(message.map_or_else(|| error.to_string(), str::to_owned));
        }
        self.take_response(account);
    }

    fn take_response(&mut self, account: &Account<'_>) {
        if self.family != Family::Responses {
            return;
        }
        let Some(event) = account.event.as_deref() else {
            // Not a stream: the response object itself.
            self.finish_reason.clone_from(&account.status);
            return;
        };
        match event {
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.terminated = true;
                let status = event.trim_start_matches("response.").to_owned();
                if event == "response.failed" {
                    let error =
                        account.response.as_ref().and_then(|response| response.get("error"));
                    let message = error.and_then(|error| error.get("message")?.as_str());
                    self.error = Some(message.unwrap_or("the provider reported a failure").into());
                }
                self.finish_reason = Some(status);
            }
            "error" => self.error = Some("the provider reported an error".to_owned()),
            _ if self.opened.is_none() => {
                self.opened.clone_from(&account.response);
                let model = account.response.as_ref().and_then(|open| open.get("model")?.as_str());
                self.model = model.map(str::to_owned);
                let id = account.response.as_ref().and_then(|open| open.get("id")?.as_str());
                self.response_id = id.map(str::to_owned);
                self.answer_id.clone_from(&self.response_id);
            }
            _ => {}
        }
    }
}

/// What an answer that is no conversation tells of its size beside `usage`.
#[derive(Default)]
struct Units {
    /// Cohere's `meta`.
    billed: Meta,
    /// Of what was transcribed.
    seconds: Option<f64>,
    pictures: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    billed_units: BilledUnits,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BilledUnits {
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
    search_units: Option<f64>,
}

impl Units {
    /// What is known, and of these units what was not known yet.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
    fn with(self, known: Option<Usage>) -> Option<Usage> {
        let BilledUnits { input_tokens, output_tokens, search_units } = self.billed.billed_units;
        let count = |units: Option<f64>| units.filter(|it| *it >= 0.0).map(|units| units as u64);
        let mut usage = known.unwrap_or_default();
        let time = self.seconds.and_then(openai_usage::milliseconds);
        usage.input = usage.input.or(count(input_tokens));
        usage.output = usage.output.or(count(output_tokens));
        usage.queries = usage.queries.or(count(search_units));
        usage.audio_milliseconds = usage.audio_milliseconds.or(time);
        usage.images = usage.images.or(self.pictures);
        (!usage.is_empty()).then_some(usage)
    }
}

/// A length of time; once it was written as text.
fn seconds(value: &[u8]) -> Option<f64> {
    let text = || serde_json::from_slice::<String>(value).ok()?.parse().ok();
    serde_json::from_slice(value).ok().or_else(text)
}

/// How many pictures are in a list, where it is one of pictures.
fn pictures(data: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Picture<'p> {
        #[serde(borrow)]
        url: Option<&'p RawValue>,
        #[serde(borrow)]
        b64_json: Option<&'p RawValue>,
    }
    // Embeddings stand under the same name, and are long.
    let head = data.get(..data.len().min(256)).unwrap_or_default();
    memchr::memmem::find(head, b"\"url\"").or(memchr::memmem::find(head, b"\"b64_json\""))?;
    let pictures: Vec<Picture<'_>> = serde_json::from_slice(data).ok()?;
    let has_any = |it: &&Picture<'_>| it.url.is_some() || it.b64_json.is_some();
    Some(pictures.iter().filter(has_any).count() as u64)
}

/// The first `finish_reason` that is a string.
fn first_finish_reason(choices: &[u8]) -> Option<String> {
    FINISH.find_iter(choices).find_map(|at| {
        let rest = choices.get(at + FINISH.needle().len()..)?.trim_ascii_start();
        let value = rest.strip_prefix(b":")?;
        serde_json::Deserializer::from_slice(value).into_iter::<String>().next()?.ok()
    })
}

/// Whether the key is there with a value other than null.
fn has_value(key: &Finder<'_>, data: &[u8]) -> bool {
    key.find_iter(data).any(|at| {
        let rest = data.get(at + key.needle().len()..).unwrap_or_default().trim_ascii_start();
        rest.strip_prefix(b":").is_some_and(|value| !value.trim_ascii_start().starts_with(b"null"))
    })
}

/// OpenAI's word for why an answer ended, which rows hold for every format that is translated.
pub fn finish_word(finish: &Finish) -> String {
    let word = match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::Pause => "stop",
        Finish::Length | Finish::ContextWindow => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::Filtered(_) => "content_filter",
        Finish::Fault(word) => word,
    };
    word.to_owned()
}

/// Whether a message's event says near its beginning that it is a block's delta.
fn is_block_delta(data: &[u8]) -> bool {
    let head = data.get(..data.len().min(96)).unwrap_or_default();
    memchr::memmem::find(head, b"\"content_block_delta\"").is_some()
}

/// Whether the event says near its beginning that it is a delta.
fn is_delta(data: &[u8]) -> bool {
    let head = data.get(..data.len().min(96)).unwrap_or_default();
    memchr::memmem::find(head, b".delta\"").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(family: Family, events: &[&str]) -> (Tap, Vec<bool>) {
        let mut tap = Tap::new(family);
        let only = events
            .iter()
            .map(|data| tap.event(format!("data: {data}\n\n").as_bytes()).usage_only)
            .collect();
        (tap, only)
    }

    #[test]
    fn a_chat_stream_is_accounted_for() {
        let (tap, usage_only) = run(
            Family::Chat,
            &[
                r#"{"model":"m","choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#,
                r#"{"choices":[{"delta":{"content":"the \"usage\" of \"finish_reason\":\"x\""}}]}"#,
                r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
                r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":2}}}"#,
                "[DONE]",
            ],
        );
        assert_eq!(usage_only, [false, false, false, true, false]);
        assert_eq!(tap.finish_reason.as_deref(), Some("stop"));
        assert_eq!(tap.model.as_deref(), Some("m"));
        let expected = Usage {
            input: Some(9),
            output: Some(4),
            cache_read: Some(3),
            reasoning: Some(2),
            ..Usage::default()
        };
        assert_eq!(tap.usage, Some(expected));
        assert!(tap.is_complete() && tap.has_content && tap.missing_end().is_none());
    }

    /// What passes is accounted for as what is translated: the same counts, whatever else stands beside them.
    #[test]
    fn anthropics_streams_are_accounted_for() {
        let check = |stream: &str, finish: &str, expected: Usage| {
            let mut tap = Tap::new(Family::Messages);
            for event in stream.split_inclusive("\n\n") {
                tap.event(event.as_bytes());
            }
            assert_eq!(tap.finish_reason.as_deref(), Some(finish));
            assert_eq!(tap.usage, Some(expected));
        };
        check(
            include_str!("../../tests/golden/answers/anthropic/parallel_tools.sse"),
            "tool_use",
            Usage {
                input: Some(484),
                output: Some(89),
                cache_read: Some(0),
                cache_write: Some(12),
                reasoning: Some(30),
                ..Usage::default()
            },
        );
        check(
            include_str!("../../tests/golden/answers/anthropic/web_search.sse"),
            "pause_turn",
            Usage { input: Some(10), output: Some(510), searches: Some(1), ..Usage::default() },
        );
    }

    #[test]
    fn a_stream_without_its_end_is_not_complete() {
        let chunk = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
        assert!(!run(Family::Chat, &[chunk]).0.is_complete());
        let finished = r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#;
        let (tap, _) = run(Family::Chat, &[chunk, finished]);
        assert!(tap.is_complete());
        assert_eq!(tap.missing_end().as_deref(), Some(&b"data: [DONE]\n\n"[..]));
        let (tap, _) = run(Family::Chat, &[r#"{"error":{"message":"no","code":1}}"#]);
        assert_eq!(tap.error.as_deref(), Some("no"));
        assert!(tap.is_complete() && tap.missing_end().is_none());
    }

    #[test]
    fn odd_chunks_do_no_harm() {
        let (tap, usage_only) = run(
            Family::Chat,
            &[
                "",
                "{",
                "[1]",
                r#"{"usage":[],"choices":7}"#,
                r#"{"usage":{"prompt_tokens":-1,"completion_tokens":"x"},"choices":[]}"#,
            ],
        );
        assert!(tap.usage.is_none());
        assert_eq!(usage_only, [false, false, false, false, true]);
        let (tap, _) =
            run(Family::Chat, &[r#"{"x_groq":{"usage":{"prompt_tokens":5}},"choices":[]}"#]);
        assert_eq!(tap.usage.and_then(|usage| usage.input), Some(5));
    }

    #[test]
    fn a_responses_stream_is_accounted_for_and_closed_when_it_breaks() {
        let opened = r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","model":"m","status":"in_progress"}}"#;
        let delta = r#"{"type":"response.output_text.delta","sequence_number":1,"delta":"a"}"#;
        let (tap, _) = run(Family::Responses, &[opened, delta]);
        assert!(!tap.is_complete());
        let event = tap.broken(&Fault::invalid("It broke."));
        let data: Value = serde_json::from_slice(&sse::data(&event).expect("data")).expect("JSON");
        assert_eq!(data["type"], "response.failed");
        assert_eq!(data["sequence_number"], 2);
        assert_eq!(data["response"]["id"], "resp_1");
        assert_eq!(data["response"]["status"], "failed");
        assert_eq!(data["response"]["error"]["message"], "It broke.");
        let done = r#"{"type":"response.completed","sequence_number":2,"response":{"id":"resp_1","usage":{"input_tokens":7,"output_tokens":2,"output_tokens_details":{"reasoning_tokens":1}}}}"#;
        let (tap, _) = run(Family::Responses, &[opened, delta, done]);
        assert!(tap.is_complete());
        assert_eq!(tap.finish_reason.as_deref(), Some("completed"));
        assert_eq!(tap.model.as_deref(), Some("m"));
        let usage = tap.usage.expect("usage");
        assert_eq!((usage.input, usage.output, usage.reasoning), (Some(7), Some(2), Some(1)));
    }

    #[test]
    fn replies_and_their_tails_are_read() {
        let mut tap = Tap::new(Family::Chat);
        assert!(tap.reply(
            br#"{"model":"m","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#
        ));
        assert_eq!(tap.finish_reason.as_deref(), Some("stop"));
        assert!(!tap.reply(b"<html>"));
        assert!(!tap.reply(b"{\"choices\":["));
        let mut tap = Tap::new(Family::Other);
        tap.tail(br#"0.25]}],"model":"e", "usage" : {"prompt_tokens":8,"total_tokens":8}}"#);
        assert_eq!(tap.usage.and_then(|usage| usage.input), Some(8));
    }
}
