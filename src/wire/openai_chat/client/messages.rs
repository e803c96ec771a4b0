//! The list of messages, read into turns. A run of `tool` messages becomes one turn of the user that holds
//! their results; the user's own message after it stays a turn of its own. What an answer of ours or of
//! LiteLLM's had beside OpenAI's fields is accepted when it comes back.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::{CHAT, media, parts, reasoning};
use crate::conversation::{
    CallKind, Content, Extras, Format, Json, Part, Role, Seal, ToolCall, ToolResult, Turn,
};
use crate::ground::fault::Fault;
use crate::wire::fields::Fields;

/// LiteLLM packs Gemini's thought signature into a call's id, behind this mark. An id that long is refused
/// elsewhere (<https://github.com/openai/codex/issues/14355>), so it is taken apart again.
const PACKED: &str = "__thought__";

/// Reads the messages.
///
/// Errors: an unknown role, a missing or wrong field, each with its path.
pub(super) fn read(messages: Vec<(String, &RawValue)>) -> Result<Vec<Turn>, Fault> {
    let mut history = History::default();
    for (path, raw) in messages {
        history.add(Fields::within(raw, path)?)?;
    }
    Ok(history.turns)
}

#[derive(Default)]
struct History {
    turns: Vec<Turn>,
    /// The last turn holds results, and more may join it.
    in_results: bool,
    /// The kinds of the calls that are no functions.
    kinds: HashMap<String, CallKind>,
    /// The ids given to legacy `function_call`s, which have none, by name.
    legacy: HashMap<String, String>,
    given: usize,
}

impl History {
    fn add(&mut self, mut fields: Fields<'_>) -> Result<(), Fault> {
        let role = fields.word("role")?;
        let role = fields.required("role", role)?;
        let part = match &*role {
            "tool" => self.tool(&mut fields)?,
            "function" => self.function(&mut fields)?,
            "assistant" => {
                let parts = self.assistant(&mut fields)?;
                return self.turn(Role::Assistant, parts, fields);
            }
            "system" | "developer" | "user" => {
                let role = match &*role {
                    "system" => Role::System,
                    "developer" => Role::Developer,
                    _ => Role::User,
                };
                let parts = parts::content(&mut fields)?;
                let parts = fields.required("content", parts)?;
                return self.turn(role, parts, fields);
            }
            _ => {
                let wanted = "one of system, developer, user, assistant, tool";
                return Err(fields.wrong("role", wanted));
            }
        };
        self.result(Part { extras: fields.rest(CHAT), ..part });
        Ok(())
    }

    fn turn(
        &mut self,
        role: Role,
        mut parts: Vec<Part>,
        mut fields: Fields<'_>,
    ) -> Result<(), Fault> {
        let name = fields.string("name")?;
        // LiteLLM takes it on a message too: it then stands for the whole of it, up to its last part.
        let cache_control = fields.json("cache_control");
        if let Some(last) = parts.last_mut() {
            last.cache_control = last.cache_control.take().or(cache_control);
        }
        let audio = spoken(&mut fields);
        let rest = fields.rest(CHAT);
        let extras = rest.of(CHAT).iter().cloned().chain(audio).collect();
        self.in_results = false;
        self.turns.push(Turn { role, parts, name, extras: Extras::new(CHAT, extras) });
        Ok(())
    }

    fn result(&mut self, part: Part) {
        match self.turns.last_mut() {
            Some(turn) if self.in_results => turn.parts.push(part),
            _ => self.turns.push(Turn::new(Role::User, vec![part])),
        }
        self.in_results = true;
    }

    fn tool(&mut self, fields: &mut Fields<'_>) -> Result<Part, Fault> {
        let id = fields.string("tool_call_id")?;
        let (call_id, _) = unpacked(fields.required("tool_call_id", id)?);
        let kind = self.kinds.get(&call_id).copied().unwrap_or_default();
        result_of(fields, call_id, kind)
    }

    fn function(&mut self, fields: &mut Fields<'_>) -> Result<Part, Fault> {
        let name =
            fields.peek("name").and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let name = fields.required("name", name)?;
        let call_id = self.legacy.get(&name).cloned().unwrap_or(name);
        result_of(fields, call_id, CallKind::Function)
    }

    fn assistant(&mut self, fields: &mut Fields<'_>) -> Result<Vec<Part>, Fault> {
        let (mut parts, mut seals) = reasoning::of_history(fields);
        parts.extend(parts::content(fields)?.unwrap_or_default());
        let refusal = fields.string("refusal")?.filter(|text| !text.is_empty());
        parts.extend(refusal.map(|text| Part::new(Content::Refusal(text))));
        parts.extend(images(fields)?);
        for (path, raw) in fields.list("tool_calls")?.unwrap_or_default() {
            parts.push(self.call(Fields::within(raw, path)?)?);
        }
        if let Some(call) = fields.object("function_call")? {
            parts.push(self.legacy_call(call)?);
        }
        for part in &mut parts {
            let Content::ToolCall(call) = &mut part.content else { continue };
            call.seal = call.seal.take().or_else(|| seals.remove(&call.id));
        }
        // What answers hold beside the message itself: for display, or kept in another form above; `parsed`
        // is the Python SDK's own.
        for echoed in ["annotations", "provider_specific_fields", "parsed"] {
            fields.take(echoed);
        }
        Ok(parts)
    }

