//! The turns of a conversation as the items of `input`, each kind in its own shape: messages, thoughts, calls,
//! results, and whatever only this format knows, as it came. It knows nothing of the request around them.
//! Items: <https://platform.openai.com/docs/api-reference/responses/create#responses-create-input>.

use std::collections::HashMap;

use super::super::super::fields::Fields;
use super::super::object::Object;
use super::FORMAT;
use super::content::{input_part, output_part};
use crate::conversation::stand_in::Abilities;
use crate::conversation::{
    Ask, CallKind, Content, Json, Losses, Part, Reasoning, Role, ToolCall, ToolResult, Turn,
};
use crate::ground::fault::Fault;

/// Fields of a content part that must not be taken for fields of its message.
const OF_CONTENT: &[&str] = &["prompt_cache_breakpoint"];

/// Writes the turns as items.
///
/// # Errors
/// `InvalidRequest`: something in them that the format has no way to carry.
pub(super) fn write(ask: &Ask, skip: usize, losses: &mut Losses) -> Result<Vec<Json>, Fault> {
    let mut input = Input { calls: calls(ask), items: Vec::new(), losses };
    for (at, turn) in ask.turns.iter().enumerate().skip(skip) {
        let path = ask.turn_path(at);
        match turn.role {
            Role::Assistant => input.assistant(turn, &path)?,
            _ => input.other(turn, &path)?,
        }
        if turn.name.is_some() {
            input
                .losses
                .add(format!("{path}.name"), "OpenAI's responses have no names in messages");
        }
    }
    Ok(input.items)
}

struct Input<'a> {
    /// Kind and tool of each call, for results that do not say.
    calls: HashMap<&'a str, (CallKind, &'a str)>,
    items: Vec<Json>,
    losses: &'a mut Losses,
}

fn calls(ask: &Ask) -> HashMap<&str, (CallKind, &str)> {
    let parts = ask.turns.iter().flat_map(|turn| &turn.parts);
    let calls = parts.filter_map(Part::as_call);
    calls.map(|call| (&*call.id, (call.kind, &*call.name))).collect()
}

