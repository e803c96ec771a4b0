//! From the located tree to the typed file: a serde `Deserializer` that tells every problem and not
//! only the first. A value of the wrong type is reported and left out, then the tree is decoded
//! again without it, until nothing fails. Knows types, not meanings.
//!
//! Three names are understood: `AT` gives a value together with its place, a field named `WHOLE` receives the
//! mapping that it stands in as a whole, and one named `PRICES` all keys of it that are prices.

mod parts;

use std::cell::RefCell;
use std::collections::HashSet;

use serde::de::{DeserializeOwned, Deserializer, Expected, IntoDeserializer, Visitor};

use parts::{Entries, Items, Located, Variant};

use super::known;
use super::node::{Key, Node, Plain, Scalar, Value};
use super::problem::{Finding, Findings, Place, Severity, show, show_key};
use crate::ground::names::closest;
use crate::prices::component::{self, Key as PriceKey};

/// The struct name that asks for a value with its place.
pub(super) const AT: &str = "$at";
/// The field name that asks for all of the mapping that it stands in.
pub(super) const WHOLE: &str = "$whole";
/// The field name that asks for all keys of the mapping that are prices.
pub(super) const PRICES: &str = "$prices";
/// Values of the wrong type that are reported one by one.
const MOST_FAULTS: usize = 200;

/// Decodes the tree. Whatever is wrong goes to the findings; what is right is returned.
///
/// The places of everything that lost a part are added to `damaged`, so that no check complains of
/// what was there but could not be read.
pub(super) fn decode<T: DeserializeOwned + Default>(
    root: &Node,
    strict: bool,
    findings: &mut Findings,
    damaged: &mut HashSet<Place>,
) -> T {
    let session = Session { strict, ..Session::default() };
    let value = attempts(root, &session, findings);
    damaged.extend(session.damaged.take());
    value
}

/// Decodes again and again, each time without the values that failed before.
fn attempts<T: DeserializeOwned + Default>(
    root: &Node,
    session: &Session,
    findings: &mut Findings,
) -> T {
    for _ in 0..MOST_FAULTS {
        session.passing.borrow_mut().clear();
        let whole = NodeDecoder {
            node: root,
            name: "the file",
            in_list: false,
            only_prices: false,
            session,
        };
        match T::deserialize(whole) {
            Ok(value) => {
                findings.extend(session.passing.take());
                return value;
            }
            Err(error) => {
                let place = error.place.unwrap_or(root.place);
                let hidden = std::mem::take(&mut *session.culprit.borrow_mut());
                findings.error(place, error.message);
                match hidden {
                    // The fault is the root's own: nothing is left to decode.
                    None => break,
                    Some(culprit) if culprit == address(root) => break,
                    Some(culprit) => session.pruned.borrow_mut().insert(culprit),
                };
            }
        }
    }
    T::default()
}

/// What one call of `decode` remembers from try to try.
#[derive(Default)]
struct Session {
    strict: bool,
    /// Nodes left out, by address: the tree does not change while it is decoded.
    pruned: RefCell<HashSet<usize>>,
    /// The node that the current fault is about.
    culprit: RefCell<Option<usize>>,
    damaged: RefCell<HashSet<Place>>,
    /// Unknown keys, found anew by every try.
    passing: RefCell<Vec<Finding>>,
}

fn address(node: &Node) -> usize {
    std::ptr::from_ref(node).addr()
}

/// Why a value does not fit its type. Never holds the value.
#[derive(Debug)]
struct Error {
    place: Option<Place>,
    message: String,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self { place: None, message: message.to_string() }
    }

    // serde's own texts print the value.
    fn invalid_type(_: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::custom(format_args!("expected {expected}"))
    }

    fn invalid_value(_: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::custom(format_args!("expected {expected}"))
    }
}

#[derive(Clone, Copy)]
struct NodeDecoder<'n> {
    node: &'n Node,
    /// The key that the value stands under, or that of the list it is in.
    name: &'n str,
    in_list: bool,
    /// Of the mapping, only the keys that are prices are meant.
    only_prices: bool,
    session: &'n Session,
}

type Outcome<T> = Result<T, Error>;

impl<'n> NodeDecoder<'n> {
    fn at(self, node: &'n Node, name: &'n str) -> Self {
        Self { node, name, in_list: false, only_prices: false, ..self }
    }

    /// How messages call the value.
    fn title(self) -> String {
        match self.in_list {
            true => format!("an entry of {}", show_key(self.name)),
            false => show_key(self.name),
        }
    }

    fn fault(self, message: String) -> Error {
        Error { place: Some(self.node.place), message }
    }

