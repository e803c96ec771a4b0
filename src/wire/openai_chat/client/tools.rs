//! Tools and the choice among them: OpenAI's functions and custom tools, the older `functions`, and the tools
//! of other vendors that LiteLLM lets through in chat requests, such as Anthropic's `web_search_20250305` and
//! Gemini's `googleSearch`.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::CHAT;
use crate::conversation::{CallKind, Extras, Format, Json, Tool, ToolChoice, ToolKind};
use crate::ground::fault::Fault;
use crate::wire::fields::{Fields, as_string};

/// Tools that OpenAI runs itself, behind its responses: flat objects, as they stand there.
const RESPONSES: [&str; 7] = [
    "code_interpreter",
    "computer_use_preview",
    "file_search",
    "image_generation",
    "mcp",
    "web_search",
    "web_search_preview",
];

/// Gemini's tools are objects of one member, named for the tool.
const GEMINI: [&str; 10] = [
    "googleSearch",
    "google_search",
    "googleSearchRetrieval",
    "google_search_retrieval",
    "codeExecution",
    "code_execution",
    "urlContext",
    "url_context",
    "enterpriseWebSearch",
    "googleMaps",
];

/// The tools of `tools`, then those of `functions`.
///
/// Errors: an element that lacks its name, or is no tool.
pub(super) fn read(fields: &mut Fields<'_>) -> Result<Vec<Tool>, Fault> {
    let mut tools = Vec::new();
    for (path, raw) in fields.list("tools")?.unwrap_or_default() {
        tools.push(tool(raw, path)?);
    }
    for (path, raw) in fields.list("functions")?.unwrap_or_default() {
        tools.push(function(Fields::within(raw, path)?)?);
    }
    Ok(tools)
}

/// `tool_choice`, or the older `function_call`.
///
/// Errors: a word or a shape that is no choice.
pub(super) fn choice(fields: &mut Fields<'_>) -> Result<Option<ToolChoice>, Fault> {
    let name = if fields.has("tool_choice") { "tool_choice" } else { "function_call" };
    let Some(raw) = fields.take(name) else { return Ok(None) };
    if let Some(word) = as_string(raw) {
        let wanted = "none, auto, required, or an object that names a tool";
        return simple(&word).map(Some).ok_or_else(|| fields.wrong(name, wanted));
    }
    let inner = Fields::within(raw, fields.path(name))?;
    if name == "function_call" { named(inner, CallKind::Function) } else { chosen(inner, raw) }
        .map(Some)
}

fn tool(raw: &RawValue, path: String) -> Result<Tool, Fault> {
    let mut fields = Fields::within(raw, path)?;
    match fields.word("type")?.as_deref() {
        Some("function") if !names_builtin(&fields) => {
            let inner = fields.object("function")?;
            let tool = function(fields.required("function", inner)?)?;
            Ok(outer(tool, fields))
        }
        Some("custom") => {
            let inner = fields.object("custom")?;
            let tool = custom(fields.required("custom", inner)?)?;
            Ok(outer(tool, fields))
        }
        Some(kind) => Ok(hosted(raw, kind, fields)),
        None => match fields.iter().map(|(name, _)| name).find(|name| GEMINI.contains(name)) {
            Some(name) => {
                let name = name.to_owned();
                let value = Json::of_raw(raw);
                Ok(plain(name, ToolKind::Hosted { format: Format::Gemini, value }))
            }
            None => Err(fields.wrong("type", "`function` or `custom`")),
        },
    }
}

/// What stands beside `function` or `custom`.
fn outer(tool: Tool, mut fields: Fields<'_>) -> Tool {
    let cache_control = fields.json("cache_control").or(tool.cache_control);
    let beside = fields.rest(CHAT);
    let all = beside.of(CHAT).iter().chain(tool.extras.of(CHAT)).cloned().collect();
    Tool { cache_control, extras: Extras::new(CHAT, all), ..tool }
}

/// Moonshot's `{"type":"builtin_function"}` has siblings that call themselves functions: `$web_search`.
fn names_builtin(fields: &Fields<'_>) -> bool {
    let inner = fields.peek("function").and_then(Fields::of);
    inner.and_then(|mut inner| inner.text("name")).is_some_and(|name| name.starts_with('$'))
}

fn function(mut fields: Fields<'_>) -> Result<Tool, Fault> {
    let name = name(&mut fields)?;
    let description = fields.string("description")?;
    let schema = match fields.peek("parameters") {
        Some(raw) if !raw.get().starts_with('{') => {
            return Err(fields.wrong("parameters", "a JSON Schema object"));
        }
        _ => fields.json("parameters"),
    };
    let strict = fields.boolean("strict")?;
    let cache_control = fields.json("cache_control");
    let kind = ToolKind::Function { schema, strict };
    let tool = plain(name, kind);
    Ok(Tool { description, cache_control, extras: fields.rest(CHAT), ..tool })
}

