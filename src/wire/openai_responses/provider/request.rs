//! The body of a request. What the format cannot carry is a loss; nothing here decides what the items look
//! like inside. Fields: <https://platform.openai.com/docs/api-reference/responses/create>.

use super::super::super::codec::{Outbound, Target};
use super::super::object::Object;
use super::settings::{self, Reasoner};
use super::{FORMAT, input, tools};
use crate::conversation::{Ask, Content, Format, Json, Losses, Role};
use crate::ground::fault::Fault;

/// Top-level fields that are written with the rest, not as they came.
const MERGED: &[&str] = &["include", "store", "text", "reasoning", "stream_options"];

/// What chat completions and responses have in common beyond what a conversation knows.
const SHARED_WITH_CHAT: &[&str] =
    &["prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "moderation", "store"];

/// Writes a request.
///
/// # Errors
/// `InvalidRequest`: something in the conversation that the format has no way to carry.
pub(super) fn write(
    ask: &Ask,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Result<Outbound, Fault> {
    let reasoner = Reasoner::of(ask, target);
    let mut body = Object::default().with("model", target.model);
    let (instructions, skip) = instructions(ask);
    body = body.with_some("instructions", instructions.as_ref());
    body = body.with("input", input::write(ask, skip, losses)?);
    body = with_tools(body, ask, losses);
    body = body.with_some("max_output_tokens", settings::max_tokens(ask));
    body = settings::with_sampling(body, ask, target, reasoner, losses);
    body = body.with_some("text", settings::text(ask, losses));
    body = body.with_some("reasoning", settings::reasoning(ask, target, reasoner, losses));
    body = body.with_some("include", settings::include(ask, reasoner));
    body = settings::with_labels(body, ask, target);
    // Nothing is kept upstream unless the client says so: the history comes whole each time.
    let store = ask.extras.get("store").cloned().filter(|_| speaks_openai(ask.format));
    body.put("store", store.unwrap_or_else(|| Json::of(&false)));
    if target.stream {
        body = body.with("stream", true);
        let options = ask.extras.of(FORMAT).iter().find(|(name, _)| name == "stream_options");
        body = body.with_some("stream_options", options.map(|(_, options)| options));
    }
    body = body.with_extras(&ask.extras, FORMAT, MERGED);
    body = with_foreign(body, ask, target, losses);
    lose_cache_control(ask, losses);
    let body = body.into_json().as_str().as_bytes().to_vec();
    Ok(Outbound { path: "/responses".to_owned(), body, ..Outbound::default() })
}

/// The first system turn, where it is text alone: every server knows `instructions`, while some have no
/// system messages among the items. And how many turns that takes up.
fn instructions(ask: &Ask) -> (Option<String>, usize) {
    let Some(first) = ask.turns.first().filter(|turn| turn.role == Role::System) else {
        return (None, 0);
    };
    let texts: Vec<&str> = first
        .parts
        .iter()
        .filter(|part| part.extras.of(FORMAT).is_empty())
        .filter_map(|part| part.as_text())
        .collect();
    let is_plain = texts.len() == first.parts.len() && first.extras.of(FORMAT).is_empty();
    // A request of nothing but a system turn needs some input.
    if !is_plain || ask.turns.len() == 1 {
        return (None, 0);
    }
    let texts: Vec<&str> = texts.into_iter().filter(|text| !text.trim().is_empty()).collect();
    ((!texts.is_empty()).then(|| texts.join("\n\n")), 1)
}

/// OpenAI refuses a choice, or calls side by side, without tools; what its own clients send, it may judge.
fn with_tools(body: Object, ask: &Ask, losses: &mut Losses) -> Object {
    let tools = tools::write(ask, losses);
    if tools.is_none() && ask.format != FORMAT {
        return body;
    }
    let body = body.with_some("tools", tools.filter(|tools| !tools.is_empty()));
    let body = body.with_some("tool_choice", tools::choice(ask, losses));
    body.with_some("parallel_tool_calls", ask.parallel_tool_calls)
}

/// Fields of another format: those that mean the same here, and those the operator lets through.
fn with_foreign(mut body: Object, ask: &Ask, target: &Target<'_>, losses: &mut Losses) -> Object {
    let names: Vec<String> = ask.extras.foreign_to(FORMAT).map(str::to_owned).collect();
    for name in names {
        let shared = ask.format == Format::OpenAiChat && SHARED_WITH_CHAT.contains(&name.as_str());
        if !shared && !target.allows(&name) {
            // Whether usage is told concerns the client only.
            if name != "stream_options" {
                losses.add(name, "OpenAI's responses have no such field");
            }
        } else if let Some(value) = ask.extras.get(&name)
            && !body.has(&name)
        {
            body.put(name, value.clone());
        }
    }
    body
}

fn speaks_openai(format: Format) -> bool {
    matches!(format, Format::OpenAiChat | Format::OpenAiResponses)
}

/// OpenAI caches by itself.
fn lose_cache_control(ask: &Ask, losses: &mut Losses) {
    let parts = ask.turns.iter().flat_map(|turn| &turn.parts);
    let nested = |content: &Content| match content {
        Content::ToolResult(result) => result.parts.iter().any(|part| part.cache_control.is_some()),
        _ => false,
    };
    let in_parts =
        parts.into_iter().any(|part| part.cache_control.is_some() || nested(&part.content));
    if in_parts || ask.tools.iter().any(|tool| tool.cache_control.is_some()) {
        losses.add("cache_control", "OpenAI decides by itself what it caches");
    }
}
