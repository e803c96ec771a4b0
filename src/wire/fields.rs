//! A JSON object taken apart: its members in order, each still raw text, taken out one by one. What is left
//! at the end is what nobody knew, and rides along. A wrong type is told with the path of the field, where a
//! client can mend it, or passed over, where a provider sent it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::conversation::{Extras, Format, Json};
use crate::ground::fault::Fault;

/// The members of one object that have not been taken yet.
#[derive(Debug, Default)]
pub struct Fields<'t> {
    /// Where the object stands: empty at the top, else `messages[2]`.
    at: String,
    members: Vec<(Cow<'t, str>, &'t RawValue)>,
}

impl<'t> Fields<'t> {
    /// Takes a text apart; `None` where it is not one JSON object. Of a repeated name the last one counts, as
    /// most parsers have it.
    pub fn read(text: &'t str) -> Option<Self> {
        let mut from = serde_json::Deserializer::from_str(text);
        let members = from.deserialize_map(Members).ok()?;
        from.end().ok()?;
        Some(Self { at: String::new(), members })
    }

    /// The same for bytes.
    pub fn of_bytes(text: &'t [u8]) -> Option<Self> {
        Self::read(std::str::from_utf8(text).ok()?)
    }

    /// An element of a client's request.
    ///
    /// # Errors
    /// `InvalidRequest`: the value at `path` is not an object.
    pub fn within(raw: &'t RawValue, path: String) -> Result<Self, Fault> {
        match Self::read(raw.get()) {
            Some(fields) => Ok(Self { at: path, ..fields }),
            None => Err(wrong(&path, "an object")),
        }
    }

    /// The path of a member.
    pub fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// The path of the object itself.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Takes a member out; `null` counts as absent.
    pub fn take(&mut self, name: &str) -> Option<&'t RawValue> {
        let at = self.members.iter().position(|(member, _)| member == name)?;
        let (_, value) = self.members.remove(at);
        (value.get() != "null").then_some(value)
    }

    /// Looks at a member without taking it.
    pub fn peek(&self, name: &str) -> Option<&'t RawValue> {
        let (_, value) = self.members.iter().find(|(member, _)| member == name)?;
        (value.get() != "null").then_some(*value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.peek(name).is_some()
    }

    /// The name and value of every member left, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'t RawValue)> {
        self.members.iter().map(|(name, value)| (&**name, *value))
    }

    // What a client sent: a wrong type is an error.

    /// # Errors
    /// `InvalidRequest`: not a string.
    pub fn string(&mut self, name: &str) -> Result<Option<String>, Fault> {
        self.typed(name, "a string")
    }

    /// # Errors
    /// `InvalidRequest`: neither true nor false.
    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, Fault> {
        self.typed(name, "true or false")
    }

    /// # Errors
    /// `InvalidRequest`: not a whole number from 0 up.
    pub fn count(&mut self, name: &str) -> Result<Option<u64>, Fault> {
        self.typed(name, "a whole number, 0 or more")
    }

    /// A number as it is spelled.
    ///
    /// # Errors
    /// `InvalidRequest`: not a number.
    pub fn number(&mut self, name: &str) -> Result<Option<Json>, Fault> {
        let Some(raw) = self.take(name) else { return Ok(None) };
        let is_number = raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
        if is_number { Ok(Some(Json::of_raw(raw))) } else { Err(self.wrong(name, "a number")) }
    }

    /// Any value that reads as `T`.
    ///
    /// # Errors
    /// `InvalidRequest`: it does not; `wanted` says what it must be.
    pub fn typed<T: DeserializeOwned>(
        &mut self,
        name: &str,
        wanted: &str,
    ) -> Result<Option<T>, Fault> {
        let Some(raw) = self.take(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| self.wrong(name, wanted))
    }

    /// # Errors
    /// `InvalidRequest`: not an object.
    pub fn object(&mut self, name: &str) -> Result<Option<Fields<'t>>, Fault> {
        let Some(raw) = self.take(name) else { return Ok(None) };
        Fields::within(raw, self.path(name)).map(Some)
    }

    /// The elements of a list, each with its path.
    ///
    /// # Errors
    /// `InvalidRequest`: not a list.
    pub fn list(&mut self, name: &str) -> Result<Option<Vec<(String, &'t RawValue)>>, Fault> {
        let Some(raw) = self.take(name) else { return Ok(None) };
        let path = self.path(name);
        elements(raw, &path).map(Some)
    }

    /// The value of a member that must be there.
    ///
    /// # Errors
    /// `InvalidRequest`: it is absent.
    pub fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, Fault> {
        value.ok_or_else(|| {
            let path = self.path(name);
            Fault::invalid(format!("`{path}` is missing.")).with_param(path)
        })
    }

    /// A fault that says what a member must be.
    pub fn wrong(&self, name: &str, wanted: &str) -> Fault {
        wrong(&self.path(name), wanted)
    }

    // What a provider sent: a wrong type counts as absent.

    /// A string.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.lenient(name)
    }

    /// A whole number; one with a fraction is cut.
    pub fn whole(&mut self, name: &str) -> Option<u64> {
        let raw = self.take(name)?.get();
        serde_json::from_str::<u64>(raw).ok().or_else(|| {
            let number = serde_json::from_str::<f64>(raw).ok().filter(|number| *number >= 0.0)?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates"
            )]
            Some(number as u64)
        })
    }

    /// Any value that reads as `T`; else `None`.
    pub fn lenient<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        serde_json::from_str(self.take(name)?.get()).ok()
    }

    /// An object; else `None`.
    pub fn inner(&mut self, name: &str) -> Option<Fields<'t>> {
        Fields::read(self.take(name)?.get())
    }

    /// The elements of a list; none where it is no list.
    pub fn items(&mut self, name: &str) -> Vec<&'t RawValue> {
        self.take(name).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }

    // For both.

    /// Any value as it stands.
    pub fn json(&mut self, name: &str) -> Option<Json> {
        self.take(name).map(Json::of_raw)
    }

    /// What nobody took, to ride along for its format. `null`s are left out.
    pub fn rest(self, format: Format) -> Extras {
        let left = self.members.into_iter().filter(|(_, value)| value.get() != "null");
        let fields = left.map(|(name, value)| (name.into_owned(), Json::of_raw(value))).collect();
        Extras::new(format, fields)
    }
}

