//! What both halves of Anthropic's format share: a small JSON tree that keeps raw text raw, how a citation, a
//! usage and an error are spelled. It decides nothing about a conversation.

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::conversation::{Annotation, Extras, Format, Json};
use crate::ground::fault::Fault;
use crate::wire::fields::Fields;
use crate::wire::provider_error;

/// The extra field that keeps a whole block for which a plain text stands in: a search result, a tool
/// reference. Other formats read the text; Anthropic gets its own block back.
pub(super) const OWN_BLOCK: &str = "block";

/// A JSON value to be written. Texts and raw JSON are borrowed from what they are written of: pictures are long.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    Number(u64),
    Text(Cow<'a, str>),
    Raw(Cow<'a, Json>),
    List(Vec<Node<'a>>),
    Object(Object<'a>),
}

/// A JSON object to be written, its members in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Node<'a>)>);

/// A citation: Anthropic's own, and the plain one that it comes to where it names a page.
pub(super) fn citation(json: &Json) -> Vec<Annotation> {
    let own = Annotation::Foreign { format: Format::Anthropic, value: json.clone() };
    let Some(mut fields) = Fields::of(json.as_raw()) else { return Vec::new() };
    let url = fields.text("url");
    let mut all = vec![own];
    // The block itself comes first: its `encrypted_index` must go back to Anthropic. The plain citation after
    // it is for everyone else.
    if let Some(url) = url {
        all.push(Annotation::Url { url, title: fields.text("title"), start: None, end: None });
    }
    all
}

/// The URL that Anthropic's own citation names.
pub(super) fn cited_url(annotation: &Annotation) -> Option<String> {
    match annotation {
        Annotation::Foreign { format: Format::Anthropic, value } => {
            Fields::of(value.as_raw())?.text("url")
        }
        _ => None,
    }
}

/// An id as Anthropic takes it, `^[a-zA-Z0-9_-]+$`: every other character becomes `_`.
pub(super) fn legal_id(id: &str) -> Cow<'_, str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match id {
        "" => Cow::Borrowed("toolu_0"),
        id if id.chars().all(legal) => Cow::Borrowed(id),
        id => Cow::Owned(id.chars().map(|c| if legal(c) { c } else { '_' }).collect()),
    }
}

/// What Anthropic said in an error body, or in an `error` event of a stream
/// (<https://docs.anthropic.com/en/api/errors>).
pub(super) fn told(error: Option<&RawValue>) -> Fault {
    provider_error::in_stream(error.map_or("{\"type\":\"api_error\"}", RawValue::get))
}

impl<'a> Object<'a> {
    /// An object that begins with its `type`.
    pub(super) fn of(kind: &'static str) -> Self {
        Self::default().with("type", kind)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<Node<'a>>) -> Self {
        self.0.push((Cow::Borrowed(name), value.into()));
        self
    }

    /// A member that is left out where there is no value.
    pub(super) fn some(self, name: &'static str, value: Option<impl Into<Node<'a>>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// What rode along for Anthropic, but for what is here already.
    pub(super) fn extras(mut self, extras: &'a Extras) -> Self {
        for (name, value) in extras.of(Format::Anthropic) {
            if name != OWN_BLOCK && !self.has(name) {
                self.0.push((Cow::Borrowed(name), Node::Raw(Cow::Borrowed(value))));
            }
        }
        self
    }

    pub(super) fn push(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Node<'a>>) {
        self.0.push((name.into(), value.into()));
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(member, _)| member == name)
    }

    pub(super) fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(member, _)| member != name);
        self.0.len() < before
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A member that is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.0.iter().find(|(member, _)| member == name) {
            Some((_, Node::Text(text))) => Some(text),
            _ => None,
        }
    }

    /// A member that is a text, to be changed.
    pub(super) fn text_mut(&mut self, name: &str) -> Option<&mut Cow<'a, str>> {
        match self.0.iter_mut().find(|(member, _)| member == name) {
            Some((_, Node::Text(text))) => Some(text),
            _ => None,
        }
    }

    pub(super) fn json(&self) -> Json {
        Json::of(self)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'a> From<&'a str> for Node<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Node<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, str>> for Node<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Node<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Node<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a Json> for Node<'a> {
    fn from(json: &'a Json) -> Self {
        Self::Raw(Cow::Borrowed(json))
    }
}

impl From<Json> for Node<'_> {
    fn from(json: Json) -> Self {
        Self::Raw(Cow::Owned(json))
    }
}

impl<'a> From<Vec<Node<'a>>> for Node<'a> {
    fn from(list: Vec<Node<'a>>) -> Self {
        Self::List(list)
    }
}

impl<'a> From<Vec<Object<'a>>> for Node<'a> {
    fn from(list: Vec<Object<'a>>) -> Self {
        Self::List(list.into_iter().map(Self::Object).collect())
    }
}

impl<'a> From<Object<'a>> for Node<'a> {
    fn from(object: Object<'a>) -> Self {
        Self::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_text_stays_raw() {
        let json = Json::parse(r#"{"b":1.0e2, "a":1}"#).expect("valid");
        let object = Object::of("x").with("raw", &json).some("gone", None::<u64>).with("n", 3);
        let text = String::from_utf8(object.bytes()).expect("text");
        assert_eq!(text, r#"{"type":"x","raw":{"b":1.0e2, "a":1},"n":3}"#);
    }

    #[test]
    fn ids_are_made_legal() {
        assert_eq!(legal_id("toolu_01-A"), "toolu_01-A");
        assert_eq!(legal_id("functions.f:0"), "functions_f_0");
        assert_eq!(legal_id(""), "toolu_0");
    }

    #[test]
    fn errors_tell_their_status() {
        let read = |text: &str| told(Json::parse(text).as_ref().map(Json::as_raw));
        let overloaded = read(r#"{"type":"overloaded_error","message":"Overloaded"}"#);
        assert_eq!((overloaded.status(), &*overloaded.message), (503, "Overloaded"));
        let long =
            read(r#"{"type":"invalid_request_error","message":"prompt is too long: 3 > 2"}"#);
        assert_eq!(long.code(), Some("context_length_exceeded"));
        assert_eq!(told(None).status(), 500);
    }
}