impl Input<'_> {
    /// What a user, a system or a tool says.
    fn other(&mut self, turn: &Turn, path: &str) -> Result<(), Fault> {
        let mut content = Vec::new();
        for (at, part) in turn.parts.iter().enumerate() {
            let path = format!("{path}.content[{at}]");
            let item = match &part.content {
                Content::ToolResult(result) => self.result(result, part, &path)?,
                Content::Foreign { format, value } if *format == FORMAT && is_item(value) => {
                    value.clone()
                }
                _ => {
                    match input_part(part, &path)? {
                        Some(part) => content.push(part),
                        None => self.lose(path),
                    }
                    continue;
                }
            };
            self.message(turn, std::mem::take(&mut content));
            self.items.push(item);
        }
        self.message(turn, content);
        Ok(())
    }

    fn message(&mut self, turn: &Turn, content: Vec<Json>) {
        if content.is_empty() {
            return;
        }
        let role = match turn.role {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let message = Object::of_type("message").with("role", role).with("content", content);
        self.items.push(with_own_fields(message, turn.extras.of(FORMAT), "msg").into_json());
    }

    /// What the model said. Texts in a row are one message, unless their ids say that they are two.
    fn assistant(&mut self, turn: &Turn, path: &str) -> Result<(), Fault> {
        let mut said: Vec<&Part> = Vec::new();
        // Where thoughts were left out: OpenAI refuses an item that it stored without those before it, and takes one without
        // an id as new.
        let mut parted = None;
        for (at, part) in turn.parts.iter().enumerate() {
            let id =
                |part: &Part| part.extras.of(FORMAT).iter().find(|(name, _)| name == "id").cloned();
            match &part.content {
                Content::Text { text, .. } if text.is_empty() => continue,
                Content::Text { .. } | Content::Refusal(_) => {
                    if said.last().is_some_and(|last| id(last) != id(part)) {
                        self.said(&mut said);
                    }
                    said.push(part);
                    continue;
                }
                _ => self.said(&mut said),
            }
            let path = format!("{path}.content[{at}]");
            match &part.content {
                Content::Reasoning(reasoning) => match thought(reasoning, part) {
                    Some(item) => {
                        self.rename(parted.take());
                        self.items.push(item);
                    }
                    // OpenAI's own without a seal is of an answer it keeps; it is not sent by anybody.
                    None if reasoning.seal.is_none() && reasoning.id.is_some() => {
                        parted.get_or_insert(self.items.len());
                    }
                    None => {
                        self.losses.add(path, "only reasoning that OpenAI sealed returns to it");
                    }
                },
                Content::ToolCall(call) => self.items.push(call_item(call, part)),
                Content::ToolResult(result) => {
                    let item = self.result(result, part, &path)?;
                    self.items.push(item);
                }
                Content::Foreign { format, value } if *format == FORMAT => {
                    self.items.push(value.clone());
                }
                // An assistant cannot show a picture here; a user can show it in its place.
                Content::Media(_) => {
                    let shown = Turn::new(Role::User, vec![part.clone()]);
                    self.other(&shown, &path)?;
                }
                _ => self.lose(path),
            }
        }
        self.said(&mut said);
        self.rename(parted);
        Ok(())
    }

    /// Takes the ids from the items since.
    fn rename(&mut self, since: Option<usize>) {
        let Some(since) = since else { return };
        self.items.iter_mut().skip(since).for_each(|item| *item = without_id(item));
    }

    fn said(&mut self, parts: &mut Vec<&Part>) {
        let Some(first) = parts.first().copied() else { return };
        let content: Vec<Object> = parts.drain(..).filter_map(content_of).collect();
        let message = Object::of_type("message").with("role", "assistant").with("content", content);
        let fields = first.extras.of(FORMAT).iter();
        let fields: Vec<_> =
            fields.filter(|(name, _)| !OF_CONTENT.contains(&name.as_str())).cloned().collect();
        self.items.push(with_own_fields(message, &fields, "msg").into_json());
    }

    fn result(&mut self, result: &ToolResult, part: &Part, path: &str) -> Result<Json, Fault> {
        let (mut kind, name) =
            self.calls.get(&*result.call_id).copied().unwrap_or((result.kind, ""));
        if result.kind != CallKind::Function {
            kind = result.kind;
        }
        let of_type = |name: &str| {
            Object::of_type(name)
                .with("call_id", Abilities::RESPONSES.call_id.legal(&result.call_id))
        };
        let item = match kind {
            CallKind::Function => {
                of_type("function_call_output").with("output", self.output(result, path)?)
            }
            CallKind::Custom => {
                of_type("custom_tool_call_output").with("output", self.output(result, path)?)
            }
            CallKind::LocalShell if name == "shell" => {
                of_type("shell_call_output").with("output", shell_output(result))
            }
            CallKind::LocalShell => {
                of_type("local_shell_call_output").with("output", result.text())
            }
            CallKind::ApplyPatch => {
                let status = if result.is_error { "failed" } else { "completed" };
                let item = of_type("apply_patch_call_output").with("status", status);
                item.with("output", result.text())
            }
            CallKind::ToolSearch => {
                let tools =
                    Json::parse(result.text()).filter(|tools| tools.as_str().starts_with('['));
                of_type("tool_search_output")
                    .with("execution", "client")
                    .with("status", "completed")
                    .with("tools", tools.unwrap_or_else(|| Json::of(&[(); 0])))
            }
        };
        Ok(with_own_fields(item, part.extras.of(FORMAT), "").into_json())
    }

    /// A string where a string says it all, else a list of content parts.
    fn output(&mut self, result: &ToolResult, path: &str) -> Result<Json, Fault> {
        match result.parts.as_slice() {
            [] => return Ok(Json::of(&"")),
            [one] if one.extras.is_empty() => {
                if let Some(text) = one.as_text() {
                    return Ok(Json::of(&text));
                }
            }
            _ => {}
        }
        let mut list = Vec::with_capacity(result.parts.len());
        for (at, part) in result.parts.iter().enumerate() {
            let path = format!("{path}.content[{at}]");
            match input_part(part, &path)? {
                Some(part) => list.push(part),
                None => self.lose(path),
            }
        }
        Ok(Json::of(&list))
    }

    fn lose(&mut self, path: String) {
        self.losses.add(path, "only another provider's format has this kind of content");
    }
}

/// Whether a value that only this format knows is an item rather than a part of a message's content.
fn is_item(value: &Json) -> bool {
    let value = value.to_value();
    let kind = value.get("type").and_then(serde_json::Value::as_str).unwrap_or_default();
    !kind.starts_with("input_") && !kind.starts_with("output_")
}

