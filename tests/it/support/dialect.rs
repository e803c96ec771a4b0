//! A scripted provider in any of the formats: what it says becomes an answer of its format,
//! whole or streamed, and what it heard becomes the same plain list for all, so that one test serves them all.

use serde_json::{Value, json};

use super::upstream::{Seen, Step, chunk, events_head, json as whole, last_chunk};

/// A format that a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Chat,
    /// OpenAI's own.
    Responses,
    Anthropic,
    Gemini,
    Ollama,
}

/// All that are no responses.
pub(crate) const ALL: [Dialect; 4] =
    [Dialect::Chat, Dialect::Anthropic, Dialect::Gemini, Dialect::Ollama];

/// One thing that a model says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Say {
    Text(&'static str),
    /// A call of the tool `look`, with these arguments.
    Look(&'static str),
    /// A call of a tool by its name.
    Call(&'static str, &'static str),
    /// Thoughts, with the seal that proves them, in those formats that have one.
    Thought(&'static str, &'static str),
}

impl Say {
    /// The name and the arguments of a call.
    fn call(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Look(arguments) => Some(("look", arguments)),
            Self::Call(name, arguments) => Some((name, arguments)),
            Self::Text(_) | Self::Thought(..) => None,
        }
    }
}

impl Dialect {
    /// `litellm_params` of a model of this format at an address.
    pub(crate) fn params(self, address: std::net::SocketAddr) -> String {
        let (model, path) = match self {
            Self::Chat => ("hosted_vllm/up", "/v1"),
            Self::Responses => ("openai/responses/up", "/v1"),
            Self::Anthropic => ("anthropic/claude-sonnet-4-5", ""),
            Self::Gemini => ("gemini/gemini-3-pro", "/v1beta"),
            Self::Ollama => ("ollama_chat/up", ""),
        };
        format!("{{model: {model}, api_base: 'http://{address}{path}', api_key: sk-upstream}}")
    }

    /// Answers as it was asked: whole or as a stream.
    pub(crate) fn answer(self, seen: &Seen, says: &[Say]) -> Vec<Step> {
        let is_stream = match self {
            Self::Gemini => seen.path.contains("streamGenerateContent"),
            _ => seen.json()["stream"] == true,
        };
        match (self, is_stream) {
            (Self::Chat, false) => whole(200, "", &chat(says).to_string()),
            (Self::Chat, true) => events(chat_events(says)),
            (Self::Responses, false) => whole(200, "", &responses(says).to_string()),
            (Self::Responses, true) => events(responses_events(says)),
            (Self::Anthropic, false) => whole(200, "", &anthropic(says).to_string()),
            (Self::Anthropic, true) => events(anthropic_events(says)),
            (Self::Gemini, false) => whole(200, "", &gemini(says).to_string()),
            (Self::Gemini, true) => events(vec![("", gemini(says))]),
            (Self::Ollama, is_stream) => ollama(says, is_stream),
        }
    }

    /// What the provider was told: `role: text`, `role calls look {…}`, `result text`, `role thinks text (seal)`.
    pub(crate) fn heard(self, seen: &Seen) -> Vec<String> {
        let body = seen.json();
        match self {
            Self::Chat | Self::Ollama => {
                body["messages"].as_array().unwrap().iter().flat_map(heard_of_chat).collect()
            }
            Self::Responses => heard_of_responses(&body),
            Self::Anthropic => heard_of_anthropic(&body),
            Self::Gemini => heard_of_gemini(&body),
        }
    }
}

fn events(all: Vec<(&str, Value)>) -> Vec<Step> {
    let mut steps = vec![events_head()];
    for (name, data) in all {
        let name = if name.is_empty() { String::new() } else { format!("event: {name}\n") };
        let data = if data.is_null() { "[DONE]".to_owned() } else { data.to_string() };
        steps.push(chunk(format!("{name}data: {data}\n\n").as_bytes()));
    }
    steps.push(last_chunk());
    steps
}

fn calls(says: &[Say]) -> bool {
    says.iter().any(|say| say.call().is_some())
}