    fn wanted(self, what: &str) -> Error {
        let mut message = format!("{}: expected {what}, found {}", self.title(), self.node.kind());
        match &self.node.value {
            Value::Scalar(scalar) if scalar.hidden => {
                message.push_str(" (from the environment or a secret file)");
            }
            Value::Scalar(scalar) if scalar.plain && is_octal_like(&scalar.text) => {
                message.push_str(" (a leading zero: write `0o…` if it is octal)");
            }
            Value::Scalar(scalar) if !scalar.plain && what != "a list" && what != "a mapping" => {
                message.push_str(" (remove the quotes)");
            }
            Value::Scalar(_) if what == "a list" => {
                message.push_str(" (write `[a, b]`, or a line `- a` for each)");
            }
            _ => {}
        }
        self.fault(message)
    }

    fn scalar(self, what: &str) -> Outcome<&'n Scalar> {
        match &self.node.value {
            Value::Scalar(scalar) if !scalar.is_null() || scalar.hidden => Ok(scalar),
            _ => Err(self.wanted(what)),
        }
    }

    fn integer(self) -> Outcome<i128> {
        let what = "a whole number";
        match self.scalar(what)?.meaning() {
            Plain::Int(number) => Ok(number),
            #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
            Plain::Float(number) if number.fract() == 0.0 && number.abs() < 9.0e15 => {
                Ok(number as i128)
            }
            _ => Err(self.wanted(what)),
        }
    }

    fn bounded<T: TryFrom<i128>>(self, least: i128, most: i128) -> Outcome<T> {
        let number = self.integer()?;
        T::try_from(number).map_err(|_| {
            let bound = match (number < least, least) {
                (true, 0) => "must not be below zero".to_owned(),
                (true, least) => format!("must not be below {least}"),
                (false, _) => format!("must not be above {most}"),
            };
            self.fault(format!("{}: {bound}", self.title()))
        })
    }

    fn float(self) -> Outcome<f64> {
        let what = "a number";
        match self.scalar(what)?.meaning() {
            #[expect(clippy::cast_precision_loss, reason = "a number that is wanted as a fraction")]
            Plain::Int(number) => Ok(number as f64),
            Plain::Float(number) if number.is_finite() => Ok(number),
            _ => Err(self.wanted(what)),
        }
    }

    fn text(self, what: &str) -> Outcome<&'n str> {
        self.scalar(what).map(|scalar| scalar.text.as_str())
    }

    /// Gives an error that has no place yet the place of this node, and makes the node the one to be
    /// left out of the next try.
    fn locate<T>(self, outcome: Outcome<T>) -> Outcome<T> {
        outcome.map_err(|mut error| {
            if error.place.is_none() {
                error.place = Some(self.node.place);
                error.message = format!("{}: {}", self.title(), error.message);
            }
            let mut culprit = self.session.culprit.borrow_mut();
            if culprit.is_none() {
                *culprit = Some(address(self.node));
            }
            self.session.damaged.borrow_mut().insert(self.node.place);
            error
        })
    }

    fn unknown_key(self, section: &'static str, fields: &'static [&'static str], key: &Key) {
        // As in compose files: a place for anchors.
        if key.text.starts_with("x-") {
            return;
        }
        let label = known::label(section);
        let in_section = label.map(|label| format!(" in `{label}`")).unwrap_or_default();
        let finding = if let Some(hint) = known::litellm(section, &key.text) {
            let hint = if hint.is_empty() { String::new() } else { format!(": {hint}") };
            let name = show(&key.text);
            let message = format!("LiteLLM's {name}{in_section} is not honoured by Tidegate{hint}");
            Finding { place: key.place, severity: Severity::Warning, message, suggestion: None }
        } else {
            let prices = component::names().filter(|_| fields.contains(&PRICES));
            let candidates = fields.iter().copied().filter(|field| !field.starts_with('$'));
            let candidates = candidates.chain(prices);
            let suggestion = closest(&key.text, candidates).map(str::to_owned);
            let elsewhere = match (&suggestion, known::home(&key.text)) {
                (None, Some(home)) if Some(home) != label => format!(": it belongs in `{home}`"),
                _ => String::new(),
            };
            // What is close to a known word is no secret.
            let name = if suggestion.is_some() { show(&key.text) } else { show_key(&key.text) };
            let message = format!("unknown key {name}{in_section}{elsewhere}");
            let severity = if self.session.strict { Severity::Error } else { Severity::Warning };
            Finding { place: key.place, severity, message, suggestion }
        };
        self.session.passing.borrow_mut().push(finding);
    }
}

/// Whether a key stands for a price, or for several.
fn is_price(key: &str) -> bool {
    matches!(component::key(key), Some(PriceKey::Price(_) | PriceKey::Nested))
}

fn is_octal_like(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl<'n> IntoDeserializer<'n, Error> for NodeDecoder<'n> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'n>>(self, visitor: V) -> Outcome<V::Value> {
            let number: Outcome<$type> =
                self.bounded(i128::from(<$type>::MIN), i128::from(<$type>::MAX));
            self.locate(number.and_then(|number| visitor.$visit(number)))
        }
    )*};
}

