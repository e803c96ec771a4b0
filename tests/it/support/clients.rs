//! The four surfaces as their clients see them: how a small request looks on each, and what an answer, whole
//! or streamed, says to somebody who reads it strictly.

use serde_json::{Value, json};

use super::gateway::Gateway;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Chat,
    Responses,
    Messages,
    Completions,
}

/// What a client was told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) text: String,
    pub(crate) thoughts: String,
    /// The message of the error with which a stream ended, or of the whole answer.
    pub(crate) error: Option<String>,
    /// It came to what looks like a proper end.
    pub(crate) complete: bool,
    /// Input tokens (those of the cache included) and output tokens.
    pub(crate) usage: Option<(u64, u64)>,
    /// Comments and events that only keep the stream alive.
    pub(crate) pings: usize,
}

impl Client {
    pub(crate) const ALL: [Self; 4] =
        [Self::Chat, Self::Responses, Self::Messages, Self::Completions];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
            Self::Completions => "/v1/completions",
        }
    }

    /// A request that says "hi".
    pub(crate) fn body(self, model: &str, stream: bool) -> Value {
        let mut body = json!({ "model": model, "stream": stream });
        let hi = json!([{ "role": "user", "content": "hi" }]);
        match self {
            Self::Chat => body["messages"] = hi,
            Self::Responses => {
                body["input"] = "hi".into();
                body["store"] = false.into();
            }
            Self::Messages => {
                body["messages"] = hi;
                body["max_tokens"] = 100.into();
            }
            Self::Completions => body["prompt"] = "hi".into(),
        }
        if stream && matches!(self, Self::Chat | Self::Completions) {
            body["stream_options"] = json!({ "include_usage": true });
        }
        body
    }

    /// Sends a body and reads what comes back, to its end; the status with it.
    pub(crate) async fn tell(self, gateway: &Gateway, body: &Value) -> (u16, Told) {
        let answer = gateway.post(self.path(), body).send().await.unwrap();
        let status = answer.status().as_u16();
        let is_events = answer
            .headers()
            .get("content-type")
            .is_some_and(|kind| kind.to_str().unwrap().starts_with("text/event-stream"));
        let text = answer.text().await.unwrap();
        let told = if is_events { self.events(&text) } else { self.whole(&text) };
        (status, told)
    }

    /// Reads an answer that came whole.
    pub(crate) fn whole(self, text: &str) -> Told {
        let body: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"));
        let mut told = Told::default();
        if let Some(message) = body.pointer("/error/message").and_then(Value::as_str) {
            if self == Self::Messages {
                assert_eq!(body["type"], "error", "{text}");
            }
            told.error = Some(message.to_owned());
            return told;
        }
        told.complete = true;
        match self {
            Self::Chat => {
                let message = &body["choices"][0]["message"];
                told.text = string(&message["content"]);
                told.thoughts = string(&message["reasoning_content"]);
                assert!(body["choices"][0]["finish_reason"].is_string(), "{text}");
            }
            Self::Completions => {
                told.text = string(&body["choices"][0]["text"]);
                assert!(body["choices"][0]["finish_reason"].is_string(), "{text}");
            }
            Self::Responses => told.output(&body["output"]),
            Self::Messages => {
                for block in body["content"].as_array().unwrap() {
                    told.text += block["text"].as_str().unwrap_or_default();
                    told.thoughts += block["thinking"].as_str().unwrap_or_default();
                }
                assert!(body["stop_reason"].is_string(), "{text}");
            }
        }
        told.usage = self.usage(&body["usage"]);
        told
    }

    /// Reads a stream, and holds it to the rules of its format.
    pub(crate) fn events(self, text: &str) -> Told {
        let mut told = Told::default();
        let mut sequence = 0;
        let mut open_block = None;
        let mut usage = json!({});
        for event in text.split("\n\n").filter(|event| !event.is_empty()) {
            assert!(!told.complete, "something behind the end: {event}");
            assert!(told.error.is_none(), "something behind the error: {event}");
            let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            let Some(data) = line("data: ") else {
                assert!(event.starts_with(':'), "neither data nor a comment: {event:?}");
                told.pings += 1;
                continue;
            };
            if data == "[DONE]" {
                assert!(matches!(self, Self::Chat | Self::Completions), "{text}");
                told.complete = true;
                continue;
            }
            let data: Value = serde_json::from_str(data).unwrap_or_else(|_| panic!("{event}"));
            match self {
                Self::Chat | Self::Completions => {
                    assert!(line("event: ").is_none(), "{event}");
                    told.chunk(&data);
                    if data["usage"].is_object() {
                        assert!(told.usage.is_none(), "usage twice: {text}");
                        told.usage = self.usage(&data["usage"]);
                    }
                }
                Self::Responses => {
                    assert_eq!(line("event: "), data["type"].as_str(), "{event}");
                    // A scripted failure does not know how much came before it.
                    let fails = data["type"] == "response.failed";
                    assert!(data["sequence_number"] == sequence || fails, "{text}");
                    // Between events of somebody else it has the number of the next.
                    let is_theirs = text.contains("resp_up") && data["type"] == "keepalive";
                    sequence += u64::from(!is_theirs);
                    told.response_event(&data);
                    if told.complete {
                        told.usage = self.usage(&data["response"]["usage"]);
                    }
                }
                Self::Messages => {
                    assert_eq!(line("event: "), data["type"].as_str(), "{event}");
                    told.message_event(&data, &mut open_block);
                    // The counts at the end are laid over those at the beginning.
                    let counts = data.pointer("/message/usage").unwrap_or(&data["usage"]);
                    for (name, count) in counts.as_object().into_iter().flatten() {
                        usage[name] = count.clone();
                    }
                    told.usage = self.usage(&usage);
                }
            }
        }
        told
    }

    fn usage(self, usage: &Value) -> Option<(u64, u64)> {
        let count = |name: &str| usage[name].as_u64();
        match self {
            Self::Chat | Self::Completions => {
                Some((count("prompt_tokens")?, count("completion_tokens")?))
            }
            Self::Responses => Some((count("input_tokens")?, count("output_tokens")?)),
            Self::Messages => {
                let cached = ["cache_read_input_tokens", "cache_creation_input_tokens"];
                let cached: u64 = cached.into_iter().filter_map(count).sum();
                Some((count("input_tokens")? + cached, count("output_tokens")?))
            }
        }
    }
}

