//! JSON Schema, cut to the subset of OpenAPI 3.0 that `parameters` and `responseSchema` take
//! (<https://ai.google.dev/api/caching#Schema>): for models before 2.5, which refuse the whole request over one
//! keyword they do not know. Schemas come from MCP servers and code generators, so anything may be in them; what
//! has no place is said in the description where that is short, and dropped where it is not.

use serde_json::{Map, Value, json};

use crate::conversation::Json;
use crate::wire::fields::{Fields, listed};

/// The subset of a function's schema; `None` where it takes no arguments.
pub(super) fn parameters(schema: &Json) -> Option<Json> {
    let root = schema.to_value();
    let mut converted = Converter::new(&root, false).schema(&root, 0);
    if !is_object(&converted) {
        return None;
    }
    converted.remove("nullable");
    converted.contains_key("properties").then(|| Json::of(&converted))
}

/// The subset of the schema of an answer, with the order of its properties.
pub(super) fn response(schema: &Json) -> Json {
    let root = schema.to_value();
    Json::of(&Converter::new(&root, true).schema(&root, 0))
}

/// Whether a schema asks for anything at all: a function without arguments is declared without a schema.
pub(super) fn takes_arguments(schema: &Json) -> bool {
    let Some(schema) = Fields::of(schema.as_raw()) else { return false };
    let names_some = |name: &str| {
        let Some(raw) = schema.peek(name) else { return false };
        raw.get().starts_with('"')
            || Fields::of(raw).is_some_and(|members| members.iter().next().is_some())
            || listed(raw).is_some_and(|items| !items.is_empty())
    };
    let open = schema.peek("additionalProperties").is_some_and(|open| open.get() == "true");
    let members = [
        "properties",
        "$ref",
        "allOf",
        "anyOf",
        "oneOf",
        "patternProperties",
        "additionalProperties",
    ];
    open || members.into_iter().any(names_some)
}

/// Deeper than this nothing is described; Google's own bound is lower.
const MAX_DEPTH: usize = 32;
/// References can make a small text describe a huge tree.
const MAX_NODES: usize = 4000;

type Members = Map<String, Value>;

struct Converter<'s> {
    root: &'s Value,
    /// References being followed: one that comes up again is a cycle.
    following: Vec<String>,
    nodes: usize,
    /// Whether `propertyOrdering` is written.
    ordered: bool,
}

impl<'s> Converter<'s> {
    fn new(root: &'s Value, ordered: bool) -> Self {
        Self { root, following: Vec::new(), nodes: 0, ordered }
    }

