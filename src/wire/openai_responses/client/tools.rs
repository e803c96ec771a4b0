//! Tools and the choice among them. Namespaces are flattened: each of their tools remembers where it stood. Knows
//! nothing of which tools a provider has.
//! Kinds: <https://platform.openai.com/docs/api-reference/responses/create#responses-create-tools>.

use serde_json::value::RawValue;

use super::super::super::fields::{Fields, as_string, elements, wrong};
use super::FORMAT;
use crate::conversation::{CallKind, Extras, Json, Tool, ToolChoice, ToolKind};
use crate::ground::fault::Fault;

/// The field, on a tool, for the description of its namespace.
const NAMESPACE_DESCRIPTION: &str = "namespace_description";

/// Reads a list of tools.
///
/// # Errors
/// `InvalidRequest`: one of them has no type, or lacks what its type needs.
pub(super) fn read(list: Vec<(String, &RawValue)>) -> Result<Vec<Tool>, Fault> {
    let mut tools = Vec::with_capacity(list.len());
    for (path, raw) in list {
        tool(raw, path, &mut tools)?;
    }
    Ok(tools)
}

/// Adds tools that came later in the conversation. One that is there already is replaced: the client has
/// described it anew.
pub(super) fn join(tools: &mut Vec<Tool>, more: Vec<Tool>) {
    for tool in more {
        let same = |known: &&mut Tool| {
            known.name == tool.name
                && known.namespace == tool.namespace
                && !matches!(tool.kind, ToolKind::Hosted { .. })
        };
        match tools.iter_mut().find(same) {
            Some(known) => *known = tool,
            None => tools.push(tool),
        }
    }
}

/// Reads `tool_choice`.
///
/// # Errors
/// `InvalidRequest`: it is neither a known word nor an object that says what to choose.
pub(super) fn choice(raw: &RawValue) -> Result<ToolChoice, Fault> {
    if let Some(word) = as_string(raw) {
        return match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => Err(wrong("tool_choice", "none, auto, required, or an object that names a tool")),
        };
    }
    let mut fields = Fields::within(raw, "tool_choice".into())?;
    let kind = fields.word("type")?;
    let kind = fields.required("type", kind)?;
    let kind = match &*kind {
        "function" => CallKind::Function,
        "custom" => CallKind::Custom,
        "local_shell" | "shell" => return Ok(named(kind.into_owned(), CallKind::LocalShell)),
        "apply_patch" => return Ok(named(kind.into_owned(), CallKind::ApplyPatch)),
        "tool_search" => return Ok(named(kind.into_owned(), CallKind::ToolSearch)),
        "allowed_tools" => return allowed(&mut fields),
        _ => return Ok(ToolChoice::Foreign { format: FORMAT, value: Json::of_raw(raw) }),
    };
    let name = chosen_name(&mut fields)?;
    Ok(ToolChoice::Named { name, namespace: fields.string("namespace")?, kind })
}

fn named(name: String, kind: CallKind) -> ToolChoice {
    ToolChoice::Named { name, namespace: None, kind }
}

/// The name of a chosen tool; chat completions put it one level deeper.
fn chosen_name(fields: &mut Fields<'_>) -> Result<String, Fault> {
    if let Some(mut function) = fields.object("function")? {
        let name = function.string("name")?;
        return function.required("name", name);
    }
    let name = fields.string("name")?;
    fields.required("name", name)
}

fn allowed(fields: &mut Fields<'_>) -> Result<ToolChoice, Fault> {
    let required = match fields.string("mode")?.as_deref() {
        None | Some("auto") => false,
        Some("required") => true,
        Some(_) => return Err(fields.wrong("mode", "auto or required")),
    };
    let list = fields.list("tools")?;
    let list = fields.required("tools", list)?;
    let mut names = Vec::with_capacity(list.len());
    for (path, raw) in list {
        let mut tool = Fields::within(raw, path)?;
        let kind = tool.word("type")?;
        // A hosted tool has no name but its type.
        names.push(match kind.as_deref() {
            Some("function" | "custom") | None => chosen_name(&mut tool)?,
            Some(kind) => kind.to_owned(),
        });
    }
    Ok(ToolChoice::Allowed { names, required })
}

