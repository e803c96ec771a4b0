//! The tools of a request, and the choice among them. Custom tools are functions; those that carry a version
//! in their type are Anthropic's own and stay whole.

use serde_json::value::RawValue;

use crate::conversation::{Ask, CallKind, Extras, Format, Json, Tool, ToolChoice, ToolKind};
use crate::ground::fault::Fault;
use crate::wire::fields::Fields;

/// Reads `tools` and `tool_choice`.
pub(super) fn read(fields: &mut Fields<'_>, ask: &mut Ask) -> Result<(), Fault> {
    for (path, raw) in fields.list("tools")?.unwrap_or_default() {
        ask.tools.push(tool(raw, path)?);
    }
    let raw = fields.peek("tool_choice");
    if let (Some(raw), Some(mut choice)) = (raw, fields.object("tool_choice")?) {
        let kind = choice.word("type")?;
        let kind = choice.required("type", kind)?;
        let single = choice.boolean("disable_parallel_tool_use")?;
        ask.parallel_tool_calls = single.map(|single| !single);
        ask.tool_choice = Some(match &*kind {
            "auto" => ToolChoice::Auto,
            "any" => ToolChoice::Required,
            "none" => ToolChoice::None,
            "tool" => {
                let name = choice.string("name")?;
                let name = choice.required("name", name)?;
                ToolChoice::Named { name, namespace: None, kind: CallKind::Function }
            }
            _ => ToolChoice::Foreign { format: Format::Anthropic, value: Json::of_raw(raw) },
        });
    }
    Ok(())
}

fn tool(raw: &RawValue, path: String) -> Result<Tool, Fault> {
    let mut fields = Fields::within(raw, path)?;
    let kind = fields.word("type")?;
    if let Some(kind) = kind.filter(|kind| kind != "custom") {
        // `mcp_toolset` has no name of its own.
        let name = fields.string("name")?.or(fields.string("mcp_server_name")?);
        let value = Json::of_raw(raw);
        return Ok(Tool {
            name: name.unwrap_or_else(|| kind.into_owned()),
            namespace: None,
            description: None,
            kind: ToolKind::Hosted { format: Format::Anthropic, value },
            cache_control: None,
            extras: Extras::default(),
        });
    }
    let name = fields.string("name")?;
    let name = fields.required("name", name)?;
    let schema = fields.json("input_schema");
    let schema = fields.required("input_schema", schema)?;
    if !schema.is_object() {
        return Err(fields.wrong("input_schema", "a JSON Schema object"));
    }
    Ok(Tool {
        name,
        namespace: None,
        description: fields.string("description")?,
        kind: ToolKind::Function { schema: Some(schema), strict: fields.boolean("strict")? },
        cache_control: fields.json("cache_control"),
        extras: fields.rest(Format::Anthropic),
    })
}
