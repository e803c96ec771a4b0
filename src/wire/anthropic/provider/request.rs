//! A request as Anthropic takes it (<https://docs.anthropic.com/en/api/messages>): an unknown or unfitting field
//! is a 400 there, so everything is fitted to the model first.

use super::super::types::{Node, Object};
use super::betas;
use super::blocks::Block;
use super::facts::Facts;
use super::settings::{self, Shape};
use super::thinking::{self, Circumstances, Plan};
use super::tools::{self, Toolbox};
use super::turns::{self, Conversation};
use crate::conversation::{Ask, Format, Json, Losses};
use crate::ground::fault::Fault;
use crate::wire::codec::{Outbound, Target};
use crate::wire::fields::Fields;

/// The version of the format that is written here. The next one, 2026-10-21, refuses sampling altogether.
const VERSION: &str = "2023-06-01";
/// The same on Google's Vertex AI, where it goes into the body and the model into the path.
const VERTEX_VERSION: &str = "vertex-2023-10-16";
/// Anthropic takes no more of them.
const MOST_CACHE_CONTROLS: usize = 4;

/// Anthropic's fields that clients of OpenAI's formats send beside OpenAI's.
const OWN_FIELDS: [&str; 5] =
    ["container", "context_management", "inference_geo", "mcp_servers", "speed"];

/// Writes a request.
pub(super) fn request(
    ask: &Ask,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Result<Outbound, Fault> {
    settings::check(ask)?;
    let facts = Facts::of(target);
    let mend = target.options.modify_params != Some(false);
    let mut conversation = turns::conversation(ask, &facts, mend, losses)?;
    let shape = settings::shape(ask, &facts, losses);
    if let Shape::Words(words) = &shape {
        conversation.system.push(Object::of("text").with("text", words.clone()));
    }
    let circumstances = Circumstances {
        tool_is_forced: tools::is_forced(ask, &shape),
        lost_thoughts: conversation.lost_thoughts(),
        prefilled: conversation.is_prefilled(),
    };
    let plan = thinking::plan(ask, &facts, circumstances, losses);
    let mut toolbox = tools::toolbox(ask, &facts, &shape, plan.choice_is_free, losses);
    bound_cache_controls(&mut toolbox, &mut conversation, losses);

    let is_vertex = target.provider.name == "vertex_ai";
    let mut body = match is_vertex {
        true => Object::default().with("anthropic_version", VERTEX_VERSION),
        false => Object::default().with("model", target.model),
    };
    body.push("max_tokens", plan.max_tokens);
    let json_tool = toolbox.json_tool.take();
    body = content(body, conversation, toolbox);
    body = settings::sampling(body, ask, &facts, &plan, losses);
    body = rest(body, ask, &plan, &shape, losses);
    body = extras(body, ask, target, losses);
    if target.stream {
        body.push("stream", true);
    }
    let mut headers = Vec::new();
    if !is_vertex {
        headers.push(("anthropic-version", VERSION.to_owned()));
    }
    headers.extend(betas::header(ask).map(|betas| ("anthropic-beta", betas)));
    Ok(Outbound { path: path(target, is_vertex), headers, body: body.bytes(), json_tool })
}

fn path(target: &Target<'_>, is_vertex: bool) -> String {
    match (is_vertex, target.stream) {
        (false, _) => "/v1/messages".to_owned(),
        (true, true) => format!("/publishers/anthropic/models/{}:streamRawPredict", target.model),
        (true, false) => format!("/publishers/anthropic/models/{}:rawPredict", target.model),
    }
}

fn content<'a>(body: Object<'a>, from: Conversation<'a>, toolbox: Toolbox<'a>) -> Object<'a> {
    let Toolbox { tools, choice, .. } = toolbox;
    let (system, messages) = from.write();
    body.some("system", (!system.is_empty()).then_some(system))
        .with("messages", messages)
        .some("tools", (!tools.is_empty()).then_some(tools))
        .some("tool_choice", choice)
}

/// What is neither the conversation nor sampling.
fn rest<'a>(
    body: Object<'a>,
    ask: &'a Ask,
    plan: &Plan,
    shape: &Shape,
    losses: &mut Losses,
) -> Object<'a> {
    settings::tell_losses(ask, losses);
    let own = |name: &str| ask.extras.of(Format::Anthropic).iter().find(|(own, _)| own == name);
    // One with parts that are not known here goes back whole, while it still holds.
    let thinking: Option<Node<'a>> = match own("thinking") {
        Some((_, own)) if !plan.overruled => Some(own.into()),
        _ => plan.write().map(Node::from),
    };
    let format = match shape {
        Shape::Format(format) => Some(format.clone()),
        _ => None,
    };
    let config = Object::default().some("effort", plan.effort).some("format", format);
    let config = with_members(config, own("output_config").map(|(_, value)| value));
    let metadata = Object::default().some("user_id", settings::user(ask, losses));
    let metadata = with_members(metadata, own("metadata").map(|(_, value)| value));
    body.some("thinking", thinking)
        .some("output_config", (!config.is_empty()).then_some(config))
        .some("metadata", (!metadata.is_empty()).then_some(metadata))
        .some("service_tier", settings::tier(ask, losses))
}

/// Adds the members of an object that rode along.
fn with_members<'a>(mut to: Object<'a>, from: Option<&Json>) -> Object<'a> {
    let members = from.and_then(|from| Fields::of(from.as_raw())).unwrap_or_default();
    for (name, value) in members.iter().filter(|(name, _)| !to.has(name)).collect::<Vec<_>>() {
        to.push(name.to_owned(), Json::of_raw(value));
    }
    to
}

/// Top-level fields that rode along.
fn extras<'a>(
    mut body: Object<'a>,
    ask: &'a Ask,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Object<'a> {
    for (name, value) in ask.extras.of(Format::Anthropic) {
        // `betas` is a header; `thinking` was overruled where it is not there yet.
        if !body.has(name) && !matches!(name.as_str(), "betas" | "thinking") {
            body.push(name.as_str(), value);
        }
    }
    for name in ask.extras.foreign_to(Format::Anthropic) {
        let is_wanted = OWN_FIELDS.contains(&name) || target.allows(name);
        match ask.extras.get(name).filter(|_| is_wanted && !body.has(name)) {
            Some(value) => body.push(name.to_owned(), value),
            None if name == "betas" => {}
            None => losses.add(name.to_owned(), "Anthropic has no such parameter"),
        }
    }
    body
}

/// At most four, and the last ones are worth the most: each covers all that stands before it.
fn bound_cache_controls<'a>(
    toolbox: &mut Toolbox<'a>,
    from: &mut Conversation<'a>,
    losses: &mut Losses,
) {
    let tools = toolbox.tools.iter_mut().filter_map(|tool| match tool {
        Node::Object(object) => Some(object),
        _ => None,
    });
    let messages = from.messages.iter_mut().flat_map(|message| &mut message.blocks);
    let messages = messages.filter_map(Block::object_mut);
    let all = tools.chain(&mut from.system).chain(messages);
    let mut marked: Vec<&mut Object<'a>> = all.filter(|each| each.has("cache_control")).collect();
    let excess = marked.len().saturating_sub(MOST_CACHE_CONTROLS);
    if excess > 0 {
        losses.add("cache_control", "Anthropic takes four; the last ones are kept");
    }
    for object in marked.iter_mut().take(excess) {
        object.remove("cache_control");
    }
}