fn tool(raw: &RawValue, path: String, tools: &mut Vec<Tool>) -> Result<(), Fault> {
    let mut fields = Fields::within(raw, path)?;
    let kind = fields.word("type")?;
    let kind = fields.required("type", kind)?;
    if kind == "namespace" {
        return namespace(fields, tools);
    }
    tools.push(leaf(&kind, raw, fields)?);
    Ok(())
}

/// A tool that is no namespace.
fn leaf(kind: &str, raw: &RawValue, mut fields: Fields<'_>) -> Result<Tool, Fault> {
    match kind {
        // The shape of chat completions, which people send here by mistake; it means the same.
        "function" if fields.has("function") => {
            let inner = fields.object("function")?;
            function(fields.required("function", inner)?)
        }
        "function" => function(fields),
        "custom" => custom(fields),
        "namespace" => {
            let path = fields.at().to_owned();
            Err(Fault::invalid(format!("`{path}`: a namespace cannot hold another one."))
                .with_param(path))
        }
        _ => Ok(special(kind, &mut fields, Json::of_raw(raw))),
    }
}

fn function(mut fields: Fields<'_>) -> Result<Tool, Fault> {
    let name = fields.string("name")?;
    let name = fields.required("name", name)?;
    let description = fields.string("description")?;
    if fields.peek("parameters").is_some_and(|schema| !schema.get().starts_with('{')) {
        return Err(fields.wrong("parameters", "a JSON Schema object"));
    }
    let schema = fields.json("parameters");
    let strict = fields.boolean("strict")?;
    Ok(finished(name, description, ToolKind::Function { schema, strict }, fields))
}

fn custom(mut fields: Fields<'_>) -> Result<Tool, Fault> {
    let name = fields.string("name")?;
    let name = fields.required("name", name)?;
    let description = fields.string("description")?;
    let format = fields.json("format");
    Ok(finished(name, description, ToolKind::Custom { format }, fields))
}

fn finished(
    name: String,
    description: Option<String>,
    kind: ToolKind,
    mut fields: Fields<'_>,
) -> Tool {
    let cache_control = fields.json("cache_control");
    let extras = fields.rest(FORMAT);
    Tool { name, namespace: None, description, kind, cache_control, extras }
}

fn namespace(mut fields: Fields<'_>, tools: &mut Vec<Tool>) -> Result<(), Fault> {
    let name = fields.string("name")?;
    let name = fields.required("name", name)?;
    let description = fields.string("description")?;
    let list = fields.list("tools")?;
    let list = fields.required("tools", list)?;
    for (path, raw) in list {
        let mut inner = Fields::within(raw, path)?;
        let kind = inner.word("type")?;
        let kind = inner.required("type", kind)?;
        let mut tool = leaf(&kind, raw, inner)?;
        tool.namespace = Some(name.clone());
        if let Some(description) = &description {
            let mut kept = tool.extras.of(FORMAT).to_vec();
            kept.push((NAMESPACE_DESCRIPTION.to_owned(), Json::of(description)));
            tool.extras = Extras::new(FORMAT, kept);
        }
        tools.push(tool);
    }
    Ok(())
}

/// A tool with a shape of its own: one that the client runs, or one that OpenAI runs.
fn special(kind: &str, fields: &mut Fields<'_>, value: Json) -> Tool {
    let hosted = |value| ToolKind::Hosted { format: FORMAT, value };
    let tool_kind = match kind {
        "local_shell" => ToolKind::LocalShell { value },
        // In a container it is OpenAI that runs the commands.
        "shell" => match fields.inner("environment").and_then(|mut place| place.text("type")) {
            Some(place) if place != "local" => hosted(value),
            _ => ToolKind::LocalShell { value },
        },
        "apply_patch" => ToolKind::ApplyPatch { value },
        "tool_search" => match fields.text("execution").as_deref() {
            Some("client") => ToolKind::ToolSearch { value },
            _ => hosted(value),
        },
        _ => hosted(value),
    };
    Tool {
        name: kind.to_owned(),
        namespace: None,
        description: fields.text("description"),
        kind: tool_kind,
        cache_control: None,
        extras: Extras::default(),
    }
}

/// Reads the tools that an item of the input brings with it.
///
/// # Errors
/// As [`read`].
pub(super) fn lift(raw: &RawValue, path: &str) -> Result<Vec<Tool>, Fault> {
    read(elements(raw, path)?)
}
