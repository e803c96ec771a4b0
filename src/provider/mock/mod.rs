//! The provider that answers by itself: for a first run without keys or network, for trying a client,
//! for tests of whole set-ups. It speaks OpenAI's chat, completions and embeddings, streamed too, calls tools, two at once
//! where two things are asked for, and quotes their results; what clients of other formats read is made of that, as for any provider. The same request always gives the same answer.

mod arguments;
mod chat;
mod embedding;
mod tool;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value};

use super::{Reply, ReplyBody};
use crate::ground::fault::{Fault, Kind};

const DEFAULT_TEXT: &str = "This is a mock response from Tidegate.";

/// What the mock was asked, in the terms every surface shares.
struct Asked<'r> {
    request: &'r Map<String, Value>,
    /// The public name of the model, which the answer bears.
    model: &'r str,
    stream: bool,
    /// What the user said last.
    text: String,
    /// The results of the tool calls before this turn: each with its name where known, and its text.
    results: Vec<(String, String)>,
    /// The configured answer.
    canned: Option<&'r str>,
    /// Distinguishes this answer from others.
    id: String,
    created: i64,
}

/// What the mock says.
enum Says {
    Text(String),
    /// All in one turn; at least one.
    Calls(Vec<Call>),
}

/// A call of a tool.
struct Call {
    name: String,
    arguments: String,
}

/// The identity of one answer, which only the caller can know (the mock reads no clock).
#[derive(Clone, Debug)]
pub struct Stamp {
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
}

/// Answers a call to `path`. `canned` is `mock_response`: a text, or the name of one of LiteLLM's
/// exceptions (`litellm.RateLimitError`), which gives that error.
///
/// # Errors
/// The error asked for by name; an `InvalidRequest` for a body the surface cannot have; `Unsupported`
/// for a surface the mock does not speak.
pub fn answer(
    path: &str,
    body: &[u8],
    model: &str,
    canned: Option<&str>,
    stamp: Stamp,
) -> Result<Reply, Fault> {
    if let Some(fault) = canned.and_then(named_error) {
        return Err(fault);
    }
    let request: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| Fault::invalid(format!("The request body cannot be read: {error}.")))?;
    let stream = request.get("stream") == Some(&Value::Bool(true));
    let (text, results) = match path {
        "/chat/completions" => chat::last_said(&request)?,
        "/completions" => (plain_text(request.get("prompt")), Vec::new()),
        "/embeddings" => return embedding::answer(&request, model),
        _ => {
            return Err(Fault::new(
                Kind::Unsupported,
                "The mock model answers conversations and embeddings. \
                 Send this request to a model of a real provider.",
            ));
        }
    };
    let Stamp { id, created } = stamp;
    let asked = Asked { request: &request, model, stream, text, results, canned, id, created };
    let says = asked.decide();
    Ok(match path {
        "/completions" => chat::legacy(&asked, says),
        _ => chat::answer(&asked, says),
    })
}

impl Asked<'_> {
    fn decide(&self) -> Says {
        let quoted = self.results.iter();
        let quoted = quoted.map(|(name, result)| format!("The tool {name} answered: {result}"));
        let quoted: Vec<String> = quoted.collect();
        if !quoted.is_empty() {
            return Says::Text(quoted.join("\n"));
        }
        let chosen = tool::choose(self.request, &self.text);
        let calls = chosen.iter().map(|(tool, words)| Call {
            name: tool.name.to_owned(),
            arguments: arguments::fill(tool.parameters, words),
        });
        let calls: Vec<Call> = calls.collect();
        if !calls.is_empty() {
            return Says::Calls(calls);
        }
        Says::Text(self.canned.unwrap_or(DEFAULT_TEXT).to_owned())
    }

    /// Figures that grow with the texts, about as a real tokeniser's do.
    fn tokens(&self, says: &Says) -> (usize, usize) {
        let answer = match says {
            Says::Text(text) => text.len(),
            Says::Calls(calls) => calls.iter().map(|call| call.arguments.len()).sum(),
        };
        (self.text.len().div_ceil(4).max(1), answer.div_ceil(4).max(1))
    }
}

/// LiteLLM's exception names and the errors they stand for.
fn named_error(name: &str) -> Option<Fault> {
    let (status, code) = match name.strip_prefix("litellm.").unwrap_or(name) {
        "BadRequestError" => (400, None),
        "ContextWindowExceededError" => (400, Some("context_length_exceeded")),
        "ContentPolicyViolationError" => (400, Some("content_policy_violation")),
        "AuthenticationError" => (401, None),
        "PermissionDeniedError" => (403, None),
        "NotFoundError" => (404, None),
        "Timeout" => (408, None),
        "RateLimitError" => (429, None),
        "InternalServerError" => (500, None),
        "ServiceUnavailableError" => (503, None),
        _ => return None,
    };
    let mut fault = Fault::new(Kind::Upstream(status), format!("Mock error: {name}."));
    fault.details_mut().code = code.map(str::to_owned);
    if status == 429 {
        fault = fault.with_retry_after(1);
    }
    Some(fault)
}

/// The text of a content value: a string, or the text parts of a list.
fn plain_text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts =
                parts.iter().filter_map(|part| part.as_str().or(part.get("text")?.as_str()));
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

/// A text in the pieces a model would stream it in; together they are the text.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

