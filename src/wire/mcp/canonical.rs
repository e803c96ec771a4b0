//! One spelling for JSON that means the same, after RFC 8785: members sorted, no spaces, strings escaped in one way.
//! Numbers stay as they are spelled: through a float, two different schemas could become one.
//! <https://www.rfc-editor.org/rfc/rfc8785>

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::wire::fields::{Fields, listed};

/// Deeper values are kept as they are spelled: still one spelling for one text, and no stack runs out.
const MAX_DEPTH: usize = 128;

/// The canonical text of a value, on one line.
pub fn canonical(value: &RawValue) -> String {
    let mut out = String::with_capacity(value.get().len());
    write(value, &mut out, 0, None);
    out
}

/// The same order and spelling over several lines, two spaces a level, for files that people compare. The first line is
/// not indented, the others start `indent` levels in.
pub fn pretty(value: &RawValue, indent: usize) -> String {
    let mut out = String::with_capacity(value.get().len() * 2);
    write(value, &mut out, 0, Some(indent));
    out
}

/// The SHA-256 of a text, as 64 hexadecimal digits.
pub fn sha256(text: &str) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digest = Sha256::digest(text.as_bytes());
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| DIGITS.get(usize::from(digit))).collect()
}

/// Members in canonical order: by UTF-16 code units, as RFC 8785 has it.
pub fn sort<V>(members: &mut [(String, V)]) {
    members.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
}

/// The members of an object, sorted; `None` for anything else.
pub fn members(value: &RawValue) -> Option<Vec<(String, &RawValue)>> {
    let fields = Fields::of(value)?;
    let mut members: Vec<_> = fields.iter().map(|(name, value)| (name.to_owned(), value)).collect();
    sort(&mut members);
    Some(members)
}

/// A name or text as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

fn write(value: &RawValue, out: &mut String, depth: usize, indent: Option<usize>) {
    let text = value.get();
    if depth >= MAX_DEPTH {
        return out.push_str(text);
    }
    let inner = indent.map(|indent| indent + 1);
    match text.as_bytes().first() {
        Some(b'{') => {
            let Some(members) = members(value) else { return out.push_str(text) };
            let is_empty = members.is_empty();
            out.push('{');
            for (at, (name, value)) in members.into_iter().enumerate() {
                begin_line(out, at > 0, inner);
                out.push_str(&quoted(&name));
                out.push_str(if indent.is_some() { ": " } else { ":" });
                write(value, out, depth + 1, inner);
            }
            end(out, '}', is_empty, indent);
        }
        Some(b'[') => {
            let Some(items) = listed(value) else { return out.push_str(text) };
            let is_empty = items.is_empty();
            out.push('[');
            for (at, value) in items.into_iter().enumerate() {
                begin_line(out, at > 0, inner);
                write(value, out, depth + 1, inner);
            }
            end(out, ']', is_empty, indent);
        }
        // What has half a surrogate pair is no text, and stays as it is.
        Some(b'"') => match serde_json::from_str::<String>(text) {
            Ok(string) => out.push_str(&quoted(&string)),
            Err(_) => out.push_str(text),
        },
        _ => out.push_str(text),
    }
}

fn begin_line(out: &mut String, comma: bool, indent: Option<usize>) {
    if comma {
        out.push(',');
    }
    if let Some(indent) = indent {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", indent));
    }
}

fn end(out: &mut String, bracket: char, is_empty: bool, indent: Option<usize>) {
    if !is_empty {
        begin_line(out, false, indent);
    }
    out.push(bracket);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::conversation::Json;

    fn of(text: &str) -> String {
        canonical(Json::parse(text).expect("JSON").as_raw())
    }

    #[test]
    fn one_spelling_for_one_meaning() {
        let text =
            r#" { "b" : [ 1.0, 1e2, {} , [ ] ], "a" : "\u0041\/\n\u001F", "\u0061b": null } "#;
        assert_eq!(of(text), r#"{"a":"A/\n\u001f","ab":null,"b":[1.0,1e2,{},[]]}"#);
    }

    #[test]
    fn names_are_sorted_by_utf16() {
        let sorted = "{\"\\r\":4,\"z\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}";
        assert_eq!(of(r#"{"\uFB33":1,"\ud83d\ude00":2,"z":3,"\r":4}"#), sorted);
    }

    #[test]
    fn numbers_and_half_characters_keep_their_spelling() {
        assert_ne!(of("12345678901234567890123"), of("12345678901234567890124"));
        assert_eq!(of(r#"["\uD800"]"#), r#"["\uD800"]"#);
        assert_eq!(of(r#"{"\uD800": 1}"#), r#"{"\uD800": 1}"#);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = ["[ ".repeat(100_000), "]".repeat(100_000)].concat();
        let written = of(&deep);
        assert!(written.starts_with(&["[".repeat(MAX_DEPTH), "[ ".repeat(9)].concat()));
    }

    #[test]
    fn pretty_says_the_same_over_lines() {
        let json = Json::parse(r#"{"b":[1,{}],"a":{"c":""}}"#).expect("JSON");
        let text = pretty(json.as_raw(), 1);
        let lines = [
            "{",
            "    \"a\": {",
            "      \"c\": \"\"",
            "    },",
            "    \"b\": [",
            "      1,",
            "      {}",
            "    ]",
            "  }",
        ];
        assert_eq!(text, lines.join("\n"));
        assert_eq!(of(&text), of(json.as_str()));
    }

    #[test]
    fn sha256_is_the_known_one() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(""), empty);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_value_is_kept_and_the_form_is_its_own(value in any_json()) {
            let once = canonical(Json::of(&value).as_raw());
            prop_assert_eq!(serde_json::from_str::<Value>(&once).expect("JSON"), value);
            prop_assert_eq!(&of(&once), &once);
            let pretty = pretty(Json::parse(once.clone()).expect("JSON").as_raw(), 0);
            prop_assert_eq!(of(&pretty), once);
        }
    }
}
