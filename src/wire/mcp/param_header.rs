//! Arguments that a tool wants repeated in headers: what its schema marks with `x-mcp-header`, which marks are valid, what
//! headers a call gets from them, and whether those of a client agree with its arguments.
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#custom-headers-from-tool-parameters>

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::edit;
use super::header::{decode_name, encode_name, missing, one, unreadable};
use crate::conversation::Json;
use crate::wire::fields::{Fields, as_string, listed};

/// What the name of such a header begins with.
pub const PREFIX: &str = "Mcp-Param-";
/// The mark in a property's schema.
const MARK: &str = "x-mcp-header";
/// A schema nested deeper than this has no valid marks.
const MAX_DEPTH: usize = 64;

/// The keywords whose value is a schema, a list of schemas, or a map of schemas, but for `properties`. Below them no
/// mark is valid. What is not listed holds data (`default`, `enum`), in which a mark is none.
const SCHEMA: [&str; 11] = [
    "items",
    "contains",
    "unevaluatedItems",
    "additionalProperties",
    "propertyNames",
    "unevaluatedProperties",
    "not",
    "if",
    "then",
    "else",
    "contentSchema",
];
const SCHEMAS: [&str; 5] = ["allOf", "anyOf", "oneOf", "prefixItems", "items"];
const SCHEMA_MAP: [&str; 4] = ["patternProperties", "dependentSchemas", "$defs", "definitions"];

/// The marked arguments of one tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamHeaders(Vec<Marked>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Marked {
    /// The names of the properties that lead to it.
    path: Vec<String>,
    /// The name of its header, with the prefix.
    header: String,
}

impl ParamHeaders {
    /// Finds the marks in a tool's `inputSchema`.
    ///
    /// # Errors
    /// What makes a mark invalid, and with it the whole tool: who speaks HTTP to its server must not list it.
    pub fn of(schema: &Json) -> Result<Self, String> {
        // Nearly all schemas have none. A name can be spelled with escapes, too.
        let text = schema.as_str();
        let mut found = Self::default();
        if text.contains(MARK) || text.contains("\\u") {
            let mut names = HashSet::new();
            look(schema.as_raw(), Some(&[]), 0, &mut found.0, &mut names)?;
        }
        Ok(found)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The headers for a call, names and values, in the schema's order. An argument that is absent or null has none,
    /// nor has a list or an object.
    pub fn for_call(&self, arguments: &Json) -> Vec<(String, String)> {
        let headers = self.0.iter().filter_map(|marked| {
            let value = rendered(marked.value(arguments)?)?;
            Some((marked.header.clone(), encode_name(&value)))
        });
        headers.collect()
    }

    /// Why a client's headers do not go with its arguments; to be answered with 400 and `-32020`. `header` gives the
    /// values of a header by its name in small letters. Values are not repeated: an argument may be private.
    pub fn mismatch<'h>(
        &self,
        arguments: &Json,
        header: impl Fn(&str) -> Vec<&'h [u8]>,
    ) -> Option<String> {
        let mut faults = self.0.iter().filter_map(|marked| {
            let said = header(&marked.header.to_ascii_lowercase());
            marked.check(arguments, &said).err()
        });
        faults.next().map(|why| ["Header mismatch: ", &why].concat())
    }
}

/// The headers for a call of a tool with this `inputSchema`; none where a mark in it is invalid.
pub fn params_of(schema: &Json, arguments: &Json) -> Vec<(String, String)> {
    ParamHeaders::of(schema).unwrap_or_default().for_call(arguments)
}

/// What makes a mark in a tool's `inputSchema` invalid, so that the tool must not be listed to who speaks HTTP.
pub fn annotation_fault(schema: &Json) -> Option<String> {
    ParamHeaders::of(schema).err()
}

