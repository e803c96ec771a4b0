//! A request, written whole: where it goes, and what its body holds.

use super::config;
use super::media::Store;
use super::messages::{self, Scene};
use super::models::Model;
use super::tools;
use super::types::{Body, Content, Object, Part};
use crate::conversation::{Ask, Losses};
use crate::ground::fault::Fault;
use crate::wire::codec::{Outbound, Target};

/// `generateContent` or its streamed twin.
///
/// Errors: `InvalidRequest` for no messages at all and for files Gemini cannot reach.
pub(super) fn write(
    ask: &Ask,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Result<Outbound, Fault> {
    let model = Model::of(target);
    let vertex = target.provider.name == "vertex_ai";
    let scene = Scene {
        model,
        store: Store { vertex, base: target.base },
        mends: target.options.modify_params != Some(false),
    };
    let (mut system, contents) = messages::write(ask, scene, losses)?;
    if contents.is_empty() {
        return Err(Fault::invalid("`messages` must hold at least one message with content.")
            .with_param("messages"));
    }
    let tools = tools::write(ask, model, losses);
    let mut fields = Object::default();
    if !tools.entries.is_empty() {
        fields.set("tools", &tools.entries);
    }
    fields.put_some("toolConfig", tools.config);
    let in_words = config::format_in_words(ask, model, tools.functions);
    system.extend(in_words.map(Into::into));
    config::write(ask, target, model, tools.functions, &mut fields, losses);
    let parts = system.into_iter().map(|text| Part::text(text).into()).collect::<Vec<_>>();
    let system = (!parts.is_empty()).then_some(Content { role: None, parts });
    let mut body = Body { contents, system, fields };
    keep_to_cache(&mut body, losses);
    let body = serde_json::to_vec(&body).map_err(|_| Fault::bug("a request that is no JSON"))?;
    Ok(Outbound { path: path(target, vertex), body, ..Outbound::default() })
}

/// What a cached content holds may not be sent beside it
/// (<https://ai.google.dev/gemini-api/docs/caching>): the request would be refused.
fn keep_to_cache(body: &mut Body<'_>, losses: &mut Losses) {
    if !body.fields.has("cachedContent") {
        return;
    }
    let why = "the cached content has its own";
    losses.add_if(body.system.take(), "messages[0]", why);
    for (name, path) in [("tools", "tools"), ("toolConfig", "tool_choice")] {
        losses.add_if(body.fields.take(name), path, why);
    }
}

/// A tuned model on Vertex AI is an endpoint with a number, below the same base.
fn path(target: &Target<'_>, vertex: bool) -> String {
    let verb = if target.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    format!("{}:{verb}", resource(target.model, vertex))
}

/// Where a model lives below the base URL.
pub(super) fn resource(model: &str, vertex: bool) -> String {
    let model = escaped(model);
    let is_number = !model.is_empty() && model.bytes().all(|byte| byte.is_ascii_digit());
    if !vertex {
        let name = model.strip_prefix("models/").unwrap_or(&model);
        let is_whole = name.starts_with("tunedModels/");
        return if is_whole { format!("/{name}") } else { format!("/models/{name}") };
    }
    if is_number {
        return format!("/endpoints/{model}");
    }
    let is_whole = model.starts_with("publishers/") || model.starts_with("endpoints/");
    if is_whole { format!("/{model}") } else { format!("/publishers/google/models/{model}") }
}

/// Only what a path may hold; a name cannot lead elsewhere.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.trim_matches('/').replace("..", ".").bytes() {
        match byte {
            b'-' | b'_' | b'.' | b'~' | b'@' | b'/' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests;