fn chat_message(says: &[Say]) -> Value {
    let mut message = json!({ "role": "assistant", "content": null });
    for (at, say) in says.iter().enumerate() {
        match say {
            Say::Text(text) => message["content"] = (*text).into(),
            Say::Look(_) | Say::Call(..) => {
                let (name, arguments) = say.call().unwrap();
                let calls = message["tool_calls"].as_array().map_or(0, Vec::len);
                let call = json!({ "index": calls, "id": format!("call_up{at}"), "type": "function",
                    "function": { "name": name, "arguments": arguments } });
                if calls == 0 {
                    message["tool_calls"] = json!([]);
                }
                message["tool_calls"].as_array_mut().unwrap().push(call);
            }
            Say::Thought(text, _) => message["reasoning_content"] = (*text).into(),
        }
    }
    message
}

fn chat(says: &[Say]) -> Value {
    let finish = if calls(says) { "tool_calls" } else { "stop" };
    json!({ "id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "up",
        "choices": [{ "index": 0, "finish_reason": finish, "message": chat_message(says) }],
        "usage": { "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18 } })
}

fn chat_events(says: &[Say]) -> Vec<(&'static str, Value)> {
    let finish = if calls(says) { "tool_calls" } else { "stop" };
    let chunk = |choices: Value| {
        (
            "",
            json!({ "id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "up",
            "choices": choices }),
        )
    };
    vec![
        chunk(json!([{ "index": 0, "delta": chat_message(says), "finish_reason": null }])),
        chunk(json!([{ "index": 0, "delta": {}, "finish_reason": finish }])),
        ("", Value::Null),
    ]
}

fn responses_item(at: usize, say: &Say) -> Value {
    match say {
        Say::Text(text) => {
            json!({ "type": "message", "id": format!("msg_up{at}"), "status": "completed",
            "role": "assistant", "content": [{ "type": "output_text", "text": text, "annotations": [] }] })
        }
        Say::Thought(text, seal) => json!({ "type": "reasoning", "id": format!("rs_up{at}"),
            "summary": [{ "type": "summary_text", "text": text }], "encrypted_content": seal }),
        Say::Look(_) | Say::Call(..) => {
            let (name, arguments) = say.call().unwrap();
            json!({ "type": "function_call", "id": format!("fc_up{at}"), "call_id": format!("call_up{at}"),
                "status": "completed", "name": name, "arguments": arguments })
        }
    }
}

fn responses(says: &[Say]) -> Value {
    let output: Vec<Value> =
        says.iter().enumerate().map(|(at, say)| responses_item(at, say)).collect();
    json!({ "id": "resp_up", "object": "response", "created_at": 1, "status": "completed", "model": "up",
        "output": output, "usage": { "input_tokens": 11, "output_tokens": 7, "total_tokens": 18 } })
}

fn responses_events(says: &[Say]) -> Vec<(&'static str, Value)> {
    let mut begun = responses(says);
    begun["output"] = json!([]);
    begun["status"] = "in_progress".into();
    let mut all =
        vec![("response.created", json!({ "type": "response.created", "response": begun }))];
    for (at, say) in says.iter().enumerate() {
        let whole = responses_item(at, say);
        let mut opening = whole.clone();
        opening["status"] = "in_progress".into();
        let told = |kind: &'static str, item: &Value| {
            (kind, json!({ "type": kind, "output_index": at, "item": item }))
        };
        let id = whole["id"].clone();
        match say {
            Say::Text(text) => {
                opening["content"] = json!([]);
                all.push(told("response.output_item.added", &opening));
                all.push((
                    "response.output_text.delta",
                    json!({ "type": "response.output_text.delta",
                    "item_id": id, "output_index": at, "content_index": 0, "delta": text }),
                ));
            }
            Say::Look(_) | Say::Call(..) => {
                opening["arguments"] = "".into();
                all.push(told("response.output_item.added", &opening));
                let kind = "response.function_call_arguments.delta";
                all.push((
                    kind,
                    json!({ "type": kind, "item_id": id, "output_index": at,
                    "delta": say.call().unwrap().1 }),
                ));
            }
            Say::Thought(..) => all.push(told("response.output_item.added", &opening)),
        }
        all.push(told("response.output_item.done", &whole));
    }
    let done = json!({ "type": "response.completed", "response": responses(says) });
    all.push(("response.completed", done));
    all
}

fn anthropic_block(at: usize, say: &Say) -> Value {
    match say {
        Say::Text(text) => json!({ "type": "text", "text": text }),
        Say::Look(_) | Say::Call(..) => {
            let (name, arguments) = say.call().unwrap();
            let input: Value = serde_json::from_str(arguments).unwrap();
            json!({ "type": "tool_use", "id": format!("toolu_up{at}"), "name": name, "input": input })
        }
        Say::Thought(text, seal) => {
            json!({ "type": "thinking", "thinking": text, "signature": seal })
        }
    }
}

fn anthropic(says: &[Say]) -> Value {
    let content: Vec<Value> =
        says.iter().enumerate().map(|(at, say)| anthropic_block(at, say)).collect();
    let stop = if calls(says) { "tool_use" } else { "end_turn" };
    json!({ "id": "msg_up", "type": "message", "role": "assistant", "model": "claude", "content": content,
        "stop_reason": stop, "stop_sequence": null, "usage": { "input_tokens": 11, "output_tokens": 7 } })
}

fn anthropic_events(says: &[Say]) -> Vec<(&'static str, Value)> {
    let mut message = anthropic(says);
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    let mut all = vec![("message_start", json!({ "type": "message_start", "message": message }))];
    for (index, say) in says.iter().enumerate() {
        let (opening, deltas) = match say {
            Say::Text(text) => (
                json!({ "type": "text", "text": "" }),
                vec![json!({ "type": "text_delta", "text": text })],
            ),
            Say::Look(_) | Say::Call(..) => {
                let (_, arguments) = say.call().unwrap();
                let mut block = anthropic_block(index, say);
                block["input"] = json!({});
                (block, vec![json!({ "type": "input_json_delta", "partial_json": arguments })])
            }
            Say::Thought(text, seal) => (
                json!({ "type": "thinking", "thinking": "", "signature": "" }),
                vec![
                    json!({ "type": "thinking_delta", "thinking": text }),
                    json!({ "type": "signature_delta", "signature": seal }),
                ],
            ),
        };
        let start =
            json!({ "type": "content_block_start", "index": index, "content_block": opening });
        all.push(("content_block_start", start));
        for delta in deltas {
            let event = json!({ "type": "content_block_delta", "index": index, "delta": delta });
            all.push(("content_block_delta", event));
        }
        let stop = json!({ "type": "content_block_stop", "index": index });
        all.push(("content_block_stop", stop));
    }
    let stop = if calls(says) { "tool_use" } else { "end_turn" };
    all.push((
        "message_delta",
        json!({ "type": "message_delta", "delta": { "stop_reason": stop, "stop_sequence": null },
            "usage": { "output_tokens": 7 } }),
    ));
    all.push(("message_stop", json!({ "type": "message_stop" })));
    all
}

/// Gemini's seal stands on the part behind the thoughts, most often the call.
fn gemini(says: &[Say]) -> Value {
    let mut parts: Vec<Value> = Vec::new();
    let mut seal = None;
    for say in says {
        let mut part = match say {
            Say::Text(text) => json!({ "text": text }),
            Say::Look(_) | Say::Call(..) => {
                let (name, arguments) = say.call().unwrap();
                let args: Value = serde_json::from_str(arguments).unwrap();
                json!({ "functionCall": { "name": name, "args": args } })
            }
            Say::Thought(text, signature) => {
                seal = Some(*signature);
                parts.push(json!({ "text": text, "thought": true }));
                continue;
            }
        };
        if let Some(seal) = seal.take() {
            part["thoughtSignature"] = seal.into();
        }
        parts.push(part);
    }
    json!({ "candidates": [{ "content": { "role": "model", "parts": parts }, "finishReason": "STOP", "index": 0 }],
        "usageMetadata": { "promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18 },
        "modelVersion": "gemini" })
}

fn ollama(says: &[Say], is_stream: bool) -> Vec<Step> {
    let mut message = json!({ "role": "assistant", "content": "" });
    for say in says {
        match say {
            Say::Text(text) => message["content"] = (*text).into(),
            Say::Look(_) | Say::Call(..) => {
                let (name, arguments) = say.call().unwrap();
                let arguments: Value = serde_json::from_str(arguments).unwrap();
                if message["tool_calls"].is_null() {
                    message["tool_calls"] = json!([]);
                }
                let call = json!({ "function": { "name": name, "arguments": arguments } });
                message["tool_calls"].as_array_mut().unwrap().push(call);
            }
            Say::Thought(text, _) => message["thinking"] = (*text).into(),
        }
    }
    let line = |message: Value, done: bool| {
        let mut line = json!({ "model": "up", "created_at": "2026-01-01T00:00:00Z", "message": message,
            "done": done });
        if done {
            line["done_reason"] = "stop".into();
            line["prompt_eval_count"] = 11.into();
            line["eval_count"] = 7.into();
        }
        line
    };
    if !is_stream {
        return whole(200, "", &line(message, true).to_string());
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    let last = line(json!({ "role": "assistant", "content": "" }), true);
    vec![
        Step::Write(head.into()),
        chunk(format!("{}\n", line(message, false)).as_bytes()),
        chunk(format!("{last}\n").as_bytes()),
        last_chunk(),
    ]
}

/// The text of a content that is a string or a list of parts.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().concat()
        }
        _ => String::new(),
    }
}

fn heard_of_chat(message: &Value) -> Vec<String> {
    let role = message["role"].as_str().unwrap();
    let text = text(&message["content"]);
    if role == "tool" {
        return vec![format!("result {text}")];
    }
    let mut heard = Vec::new();
    for name in ["reasoning_content", "thinking"] {
        if let Some(thought) = message[name].as_str() {
            heard.push(format!("{role} thinks {thought}"));
        }
    }
    if !text.is_empty() {
        heard.push(format!("{role}: {text}"));
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let arguments = &call["function"]["arguments"];
        let arguments = arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned);
        heard.push(format!(
            "{role} calls {} {arguments}",
            call["function"]["name"].as_str().unwrap()
        ));
    }
    heard
}