    fn schema(&mut self, schema: &Value, depth: usize) -> Members {
        self.nodes += 1;
        let Value::Object(members) = schema else { return any() };
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return self.end_of_the_line(members);
        }
        if let Some(Value::String(reference)) = members.get("$ref") {
            return self.reference(reference, members, depth);
        }
        let merged;
        let members = if members.contains_key("allOf") {
            merged = self.all_of(members);
            &merged
        } else {
            members
        };
        match variants(members) {
            Some(variants) => self.any_of(members, variants, depth),
            None => self.plain(members, depth),
        }
    }

    fn reference(&mut self, reference: &str, members: &Members, depth: usize) -> Members {
        let target = self.resolve(reference).cloned();
        let is_cycle = self.following.iter().any(|known| known == reference);
        let Some(Value::Object(mut target)) = target.filter(|_| !is_cycle) else {
            return self.end_of_the_line(members);
        };
        // What stands beside a reference says more than what it refers to.
        for (name, value) in members.iter().filter(|(name, _)| *name != "$ref") {
            target.insert(name.clone(), value.clone());
        }
        self.following.push(reference.to_owned());
        let converted = self.schema(&Value::Object(target), depth + 1);
        self.following.pop();
        converted
    }

    fn resolve(&self, reference: &str) -> Option<&'s Value> {
        let pointer = reference.strip_prefix('#')?;
        self.root.pointer(pointer)
    }

    /// A cycle or a depth that nobody describes any further.
    fn end_of_the_line(&self, members: &Members) -> Members {
        let mut end = Members::new();
        end.insert("type".into(), "OBJECT".into());
        copy_text(members, &mut end, "description");
        end
    }

    /// All members of `allOf`, and those beside it, as one schema. References are followed one step.
    fn all_of(&mut self, members: &Members) -> Members {
        let mut merged = Members::new();
        let list = members.get("allOf").and_then(Value::as_array).cloned().unwrap_or_default();
        for item in list.into_iter().take(MAX_DEPTH) {
            let reference = item.get("$ref").and_then(Value::as_str);
            let target = reference.and_then(|reference| self.resolve(reference)).cloned();
            if let Value::Object(item) = target.unwrap_or(item) {
                merge(&mut merged, item);
            }
        }
        let beside = members.iter().filter(|(name, _)| *name != "allOf");
        merge(&mut merged, beside.map(|(name, value)| (name.clone(), value.clone())).collect());
        // One that refers to itself would never end.
        merged.remove("allOf");
        merged
    }

    fn any_of(&mut self, members: &Members, variants: Vec<Value>, depth: usize) -> Members {
        let mut beside = members.clone();
        for name in ["anyOf", "oneOf"] {
            beside.remove(name);
        }
        let is_null = |variant: &Value| {
            variant.get("type").and_then(Value::as_str) == Some("null")
                || variant.get("const").is_some_and(Value::is_null)
        };
        let (nulls, variants): (Vec<_>, Vec<_>) = variants.into_iter().partition(is_null);
        let mut converted: Vec<Members> = Vec::new();
        for variant in variants {
            let mut whole = beside.clone();
            if let Value::Object(variant) = variant {
                merge(&mut whole, variant);
            }
            let one = self.schema(&Value::Object(whole), depth + 1);
            if !converted.contains(&one) {
                converted.push(one);
            }
        }
        if !nulls.is_empty() {
            converted.iter_mut().for_each(|one| set(one, "nullable", true));
        }
        match converted.len() {
            0 => {
                let mut null = any();
                set(&mut null, "nullable", true);
                copy_text(members, &mut null, "description");
                null
            }
            1 => converted.pop().unwrap_or_default(),
            // Nothing else may stand beside it.
            _ => Members::from_iter([("anyOf".to_owned(), json!(converted))]),
        }
    }

    fn plain(&mut self, members: &Members, depth: usize) -> Members {
        let mut out = Members::new();
        let kind = kind(members);
        set(&mut out, "type", kind);
        for name in ["title", "description"] {
            copy_text(members, &mut out, name);
        }
        let null_choice = choices(members).any(Value::is_null);
        let null_kind = members.get("type").and_then(Value::as_str) == Some("null");
        if members.get("nullable") == Some(&Value::Bool(true)) || null_choice || null_kind {
            set(&mut out, "nullable", true);
        }
        if let Some(default) = members.get("default").filter(|default| !default.is_null()) {
            set(&mut out, "default", default.clone());
        }
        match kind {
            "STRING" => self.string(members, &mut out),
            "NUMBER" | "INTEGER" => number(members, &mut out, kind),
            "BOOLEAN" => describe_choices(members, &mut out),
            "ARRAY" => self.array(members, &mut out, depth),
            _ => self.object(members, &mut out, depth),
        }
        out
    }

    fn string(&self, members: &Members, out: &mut Members) {
        let mut names: Vec<&str> = Vec::new();
        for name in choices(members).filter_map(Value::as_str) {
            // "enum[0]: cannot be empty"
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        if !names.is_empty() {
            set(out, "enum", json!(names));
        }
        copy_format(members, out, &["enum", "date-time"]);
        copy_text(members, out, "pattern");
        copy_counts(members, out, ["minLength", "maxLength"]);
    }

    fn array(&mut self, members: &Members, out: &mut Members, depth: usize) {
        let tuple = [members.get("prefixItems"), members.get("items")];
        let tuple = tuple.into_iter().flatten().find_map(Value::as_array);
        let items = match (tuple, members.get("items")) {
            (Some(tuple), _) if !tuple.is_empty() => {
                let mut union = Members::new();
                union.insert("anyOf".into(), Value::Array(tuple.clone()));
                self.schema(&Value::Object(union), depth + 1)
            }
            (_, Some(items @ Value::Object(_))) => self.schema(items, depth + 1),
            // An array must say what it holds.
            _ => any(),
        };
        set(out, "items", Value::Object(items));
        copy_counts(members, out, ["minItems", "maxItems"]);
    }

    fn object(&mut self, members: &Members, out: &mut Members, depth: usize) {
        let Some(Value::Object(properties)) = members.get("properties") else { return };
        let mut converted = Members::new();
        for (name, property) in properties {
            // `false` is what nothing fits.
            if property.is_object() || property == &Value::Bool(true) {
                converted.insert(name.clone(), self.schema(property, depth + 1).into());
            }
        }
        if converted.is_empty() {
            return;
        }
        let known = |list: &Value| -> Vec<String> {
            let names = list.as_array().into_iter().flatten().filter_map(Value::as_str);
            names.filter(|name| converted.contains_key(*name)).map(str::to_owned).collect()
        };
        let required = members.get("required").map(known).unwrap_or_default();
        let given = members.get("propertyOrdering").map(known).filter(|names| !names.is_empty());
        let all = || converted.keys().cloned().collect();
        let ordering = given.or_else(|| self.ordered.then(all));
        set(out, "properties", Value::Object(converted));
        if !required.is_empty() {
            set(out, "required", json!(required));
        }
        if let Some(ordering) = ordering {
            set(out, "propertyOrdering", json!(ordering));
        }
    }
}

