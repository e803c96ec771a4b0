//! A request as it is being written: a tree that borrows from the conversation, so that pictures and schemas
//! are copied once, into the body. It knows nothing of the format.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::conversation::Json;
use crate::wire::fields::Fields;

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

    /// Makes members or elements of raw text reachable.
    fn open(&mut self) {
        let Self::Raw(raw) = self else { return };
        let made = |raw: &RawValue| Node::made(Json::of_raw(raw));
        if let Some(fields) = Fields::read(raw.as_str()) {
            let members = fields.iter().map(|(name, raw)| (Cow::Owned(name.to_owned()), made(raw)));
            *self = Self::Object(Object(members.collect()));
        } else if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(raw.as_str()) {
            *self = Self::List(elements.into_iter().map(made).collect());
        }
    }

    fn remove(&mut self, path: &[Step<'_>]) {
        let Some((first, rest)) = path.split_first() else { return };
        self.open();
        match (self, first) {
            (Self::Object(object), Step::Member(name)) => object.remove_steps(name, rest),
            (Self::List(list), Step::Each) => list.iter_mut().for_each(|node| node.remove(rest)),
            (Self::List(list), Step::At(at)) => {
                if rest.is_empty() && *at < list.len() {
                    list.remove(*at);
                } else if let Some(node) = list.get_mut(*at) {
                    node.remove(rest);
                }
            }
            _ => {}
        }
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

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Node<'a>> {
        self.0.iter_mut().find(|(member, _)| member == name).map(|(_, node)| node)
    }

    /// Fields that ride along; one that is already there is not put twice.
    pub(super) fn put_extra(&mut self, name: &'a str, value: &'a Json) {
        if !self.has(name) {
            self.put(name, Node::raw(value));
        }
    }

    /// Takes out what stands at a path such as `tools[*].function.strict`.
    pub(super) fn remove(&mut self, path: &str) {
        let steps = steps(path);
        if let Some((Step::Member(name), rest)) = steps.split_first() {
            self.remove_steps(name, rest);
        }
    }

    fn remove_steps(&mut self, name: &str, rest: &[Step<'_>]) {
        if rest.is_empty() {
            self.0.retain(|(member, _)| member != name);
        } else if let Some(node) = self.get_mut(name) {
            node.remove(rest);
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

/// One step of a path.
#[derive(Debug)]
enum Step<'p> {
    Member(&'p str),
    Each,
    At(usize),
}

fn steps(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for piece in path.split('.').filter(|piece| !piece.is_empty()) {
        let mut words = piece.split('[');
        steps.extend(words.next().filter(|word| !word.is_empty()).map(Step::Member));
        for word in words {
            let word = word.trim_end_matches(']');
            steps.push(word.parse().map_or(Step::Each, Step::At));
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let tools = Json::parse(r#"[{"name":"a","strict":1.0,"p":{"x":1}},{"strict":true}]"#);
        let tools = tools.expect("valid");
        let mut body = Object::typed("t").with("tools", Node::raw(&tools));
        body.remove(path);
        assert_eq!(Json::of(&body).as_str(), expected, "{path}");
    }

    #[test]
    fn paths_are_taken_out() {
        check("type", r#"{"tools":[{"name":"a","strict":1.0,"p":{"x":1}},{"strict":true}]}"#);
        check("tools[*].strict", r#"{"type":"t","tools":[{"name":"a","p":{"x":1}},{}]}"#);
        check(
            "tools[0].p.x",
            r#"{"type":"t","tools":[{"name":"a","strict":1.0,"p":{}},{"strict":true}]}"#,
        );
        check("tools[1]", r#"{"type":"t","tools":[{"name":"a","strict":1.0,"p":{"x":1}}]}"#);
        let all = r#"{"type":"t","tools":[{"name":"a","strict":1.0,"p":{"x":1}},{"strict":true}]}"#;
        check("tools[9].x", all);
        check("", all);
        check("nothing.at[*].all", all);
    }
}
