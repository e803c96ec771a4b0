//! What a decoder hands to serde piece by piece: the items of a list, the entries of a mapping, a
//! value together with its place, the name of a variant.

use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, IntoDeserializer, Visitor};
use serde::de::{EnumAccess, MapAccess, SeqAccess, VariantAccess};

use super::super::node::{Key, Node, Value};
use super::{Error, NodeDecoder, Outcome, PRICES, WHOLE, address, is_price};

pub(super) struct Items<'n> {
    pub(super) decoder: NodeDecoder<'n>,
    pub(super) items: std::slice::Iter<'n, Node>,
}

impl<'n> SeqAccess<'n> for Items<'n> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'n>>(&mut self, seed: T) -> Outcome<Option<T::Value>> {
        let pruned = self.decoder.session.pruned.borrow();
        let item = self.items.find(|item| !pruned.contains(&address(item)));
        drop(pruned);
        let name = self.decoder.name;
        let at = |item| NodeDecoder { in_list: true, ..self.decoder.at(item, name) };
        item.map(|item| seed.deserialize(at(item))).transpose()
    }
}

pub(super) struct Entries<'n> {
    pub(super) decoder: NodeDecoder<'n>,
    pub(super) entries: std::slice::Iter<'n, (Key, Node)>,
    /// The struct's name and its fields; `None` for a mapping with free keys.
    pub(super) fields: Option<(&'static str, &'static [&'static str])>,
    pub(super) next: Option<&'n (Key, Node)>,
    /// Whether the field that takes the mapping as a whole is still to come.
    pub(super) whole: bool,
    /// The same for the field that takes its prices.
    pub(super) prices: bool,
    /// The value that comes next is for that field.
    pub(super) takes_prices: bool,
}

impl<'n> MapAccess<'n> for Entries<'n> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'n>>(&mut self, seed: K) -> Outcome<Option<K::Value>> {
        if std::mem::take(&mut self.whole) {
            let key: StrDeserializer<'_, Error> = WHOLE.into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        if std::mem::take(&mut self.prices) {
            self.takes_prices = true;
            let key: StrDeserializer<'_, Error> = PRICES.into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        for entry in self.entries.by_ref() {
            let (key, node) = entry;
            let is_left_out = self.decoder.only_prices && !is_price(&key.text);
            if is_left_out || self.decoder.session.pruned.borrow().contains(&address(node)) {
                continue;
            }
            if let Some((section, fields)) = self.fields
                && (!fields.contains(&key.text.as_str()) || key.text.starts_with('$'))
            {
                let is_taken = fields.contains(&PRICES) && is_price(&key.text);
                if !fields.contains(&WHOLE) && !is_taken {
                    self.decoder.unknown_key(section, fields, key);
                }
                continue;
            }
            self.next = Some(entry);
            let key: StringDeserializer<Error> = key.text.clone().into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'n>>(&mut self, seed: V) -> Outcome<V::Value> {
        match self.next.take() {
            Some((key, node)) => seed.deserialize(self.decoder.at(node, &key.text)),
            None => {
                let only_prices = std::mem::take(&mut self.takes_prices);
                seed.deserialize(NodeDecoder { only_prices, ..self.decoder })
            }
        }
    }
}

/// The parts of an `At`: the place, whether the value is hidden, the value.
pub(super) struct Located<'n> {
    pub(super) decoder: NodeDecoder<'n>,
    pub(super) step: u8,
}

impl<'n> SeqAccess<'n> for Located<'n> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'n>>(&mut self, seed: T) -> Outcome<Option<T::Value>> {
        self.step += 1;
        let node = self.decoder.node;
        let number = |number: u32| IntoDeserializer::<Error>::into_deserializer(number);
        match self.step {
            1 => seed.deserialize(number(u32::from(node.place.file))).map(Some),
            2 => seed.deserialize(number(node.place.line)).map(Some),
            3 => seed.deserialize(number(node.place.column)).map(Some),
            4 => {
                let hidden = matches!(&node.value, Value::Scalar(scalar) if scalar.hidden);
                seed.deserialize(IntoDeserializer::<Error>::into_deserializer(hidden)).map(Some)
            }
            5 => seed.deserialize(self.decoder).map(Some),
            _ => Ok(None),
        }
    }
}

/// The name of a variant that has no content.
pub(super) struct Variant<'n>(pub(super) &'n str);

impl<'n> EnumAccess<'n> for Variant<'n> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'n>>(self, seed: V) -> Outcome<(V::Value, Self)> {
        let name: StrDeserializer<'_, Error> = self.0.into_deserializer();
        seed.deserialize(name).map(|value| (value, self))
    }
}

impl<'n> VariantAccess<'n> for Variant<'n> {
    type Error = Error;

    fn unit_variant(self) -> Outcome<()> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'n>>(self, _: T) -> Outcome<T::Value> {
        Err(serde::de::Error::custom("expected a name alone"))
    }

    fn tuple_variant<V: Visitor<'n>>(self, _: usize, _: V) -> Outcome<V::Value> {
        Err(serde::de::Error::custom("expected a name alone"))
    }

    fn struct_variant<V: Visitor<'n>>(self, _: &'static [&'static str], _: V) -> Outcome<V::Value> {
        Err(serde::de::Error::custom("expected a name alone"))
    }
}
