//! The mock's arguments: what a tool's JSON Schema requires, filled from what the user said. Strings take what stands in
//! quotes, numbers take numbers, choices a word that is one of them; what was not said is made up. Optional ones are left out.

use std::cell::Cell;
use std::ops::Range;

use serde_json::{Number, Value, json};

use super::tool::words;

/// What the user said; each value is taken once.
struct Said<'t> {
    text: &'t str,
    quoted: Vec<&'t str>,
    numbers: Vec<Number>,
    strings_taken: Cell<usize>,
    numbers_taken: Cell<usize>,
}

/// Arguments that the schema accepts, as JSON text; strings without anything in quotes take all that was said.
pub(super) fn fill(schema: Option<&Value>, text: &str) -> String {
    let schema = schema.cloned().unwrap_or_else(|| json!({ "type": "object" }));
    let value = example(&schema, &schema, &Said::of(text), 0);
    if value.is_object() { value.to_string() } else { "{}".to_owned() }
}

/// Where in a text something stands in quotes: the places between them.
pub(super) fn quoted(text: &str) -> Vec<Range<usize>> {
    let closing = |c: char| match c {
        '"' | '\'' | '`' => Some(c),
        '\u{201c}' => Some('\u{201d}'),
        '\u{2018}' => Some('\u{2019}'),
        _ => None,
    };
    let mut found = Vec::new();
    let (mut before, mut after) = (None, 0);
    for (at, c) in text.char_indices() {
        // Within a word it is an apostrophe.
        let opens = at >= after && !before.is_some_and(char::is_alphanumeric);
        before = Some(c);
        let Some(close) = closing(c).filter(|_| opens) else { continue };
        let start = at + c.len_utf8();
        let rest = text.get(start..).unwrap_or_default();
        let is_end = |at: &usize| {
            let next = rest.get(at + close.len_utf8()..).and_then(|rest| rest.chars().next());
            !next.is_some_and(char::is_alphanumeric)
        };
        let end = rest.match_indices(close).map(|(at, _)| at).find(is_end);
        if let Some(end) = end {
            found.push(start..start + end);
            after = start + end + close.len_utf8();
        }
    }
    found
}

impl<'t> Said<'t> {
    fn of(text: &'t str) -> Self {
        let places = quoted(text);
        let mut plain = text.to_owned();
        for place in places.iter().rev() {
            plain.replace_range(place.clone(), "");
        }
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-');
        let numbers = plain.split(|c: char| !(c.is_alphanumeric() || is_part(c)));
        let numbers = numbers.filter_map(|word| word.trim_end_matches('.').parse().ok());
        Self {
            text,
            quoted: places.into_iter().filter_map(|place| text.get(place)).collect(),
            numbers: numbers.collect(),
            strings_taken: Cell::new(0),
            numbers_taken: Cell::new(0),
        }
    }

    fn next_quoted(&self) -> Option<&'t str> {
        let at = self.strings_taken.get();
        self.strings_taken.set(at + 1);
        self.quoted.get(at).copied()
    }

    /// The next number, where the schema accepts it.
    fn number(&self, schema: &Value, is_whole: bool) -> Option<Value> {
        let at = self.numbers_taken.get();
        self.numbers_taken.set(at + 1);
        let number = self.numbers.get(at)?;
        let value = number.as_f64()?;
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let fits = bound("minimum").is_none_or(|least| value >= least)
            && bound("maximum").is_none_or(|most| value <= most)
            && bound("exclusiveMinimum").is_none_or(|least| value > least)
            && bound("exclusiveMaximum").is_none_or(|most| value < most)
            && bound("multipleOf").is_none_or(|step| (value / step).fract() == 0.0)
            && (!is_whole || number.is_i64() || number.is_u64());
        fits.then(|| number.clone().into())
    }

    /// The first of the values of which all words were said.
    fn one_of(&self, values: &Value) -> Option<Value> {
        let said = words(self.text);
        let is_meant = |value: &&Value| {
            let wanted = words(value.as_str().unwrap_or_default());
            !wanted.is_empty() && wanted.iter().all(|word| said.contains(word))
        };
        values.as_array()?.iter().find(is_meant).cloned()
    }
}

/// One value a schema accepts. References are followed inside the schema; nesting is bounded.
fn example(schema: &Value, root: &Value, said: &Said<'_>, depth: usize) -> Value {
    if depth > 16 {
        return Value::Null;
    }
    let at = |inner: &Value| example(inner, root, said, depth + 1);
    if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
        let target = path.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map(at).unwrap_or_default();
    }
    for fixed in ["const", "default"] {
        if let Some(value) = schema.get(fixed) {
            return value.clone();
        }
    }
    if let Some(meant) = schema.get("enum").and_then(|values| said.one_of(values)) {
        return meant;
    }
    for list in ["enum", "examples"] {
        if let Some(first) = schema.get(list).and_then(|values| values.get(0)) {
            return first.clone();
        }
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(choice).and_then(|schemas| schemas.get(0)) {
            return at(first);
        }
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("null"),
        _ if schema.get("properties").is_some() => "object",
        _ => "string",
    };
    match kind {
        "object" => object(schema, &at),
        "array" => array(schema, &at),
        "integer" | "number" => said.number(schema, kind == "integer").unwrap_or_else(|| {
            let bound = schema.get("minimum").filter(|_| kind == "number").and_then(Value::as_f64);
            bound.map_or_else(|| integer(schema).into(), Value::from)
        }),
        "boolean" => true.into(),
        "null" => Value::Null,
        _ => string(schema, said).into(),
    }
}

