//! The mock's hand with tools: it picks the offered tool whose name and description share the most
//! words with what the user said, and makes up arguments that its JSON Schema accepts.

use serde_json::{Map, Value, json};

/// A tool as the request offers it.
#[derive(Debug)]
pub(super) struct Tool<'r> {
    pub(super) name: &'r str,
    description: &'r str,
    parameters: Option<&'r Value>,
}

/// The function tools of a request.
pub(super) fn offered(request: &Map<String, Value>) -> Vec<Tool<'_>> {
    let tools = request.get("tools").and_then(Value::as_array);
    let functions = tools.into_iter().flatten().filter_map(|tool| {
        let function = tool.get("function")?;
        Some(Tool {
            name: function.get("name")?.as_str()?,
            description: function.get("description").and_then(Value::as_str).unwrap_or_default(),
            parameters: function.get("parameters"),
        })
    });
    functions.collect()
}

/// The tool to call: the one `tool_choice` names, else the best match for the text; `None` when tools
/// are forbidden or none is offered.
pub(super) fn choose<'r>(request: &'r Map<String, Value>, text: &str) -> Option<Tool<'r>> {
    let choice = request.get("tool_choice");
    if choice.and_then(Value::as_str) == Some("none") {
        return None;
    }
    let named = choice.and_then(|choice| choice.pointer("/function/name")).and_then(Value::as_str);
    let wanted = words(text);
    let score = |tool: &Tool<'_>| {
        let shares = |of: &str| words(of).iter().filter(|word| wanted.contains(word)).count();
        2 * shares(tool.name) + shares(tool.description)
    };
    let tools = offered(request).into_iter().enumerate();
    let tools = tools.filter(|(_, tool)| named.is_none_or(|name| tool.name == name));
    // Of equals the first wins, so that the same request gives the same answer.
    let best = tools.max_by_key(|(index, tool)| (score(tool), std::cmp::Reverse(*index)));
    best.map(|(_, tool)| tool)
}

/// Arguments that the tool's schema accepts, as JSON text; free strings take the user's words.
pub(super) fn arguments(tool: &Tool<'_>, text: &str) -> String {
    let schema = tool.parameters.cloned().unwrap_or_else(|| json!({ "type": "object" }));
    let value = example(&schema, &schema, text, 0);
    if value.is_object() { value.to_string() } else { "{}".to_owned() }
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.len() > 2)
        .map(str::to_lowercase)
        .collect()
}

/// One value a schema accepts. References are followed inside the schema; nesting is bounded.
fn example(schema: &Value, root: &Value, text: &str, depth: usize) -> Value {
    if depth > 16 {
        return Value::Null;
    }
    let at = |inner: &Value| example(inner, root, text, depth + 1);
    if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
        let target = path.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map(at).unwrap_or_default();
    }
    for fixed in ["const", "default"] {
        if let Some(value) = schema.get(fixed) {
            return value.clone();
        }
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
        "integer" => integer(schema).into(),
        "number" => {
            let bound = schema.get("minimum").and_then(Value::as_f64);
            bound.map_or_else(|| integer(schema).into(), Value::from)
        }
        "boolean" => true.into(),
        "null" => Value::Null,
        _ => string(schema, text).into(),
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

fn string(schema: &Value, text: &str) -> String {
    let sample = match schema.get("format").and_then(Value::as_str) {
        Some("date") => "2025-01-31",
        Some("date-time") => "2025-01-31T12:00:00Z",
        Some("time") => "12:00:00Z",
        Some("email") => "someone@example.com",
        Some("uri" | "url") => "https://example.com/",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        Some("ipv4") => "192.0.2.1",
        _ if text.trim().is_empty() => "text",
        _ => text.trim(),
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

    fn request(value: Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn the_best_matching_tool_is_called_with_valid_arguments() {
        let request = request(json!({ "tools": [
            { "type": "function", "function": { "name": "get_time", "parameters": {} } },
            { "type": "function", "function": { "name": "get_weather", "description": "Weather in a city",
              "parameters": { "type": "object", "required": ["city", "unit", "days", "tags", "where"], "properties": {
                "city": { "type": "string", "maxLength": 12 },
                "unit": { "enum": ["c", "f"] },
                "days": { "type": "integer", "minimum": 3 },
                "tags": { "type": "array", "items": { "type": "boolean" } },
                "where": { "$ref": "#/$defs/place" },
                "optional": { "type": "string" } },
                "$defs": { "place": { "type": ["object", "null"], "properties": { "x": { "type": "number" } }, "required": ["x"] } } } } },
        ] }));
        let tool = choose(&request, "What is the weather in Oslo?").expect("a tool");
        assert_eq!(tool.name, "get_weather");
        assert_eq!(
            arguments(&tool, "What is the weather in Oslo?"),
            r#"{"city":"What is the ","unit":"c","days":3,"tags":[true],"where":{"x":1}}"#
        );
    }

    #[test]
    fn tool_choice_is_obeyed() {
        let mut body = request(json!({ "tools": [
            { "type": "function", "function": { "name": "a" } },
            { "type": "function", "function": { "name": "b" } },
        ] }));
        assert_eq!(choose(&body, "").map(|tool| tool.name), Some("a"));
        body.insert(
            "tool_choice".into(),
            json!({ "type": "function", "function": { "name": "b" } }),
        );
        assert_eq!(choose(&body, "").map(|tool| tool.name), Some("b"));
        body.insert("tool_choice".into(), "none".into());
        assert!(choose(&body, "").is_none());
    }

    #[test]
    fn schemas_that_go_round_end() {
        let body = request(
            json!({ "tools": [{ "type": "function", "function": { "name": "a", "parameters": {
            "type": "object", "required": ["self"], "properties": { "self": { "$ref": "#" } } } } }] }),
        );
        let tool = choose(&body, "").expect("a tool");
        assert!(serde_json::from_str::<Value>(&arguments(&tool, "")).is_ok());
    }
}
