//! The tools and the choice among them, and the tool that stands in for a structured answer where the model
//! has none.

use std::collections::HashSet;

use super::super::types::{Node, Object};
use super::facts::Facts;
use super::schema;
use super::settings::Shape;
use crate::conversation::{Ask, Format, Json, Losses, Part, Tool, ToolChoice, ToolKind};

/// The name of the tool that stands in for a structured answer.
const ANSWER: &str = "json_answer";

/// `tools` and `tool_choice`.
#[derive(Default)]
pub(super) struct Toolbox<'a> {
    pub tools: Vec<Node<'a>>,
    pub choice: Option<Node<'a>>,
    pub json_tool: Option<String>,
}

/// Whether a tool must be called.
pub(super) fn is_forced(ask: &Ask, shape: &Shape) -> bool {
    let chosen = match &ask.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Named { .. }) => true,
        Some(ToolChoice::Allowed { required, .. }) => *required,
        _ => false,
    };
    matches!(shape, Shape::Tool(_)) || (chosen && !ask.tools.is_empty())
}

/// Writes them. `free`: nothing can be forced.
pub(super) fn toolbox<'a>(
    ask: &'a Ask,
    facts: &Facts,
    shape: &Shape,
    free: bool,
    losses: &mut Losses,
) -> Toolbox<'a> {
    let mut all = Toolbox::default();
    let allowed = allowed(ask, free);
    for (at, tool) in ask.tools.iter().enumerate() {
        if allowed.as_ref().is_none_or(|names| names.contains(tool.name.as_str())) {
            all.tools.extend(write(tool, at, ask, facts, losses));
        }
    }
    if let Shape::Tool(schema) = shape {
        return with_answer(all, ask, schema);
    }
    if all.tools.is_empty() {
        if ask.tool_choice.is_some() && !ask.tools.is_empty() {
            losses.add("tool_choice", "none of the tools is known to Anthropic");
        }
        if ask.has_tool_history() {
            return remembered(ask);
        }
        return all;
    }
    all.choice = choice(ask, free, losses);
    all
}

/// The tools that may be called, where not all may.
fn allowed(ask: &Ask, free: bool) -> Option<HashSet<&str>> {
    match &ask.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) => Some(names.iter().map(String::as_str).collect()),
        Some(ToolChoice::Named { name, .. }) if free => Some(HashSet::from([name.as_str()])),
        _ => None,
    }
}

fn write<'a>(
    tool: &'a Tool,
    at: usize,
    ask: &Ask,
    facts: &Facts,
    losses: &mut Losses,
) -> Option<Node<'a>> {
    let (schema, strict) = match &tool.kind {
        ToolKind::Function { schema, strict } => (schema.as_ref(), *strict),
        ToolKind::Hosted { format: Format::Anthropic, value } => return Some(value.into()),
        _ => {
            losses.add(format!("tools[{at}]"), "Anthropic has no such tool");
            return None;
        }
    };
    let schema = schema::of_tool(schema);
    let wants_strict = strict == Some(true);
    let is_own = ask.format == Format::Anthropic;
    let strict = wants_strict && facts.structured && (is_own || schema::is_held(&schema));
    if wants_strict && !strict {
        losses.add(format!("tools[{at}].strict"), "this model cannot be held to this schema");
    }
    let object = Object::default()
        .with("name", tool.name.as_str())
        .some("description", tool.description.as_deref())
        .with("input_schema", schema)
        .some("strict", strict.then_some(true))
        .some("cache_control", tool.cache_control.as_ref())
        .extras(&tool.extras);
    for name in tool.extras.foreign_to(Format::Anthropic) {
        losses.add(format!("tools[{at}].{name}"), "Anthropic has no such field");
    }
    Some(object.into())
}

fn choice<'a>(ask: &'a Ask, free: bool, losses: &mut Losses) -> Option<Node<'a>> {
    let single = (ask.parallel_tool_calls == Some(false)).then_some(true);
    let object = match &ask.tool_choice {
        None if single.is_none() => return None,
        Some(ToolChoice::None) => return Some(Object::of("none").into()),
        Some(ToolChoice::Foreign { format: Format::Anthropic, value }) => {
            return Some(value.into());
        }
        Some(ToolChoice::Foreign { .. }) => {
            losses.add("tool_choice", "Anthropic has no such choice");
            Object::of("auto")
        }
        Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) if !free => {
            Object::of("any")
        }
        Some(ToolChoice::Named { name, .. }) if !free => {
            Object::of("tool").with("name", name.as_str())
        }
        _ => Object::of("auto"),
    };
    Some(object.some("disable_parallel_tool_use", single).into())
}

/// Adds the tool whose input is the answer. Beside other tools the model chooses, but must choose one.
fn with_answer<'a>(mut all: Toolbox<'a>, ask: &Ask, schema: &Json) -> Toolbox<'a> {
    let mut name = ANSWER.to_owned();
    while ask.tools.iter().any(|tool| tool.name == name) {
        name.push('_');
    }
    let alone = all.tools.is_empty() || ask.tool_choice == Some(ToolChoice::None);
    let answer = Object::default()
        .with("name", name.clone())
        .with("description", "Gives the answer to the user. Call it with the whole answer.")
        .with("input_schema", schema.clone());
    all.tools.push(answer.into());
    let choice =
        if alone { Object::of("tool").with("name", name.clone()) } else { Object::of("any") };
    all.choice = Some(choice.with("disable_parallel_tool_use", true).into());
    all.json_tool = Some(name);
    all
}

/// Calls in the history want their tools declared, though none may be called now: Codex sends its request to
/// compact a conversation without any.
fn remembered(ask: &Ask) -> Toolbox<'_> {
    let parts = ask.turns.iter().flat_map(|turn| &turn.parts);
    let mut seen = HashSet::new();
    let names = parts.filter_map(Part::as_call).map(|call| call.name.as_str());
    let tools = names.filter(|name| seen.insert(*name)).map(|name| {
        Object::default().with("name", name).with("input_schema", schema::of_tool(None)).into()
    });
    let tools: Vec<Node<'_>> = tools.collect();
    let choice = (!tools.is_empty()).then(|| Object::of("none").into());
    Toolbox { tools, choice, json_tool: None }
}
