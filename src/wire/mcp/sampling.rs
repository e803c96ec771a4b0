//! `sampling/createMessage` as a request to `/v1/messages`, whose shapes it borrowed, and the reply back.
//! <https://modelcontextprotocol.io/specification/2025-11-25/client/sampling>

use serde_json::{Map, Value, json};

use crate::conversation::Json;

/// The most tokens where the server says nothing of it, though it must.
const MAX_TOKENS: u64 = 1024;

/// The body of a request to `/v1/messages` for a model.
///
/// # Errors
/// What of the params no model can be asked, in words for the server.
pub fn to_messages(model: &str, params: &Json) -> Result<Value, String> {
    let params = params.to_value();
    let listed = params.get("messages").and_then(Value::as_array);
    let listed = listed.ok_or("`messages` is missing, or is no list")?;
    let messages = listed.iter().map(message).collect::<Result<Vec<_>, _>>()?;
    let mut body = json!({
        "model": model,
        "messages": messages,
        "max_tokens": params.get("maxTokens").and_then(Value::as_u64).unwrap_or(MAX_TOKENS),
    });
    let Some(fields) = body.as_object_mut() else { return Ok(body) };
    for (from, to) in [
        ("systemPrompt", "system"),
        ("temperature", "temperature"),
        ("stopSequences", "stop_sequences"),
    ] {
        if let Some(value) = params.get(from).filter(|value| !value.is_null()) {
            fields.insert(to.into(), value.clone());
        }
    }
    if let Some(tools) = params.get("tools").and_then(Value::as_array) {
        let tools: Vec<Value> = tools.iter().map(tool).collect();
        fields.insert("tools".into(), tools.into());
    }
    let choice = params.pointer("/toolChoice/mode").and_then(Value::as_str);
    if let Some(choice) = choice {
        let kind = if choice == "required" { "any" } else { choice };
        fields.insert("tool_choice".into(), json!({ "type": kind }));
    }
    Ok(body)
}

fn message(message: &Value) -> Result<Value, String> {
    let role = message.get("role").and_then(Value::as_str).ok_or("a message has no `role`")?;
    let content = match message.get("content") {
        Some(Value::Array(parts)) => parts.iter().map(part).collect::<Result<Vec<_>, _>>()?,
        Some(one) => vec![part(one)?],
        None => return Err("a message has no `content`".into()),
    };
    Ok(json!({ "role": role, "content": content }))
}

fn part(part: &Value) -> Result<Value, String> {
    let text = |name: &str| part.get(name).and_then(Value::as_str).unwrap_or_default();
    match text("type") {
        "text" => Ok(json!({ "type": "text", "text": text("text") })),
        "image" => Ok(json!({
            "type": "image",
            "source": { "type": "base64", "media_type": text("mimeType"), "data": text("data") },
        })),
        "tool_use" => Ok(json!({
            "type": "tool_use", "id": text("id"), "name": text("name"), "input": part.get("input"),
        })),
        "tool_result" => {
            let content = part.get("content").and_then(Value::as_array);
            // Links and embedded resources are told as JSON: a model reads text.
            let content: Vec<Value> = content
                .into_iter()
                .flatten()
                .map(|one| match one.get("type").and_then(Value::as_str) {
                    Some("text" | "image") => self::part(one),
                    _ => Ok(json!({ "type": "text", "text": one.to_string() })),
                })
                .collect::<Result<_, _>>()?;
            Ok(json!({
                "type": "tool_result",
                "tool_use_id": text("toolUseId"),
                "content": content,
                "is_error": part.get("isError").and_then(Value::as_bool).unwrap_or_default(),
            }))
        }
        kind => Err(format!("the gateway's models cannot be given content of the type `{kind}`")),
    }
}

