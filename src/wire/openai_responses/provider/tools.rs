//! Tools and the choice among them, each kind as it is. Tools of a namespace that stand together are put into
//! it again. It knows nothing of the conversation.
//! Tools: <https://platform.openai.com/docs/api-reference/responses/create#responses-create-tools>.

use super::super::super::fields::Fields;
use super::super::object::Object;
use super::FORMAT;
use crate::conversation::{
    Ask, CallKind, Content, Format, Json, Losses, Tool, ToolChoice, ToolKind,
};

/// On a tool, the description of the namespace that it stood in: left there by the client's half.
const NAMESPACE_DESCRIPTION: &str = "namespace_description";

/// Writes the tools; none where none can be called.
pub(super) fn write(ask: &Ask, losses: &mut Losses) -> Option<Vec<Json>> {
    let found = Found::of(ask);
    let mut callable = false;
    let mut written: Vec<Written> = Vec::with_capacity(ask.tools.len());
    for (at, tool) in ask.tools.iter().enumerate() {
        if found.has(tool) {
            callable = true;
            continue;
        }
        let Some(object) = one(tool, ask.format) else {
            losses.add(
                format!("tools[{at}]"),
                format!("`{}` is a tool that only another provider runs", tool.name),
            );
            continue;
        };
        match &tool.namespace {
            None => written.push(Written::Alone(object)),
            Some(name) => within(&mut written, name, tool, object),
        }
    }
    callable |= !written.is_empty();
    callable.then(|| written.into_iter().map(Written::into_json).collect())
}

/// Writes the choice; `None` where there is nothing to say.
pub(super) fn choice(ask: &Ask, losses: &mut Losses) -> Option<Json> {
    Some(match ask.tool_choice.as_ref()? {
        ToolChoice::Auto => Json::of(&"auto"),
        ToolChoice::None => Json::of(&"none"),
        ToolChoice::Required => Json::of(&"required"),
        ToolChoice::Named { name, namespace, kind } => {
            named(name, *kind).with_some("namespace", namespace.as_ref()).into_json()
        }
        ToolChoice::Allowed { names, required } => {
            let tools: Vec<Object> = names.iter().map(|name| allowed(ask, name)).collect();
            Object::of_type("allowed_tools")
                .with("mode", if *required { "required" } else { "auto" })
                .with("tools", tools)
                .into_json()
        }
        ToolChoice::Foreign { format, value } if *format == FORMAT => value.clone(),
        ToolChoice::Foreign { .. } => {
            losses.add("tool_choice", "it names a tool that only another provider runs");
            return None;
        }
    })
}

/// What stands in the list.
enum Written {
    Alone(Json),
    Namespace { name: String, description: Json, tools: Vec<Json> },
}

impl Written {
    fn into_json(self) -> Json {
        match self {
            Self::Alone(tool) => tool,
            Self::Namespace { name, description, tools } => Object::of_type("namespace")
                .with("name", name)
                .with("description", description)
                .with("tools", tools)
                .into_json(),
        }
    }
}

fn within(written: &mut Vec<Written>, name: &str, tool: &Tool, object: Json) {
    for known in written.iter_mut() {
        if let Written::Namespace { name: known, tools, .. } = known
            && known == name
        {
            tools.push(object);
            return;
        }
    }
    let told = tool.extras.of(FORMAT).iter().find(|(field, _)| field == NAMESPACE_DESCRIPTION);
    // It is required.
    let description = told.map_or_else(|| Json::of(&name), |(_, told)| told.clone());
    let name = name.to_owned();
    written.push(Written::Namespace { name, description, tools: vec![object] });
}

fn one(tool: &Tool, asked: Format) -> Option<Json> {
    let of_type = |kind: &str| Object::of_type(kind).with("name", &tool.name);
    let object = match &tool.kind {
        ToolKind::Function { schema, strict } => {
            let object = of_type("function").with_some("description", tool.description.as_ref());
            let none = || Json::of(&serde_json::json!({ "type": "object", "properties": {} }));
            let object = object.with("parameters", schema.clone().unwrap_or_else(none));
            // Absent, OpenAI would try to make the schema strict, which only its own clients can want.
            let strict = strict.or((asked != FORMAT).then_some(false));
            object.with_some("strict", strict)
        }
        ToolKind::Custom { format } => {
            let object = of_type("custom").with_some("description", tool.description.as_ref());
            object.with_some("format", format.as_ref().map(flat_grammar))
        }
        ToolKind::LocalShell { value }
        | ToolKind::ApplyPatch { value }
        | ToolKind::ToolSearch { value } => return Some(value.clone()),
        ToolKind::Hosted { format, value } if *format == FORMAT => return Some(value.clone()),
        ToolKind::Hosted { .. } => return None,
    };
    Some(object.with_extras(&tool.extras, FORMAT, &[NAMESPACE_DESCRIPTION]).into_json())
}

/// A grammar in chat's shape (`{"type":"grammar","grammar":{…}}`) has one level more.
fn flat_grammar(format: &Json) -> Json {
    let inner = Fields::of(format.as_raw()).and_then(|mut format| format.json("grammar"));
    let Some(inner) = inner.filter(Json::is_object) else { return format.clone() };
    let mut flat = Object::of_type("grammar");
    let fields = Fields::of(inner.as_raw()).unwrap_or_default();
    for (name, value) in fields.iter() {
        flat.put(name.to_owned(), Json::of_raw(value));
    }
    flat.into_json()
}

fn named(name: &str, kind: CallKind) -> Object {
    match kind {
        CallKind::Function => Object::of_type("function").with("name", name),
        CallKind::Custom => Object::of_type("custom").with("name", name),
        // Their type is all there is to say.
        CallKind::LocalShell => Object::of_type(if name.is_empty() { "shell" } else { name }),
        CallKind::ApplyPatch => Object::of_type("apply_patch"),
        CallKind::ToolSearch => Object::of_type("tool_search"),
    }
}

/// An allowed tool by its name, or by its type where it has no other.
fn allowed(ask: &Ask, name: &str) -> Object {
    let tool = ask.tools.iter().find(|tool| tool.name == name);
    match tool.map(|tool| &tool.kind) {
        Some(ToolKind::Custom { .. }) => named(name, CallKind::Custom),
        Some(ToolKind::Function { .. }) | None => named(name, CallKind::Function),
        Some(_) => Object::of_type(name),
    }
}

/// Tools that the client's own search has found: they stand in the search's result and need not be declared.
struct Found(Vec<(Option<String>, String)>);

impl Found {
    fn of(ask: &Ask) -> Self {
        let parts = ask.turns.iter().flat_map(|turn| &turn.parts);
        let results = parts.filter_map(|part| match &part.content {
            Content::ToolResult(result) if result.kind == CallKind::ToolSearch => {
                Some(result.text())
            }
            _ => None,
        });
        let mut found = Vec::new();
        for text in results {
            let Ok(serde_json::Value::Array(tools)) = serde_json::from_str(&text) else { continue };
            let name = |tool: &serde_json::Value| Some(tool.get("name")?.as_str()?.to_owned());
            for tool in &tools {
                let Some(own) = name(tool) else { continue };
                match tool.get("tools").and_then(serde_json::Value::as_array) {
                    Some(members) => {
                        let names = members.iter().filter_map(name);
                        found.extend(names.map(|name| (Some(own.clone()), name)));
                    }
                    None => found.push((None, own)),
                }
            }
        }
        Self(found)
    }

    fn has(&self, tool: &Tool) -> bool {
        self.0.iter().any(|(namespace, name)| *namespace == tool.namespace && *name == tool.name)
    }
}
