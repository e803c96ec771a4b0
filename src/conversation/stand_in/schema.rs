//! The functions that play other kinds of tools: their schemas, and what the model is told of them. It knows
//! the shapes OpenAI gives its client-run tools
//! (<https://platform.openai.com/docs/guides/tools-local-shell>, `…/tools-shell`, `…/tools-apply-patch`,
//! `…/tools-tool-search`, <https://platform.openai.com/docs/guides/function-calling#custom-tools>).

use serde_json::{Value, json};

use super::names::Key;
use crate::conversation::{CallKind, Json, Tool, ToolKind};

/// Makes a function of a tool of another kind, in place.
pub(super) fn play(tool: &mut Tool) {
    let (schema, told) = match &tool.kind {
        ToolKind::Custom { format } => (custom_schema(), custom_told(format.as_ref())),
        ToolKind::LocalShell { value } if type_of(value).as_deref() == Some("shell") => {
            (shell_schema(), Some(SHELL.to_owned()))
        }
        ToolKind::LocalShell { .. } => (local_shell_schema(), Some(LOCAL_SHELL.to_owned())),
        ToolKind::ApplyPatch { .. } => (patch_schema(), Some(PATCH.to_owned())),
        ToolKind::ToolSearch { value } => {
            let value = value.to_value();
            let schema = value.get("parameters").filter(|schema| schema.is_object());
            let schema = schema.cloned().unwrap_or_else(search_schema);
            let own = value.get("description").and_then(Value::as_str).unwrap_or(SEARCH);
            (schema, tool.description.is_none().then(|| own.to_owned()))
        }
        ToolKind::Function { .. } | ToolKind::Hosted { .. } => return,
    };
    tool.kind = ToolKind::Function { schema: Some(Json::of(&schema)), strict: None };
    tool.description = match (tool.description.take(), told) {
        (Some(own), Some(told)) if !own.trim().is_empty() => Some(format!("{own}\n\n{told}")),
        (own, told) => told.or(own),
    };
}

/// A custom tool's text as a function's arguments.
pub(super) fn custom_arguments(input: &str) -> String {
    json!({ "input": input }).to_string()
}

/// The `type` of a tool object.
pub(super) fn type_of(value: &Json) -> Option<String> {
    Some(value.to_value().get("type")?.as_str()?.to_owned())
}

/// A `shell` that runs in a container of the provider's.
pub(super) fn in_container(value: &Json) -> bool {
    let value = value.to_value();
    let place = value.pointer("/environment/type").and_then(Value::as_str);
    place.is_some_and(|place| place.starts_with("container"))
}

/// A `tool_search` that the client runs.
pub(super) fn by_client(value: &Json) -> bool {
    value.to_value().get("execution").and_then(Value::as_str) == Some("client")
}

/// The tools in a search's result: a list of tool objects, or an object with such a list in `tools`.
pub(super) fn tools_in(value: &Json) -> Vec<Key> {
    let value = value.to_value();
    let listed = value.get("tools").unwrap_or(&value);
    let mut found = Vec::new();
    for tool in listed.as_array().into_iter().flatten() {
        let name = |tool: &Value| Some(tool.get("name")?.as_str()?.to_owned());
        let kind = |tool: &Value| match tool.get("type").and_then(Value::as_str) {
            Some("custom") => CallKind::Custom,
            _ => CallKind::Function,
        };
        let Some(own) = name(tool) else { continue };
        match tool.get("tools").and_then(Value::as_array) {
            Some(members) => found.extend(members.iter().filter_map(|member| {
                let namespace = Some(own.clone());
                Some(Key { namespace, name: name(member)?, kind: kind(member) })
            })),
            None => found.push(Key { namespace: None, name: own, kind: kind(tool) }),
        }
    }
    found
}

const LOCAL_SHELL: &str = "Runs a command on the user's machine and returns its output.";
const SHELL: &str =
    "Runs shell commands on the user's machine, one after the other, and returns their output.";
const PATCH: &str = "Creates, updates or deletes one file. `diff` is a diff in the V4A format: the whole \
    new file with `+` before each line for create_file, hunks that begin with `@@` for update_file; absent \
    for delete_file.";
const SEARCH: &str = "Searches for further tools that can be called afterwards.";

fn custom_schema() -> Value {
    json!({
        "type": "object",
        "properties": { "input": {
            "type": "string",
            "description": "The whole input of the tool, as plain text.",
        } },
        "required": ["input"],
        "additionalProperties": false,
    })
}

/// The grammar as text, so that the model can obey it (litellm#31571, CLIProxyAPI#4414). The responses form
/// has `syntax` and `definition` in `format` itself, the chat form has them in `format.grammar`.
fn custom_told(format: Option<&Json>) -> Option<String> {
    const PLAIN: &str = "Give the tool's whole input as plain text in `input`.";
    let format = format.map(Json::to_value).unwrap_or_default();
    let grammar = format.get("grammar").filter(|grammar| grammar.is_object()).unwrap_or(&format);
    let text = |name: &str| grammar.get(name).and_then(Value::as_str);
    Some(match text("definition") {
        Some(definition) => format!(
            "{PLAIN} It must match this grammar{}:\n```\n{}\n```",
            text("syntax").map(|syntax| format!(" (syntax: {syntax})")).unwrap_or_default(),
            definition.trim_end(),
        ),
        None => PLAIN.to_owned(),
    })
}

fn local_shell_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "command": {
                "type": "array",
                "items": { "type": "string" },
                "description": "The program and its arguments, such as [\"bash\", \"-lc\", \"ls\"].",
            },
            "working_directory": { "type": "string" },
            "timeout_ms": { "type": "integer" },
            "env": { "type": "object", "additionalProperties": { "type": "string" } },
        },
        "required": ["command"],
    })
}

fn shell_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "commands": { "type": "array", "items": { "type": "string" } },
            "timeout_ms": { "type": "integer" },
            "max_output_length": { "type": "integer" },
        },
        "required": ["commands"],
    })
}

fn patch_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": { "type": "string", "enum": ["create_file", "update_file", "delete_file"] },
            "path": { "type": "string" },
            "diff": { "type": "string" },
        },
        "required": ["type", "path"],
    })
}

fn search_schema() -> Value {
    json!({
        "type": "object",
        "properties": { "query": { "type": "string" }, "limit": { "type": "integer" } },
        "required": ["query"],
    })
}
