//! How to answer: sampling, thinking, the shape of the text, who asks. A setting of which only a part is known
//! here keeps the other part for Anthropic.

use serde_json::Value;

use super::super::types::Object;
use crate::conversation::{Ask, Effort, Extras, Format, Json, Reasoned, TextFormat};
use crate::ground::fault::Fault;
use crate::wire::fields::{self, Fields};

/// Reads every setting that other formats have too.
pub(super) fn read(fields: &mut Fields<'_>, ask: &mut Ask) -> Result<(), Fault> {
    ask.stream = fields.boolean("stream")?.unwrap_or_default();
    ask.sampling.temperature = fields.number("temperature")?;
    ask.sampling.top_p = fields.number("top_p")?;
    ask.sampling.top_k = fields.number("top_k")?;
    ask.sampling.stop = fields.typed("stop_sequences", "a list of strings")?.unwrap_or_default();
    if let Some("auto" | "standard_only") = peek(fields, "service_tier").as_deref() {
        let tier = fields.string("service_tier")?;
        ask.service_tier = tier.map(|tier| match tier.as_str() {
            "standard_only" => "default".to_owned(),
            _ => tier,
        });
    }
    thinking(fields, ask)
}

/// Keeps what is left: whole fields, and the unknown part of `metadata` and `output_config`.
pub(super) fn keep_rest(mut fields: Fields<'_>, ask: &mut Ask) -> Result<(), Fault> {
    let mut parts = Vec::new();
    if let Some(mut metadata) = fields.object("metadata")? {
        ask.user = metadata.string("user_id")?;
        parts.extend(left("metadata", metadata));
    }
    if let Some(mut config) = fields.object("output_config")? {
        if let Some(effort) = word(&mut config, "effort", Effort::parse) {
            ask.reasoning.get_or_insert_default().effort = Some(effort);
        }
        if let Some(format) = config.json("format") {
            ask.text_format = Some(text_format(format));
        }
        parts.extend(left("output_config", config));
    }
    // The name it had in beta.
    if let Some(format) = fields.json("output_format") {
        ask.text_format.get_or_insert_with(|| text_format(format));
    }
    let rest = fields.rest(Format::Anthropic);
    parts.extend(rest.of(Format::Anthropic).iter().cloned());
    ask.extras = Extras::new(Format::Anthropic, parts);
    Ok(())
}

fn thinking(fields: &mut Fields<'_>, ask: &mut Ask) -> Result<(), Fault> {
    let Some(raw) = fields.peek("thinking") else { return Ok(()) };
    let mut thinking = Fields::within(raw, fields.path("thinking"))?;
    let kind = thinking.word("type")?;
    let kind = thinking.required("type", kind)?;
    let budget_tokens = thinking.count("budget_tokens")?;
    let show = word(&mut thinking, "display", |word| match word {
        "summarized" => Some(true),
        "omitted" => Some(false),
        _ => None,
    });
    let mut reasoned = Reasoned { budget_tokens, show, ..Reasoned::default() };
    match &*kind {
        "enabled" => {
            thinking.required("budget_tokens", budget_tokens)?;
        }
        "adaptive" => reasoned.adaptive = true,
        "disabled" => reasoned.disabled = true,
        // A newer kind: for Anthropic to judge.
        _ => return Ok(()),
    }
    ask.reasoning = Some(reasoned);
    if thinking.iter().next().is_none() {
        fields.take("thinking");
    }
    Ok(())
}

fn text_format(format: Json) -> TextFormat {
    let mut fields = Fields::of(format.as_raw()).unwrap_or_default();
    match (fields.text("type").as_deref(), fields.json("schema")) {
        (Some("json_schema"), Some(schema)) if schema.is_object() => TextFormat::JsonSchema {
            name: "answer".to_owned(),
            description: None,
            strict: is_strict(&schema.to_value(), 0).then_some(true),
            schema,
        },
        _ => TextFormat::Foreign { format: Format::Anthropic, value: format },
    }
}

/// Whether a schema is what OpenAI calls strict: every property is required, and no other allowed
/// (<https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>). Anthropic holds answers to
/// any schema; OpenAI refuses another one that says to be strict.
fn is_strict(schema: &Value, depth: u8) -> bool {
    let Value::Object(members) = schema else { return true };
    if depth > 32 {
        return false;
    }
    let below = |value: &Value| match value {
        Value::Array(list) => list.iter().all(|schema| is_strict(schema, depth + 1)),
        value => is_strict(value, depth + 1),
    };
    let each = |name: &str| {
        let named = members.get(name).and_then(Value::as_object);
        named.is_none_or(|schemas| schemas.values().all(below))
    };
    let required = members.get("required").and_then(Value::as_array);
    let is_required = |name: &String| {
        required.is_some_and(|list| list.iter().any(|required| required.as_str() == Some(name)))
    };
    let properties = members.get("properties").and_then(Value::as_object);
    let is_closed = properties.is_none_or(|properties| {
        members.get("additionalProperties") == Some(&Value::Bool(false))
            && properties.keys().all(is_required)
    });
    is_closed
        && each("properties")
        && each("$defs")
        && each("definitions")
        && ["items", "anyOf", "allOf"].iter().all(|name| members.get(*name).is_none_or(below))
}

/// What is left of an object, as a field of its own.
fn left(name: &str, fields: Fields<'_>) -> Option<(String, Json)> {
    let rest = fields.rest(Format::Anthropic);
    let object = Object::default().extras(&rest);
    (!object.is_empty()).then(|| (name.to_owned(), Json::of(&object)))
}

fn peek(from: &Fields<'_>, name: &str) -> Option<String> {
    fields::as_string(from.peek(name)?)
}

/// Takes a word that is known, and leaves one that is not.
fn word<T>(fields: &mut Fields<'_>, name: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let known = read(&peek(fields, name)?)?;
    fields.take(name);
    Some(known)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_with_a_choice_is_not_strict() {
        let inner = json!({ "type": "object", "properties": { "a": {} }, "required": ["a"],
            "additionalProperties": false });
        assert!(is_strict(&inner, 0));
        let open = json!({ "type": "object", "properties": { "a": {} }, "required": ["a"] });
        assert!(!is_strict(&open, 0));
        let optional = json!({ "type": "object", "properties": { "a": {} },
            "additionalProperties": false });
        assert!(!is_strict(&json!({ "type": "array", "items": optional }), 0));
        assert!(is_strict(&json!({ "anyOf": [inner, { "type": "null" }] }), 0));
    }
}
