//! The JSON Schema of the configuration and the Markdown reference, both made from the types in
//! `file` and their doc comments. Files under `docs/reference/` hold the results; a test compares.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::file::File;

/// Text that stands for something from outside may stand for a number or a truth value.
const REFERENCE_PATTERN: &str = r"\$\{|os\.environ/";

/// The JSON Schema (draft 2020-12) of the configuration file.
///
/// Keys that nobody knows are marked as faults, for editors; loading only warns of them.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(File).to_value();
    close(&mut schema);
    schema
}

/// The keys of a section, by the name of its type; none where there is no such type.
pub(super) fn keys(section: &str) -> &'static [String] {
    static KEYS: LazyLock<BTreeMap<String, Vec<String>>> = LazyLock::new(|| {
        let schema = schemars::schema_for!(File).to_value();
        let of = |section: &Value| -> Vec<String> {
            let properties = section.get("properties").and_then(Value::as_object);
            properties.map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
        };
        let definitions = schema.get("$defs").and_then(Value::as_object);
        let sections = definitions.into_iter().flatten();
        let named = sections.map(|(name, section)| (name.clone(), of(section)));
        named.chain([("File".to_owned(), of(&schema))]).collect()
    });
    KEYS.get(section).map_or(&[], Vec::as_slice)
}

/// Adapts every part: no unknown keys (but `x-…` and what `model_info` may hold), and references
/// wherever a number or a truth value is wanted.
fn close(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    let is_section = object.contains_key("properties");
    let is_open = object
        .get("description")
        .and_then(Value::as_str)
        .is_some_and(|text| text.contains("Any other key is kept"));
    if is_section && !is_open {
        let has_prices = object
            .get("properties")
            .is_some_and(|keys| keys.get("cache_read_input_token_cost").is_some());
        let patterns = match has_prices {
            true => json!({ "^x-": {}, "_cost(_|$)": {}, "_tokens(_|$)": {} }),
            false => json!({ "^x-": {} }),
        };
        object.insert("patternProperties".to_owned(), patterns);
        object.insert("additionalProperties".to_owned(), json!(false));
    }
    let types = match object.get("type") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => {
            many.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    let is_value =
        types.iter().any(|kind| matches!(kind.as_str(), "integer" | "number" | "boolean"));
    if is_value && !types.iter().any(|kind| kind == "string") {
        let types: Vec<Value> =
            types.into_iter().chain(["string".to_owned()]).map(Value::from).collect();
        object.insert("type".to_owned(), Value::from(types));
        object.insert("pattern".to_owned(), json!(REFERENCE_PATTERN));
    }
    for (key, value) in object.iter_mut() {
        match value {
            Value::Object(parts) if matches!(key.as_str(), "properties" | "$defs") => {
                parts.values_mut().for_each(close);
            }
            Value::Array(parts) => parts.iter_mut().for_each(close),
            value => close(value),
        }
    }
}

/// The reference in Markdown: a section with a table for each mapping of the file.
pub fn reference() -> String {
    let schema = schemars::schema_for!(File).to_value();
    let none = Map::new();
    let definitions = schema.get("$defs").and_then(Value::as_object).unwrap_or(&none);
    let mut page = String::from(
        "# Configuration reference\n\n\
         Generated from the types in `src/config/file` and never edited by hand. The same as JSON \
         Schema: `config.schema.json` beside this page, or `tidegate schema`.\n",
    );
    Writer { definitions, page: &mut page }.section("", &schema);
    page
}

struct Writer<'w> {
    definitions: &'w Map<String, Value>,
    page: &'w mut String,
}

impl Writer<'_> {
    /// One mapping: what it is for, its keys, and after them the mappings within it.
    fn section(&mut self, path: &str, schema: &Value) {
        if !path.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(self.page, "\n## `{path}`\n");
        }
        if let Some(text) = schema.get("description").and_then(Value::as_str) {
            let _ = write!(self.page, "\n{text}\n");
        }
        self.page.push_str("\n| Key | Type | Meaning |\n| --- | --- | --- |\n");
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut below = Vec::new();
        for (key, property) in properties.into_iter().flatten() {
            let (kind, section) = self.kind(property);
            let text = property.get("description").and_then(Value::as_str).unwrap_or_default();
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
            let _ = writeln!(self.page, "| `{key}` | {kind} | {text} |");
            if let Some((suffix, schema)) = section {
                let dot = if path.is_empty() { "" } else { "." };
                below.push((format!("{path}{dot}{key}{suffix}"), schema));
            }
        }
        for (path, schema) in below {
            self.section(&path, &schema);
        }
    }

    /// A property's type in words, and the mapping it holds, if it does, with what leads to it.
    fn kind(&self, schema: &Value) -> (String, Option<(String, Value)>) {
        let schema = self.follow(schema);
        if schema.get("properties").is_some() {
            return ("mapping".to_owned(), Some((String::new(), schema.clone())));
        }
        if let Some(title) = schema.get("title").and_then(Value::as_str) {
            return (title.to_owned(), None);
        }
        if let Some(names) = self.names(schema) {
            return (names, None);
        }
        let is = |kind: &str| match schema.get("type") {
            Some(Value::String(one)) => one == kind,
            Some(Value::Array(many)) => many.iter().any(|one| one == kind),
            _ => false,
        };
        if is("array") {
            let (kind, section) =
                schema.get("items").map(|items| self.kind(items)).unwrap_or_default();
            let kind = if is("string") {
                format!("{kind}, or a list of it")
            } else {
                format!("list of {kind}")
            };
            return (kind, section.map(|(suffix, schema)| (format!("[]{suffix}"), schema)));
        }
        if is("object") {
            let values = schema.get("additionalProperties").filter(|values| values.is_object());
            let Some(values) = values else { return ("mapping".to_owned(), None) };
            let (kind, section) = self.kind(values);
            let section = section.map(|(suffix, schema)| (format!(".<name>{suffix}"), schema));
            return (format!("mapping of names to {kind}"), section);
        }
        let words =
            [("integer", "whole number"), ("number", "number"), ("boolean", "true or false")];
        let word = words.iter().find(|(kind, _)| is(kind)).map_or("text", |(_, word)| word);
        (word.to_owned(), None)
    }

    /// The names that an enumeration allows.
    fn names(&self, schema: &Value) -> Option<String> {
        let variants = schema.get("oneOf").and_then(Value::as_array)?;
        let names = variants.iter().filter_map(|variant| variant.get("const")?.as_str());
        Some(names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
    }

    /// The schema itself, or the one it refers to.
    fn follow<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let inner = match schema.get("anyOf").and_then(Value::as_array) {
            Some(choices) => choices.first().unwrap_or(schema),
            None => schema,
        };
        let name =
            inner.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
        name.and_then(|name| self.definitions.get(name)).unwrap_or(inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> [(&'static str, String); 2] {
        let schema = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/");
        let path = |name: &str| -> &'static str { format!("{folder}{name}").leak() };
        [(path("config.md"), reference()), (path("config.schema.json"), schema)]
    }

    #[test]
    fn the_reference_is_up_to_date() {
        for (path, expected) in files() {
            let found = std::fs::read_to_string(path).unwrap_or_default();
            assert!(
                found == expected,
                "{path} is out of date; run `cargo test --lib rewrite_the_reference -- --ignored`"
            );
        }
    }

    #[test]
    #[ignore = "writes docs/reference"]
    fn rewrite_the_reference() {
        for (path, text) in files() {
            std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
}
