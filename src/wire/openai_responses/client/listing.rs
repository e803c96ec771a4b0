//! What the other endpoints of responses answer about a request: its input as a list of items, and how many tokens
//! it has. Knows nothing of where requests are kept.
//! Shapes: <https://platform.openai.com/docs/api-reference/responses/input-items>,
//! <https://platform.openai.com/docs/api-reference/responses/input-tokens>.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::super::super::fields::{Fields, as_string};
use super::super::object::Object;
use super::request;
use crate::conversation::Json;

/// The request's input as a list of items in the order they were sent, each with an id: its own, or one made of `seed`
/// and its place. A body that is no request has none.
pub fn input_items(body: &[u8], seed: &str) -> Vec<Json> {
    request::whole(body).map(|mut fields| items(&mut fields, seed)).unwrap_or_default()
}

/// The call that a result among the items is of and that is not among them. OpenAI refuses such a conversation; one
/// with a reference that nobody could follow is not judged.
pub fn missing_call(items: &[Json]) -> Option<String> {
    let mut calls = HashSet::new();
    let mut results = Vec::new();
    for item in items {
        let mut fields = Fields::of(item.as_raw())?;
        let kind = fields.text("type").unwrap_or_default();
        if kind == "item_reference" {
            return None;
        }
        let Some(call_id) = fields.text("call_id") else { continue };
        if kind.ends_with("_output") {
            results.push(call_id);
        } else {
            calls.insert(call_id);
        }
    }
    results.into_iter().find(|call_id| !calls.contains(call_id))
}

/// OpenAI's words for it.
pub fn no_call(call_id: &str) -> String {
    let shown: String = call_id.chars().filter(|c| !c.is_control()).take(80).collect();
    format!("No tool call found for function call output with call_id {shown}.")
}

/// The body that says how many tokens an input has.
pub fn input_tokens(count: u64) -> Vec<u8> {
    let object = Object::default().with("object", "response.input_tokens");
    object.with("input_tokens", count).into_json().as_str().as_bytes().to_vec()
}

/// The items of `input`, filled up; with an empty `seed` without ids of ours.
pub(super) fn items(fields: &mut Fields<'_>, seed: &str) -> Vec<Json> {
    let Some(input) = fields.take("input") else { return Vec::new() };
    if let Some(text) = as_string(input) {
        let message = Object::of_type("message").with("role", "user");
        let message = message.with("content", &[text_part("input_text", &text)]).into_json();
        return vec![filled(message, seed, 0)];
    }
    let list: Vec<&RawValue> = serde_json::from_str(input.get()).unwrap_or_default();
    list.into_iter().enumerate().map(|(at, raw)| filled(Json::of_raw(raw), seed, at)).collect()
}

/// The item with an id made of `digits`, unless it has one.
pub(super) fn identified(item: &Json, digits: &str) -> Json {
    let Some(fields) = Fields::of(item.as_raw()) else { return item.clone() };
    if fields.has("id") {
        return item.clone();
    }
    let kind = fields.peek("type").and_then(as_string).unwrap_or_default();
    let mut object = members(&fields);
    object.put("id", Json::of(&format!("{}_{digits}", prefix(&kind))));
    object.into_json()
}

/// An item as OpenAI lists it: with type, id and status, and content as a list.
fn filled(item: Json, seed: &str, at: usize) -> Json {
    let Some(fields) = Fields::of(item.as_raw()) else { return item };
    let mut object = members(&fields);
    let kind = fields.peek("type").and_then(as_string);
    let kind = kind.or_else(|| fields.has("role").then(|| "message".to_owned()));
    let kind = kind.unwrap_or_else(|| "item_reference".to_owned());
    object.put("type", Json::of(&kind));
    if kind == "message" {
        let role = fields.peek("role").and_then(as_string).unwrap_or_default();
        object.put("content", content(fields.peek("content"), role == "assistant"));
    }
    if matches!(kind.as_str(), "function_call_output" | "custom_tool_call_output")
        && let Some(output) = fields.peek("output").filter(|output| output.get().starts_with('['))
    {
        object.put("output", content(Some(output), false));
    }
    if has_status(&kind) && !fields.has("status") {
        object.put("status", Json::of(&"completed"));
    }
    if seed.is_empty() {
        return object.into_json();
    }
    identified(&object.into_json(), &format!("{seed}{at:04x}"))
}

/// The content of a message as a list, with the types that belong to who speaks.
fn content(raw: Option<&RawValue>, is_assistants: bool) -> Json {
    let Some(raw) = raw else { return Json::of(&[(); 0]) };
    let kind = if is_assistants { "output_text" } else { "input_text" };
    if let Some(text) = as_string(raw) {
        return Json::of(&[text_part(kind, &text)]);
    }
    let parts: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    let parts: Vec<Json> = parts.into_iter().map(|raw| content_part(raw, kind)).collect();
    Json::of(&parts)
}

fn content_part(raw: &RawValue, text_kind: &str) -> Json {
    let Some(fields) = Fields::of(raw) else { return Json::of_raw(raw) };
    let kind = fields.peek("type").and_then(as_string).unwrap_or_default();
    let mut object = members(&fields);
    if matches!(kind.as_str(), "text" | "input_text" | "output_text") {
        object.put("type", Json::of(&text_kind));
        if text_kind == "output_text" && !object.has("annotations") {
            object.put("annotations", Json::of(&[(); 0]));
        }
    } else if kind == "input_image" {
        let wrapped = fields.peek("image_url").and_then(Fields::of);
        if let Some(mut wrapped) = wrapped {
            object.put("image_url", wrapped.json("url").unwrap_or_else(|| Json::of(&())));
        }
        if !fields.has("detail") {
            object.put("detail", Json::of(&"auto"));
        }
    }
    object.into_json()
}

fn text_part(kind: &str, text: &str) -> Object {
    let part = Object::of_type(kind).with("text", text);
    if kind == "output_text" { part.with("annotations", [(); 0]) } else { part }
}

fn members(fields: &Fields<'_>) -> Object {
    let mut object = Object::default();
    for (name, value) in fields.iter() {
        object.put(name.to_owned(), Json::of_raw(value));
    }
    object
}

fn has_status(kind: &str) -> bool {
    let without = [
        "reasoning",
        "compaction",
        "additional_tools",
        "item_reference",
        "compaction_trigger",
        "configuration_update",
        "program",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
    ];
    !without.contains(&kind)
}

fn prefix(kind: &str) -> &'static str {
    match kind {
        "message" => "msg",
        "reasoning" => "rs",
        "function_call" => "fc",
        "function_call_output" => "fco",
        "custom_tool_call" => "ctc",
        "custom_tool_call_output" => "ctco",
        "tool_search_call" => "tsc",
        "tool_search_output" => "tso",
        "additional_tools" => "at",
        "local_shell_call" => "lsh",
        "local_shell_call_output" => "lsho",
        "shell_call" => "sh",
        "shell_call_output" => "sho",
        "apply_patch_call" => "apc",
        "apply_patch_call_output" => "apco",
        "compaction" => "cmp",
        "web_search_call" => "ws",
        "mcp_list_tools" => "mcpl",
        "mcp_call" => "mcp",
        "mcp_approval_request" => "mcpr",
        _ => "item",
    }
}
