//! The tools, the choice among them, and what the text of the answer must be.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::super::quirks::{JsonAnswers, MessageFields};
use super::CHAT;
use super::request::Writer;
use super::tree::{Node, Object};
use crate::conversation::{CallKind, Json, TextFormat, Tool, ToolChoice, ToolKind};
use crate::ground::fault::Fault;
use crate::wire::fields::Fields;
use crate::wire::lacking::{self, Knob};

/// How long Mistral's ids are, and OpenAI's at most.
const MISTRAL_ID: usize = 9;

/// Writes the tools, and what is said of them: without tools that would be a 400.
///
/// Errors: a field that the server lacks, where those are not to be dropped.
pub(super) fn write<'a>(writer: &mut Writer<'a, '_>, body: &mut Object<'a>) -> Result<(), Fault> {
    let choice = writer.ask.tool_choice.as_ref();
    let only = filter(writer, choice);
    let mut tools = Vec::new();
    for (at, tool) in writer.ask.tools.iter().enumerate() {
        if only.as_ref().is_none_or(|names| names.contains(&&*tool.name)) {
            tools.extend(node(writer, tool, at));
        }
    }
    if tools.is_empty() {
        if matches!(choice, Some(ToolChoice::Required | ToolChoice::Named { .. })) {
            writer.losses.add("tool_choice", "there are no tools to choose from");
        }
        return Ok(());
    }
    body.put("tools", Node::List(tools));
    if let Some(choice) = choice.and_then(|choice| choice_node(writer, choice)) {
        body.put("tool_choice", choice);
    }
    if let Some(parallel) = writer.ask.parallel_tool_calls
        && writer.may("parallel_tool_calls")?
    {
        body.put("parallel_tool_calls", Node::Flag(parallel));
    }
    Ok(())
}

/// Writes what the text of the answer must be.
pub(super) fn text_format<'a>(writer: &mut Writer<'a, '_>, body: &mut Object<'a>) {
    let Some(wanted) = &writer.ask.text_format else { return };
    let format = match (wanted, answers(writer)) {
        (TextFormat::Foreign { format, value }, _) => {
            if *format == CHAT {
                body.put("response_format", Node::raw(value));
            } else {
                writer.losses.add(
                    lacking::place(writer.ask.format, Knob::TextFormat),
                    "chat completions have no such format",
                );
            }
            return;
        }
        (TextFormat::JsonObject, JsonAnswers::SchemaOnly) => {
            let any = Object::typed("object").node();
            let inner = Object::default().with("name", Node::text("object")).with("schema", any);
            Object::typed("json_schema").with("json_schema", inner.node())
        }
        (TextFormat::JsonObject, _) | (_, JsonAnswers::ObjectOnly) => Object::typed("json_object"),
        (TextFormat::JsonSchema { name, description, schema, strict }, _) => {
            let mut inner = Object::default().with("name", Node::text(name.as_str()));
            if let Some(description) = description {
                inner.put_text("description", description.as_str());
            }
            inner.put("schema", Node::raw(schema));
            if let Some(strict) = strict {
                inner.put("strict", Node::Flag(*strict));
            }
            Object::typed("json_schema").with("json_schema", inner.node())
        }
    };
    body.put("response_format", format.node());
}

/// What a model must be told where the server cannot hold it to a schema.
pub(super) fn instruction(writer: &Writer<'_, '_>) -> Option<String> {
    let Some(TextFormat::JsonSchema { schema, .. }) = &writer.ask.text_format else { return None };
    let needed = answers(writer) == JsonAnswers::ObjectOnly;
    needed.then(|| {
        format!(
            "Answer with one JSON object and nothing else. It must conform to this JSON Schema:\n{}",
            schema.as_str()
        )
    })
}

/// The id of a call as the server takes it; calls and results go through here alike.
pub(super) fn call_id<'a>(writer: &Writer<'_, '_>, id: &'a str) -> Cow<'a, str> {
    let fits = id.len() == MISTRAL_ID && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !writer.mistral || fits {
        return id.into();
    }
    const LETTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let digest = Sha256::digest(id.as_bytes());
    let letters = digest.iter().take(MISTRAL_ID).map(|byte| {
        LETTERS.get(usize::from(*byte) % LETTERS.len()).copied().map_or('0', char::from)
    });
    letters.collect::<String>().into()
}

fn answers(writer: &Writer<'_, '_>) -> JsonAnswers {
    match writer.target.fact("supports_response_schema") {
        Some(false) => JsonAnswers::ObjectOnly,
        Some(true) if writer.quirks.json == JsonAnswers::ObjectOnly => JsonAnswers::Both,
        _ => writer.quirks.json,
    }
}

/// The tools that are offered where a choice names some and the server cannot be told so.
fn filter<'a>(writer: &Writer<'_, '_>, choice: Option<&'a ToolChoice>) -> Option<Vec<&'a str>> {
    match choice? {
        ToolChoice::Named { name, .. } if !writer.quirks.named_choice => Some(vec![name]),
        ToolChoice::Allowed { names, .. } if writer.quirks.name != "openai" => {
            Some(names.iter().map(String::as_str).collect())
        }
        _ => None,
    }
}