/// The schemas of which one must fit, if that is what the schema says. A list of types is such a choice too;
/// alternatives beside `properties` mostly say which of these must be there, which has no counterpart.
fn variants(members: &Members) -> Option<Vec<Value>> {
    if let Some(Value::Array(types)) = members.get("type") {
        let variants = types.iter().map(|kind| json!({ "type": kind }));
        return Some(variants.collect());
    }
    if members.contains_key("properties") {
        return None;
    }
    let list = members.get("anyOf").or_else(|| members.get("oneOf"))?.as_array()?;
    (!list.is_empty()).then(|| list.clone())
}

/// Adds a schema to another: names of properties and of what is required are united, else the later one counts.
fn merge(into: &mut Members, from: Members) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(known)), Value::Object(more)) if name == "properties" => {
                known.extend(more);
            }
            (Some(Value::Array(known)), Value::Array(more)) if name == "required" => {
                known.extend(more);
            }
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

/// The type in Google's spelling: the one that is said, or else the one that the keywords are for.
fn kind(members: &Members) -> &'static str {
    let has = |names: &[&str]| names.iter().any(|name| members.contains_key(*name));
    let said = members.get("type").and_then(Value::as_str).map(str::to_ascii_lowercase);
    match said.as_deref() {
        Some("string") => "STRING",
        Some("number" | "float" | "double") => "NUMBER",
        Some("integer" | "int") => "INTEGER",
        Some("boolean" | "bool") => "BOOLEAN",
        Some("array") => "ARRAY",
        Some("object") => "OBJECT",
        _ if has(&["properties", "additionalProperties", "patternProperties"]) => "OBJECT",
        _ if has(&["items", "prefixItems", "minItems", "maxItems"]) => "ARRAY",
        _ => match choices(members).find(|choice| !choice.is_null()) {
            Some(Value::Number(number)) if number.is_f64() => "NUMBER",
            Some(Value::Number(_)) => "INTEGER",
            Some(Value::Bool(_)) => "BOOLEAN",
            _ if has(&["minimum", "maximum", "exclusiveMinimum", "multipleOf"]) => "NUMBER",
            _ => "STRING",
        },
    }
}

/// What `enum` or `const` allow.
fn choices(members: &Members) -> impl Iterator<Item = &Value> {
    let list = members.get("enum").and_then(Value::as_array);
    list.into_iter().flatten().chain(members.get("const"))
}

fn number(members: &Members, out: &mut Members, kind: &str) {
    describe_choices(members, out);
    for name in ["minimum", "maximum"] {
        if let Some(bound @ Value::Number(_)) = members.get(name) {
            set(out, name, bound.clone());
        }
    }
    let formats: &[&str] =
        if kind == "NUMBER" { &["float", "double"] } else { &["int32", "int64"] };
    copy_format(members, out, formats);
}

