//! Tools and the choice among them. Converse has no choice `none`, wants tools wherever the history has
//! calls, and leaves the choice of parallel calls to Anthropic's own `tool_choice`.

use super::messages;
use super::model::Model;
use super::schema;
use super::types::{Choice, Object, Schema, Tool, ToolConfig, ToolSpec};
use crate::conversation::{Ask, Format, Json, Losses, TextFormat, ToolChoice, ToolKind};

/// The tool that stands in for a structured answer.
pub(super) const JSON_TOOL: &str = "json_tool_call";

/// Writes the tools; Anthropic's own go into `additional`. `thinks`: Claude refuses to be forced then.
pub(super) fn write<'a>(
    ask: &'a Ask,
    model: &Model<'_>,
    json_tool: Option<&'a TextFormat>,
    thinks: bool,
    additional: &mut Object,
    losses: &mut Losses,
) -> Option<ToolConfig<'a>> {
    let has_history = ask.has_tool_history();
    let is_none = ask.tool_choice == Some(ToolChoice::None) && json_tool.is_none();
    if is_none && !has_history {
        return None;
    }
    hosted(ask, model, additional, losses);
    let mut tools = functions(ask, model, losses);
    let has_own = !tools.is_empty();
    tools.extend(json_tool.map(|format| Tool::ToolSpec(answer(format))));
    if tools.is_empty() {
        // "The toolConfig field must be defined when using toolUse and toolResult content blocks."
        return has_history.then(|| ToolConfig { tools: vec![stand_in()], tool_choice: None });
    }
    if is_none {
        no_call(model, additional, losses);
        return Some(ToolConfig { tools, tool_choice: None });
    }
    let wanted = match json_tool {
        Some(_) => Some(to_answer(ask, model, has_own)),
        None => wanted(ask, model, losses),
    };
    let tool_choice = wanted.and_then(|wanted| {
        let path = if json_tool.is_some() { "response_format" } else { "tool_choice" };
        within_reach(wanted, model, thinks, path, losses)
    });
    if ask.parallel_tool_calls != Some(false) {
        return Some(ToolConfig { tools, tool_choice });
    }
    if !model.is_claude() {
        losses.add("parallel_tool_calls", "the model has no such switch on Bedrock");
        return Some(ToolConfig { tools, tool_choice });
    }
    // All of the choice goes into Anthropic's field: given in both places the two contradict each other
    // (https://github.com/BerriAI/litellm/issues/36536).
    additional.set("tool_choice", &single_call(tool_choice));
    Some(ToolConfig { tools, tool_choice: None })
}

/// Whether the choice leaves a tool to be called.
fn is_chosen(ask: &Ask, model: &Model<'_>, tool: &str) -> bool {
    match &ask.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) => names.iter().any(|name| name == tool),
        // What cannot be named is the only one left to choose.
        Some(ToolChoice::Named { name, .. }) if !model.takes_named() && model.takes_any() => {
            name == tool
        }
        _ => true,
    }
}

fn functions<'a>(ask: &'a Ask, model: &Model<'_>, losses: &mut Losses) -> Vec<Tool<'a>> {
    let mut tools = Vec::with_capacity(ask.tools.len());
    for tool in ask.tools.iter().filter(|tool| is_chosen(ask, model, &tool.name)) {
        let ToolKind::Function { schema, strict } = &tool.kind else { continue };
        let description = tool.description.as_deref().filter(|text| !text.trim().is_empty());
        let json = schema::of_tool(schema.as_ref());
        let fits = || schema.as_ref().is_some_and(schema::is_strict);
        let strict = strict.filter(|strict| *strict && model.writes_schemas() && fits());
        let name = &tool.name;
        let input_schema = Schema { json };
        tools.push(Tool::ToolSpec(ToolSpec { name, description, input_schema, strict }));
        match &tool.cache_control {
            Some(control) if model.caches_tools() => {
                tools.push(Tool::CachePoint(messages::point(control)));
            }
            Some(_) => losses.add("tools[*].cache_control", "the model does not cache tools"),
            None => {}
        }
    }
    tools
}

