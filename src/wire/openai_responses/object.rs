//! A JSON object being written, member by member; raw JSON stays the text it is. It knows nothing of what is
//! written.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::conversation::{Extras, Format, Json};

/// The members so far, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Object(Vec<(Cow<'static, str>, Json)>);

impl Object {
    /// An object that begins with its `type`.
    pub(super) fn of_type(kind: &str) -> Self {
        Self::default().with("type", kind)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Serialize) -> Self {
        self.put(name, Json::of(&value));
        self
    }

    /// A member where there is a value.
    pub(super) fn with_some(self, name: &'static str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The fields that ride along for a format, except those in `but` and those that are written already.
    pub(super) fn with_extras(mut self, extras: &Extras, format: Format, but: &[&str]) -> Self {
        for (name, value) in extras.of(format) {
            if !self.has(name) && !but.contains(&name.as_str()) {
                self.0.push((Cow::Owned(name.clone()), value.clone()));
            }
        }
        self
    }

    /// Sets a member; one of that name keeps its place.
    pub(super) fn put(&mut self, name: impl Into<Cow<'static, str>>, value: Json) {
        let name = name.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => self.0.push((name, value)),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    pub(super) fn into_members(self) -> impl Iterator<Item = (Cow<'static, str>, Json)> {
        self.0.into_iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_json(self) -> Json {
        Json::of(&self)
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