fn content_of(part: &Part) -> Option<Object> {
    let object = output_part(part)?;
    let fields = part.extras.of(FORMAT).iter();
    let mut object = object;
    for (name, value) in fields.filter(|(name, _)| OF_CONTENT.contains(&name.as_str())) {
        object.put(name.clone(), value.clone());
    }
    Some(object)
}

/// The fields that ride along, an id among them only where OpenAI takes it: it refuses ids that do not begin
/// as the kind of item wants it (codex#33176), or have other characters, or are empty (langchainjs#11044).
fn with_own_fields(mut item: Object, fields: &[(String, Json)], prefix: &str) -> Object {
    for (name, value) in fields {
        let is_bad_id = name == "id" && value.read::<String>().is_none_or(|id| !is_id(&id, prefix));
        if !is_bad_id && !item.has(name) {
            item.put(name.clone(), value.clone());
        }
    }
    item
}

fn without_id(item: &Json) -> Json {
    let fields = Fields::of(item.as_raw()).unwrap_or_default();
    let mut object = Object::default();
    for (name, value) in fields.iter().filter(|(name, _)| *name != "id") {
        object.put(name.to_owned(), Json::of_raw(value));
    }
    object.into_json()
}

fn is_id(id: &str, prefix: &str) -> bool {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let rest = id.strip_prefix(prefix);
    let rest = rest.filter(|rest| prefix.is_empty() || rest.starts_with('_'));
    rest.is_some() && !id.is_empty() && id.len() <= 64 && id.chars().all(is_legal)
}

/// A thought that OpenAI itself has sealed; any other would be refused or means nothing to it. `content` is
/// left out: OpenAI refuses it (`array_above_max_length`, CLIProxyAPI#5713).
fn thought(reasoning: &Reasoning, part: &Part) -> Option<Json> {
    let seal = reasoning.seal.as_ref().filter(|seal| seal.format == FORMAT)?;
    let summary = |text: &String| Object::of_type("summary_text").with("text", text);
    let summary: Vec<Object> = reasoning.summary.iter().map(summary).collect();
    let id = reasoning.id.as_ref().filter(|id| is_id(id, "rs"));
    let item = Object::of_type("reasoning").with_some("id", id).with("summary", summary);
    let item = item.with("encrypted_content", &seal.data);
    Some(item.with_extras(&part.extras, FORMAT, &["content"]).into_json())
}

fn call_item(call: &ToolCall, part: &Part) -> Json {
    let is_shell = call.name == "shell";
    let (kind, prefix) = match call.kind {
        CallKind::Function => ("function_call", "fc"),
        CallKind::Custom => ("custom_tool_call", "ctc"),
        CallKind::LocalShell if is_shell => ("shell_call", "sh"),
        CallKind::LocalShell => ("local_shell_call", "lsh"),
        CallKind::ApplyPatch => ("apply_patch_call", "apc"),
        CallKind::ToolSearch => ("tool_search_call", "tsc"),
    };
    let id = call.item_id.as_ref().filter(|id| is_id(id, prefix));
    let item = Object::of_type(kind).with_some("id", id);
    let item = item.with("call_id", Abilities::RESPONSES.call_id.legal(&call.id));
    let named = |item: Object| {
        item.with("name", &call.name).with_some("namespace", call.namespace.as_ref())
    };
    let item = match call.kind {
        CallKind::Function => {
            let none = call.arguments.trim().is_empty();
            named(item).with("arguments", if none { "{}" } else { &*call.arguments })
        }
        CallKind::Custom => named(item).with("input", &call.arguments),
        CallKind::LocalShell => item.with("action", call.object()),
        CallKind::ApplyPatch => item.with("operation", call.object()),
        CallKind::ToolSearch => item.with("execution", "client").with("arguments", call.object()),
    };
    let mut item = item.with_extras(&part.extras, FORMAT, &["id"]);
    // What runs on the client has a status that is required.
    if !matches!(call.kind, CallKind::Function | CallKind::Custom) && !item.has("status") {
        item.put("status", Json::of(&"completed"));
    }
    item.into_json()
}

/// A shell's output is a list of outcomes; another text is one that went well, or not.
fn shell_output(result: &ToolResult) -> Json {
    let text = result.text();
    if let Some(list) = Json::parse(text.as_str()).filter(|list| list.as_str().starts_with('[')) {
        return list;
    }
    let exit_code = i32::from(result.is_error);
    let outcome = Object::of_type("exit").with("exit_code", exit_code);
    let chunk = Object::default().with("stdout", text).with("stderr", "").with("outcome", outcome);
    Json::of(&[chunk])
}
