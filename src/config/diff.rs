//! What an edit changed, part by part: for the log, and to leave what did not change alone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::snapshot::{Key, McpServer, Models, Snapshot};

/// The names of one part's entries that came, went or changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<String>,
}

/// The difference between two snapshots. `Display` gives
/// `models +1 -0 ~2, keys +0 -1 ~0, mcp_servers unchanged`, and names the settings that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// By public name.
    pub models: Change,
    /// By alias, or by id.
    pub keys: Change,
    /// By name.
    pub mcp_servers: Change,
    /// Names of single parts that differ: `listen`, `routing`, `master_key` and so on.
    pub settings: Vec<&'static str>,
}

/// Compares two snapshots by what they say, not by how it was written.
pub fn diff(old: &Snapshot, new: &Snapshot) -> Diff {
    let settings = [
        ("listen", old.listen != new.listen),
        ("admin_listen", old.admin_listen != new.admin_listen),
        ("master_key", old.keys.master != new.keys.master),
        ("model_group_alias", old.models.aliases != new.models.aliases),
        ("routing", old.routing != new.routing),
        ("limits", old.limits != new.limits),
        ("request_log", old.request_log != new.request_log),
        ("diagnostics", old.diagnostics != new.diagnostics),
        ("metrics", old.metrics != new.metrics),
        ("telemetry", old.telemetry != new.telemetry),
    ];
    Diff {
        models: compare(&groups(&old.models), &groups(&new.models)),
        keys: keys(old, new),
        mcp_servers: compare(&servers(old), &servers(new)),
        settings: settings
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| name)
            .collect(),
    }
}

impl Change {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl Diff {
    pub fn is_empty(&self) -> bool {
        let parts = [&self.models, &self.keys, &self.mcp_servers];
        parts.into_iter().all(Change::is_empty) && self.settings.is_empty()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("unchanged");
        }
        let Self { added, removed, changed } = self;
        write!(f, "+{} -{} ~{}", added.len(), removed.len(), changed.len())
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { models, keys, mcp_servers, settings } = self;
        write!(f, "models {models}, keys {keys}, mcp_servers {mcp_servers}")?;
        if settings.is_empty() {
            return Ok(());
        }
        write!(f, ", settings changed: {}", settings.join(", "))
    }
}

fn groups(models: &Models) -> BTreeMap<String, &super::snapshot::Group> {
    let wild = models.wildcards.iter().map(|(_, group)| group);
    models.groups.values().chain(wild).map(|group| (group.name.clone(), &**group)).collect()
}

fn servers(snapshot: &Snapshot) -> BTreeMap<String, &McpServer> {
    snapshot.mcp_servers.iter().map(|(name, server)| (name.clone(), &**server)).collect()
}

/// Keys are compared by digest and told by name.
fn keys(old: &Snapshot, new: &Snapshot) -> Change {
    let by_digest = |snapshot: &Snapshot| -> BTreeMap<String, Arc<Key>> {
        let keys = snapshot.keys.virtual_keys.iter();
        keys.map(|(hash, key)| (hash.to_hex(), key.clone())).collect()
    };
    let (old, new) = (by_digest(old), by_digest(new));
    let by_name = |names: Vec<String>| -> Vec<String> {
        let key = |digest: &String| new.get(digest).or_else(|| old.get(digest));
        names.iter().filter_map(key).map(|key| key.display_name().to_owned()).collect()
    };
    let Change { added, removed, changed } = compare(&old, &new);
    Change { added: by_name(added), removed: by_name(removed), changed: by_name(changed) }
}

fn compare<T: PartialEq>(old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> Change {
    let missing = |from: &BTreeMap<String, T>, of: &BTreeMap<String, T>| -> Vec<String> {
        of.keys().filter(|name| !from.contains_key(*name)).cloned().collect()
    };
    let differs = |(name, value): (&String, &T)| {
        new.get(name).filter(|new| *new != value).map(|_| name.clone())
    };
    Change {
        added: missing(old, new),
        removed: missing(new, old),
        changed: old.iter().filter_map(differs).collect(),
    }
}