/// Only strings may be enumerated; others are told in words.
fn describe_choices(members: &Members, out: &mut Members) {
    let listed: Vec<String> =
        choices(members).filter(|choice| !choice.is_null()).map(Value::to_string).collect();
    if listed.is_empty() {
        return;
    }
    let before = out.get("description").and_then(Value::as_str).unwrap_or_default();
    let space = if before.is_empty() { "" } else { " " };
    let description = format!("{before}{space}One of: {}.", listed.join(", "));
    set(out, "description", description);
}

fn copy_format(members: &Members, out: &mut Members, known: &[&str]) {
    let format = members.get("format").and_then(Value::as_str);
    if let Some(format) = format.filter(|format| known.contains(format)) {
        set(out, "format", format);
    }
}

fn copy_text(members: &Members, out: &mut Members, name: &str) {
    if let Some(text) = members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()) {
        set(out, name, text);
    }
}

fn copy_counts(members: &Members, out: &mut Members, names: [&str; 2]) {
    for name in names {
        if let Some(count) = members.get(name).and_then(Value::as_u64) {
            set(out, name, count);
        }
    }
}

fn set(out: &mut Members, name: &str, value: impl Into<Value>) {
    out.insert(name.to_owned(), value.into());
}

/// Anything: a text is what a model writes for it, and every model knows the type.
fn any() -> Members {
    Members::from_iter([("type".to_owned(), Value::from("STRING"))])
}