impl Marked {
    fn value<'a>(&self, arguments: &'a Json) -> Option<&'a RawValue> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        edit::get(arguments, &path)
    }

    fn check(&self, arguments: &Json, said: &[&[u8]]) -> Result<(), String> {
        let Self { path, header } = self;
        let raw = self.value(arguments);
        let value = raw.and_then(rendered);
        match (one(header, said)?, value) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(missing(header)),
            (Some(_), None) => {
                Err(format!("{header} is there, and the argument `{}` is not", path.join(".")))
            }
            (Some(said), Some(value)) => {
                let said = decode_name(said).ok_or_else(|| unreadable(header))?;
                // Numbers are the same however they are spelled.
                let is_number = raw.is_some_and(|raw| !raw.get().starts_with(['"', 't', 'f']));
                if said == value || (is_number && number(&said).as_ref() == Some(&value)) {
                    return Ok(());
                }
                Err(format!("{header} is not the argument `{}`", path.join(".")))
            }
        }
    }
}

/// Goes through the places of a schema where a schema can stand. `path` is `None` where something else than `properties`
/// has been passed.
fn look(
    schema: &RawValue,
    path: Option<&[&str]>,
    depth: usize,
    found: &mut Vec<Marked>,
    names: &mut HashSet<String>,
) -> Result<(), String> {
    let Some(fields) = Fields::of(schema) else { return Ok(()) };
    if depth > MAX_DEPTH {
        return Err(format!("the schema is nested deeper than {MAX_DEPTH}"));
    }
    if let Some((_, mark)) = fields.iter().find(|(name, _)| *name == MARK) {
        let kind = fields.peek("type").and_then(as_string);
        let marked = marked(mark, path.unwrap_or_default(), kind.as_deref())?;
        if !names.insert(marked.header.to_ascii_lowercase()) {
            return Err(format!("two properties are marked for the header {}", marked.header));
        }
        found.push(marked);
    }
    for (keyword, value) in fields.iter() {
        if keyword == "properties" {
            let Some(properties) = Fields::of(value) else { continue };
            for (name, property) in properties.iter() {
                let path = path.map(|path| [path, &[name]].concat());
                look(property, path.as_deref(), depth + 1, found, names)?;
            }
        }
        if SCHEMA.contains(&keyword) {
            look(value, None, depth + 1, found, names)?;
        }
        if SCHEMAS.contains(&keyword) {
            for schema in listed(value).unwrap_or_default() {
                look(schema, None, depth + 1, found, names)?;
            }
        }
        if SCHEMA_MAP.contains(&keyword) {
            for (_, schema) in Fields::of(value).iter().flat_map(Fields::iter) {
                look(schema, None, depth + 1, found, names)?;
            }
        }
    }
    Ok(())
}

/// A mark, where it is valid at its place and for its type.
fn marked(mark: &RawValue, path: &[&str], kind: Option<&str>) -> Result<Marked, String> {
    let at = path.join(".");
    let Some(name) = as_string(mark) else {
        return Err(format!("{MARK} of `{at}` is not a string"));
    };
    if path.is_empty() {
        return Err(format!("{MARK} stands where only `properties` may lead to, and they do not"));
    }
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("{MARK} of `{at}` cannot be the name of a header"));
    }
    if !matches!(kind, Some("string" | "integer" | "boolean")) {
        return Err(format!("{MARK} of `{at}` is for a string, an integer or a boolean only"));
    }
    let path = path.iter().map(|name| (*name).to_owned()).collect();
    Ok(Marked { path, header: [PREFIX, &name].concat() })
}

/// An argument as the text of a header; `None` for a list or an object.
fn rendered(value: &RawValue) -> Option<String> {
    match value.get() {
        text @ ("true" | "false") => Some(text.to_owned()),
        text => as_string(value).or_else(|| number(text)),
    }
}

