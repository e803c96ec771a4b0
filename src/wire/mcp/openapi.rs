//! One server's tools as an OpenAPI 3.1 document with a POST for each, in the form of mcpo, which Open WebUI and others
//! read as a tool server. How the paths are served is not known here. <https://github.com/open-webui/mcpo>

use serde_json::value::RawValue;

use super::canonical::quoted;
use super::{edit, names};
use crate::conversation::Json;
use crate::wire::fields::{Fields, as_string, listed};

/// Schemas nested deeper are carried as they are.
const MAX_DEPTH: usize = 64;

/// Keywords whose value is a map of schemas: its names are names, even `$ref`.
const MAPS: [&str; 5] =
    ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];
/// Keywords whose value is data, in which nothing is a reference.
const DATA: [&str; 5] = ["const", "enum", "default", "examples", "example"];
/// Keywords that let a schema without `properties` want arguments all the same.
const WANTING: [&str; 9] = [
    "$ref",
    "$dynamicRef",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "patternProperties",
    "required",
    "minProperties",
];

/// What a document says of the server.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub title: &'a str,
    pub version: &'a str,
    /// Left out where it is empty.
    pub description: &'a str,
    /// What stands before the paths: a path from the root of the host.
    pub base: &'a str,
}

/// The document for tools under their exposed names, in their order.
///
/// Each tool is `POST /{name}`, its operation `tool_{name}_post` as mcpo has it: with `_` for what a word has not, cut
/// with a hash beyond 64 characters (it becomes a function's name), and different for all. The body is the `inputSchema`,
/// the answer the `outputSchema` or anything. A tool without arguments has no body: Open WebUI refuses to call what has
/// one and nothing to put in. Schemas are components, and local references in them lead to where they now are.
pub fn document(about: &About<'_>, tools: &[(String, Json)]) -> Json {
    let operations = operation_ids(tools);
    let (mut paths, mut schemas) = (Members::default(), Members::default());
    for ((name, tool), operation) in tools.iter().zip(&operations) {
        let body = takes_arguments(tool).then(|| [operation, "_request"].concat());
        let answer = edit::get(tool, &["outputSchema"]).map(|_| [operation, "_response"].concat());
        for (component, member) in [(&body, "inputSchema"), (&answer, "outputSchema")] {
            if let (Some(component), Some(schema)) = (component, edit::get(tool, &[member])) {
                schemas.add(component, &embedded(schema, &reference(component)));
            }
        }
        let mut post = Members::default();
        post.text("summary", &summary(name, tool));
        if let Some(description) = edit::text(tool, &["description"]) {
            post.text("description", &description);
        }
        post.text("operationId", operation);
        if let Some(component) = &body {
            let body = [r#"{"required":true,"content":"#, &content(Some(component)), "}"].concat();
            post.add("requestBody", &body);
        }
        let responses = [
            r#"{"200":{"description":"What the tool answered.","content":"#,
            &content(answer.as_deref()),
            r#"},"default":{"description":"The call failed."}}"#,
        ];
        post.add("responses", &responses.concat());
        paths.add(&["/", name].concat(), &["{\"post\":", &post.end(), "}"].concat());
    }
    let mut info = Members::default();
    info.text("title", about.title);
    if !about.description.is_empty() {
        info.text("description", about.description);
    }
    info.text("version", about.version);
    let mut components = Members::default();
    components.add("schemas", &schemas.end());
    components.add("securitySchemes", r#"{"HTTPBearer":{"type":"http","scheme":"bearer"}}"#);
    let mut document = Members::default();
    document.text("openapi", "3.1.0");
    document.add("info", &info.end());
    document.add("servers", &["[{\"url\":", &quoted(about.base), "}]"].concat());
    document.add("paths", &paths.end());
    document.add("components", &components.end());
    document.add("security", r#"[{"HTTPBearer":[]}]"#);
    Json::parse(document.end()).unwrap_or_else(Json::empty_object)
}

fn operation_ids(tools: &[(String, Json)]) -> Vec<String> {
    let ids = tools.iter().map(|(name, _)| {
        let words = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let id: String = ["tool_", name, "_post"].concat().chars().map(words).collect();
        if names::is_function_name(&id) { id } else { names::shortened(&id, name) }
    });
    let ids: Vec<String> = ids.collect();
    names::expose("", &ids.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The tool's title, or its name as words.
fn summary(name: &str, tool: &Json) -> String {
    let title = edit::text(tool, &["title"]);
    title.or_else(|| edit::text(tool, &["annotations", "title"])).unwrap_or_else(|| {
        let words = name.split(['_', '-', '.']).filter(|word| !word.is_empty()).map(|word| {
            let mut letters = word.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        });
        words.collect::<Vec<_>>().join(" ")
    })
}

fn takes_arguments(tool: &Json) -> bool {
    let Some(mut schema) = edit::get(tool, &["inputSchema"]).and_then(Fields::of) else {
        return false;
    };
    let additional = schema.take("additionalProperties").map(RawValue::get);
    let properties = schema.inner("properties");
    properties.is_some_and(|properties| properties.iter().next().is_some())
        || additional.is_some_and(|additional| additional != "false")
        || schema.iter().any(|(name, value)| WANTING.contains(&name) && value.get() != "[]")
}

fn reference(component: &str) -> String {
    ["#/components/schemas/", component].concat()
}

fn content(component: Option<&str>) -> String {
    let schema = match component {
        Some(component) => ["{\"$ref\":", &quoted(&reference(component)), "}"].concat(),
        None => "{}".to_owned(),
    };
    [r#"{"application/json":{"schema":"#, &schema, "}}"].concat()
}

/// A schema as a component at `place`: its own references (`#`, `#/$defs/x`) begin there, and its `$id`, which would have
/// them begin elsewhere, is left out with its `$schema`.
fn embedded(schema: &RawValue, place: &str) -> String {
    let id = Fields::of(schema).and_then(|mut fields| fields.text("$id"));
    let id = id.map(|id| id.trim_end_matches('#').to_owned()).filter(|id| !id.is_empty());
    let mut out = String::with_capacity(schema.get().len() + 64);
    Embedding { place, id: id.as_deref() }.schema(schema, 0, &mut out);
    out
}

struct Embedding<'p> {
    place: &'p str,
    /// What the schema called itself, where it did.
    id: Option<&'p str>,
}

impl Embedding<'_> {
    fn schema(&self, value: &RawValue, depth: usize, out: &mut String) {
        if let Some(items) = listed(value).filter(|_| depth <= MAX_DEPTH) {
            let mut begun = '[';
            for item in items {
                out.push(begun);
                self.schema(item, depth + 1, out);
                begun = ',';
            }
            out.push_str(if begun == '[' { "[]" } else { "]" });
            return;
        }
        // What has an `$id` inside of another is a world of its own: its references begin at itself.
        let fields = Fields::of(value)
            .filter(|fields| depth <= MAX_DEPTH && (depth == 0 || !fields.has("$id")));
        let Some(fields) = fields else { return out.push_str(value.get()) };
        let mut members = Members::default();
        for (keyword, value) in fields.iter() {
            if depth == 0 && matches!(keyword, "$id" | "$schema") {
                continue;
            }
            if keyword == "$ref" {
                match as_string(value).and_then(|reference| self.moved(&reference)) {
                    Some(moved) => members.text(keyword, &moved),
                    None => members.add(keyword, value.get()),
                }
            } else if MAPS.contains(&keyword) {
                members.add(keyword, &self.map(value, depth + 1));
            } else if DATA.contains(&keyword) {
                members.add(keyword, value.get());
            } else {
                let mut inner = String::new();
                self.schema(value, depth + 1, &mut inner);
                members.add(keyword, &inner);
            }
        }
        out.push_str(&members.end());
    }

    fn map(&self, value: &RawValue, depth: usize) -> String {
        let Some(fields) = Fields::of(value) else { return value.get().to_owned() };
        let mut members = Members::default();
        for (name, value) in fields.iter() {
            let mut inner = String::new();
            self.schema(value, depth + 1, &mut inner);
            members.add(name, &inner);
        }
        members.end()
    }

    /// A reference into this schema from where it is now; `None` for any other.
    fn moved(&self, reference: &str) -> Option<String> {
        let own = self.id.and_then(|id| reference.strip_prefix(id)).unwrap_or(reference);
        let pointer = match own {
            "" => "",
            _ => own.strip_prefix('#')?,
        };
        // `#name` is an anchor, which moves along.
        let is_pointer = pointer.is_empty() || pointer.starts_with('/');
        is_pointer.then(|| [self.place, pointer].concat())
    }
}

/// An object that is being written.
#[derive(Default)]
struct Members(String);

impl Members {
    fn add(&mut self, name: &str, json: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(json);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.add(name, &quoted(text));
    }

    fn end(self) -> String {
        if self.0.is_empty() { "{}".to_owned() } else { self.0 + "}" }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn about(description: &str) -> About<'_> {
        About { title: "Time", version: "1.2", description, base: "/time" }
    }

    fn of(tools: &[(&str, Value)]) -> Value {
        let tools: Vec<_> =
            tools.iter().map(|(name, tool)| ((*name).to_owned(), Json::of(tool))).collect();
        document(&about(""), &tools).to_value()
    }

    #[test]
    fn a_tool_is_an_operation() {
        let tool = json!({
            "name": "get_current_time",
            "description": "Tells the time.",
            "inputSchema": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]},
            "outputSchema": {"type": "object", "properties": {"now": {"type": "string"}}},
        });
        let expected = json!({
            "openapi": "3.1.0",
            "info": {"title": "Time", "version": "1.2"},
            "servers": [{"url": "/time"}],
            "paths": {"/get_current_time": {"post": {
                "summary": "Get Current Time",
                "description": "Tells the time.",
                "operationId": "tool_get_current_time_post",
                "requestBody": {"required": true, "content": {"application/json": {"schema":
                    {"$ref": "#/components/schemas/tool_get_current_time_post_request"}}}},
                "responses": {
                    "200": {"description": "What the tool answered.", "content": {"application/json": {"schema":
                        {"$ref": "#/components/schemas/tool_get_current_time_post_response"}}}},
                    "default": {"description": "The call failed."},
                },
            }}},
            "components": {
                "schemas": {
                    "tool_get_current_time_post_request": tool["inputSchema"],
                    "tool_get_current_time_post_response": tool["outputSchema"],
                },
                "securitySchemes": {"HTTPBearer": {"type": "http", "scheme": "bearer"}},
            },
            "security": [{"HTTPBearer": []}],
        });
        assert_eq!(of(&[("get_current_time", tool)]), expected);
    }

    #[test]
    fn without_tools_it_is_still_a_document() {
        let document = document(&about("B"), &[]).to_value();
        assert_eq!(document["paths"], json!({}));
        assert_eq!(document["components"]["schemas"], json!({}));
        assert_eq!(document["info"]["description"], "B");
    }

    #[test]
    fn only_tools_with_arguments_have_a_body() {
        for (schema, expected) in [
            (json!({"type": "object"}), false),
            (json!({"type": "object", "properties": {}, "required": []}), false),
            (json!({"type": "object", "additionalProperties": false}), false),
            (json!(null), false),
            (json!({"type": "object", "additionalProperties": true}), true),
            (json!({"$ref": "#/$defs/a", "$defs": {"a": {}}}), true),
            (json!({"properties": {"a": {}}}), true),
        ] {
            let document = of(&[("t", json!({"inputSchema": schema}))]);
            let body = &document["paths"]["/t"]["post"]["requestBody"];
            assert_eq!(!body.is_null(), expected, "{schema}");
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let long = "x".repeat(64);
        let tools: Vec<_> = ["a-b", "a_b", "a.b", &long].map(|name| (name, json!({}))).into();
        let document = of(&tools);
        let paths = document["paths"].as_object().expect("paths");
        let ids: Vec<&str> =
            paths.values().filter_map(|path| path["post"]["operationId"].as_str()).collect();
        assert_eq!(ids.first(), Some(&"tool_a_b_post"));
        assert!(ids.iter().all(|id| names::is_function_name(id)), "{ids:?}");
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 4);
    }

    #[track_caller]
    fn moved(schema: Value, expected: Value) {
        let schema = Json::of(&schema);
        let text = embedded(schema.as_raw(), "#/c");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), expected);
    }

    #[test]
    fn references_lead_to_where_things_are_now() {
        moved(
            json!({
                "$schema": "x",
                "$ref": "#/$defs/a",
                "$defs": {"a": {"items": {"$ref": "#"}}, "$ref": {"anyOf": [{"$ref": "#/$defs/a/items"}]}},
                "properties": {"$ref": {"$ref": "#/properties/$id"}, "$id": {"type": "string"}},
                "default": {"$ref": "#/$defs/a"},
                "items": {"$ref": "#anchor"},
                "not": {"$ref": "https://elsewhere/#/$defs/a"},
            }),
            json!({
                "$ref": "#/c/$defs/a",
                "$defs": {"a": {"items": {"$ref": "#/c"}}, "$ref": {"anyOf": [{"$ref": "#/c/$defs/a/items"}]}},
                "properties": {"$ref": {"$ref": "#/c/properties/$id"}, "$id": {"type": "string"}},
                "default": {"$ref": "#/$defs/a"},
                "items": {"$ref": "#anchor"},
                "not": {"$ref": "https://elsewhere/#/$defs/a"},
            }),
        );
    }

    #[test]
    fn a_schema_that_names_itself_is_moved_too() {
        moved(
            json!({"$id": "https://x/s", "a": {"$ref": "https://x/s#/$defs/a"}, "b": {"$ref": "https://x/s"}}),
            json!({"a": {"$ref": "#/c/$defs/a"}, "b": {"$ref": "#/c"}}),
        );
        let own = json!({"items": {"$id": "y", "$ref": "#/$defs/a"}});
        moved(own.clone(), own);
    }

    #[test]
    fn numbers_keep_their_spelling_and_depth_is_bounded() {
        let text = r#"{"maximum":12345678901234567890123,"multipleOf":1.0,"x":[],"y":[true]}"#;
        let schema = Json::parse(text).expect("JSON");
        assert_eq!(embedded(schema.as_raw(), "#/c"), text);
        let deep = ["{\"not\":".repeat(3000), "{}".to_owned(), "}".repeat(3000)].concat();
        let schema = Json::parse(deep.clone()).expect("JSON");
        assert_eq!(embedded(schema.as_raw(), "#/c"), deep);
    }

    proptest! {
        #[test]
        fn every_reference_into_a_schema_finds_the_same_place(name in "[a-z$~0-9]{1,6}", tool in "[a-z._-]{1,20}") {
            let place = json!({"title": "here"});
            let pointer = name.replace('~', "~0");
            let schema = json!({"$defs": {name: place}, "properties": {"a": {"$ref": format!("#/$defs/{pointer}")}}});
            let document = of(&[(&tool, json!({"inputSchema": schema}))]);
            let pointer = |value: &Value| value["$ref"].as_str().unwrap_or_default().trim_start_matches('#').to_owned();
            let body = &document["paths"][format!("/{tool}")]["post"]["requestBody"];
            let component = document.pointer(&pointer(&body["content"]["application/json"]["schema"]));
            let inner = pointer(&component.expect("a component")["properties"]["a"]);
            prop_assert_eq!(document.pointer(&inner), Some(&place));
        }
    }
}
