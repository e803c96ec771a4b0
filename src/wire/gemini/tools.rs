//! Tools and which of them may be called (<https://ai.google.dev/gemini-api/docs/function-calling>). All functions
//! stand in one entry; what Google runs itself has an entry of its own.

use serde_json::{Map, Value, json};

use super::models::Model;
use super::schema;
use super::types::Object;
use crate::conversation::{Ask, Json, Losses, Tool, ToolChoice, ToolKind};

/// What of the request is about tools.
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// Entries of `tools`.
    pub(super) entries: Vec<Json>,
    pub(super) config: Option<Json>,
    /// There are functions to call.
    pub(super) functions: bool,
}

/// Google's names of what it runs itself, as LiteLLM's clients write them into `tools`.
const NATIVE: [(&str, &str); 8] = [
    ("googleSearch", "google_search"),
    ("googleSearchRetrieval", "google_search_retrieval"),
    ("enterpriseWebSearch", "enterprise_web_search"),
    ("urlContext", "url_context"),
    ("codeExecution", "code_execution"),
    ("googleMaps", "google_maps"),
    ("fileSearch", "file_search"),
    ("computerUse", "computer_use"),
];

pub(super) fn write(ask: &Ask, model: Model, losses: &mut Losses) -> Tools {
    let mut declarations: Vec<Json> = Vec::new();
    let mut hosted: Vec<(String, Json)> = Vec::new();
    for (at, tool) in ask.tools.iter().enumerate() {
        match &tool.kind {
            ToolKind::Function { schema, .. } => {
                if is_allowed(ask, &tool.name) {
                    declarations.push(declaration(tool, schema.as_ref(), model));
                }
            }
            ToolKind::Hosted { value, .. } => match native(value) {
                Some(entry) => {
                    if bounds(value) {
                        losses.add(format!("tools[{at}].filters"), "Google searches everywhere");
                    }
                    hosted.push((format!("tools[{at}]"), entry));
                }
                None => losses.add(format!("tools[{at}]"), "Gemini has no tool like it"),
            },
            _ => losses.add(format!("tools[{at}]"), "Gemini calls functions only"),
        }
    }
    if ask.extras.get("web_search_options").is_some() {
        hosted.push(("web_search_options".to_owned(), Json::of(&json!({ "googleSearch": {} }))));
    }
    let functions = !declarations.is_empty();
    let mut entries = Vec::new();
    if functions {
        let mut entry = Object::default();
        entry.set("functionDeclarations", &declarations);
        entries.push(Json::of(&entry));
    }
    for (path, entry) in hosted {
        if functions {
            // Older models refuse both at once; newer ones want their own search calls back in the next turn
            // (https://ai.google.dev/gemini-api/docs/tool-combination), which clients of other formats do not keep.
            losses.add(path, "Gemini runs its own tools only where there are no functions to call");
        } else {
            entries.push(entry);
        }
    }
    if ask.parallel_tool_calls == Some(false) && functions {
        losses.add("parallel_tool_calls", "Gemini may always call several functions at once");
    }
    Tools { config: config(ask, functions, losses), entries, functions }
}

/// A function; the schema goes as it came where the model takes it so.
fn declaration(tool: &Tool, schema: Option<&Json>, model: Model) -> Json {
    let mut declaration = Object::default();
    declaration.set("name", &tool.name);
    if let Some(description) = tool.description.as_ref().filter(|text| !text.is_empty()) {
        declaration.set("description", description);
    }
    if let Some(schema) = schema.filter(|schema| schema::takes_arguments(schema)) {
        if model.takes_json_schema() {
            declaration.put("parametersJsonSchema", schema.clone());
        } else {
            declaration.put_some("parameters", schema::parameters(schema));
        }
    }
    Json::of(&declaration)
}

/// With `allowed_tools` in mode `auto` the others are left out: `allowedFunctionNames` would force a call.
fn is_allowed(ask: &Ask, name: &str) -> bool {
    match &ask.tool_choice {
        Some(ToolChoice::Allowed { names, required: false }) => {
            names.iter().any(|allowed| allowed == name)
        }
        _ => true,
    }
}

fn config(ask: &Ask, functions: bool, losses: &mut Losses) -> Option<Json> {
    let choice = ask.tool_choice.as_ref().filter(|_| functions)?;
    let (mode, names) = match choice {
        ToolChoice::Auto | ToolChoice::Allowed { required: false, .. } => ("AUTO", None),
        ToolChoice::None => ("NONE", None),
        ToolChoice::Required => ("ANY", None),
        ToolChoice::Named { name, .. } => ("ANY", Some(vec![name.as_str()])),
        ToolChoice::Allowed { names, required: true } => {
            ("ANY", Some(names.iter().map(String::as_str).collect()))
        }
        ToolChoice::Foreign { .. } => {
            losses.add("tool_choice", "Gemini has no choice like it");
            return None;
        }
    };
    let mut config = json!({ "mode": mode });
    if let (Some(names), Value::Object(config)) = (names, &mut config) {
        config.insert("allowedFunctionNames".to_owned(), json!(names));
    }
    Some(Json::of(&json!({ "functionCallingConfig": config })))
}

/// Whether a search is bound to some sites, or to all but some.
fn bounds(value: &Json) -> bool {
    let members = value.read::<Map<String, Value>>().unwrap_or_default();
    let bounds = ["filters", "allowed_domains", "blocked_domains"];
    bounds.into_iter().any(|name| members.get(name).is_some_and(|value| !value.is_null()))
}

