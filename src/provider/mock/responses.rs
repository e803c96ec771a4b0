//! The mock on OpenAI's Responses, with the whole ladder of events when streamed
//! (<https://platform.openai.com/docs/api-reference/responses-streaming>). It keeps nothing: an answer
//! cannot be retrieved later.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Asked, Reply, Says, json_reply, pieces, plain_text, reply};
use crate::ground::fault::Fault;

type Said = (String, Option<(String, String)>);

/// The user's last words, and the tool result the input ends with.
pub(super) fn last_said(request: &Map<String, Value>) -> Result<Said, Fault> {
    let items = match request.get("input") {
        Some(Value::String(text)) => return Ok((text.clone(), None)),
        Some(Value::Array(items)) => items,
        _ => {
            let fault = Fault::invalid("`input` must be a string or a list of items.");
            return Err(fault.with_param("input"));
        }
    };
    let field =
        |item: &Value, name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    let user = items.iter().rev().find(|item| field(item, "role").as_deref() == Some("user"));
    let text = plain_text(user.and_then(|item| item.get("content")));
    let last = items
        .last()
        .filter(|item| field(item, "type").is_some_and(|kind| kind.ends_with("call_output")));
    let result = last.map(|item| {
        let id = field(item, "call_id");
        let call =
            items.iter().find(|call| field(call, "call_id") == id && call.get("name").is_some());
        let name = call.and_then(|call| field(call, "name")).unwrap_or_else(|| "tool".to_owned());
        (name, plain_text(item.get("output")))
    });
    Ok((text, result))
}

pub(super) fn answer(asked: &Asked<'_>, says: Says) -> Reply {
    let item = item(asked, &says);
    let done = response(asked, "completed", json!([item]), usage(asked, &says));
    if !asked.stream {
        return json_reply(&done);
    }
    let mut events = Ladder::default();
    let opened = response(asked, "in_progress", json!([]), Value::Null);
    events.push("response.created", json!({ "response": opened }));
    events.push("response.in_progress", json!({ "response": opened }));
    match &says {
        Says::Text(text) => text_events(&mut events, &item, text),
        Says::Call { arguments, .. } => call_events(&mut events, &item, arguments),
    }
    events.push("response.output_item.done", json!({ "output_index": 0, "item": item }));
    events.push("response.completed", json!({ "response": done }));
    reply("text/event-stream", events.frames)
}

fn text_events(events: &mut Ladder, item: &Value, text: &str) {
    let id = item.get("id").cloned().unwrap_or_default();
    let mut begun = item.clone();
    if let Some(begun) = begun.as_object_mut() {
        begun.insert("status".to_owned(), "in_progress".into());
        begun.insert("content".to_owned(), json!([]));
    }
    let part = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [] });
    let place = |more: Value| {
        let mut body = json!({ "item_id": id, "output_index": 0, "content_index": 0 });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        body
    };
    events.push("response.output_item.added", json!({ "output_index": 0, "item": begun }));
    events.push("response.content_part.added", place(json!({ "part": part("") })));
    for piece in pieces(text) {
        let delta = place(json!({ "delta": piece, "logprobs": [] }));
        events.push("response.output_text.delta", delta);
    }
    events.push("response.output_text.done", place(json!({ "text": text, "logprobs": [] })));
    events.push("response.content_part.done", place(json!({ "part": part(text) })));
}

fn call_events(events: &mut Ladder, item: &Value, arguments: &str) {
    let id = item.get("id").cloned().unwrap_or_default();
    let mut begun = item.clone();
    if let Some(begun) = begun.as_object_mut() {
        begun.insert("status".to_owned(), "in_progress".into());
        begun.insert("arguments".to_owned(), "".into());
    }
    events.push("response.output_item.added", json!({ "output_index": 0, "item": begun }));
    for piece in pieces(arguments) {
        let delta = json!({ "item_id": id, "output_index": 0, "delta": piece });
        events.push("response.function_call_arguments.delta", delta);
    }
    let done = json!({
        "item_id": id, "output_index": 0, "name": item.get("name"), "arguments": arguments,
    });
    events.push("response.function_call_arguments.done", done);
}

/// Events with their running number.
#[derive(Default)]
struct Ladder {
    frames: Vec<Bytes>,
}

impl Ladder {
    fn push(&mut self, kind: &str, body: Value) {
        let mut event = json!({ "type": kind, "sequence_number": self.frames.len() });
        if let (Some(event), Value::Object(body)) = (event.as_object_mut(), body) {
            event.extend(body);
        }
        self.frames.push(Bytes::from(format!("event: {kind}\ndata: {event}\n\n")));
    }
}

fn item(asked: &Asked<'_>, says: &Says) -> Value {
    match says {
        Says::Text(text) => json!({
            "type": "message",
            "id": format!("msg_{}", asked.id),
            "status": "completed",
            "role": "assistant",
            "content": [{ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }],
        }),
        Says::Call { name, arguments } => json!({
            "type": "function_call",
            "id": format!("fc_{}", asked.id),
            "call_id": format!("call_{}", asked.id),
            "status": "completed",
            "name": name,
            "arguments": arguments,
        }),
    }
}

fn response(asked: &Asked<'_>, status: &str, output: Value, usage: Value) -> Value {
    let echo = |name: &str, default: Value| asked.request.get(name).cloned().unwrap_or(default);
    json!({
        "id": format!("resp_{}", asked.id),
        "object": "response",
        "created_at": asked.created,
        "completed_at": (status == "completed").then_some(asked.created),
        "status": status,
        "error": null,
        "incomplete_details": null,
        "instructions": echo("instructions", Value::Null),
        "max_output_tokens": echo("max_output_tokens", Value::Null),
        "model": asked.model,
        "output": output,
        "parallel_tool_calls": echo("parallel_tool_calls", true.into()),
        "previous_response_id": null,
        "reasoning": { "effort": null, "summary": null },
        "store": false,
        "temperature": echo("temperature", 1.0.into()),
        "text": echo("text", json!({ "format": { "type": "text" } })),
        "tool_choice": echo("tool_choice", "auto".into()),
        "tools": echo("tools", json!([])),
        "top_p": echo("top_p", 1.0.into()),
        "truncation": "disabled",
        "usage": usage,
        "metadata": echo("metadata", json!({})),
    })
}

fn usage(asked: &Asked<'_>, says: &Says) -> Value {
    let (input, output) = asked.tokens(says);
    json!({
        "input_tokens": input,
        "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
        "output_tokens": output,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": input + output,
    })
}
