//! Schemas as Anthropic takes them. A tool's schema must say that it is an object. A schema that answers are
//! held to may use a part of JSON Schema only, and must close every object
//! (<https://docs.anthropic.com/en/docs/build-with-claude/structured-outputs#json-schema-limitations>).

use serde_json::{Map, Value};

use super::super::types::Object;
use crate::conversation::{Format, Json};
use crate::wire::fields::Fields;

/// What the grammar behind structured answers cannot hold; it is told in the description instead.
const UNHELD: [&str; 14] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
];

/// The formats of strings that it can hold.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// A tool's schema, as it is; where it does not say so itself, that it is an object.
pub(super) fn of_tool(schema: Option<&Json>) -> Json {
    let Some(schema) = schema else { return Json::of(&nothing()) };
    let Some(mut fields) = Fields::of(schema.as_raw()) else { return Json::of(&nothing()) };
    if fields.text("type").as_deref() == Some("object") {
        return schema.clone();
    }
    let rest = fields.rest(Format::Anthropic);
    Json::of(&Object::of("object").extras(&rest))
}

/// A schema for a tool without arguments.
fn nothing() -> Object<'static> {
    Object::of("object").with("properties", Object::default())
}

/// A schema that an answer can be held to.
pub(super) fn held(schema: &Json) -> Json {
    let before = schema.to_value();
    let mut after = before.clone();
    hold(&mut after);
    // What needed no change keeps its spelling.
    if after == before { schema.clone() } else { Json::of(&after) }
}

/// Whether a schema can be held to as it is.
pub(super) fn is_held(schema: &Json) -> bool {
    held(schema) == *schema
}

/// Whether a schema is one of an object, as a tool's must be.
pub(super) fn is_object(schema: &Json) -> bool {
    let mut fields = Fields::of(schema.as_raw()).unwrap_or_default();
    fields.text("type").as_deref() == Some("object")
}

fn hold(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    let unheld = take_unheld(schema);
    if !unheld.is_empty() {
        let told = Value::Object(unheld).to_string();
        let description = match schema.get("description").and_then(Value::as_str) {
            Some(said) => format!("{said}\n\n{told}"),
            None => told,
        };
        schema.insert("description".to_owned(), Value::String(description));
    }
    if let Some(variants) = schema.remove("oneOf") {
        schema.entry("anyOf").or_insert(variants);
    }
    let is_object = schema.get("type").is_some_and(|kind| match kind {
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
        kind => kind == "object",
    });
    if is_object || schema.contains_key("properties") {
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for (name, inner) in schema.iter_mut() {
        match (name.as_str(), inner) {
            ("properties" | "$defs" | "definitions", Value::Object(members)) => {
                members.values_mut().for_each(hold);
            }
            ("anyOf" | "allOf" | "prefixItems", Value::Array(variants)) => {
                variants.iter_mut().for_each(hold);
            }
            ("items", inner) => hold(inner),
            _ => {}
        }
    }
}

fn take_unheld(schema: &mut Map<String, Value>) -> Map<String, Value> {
    let is_unheld = |name: &str, value: &Value| match name {
        "format" => !value.as_str().is_some_and(|format| FORMATS.contains(&format)),
        "minItems" => value.as_u64().is_none_or(|least| least > 1),
        // A property may be called so too: then it is in `properties`, not here.
        name => UNHELD.contains(&name),
    };
    let unheld: Vec<String> = schema
        .iter()
        .filter(|(name, value)| is_unheld(name, value))
        .map(|(name, _)| name.clone())
        .collect();
    unheld.into_iter().filter_map(|name| schema.remove_entry(&name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, after: &str) {
        let before = Json::parse(before).expect("valid");
        assert_eq!(held(&before).as_str(), after);
        assert_eq!(is_held(&before), before.as_str() == after);
    }

    #[test]
    fn objects_are_closed_and_bounds_are_told() {
        let fine = r#"{"type":"object", "properties":{"a":{"type":"string"}},"additionalProperties":false}"#;
        check(fine, fine);
        check(
            r#"{"type":"object","properties":{"pattern":{"type":"integer","minimum":1,"description":"d"}}}"#,
            r#"{"type":"object","properties":{"pattern":{"type":"integer","description":"d\n\n{\"minimum\":1}"}},"additionalProperties":false}"#,
        );
        check(
            r#"{"oneOf":[{"type":"array","items":{"type":"object"},"minItems":1}]}"#,
            r#"{"anyOf":[{"type":"array","items":{"type":"object","additionalProperties":false},"minItems":1}]}"#,
        );
    }

    #[test]
    fn a_tools_schema_is_an_object() {
        let json = |text| Json::parse(text).expect("valid");
        assert_eq!(of_tool(None).as_str(), r#"{"type":"object","properties":{}}"#);
        let fine = json(r#"{"properties":{}, "type":"object"}"#);
        assert_eq!(of_tool(Some(&fine)), fine);
        let open = json(r#"{"properties":{"a":{"type":"string"}}}"#);
        let closed = r#"{"type":"object","properties":{"a":{"type":"string"}}}"#;
        assert_eq!(of_tool(Some(&open)).as_str(), closed);
    }
}