/// Google's own tool for a hosted one: searching the web and running code have the same meaning everywhere.
fn native(value: &Json) -> Option<Json> {
    let members = value.read::<Map<String, Value>>()?;
    let kind = members.get("type").and_then(Value::as_str).unwrap_or_default();
    if kind.starts_with("web_search") {
        return Some(Json::of(&json!({ "googleSearch": {} })));
    }
    if kind.starts_with("code_interpreter") || kind.starts_with("code_execution") {
        return Some(Json::of(&json!({ "codeExecution": {} })));
    }
    if kind.starts_with("web_fetch") {
        return Some(Json::of(&json!({ "urlContext": {} })));
    }
    let (name, value) = NATIVE.into_iter().find_map(|(name, snake)| {
        let value = members.get(name).or_else(|| members.get(snake))?;
        Some((name, value.clone()))
    })?;
    let value = if value.is_object() { value } else { json!({}) };
    Some(Json::of(&Map::from_iter([(name.to_owned(), value)])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::{CallKind, Extras, Format};

    fn tool(name: &str, kind: ToolKind) -> Tool {
        Tool {
            name: name.into(),
            namespace: None,
            description: Some("d".into()),
            kind,
            cache_control: None,
            extras: Extras::default(),
        }
    }

    fn function(name: &str) -> Tool {
        let schema = Json::parse(
            r#"{"type":"object","properties":{"a":{"type":["string","null"]}},"$schema":"x"}"#,
        );
        tool(name, ToolKind::Function { schema, strict: Some(true) })
    }

    fn hosted(value: &str) -> Tool {
        let value = Json::parse(value).expect("valid");
        tool("", ToolKind::Hosted { format: Format::OpenAiResponses, value })
    }

    #[track_caller]
    fn check(
        tools: Vec<Tool>,
        choice: Option<ToolChoice>,
        model: &str,
        expected: &str,
        lost: &str,
    ) {
        let ask = Ask { tools, tool_choice: choice, ..Ask::new(Format::OpenAiChat) };
        let mut losses = Losses::default();
        let tools = write(&ask, Model::named(model), &mut losses);
        let told = json!([
            tools.entries.iter().map(Json::to_value).collect::<Vec<_>>(),
            tools.config.map(|config| config.to_value())
        ]);
        assert_eq!(told, serde_json::from_str::<Value>(expected).expect("valid"));
        assert_eq!(losses.paths(), lost);
    }

    #[test]
    fn functions_and_schemas() {
        let raw = r#"[[{"functionDeclarations":[{"name":"f","description":"d","parametersJsonSchema":
            {"type":"object","properties":{"a":{"type":["string","null"]}},"$schema":"x"}}]}],null]"#;
        check(vec![function("f")], None, "gemini-2.5-pro", raw, "");
        let subset = r#"[[{"functionDeclarations":[{"name":"f","description":"d","parameters":
            {"type":"OBJECT","properties":{"a":{"type":"STRING","nullable":true}}}}]}],null]"#;
        check(vec![function("f")], None, "gemini-2.0-flash", subset, "");
        let none = tool(
            "n",
            ToolKind::Function {
                schema: Json::parse(r#"{"type":"object","properties":{}}"#),
                strict: None,
            },
        );
        check(
            vec![none],
            None,
            "gemini-2.5-pro",
            r#"[[{"functionDeclarations":[{"name":"n","description":"d"}]}],null]"#,
            "",
        );
    }

    #[test]
    fn choices() {
        let check = |choice: ToolChoice, config: &str, count: usize| {
            let tools = vec![function("f"), function("g")];
            let ask = Ask { tools, tool_choice: Some(choice), ..Ask::new(Format::OpenAiChat) };
            let tools = write(&ask, Model::named("gemini-3-pro"), &mut Losses::default());
            assert_eq!(
                tools.config.expect("chosen").as_str(),
                format!(r#"{{"functionCallingConfig":{config}}}"#)
            );
            assert_eq!(tools.entries[0].as_str().matches(r#""name""#).count(), count);
        };
        check(ToolChoice::Auto, r#"{"mode":"AUTO"}"#, 2);
        check(ToolChoice::None, r#"{"mode":"NONE"}"#, 2);
        check(ToolChoice::Required, r#"{"mode":"ANY"}"#, 2);
        let named =
            ToolChoice::Named { name: "f".into(), namespace: None, kind: CallKind::Function };
        check(named, r#"{"mode":"ANY","allowedFunctionNames":["f"]}"#, 2);
        let allowed = |required| ToolChoice::Allowed { names: vec!["g".into()], required };
        check(allowed(true), r#"{"mode":"ANY","allowedFunctionNames":["g"]}"#, 2);
        check(allowed(false), r#"{"mode":"AUTO"}"#, 1);
    }

    #[test]
    fn what_google_runs_itself() {
        let search = hosted(r#"{"type":"web_search_preview"}"#);
        check(
            vec![search.clone()],
            Some(ToolChoice::Auto),
            "gemini-2.5-pro",
            r#"[[{"googleSearch":{}}],null]"#,
            "",
        );
        check(
            vec![hosted(r#"{"url_context":{}}"#)],
            None,
            "gemini-2.5-pro",
            r#"[[{"urlContext":{}}],null]"#,
            "",
        );
        check(
            vec![hosted(r#"{"type":"image_generation"}"#)],
            None,
            "gemini-2.5-pro",
            "[[],null]",
            "tools[0]",
        );
        let ask = Ask { tools: vec![search, function("f")], ..Ask::new(Format::OpenAiResponses) };
        let mut losses = Losses::default();
        let tools = write(&ask, Model::named("gemini-3-pro"), &mut losses);
        assert_eq!((tools.entries.len(), losses.paths().as_str()), (1, "tools[0]"));
    }
}