fn tool(tool: &Value) -> Value {
    let mut shown = Map::new();
    for (from, to) in
        [("name", "name"), ("description", "description"), ("inputSchema", "input_schema")]
    {
        if let Some(value) = tool.get(from) {
            shown.insert(to.into(), value.clone());
        }
    }
    shown.into()
}

/// The result of `sampling/createMessage` from a reply of `/v1/messages`; `None` where that is none.
pub fn from_message(reply: &Json) -> Option<Json> {
    let reply = reply.to_value();
    let parts: Vec<Value> = reply
        .get("content")?
        .as_array()?
        .iter()
        .filter_map(|part| match part.get("type")?.as_str()? {
            "text" => Some(json!({ "type": "text", "text": part.get("text")? })),
            "tool_use" => Some(json!({
                "type": "tool_use", "id": part.get("id")?, "name": part.get("name")?,
                "input": part.get("input")?,
            })),
            // Thoughts are the model's own.
            _ => None,
        })
        .collect();
    let has_calls = parts.iter().any(|part| part.get("type") == Some(&json!("tool_use")));
    let content = match (has_calls, parts.len()) {
        (true, _) => Value::Array(parts),
        (false, 1) => parts.into_iter().next()?,
        (false, _) => {
            let text = parts.iter().filter_map(|part| part.get("text")?.as_str());
            json!({ "type": "text", "text": text.collect::<String>() })
        }
    };
    let stop = match reply.get("stop_reason").and_then(Value::as_str) {
        Some("max_tokens") => "maxTokens",
        Some("stop_sequence") => "stopSequence",
        Some("tool_use") => "toolUse",
        Some("end_turn") | None => "endTurn",
        Some(other) => other,
    };
    let model = reply.get("model").and_then(Value::as_str).unwrap_or_default();
    Some(Json::of(&json!({
        "role": "assistant", "content": content, "model": model, "stopReason": stop,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_becomes_a_request_and_the_reply_a_result() {
        let params = Json::of(&json!({
            "messages": [
                { "role": "user", "content": { "type": "text", "text": "Hi" } },
                { "role": "assistant", "content": [
                    { "type": "tool_use", "id": "1", "name": "t", "input": { "a": 1 } }
                ] },
                { "role": "user", "content": [
                    { "type": "tool_result", "toolUseId": "1", "content": [
                        { "type": "text", "text": "r" }, { "type": "resource_link", "uri": "x:y" }
                    ] }
                ] },
            ],
            "systemPrompt": "Be short.", "maxTokens": 7, "toolChoice": { "mode": "required" },
            "tools": [{ "name": "t", "inputSchema": { "type": "object" } }],
        }));
        let body = to_messages("m", &params).expect("a request");
        assert_eq!(body["system"], "Be short.");
        assert_eq!(body["max_tokens"], 7);
        assert_eq!(body["tool_choice"], json!({ "type": "any" }));
        assert_eq!(body["tools"][0]["input_schema"], json!({ "type": "object" }));
        assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], "1");
        assert_eq!(
            body["messages"][2]["content"][0]["content"][1]["text"],
            r#"{"type":"resource_link","uri":"x:y"}"#
        );
        let reply = Json::of(&json!({
            "content": [{ "type": "thinking", "thinking": "…" }, { "type": "text", "text": "Ho" }],
            "stop_reason": "max_tokens", "model": "m",
        }));
        assert_eq!(
            from_message(&reply).expect("a result").to_value(),
            json!({
                "role": "assistant", "content": { "type": "text", "text": "Ho" },
                "model": "m", "stopReason": "maxTokens",
            })
        );
    }

    #[test]
    fn what_no_model_can_be_given_is_said() {
        let audio = json!({ "messages": [
            { "role": "user", "content": { "type": "audio", "data": "", "mimeType": "audio/wav" } }
        ] });
        let error = to_messages("m", &Json::of(&audio)).expect_err("audio");
        assert!(error.contains("`audio`"), "{error}");
        assert!(to_messages("m", &Json::empty_object()).is_err());
    }
}