fn heard_of_responses(body: &Value) -> Vec<String> {
    let item = |item: &Value| {
        let role = item["role"].as_str().unwrap_or("assistant");
        match item["type"].as_str().unwrap_or("message") {
            "message" => format!("{role}: {}", text(&item["content"])),
            "function_call" => format!(
                "assistant calls {} {}",
                item["name"].as_str().unwrap(),
                item["arguments"].as_str().unwrap()
            ),
            "function_call_output" => format!("result {}", text(&item["output"])),
            other => other.to_owned(),
        }
    };
    match &body["input"] {
        Value::String(text) => vec![format!("user: {text}")],
        items => items.as_array().into_iter().flatten().map(item).collect(),
    }
}

fn heard_of_anthropic(body: &Value) -> Vec<String> {
    let mut heard = Vec::new();
    let system = text(&body["system"]);
    if !system.is_empty() {
        heard.push(format!("system: {system}"));
    }
    for message in body["messages"].as_array().unwrap() {
        let role = message["role"].as_str().unwrap();
        if let Value::String(text) = &message["content"] {
            heard.push(format!("{role}: {text}"));
        }
        for block in message["content"].as_array().into_iter().flatten() {
            heard.push(match block["type"].as_str().unwrap() {
                "text" => format!("{role}: {}", block["text"].as_str().unwrap()),
                "tool_use" => {
                    format!("{role} calls {} {}", block["name"].as_str().unwrap(), block["input"])
                }
                "tool_result" => format!("result {}", text(&block["content"])),
                "thinking" => format!(
                    "{role} thinks {} ({})",
                    block["thinking"].as_str().unwrap(),
                    block["signature"].as_str().unwrap()
                ),
                other => other.to_owned(),
            });
        }
    }
    heard
}

fn heard_of_gemini(body: &Value) -> Vec<String> {
    let mut heard = Vec::new();
    let system = text(&body["systemInstruction"]["parts"]);
    if !system.is_empty() {
        heard.push(format!("system: {system}"));
    }
    for content in body["contents"].as_array().unwrap() {
        let role = if content["role"] == "model" { "assistant" } else { "user" };
        for part in content["parts"].as_array().unwrap() {
            let seal = part["thoughtSignature"].as_str();
            let seal = seal.map(|seal| format!(" ({seal})")).unwrap_or_default();
            if let Some(call) = part.get("functionCall") {
                let (name, args) = (call["name"].as_str().unwrap(), &call["args"]);
                heard.push(format!("{role} calls {name} {args}{seal}"));
            } else if let Some(result) = part.get("functionResponse") {
                let said = &result["response"];
                let said = said.as_object().and_then(|said| said.values().next()).unwrap_or(said);
                heard.push(format!(
                    "result {}",
                    said.as_str().map_or_else(|| said.to_string(), str::to_owned)
                ));
            } else {
                heard.push(format!("{role}: {}{seal}", part["text"].as_str().unwrap_or_default()));
            }
        }
    }
    heard
}
