//! A request as it is being written: a tree that borrows from the conversation, so that pictures and schemas
//! are copied once, into the body. It knows nothing of the format.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use crate::conversation::Json;

/// One value.
#[derive(Clone, Debug)]
pub(super) enum Node<'a> {
    Null,
    Flag(bool),
    Count(u64),
    Text(Cow<'a, str>),
    Raw(Cow<'a, Json>),
    List(Vec<Node<'a>>),
    Object(Object<'a>),
}

/// Members in the order in which they were put.
#[derive(Clone, Debug, Default)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Node<'a>)>);

impl<'a> Node<'a> {
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn raw(json: &'a Json) -> Self {
        Self::Raw(Cow::Borrowed(json))
    }

    pub(super) fn made(json: Json) -> Self {
        Self::Raw(Cow::Owned(json))
    }
}

impl<'a> Object<'a> {
    pub(super) fn put(&mut self, name: impl Into<Cow<'a, str>>, node: Node<'a>) {
        self.0.push((name.into(), node));
    }

    pub(super) fn put_text(&mut self, name: &'static str, text: impl Into<Cow<'a, str>>) {
        self.put(name, Node::text(text));
    }

    pub(super) fn with(mut self, name: &'static str, node: Node<'a>) -> Self {
        self.put(name, node);
        self
    }

    /// An object that says what it is.
    pub(super) fn typed(kind: &'static str) -> Self {
        Self::default().with("type", Node::text(kind))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(member, _)| member == name)
    }

    /// Fields that ride along; one that is already there is not put twice.
    pub(super) fn put_extra(&mut self, name: &'a str, value: &'a Json) {
        if !self.has(name) {
            self.put(name, Node::raw(value));
        }
    }

    /// All members of another object.
    pub(super) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(super) fn node(self) -> Node<'a> {
        Node::Object(self)
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_none(),
            Self::Flag(flag) => to.serialize_bool(*flag),
            Self::Count(count) => to.serialize_u64(*count),
            Self::Text(text) => to.serialize_str(text),
            Self::Raw(json) => json.serialize(to),
            Self::List(list) => to.collect_seq(list),
            Self::Object(object) => object.serialize(to),
        }
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, node)| (name, node)))
    }
}
