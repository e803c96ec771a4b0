//! Types of single values in the file: a value with its place, lengths of time, dates, addresses.
//! Each says in its error what would be right, and never what was found.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use tracing::Level;

use super::super::decode::AT;
use super::super::problem::{Place, show};
use crate::ground::secret::Secret;

/// A hundred years: far beyond any use, and safe to add to a clock.
const LONGEST_SECONDS: f64 = 100.0 * 365.25 * 86_400.0;

/// A value and where it stands. In the schema it is the value alone.
#[derive(Clone, Debug)]
pub(in crate::config) struct At<T> {
    pub(in crate::config) value: T,
    pub(in crate::config) place: Place,
    /// Filled in from the environment or a secret file: never printed.
    pub(in crate::config) hidden: bool,
}

/// A length of time: a number of seconds, or a number with `s`, `m`, `h`, `d`, `w` or `mo` (30 days).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) struct Length(pub(in crate::config) Duration);

/// A moment: RFC 3339, or a date, which lasts until its end in UTC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) struct Expiry(pub(in crate::config) Timestamp);

/// An IP address (or `localhost`) and a port.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) struct Address(pub(in crate::config) SocketAddr);

/// What happens to a request of which a provider's format cannot carry all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum OnLoss {
    Report,
    Refuse,
}

/// How much the log says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) struct LogLevel(pub(in crate::config) Level);

/// A model that an alias stands for: its name, or LiteLLM's `{model: NAME, hidden: true}`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::config) struct Target {
    pub(in crate::config) model: String,
    pub(in crate::config) is_hidden: bool,
}

/// One text, or a list of them, read where it stands.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct Texts(pub(in crate::config) Vec<String>);

impl At<String> {
    /// The text for a message: not what came from the environment.
    pub(in crate::config) fn show(&self) -> String {
        if self.hidden { "the name from the environment".to_owned() } else { show(&self.value) }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Parts<T> {
            type Value = At<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of a configuration file")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<At<T>, A::Error> {
                let missing = || A::Error::custom("a value without a place");
                let file = parts.next_element()?.ok_or_else(missing)?;
                let line = parts.next_element()?.ok_or_else(missing)?;
                let column = parts.next_element()?.ok_or_else(missing)?;
                let hidden = parts.next_element()?.ok_or_else(missing)?;
                let value = parts.next_element()?.ok_or_else(missing)?;
                Ok(At { value, place: Place { file, line, column }, hidden })
            }
        }

        deserializer.deserialize_struct(AT, &[], Parts(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Reads a text and turns it into a value, or into an error that says what would be right.
struct Text<T> {
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::custom(format_args!("expected {}", self.expected)))
    }
}

macro_rules! from_text {
    ($type:ident, $parse:expr, $expected:literal, $schema:tt) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Text { expected: $expected, parse: $parse };
                deserializer.deserialize_str(text)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

from_text!(
    Length,
    parse_length,
    "a length of time: a number of seconds, or `30s`, `15m`, `24h`, `30d`, `1mo`",
    { "type": ["number", "string"], "title": "duration" }
);
from_text!(
    Expiry,
    parse_expiry,
    "a moment: `2027-01-31T12:00:00Z`, or a date (`2027-01-31`, to its end in UTC)",
    { "type": "string", "title": "moment" }
);
from_text!(
    Address,
    parse_address,
    "an address and a port: `127.0.0.1:4000`, `[::1]:4000` or `0.0.0.0:4000`",
    { "type": "string", "title": "address" }
);
from_text!(
    OnLoss,
    |text| match text {
        "report" => Some(OnLoss::Report),
        "refuse" => Some(OnLoss::Refuse),
        _ => None,
    },
    "`report` or `refuse`",
    { "enum": ["report", "refuse"] }
);
from_text!(
    LogLevel,
    |text| match text {
        "error" => Some(LogLevel(Level::ERROR)),
        "warn" | "warning" => Some(LogLevel(Level::WARN)),
        "info" => Some(LogLevel(Level::INFO)),
        "debug" => Some(LogLevel(Level::DEBUG)),
        "trace" => Some(LogLevel(Level::TRACE)),
        _ => None,
    },
    "`error`, `warn`, `info`, `debug` or `trace`",
    { "enum": ["error", "warn", "info", "debug", "trace"] }
);
from_text!(Secret, |text| Some(Secret::new(text)), "a text", { "type": ["string", "number"], "title": "secret" });

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrMapping;

        impl<'de> Visitor<'de> for NameOrMapping {
            type Value = Target;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a model's name")
            }

            fn visit_str<E: Error>(self, model: &str) -> Result<Target, E> {
                Ok(Target { model: model.to_owned(), is_hidden: false })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Target, A::Error> {
                let (mut model, mut is_hidden) = (None, false);
                while let Some(key) = entries.next_key::<String>()? {
                    match key.as_str() {
                        "model" => model = Some(entries.next_value()?),
                        "hidden" => is_hidden = entries.next_value()?,
                        _ => entries.next_value::<IgnoredAny>().map(drop)?,
                    }
                }
                let model = model.ok_or_else(|| A::Error::custom("`model` is missing"))?;
                Ok(Target { model, is_hidden })
            }
        }

        deserializer.deserialize_any(NameOrMapping)
    }
}

