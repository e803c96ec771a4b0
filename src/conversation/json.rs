//! JSON kept as the text it came in: tool schemas, arguments and fields that are carried, not read.
//! Numbers keep their spelling and members their order.

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// One JSON value as text, known to be valid.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// The text, where it is one valid JSON value.
    pub fn parse(text: impl Into<String>) -> Option<Self> {
        RawValue::from_string(text.into()).ok().map(Self)
    }

    /// Keeps a part of a larger text.
    pub fn of_raw(raw: &RawValue) -> Self {
        Self(raw.to_owned())
    }

    /// Any value as JSON; `null` for what has no JSON form.
    pub fn of(value: &impl Serialize) -> Self {
        Self(serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }

    /// `{}`.
    pub fn empty_object() -> Self {
        Self::of(&serde_json::Map::new())
    }

    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    pub fn as_raw(&self) -> &RawValue {
        &self.0
    }

    /// The same with a replacement character for each half of a surrogate pair that stands alone: JSON may escape those
    /// (<https://www.rfc-editor.org/rfc/rfc8259#section-8.2>), and no text can hold them.
    pub fn mended(&self) -> Cow<'_, Self> {
        let text = self.as_str();
        let mut out = String::new();
        let mut kept = 0;
        let mut at = 0;
        while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
            let start = at + found;
            let unit = escaped(text, start);
            let is_pair = matches!(unit, Some(0xD800..=0xDBFF))
                && matches!(escaped(text, start + 6), Some(0xDC00..=0xDFFF));
            at = start + if is_pair { 12 } else { 2 };
            if !is_pair && matches!(unit, Some(0xD800..=0xDFFF)) {
                at = start + 6;
                out.push_str(text.get(kept..start).unwrap_or_default());
                out.push_str("\\ufffd");
                kept = at;
            }
        }
        if kept == 0 {
            return Cow::Borrowed(self);
        }
        out.push_str(text.get(kept..).unwrap_or_default());
        Self::parse(out).map_or(Cow::Borrowed(self), Cow::Owned)
    }

    /// Reads the value as a type, where it fits.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.0.get()).ok()
    }

    pub fn to_value(&self) -> Value {
        self.read().unwrap_or_default()
    }

    pub fn is_object(&self) -> bool {
        self.0.get().starts_with('{')
    }

    pub fn is_null(&self) -> bool {
        self.0.get() == "null"
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self::of(&value)
    }
}

/// The UTF-16 unit that is escaped at a place, where one is.
fn escaped(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_kept() {
        let json = Json::parse(r#"{"b":1.0e2, "a":12345678901234567890123}"#).expect("valid");
        assert_eq!(json.as_str(), r#"{"b":1.0e2, "a":12345678901234567890123}"#);
        let wrapped = serde_json::to_string(&[&json]).expect("prints");
        assert_eq!(wrapped, r#"[{"b":1.0e2, "a":12345678901234567890123}]"#);
        assert!(Json::parse("{").is_none());
        assert!(Json::of(&f64::NAN).is_null());
    }

    #[test]
    fn halves_of_pairs_are_replaced_and_nothing_else() {
        let mended = |text: &str| Json::parse(text).expect("JSON").mended().as_str().to_owned();
        let sound = r#"["\ud83d\ude00","\\ud800","é"]"#;
        assert_eq!(mended(sound), sound);
        assert_eq!(mended(r#"["a\uD800b","\ude00\ud83d"]"#), r#"["a\ufffdb","\ufffd\ufffd"]"#);
        assert_eq!(mended(r#"["\ud800\ud83d\ude00\n"]"#), r#"["\ufffd\ud83d\ude00\n"]"#);
    }
}
