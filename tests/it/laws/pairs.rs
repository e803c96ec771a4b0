//! Whether a body that goes to a provider has every result with its call, as that provider demands.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate::conversation::Format;

type Checked = Result<(), String>;

/// Checks a body.
pub(super) fn check(format: Format, body: &Value) -> Checked {
    match format {
        Format::OpenAiChat | Format::Cohere | Format::Ollama => behind(&list(body, "messages")),
        Format::OpenAiResponses => items(&list(body, "input")),
        Format::Anthropic => {
            blocks(&list(body, "messages"), |block| match block["type"].as_str() {
                Some("tool_use") => Block::Call(text(&block["id"])),
                Some("tool_result") => Block::Result(text(&block["tool_use_id"])),
                _ => Block::Other,
            })
        }
        Format::Bedrock => blocks(&list(body, "messages"), |block| {
            match (block.get("toolUse"), block.get("toolResult")) {
                (Some(call), _) => Block::Call(text(&call["toolUseId"])),
                (_, Some(result)) => Block::Result(text(&result["toolUseId"])),
                _ => Block::Other,
            }
        }),
        Format::Gemini => gemini(&list(body, "contents")),
    }
}

enum Block {
    Call(String),
    Result(String),
    Other,
}

fn list(value: &Value, name: &str) -> Vec<Value> {
    value[name].as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Messages of the role `tool` directly behind the assistant's whose calls they answer, each call once.
fn behind(messages: &[Value]) -> Checked {
    let mut waiting: BTreeSet<String> = BTreeSet::new();
    for (at, message) in messages.iter().enumerate() {
        if message["role"] == "tool" {
            if !waiting.remove(&text(&message["tool_call_id"])) {
                return Err(format!("message {at} answers nothing"));
            }
            continue;
        }
        // Assistants in a row speak with one voice.
        if !waiting.is_empty() && message["role"] != "assistant" {
            return Err(format!("before message {at}, calls without results: {waiting:?}"));
        }
        for call in list(message, "tool_calls") {
            if !waiting.insert(text(&call["id"])) {
                return Err(format!("message {at}: two calls with one id"));
            }
        }
    }
    Ok(())
}

/// Every output behind its call, every call with its output, unless the conversation ends there.
fn items(items: &[Value]) -> Checked {
    let mut waiting: BTreeSet<String> = BTreeSet::new();
    for (at, item) in items.iter().enumerate() {
        let kind = text(&item["type"]);
        // What the provider ran itself needs no pairing.
        let Some(id) = item["call_id"].as_str().map(str::to_owned) else { continue };
        let (name, is_output) = match kind.strip_suffix("_output") {
            Some(name) => (name, true),
            None => (&*kind, false),
        };
        // Of those that the client runs.
        let kinds =
            ["function", "custom_tool", "local_shell", "shell", "apply_patch", "tool_search"];
        let name = name.strip_suffix("_call").or(name.strip_suffix("_search").map(|_| name));
        // An item that no one can read goes on as it came; the provider will complain of it.
        let is_readable =
            ["execution", "status"].iter().all(|key| item[key].is_null() || item[key].is_string());
        let is_known = is_readable && name.is_some_and(|name| kinds.contains(&name));
        if is_known && is_output && !waiting.remove(&id) {
            return Err(format!("item {at} answers nothing"));
        }
        if is_known && !is_output && !waiting.insert(id) {
            return Err(format!("item {at}: two calls with one id"));
        }
        let is_user = kind == "message" && item["role"] == "user";
        if is_user && !waiting.is_empty() {
            return Err(format!("before item {at}, calls without outputs: {waiting:?}"));
        }
    }
    Ok(())
}

/// Roles take turns, a user begins, results of a turn are the first in the next, and no more than those.
fn blocks(messages: &[Value], kind: impl Fn(&Value) -> Block) -> Checked {
    let mut waiting: BTreeSet<String> = BTreeSet::new();
    let mut last = String::new();
    for (at, message) in messages.iter().enumerate() {
        let role = text(&message["role"]);
        let content = list(message, "content");
        if (role == last && role != "system") || (at == 0 && role != "user") || content.is_empty() {
            return Err(format!("message {at} of {role} follows {last:?}, with {content:?}"));
        }
        let mut calls = BTreeSet::new();
        let mut results_are_over = false;
        for block in &content {
            match kind(block) {
                Block::Call(id) if role != "assistant" || !calls.insert(id.clone()) => {
                    return Err(format!("message {at}: a call in the wrong place, or twice: {id}"));
                }
                Block::Result(id) if results_are_over || !waiting.remove(&id) => {
                    return Err(format!("message {at}: {id} answers nothing, or comes late"));
                }
                Block::Result(_) | Block::Call(_) => {}
                Block::Other => {
                    let is_point = block.get("cachePoint").is_some();
                    results_are_over |= !is_point;
                }
            }
        }
        if !waiting.is_empty() {
            return Err(format!("message {at} leaves calls without results: {waiting:?}"));
        }
        waiting = calls;
        last = role;
    }
    Ok(())
}

/// As many responses as calls, in their order, in the content that follows.
fn gemini(contents: &[Value]) -> Checked {
    let mut waiting: Vec<String> = Vec::new();
    let mut last = String::new();
    for (at, content) in contents.iter().enumerate() {
        let role = text(&content["role"]);
        let parts = list(content, "parts");
        if role == last || (at == 0 && role != "user") || parts.is_empty() {
            return Err(format!("content {at} of {role} follows {last:?}, with {parts:?}"));
        }
        let names = |kind: &str| -> Vec<String> {
            let of_kind = parts.iter().filter_map(|part| part.get(kind));
            of_kind.map(|inner| text(&inner["name"])).collect()
        };
        let responses = names("functionResponse");
        if responses != waiting {
            return Err(format!("content {at} answers {responses:?}, not {waiting:?}"));
        }
        waiting = names("functionCall");
        last = role;
    }
    Ok(())
}