    fn call(&mut self, mut fields: Fields<'_>) -> Result<Part, Fault> {
        let id = fields.string("id")?;
        let (id, packed) = unpacked(fields.required("id", id)?);
        let kind = fields.word("type")?;
        // Stream fragments have it, and some clients leave it in.
        fields.take("index");
        let cache_control = fields.json("cache_control");
        let seal = seal_of(&mut fields).or(packed);
        let seal = seal.map(|data| Seal { format: Format::Gemini, data });
        let call = ToolCall { id, seal, ..ToolCall::default() };
        let call = match kind.as_deref() {
            None | Some("function") => {
                let inner = fields.object("function")?;
                let inner = fields.required("function", inner)?;
                called(inner, call)?
            }
            Some("custom") => {
                let inner = fields.object("custom")?;
                let mut inner = fields.required("custom", inner)?;
                let (name, input) = (inner.string("name")?, inner.string("input")?);
                let name = inner.required("name", name)?;
                let arguments = input.unwrap_or_default();
                self.kinds.insert(call.id.clone(), CallKind::Custom);
                ToolCall { name, arguments, kind: CallKind::Custom, ..call }
            }
            Some(_) => return Err(fields.wrong("type", "`function` or `custom`")),
        };
        let content = Content::ToolCall(call);
        Ok(Part { content, cache_control, extras: fields.rest(CHAT) })
    }

    fn legacy_call(&mut self, fields: Fields<'_>) -> Result<Part, Fault> {
        let id = format!("call_legacy_{}", self.given);
        self.given += 1;
        let call = called(fields, ToolCall { id, ..ToolCall::default() })?;
        self.legacy.insert(call.name.clone(), call.id.clone());
        Ok(Part::new(Content::ToolCall(call)))
    }
}

/// The name and arguments of a function's call.
fn called(mut fields: Fields<'_>, call: ToolCall) -> Result<ToolCall, Fault> {
    let name = fields.string("name")?;
    let name = fields.required("name", name)?;
    let sealed = seal_of(&mut fields).map(|data| Seal { format: Format::Gemini, data });
    let arguments = match fields.peek("arguments") {
        // Ollama's own clients send the object itself.
        Some(raw) if raw.get().starts_with('{') => raw.get().to_owned(),
        _ => fields.typed("arguments", "a string that holds JSON")?.unwrap_or_default(),
    };
    Ok(ToolCall { name, arguments, seal: call.seal.or(sealed), ..call })
}

fn result_of(fields: &mut Fields<'_>, call_id: String, kind: CallKind) -> Result<Part, Fault> {
    let name = fields.string("name")?;
    let cache_control = fields.json("cache_control");
    let is_error = fields.boolean("is_error")?.unwrap_or_default();
    let parts = parts::content(fields)?.unwrap_or_default();
    let content = Content::ToolResult(ToolResult { call_id, name, kind, parts, is_error });
    Ok(Part { cache_control, ..Part::new(content) })
}

/// Pictures that a model drew, in the form that answers have them.
fn images(fields: &mut Fields<'_>) -> Result<Vec<Part>, Fault> {
    let mut images = Vec::new();
    for (path, raw) in fields.list("images")?.unwrap_or_default() {
        images.push(media::image(&mut Fields::within(raw, path)?)?);
    }
    Ok(images)
}

/// The id of an earlier spoken answer, which is all of it that OpenAI takes back.
fn spoken(fields: &mut Fields<'_>) -> Option<(String, Json)> {
    let id = fields.inner("audio")?.text("id")?;
    Some(("audio".to_owned(), serde_json::json!({ "id": id }).into()))
}

/// Gemini's thought signature beside a call: Google's own place for it
/// (<https://ai.google.dev/gemini-api/docs/thought-signatures>), then LiteLLM's.
fn seal_of(fields: &mut Fields<'_>) -> Option<String> {
    let google = fields.inner("extra_content").and_then(|mut extra| extra.inner("google"));
    let google = google.and_then(|mut google| google.text("thought_signature"));
    let other = fields.inner("provider_specific_fields");
    let other = other.and_then(|mut other| other.text("thought_signature"));
    google.or(other).filter(|signature| !signature.is_empty())
}

fn unpacked(id: String) -> (String, Option<String>) {
    match id.split_once(PACKED) {
        Some((id, signature)) => (id.to_owned(), Some(signature.to_owned())),
        None => (id, None),
    }
}