fn custom(mut fields: Fields<'_>) -> Result<Tool, Fault> {
    let name = name(&mut fields)?;
    let description = fields.string("description")?;
    let format = fields.json("format").map(flat_grammar);
    let tool = plain(name, ToolKind::Custom { format });
    Ok(Tool { description, extras: fields.rest(CHAT), ..tool })
}

/// Chat has a grammar's text one object deeper (`{"type":"grammar","grammar":{"syntax","definition"}}`) than
/// responses, whose form is the one that is kept.
fn flat_grammar(format: Json) -> Json {
    let nested = Fields::of(format.as_raw()).and_then(|mut fields| fields.inner("grammar"));
    let Some(mut grammar) = nested else { return format };
    let (syntax, definition) = (grammar.text("syntax"), grammar.text("definition"));
    json!({ "type": "grammar", "syntax": syntax, "definition": definition }).into()
}

fn hosted(raw: &RawValue, kind: &str, mut fields: Fields<'_>) -> Tool {
    let dated = kind.rsplit_once('_').map(|(_, date)| date);
    let dated =
        dated.is_some_and(|date| date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit()));
    let format = match kind {
        // Anthropic's server tools carry the date of their version.
        _ if dated => Format::Anthropic,
        _ if RESPONSES.contains(&kind) && !fields.has(kind) => Format::OpenAiResponses,
        _ => CHAT,
    };
    let name = fields.text("name").unwrap_or_else(|| kind.to_owned());
    plain(name, ToolKind::Hosted { format, value: Json::of_raw(raw) })
}

fn plain(name: String, kind: ToolKind) -> Tool {
    let extras = Extras::default();
    Tool { name, namespace: None, description: None, kind, cache_control: None, extras }
}

fn name(fields: &mut Fields<'_>) -> Result<String, Fault> {
    let name = fields.string("name")?;
    let name = fields.required("name", name)?;
    if name.is_empty() { Err(fields.wrong("name", "a name, not empty")) } else { Ok(name) }
}

fn simple(word: &str) -> Option<ToolChoice> {
    match word {
        "none" => Some(ToolChoice::None),
        "auto" => Some(ToolChoice::Auto),
        // `any` is Mistral's and Anthropic's word.
        "required" | "any" => Some(ToolChoice::Required),
        _ => None,
    }
}

fn chosen(mut fields: Fields<'_>, raw: &RawValue) -> Result<ToolChoice, Fault> {
    let kind = fields.word("type")?;
    match kind.as_deref() {
        // `{"type":"tool","name"}` is Anthropic's, `{"type":"function","name"}` that of responses.
        None | Some("function" | "tool") => match fields.object("function")? {
            Some(inner) => named(inner, CallKind::Function),
            None => named(fields, CallKind::Function),
        },
        Some("custom") => match fields.object("custom")? {
            Some(inner) => named(inner, CallKind::Custom),
            None => named(fields, CallKind::Custom),
        },
        Some("allowed_tools") => match fields.object("allowed_tools")? {
            Some(inner) => allowed(inner),
            None => allowed(fields),
        },
        Some(word) => Ok(simple(word)
            .unwrap_or_else(|| ToolChoice::Foreign { format: CHAT, value: Json::of_raw(raw) })),
    }
}

fn named(mut fields: Fields<'_>, kind: CallKind) -> Result<ToolChoice, Fault> {
    let name = name(&mut fields)?;
    Ok(ToolChoice::Named { name, namespace: None, kind })
}

fn allowed(mut fields: Fields<'_>) -> Result<ToolChoice, Fault> {
    let required = match fields.string("mode")?.as_deref() {
        None | Some("auto") => false,
        Some("required") => true,
        Some(_) => return Err(fields.wrong("mode", "`auto` or `required`")),
    };
    let list = fields.list("tools")?;
    let mut names = Vec::new();
    for (path, raw) in fields.required("tools", list)? {
        let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        // A tool that its vendor runs has no name but its type.
        let places = ["/function/name", "/custom/name", "/name", "/type"];
        let name = places.into_iter().find_map(|place| value.pointer(place)?.as_str());
        let missing =
            || Fault::invalid(format!("`{path}` names no tool.")).with_param(path.clone());
        names.push(name.ok_or_else(missing)?.to_owned());
    }
    Ok(ToolChoice::Allowed { names, required })
}