impl Told {
    fn chunk(&mut self, data: &Value) {
        if let Some(message) = data.pointer("/error/message").and_then(Value::as_str) {
            self.error = Some(message.to_owned());
            return;
        }
        let choice = &data["choices"][0];
        self.text += choice["delta"]["content"].as_str().unwrap_or_default();
        self.text += choice["text"].as_str().unwrap_or_default();
        self.thoughts += choice["delta"]["reasoning_content"].as_str().unwrap_or_default();
    }

    fn response_event(&mut self, data: &Value) {
        let delta = data["delta"].as_str().unwrap_or_default();
        match data["type"].as_str().unwrap() {
            "response.output_text.delta" => self.text += delta,
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.thoughts += delta;
            }
            "response.completed" => {
                self.complete = true;
                let mut whole = Self::default();
                whole.output(&data["response"]["output"]);
                assert_eq!((&whole.text, &whole.thoughts), (&self.text, &self.thoughts));
            }
            "response.failed" => {
                self.error = Some(string(&data["response"]["error"]["message"]));
                assert_eq!(data["response"]["status"], "failed");
            }
            "keepalive" => self.pings += 1,
            _ => {}
        }
    }

    fn message_event(&mut self, data: &Value, open: &mut Option<u64>) {
        let index = data["index"].as_u64();
        match data["type"].as_str().unwrap() {
            "content_block_start" => assert_eq!(std::mem::replace(open, index), None, "{data}"),
            "content_block_delta" => {
                assert_eq!(index, *open, "{data}");
                self.text += data["delta"]["text"].as_str().unwrap_or_default();
                self.thoughts += data["delta"]["thinking"].as_str().unwrap_or_default();
            }
            "content_block_stop" => assert_eq!(open.take(), index, "{data}"),
            "message_stop" => {
                assert_eq!(*open, None, "a block is open at the end");
                self.complete = true;
            }
            "error" => self.error = Some(string(&data["error"]["message"])),
            "ping" => self.pings += 1,
            _ => {}
        }
    }

    /// The items of a response.
    fn output(&mut self, items: &Value) {
        for item in items.as_array().unwrap() {
            for list in ["content", "summary"] {
                for part in item[list].as_array().into_iter().flatten() {
                    let text = part["text"].as_str().unwrap_or_default();
                    let thinks = item["type"] == "reasoning";
                    if thinks { &mut self.thoughts } else { &mut self.text }.push_str(text);
                }
            }
        }
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