fn choice_node<'a>(writer: &mut Writer<'a, '_>, choice: &'a ToolChoice) -> Option<Node<'a>> {
    let required = Node::text(writer.quirks.required);
    Some(match choice {
        ToolChoice::Auto => Node::text("auto"),
        ToolChoice::None => Node::text("none"),
        ToolChoice::Required => required,
        ToolChoice::Named { .. } if !writer.quirks.named_choice => required,
        ToolChoice::Named { name, kind, .. } => named(name, *kind),
        ToolChoice::Allowed { names, required } if writer.quirks.name == "openai" => {
            let kind = |name: &str| {
                let mut tools = writer.ask.tools.iter();
                let tool = tools.find(|tool| tool.name == name);
                match tool.map(|tool| &tool.kind) {
                    Some(ToolKind::Custom { .. }) => CallKind::Custom,
                    _ => CallKind::Function,
                }
            };
            let tools = names.iter().map(|name| named(name, kind(name))).collect();
            let inner = Object::default()
                .with("mode", Node::text(if *required { "required" } else { "auto" }))
                .with("tools", Node::List(tools));
            Object::typed("allowed_tools").with("allowed_tools", inner.node()).node()
        }
        ToolChoice::Allowed { required: true, .. } => required,
        ToolChoice::Allowed { .. } => Node::text("auto"),
        ToolChoice::Foreign { format, value } if *format == CHAT => Node::raw(value),
        ToolChoice::Foreign { .. } => {
            writer.losses.add("tool_choice", "chat completions have no such choice");
            return None;
        }
    })
}

fn named(name: &str, kind: CallKind) -> Node<'_> {
    let kind = if kind == CallKind::Custom { "custom" } else { "function" };
    Object::typed(kind).with(kind, Object::default().with("name", Node::text(name)).node()).node()
}

fn node<'a>(writer: &mut Writer<'a, '_>, tool: &'a Tool, at: usize) -> Option<Node<'a>> {
    let mut inner = Object::default().with("name", Node::text(tool.name.as_str()));
    if let Some(description) = &tool.description {
        inner.put_text("description", description.as_str());
    }
    let mut object = match &tool.kind {
        ToolKind::Function { schema, strict } => {
            inner.put("parameters", parameters(writer, schema.as_ref()));
            if let Some(strict) = strict {
                if writer.quirks.strict_tools {
                    inner.put("strict", Node::Flag(*strict));
                } else if *strict {
                    let why = format!("{} has no strict functions", writer.quirks.shown());
                    writer.losses.add(format!("tools[{at}].strict"), why);
                }
            }
            Object::typed("function").with("function", inner.node())
        }
        ToolKind::Custom { format } if writer.quirks.openai_models => {
            if let Some(format) = format {
                inner.put("format", nested_grammar(format));
            }
            Object::typed("custom").with("custom", inner.node())
        }
        ToolKind::Hosted { format, value } if *format == CHAT => return Some(Node::raw(value)),
        _ => {
            let why = format!("{} does not have this tool", writer.quirks.shown());
            writer.losses.add(format!("tools[{at}]"), why);
            return None;
        }
    };
    if let Some(cache_control) = tool.cache_control.as_ref().filter(|_| writer.quirks.cache_control)
    {
        object.put("cache_control", Node::raw(cache_control));
    }
    let any = writer.quirks.message_fields == MessageFields::Any || writer.quirks.name.is_empty();
    for (name, value) in tool.extras.of(CHAT) {
        if any {
            object.put_extra(name, value);
        } else {
            let why = format!("{} does not take it", writer.quirks.shown());
            writer.losses.add(format!("tools[{at}].{name}"), why);
        }
    }
    Some(object.node())
}

/// A schema that is accepted: OpenAI answers one without `properties` with 400, and strict servers one without
/// `type`, or none at all. A schema that has both is sent as it came.
fn parameters<'a>(writer: &Writer<'_, '_>, schema: Option<&'a Json>) -> Node<'a> {
    let empty = || Object::default().node();
    let Some(schema) = schema else {
        return Object::typed("object").with("properties", empty()).node();
    };
    let Some(fields) = Fields::of(schema.as_raw()).filter(|_| writer.mends) else {
        return Node::raw(schema);
    };
    let combined = ["$ref", "anyOf", "oneOf", "allOf"].iter().any(|name| fields.has(name));
    let (typed, properties) = (fields.has("type"), fields.has("properties"));
    if typed && properties || combined {
        return Node::raw(schema);
    }
    let mut object = if typed { Object::default() } else { Object::typed("object") };
    for (name, raw) in fields.iter() {
        if !object.has(name) {
            object.put(name.to_owned(), Node::made(Json::of_raw(raw)));
        }
    }
    if !properties && !object.has("properties") {
        object.put("properties", empty());
    }
    object.node()
}

/// Chat has a grammar's text one object deeper than responses, whose form is the one that is kept.
fn nested_grammar(format: &Json) -> Node<'_> {
    let Some(mut fields) = Fields::of(format.as_raw()).filter(|fields| fields.has("definition"))
    else {
        return Node::raw(format);
    };
    let mut grammar = Object::default();
    for name in ["syntax", "definition"] {
        if let Some(value) = fields.json(name) {
            grammar.put(name, Node::made(value));
        }
    }
    Object::typed("grammar").with("grammar", grammar.node()).node()
}
