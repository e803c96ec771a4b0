//! JSON Schemas on their way to Bedrock: an object at the top for tools, and whether a schema keeps to what
//! constrained answers may demand.

use std::borrow::Cow;

use serde_json::Value;

use super::types::Object;
use crate::conversation::Json;
use crate::wire::fields::Fields;

/// The schema of a tool's arguments: as it came, with `type: object` where it does not say its type.
pub(super) fn of_tool(schema: Option<&Json>) -> Cow<'_, Json> {
    let Some(schema) = schema else { return Cow::Owned(no_arguments()) };
    match Fields::of(schema.as_raw()) {
        None => Cow::Owned(no_arguments()),
        Some(fields) if fields.has("type") => Cow::Borrowed(schema),
        Some(_) => {
            let mut typed = Object::default();
            typed.set("type", &"object");
            typed.merge(schema);
            Cow::Owned(Json::of(&typed))
        }
    }
}

fn no_arguments() -> Json {
    Json::of(&serde_json::json!({ "type": "object", "properties": {} }))
}

/// Whether a schema is one that constrained answers take: objects are closed, and none of the bounds is used
/// that they refuse (<https://platform.claude.com/docs/en/build-with-claude/structured-outputs>).
pub(super) fn is_strict(schema: &Json) -> bool {
    is_closed(&schema.to_value())
}

const REFUSED: [&str; 10] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "patternProperties",
];

/// As deep as JSON itself may be here: 128.
fn is_closed(schema: &Value) -> bool {
    let Value::Object(members) = schema else { return true };
    let is_object = members.get("type").and_then(Value::as_str) == Some("object");
    let is_open = is_object && members.get("additionalProperties") != Some(&Value::Bool(false));
    if is_open || REFUSED.iter().any(|word| members.contains_key(*word)) {
        return false;
    }
    members.iter().all(|(name, value)| match (name.as_str(), value) {
        ("properties" | "$defs" | "definitions", Value::Object(inner)) => {
            inner.values().all(is_closed)
        }
        ("anyOf" | "allOf" | "oneOf", Value::Array(inner)) => inner.iter().all(is_closed),
        ("items", inner) => is_closed(inner),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_without_a_type_is_an_objects() {
        let json = |text: &str| Json::parse(text).expect("JSON");
        let bare = json(r#"{"properties":{"a":{"minimum":1.50}}}"#);
        let typed = r#"{"type":"object","properties":{"a":{"minimum":1.50}}}"#;
        assert_eq!(of_tool(Some(&bare)).as_str(), typed);
        let whole = json(typed);
        assert_eq!(of_tool(Some(&whole)).as_str(), typed);
        assert_eq!(of_tool(Some(&json("true"))).as_str(), r#"{"type":"object","properties":{}}"#);
    }

    #[test]
    fn open_and_bounded_schemas_are_not_strict() {
        let check = |text: &str| is_strict(&Json::parse(text).expect("JSON"));
        assert!(check(
            r#"{"type":"object","additionalProperties":false,"properties":{"minimum":{"type":"string"}}}"#
        ));
        assert!(!check(r#"{"type":"object","properties":{}}"#));
        assert!(!check(r#"{"type":"array","items":{"type":"object"}}"#));
        assert!(!check(r#"{"type":"integer","minimum":0}"#));
    }
}