fn is_object(schema: &Members) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("OBJECT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schema: Value, expected: Value) {
        let root = json!({ "type": "object", "properties": { "x": schema } });
        let converted = parameters(&Json::of(&root)).expect("arguments").to_value();
        assert_eq!(converted["properties"]["x"], expected, "{schema_text}", schema_text = root);
    }

    #[test]
    fn types() {
        check(json!({"type": "string"}), json!({"type": "STRING"}));
        check(json!({"type": "STRING"}), json!({"type": "STRING"}));
        check(json!({"type": ["string", "null"]}), json!({"type": "STRING", "nullable": true}));
        check(
            json!({"type": ["null", "integer"], "minimum": 1}),
            json!({"type": "INTEGER", "minimum": 1, "nullable": true}),
        );
        check(
            json!({"type": ["string", "number"], "description": "d"}),
            json!({"anyOf": [{"type": "STRING", "description": "d"}, {"type": "NUMBER", "description": "d"}]}),
        );
        check(
            json!({"type": ["string", "number", "null"]}),
            json!({"anyOf": [{"type": "STRING", "nullable": true}, {"type": "NUMBER", "nullable": true}]}),
        );
        check(json!({"type": "null"}), json!({"type": "STRING", "nullable": true}));
        check(json!({"type": []}), json!({"type": "STRING", "nullable": true}));
        check(json!({"type": "any"}), json!({"type": "STRING"}));
        check(json!({"type": 7}), json!({"type": "STRING"}));
        check(json!({}), json!({"type": "STRING"}));
        check(json!(true), json!({"type": "STRING"}));
        check(
            json!({"properties": {"a": {}}}),
            json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}),
        );
        check(
            json!({"items": {"type": "integer"}}),
            json!({"type": "ARRAY", "items": {"type": "INTEGER"}}),
        );
        check(json!({"minimum": 0}), json!({"type": "NUMBER", "minimum": 0}));
    }

    #[test]
    fn choices_are_strings() {
        check(json!({"const": "a"}), json!({"type": "STRING", "enum": ["a"]}));
        check(
            json!({"type": "string", "enum": ["a", "", null, "b", "a"]}),
            json!({"type": "STRING", "nullable": true, "enum": ["a", "b"]}),
        );
        check(json!({"enum": [1, 2]}), json!({"type": "INTEGER", "description": "One of: 1, 2."}));
        check(
            json!({"type": "integer", "enum": [1], "description": "Size."}),
            json!({"type": "INTEGER", "description": "Size. One of: 1."}),
        );
        check(json!({"const": true}), json!({"type": "BOOLEAN", "description": "One of: true."}));
        check(json!({"const": 1.5}), json!({"type": "NUMBER", "description": "One of: 1.5."}));
        check(json!({"enum": []}), json!({"type": "STRING"}));
        check(json!({"enum": "x"}), json!({"type": "STRING"}));
    }

    #[test]
    fn keywords_without_a_place_are_dropped() {
        check(
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "$id": "x", "$comment": "c", "type": "object",
                "additionalProperties": false, "patternProperties": {"^x": {}}, "unevaluatedProperties": false,
                "properties": {"a": {"type": "string", "format": "uri", "examples": ["x"], "minLength": 1, "maxLength": -1,
                "pattern": "^x", "readOnly": true}, "no": false, "odd": 3}, "required": ["a", "gone", 7],
                "if": {}, "then": {}, "not": {}, "dependentRequired": {}, "minProperties": 1}),
            json!({"type": "OBJECT", "properties": {"a": {"type": "STRING", "pattern": "^x", "minLength": 1}}, "required": ["a"]}),
        );
        check(
            json!({"type": "integer", "exclusiveMinimum": 0, "multipleOf": 5, "format": "int32", "maximum": 9}),
            json!({"type": "INTEGER", "maximum": 9, "format": "int32"}),
        );
        check(json!({"type": "number", "format": "int64"}), json!({"type": "NUMBER"}));
        check(
            json!({"type": "string", "format": "date-time", "default": "x"}),
            json!({"type": "STRING", "default": "x", "format": "date-time"}),
        );
        check(
            json!({"type": "string", "default": null, "title": "T"}),
            json!({"type": "STRING", "title": "T"}),
        );
        check(json!({"type": "object", "additionalProperties": true}), json!({"type": "OBJECT"}));
    }

    #[test]
    fn arrays_say_what_they_hold() {
        check(json!({"type": "array"}), json!({"type": "ARRAY", "items": {"type": "STRING"}}));
        check(
            json!({"type": "array", "items": true, "uniqueItems": true}),
            json!({"type": "ARRAY", "items": {"type": "STRING"}}),
        );
        check(
            json!({"type": "array", "items": {}, "minItems": 1}),
            json!({"type": "ARRAY", "items": {"type": "STRING"}, "minItems": 1}),
        );
        check(
            json!({"type": "array", "items": [{"type": "number"}, {"type": "number"}]}),
            json!({"type": "ARRAY", "items": {"type": "NUMBER"}}),
        );
        check(
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "items": false}),
            json!({"type": "ARRAY", "items": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}]}}),
        );
        check(
            json!({"type": "array", "items": []}),
            json!({"type": "ARRAY", "items": {"type": "STRING"}}),
        );
    }

    #[test]
    fn alternatives() {
        check(
            json!({"anyOf": [{"type": "string"}, {"type": "null"}], "default": null, "title": "Q", "description": "d"}),
            json!({"type": "STRING", "title": "Q", "description": "d", "nullable": true}),
        );
        check(
            json!({"oneOf": [{"const": "a", "description": "A"}, {"const": "b"}], "description": "d"}),
            json!({"anyOf": [{"type": "STRING", "description": "A", "enum": ["a"]}, {"type": "STRING", "description": "d", "enum": ["b"]}]}),
        );
        check(
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}),
        );
        check(json!({"anyOf": [{"type": "null"}]}), json!({"type": "STRING", "nullable": true}));
        check(json!({"anyOf": []}), json!({"type": "STRING"}));
        check(json!({"anyOf": 3}), json!({"type": "STRING"}));
        check(
            json!({"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"properties": {"b": {"type": "integer"}}, "required": ["b"]}]}),
            json!({"type": "OBJECT", "properties": {"a": {"type": "STRING"}, "b": {"type": "INTEGER"}}, "required": ["a", "b"]}),
        );
    }

    #[test]
    fn references_are_followed_and_cycles_end() {
        let schema = json!({
            "$defs": {
                "Node": {"type": "object", "description": "a node", "properties": {
                    "name": {"type": "string"},
                    "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                }, "required": ["name"]},
                "a/b": {"type": "integer"},
                "Loop": {"$ref": "#/$defs/Loop"},
            },
            "type": "object",
            "properties": {
                "node": {"$ref": "#/$defs/Node", "description": "the first"},
                "odd": {"$ref": "#/$defs/a~1b"},
                "loop": {"$ref": "#/$defs/Loop"},
                "gone": {"$ref": "#/$defs/Gone"},
                "far": {"$ref": "https://example.org/schema.json"},
                "all": {"allOf": [{"$ref": "#/$defs/a~1b"}], "description": "n"},
            },
        });
        let converted = parameters(&Json::of(&schema)).expect("arguments").to_value();
        let expected = json!({
            "node": {"type": "OBJECT", "description": "the first", "properties": {
                "name": {"type": "STRING"},
                "next": {"type": "OBJECT", "nullable": true},
            }, "required": ["name"]},
            "odd": {"type": "INTEGER"},
            "loop": {"type": "OBJECT"},
            "gone": {"type": "OBJECT"},
            "far": {"type": "OBJECT"},
            "all": {"type": "INTEGER", "description": "n"},
        });
        assert_eq!(converted["properties"], expected);
        let whole = json!({"$ref": "#"});
        assert_eq!(parameters(&Json::of(&whole)), None);
        let root = json!({"$ref": "#/definitions/A", "definitions": {"A": {"type": "object", "properties": {"x": {"type": "string"}}}}});
        let converted = parameters(&Json::of(&root)).expect("arguments").to_value();
        assert_eq!(converted, json!({"type": "OBJECT", "properties": {"x": {"type": "STRING"}}}));
    }

    #[test]
    fn a_small_text_makes_no_huge_tree() {
        let mut definitions = Map::new();
        for at in 0..40 {
            let next = format!("#/$defs/d{}", at + 1);
            let properties: Map<String, Value> = ["a", "b", "c", "d"]
                .iter()
                .map(|name| ((*name).to_owned(), json!({"$ref": next})))
                .collect();
            definitions
                .insert(format!("d{at}"), json!({"type": "object", "properties": properties}));
        }
        let schema = json!({"$defs": definitions, "$ref": "#/$defs/d0"});
        let text = parameters(&Json::of(&schema)).expect("arguments");
        assert!(text.as_str().len() < 2_000_000);
        let mut deep = json!({"type": "string"});
        for _ in 0..100 {
            deep = json!({"type": "array", "items": deep});
        }
        check_total(&deep);
    }

    fn check_total(schema: &Value) {
        let root = json!({"type": "object", "properties": {"x": schema}});
        assert!(parameters(&Json::of(&root)).is_some());
    }

    #[test]
    fn no_arguments_no_schema() {
        for text in [
            "{}",
            "true",
            "[]",
            "null",
            "3",
            r#"{"type":"object"}"#,
            r#"{"type":"object","properties":{}}"#,
        ] {
            let schema = Json::parse(text).expect("valid");
            assert_eq!(parameters(&schema), None, "{text}");
            assert!(!takes_arguments(&schema), "{text}");
        }
        for text in [
            r##"{"$ref":"#/x"}"##,
            r#"{"type":"object","additionalProperties":true}"#,
            r#"{"properties":{"a":{}}}"#,
        ] {
            assert!(takes_arguments(&Json::parse(text).expect("valid")), "{text}");
        }
    }

    #[test]
    fn answers_keep_the_order_of_properties() {
        let schema = json!({"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "array", "items": {"type": "string"}}}});
        let converted = response(&Json::of(&schema)).to_value();
        assert_eq!(converted["propertyOrdering"], json!(["z", "a"]));
        assert_eq!(
            response(&Json::of(&json!({"type": "array", "items": {"type": "string"}}))).to_value()
                ["type"],
            "ARRAY"
        );
    }

    proptest::proptest! {
        #[test]
        fn anything_converts(text in "\\PC{0,40}", at in 0usize..12) {
            let keys = ["type", "enum", "anyOf", "allOf", "$ref", "items", "properties", "required", "const", "format", "prefixItems", "oneOf"];
            let inner = serde_json::from_str::<Value>(&text).unwrap_or_else(|_| text.clone().into());
            let schema = json!({keys[at]: inner, "properties": {"x": {keys[at]: [inner, {keys[at]: inner}]}}});
            let _ = parameters(&Json::of(&schema));
            let _ = response(&Json::of(&schema));
        }
    }
}