/// Tools that a provider runs or defines. Of Anthropic's those that the client runs are Claude's here too
/// (<https://docs.aws.amazon.com/bedrock/latest/userguide/computer-use.html>).
fn hosted(ask: &Ask, model: &Model<'_>, additional: &mut Object, losses: &mut Losses) {
    let mut own = Vec::new();
    for (at, tool) in ask.tools.iter().enumerate() {
        match &tool.kind {
            ToolKind::Function { .. } => {}
            ToolKind::Hosted { format: Format::Anthropic, value }
                if model.is_claude() && runs_at_client(value) =>
            {
                own.push(value);
            }
            _ => losses.add(format!("tools[{at}]"), "Bedrock has no such tool"),
        }
    }
    if !own.is_empty() {
        additional.set("tools", &own);
    }
}

fn runs_at_client(tool: &Json) -> bool {
    let tool = tool.to_value();
    let kind = tool.get("type").and_then(serde_json::Value::as_str).unwrap_or_default();
    ["computer_", "bash_", "text_editor_", "memory_"].iter().any(|known| kind.starts_with(known))
}

/// With tools of the client's own the model has the choice: to call one, or to answer.
fn to_answer<'a>(ask: &'a Ask, model: &Model<'_>, has_own: bool) -> Choice<'a> {
    match &ask.tool_choice {
        Some(ToolChoice::Named { name, .. }) if model.takes_named() => Choice::Tool { name },
        _ if has_own || !model.takes_named() => Choice::Any {},
        _ => Choice::Tool { name: JSON_TOOL },
    }
}

/// The client's choice in Bedrock's words.
fn wanted<'a>(ask: &'a Ask, model: &Model<'_>, losses: &mut Losses) -> Option<Choice<'a>> {
    match ask.tool_choice.as_ref()? {
        ToolChoice::None => None,
        ToolChoice::Auto | ToolChoice::Allowed { required: false, .. } => Some(Choice::Auto {}),
        ToolChoice::Named { name, .. } if model.takes_named() => Some(Choice::Tool { name }),
        ToolChoice::Required | ToolChoice::Allowed { .. } | ToolChoice::Named { .. } => {
            Some(Choice::Any {})
        }
        ToolChoice::Foreign { .. } => {
            losses.add("tool_choice", "a choice that Bedrock does not know");
            None
        }
    }
}

/// What is left of a choice for the model as it is and is to be used.
fn within_reach<'a>(
    wanted: Choice<'a>,
    model: &Model<'_>,
    thinks: bool,
    path: &'static str,
    losses: &mut Losses,
) -> Option<Choice<'a>> {
    let is_forced = wanted != Choice::Auto {};
    if !model.takes_any() {
        if is_forced {
            losses.add(path, "the model cannot be made to call a tool");
        }
        return None;
    }
    if is_forced && thinks && model.is_claude() {
        losses.add(path, "Claude cannot be made to call a tool while it thinks");
        return Some(Choice::Auto {});
    }
    Some(wanted)
}

/// Tools are there, for the history has calls, and none is to be called.
fn no_call(model: &Model<'_>, additional: &mut Object, losses: &mut Losses) {
    if model.is_claude() {
        additional.set("tool_choice", &serde_json::json!({ "type": "none" }));
    } else {
        losses.add("tool_choice", "Bedrock has no choice of no tool once there were calls");
    }
}

/// Anthropic's `tool_choice` that allows one call.
fn single_call(choice: Option<Choice<'_>>) -> Object {
    let mut single = Object::default();
    match choice {
        None | Some(Choice::Auto {}) => single.set("type", &"auto"),
        Some(Choice::Any {}) => single.set("type", &"any"),
        Some(Choice::Tool { name }) => {
            single.set("type", &"tool");
            single.set("name", &name);
        }
    }
    single.set("disable_parallel_tool_use", &true);
    single
}

/// The structured answer as a tool.
fn answer(format: &TextFormat) -> ToolSpec<'_> {
    let (description, json) = match format {
        TextFormat::JsonSchema { description, schema, .. } => {
            (description.as_deref(), schema::of_tool(Some(schema)))
        }
        _ => (None, schema::of_tool(None)),
    };
    let description = description.filter(|text| !text.trim().is_empty());
    let description = description.or(Some("Gives the answer in the form that was asked for."));
    ToolSpec { name: JSON_TOOL, description, input_schema: Schema { json }, strict: None }
}

/// A tool for a history with calls and no tools any more.
fn stand_in<'a>() -> Tool<'a> {
    Tool::ToolSpec(ToolSpec {
        name: "dummy_tool",
        description: Some("Stands for tools of earlier turns. Never call it."),
        input_schema: Schema { json: schema::of_tool(None) },
        strict: None,
    })
}
