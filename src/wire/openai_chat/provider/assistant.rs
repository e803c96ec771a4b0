//! What an assistant said, as one message: its text, its refusal, its calls, and its thoughts where the server
//! wants them back. Beside OpenAI's own fields only those are written that the server takes.

use super::super::quirks::MessageFields;
use super::content::Said;
use super::messages::Message;
use super::request::Writer;
use super::tree::{Node, Object};
use super::{CHAT, media, reasoning, tools};
use crate::conversation::{CallKind, Content, Extras, Format, Part, ToolCall, Turn};
use crate::wire::fields::Fields;

/// Fields that answers have and requests must not: what a client echoes of ours or of LiteLLM's.
const ECHOES: [&str; 4] = ["annotations", "parsed", "provider_specific_fields", "thinking_blocks"];

/// What Gemini takes in place of a signature that was lost
/// (<https://ai.google.dev/gemini-api/docs/thought-signatures>).
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// Writes the message; none where nothing is left of it.
pub(super) fn write<'a>(
    writer: &mut Writer<'a, '_>,
    turns: &'a [Turn],
    at: usize,
) -> Option<Message<'a>> {
    let parts: Vec<&'a Part> = turns.iter().flat_map(|turn| &turn.parts).collect();
    let mut message = Message { role: "assistant", ..Message::default() };
    for turn in turns {
        put_name(writer, turn, at, &mut message.fields);
    }
    let mut calls = Vec::new();
    let mut images = Vec::new();
    for (offset, turn) in turns.iter().enumerate() {
        let mut follows = false;
        for part in &turn.parts {
            let is_text = part.as_text().is_some();
            match &part.content {
                Content::Text { text, .. } => say(writer, &mut message, part, text, follows),
                Content::Refusal(text) if writer.quirks.openai_models => {
                    message.fields.put_text("refusal", text.as_str());
                }
                Content::Refusal(text) => say(writer, &mut message, part, text, false),
                Content::ToolCall(call) => {
                    let first = calls.is_empty();
                    calls.push(call_node(writer, part, call, first));
                }
                Content::Media(shown) if writer.quirks.name == "openrouter" => {
                    images.extend(media::image(shown));
                }
                Content::Foreign { format, value } if *format == CHAT => {
                    message.content.0.push(Node::raw(value));
                }
                Content::Reasoning(_) => {}
                _ => {
                    let path = writer.ask.turn_path(at + offset);
                    writer.losses.add(path, "an assistant's message cannot hold it");
                }
            }
            follows = is_text;
        }
    }
    if !images.is_empty() {
        message.fields.put("images", Node::List(images));
    }
    let has_calls = !calls.is_empty();
    if has_calls {
        message.fields.put("tool_calls", Node::List(calls));
    }
    reasoning::history(writer, &parts, &mut message.fields);
    for (offset, turn) in turns.iter().enumerate() {
        put_extras(writer, &turn.extras, at + offset, &mut message.fields);
    }
    let empty = message.content.is_blank() && !has_calls && !message.fields.has("refusal");
    let kept = message.fields.has("audio") || message.fields.has("images");
    (!(empty && writer.mends) || kept).then_some(message)
}

/// Texts that follow one another are one text; others stand apart.
fn say<'a>(
    writer: &Writer<'a, '_>,
    message: &mut Message<'a>,
    part: &'a Part,
    text: &'a str,
    follows: bool,
) {
    if text.is_empty() {
        return;
    }
    let plain = part.cache_control.is_none() || !writer.quirks.cache_control;
    match message.content.0.last_mut() {
        Some(Node::Text(last)) if plain => {
            let last = last.to_mut();
            last.push_str(if follows { "" } else { "\n\n" });
            last.push_str(text);
        }
        _ => message.content.0.push(Said::text_part(writer, part, text)),
    }
}

