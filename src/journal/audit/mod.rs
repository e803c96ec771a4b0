//! The audit log as values: an act, the entry that it becomes, and the chain of digests that shows whether entries were changed or
//! taken out. Each SQLite file has a chain of its own; PostgreSQL holds copies of all. Knows no file and no server: that is `store`
//! and `read`.

pub mod read;
pub(super) mod store;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::columns::{self, clean};

/// Entries that a file keeps at least; the triggers of its table say the same.
pub(super) const KEPT: i64 = 100_000;
/// What stands before the first entry of a chain.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Bytes of what was so before, or after.
const VALUE_LIMIT: usize = 64 * 1024;
/// Bytes of any other text.
const TEXT_LIMIT: usize = 1024;

/// How an act came to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file was edited.
    File,
    /// SIGHUP, SIGTERM or SIGINT.
    Signal,
    /// A request below `/admin`.
    AdminApi,
    /// The gateway itself.
    Gateway,
}

/// Something that was done, or refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// Who: `operator` for whoever can write the files or send signals, `master key`, `gateway`.
    pub actor: &'static str,
    pub source: Source,
    /// `start`, `stop`, `reload`, `reload_request`, `pins` or `migrate`.
    pub action: &'static str,
    /// What it was done to.
    pub object: String,
    /// `done` or `refused`.
    pub outcome: &'static str,
    /// What was so before, without secrets.
    pub before: Option<Value>,
    /// What is so since, or why not.
    pub after: Option<Value>,
    /// The hash of the configuration in force after it.
    pub config_sha256: Option<String>,
}

/// One entry of the log, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The chain's id: a UUID, made with the file.
    pub chain: String,
    /// Counted from 1 within the chain, without gaps.
    pub seq: i64,
    /// Microseconds since 1970 UTC.
    #[serde(serialize_with = "as_time")]
    pub at: i64,
    pub instance: String,
    pub actor: String,
    pub source: String,
    pub action: String,
    pub object: String,
    pub outcome: String,
    /// JSON.
    pub before: Option<String>,
    /// JSON.
    pub after: Option<String>,
    pub config_sha256: Option<String>,
    /// The `hash` of the entry before it; zeros for the first.
    pub prev_hash: String,
    /// SHA-256, in hex, over all of the above.
    pub hash: String,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Signal => "signal",
            Self::AdminApi => "admin_api",
            Self::Gateway => "gateway",
        }
    }
}

impl Act {
    /// Something that was done by whoever can write the configuration.
    pub fn new(action: &'static str, source: Source, object: impl Into<String>) -> Self {
        let actor = match source {
            Source::File | Source::Signal => "operator",
            Source::AdminApi => "master key",
            Source::Gateway => "gateway",
        };
        Self {
            actor,
            source,
            action,
            object: object.into(),
            outcome: "done",
            before: None,
            after: None,
            config_sha256: None,
        }
    }

    /// The same line in the log, so that the loss of a database cannot hide it.
    pub(super) fn log(&self) {
        let Self { actor, source, action, object, outcome, after, config_sha256, .. } = self;
        let after = after.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::info!(
            event = "audit",
            action,
            outcome,
            actor,
            source = source.as_str(),
            object,
            after,
            config_sha256 = config_sha256.as_deref().unwrap_or_default(),
            "audit"
        );
    }

    /// The entry that follows `last`; `chain` where there is none.
    pub(super) fn entry(
        &self,
        last: Option<&Entry>,
        chain: impl FnOnce() -> String,
        at: i64,
        instance: &str,
    ) -> Entry {
        let text = |text: &str| clean(text, TEXT_LIMIT).into_owned();
        let json = |value: &Option<Value>| {
            let value = value.as_ref()?;
            let whole = value.to_string();
            // JSON that is cut is none any more.
            let fits = whole.len() <= VALUE_LIMIT;
            let cut = || serde_json::json!({ "left_out": "too long", "bytes": whole.len() });
            Some(if fits { clean(&whole, VALUE_LIMIT).into_owned() } else { cut().to_string() })
        };
        let mut entry = Entry {
            chain: last.map_or_else(chain, |last| last.chain.clone()),
            seq: last.map_or(1, |last| last.seq.saturating_add(1)),
            at,
            instance: text(instance),
            actor: self.actor.to_owned(),
            source: self.source.as_str().to_owned(),
            action: self.action.to_owned(),
            object: text(&self.object),
            outcome: self.outcome.to_owned(),
            before: json(&self.before),
            after: json(&self.after),
            config_sha256: self.config_sha256.clone(),
            prev_hash: last.map_or_else(|| NOTHING.to_owned(), |last| last.hash.clone()),
            hash: String::new(),
        };
        entry.hash = entry.digest();
        entry
    }
}