fn object(schema: &Value, at: &impl Fn(&Value) -> Value) -> Value {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    let members = properties.into_iter().flatten();
    let members = members.filter(|(name, _)| required.contains(&name.as_str()));
    Value::Object(members.map(|(name, schema)| (name.clone(), at(schema))).collect())
}

fn array(schema: &Value, at: &impl Fn(&Value) -> Value) -> Value {
    let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).min(64);
    let item = schema.get("items").map(at).unwrap_or_else(|| Value::from("item"));
    (0..least).map(|_| item.clone()).collect()
}

fn integer(schema: &Value) -> i64 {
    let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|least| least + 1));
    let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|most| most - 1));
    let step = bound("multipleOf").unwrap_or(1).max(1);
    let value = least.unwrap_or(1).min(most.unwrap_or(i64::MAX));
    value.div_euclid(step).max(i64::from(value > 0)) * step
}

fn string(schema: &Value, said: &Said<'_>) -> String {
    let quoted = said.next_quoted();
    let format = schema.get("format").and_then(Value::as_str);
    let sample = match format {
        _ if quoted.is_some() => quoted.unwrap_or_default(),
        Some("date") => "2025-01-31",
        Some("date-time") => "2025-01-31T12:00:00Z",
        Some("time") => "12:00:00Z",
        Some("email") => "someone@example.com",
        Some("uri" | "url") => "https://example.com/",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        Some("ipv4") => "192.0.2.1",
        _ if said.text.trim().is_empty() => "text",
        _ => said.text.trim(),
    };
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    let most = usize::try_from(bound("maxLength").unwrap_or(200)).unwrap_or(200);
    let least = usize::try_from(bound("minLength").unwrap_or(0)).unwrap_or(0).min(4_096);
    let mut value: String = sample.chars().take(most).collect();
    while value.chars().count() < least {
        value.push('x');
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, properties: Value, expected: &Value) {
        let names: Vec<&String> = properties.as_object().expect("properties").keys().collect();
        let required: Vec<&&String> = names.iter().filter(|name| **name != "optional").collect();
        let schema = json!({ "type": "object", "required": required, "properties": properties });
        let filled: Value = serde_json::from_str(&fill(Some(&schema), text)).expect("JSON");
        assert_eq!(&filled, expected);
    }

    #[test]
    fn arguments_are_valid_when_nothing_was_said_of_them() {
        let properties = json!({
            "city": { "type": "string", "maxLength": 12 },
            "unit": { "enum": ["c", "f"] },
            "days": { "type": "integer", "minimum": 3 },
            "tags": { "type": "array", "items": { "type": "boolean" } },
            "where": { "type": ["object", "null"], "properties": { "x": { "type": "number" } }, "required": ["x"] },
            "optional": { "type": "string" },
        });
        check(
            "What is the weather in Oslo?",
            properties,
            &json!({ "city": "What is the ", "unit": "c", "days": 3, "tags": [true], "where": { "x": 1 } }),
        );
    }

    #[test]
    fn arguments_are_taken_from_what_was_said() {
        let string = || json!({ "type": "string" });
        check(
            "Don't copy 'a b' to \"c\"",
            json!({ "from": string(), "to": string(), "optional": string() }),
            &json!({ "from": "a b", "to": "c" }),
        );
        check(
            "wait 2.5 seconds, 3 times, not \"7\"",
            json!({ "seconds": { "type": "number" }, "times": { "type": "integer", "maximum": 5 } }),
            &json!({ "seconds": 2.5, "times": 3 }),
        );
        check(
            "9 times",
            json!({ "times": { "type": "integer", "maximum": 5 } }),
            &json!({ "times": 1 }),
        );
        check(
            "the weather in imperial units",
            json!({ "units": { "enum": ["metric", "imperial"] } }),
            &json!({ "units": "imperial" }),
        );
    }

    #[test]
    fn references_are_followed_and_end() {
        let schema = json!({
            "type": "object", "required": ["where"], "properties": { "where": { "$ref": "#/$defs/place" } },
            "$defs": { "place": { "type": "object", "required": ["name"], "properties": { "name": { "type": "string" } } } },
        });
        assert_eq!(fill(Some(&schema), "in `Oslo`"), r#"{"where":{"name":"Oslo"}}"#);
        let round = json!({ "type": "object", "required": ["self"], "properties": { "self": { "$ref": "#" } } });
        assert!(serde_json::from_str::<Value>(&fill(Some(&round), "")).is_ok());
    }
}