impl JsonSchema for Target {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "object"], "title": "text" })
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of texts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Texts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "array"],
            "items": { "type": "string" },
        })
    }
}

fn parse_length(text: &str) -> Option<Length> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)? {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "w" => 7.0 * 86_400.0,
        "mo" => 30.0 * 86_400.0,
        _ => return None,
    };
    let number = |c: char| c.is_ascii_digit() || c == '.';
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || !digits.chars().all(number) {
        return None;
    }
    let seconds = digits.parse::<f64>().ok()? * unit;
    (seconds <= LONGEST_SECONDS).then(|| Duration::try_from_secs_f64(seconds).ok().map(Length))?
}

fn parse_expiry(text: &str) -> Option<Expiry> {
    let text = text.trim();
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(Expiry(moment));
    }
    let end = text.parse::<Date>().ok()?.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?;
    // jiff also reads a date out of longer texts; only a bare one is meant here.
    (text.len() == 10).then(|| Expiry(end.timestamp()))
}

fn parse_address(text: &str) -> Option<Address> {
    let text = text.trim();
    let text = match text.strip_prefix("localhost:") {
        Some(port) => Cow::Owned(format!("127.0.0.1:{port}")),
        None => Cow::Borrowed(text),
    };
    text.parse().ok().map(Address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_seconds_or_have_a_unit() {
        let seconds = |text| parse_length(text).map(|length| length.0.as_secs_f64());
        assert_eq!(seconds("30"), Some(30.0));
        assert_eq!(seconds("0.5"), Some(0.5));
        assert_eq!(seconds("30s"), Some(30.0));
        assert_eq!(seconds("15m"), Some(900.0));
        assert_eq!(seconds("24h"), Some(86_400.0));
        assert_eq!(seconds("30d"), Some(2_592_000.0));
        assert_eq!(seconds("1mo"), Some(2_592_000.0));
        for bad in ["", "d", "-1", "1 d", "1y", "1.2.3", "NaN", "inf", "1e400", "99999999999999"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_date_lasts_until_its_end() {
        let moment = |text| parse_expiry(text).map(|expiry| expiry.0.to_string());
        assert_eq!(moment("2027-01-31").as_deref(), Some("2027-02-01T00:00:00Z"));
        assert_eq!(moment("2027-01-31T12:00:00+02:00").as_deref(), Some("2027-01-31T10:00:00Z"));
        for bad in ["", "soon", "2027-13-01", "2027-02-30", "31.01.2027", "2027-01-31T12:00:00"] {
            assert_eq!(moment(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_have_a_port() {
        let address = |text| parse_address(text).map(|address| address.0.to_string());
        assert_eq!(address("localhost:4000").as_deref(), Some("127.0.0.1:4000"));
        assert_eq!(address("[::1]:80").as_deref(), Some("[::1]:80"));
        assert_eq!(address("4000"), None);
        assert_eq!(address("example.org:80"), None);
    }
}