impl<'n> Deserializer<'n> for NodeDecoder<'n> {
    type Error = Error;

    integers!(
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64
    );

    /// Where anything is allowed, YAML 1.2's core schema says what a scalar is.
    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Outcome<V::Value> {
        let scalar = match &self.node.value {
            Value::Scalar(scalar) => scalar,
            Value::List(_) => return self.deserialize_seq(visitor),
            Value::Map(_) => return self.deserialize_map(visitor),
        };
        if scalar.yaml_1_1_truth().is_some() {
            let message = format!(
                "{}: yes, no, on and off are texts here; write true or false, or put it in quotes",
                self.title()
            );
            let finding = Finding {
                place: self.node.place,
                severity: Severity::Warning,
                message,
                suggestion: None,
            };
            self.session.passing.borrow_mut().push(finding);
        }
        let outcome = match scalar.meaning() {
            Plain::Null => visitor.visit_unit(),
            Plain::Bool(truth) => visitor.visit_bool(truth),
            Plain::Int(number) => match (u64::try_from(number), i64::try_from(number)) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                #[expect(clippy::cast_precision_loss, reason = "as JSON readers take it")]
                _ => visitor.visit_f64(number as f64),
            },
            Plain::Float(number) if number.is_finite() => visitor.visit_f64(number),
            Plain::Float(_) => {
                Err(self.fault(format!("{}: a number that JSON cannot hold", self.title())))
            }
            Plain::Text => visitor.visit_str(&scalar.text),
        };
        self.locate(outcome)
    }

    fn deserialize_bool<V: Visitor<'n>>(self, visitor: V) -> Outcome<V::Value> {
        let what = "true or false";
        let truth =
            self.scalar(what).and_then(|scalar| scalar.truth().ok_or_else(|| self.wanted(what)));
        self.locate(truth.and_then(|truth| visitor.visit_bool(truth)))
    }

    fn deserialize_f64<V: Visitor<'n>>(self, visitor: V) -> Outcome<V::Value> {
        self.locate(self.float().and_then(|number| visitor.visit_f64(number)))
    }

    fn deserialize_f32<V: Visitor<'n>>(self, visitor: V) -> Outcome<V::Value> {
        self.deserialize_f64(visitor)
    }

    /// A text is the scalar as it is spelt: `123456`, `2.0` and `true` need no quotes.
    fn deserialize_str<V: Visitor<'n>>(self, visitor: V) -> Outcome<V::Value> {
        // serde's own types want "a string"; ours say more.
        let expected = (&visitor as &dyn Expected).to_string();
        let what = if expected == "a string" { "a text" } else { expected.as_str() };
        self.locate(self.text(what).and_then(|text| visitor.visit_str(text)))
    }

    fn deserialize_string<V: Visitor<'n>>(self, visitor: V) -> Outcome<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Outcome<V::Value> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'n>>(self, visitor: V) -> Outcome<V::Value> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Outcome<V::Value> {
        self.locate(visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'n>>(self, visitor: V) -> Outcome<V::Value> {
        let Value::List(items) = &self.node.value else {
            return self.locate(Err(self.wanted("a list")));
        };
        self.locate(visitor.visit_seq(Items { decoder: self, items: items.iter() }))
    }

    fn deserialize_map<V: Visitor<'n>>(self, visitor: V) -> Outcome<V::Value> {
        let Value::Map(entries) = &self.node.value else {
            return self.locate(Err(self.wanted("a mapping")));
        };
        let entries = Entries {
            decoder: self,
            entries: entries.iter(),
            fields: None,
            next: None,
            whole: false,
            prices: false,
            takes_prices: false,
        };
        self.locate(visitor.visit_map(entries))
    }

    fn deserialize_struct<V: Visitor<'n>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        if name == AT {
            return visitor.visit_seq(Located { decoder: self, step: 0 });
        }
        let Value::Map(entries) = &self.node.value else {
            return self.locate(Err(self.wanted("a mapping")));
        };
        let entries = Entries {
            decoder: self,
            entries: entries.iter(),
            fields: Some((name, fields)),
            next: None,
            whole: fields.contains(&WHOLE),
            prices: fields.contains(&PRICES),
            takes_prices: false,
        };
        self.locate(visitor.visit_map(entries))
    }

    /// Only names without content: `transport: sse`.
    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        let outcome = self.text("a name").and_then(|text| {
            if variants.contains(&text) {
                return visitor.visit_enum(Variant(text));
            }
            let list: Vec<String> = variants.iter().map(|variant| format!("`{variant}`")).collect();
            Err(self.fault(format!("{}: must be one of {}", self.title(), list.join(", "))))
        });
        self.locate(outcome)
    }

    fn deserialize_ignored_any<V: Visitor<'n>>(self, visitor: V) -> Outcome<V::Value> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'n>>
        i128 u128 char bytes byte_buf unit_struct tuple tuple_struct identifier
    }
}
