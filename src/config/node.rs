//! The located tree: what the YAML says, with a place for every value, before anybody asks what it
//! means. Scalars keep their spelling; whether `600` is a number or a name is for the field that
//! wants it to say (`decode`). Knows nothing of YAML's syntax or of the configuration's keys.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::problem::Place;

/// One value and where it stands. A list or mapping below a key stands where its key does.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone)]
pub(super) struct Scalar {
    /// Wiped when dropped: any of these may be a secret.
    pub(super) text: Zeroizing<String>,
    /// Written without quotes, or filled in from outside: may stand for a number or a truth value.
    pub(super) plain: bool,
    /// Holds something from the environment or a secret file: never printed.
    pub(super) hidden: bool,
    /// The references that were replaced, as they were written but for defaults: `${NAME}`.
    pub(super) references: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) text: String,
}

/// What a plain scalar means under YAML 1.2's core schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Plain {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text,
}

impl Node {
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    /// The value below a key of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => {
                entries.iter().find(|(name, _)| name.text == key).map(|(_, node)| node)
            }
            _ => None,
        }
    }

    /// How many values are in a list or mapping; a scalar that is not nothing counts as one.
    pub(super) fn len(&self) -> usize {
        match &self.value {
            Value::Scalar(_) => usize::from(!self.is_null()),
            Value::List(items) => items.len(),
            Value::Map(entries) => entries.len(),
        }
    }

    /// What kind of thing stands here, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(scalar) => scalar.kind(),
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// SHA-256 of the tree, in hex: the order of keys and the spelling count, places do not.
    pub(super) fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        self.digest(&mut digest);
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn digest(&self, digest: &mut Sha256) {
        let mut text = |tag: &[u8], text: &str| {
            digest.update(tag);
            digest.update(text.len().to_le_bytes());
            digest.update(text.as_bytes());
        };
        match &self.value {
            Value::Scalar(scalar) if scalar.plain => text(b"p", &scalar.text),
            Value::Scalar(scalar) => text(b"q", &scalar.text),
            Value::List(items) => {
                text(b"l", "");
                items.iter().for_each(|item| item.digest(digest));
                digest.update(b"e");
            }
            Value::Map(entries) => {
                text(b"m", "");
                for (key, node) in entries {
                    digest.update(key.text.len().to_le_bytes());
                    digest.update(key.text.as_bytes());
                    node.digest(digest);
                }
                digest.update(b"e");
            }
        }
    }
}

impl Scalar {
    pub(super) fn new(text: impl Into<String>, plain: bool) -> Self {
        Self { text: Zeroizing::new(text.into()), plain, hidden: false, references: Vec::new() }
    }

    /// Nothing: `~`, `null`, no text at all, or a variable that is set to nothing.
    pub(super) fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// What the scalar means where anything is allowed.
    pub(super) fn meaning(&self) -> Plain {
        if !self.plain {
            return Plain::Text;
        }
        match self.text.as_str() {
            _ if self.is_null() => Plain::Null,
            "true" | "True" | "TRUE" => Plain::Bool(true),
            "false" | "False" | "FALSE" => Plain::Bool(false),
            text => integer(text)
                .map(Plain::Int)
                .or_else(|| float(text).map(Plain::Float))
                .unwrap_or(Plain::Text),
        }
    }

    /// A truth value, where one is wanted. PyYAML, and so LiteLLM, also takes `yes`, `no`, `on` and
    /// `off`; as only fields that want a truth value ask, Norway is safe.
    pub(super) fn truth(&self) -> Option<bool> {
        match self.meaning() {
            Plain::Bool(truth) => Some(truth),
            Plain::Text => self.yaml_1_1_truth(),
            _ => None,
        }
    }

    /// `yes`, `no`, `on`, `off`: a truth value in YAML 1.1, a text in YAML 1.2.
    pub(super) fn yaml_1_1_truth(&self) -> Option<bool> {
        if !self.plain {
            return None;
        }
        match self.text.as_str() {
            "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
            "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
            _ => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self.meaning() {
            Plain::Null => "nothing",
            Plain::Bool(_) => "a truth value",
            Plain::Int(_) => "a whole number",
            Plain::Float(_) => "a number",
            Plain::Text if self.plain => "a text",
            Plain::Text => "a text in quotes",
        }
    }
}

impl std::fmt::Debug for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.plain { "plain [text]" } else { "quoted [text]" })
    }
}

/// Decimal, `0x…` and `0o…`, with `_` between digits as YAML 1.1 allows. A leading zero is refused:
/// YAML 1.1 reads `017` as fifteen, YAML 1.2 as seventeen.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let number = if let Some(hex) = digits.strip_prefix("0x") {
        parse_digits(hex, 16)?
    } else if let Some(octal) = digits.strip_prefix("0o") {
        parse_digits(octal, 8)?
    } else if digits.len() > 1 && digits.starts_with('0') {
        return None;
    } else {
        parse_digits(digits, 10)?
    };
    Some(if negative { -number } else { number })
}

fn parse_digits(digits: &str, radix: u32) -> Option<i128> {
    let first = digits.chars().next()?;
    if !first.is_digit(radix) || digits.ends_with('_') || digits.len() > 40 {
        return None;
    }
    i128::from_str_radix(&digits.replace('_', ""), radix).ok().filter(|number| *number >= 0)
}

/// Decimal fractions and exponents; `.inf` and `.nan` too, as no number here may be either and the
/// fields say so.
fn float(text: &str) -> Option<f64> {
    match text {
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" => return Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let allowed = |c: char| c.is_ascii_digit() || "+-.eE_".contains(c);
    let leading_zero = {
        let digits = text.trim_start_matches(['+', '-']);
        digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
    };
    if leading_zero || text.len() > 64 || !text.chars().all(allowed) {
        return None;
    }
    if !text.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, meaning: Plain) {
        assert_eq!(Scalar::new(text, true).meaning(), meaning, "{text}");
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        check("~", Plain::Null);
        check("", Plain::Null);
        check("true", Plain::Bool(true));
        check("FALSE", Plain::Bool(false));
        check("yes", Plain::Text);
        check("no", Plain::Text);
        check("600", Plain::Int(600));
        check("-1", Plain::Int(-1));
        check("1_000", Plain::Int(1_000));
        check("0o17", Plain::Int(15));
        check("0x1F", Plain::Int(31));
        check("017", Plain::Text);
        check("1e3", Plain::Float(1_000.0));
        check("20.0", Plain::Float(20.0));
        check(".5", Plain::Float(0.5));
        check("30d", Plain::Text);
        check("2024-10-21", Plain::Text);
        check("1.2.3", Plain::Text);
        check("-", Plain::Text);
        check(".", Plain::Text);
        check("e", Plain::Text);
        check("127.0.0.1:4000", Plain::Text);
        check("infinity", Plain::Text);
    }

    #[test]
    fn quotes_make_a_text() {
        assert_eq!(Scalar::new("600", false).meaning(), Plain::Text);
        assert_eq!(Scalar::new("yes", false).truth(), None);
        assert_eq!(Scalar::new("yes", true).truth(), Some(true));
        assert!(!Scalar::new("", false).is_null());
    }
}
