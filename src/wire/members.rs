//! A JSON object that is put together member by member: what of a request is only known when it is written.
//! Values stay raw text, names keep their order.

use serde::{Serialize, Serializer};

use crate::conversation::Json;

/// The members so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members(pub Vec<(String, Json)>);

impl Members {
    /// Adds a member, or replaces its value.
    pub fn set(&mut self, name: &str, value: impl Into<Option<Json>>) {
        let Some(value) = value.into() else { return };
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The object as a request's body.
    pub fn into_body(self) -> Vec<u8> {
        Json::of(&self).as_str().as_bytes().to_vec()
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_and_keeps_its_spelling() {
        #[derive(Serialize)]
        struct Around {
            a: u8,
            #[serde(flatten)]
            rest: Members,
        }
        let mut rest = Members::default();
        rest.set("b", Json::parse("1"));
        rest.set("c", Json::parse("{\"x\":2.50e1}"));
        rest.set("b", Json::parse("3"));
        rest.set("d", None);
        let text = serde_json::to_string(&Around { a: 0, rest: rest.clone() }).expect("json");
        assert_eq!(text, r#"{"a":0,"b":3,"c":{"x":2.50e1}}"#);
        assert_eq!(rest.into_body(), br#"{"b":3,"c":{"x":2.50e1}}"#);
    }
}
