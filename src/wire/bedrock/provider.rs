//! The half that faces Bedrock: where a request goes, and its parts put together.

use super::messages::{self, CachePoints};
use super::model::Model;
use super::thinking::{self, Hindrances};
use super::types::{Block, Body, Object};
use super::{reply, settings, stream, tools};
use crate::conversation::{Ask, Format, Losses, TextFormat};
use crate::ground::fault::Fault;
use crate::wire::codec::{Outbound, ProviderHalf, Target};
use crate::wire::framing::Framing;

/// Converse and ConverseStream.
pub const PROVIDER: ProviderHalf = ProviderHalf {
    format: Format::Bedrock,
    framing: Framing::Amazon,
    request,
    reply: reply::read,
    stream: stream::begin,
};

fn request(ask: &Ask, target: &Target<'_>, losses: &mut Losses) -> Result<Outbound, Fault> {
    let model = Model::of(target);
    let mend = target.options.modify_params != Some(false);
    let points = ask.tools.iter().filter(|tool| tool.cache_control.is_some()).count();
    let mut points = CachePoints::new(if model.caches_tools() { points } else { 0 });
    let written = messages::write(ask, &model, mend, &mut points, losses)?;
    let mut system = written.system;
    if ask.text_format == Some(TextFormat::JsonObject) {
        system.push(Block::Text(settings::JSON_OBJECT.into()));
    }
    let json_tool = settings::needs_json_tool(ask, &model);
    let hindrances = Hindrances { lost: written.lost_thinking, forced: json_tool.is_some() };
    let thinking = thinking::decide(ask, &model, &hindrances, losses);
    let mut additional = Object::default();
    let tools = tools::write(ask, &model, json_tool, thinking.is_on(), &mut additional, losses);
    let rest = settings::write(ask, target, &model, thinking, additional, losses);
    let body = Body { messages: written.messages, system, tools, rest };
    let body = serde_json::to_vec(&body).map_err(|_| Fault::bug("a request that is no JSON"))?;
    Ok(Outbound {
        path: path(target),
        headers: Vec::new(),
        body,
        json_tool: json_tool.map(|_| tools::JSON_TOOL.to_owned()),
    })
}

/// `/model/{id}/converse`, with `-stream`. The id is one segment: colons and slashes are encoded. LiteLLM's
/// routes (`converse/…`) and regions (`us-east-1/…`) before the id are no part of it.
fn path(target: &Target<'_>) -> String {
    let model = target.model;
    let id = match model.find("arn:") {
        Some(at) => model.get(at..).unwrap_or(model),
        None => model.rsplit('/').next().unwrap_or(model),
    };
    let verb = if target.stream { "converse-stream" } else { "converse" };
    let mut path = String::from("/model/");
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path.push('/');
    path.push_str(verb);
    path
}

#[cfg(test)]
mod tests;
