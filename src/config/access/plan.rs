//! What an edit gives and what it takes, in sentences: two states of access compared. Reads no configuration.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Access, Grant, KeyShift, Plan, Shift, Tools, WHERE, everybody};
use crate::ground::names::Pattern;

impl Plan {
    /// What goes from one configuration to another gives and takes. `now` decides which keys have ended.
    pub fn of(old: &Access, new: &Access, now: Timestamp) -> Self {
        let mut plan = Self { gateway: gateway(old, new), keys: Vec::new() };
        for (id, grant) in &new.keys {
            let known = old.keys.get(id);
            // A key that took the place of another: judged by what that one could.
            let replaced = old
                .keys
                .iter()
                .find(|(id, old)| old.name == grant.name && !new.keys.contains_key(*id))
                .map(|(_, old)| old)
                .filter(|_| known.is_none());
            let (what, before) = match (known, replaced) {
                (Some(known), _) => ("changed", Some(known)),
                (None, Some(replaced)) => ("replaced", Some(replaced)),
                (None, None) => ("new", None),
            };
            let shift = shift(before.unwrap_or(&Grant::nothing()), grant, now);
            if !shift.is_empty() || what != "changed" {
                let name = grant.name.clone();
                plan.keys.push(KeyShift { name, id: id.clone(), what, shift });
            }
        }
        for (id, grant) in old.keys.iter().filter(|(id, _)| !new.keys.contains_key(*id)) {
            if new.keys.values().any(|new| new.name == grant.name) {
                continue;
            }
            let shift = shift(grant, &Grant::nothing(), now);
            let name = grant.name.clone();
            plan.keys.push(KeyShift { name, id: id.clone(), what: "removed", shift });
        }
        plan.keys.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        plan
    }

    /// Whether anybody gains anything.
    pub fn widens(&self) -> bool {
        let all = self.keys.iter().map(|key| &key.shift).chain([&self.gateway]);
        all.into_iter().any(|shift| !shift.gains.is_empty())
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.gateway.is_empty()
    }
}

impl Shift {
    fn is_empty(&self) -> bool {
        self.gains.is_empty() && self.loses.is_empty()
    }
}

impl Grant {
    /// A key that is not there.
    fn nothing() -> Self {
        Self { is_blocked: true, ..Self::default() }
    }

    /// Whether it opens anything at all.
    fn is_in_force(&self, now: Timestamp) -> bool {
        !self.is_blocked && self.expires.is_none_or(|expires| expires > now)
    }
}

fn gateway(old: &Access, new: &Access) -> Shift {
    let mut shift = Shift::default();
    match (old.is_open, new.is_open) {
        (false, true) => shift.gains.push(
            "everybody who reaches the gateway may do everything: it has no key any more (a running \
             gateway refuses this edit)"
                .to_owned(),
        ),
        (true, false) => shift.loses.push("whoever has no key is not let in any more".to_owned()),
        _ => {}
    }
    match (&old.master, &new.master) {
        (None, Some(new)) if !old.is_open => {
            shift.gains.push(format!("a master key ({new}) that may do everything"));
        }
        (Some(old), None) => shift.loses.push(format!("the master key ({old})")),
        (Some(old), Some(new)) if old != new => {
            shift.gains.push(format!("another master key ({new}) may do everything"));
            shift.loses.push(format!("the master key ({old})"));
        }
        _ => {}
    }
    let reach = |address: &String| format!("other machines reach {address}");
    shift.gains.extend(new.exposed.difference(&old.exposed).map(reach));
    shift.loses.extend(old.exposed.difference(&new.exposed).map(reach));
    let pages = |origin: &String| format!("pages of {origin} may call /mcp");
    let wider = uncovered(&new.origins, &old.origins);
    shift.gains.extend(wider.into_iter().map(pages));
    let narrower = uncovered(&old.origins, &new.origins);
    shift.loses.extend(narrower.into_iter().map(pages));
    everybody::compare(old, new, &mut shift);
    shift
}

/// Those of a list that no pattern of another covers.
pub(super) fn uncovered<'l>(
    list: impl IntoIterator<Item = &'l String>,
    by: impl IntoIterator<Item = &'l String> + Clone,
) -> Vec<&'l String> {
    let covers = |text: &String| {
        by.clone().into_iter().any(|pattern| pattern == text || Pattern::new(pattern).matches(text))
    };
    list.into_iter().filter(|text| !covers(text)).collect()
}