fn reply(content_type: &'static str, frames: impl IntoIterator<Item = Bytes>) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Reply { status: 200, headers, body: ReplyBody::Local(frames.into_iter().collect()) }
}

fn json_reply(body: &Value) -> Reply {
    reply("application/json", [Bytes::from(body.to_string())])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub(super) fn ask(path: &str, body: Value) -> Vec<Value> {
        let stamp = Stamp { id: "1".into(), created: 7 };
        let reply = answer(path, body.to_string().as_bytes(), "m", None, stamp).expect("an answer");
        let ReplyBody::Local(frames) = reply.body else { panic!("local") };
        let text: Vec<u8> = frames.into_iter().flatten().collect();
        if !text.starts_with(b"data:") && !text.starts_with(b"event:") {
            return vec![serde_json::from_slice(&text).expect("JSON")];
        }
        String::from_utf8(text)
            .expect("UTF-8")
            .split("\n\n")
            .filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")))
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).expect("JSON"))
            .collect()
    }

    #[test]
    fn errors_can_be_asked_for_by_name() {
        let stamp = Stamp { id: "1".into(), created: 7 };
        let fault = answer("/chat/completions", b"{}", "m", Some("litellm.RateLimitError"), stamp)
            .expect_err("the error");
        assert_eq!((fault.status(), fault.retry_after()), (429, Some("1")));
    }

    #[test]
    fn chat_answers_streams_and_calls_tools() {
        let messages = json!([{ "role": "user", "content": "hi" }]);
        let whole = &ask("/chat/completions", json!({ "messages": messages }))[0];
        assert_eq!(whole["choices"][0]["message"]["content"], DEFAULT_TEXT);
        let events = ask(
            "/chat/completions",
            json!({ "messages": messages, "stream": true, "stream_options": { "include_usage": true } }),
        );
        let text: String = events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(text, DEFAULT_TEXT);
        assert_eq!(events.last().expect("usage")["usage"]["completion_tokens"], 10);

        let tools =
            json!([{ "type": "function", "function": { "name": "look_up", "parameters": {} } }]);
        let call = &ask("/chat/completions", json!({ "messages": messages, "tools": tools }))[0];
        assert_eq!(call["choices"][0]["finish_reason"], "tool_calls");
        let call = &call["choices"][0]["message"]["tool_calls"][0];
        assert_eq!(call["function"]["name"], "look_up");
        let messages = json!([
            { "role": "user", "content": "hi" },
            { "role": "assistant", "tool_calls": [call] },
            { "role": "tool", "tool_call_id": call["id"], "content": "42" },
        ]);
        let last = &ask("/chat/completions", json!({ "messages": messages, "tools": tools }))[0];
        assert_eq!(last["choices"][0]["message"]["content"], "The tool look_up answered: 42");
    }

    #[test]
    fn two_things_are_two_calls_in_one_turn() {
        let tools: Vec<Value> = ["list_schemas", "get_time"]
            .map(|name| json!({ "type": "function", "function": { "name": name, "parameters": {} } }))
            .to_vec();
        let mut messages = json!([{ "role": "user", "content": "List schemas and get the time." }]);
        let body = json!({ "messages": messages, "tools": tools, "stream": true });
        let events = ask("/chat/completions", body.clone());
        let deltas = events.iter().filter_map(|it| it["choices"][0]["delta"]["tool_calls"].get(0));
        let names: Vec<(u64, &str)> = deltas
            .filter_map(|call| Some((call["index"].as_u64()?, call["function"]["name"].as_str()?)))
            .collect();
        assert_eq!(names, [(0, "list_schemas"), (1, "get_time")]);
        let whole = &ask("/chat/completions", json!({ "messages": messages, "tools": tools }))[0];
        let message = whole["choices"][0]["message"].clone();
        let calls = message["tool_calls"].as_array().expect("calls").clone();
        assert_ne!(calls[0]["id"], calls[1]["id"]);
        let results = [1, 0].map(|at: usize| {
            let id = &calls[at]["id"];
            json!({ "role": "tool", "tool_call_id": id, "content": format!("r{at}") })
        });
        messages.as_array_mut().expect("messages").push(message);
        messages.as_array_mut().expect("messages").extend(results);
        let last = &ask("/chat/completions", json!({ "messages": messages, "tools": tools }))[0];
        assert_eq!(
            last["choices"][0]["message"]["content"],
            "The tool get_time answered: r1\nThe tool list_schemas answered: r0"
        );
    }

    #[test]
    fn embeddings_have_the_wanted_shape() {
        let answer = &ask("/embeddings", json!({ "input": ["a", "b"], "dimensions": 4 }))[0];
        let vector: Vec<f64> =
            serde_json::from_value(answer["data"][1]["embedding"].clone()).expect("floats");
        assert_eq!(vector.len(), 4);
        let length: f64 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-3);
        assert_ne!(answer["data"][0]["embedding"], answer["data"][1]["embedding"]);
        let text = &ask(
            "/embeddings",
            json!({ "input": [1, 2], "dimensions": 4, "encoding_format": "base64" }),
        )[0];
        assert_eq!(text["data"][0]["embedding"].as_str().expect("base64").len(), 24);
        assert_eq!(text["data"].as_array().expect("list").len(), 1);
    }
}
