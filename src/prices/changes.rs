//! What one table of prices says otherwise than another, and what of that looks like a mistake. Decides nothing.

use std::collections::BTreeMap;

use super::component::{Price, Slot};
use super::table::Table;
use crate::ground::usd::Usd;

/// A price that is this many times another is looked at by a person first.
const JUMP: u64 = 5;

/// The difference of two tables.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<Change>,
}

/// A price of a model that both have.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub model: String,
    pub slot: Slot,
    pub before: Option<Usd>,
    pub after: Option<Usd>,
}

impl Changes {
    pub fn between(before: &Table, after: &Table) -> Self {
        let mut old: BTreeMap<&str, Vec<Price>> = before.models().collect();
        let mut changes = Self::default();
        for (model, new) in after.models() {
            match old.remove(model) {
                None => changes.added.push(model.to_owned()),
                Some(prices) => changes.compare(model, &prices, &new),
            }
        }
        changes.removed = old.into_keys().map(str::to_owned).collect();
        changes
    }

    fn compare(&mut self, model: &str, old: &[Price], new: &[Price]) {
        let of = |list: &[Price], slot| list.iter().find(|it| it.slot == slot).map(|it| it.usd);
        let gone = old.iter().filter(|price| of(new, price.slot).is_none());
        for slot in new.iter().chain(gone).map(|price| price.slot) {
            let (before, after) = (of(old, slot), of(new, slot));
            if before != after {
                self.changed.push(Change { model: model.to_owned(), slot, before, after });
            }
        }
    }

    /// Prices that grew or shrank more than fivefold, or began or ceased to be nothing.
    pub fn jumps(&self) -> impl Iterator<Item = &Change> {
        self.changed.iter().filter(|change| {
            let (Some(before), Some(after)) = (change.before, change.after) else { return false };
            after > before.times(JUMP) || before > after.times(JUMP)
        })
    }

    /// Whether most models are gone: then it is another kind of file, or a part of one.
    pub fn loses_most(&self, before: &Table) -> bool {
        self.removed.len() * 2 > before.len()
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = |usd: Option<Usd>| usd.map_or_else(|| "none".to_owned(), |usd| usd.to_string());
        let Self { model, slot, before, after } = self;
        write!(f, "{model} {slot}: {} -> {}", told(*before), told(*after))
    }
}