/// The elements of a list in a client's request, each with its path: `messages[0]`, …
///
/// # Errors
/// `InvalidRequest`: the value at `path` is not a list.
pub fn elements<'t>(raw: &'t RawValue, path: &str) -> Result<Vec<(String, &'t RawValue)>, Fault> {
    let items: Vec<&RawValue> =
        serde_json::from_str(raw.get()).map_err(|_| wrong(path, "a list"))?;
    Ok(items.into_iter().enumerate().map(|(at, raw)| (format!("{path}[{at}]"), raw)).collect())
}

/// A fault that says what the value at a path must be.
pub fn wrong(path: &str, wanted: &str) -> Fault {
    Fault::invalid(format!("`{path}` must be {wanted}, and it is not.")).with_param(path.to_owned())
}

/// A string value; `None` for anything else.
pub fn as_string(raw: &RawValue) -> Option<String> {
    raw.get().starts_with('"').then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

/// Names that are compared one by one.
const FEW: usize = 32;

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Self::Value = Vec::with_capacity(8);
        // A few names are compared, many are looked up: a body of a million names must not cost their square.
        let mut places: HashMap<Cow<'de, str>, usize> = HashMap::new();
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            let known = if members.len() <= FEW {
                members.iter().position(|(known, _)| *known == name)
            } else {
                if places.is_empty() {
                    let named = members.iter().enumerate();
                    places = named.map(|(at, (name, _))| (name.clone(), at)).collect();
                }
                places.get(&name).copied()
            };
            match known.and_then(|at| members.get_mut(at)) {
                Some(known) => known.1 = value,
                None => {
                    if !places.is_empty() {
                        places.insert(name.clone(), members.len());
                    }
                    members.push((name, value));
                }
            }
        }
        Ok(members)
    }
}

/// A member's name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'t>(#[serde(borrow)] Cow<'t, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_taken_and_the_rest_rides_along() {
        let text =
            r#"{"a":"x","n":null,"b":1.0e2,"c":[1,{"d":2}],"f":true,"\u0061":"y","z":{"k":1}}"#;
        let mut fields = Fields::read(text).expect("an object");
        assert_eq!(fields.string("a").expect("a string").as_deref(), Some("y"));
        assert_eq!(fields.string("n").expect("null is absent"), None);
        assert_eq!(fields.number("b").expect("a number").expect("there").as_str(), "1.0e2");
        let list = fields.list("c").expect("a list").expect("there");
        assert_eq!(list[1].0, "c[1]");
        let error = Fields::within(list[0].1, list[0].0.clone()).expect_err("a number");
        assert_eq!(error.message, "`c[0]` must be an object, and it is not.");
        let error = fields.string("f").expect_err("true");
        assert_eq!(error.param.as_deref(), Some("f"));
        let rest = fields.rest(Format::Gemini);
        assert_eq!(rest.of(Format::Gemini).len(), 1);
        assert!(rest.of(Format::Ollama).is_empty());
        assert_eq!(rest.foreign_to(Format::Ollama).collect::<Vec<_>>(), ["z"]);
    }

    #[test]
    fn of_a_repeated_name_the_last_one_counts_among_many_too() {
        let names = (0..200).map(|n| format!("\"n{}\":{n}", n % 100));
        let text = format!("{{{}}}", names.collect::<Vec<_>>().join(","));
        let mut fields = Fields::read(&text).expect("an object");
        assert_eq!(fields.iter().count(), 100);
        assert_eq!(fields.whole("n0"), Some(100));
        assert_eq!(fields.whole("n99"), Some(199));
    }

    #[test]
    fn providers_are_forgiven() {
        let mut fields = Fields::read(r#"{"a":1,"b":3.7,"c":-1,"d":"x"}"#).expect("an object");
        assert_eq!(fields.text("a"), None);
        assert_eq!(fields.whole("b"), Some(3));
        assert_eq!(fields.whole("c"), None);
        assert!(fields.items("d").is_empty());
        for text in ["", "[]", "{} x", "{\"a\":}", "null"] {
            assert!(Fields::read(text).is_none(), "{text}");
        }
    }
}
