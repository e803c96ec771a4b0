//! Who may use what: for each key the models, MCP servers and tools that it reaches, and its limits; and what an edit gives or takes.
//! Where it cannot be decided whether something is more than before, it is taken for more.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::snapshot::{Key, McpServer, Snapshot};
use crate::ground::names::Pattern;

/// What a configuration lets whom do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Access {
    /// There is no key at all: whoever reaches it is let in.
    pub is_open: bool,
    /// The id of the master key.
    pub master: Option<String>,
    /// Addresses that others than this machine reach.
    pub exposed: BTreeSet<String>,
    /// Origins that pages may call `/mcp` from.
    pub origins: BTreeSet<String>,
    /// By id.
    pub keys: BTreeMap<String, Grant>,
}

/// What one key may do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// Its alias, else its id.
    pub name: String,
    pub is_blocked: bool,
    pub expires: Option<Timestamp>,
    /// Names that it may ask for, as patterns where a wildcard answers; with `→` before what an alias stands for.
    pub models: BTreeSet<String>,
    /// By the server's name.
    pub servers: BTreeMap<String, Tools>,
    /// Every limit that the key has, by its name in the file; absent: no limit.
    pub limits: BTreeMap<String, f64>,
    pub default_tools: bool,
}

/// Which tools of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tools {
    /// `None`: all.
    pub allowed: Option<Vec<String>>,
    pub disallowed: Vec<String>,
    /// Tool → the only parameters that may be given to it.
    pub params: BTreeMap<String, Vec<String>>,
    /// Held back when its definition changed: `pin: enforce`.
    pub is_pinned: bool,
}

/// What an edit gives and takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// What holds for everybody.
    pub gateway: Shift,
    /// Keys that gain or lose something, by name.
    pub keys: Vec<KeyShift>,
}

/// What one key gains and loses.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct KeyShift {
    pub name: String,
    pub id: String,
    /// `new`, `removed`, `replaced` (another key with the same alias) or `changed`.
    pub what: &'static str,
    #[serde(flatten)]
    pub shift: Shift,
}

/// Sentences, sorted by what they mean.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Shift {
    pub gains: Vec<String>,
    pub loses: Vec<String>,
}

impl Access {
    /// What a snapshot lets whom do.
    pub fn of(snapshot: &Snapshot) -> Self {
        let listeners = [Some(snapshot.listen), snapshot.admin_listen];
        let exposed = listeners.into_iter().flatten().filter(|it| !it.ip().is_loopback());
        let origins = snapshot.mcp.allowed_origins.iter();
        let keys = snapshot.keys.virtual_keys.values();
        Self {
            is_open: snapshot.keys.is_open(),
            master: snapshot.keys.master.map(|master| master.id()),
            exposed: exposed.map(|address| address.to_string()).collect(),
            origins: origins.map(|origin| origin.as_str().to_owned()).collect(),
            keys: keys.map(|key| (key.id.clone(), grant(key, snapshot))).collect(),
        }
    }
}

fn grant(key: &Key, snapshot: &Snapshot) -> Grant {
    let servers = snapshot.mcp_servers.values();
    let servers = servers.filter(|server| Snapshot::allows_mcp_server(key, server));
    let tool_limits = key.tool_limits.over(snapshot.tool_limits);
    #[expect(clippy::cast_precision_loss, reason = "only compared")]
    let limits = [
        ("rpm_limit", key.limits.rpm_limit.map(|limit| limit as f64)),
        ("tpm_limit", key.limits.tpm_limit.map(|limit| limit as f64)),
        ("max_parallel_requests", key.limits.max_parallel_requests.map(|limit| limit as f64)),
        ("max_budget", key.limits.max_budget),
        // A longer period of the same budget is less of it.
        ("budgets in a year", per_year(key)),
        ("max_tool_rounds", Some(f64::from(tool_limits.max_rounds()))),
        ("max_tool_calls", Some(f64::from(tool_limits.max_calls()))),
        ("max_tool_seconds", Some(tool_limits.max_time().as_secs_f64())),
        ("max_tool_tokens", tool_limits.tokens.map(|tokens| tokens as f64)),
    ];
    Grant {
        name: key.display_name().to_owned(),
        is_blocked: key.blocked,
        expires: key.expires,
        models: models(key, snapshot),
        servers: servers.map(|server| (server.name.clone(), tools(server))).collect(),
        limits: limits
            .into_iter()
            .filter_map(|(name, limit)| Some((name.to_owned(), limit?)))
            .collect(),
        default_tools: key.default_tools,
    }
}

fn per_year(key: &Key) -> Option<f64> {
    let period = key.limits.budget_duration?.as_secs_f64();
    key.limits.max_budget.filter(|_| period > 0.0).map(|_| (365.0 * 86_400.0 / period).round())
}

/// The names under which a key reaches models.
fn models(key: &Key, snapshot: &Snapshot) -> BTreeSet<String> {
    let models = &snapshot.models;
    let mut names: BTreeSet<String> = models
        .names()
        .filter(|name| key.allows_model(name))
        .map(|name| match models.aliases.get(name) {
            Some(target) if !models.groups.contains_key(name) => format!("{name} → {target}"),
            _ => name.to_owned(),
        })
        .collect();
    for (alias, target) in &key.aliases {
        if key.allows_model(alias) || key.allows_model(target) {
            names.insert(format!("{alias} → {target}"));
        }
    }
    for (group, _) in &models.wildcards {
        for own in &key.models {
            if own.matches(group.as_str()) {
                names.insert(group.as_str().to_owned());
            } else if group.matches(own.as_str()) {
                names.insert(own.as_str().to_owned());
            } else if own.is_wild() && may_overlap(own, group) {
                names.insert(format!("{} ∩ {}", group.as_str(), own.as_str()));
            }
        }
    }
    names
}