/// What becomes of one key.
fn shift(old: &Grant, new: &Grant, now: Timestamp) -> Shift {
    let mut shift = Shift::default();
    let (was, is) = (old.is_in_force(now), new.is_in_force(now));
    // What a key may not use because it does not open, it does not have.
    let nothing = Grant::nothing();
    let (before, after) = (if was { old } else { &nothing }, if is { new } else { &nothing });
    if was != is && old.is_blocked != new.is_blocked && !old.name.is_empty() && !new.name.is_empty()
    {
        let (list, text) = match is {
            true => (&mut shift.gains, "is not blocked any more"),
            false => (&mut shift.loses, "is blocked"),
        };
        list.push(text.to_owned());
    }
    let model = |name: &String| format!("model {name}");
    let mut models = uncovered(&after.models, &before.models);
    // One that answers where another fails is nothing new to whom it answered anyway.
    models.retain(|name| {
        let itself = name.split(WHERE).next().unwrap_or(name).to_owned();
        !name.contains(WHERE) || !uncovered([&itself], &before.models).is_empty()
    });
    shift.gains.extend(models.into_iter().map(model));
    shift.loses.extend(uncovered(&before.models, &after.models).into_iter().map(model));
    for (name, tools) in &after.servers {
        match before.servers.get(name) {
            None => shift.gains.push(format!("MCP server {name}{}", tools.described())),
            Some(known) => {
                shift
                    .gains
                    .extend(known.wider(tools).into_iter().map(|it| format!("{name}: {it}")));
                shift
                    .loses
                    .extend(tools.wider(known).into_iter().map(|it| format!("{name}: {it}")));
            }
        }
    }
    for name in before.servers.keys().filter(|name| !after.servers.contains_key(*name)) {
        shift.loses.push(format!("MCP server {name}"));
    }
    if was && is {
        limits(old, new, &mut shift);
        match (old.expires, new.expires) {
            (Some(old), None) => shift.gains.push(format!("does not end any more (was {old})")),
            (Some(old), Some(new)) if new > old => {
                shift.gains.push(format!("ends {new} (was {old})"));
            }
            (None, Some(new)) => shift.loses.push(format!("ends {new}")),
            (Some(old), Some(new)) if new < old => {
                shift.loses.push(format!("ends {new} (was {old})"));
            }
            _ => {}
        }
        if old.default_tools != new.default_tools {
            let list = if new.default_tools { &mut shift.gains } else { &mut shift.loses };
            list.push("its tools in every request".to_owned());
        }
    }
    shift
}

fn limits(old: &Grant, new: &Grant, shift: &mut Shift) {
    let names: BTreeSet<&String> = old.limits.keys().chain(new.limits.keys()).collect();
    for name in names {
        match (old.limits.get(name), new.limits.get(name)) {
            (Some(old), None) => shift.gains.push(format!("{name}: no limit (was {old})")),
            (None, Some(new)) => shift.loses.push(format!("{name}: {new} (was no limit)")),
            (Some(old), Some(new)) if new > old => {
                shift.gains.push(format!("{name}: {new} (was {old})"));
            }
            (Some(old), Some(new)) if new < old => {
                shift.loses.push(format!("{name}: {new} (was {old})"));
            }
            _ => {}
        }
    }
}

impl Tools {
    fn described(&self) -> String {
        let mut text = match &self.allowed {
            None => String::new(),
            Some(allowed) => format!(", tools {}", allowed.join(", ")),
        };
        if !self.disallowed.is_empty() {
            text.push_str(&format!(", without {}", self.disallowed.join(", ")));
        }
        text
    }

    /// What another gives that this one does not.
    fn wider(&self, other: &Self) -> Vec<String> {
        let mut wider = Vec::new();
        match (&self.allowed, &other.allowed) {
            (Some(_), None) => wider.push("all its tools".to_owned()),
            (Some(own), Some(other)) => {
                let more = uncovered(other, own);
                wider.extend(more.into_iter().map(|tool| format!("tool {tool}")));
            }
            (None, _) => {}
        }
        let freed = uncovered(&self.disallowed, &other.disallowed);
        wider.extend(freed.into_iter().map(|tool| format!("tool {tool}, held back before")));
        for (tool, params) in &self.params {
            match other.params.get(tool) {
                None => wider.push(format!("all parameters of {tool}")),
                Some(other) => {
                    let more = other.iter().filter(|param| !params.contains(param));
                    wider.extend(more.map(|param| format!("parameter {param} of {tool}")));
                }
            }
        }
        if self.is_pinned && !other.is_pinned {
            wider.push("tools whose definition changed are not held back any more".to_owned());
        }
        wider
    }
}