/// One call. OpenAI has refused every field but these
/// (<https://github.com/betalgo/openai/issues/278>).
fn call_node<'a>(
    writer: &Writer<'a, '_>,
    part: &'a Part,
    call: &'a ToolCall,
    first: bool,
) -> Node<'a> {
    let mut object = Object::default();
    object.put_text("id", tools::call_id(writer, &call.id));
    if call.kind == CallKind::Custom && writer.quirks.openai_models {
        let mut inner = Object::default();
        inner.put_text("name", call.name.as_str());
        inner.put_text("input", call.arguments.as_str());
        return object.with("type", Node::text("custom")).with("custom", inner.node()).node();
    }
    let mut inner = Object::default();
    inner.put_text("name", call.name.as_str());
    inner.put_text("arguments", arguments(writer, call));
    object.put_text("type", "function");
    object.put("function", inner.node());
    if writer.quirks.name == "gemini" {
        let own = call.seal.as_ref().filter(|seal| seal.format == Format::Gemini);
        let checked = first && !writer.target.model.contains("gemini-2");
        if let Some(data) = own.map(|seal| &*seal.data).or(checked.then_some(NO_SIGNATURE)) {
            let google = Object::default().with("thought_signature", Node::text(data));
            let extra = Object::default().with("google", google.node());
            object.put("extra_content", extra.node());
        }
    }
    if writer.quirks.message_fields == MessageFields::Any {
        for (name, value) in part.extras.of(CHAT) {
            object.put_extra(name, value);
        }
    }
    object.node()
}

/// The arguments as the model wrote them. OpenAI takes any text back; other servers parse it, and answer what
/// is no object with a 400 or a 500 (<https://github.com/BerriAI/litellm/issues/33678>).
fn arguments<'a>(writer: &Writer<'_, '_>, call: &'a ToolCall) -> std::borrow::Cow<'a, str> {
    let text = call.arguments.as_str();
    if text.trim().is_empty() {
        return "{}".into();
    }
    if writer.quirks.openai_models || Fields::read(text).is_some() {
        return text.into();
    }
    call.object().as_str().to_owned().into()
}

/// The name of whoever speaks.
pub(super) fn put_name<'a>(
    writer: &mut Writer<'a, '_>,
    turn: &'a Turn,
    at: usize,
    fields: &mut Object<'a>,
) {
    let Some(name) = turn.name.as_deref() else { return };
    if !writer.quirks.names {
        let why = format!("{} takes no names", writer.quirks.shown());
        writer.losses.add(format!("{}.name", writer.ask.turn_path(at)), why);
    } else if !fields.has("name") {
        fields.put_text("name", name);
    }
}

/// Fields of a message that chat completions alone know, as far as the server takes them.
pub(super) fn put_extras<'a>(
    writer: &mut Writer<'a, '_>,
    extras: &'a Extras,
    at: usize,
    fields: &mut Object<'a>,
) {
    for (name, value) in extras.of(CHAT) {
        let taken = match writer.quirks.message_fields {
            MessageFields::Any => true,
            MessageFields::Only(taken) => taken.contains(&name.as_str()),
        };
        if ECHOES.contains(&name.as_str()) {
            continue;
        }
        if !taken {
            let why = format!("{} does not take it", writer.quirks.shown());
            writer.losses.add(format!("{}.{name}", writer.ask.turn_path(at)), why);
        } else if name == "audio" && writer.quirks.openai_models {
            // An answer's sound goes back as its id alone.
            let id = Fields::of(value.as_raw()).and_then(|mut audio| audio.text("id"));
            if let Some(id) = id.filter(|_| !fields.has("audio")) {
                fields.put("audio", Object::default().with("id", Node::text(id)).node());
            }
        } else {
            fields.put_extra(name, value);
        }
    }
    // What numbers and labels an item of OpenAI's responses means nothing without it.
    let labels = ["id", "status", "phase", "execution", "max_output_length"];
    for name in extras.foreign_to(CHAT).filter(|name| !labels.contains(name)) {
        let path = format!("{}.{name}", writer.ask.turn_path(at));
        writer.losses.add(path, "chat completions have no such field");
    }
}
