//! A JSON object taken apart: its members in order, each still raw text, taken out one by one. What is left
//! at the end is what nobody knew, and rides along. A wrong type is told with the path of the field, where a
//! client can mend it, or passed over, where a provider sent it.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::json::{self, Member};
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
        let mut members = Members::new(text);
        json::scan_members(text, |member| members.add(member)).ok()?;
        members.into_fields()
    }

    /// The same for a value that is known to be JSON, which costs less.
    pub fn of(raw: &'t RawValue) -> Option<Self> {
        let mut members = Members::new(raw.get());
        json::members_of(raw, |member| members.add(member)).ok()?;
        members.into_fields()
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
        match Self::of(raw) {
            Some(fields) => Ok(Self { at: path, ..fields }),
            None => Err(wrong(&path, "an object")),
        }
    }

    /// The path of a member.
    pub fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { [&self.at, ".", name].concat() }
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
        Ok(self.word(name)?.map(Cow::into_owned))
    }

    /// A string that is only looked at: a type, a role.
    ///
    /// # Errors
    /// `InvalidRequest`: not a string.
    pub fn word(&mut self, name: &str) -> Result<Option<Cow<'t, str>>, Fault> {
        let Some(raw) = self.take(name) else { return Ok(None) };
        unquoted(raw.get()).map(Some).ok_or_else(|| self.wrong(name, "a string"))
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
        as_string(self.take(name)?)
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
        Fields::of(self.take(name)?)
    }

    /// The elements of a list; none where it is no list.
    pub fn items(&mut self, name: &str) -> Vec<&'t RawValue> {
        self.take(name).and_then(listed).unwrap_or_default()
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
    let items = listed(raw).ok_or_else(|| wrong(path, "a list"))?;
    Ok(items.into_iter().enumerate().map(|(at, raw)| (indexed(path, at), raw)).collect())
}

/// `path[at]`. Nearly none of these are ever read, so they are made without the formatting machinery.
fn indexed(path: &str, at: usize) -> String {
    let mut digits = [b'0'; 20];
    let (mut rest, mut first) = (at, digits.len());
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit += (rest % 10) as u8;
        (rest, first) = (rest / 10, place);
        if rest == 0 {
            break;
        }
    }
    let digits = digits.get(first..).and_then(|digits| std::str::from_utf8(digits).ok());
    [path, "[", digits.unwrap_or_default(), "]"].concat()
}

/// A fault that says what the value at a path must be.
pub fn wrong(path: &str, wanted: &str) -> Fault {
    Fault::invalid(format!("`{path}` must be {wanted}, and it is not.")).with_param(path.to_owned())
}

/// A string value; `None` for anything else.
pub fn as_string(raw: &RawValue) -> Option<String> {
    unquoted(raw.get()).map(Cow::into_owned)
}

/// Names that are compared one by one.
const FEW: usize = 32;

/// Members as they are found: of a repeated name the last one counts, at the first one's place.
struct Members<'t> {
    text: &'t str,
    found: Vec<(Cow<'t, str>, &'t RawValue)>,
    /// A few names are compared, many are looked up: a body of a million names must not cost their square.
    places: HashMap<Cow<'t, str>, usize>,
    /// A name that no text can have.
    unreadable: bool,
}

impl<'t> Members<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, found: Vec::with_capacity(8), places: HashMap::new(), unreadable: false }
    }

    fn add(&mut self, Member { key, value }: Member) {
        let name = self.text.get(key.start.saturating_sub(1)..key.end + 1).and_then(unquoted);
        let value = self.text.get(value).and_then(json::raw);
        match name.zip(value) {
            Some((name, value)) => self.put(name, value),
            None => self.unreadable = true,
        }
    }

    fn put(&mut self, name: Cow<'t, str>, value: &'t RawValue) {
        let known = if self.found.len() <= FEW {
            self.found.iter().position(|(known, _)| *known == name)
        } else {
            if self.places.is_empty() {
                let named = self.found.iter().enumerate();
                self.places = named.map(|(at, (name, _))| (name.clone(), at)).collect();
            }
            self.places.get(&name).copied()
        };
        match known.and_then(|at| self.found.get_mut(at)) {
            Some(known) => known.1 = value,
            None => {
                if !self.places.is_empty() {
                    self.places.insert(name.clone(), self.found.len());
                }
                self.found.push((name, value));
            }
        }
    }

    fn into_fields(self) -> Option<Fields<'t>> {
        (!self.unreadable).then_some(Fields { at: String::new(), members: self.found })
    }
}

/// The elements of a list; `None` for any other value.
pub fn listed(list: &RawValue) -> Option<Vec<&RawValue>> {
    let mut found = Vec::new();
    json::elements_of(list, |at| found.extend(list.get().get(at).and_then(json::raw))).ok()?;
    Some(found)
}

/// The text of a string that is known to be valid; borrowed where it has no escapes.
fn unquoted(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    unescaped(inner).or_else(|| serde_json::from_str(text).ok()).map(Cow::Owned)
}

/// The text that the usual escapes stand for; `None` where there are others.
fn unescaped(inner: &str) -> Option<String> {
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (plain, escape) = rest.split_at_checked(at)?;
        out.push_str(plain);
        out.push(match escape.as_bytes().get(1)? {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            _ => return None,
        });
        rest = escape.get(2..)?;
    }
    out.push_str(rest);
    Some(out)
}

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
    fn strings_are_read_with_all_their_escapes() {
        let text = r#"{"a":"plain é","b":"\n\t\r\"\\\/x","c":"\b\f\u00e9\ud83d\ude00","d":"\ud800","e":""}"#;
        let mut fields = Fields::read(text).expect("an object");
        assert_eq!(fields.text("a").as_deref(), Some("plain é"));
        assert_eq!(fields.text("b").as_deref(), Some("\n\t\r\"\\/x"));
        assert_eq!(fields.text("c").as_deref(), Some("\u{8}\u{c}é😀"));
        // Half a character is no text.
        assert_eq!(fields.text("d"), None);
        assert_eq!(fields.text("e").as_deref(), Some(""));
        assert!(Fields::read(r#"{"\ud800":1}"#).is_none());
        let raw = serde_json::from_str(r#" [1, "a]", {"b":[]} ] "#).expect("a list");
        let paths = elements(raw, "x").expect("a list").into_iter();
        let found: Vec<_> = paths.map(|(path, raw)| format!("{path}={}", raw.get())).collect();
        assert_eq!(found, ["x[0]=1", "x[1]=\"a]\"", "x[2]={\"b\":[]}"]);
        assert_eq!((indexed("y", 10), indexed("y", 1_234)), ("y[10]".into(), "y[1234]".into()));
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