impl Entry {
    /// SHA-256 over every field before `hash`, in the order of the table: each as one byte, 0 for null and 1 for a text, and then
    /// the text's length in bytes (64 bits, little end first) and the text. Numbers are decimal texts; `at` is in microseconds.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        let (seq, at) = (self.seq.to_string(), self.at.to_string());
        for field in [
            Some(&self.chain),
            Some(&seq),
            Some(&at),
            Some(&self.instance),
            Some(&self.actor),
            Some(&self.source),
            Some(&self.action),
            Some(&self.object),
            Some(&self.outcome),
            self.before.as_ref(),
            self.after.as_ref(),
            self.config_sha256.as_ref(),
            Some(&self.prev_hash),
        ] {
            digest.update([u8::from(field.is_some())]);
            if let Some(text) = field {
                digest.update((text.len() as u64).to_le_bytes());
                digest.update(text.as_bytes());
            }
        }
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What is wrong with the entries, a sentence each; empty when every chain is whole. Entries of a store come sorted by chain and
/// number; `file` is the SQLite file, `server` PostgreSQL, where there is one.
pub fn verify(file: &[Entry], server: Option<&[Entry]>) -> Vec<String> {
    let mut findings = Vec::new();
    whole("the file", file, &mut findings);
    let Some(server) = server else { return findings };
    whole("PostgreSQL", server, &mut findings);
    let copies: BTreeMap<(&str, i64), &Entry> =
        server.iter().map(|entry| ((entry.chain.as_str(), entry.seq), entry)).collect();
    for entry in file {
        let copy = copies.get(&(entry.chain.as_str(), entry.seq));
        if copy.is_some_and(|copy| copy.hash != entry.hash) {
            findings.push(format!(
                "entry {} of chain {} is not the same in the file and in PostgreSQL",
                entry.seq, entry.chain
            ));
        }
    }
    for (chain, last) in ends(file) {
        let copied = server.iter().filter(|entry| entry.chain == chain).map(|entry| entry.seq);
        if let Some(copied) = copied.max().filter(|copied| *copied > last) {
            findings.push(format!(
                "the file ends with entry {last} of chain {chain}, and PostgreSQL has {copied}: the \
                 file lost its end, or is an older copy"
            ));
        }
    }
    findings
}

/// The last number of each chain.
fn ends(entries: &[Entry]) -> BTreeMap<&str, i64> {
    let mut ends = BTreeMap::new();
    for entry in entries {
        let last = ends.entry(entry.chain.as_str()).or_insert(entry.seq);
        *last = entry.seq.max(*last);
    }
    ends
}

/// Whether each chain of a store is whole.
fn whole(store: &str, entries: &[Entry], findings: &mut Vec<String>) {
    let ends = ends(entries);
    let mut last: Option<&Entry> = None;
    for entry in entries {
        let Entry { chain, seq, .. } = entry;
        let before = last.filter(|last| last.chain == *chain);
        match before {
            None if *seq == 1 && entry.prev_hash != NOTHING => {
                findings.push(format!("{store}: entry 1 of chain {chain} names one before it"));
            }
            None if *seq > 1 => {
                // A file that has more than it keeps loses its oldest.
                let end = ends.get(chain.as_str()).copied().unwrap_or(*seq);
                if end - seq + 1 < KEPT {
                    findings.push(format!(
                        "{store}: entries 1 to {} of chain {chain} are missing",
                        seq - 1
                    ));
                }
            }
            Some(before) if before.seq + 1 != *seq => findings.push(format!(
                "{store}: entries {} to {} of chain {chain} are missing",
                before.seq + 1,
                seq - 1
            )),
            Some(before) if before.hash != entry.prev_hash => findings.push(format!(
                "{store}: entry {seq} of chain {chain} does not follow the one before it: one of \
                 them was changed"
            )),
            _ => {}
        }
        if entry.digest() != entry.hash {
            findings.push(format!(
                "{store}: entry {seq} of chain {chain} does not have the hash of what it says: it \
                 was changed"
            ));
        }
        last = Some(entry);
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn as_time<S: serde::Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    match columns::rfc3339(*micros) {
        Some(time) => serializer.serialize_str(&time),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(name: &str, length: i64) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for at in 0..length {
            let act = Act::new("reload", Source::File, "config.yaml");
            let entry = act.entry(entries.last(), || name.to_owned(), at, "host");
            entries.push(entry);
        }
        entries
    }

    #[test]
    fn a_whole_chain_is_whole() {
        let mut both = chain("a", 5);
        assert_eq!(verify(&both, None), [""; 0]);
        assert_eq!(verify(&both[..0], Some(&both)), [""; 0]);
        // What waits to be copied is no finding.
        assert_eq!(verify(&both, Some(&both[..3])), [""; 0]);
        both.extend(chain("b", 3));
        assert_eq!(verify(&both, Some(&both)), [""; 0]);
    }

    #[track_caller]
    fn check(change: impl Fn(&mut Vec<Entry>), expected: &str) {
        let mut entries = chain("a", 5);
        change(&mut entries);
        let findings = verify(&entries, Some(&chain("a", 5))).join("; ");
        assert!(findings.contains(expected), "{findings}");
    }

    #[test]
    fn what_was_done_to_a_chain_shows() {
        check(|all| all[2].object = "other".into(), "entry 3 of chain a does not have the hash");
        check(|all| drop(all.remove(2)), "entries 3 to 3 of chain a are missing");
        check(|all| drop(all.remove(0)), "entries 1 to 1 of chain a are missing");
        check(|all| all.truncate(3), "the file ends with entry 3");
        // Whoever writes the hash anew has to write all that follow.
        let forge = |all: &mut Vec<Entry>| {
            all[2].object = "other".into();
            all[2].hash = all[2].digest();
        };
        check(forge, "entry 4 of chain a does not follow");
        check(forge, "is not the same in the file and in PostgreSQL");
    }
}