/// A number in decimal digits: `4.20e1` is `42`. What is no whole number keeps its spelling.
fn number(text: &str) -> Option<String> {
    /// 2^53 - 1: up to here every whole number is one in a float, too.
    const SAFE: f64 = 9_007_199_254_740_991.0;
    let is_bare = text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_digit());
    let value = serde_json::from_str::<f64>(text).ok().filter(|_| is_bare)?;
    let is_spelled_whole = !text.contains(['.', 'e', 'E']);
    if is_spelled_whole || value.fract() != 0.0 || value.abs() > SAFE {
        return Some(text.to_owned());
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
    Some((value as i64).to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn schema() -> Json {
        Json::of(&json!({
            "type": "object",
            "properties": {
                "region": { "type": "string", "x-mcp-header": "Region" },
                "priority": { "type": "integer", "x-mcp-header": "Priority" },
                "where": { "type": "object", "properties": {
                    "x-mcp-header": { "type": "boolean", "x-mcp-header": "Method" },
                }},
                "query": { "type": "string", "default": { "x-mcp-header": "none" } },
            },
        }))
    }

    #[track_caller]
    fn headers(arguments: Value, expected: &[(&str, &str)]) {
        let headers = params_of(&schema(), &Json::of(&arguments));
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(headers, expected);
    }

    #[test]
    fn marked_arguments_become_headers() {
        headers(
            json!({"where": {"x-mcp-header": false}, "query": "q", "priority": 42, "region": "eu"}),
            &[
                ("Mcp-Param-Region", "eu"),
                ("Mcp-Param-Priority", "42"),
                ("Mcp-Param-Method", "false"),
            ],
        );
        headers(json!({"region": " ü"}), &[("Mcp-Param-Region", "=?base64?IMO8?=")]);
        headers(json!({"region": ""}), &[("Mcp-Param-Region", "")]);
        headers(json!({"region": null, "priority": [1], "where": true}), &[]);
        headers(json!(3), &[]);
    }

    #[test]
    fn numbers_are_decimal() {
        for (text, expected) in [
            ("42", "42"),
            ("-7", "-7"),
            ("42.0", "42"),
            ("4.2e1", "42"),
            ("12345678901234567890", "12345678901234567890"),
            ("1e300", "1e300"),
            ("0.5", "0.5"),
        ] {
            assert_eq!(number(text).as_deref(), Some(expected));
        }
        for text in ["", "x", "+1", " 1", "1 ", "true", "[1]", "0x1"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[track_caller]
    fn fault(schema: Value, expected: Option<&str>) {
        let found = annotation_fault(&Json::of(&schema));
        match expected {
            Some(part) => {
                assert!(found.as_deref().is_some_and(|it| it.contains(part)), "{found:?}")
            }
            None => assert_eq!(found, None),
        }
        if expected.is_some() {
            assert_eq!(params_of(&Json::of(&schema), &Json::of(&json!({"a": "x"}))), vec![]);
        }
    }

    fn property(kind: &Value, mark: &Value) -> Value {
        json!({ "properties": { "a": { "type": kind, "x-mcp-header": mark } } })
    }

    #[test]
    fn what_the_specification_forbids_is_a_fault() {
        fault(Json::to_value(&schema()), None);
        for mark in ["", "My Region", "Region:Primary", "Région", "Region\t1", "a\r\nb"] {
            fault(property(&json!("string"), &json!(mark)), Some("name of a header"));
        }
        fault(property(&json!("string"), &json!(3)), Some("not a string"));
        fault(property(&json!("string"), &json!(null)), Some("not a string"));
        for kind in [
            json!("object"),
            json!("array"),
            json!("null"),
            json!("number"),
            json!(["string"]),
            json!(null),
        ] {
            fault(property(&kind, &json!("A")), Some("only"));
        }
        let one = json!({"type": "string", "x-mcp-header": "Region"});
        let other = json!({"type": "string", "x-mcp-header": "REGION"});
        fault(json!({"properties": {"a": one, "b": other}}), Some("two properties"));
        let nested = json!({"properties": {"c": {"properties": {"b": other}}, "a": one}});
        fault(nested, Some("two properties"));
        fault(json!({"type": "string", "x-mcp-header": "A"}), Some("may lead to"));
    }

    #[test]
    fn a_mark_below_anything_but_properties_is_a_fault() {
        let one = json!({"type": "string", "x-mcp-header": "Region"});
        let inside = json!({"properties": {"a": one}});
        for keyword in SCHEMA {
            fault(json!({"properties": {"x": {keyword: one}}}), Some("may lead to"));
            fault(json!({keyword: inside}), Some("may lead to"));
        }
        for keyword in SCHEMAS {
            fault(json!({keyword: [{}, inside]}), Some("may lead to"));
        }
        for keyword in SCHEMA_MAP {
            fault(json!({keyword: {"a": one}}), Some("may lead to"));
        }
        for keyword in ["default", "const", "examples", "enum", "x-other"] {
            fault(json!({"properties": {"x": {keyword: inside}}}), None);
        }
    }

    #[test]
    fn marks_are_found_however_spelled_and_depth_is_bounded() {
        let spelled = r#"{"properties":{"a":{"type":"string","\u0078-mcp-header":""}}}"#;
        assert!(annotation_fault(&Json::parse(spelled).expect("JSON")).is_some());
        let deep = |mark: &str| {
            let open = "{\"properties\":{\"a\":".repeat(5000);
            Json::parse([&open, mark, &"}}".repeat(5000)].concat()).expect("JSON")
        };
        assert_eq!(annotation_fault(&deep("{}")), None);
        let marked = deep(r#"{"type":"string","x-mcp-header":"A"}"#);
        assert!(annotation_fault(&marked).is_some_and(|it| it.contains("deeper")));
    }

    #[track_caller]
    fn judged(arguments: Value, said: &[(&str, &str)], expected: Option<&str>) {
        let header = |name: &str| {
            let same = said.iter().filter(|(known, _)| *known == name);
            same.map(|(_, value)| value.as_bytes()).collect::<Vec<_>>()
        };
        let marks = ParamHeaders::of(&schema()).expect("valid");
        let found = marks.mismatch(&Json::of(&arguments), header);
        assert_eq!(found, expected.map(|it| format!("Header mismatch: {it}")));
    }

    #[test]
    fn a_clients_headers_must_be_its_arguments() {
        let region = "mcp-param-region";
        judged(json!({}), &[], None);
        judged(json!({"region": "Hello"}), &[(region, "=?base64?SGVsbG8=?=")], None);
        judged(json!({"region": "SGVsbG8="}), &[(region, " SGVsbG8= ")], None);
        judged(json!({"region": "=?base64?SGVsbG8="}), &[(region, "=?base64?SGVsbG8=")], None);
        judged(json!({"priority": 42}), &[("mcp-param-priority", "42.0")], None);
        judged(json!({"region": null}), &[], None);
        let unreadable = "Mcp-Param-Region has characters or base64 that cannot be read";
        judged(json!({"region": "Hello"}), &[(region, "=?base64?SGVsbG8?=")], Some(unreadable));
        judged(json!({"region": "Hello"}), &[(region, "=?base64?SGVs!!!bG8=?=")], Some(unreadable));
        judged(json!({"region": "x"}), &[], Some("Mcp-Param-Region is missing"));
        let other = "Mcp-Param-Region is not the argument `region`";
        judged(json!({"region": "x"}), &[(region, "X")], Some(other));
        judged(json!({"region": "42"}), &[(region, "42.0")], Some(other));
        let absent = "Mcp-Param-Region is there, and the argument `region` is not";
        judged(json!({"region": null}), &[(region, "x")], Some(absent));
        judged(json!({"region": {}}), &[(region, "x")], Some(absent));
        let twice = "Mcp-Param-Region is there 2 times";
        judged(json!({"region": "x"}), &[(region, "x"), (region, "x")], Some(twice));
        let nested = "Mcp-Param-Method is not the argument `where.x-mcp-header`";
        let said = ("mcp-param-method", "False");
        judged(json!({"where": {"x-mcp-header": false}}), &[said], Some(nested));
    }

    proptest! {
        #[test]
        fn what_is_sent_is_what_is_accepted(region in any::<Option<String>>(), priority in any::<i64>()) {
            let arguments = Json::of(&json!({"region": region, "priority": priority}));
            let marks = ParamHeaders::of(&schema()).expect("valid");
            let sent = marks.for_call(&arguments);
            let header = |name: &str| {
                let same = sent.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
                same.map(|(_, value)| value.as_bytes()).collect::<Vec<_>>()
            };
            prop_assert_eq!(marks.mismatch(&arguments, header), None);
        }
    }
}
