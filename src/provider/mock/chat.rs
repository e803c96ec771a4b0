//! The mock on OpenAI's chat completions and legacy completions
//! (<https://platform.openai.com/docs/api-reference/chat>).

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Asked, Call, Reply, Says, json_reply, pieces, plain_text, reply};
use crate::ground::fault::Fault;

type Said = (String, Vec<(String, String)>);

/// The user's last words, and the tool results behind the last calls.
pub(super) fn last_said(request: &Map<String, Value>) -> Result<Said, Fault> {
    let messages = request.get("messages").and_then(Value::as_array).ok_or_else(|| {
        Fault::invalid("`messages` must be a list of messages.").with_param("messages")
    })?;
    let role = |message: &Value| message.get("role").and_then(Value::as_str).map(str::to_owned);
    let user = messages.iter().rev().find(|message| role(message).as_deref() == Some("user"));
    let text = plain_text(user.and_then(|message| message.get("content")));
    let is_result = |message: &&Value| role(message).as_deref() == Some("tool");
    let results = messages.len() - messages.iter().rev().take_while(is_result).count();
    let results = messages.iter().skip(results).map(|message| {
        let id = message.get("tool_call_id");
        let calls = messages.iter().filter_map(|message| message.get("tool_calls")?.as_array());
        let call = calls.flatten().find(|call| call.get("id") == id);
        let name = call.and_then(|call| call.pointer("/function/name")?.as_str()).unwrap_or("tool");
        (name.to_owned(), plain_text(message.get("content")))
    });
    Ok((text, results.collect()))
}

pub(super) fn answer(asked: &Asked<'_>, says: Says) -> Reply {
    if asked.stream {
        return stream(asked, says);
    }
    let usage = usage(asked, &says);
    let (message, finish_reason) = match says {
        Says::Text(text) => {
            (json!({ "role": "assistant", "content": text, "refusal": null }), "stop")
        }
        Says::Calls(calls) => {
            let calls = calls.iter().enumerate();
            let calls: Vec<Value> =
                calls.map(|(at, it)| call(asked, at, &it.name, &it.arguments)).collect();
            (json!({ "role": "assistant", "content": null, "tool_calls": calls }), "tool_calls")
        }
    };
    json_reply(&json!({
        "id": format!("chatcmpl-{}", asked.id),
        "object": "chat.completion",
        "created": asked.created,
        "model": asked.model,
        "choices": [{
            "index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason,
        }],
        "usage": usage,
    }))
}

fn stream(asked: &Asked<'_>, says: Says) -> Reply {
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut chunk = json!({
            "id": format!("chatcmpl-{}", asked.id),
            "object": "chat.completion.chunk",
            "created": asked.created,
            "model": asked.model,
            "choices": choices,
        });
        if let (Some(usage), Some(chunk)) = (usage, chunk.as_object_mut()) {
            chunk.insert("usage".to_owned(), usage);
        }
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let delta = |delta: Value, finish_reason: Option<&str>| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish_reason });
        chunk(json!([choice]), None)
    };
    let usage = usage(asked, &says);
    let mut frames = vec![delta(json!({ "role": "assistant", "content": "" }), None)];
    let finish_reason = match &says {
        Says::Text(text) => {
            frames.extend(pieces(text).map(|piece| delta(json!({ "content": piece }), None)));
            "stop"
        }
        Says::Calls(calls) => {
            for (at, it) in calls.iter().enumerate() {
                let mut head = call(asked, at, &it.name, "");
                head.as_object_mut().map(|head| head.insert("index".to_owned(), at.into()));
                frames.push(delta(json!({ "tool_calls": [head] }), None));
                frames.extend(pieces(&it.arguments).map(|piece| {
                    let part = json!({ "index": at, "function": { "arguments": piece } });
                    delta(json!({ "tool_calls": [part] }), None)
                }));
            }
            "tool_calls"
        }
    };
    frames.push(delta(json!({}), Some(finish_reason)));
    // Who did not ask for it is not told: that is the gateway's work, as with any provider.
    frames.push(chunk(json!([]), Some(usage)));
    frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
    reply("text/event-stream", frames)
}

/// Legacy completions know no tools: a call is told in words.
pub(super) fn legacy(asked: &Asked<'_>, says: Says) -> Reply {
    let usage = usage(asked, &says);
    let text = match says {
        Says::Text(text) => text,
        Says::Calls(calls) => {
            let told = calls.iter().map(|Call { name, arguments }| format!("{name}({arguments})"));
            told.collect::<Vec<_>>().join("\n")
        }
    };
    let object = |text: &str, finish_reason: Option<&str>| {
        json!({
            "id": format!("cmpl-{}", asked.id),
            "object": "text_completion",
            "created": asked.created,
            "model": asked.model,
            "choices": [{
                "index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason,
            }],
        })
    };
    if asked.stream {
        let event = |value: Value| Bytes::from(format!("data: {value}\n\n"));
        let mut frames: Vec<_> = pieces(&text).map(|piece| event(object(piece, None))).collect();
        frames.push(event(object("", Some("stop"))));
        let mut last = object("", None);
        last.as_object_mut().map(|last| {
            last.insert("choices".to_owned(), json!([]));
            last.insert("usage".to_owned(), usage)
        });
        frames.push(event(last));
        frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
        return reply("text/event-stream", frames);
    }
    let mut whole = object(&text, Some("stop"));
    whole.as_object_mut().map(|whole| whole.insert("usage".to_owned(), usage));
    json_reply(&whole)
}

/// One of the turn's calls: ids differ in their end.
fn call(asked: &Asked<'_>, at: usize, name: &str, arguments: &str) -> Value {
    let id: String = asked.id.chars().filter(char::is_ascii_alphanumeric).take(24).collect();
    let end = if at == 0 { String::new() } else { format!("_{at}") };
    json!({
        "id": format!("call_{id}{end}"),
        "type": "function",
        "function": { "name": name, "arguments": arguments },
    })
}

fn usage(asked: &Asked<'_>, says: &Says) -> Value {
    let (prompt, completion) = asked.tokens(says);
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    })
}
