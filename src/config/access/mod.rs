//! Who may use what: for each key the models, MCP servers and tools that it reaches, and its limits; and what an edit gives or takes.
//! Where it cannot be decided whether something is more than before, it is taken for more.

mod everybody;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::outline::Seals;
use super::snapshot::{Key, McpServer, Snapshot};
use crate::ground::names::Pattern;

/// Between a model and the one in whose place it answers.
const WHERE: &str = ", where ";

/// What a configuration lets whom do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Access {
    /// There is no key at all: whoever reaches it is let in.
    pub is_open: bool,
    /// The id of the master key.
    pub master: Option<String>,
    /// Addresses that others than this machine reach.
    pub exposed: BTreeSet<String>,
    /// The address of `/admin`, where it is not that of clients.
    pub admin: Option<String>,
    /// The address at which `/metrics` is read without a key.
    pub open_metrics: Option<String>,
    /// Origins that pages may call `/mcp` from.
    pub origins: BTreeSet<String>,
    /// What answers to the models' public names, patterns among them.
    pub answers: BTreeMap<String, BTreeSet<String>>,
    /// What is the same for all who may use an MCP server, by its name.
    pub servers: BTreeMap<String, Server>,
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

/// An MCP server as all meet it who may use it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Its URL or its program, without what may be secret.
    pub way: String,
    /// A sealed digest of all that decides which server it is and as whom it is asked.
    pub identity: String,
    /// Headers of the client's that are passed on.
    pub forwarded: BTreeSet<String>,
    /// The only directories that it may use; none: all.
    pub paths: BTreeSet<String>,
    /// The only hosts that it may be at or lead to.
    pub hosts: BTreeSet<String>,
    /// How widely a session of it is shared: 0 within a client's session, 1 among those of a key, 2 by all.
    pub sharing: u8,
    /// The model that it may ask.
    pub sampling: Option<String>,
    /// With `pin: enforce`, the accepted tools and the digests of their definitions.
    pub pins: Option<BTreeMap<String, String>>,
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
    /// What a snapshot lets whom do. What is sealed can be compared with what was sealed alike.
    pub fn of(snapshot: &Snapshot, seals: &Seals) -> Self {
        let listeners = [Some(snapshot.listen), snapshot.admin_listen];
        let exposed = listeners.into_iter().flatten().filter(|it| !it.ip().is_loopback());
        let origins = snapshot.mcp.allowed_origins.iter();
        let keys = snapshot.keys.virtual_keys.values();
        Self {
            is_open: snapshot.keys.is_open(),
            master: snapshot.keys.master.map(|master| master.id()),
            exposed: exposed.map(|address| address.to_string()).collect(),
            admin: snapshot.admin_listen.map(|address| address.to_string()),
            open_metrics: everybody::open_metrics(snapshot),
            answers: everybody::answers(snapshot),
            servers: everybody::servers(snapshot, seals),
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
    key.limits.max_budget?;
    // One that nothing renews is the least.
    let period = key.limits.budget_duration.map_or(0.0, |period| period.as_secs_f64());
    Some(if period > 0.0 { (365.0 * 86_400.0 / period).round() } else { 0.0 })
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
    names.extend(fallbacks(key, snapshot));
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

/// Models that answer where one fails that the key may ask for. It may not ask for these themselves, and nobody looks at that then.
fn fallbacks(key: &Key, snapshot: &Snapshot) -> BTreeSet<String> {
    let routing = &snapshot.routing;
    let mut names = BTreeSet::new();
    let mut add = |from: &str, others: &[String]| {
        let others = others.iter().filter(|other| !key.allows_model(other));
        names.extend(others.map(|other| format!("{other}{WHERE}{from} fails")));
    };
    let reaches = |from: &str| key.allows_model(from) || key.aliases.values().any(|it| it == from);
    for (from, others) in &routing.fallbacks {
        match from.as_str() {
            "*" if !key.models.is_empty() => add("another", others),
            from if reaches(from) => add(from, others),
            _ => {}
        }
    }
    if !key.models.is_empty() {
        add("another", &routing.default_fallbacks);
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
