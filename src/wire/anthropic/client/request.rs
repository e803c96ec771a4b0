//! A request as Anthropic's clients send it, read into an `Ask`
//! (<https://docs.anthropic.com/en/api/messages>). Strict about types, and tolerant of every field and block
//! that is not known here: it rides along and comes back out for Anthropic.

use std::mem;

use serde_json::json;
use serde_json::value::RawValue;

use super::{blocks, settings, tools};
use crate::conversation::{Ask, Content, Format, Part, Role, Seal, Turn};
use crate::ground::fault::Fault;
use crate::wire::codec::{Asked, Echo};
use crate::wire::fields::{self, Fields};

/// Reads a body of `POST /v1/messages`.
pub(super) fn request(body: &[u8]) -> Result<Asked, Fault> {
    let mut fields = object(body)?;
    let Some(max_tokens) = fields.count("max_tokens")? else { return Err(missing("max_tokens")) };
    let mut ask = read(fields)?;
    ask.max_tokens = Some(max_tokens);
    Ok((ask, Echo::default()))
}

/// Reads a body of `POST /v1/messages/count_tokens`: the same without `max_tokens`.
///
/// # Errors
/// `InvalidRequest` with the path of the field and what it must be.
pub fn count_request(body: &[u8]) -> Result<Ask, Fault> {
    let mut fields = object(body)?;
    let max_tokens = fields.count("max_tokens")?;
    let mut ask = read(fields)?;
    ask.max_tokens = max_tokens;
    Ok(ask)
}

/// The answer to `POST /v1/messages/count_tokens`.
pub fn count_reply(tokens: u64) -> Vec<u8> {
    json!({ "input_tokens": tokens }).to_string().into_bytes()
}

fn object(body: &[u8]) -> Result<Fields<'_>, Fault> {
    Fields::of_bytes(body).ok_or_else(|| {
        Fault::invalid("The body is not valid JSON, or not a JSON object. Send one JSON object.")
    })
}

/// Anthropic's own words: its libraries' users know them.
fn missing(name: &'static str) -> Fault {
    Fault::invalid(format!("{name}: Field required")).with_param(name)
}

fn read(mut fields: Fields<'_>) -> Result<Ask, Fault> {
    let mut ask = Ask::new(Format::Anthropic);
    // The gateway has read it from the envelope.
    fields.take("model");
    if let Some(system) = fields.take("system") {
        let parts = content(system, "system", Role::System)?;
        ask.turns.push(Turn::new(Role::System, parts));
    }
    let Some(messages) = fields.list("messages")? else { return Err(missing("messages")) };
    if messages.is_empty() {
        return Err(
            Fault::invalid("messages: at least one message is required").with_param("messages")
        );
    }
    for (path, raw) in messages {
        ask.turns.push(turn(Fields::within(raw, path)?)?);
    }
    tools::read(&mut fields, &mut ask)?;
    settings::read(&mut fields, &mut ask)?;
    settings::keep_rest(fields, &mut ask)?;
    Ok(ask)
}

fn turn(mut fields: Fields<'_>) -> Result<Turn, Fault> {
    let word = fields.word("role")?;
    let role = match &*fields.required("role", word)? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        // Claude Code sends these with its `mid-conversation-…` betas.
        "system" => Role::System,
        _ => return Err(fields.wrong("role", "`user`, `assistant` or `system`")),
    };
    let path = fields.path("content");
    let parts = match fields.take("content") {
        Some(raw) => content(raw, &path, role)?,
        // Such an entry may carry settings alone.
        None if role == Role::System => Vec::new(),
        None => return fields.required("content", None),
    };
    let parts = return_seals(parts);
    Ok(Turn { extras: fields.rest(Format::Anthropic), ..Turn::new(role, parts) })
}

/// Gives calls back the seals that thinking blocks carried for them (see `reply::call_signature`).
fn return_seals(mut parts: Vec<Part>) -> Vec<Part> {
    let mut carried: Vec<(String, Seal)> = Vec::new();
    parts.retain_mut(|part| match &mut part.content {
        Content::Reasoning(reasoning) if reasoning.redacted && !reasoning.text.is_empty() => {
            let id = mem::take(&mut reasoning.text);
            carried.extend(reasoning.seal.take().map(|seal| (id, seal)));
            false
        }
        _ => true,
    });
    for part in &mut parts {
        if let Content::ToolCall(call) = &mut part.content {
            let own = carried.iter().position(|(id, _)| *id == call.id);
            call.seal = own.map(|at| carried.swap_remove(at).1);
        }
    }
    parts
}

/// A string, or a list of blocks.
fn content(raw: &RawValue, path: &str, role: Role) -> Result<Vec<Part>, Fault> {
    if let Some(text) = fields::as_string(raw) {
        return Ok(vec![Part::text(text)]);
    }
    if !raw.get().starts_with('[') {
        return Err(fields::wrong(path, "a string or a list of blocks"));
    }
    let blocks = fields::elements(raw, path)?;
    blocks.into_iter().map(|(path, raw)| blocks::block(raw, path, role)).collect()
}
