//! A streamed answer put together as its SDK would, whichever surface it comes from, with the promises of its events held to:
//! places without gaps, nothing twice, one end. Nothing here knows what the answer says.

use serde_json::{Value, json};

/// The whole answer that a stream's text comes to.
#[track_caller]
pub(crate) fn folded(surface: &str, text: &str) -> Value {
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    match surface {
        "/v1/responses" => folded_response(&events),
        "/v1/messages" => folded_messages(&events),
        _ => folded_chat(&events),
    }
}

/// A response object: the one of the last event, which has to be what the events before it came to.
#[track_caller]
pub(crate) fn folded_response(events: &[Value]) -> Value {
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let numbers = events.iter().map(|event| event["sequence_number"].as_u64().unwrap());
    assert!(numbers.eq(0..events.len() as u64), "{kinds:?}");
    assert_eq!(kinds[..2], ["response.created", "response.in_progress"]);
    let ends = ["response.completed", "response.incomplete", "response.failed"];
    assert_eq!(kinds.iter().filter(|kind| ends.contains(kind)).count(), 1, "{kinds:?}");
    let last = events.last().unwrap();
    assert!(ends.contains(kinds.last().unwrap()), "{kinds:?}");
    let mut items: Vec<Value> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut arguments: Vec<String> = Vec::new();
    for event in events.iter().filter(|event| !event["output_index"].is_null()) {
        let index = usize::try_from(event["output_index"].as_u64().unwrap()).unwrap();
        match event["type"].as_str().unwrap() {
            "response.output_item.added" => {
                assert_eq!(index, items.len(), "{event}");
                items.push(event["item"].clone());
                arguments.push(String::new());
                open.push(index);
            }
            "response.output_item.done" => {
                assert_eq!(event["item"]["id"], items[index]["id"], "{event}");
                items[index] = event["item"].clone();
                open.retain(|place| *place != index);
            }
            kind => {
                assert!(open.contains(&index), "{event} in {kinds:?}");
                assert_eq!(event["item_id"], items[index]["id"], "{event}");
                if kind.ends_with("arguments.delta") {
                    arguments[index] += event["delta"].as_str().unwrap();
                }
                // All of them, and only once.
                if kind.ends_with("arguments.done") {
                    assert_eq!(event["arguments"], arguments[index], "{kinds:?}");
                    arguments[index] += "(done)";
                }
            }
        }
    }
    if kinds.last() != Some(&"response.failed") {
        assert!(open.is_empty(), "{kinds:?}");
        assert_eq!(last["response"]["output"], json!(items), "{kinds:?}");
    }
    last["response"].clone()
}

#[track_caller]
fn folded_messages(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    let mut blocks: Vec<Value> = Vec::new();
    let mut json_text = String::new();
    for event in events {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(event["index"], blocks.len());
                blocks.push(event["content_block"].clone());
                json_text.clear();
            }
            "content_block_delta" => {
                let block = blocks.last_mut().unwrap();
                let delta = &event["delta"];
                if let Some(text) = delta["text"].as_str() {
                    block["text"] = format!("{}{text}", block["text"].as_str().unwrap()).into();
                }
                json_text += delta["partial_json"].as_str().unwrap_or_default();
            }
            "content_block_stop" if !json_text.is_empty() => {
                // Of a call that is cut there is no more than a text.
                let input = serde_json::from_str(&json_text);
                let input = input.unwrap_or_else(|_| Value::from(json_text.as_str()));
                blocks.last_mut().unwrap()["input"] = input;
                json_text.clear();
            }
            "message_delta" => message["stop_reason"] = event["delta"]["stop_reason"].clone(),
            _ => {}
        }
    }
    assert_eq!(events.last().unwrap()["type"], "message_stop");
    message["content"] = blocks.into();
    message
}

fn folded_chat(events: &[Value]) -> Value {
    let role = &events[0]["choices"][0]["delta"]["role"];
    let mut message = json!({ "role": role, "content": "" });
    let mut finish = Value::Null;
    let mut calls: Vec<Value> = Vec::new();
    for choice in events.iter().filter_map(|event| event["choices"].get(0)) {
        let delta = &choice["delta"];
        let text = delta["content"].as_str().unwrap_or_default();
        message["content"] = format!("{}{text}", message["content"].as_str().unwrap()).into();
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            if index == calls.len() {
                calls.push(call.clone());
            } else {
                let more = call["function"]["arguments"].as_str().unwrap_or_default();
                let known = &mut calls[index]["function"]["arguments"];
                *known = format!("{}{more}", known.as_str().unwrap()).into();
            }
        }
        if !delta["provider_specific_fields"].is_null() {
            message["provider_specific_fields"] = delta["provider_specific_fields"].clone();
        }
        if !choice["finish_reason"].is_null() {
            finish = choice["finish_reason"].clone();
        }
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    json!({ "choices": [{ "message": message, "finish_reason": finish }] })
}