/// Whether some name may fit both: their fixed beginnings do not exclude each other.
fn may_overlap(one: &Pattern, other: &Pattern) -> bool {
    let fixed = |pattern: &Pattern| -> String {
        pattern.as_str().split('*').next().unwrap_or_default().to_owned()
    };
    let (one, other) = (fixed(one), fixed(other));
    one.starts_with(&other) || other.starts_with(&one)
}

fn tools(server: &McpServer) -> Tools {
    let texts = |patterns: &[Pattern]| -> Vec<String> {
        patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect()
    };
    Tools {
        allowed: server.allowed_tools.as_deref().map(texts),
        disallowed: texts(&server.disallowed_tools),
        params: server.allowed_params.clone(),
        is_pinned: server.pin == super::snapshot::Pin::Enforce,
    }
}

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
    shift
}

/// Those of a list that no pattern of another covers.
fn uncovered<'l>(
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
    shift.gains.extend(uncovered(&after.models, &before.models).into_iter().map(model));
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{LoadOptions, ProcessEnvironment, load};
    use super::*;

    fn access(text: &str) -> Access {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        std::fs::write(&path, text).unwrap();
        let loaded = load(Path::new(&path), &ProcessEnvironment, &LoadOptions::default());
        let problems = loaded.problems;
        Access::of(&loaded.snapshot.unwrap_or_else(|| panic!("{problems:?}")))
    }

    const BASE: &str = "\
model_list:
- {model_name: a, litellm_params: {model: mock}}
- {model_name: b, litellm_params: {model: mock}}
- {model_name: openai/*, litellm_params: {model: mock}}
mcp_servers:
  db: {url: 'http://127.0.0.1:1/mcp', allowed_tools: [read_*]}
  fs: {url: 'http://127.0.0.1:2/mcp'}
virtual_keys:
- {api_key: sk-one-0123456789-0123456789, key_alias: one, models: [a], mcp_servers: [db], rpm_limit: 10}
- {api_key: sk-two-0123456789-0123456789, key_alias: two, models: ['*']}
";

    /// The lines of a plan from the base to an edit of it: `+` gains, `-` loses.
    #[track_caller]
    fn check(from: &str, to: &str, expected: &[&str]) {
        assert!(BASE.contains(from), "{from}");
        let (old, new) = (access(BASE), access(&BASE.replacen(from, to, 1)));
        let plan = Plan::of(&old, &new, Timestamp::now());
        let mut lines = Vec::new();
        let mut tell = |name: &str, shift: &Shift| {
            lines.extend(shift.gains.iter().map(|text| format!("+ {name}: {text}")));
            lines.extend(shift.loses.iter().map(|text| format!("- {name}: {text}")));
        };
        tell("gateway", &plan.gateway);
        plan.keys.iter().for_each(|key| tell(&format!("{} {}", key.name, key.what), &key.shift));
        assert_eq!(lines, expected);
        assert_eq!(plan.widens(), expected.iter().any(|line| line.starts_with('+')));
    }

    #[test]
    fn an_edit_shows_who_gains_and_who_loses() {
        check("rpm_limit: 10", "rpm_limit: 10 ", &[]);
        check("models: [a]", "models: [a, b]", &["+ one changed: model b"]);
        check("models: [a]", "models: [b]", &["+ one changed: model b", "- one changed: model a"]);
        check(
            "models: ['*']",
            "models: ['openai/gpt*']",
            &["- two changed: model a", "- two changed: model b", "- two changed: model openai/*"],
        );
        check("mcp_servers: [db]", "mcp_servers: [db, fs]", &["+ one changed: MCP server fs"]);
        check(
            "allowed_tools: [read_*]",
            "allowed_tools: ['read_rows']",
            &["- one changed: db: tool read_*"],
        );
        check("allowed_tools: [read_*]", "allowed_tools: ['*']", &["+ one changed: db: tool *"]);
        // What is not said is not without limit.
        check(
            "rpm_limit: 10",
            "rpm_limit: 10, max_tool_rounds: 20, max_tool_seconds: 60",
            &[
                "+ one changed: max_tool_rounds: 20 (was 16)",
                "- one changed: max_tool_seconds: 60 (was 600)",
            ],
        );
        check("rpm_limit: 10", "rpm_limit: 20", &["+ one changed: rpm_limit: 20 (was 10)"]);
        check(
            "rpm_limit: 10",
            "rpm_limit: 5, expires: 2099-01-01",
            &["- one changed: rpm_limit: 5 (was 10)", "- one changed: ends 2099-01-02T00:00:00Z"],
        );
        check(
            "rpm_limit: 10",
            "blocked: true",
            &[
                "- one changed: is blocked",
                "- one changed: model a",
                "- one changed: MCP server db",
            ],
        );
        // Another key in the place of one: nobody gains.
        check("sk-one-0123456789-0123456789", "sk-new-0123456789-0123456789", &[]);
        check(
            "sk-one-0123456789-0123456789, key_alias: one",
            "sk-new-0123456789-0123456789, key_alias: new",
            &[
                "+ new new: model a",
                "+ new new: MCP server db, tools read_*",
                "- one removed: model a",
                "- one removed: MCP server db",
            ],
        );
        check(
            "virtual_keys:",
            "general_settings: {listen: '0.0.0.0:4000'}\nvirtual_keys:",
            &["+ gateway: other machines reach 0.0.0.0:4000"],
        );
    }

    #[test]
    fn the_loss_of_the_last_key_opens_the_gateway() {
        let open = BASE.split("virtual_keys:").next().unwrap();
        let plan = Plan::of(&access(BASE), &access(open), Timestamp::now());
        assert!(plan.widens());
        assert!(plan.gateway.gains[0].contains("no key any more"));
    }
}
