//! JSON kept as the text it came in: tool schemas, arguments and fields that are carried, not read.
//! Numbers keep their spelling and members their order.

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
}
