//! A server's list as clients see it: only what its entry allows, under names of which none is another's, with the
//! descriptions that the entry gives. Made once for each list and kept with the slot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::pool::catalogue::{Entry, Kind, Listing};
use crate::config::snapshot::{McpServer, Pin};
use crate::conversation::Json;
use crate::wire::mcp::lock::{Lock, Verdict};
use crate::wire::mcp::{edit, names};

/// What clients see of one list.
#[derive(Debug, Default)]
pub struct Offers {
    pub entries: Vec<Offer>,
    by_name: HashMap<String, usize>,
    /// Tools that are held back, because they are not what was pinned.
    pub held_back: Vec<String>,
}

/// One entry as clients see it.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Its name for clients.
    pub name: String,
    /// Its name for the server.
    pub own: String,
    /// The entry, with the name for clients.
    pub definition: Json,
}

impl Offers {
    /// The entry with a name for clients.
    pub fn find(&self, name: &str) -> Option<&Offer> {
        self.entries.get(*self.by_name.get(name)?)
    }

    fn build(
        kind: Kind,
        listing: &Listing,
        server: &McpServer,
        lock: &Lock,
        is_plain: bool,
    ) -> Self {
        let mut held_back = Vec::new();
        let is_tool = kind == Kind::Tools;
        let visible: Vec<&Entry> = listing
            .entries
            .iter()
            .filter(|entry| !is_tool || server.allows_tool(&entry.name))
            .filter(|entry| {
                let is_held = is_tool && is_held_back(server, entry, lock);
                if is_held {
                    held_back.push(entry.name.clone());
                }
                !is_held
            })
            .collect();
        let called: Vec<&str> = visible
            .iter()
            .map(|entry| {
                let renamed = server.tool_names.get(&entry.name).filter(|_| is_tool);
                renamed.unwrap_or(&entry.name).as_str()
            })
            .collect();
        let exposed = match kind {
            Kind::Tools | Kind::Prompts => {
                names::expose(if is_plain { "" } else { &server.prefix }, &called)
            }
            Kind::Resources | Kind::Templates => called.iter().map(ToString::to_string).collect(),
        };
        let entries: Vec<Offer> = visible
            .into_iter()
            .zip(exposed)
            .map(|(entry, name)| {
                let mut definition = entry.definition.clone();
                if name != entry.name {
                    definition = edit::set(&definition, &[kind.key()], Json::of(&name).as_str());
                }
                if is_tool {
                    definition = adapted(definition, server, &entry.name);
                }
                Offer { name, own: entry.name.clone(), definition }
            })
            .collect();
        let mut by_name = HashMap::with_capacity(entries.len());
        for (at, offer) in entries.iter().enumerate() {
            by_name.entry(offer.name.clone()).or_insert(at);
        }
        Self { entries, by_name, held_back }
    }
}

/// What the entry changes of a tool.
fn adapted(mut definition: Json, server: &McpServer, name: &str) -> Json {
    if let Some(text) = server.tool_descriptions.get(name) {
        definition = edit::set(&definition, &["description"], Json::of(text).as_str());
    }
    let Some(allowed) = server.allowed_params.get(name) else { return definition };
    let properties: Option<serde_json::Map<String, serde_json::Value>> =
        edit::read(&definition, &["inputSchema", "properties"]);
    for property in properties.iter().flat_map(|properties| properties.keys()) {
        if !allowed.contains(property) {
            definition = edit::remove(&definition, &["inputSchema", "properties", property]);
        }
    }
    let required: Option<Vec<String>> = edit::read(&definition, &["inputSchema", "required"]);
    if let Some(required) = required {
        let left: Vec<String> =
            required.into_iter().filter(|name| allowed.contains(name)).collect();
        definition = edit::set(&definition, &["inputSchema", "required"], Json::of(&left).as_str());
    }
    definition
}

fn is_held_back(server: &McpServer, entry: &Entry, lock: &Lock) -> bool {
    if server.pin == Pin::Off {
        return false;
    }
    let verdict = lock.verdict(&server.name, &entry.definition);
    if verdict == Verdict::Pinned {
        return false;
    }
    let (server_name, tool) = (&server.name, &entry.name);
    match server.pin {
        Pin::Enforce => {
            tracing::warn!(
                server = server_name,
                tool,
                ?verdict,
                "a tool is held back: it is not what was pinned"
            );
            true
        }
        _ => {
            tracing::warn!(server = server_name, tool, ?verdict, "a tool is not what was pinned");
            false
        }
    }
}

/// Offers that were made, with what they were made of.
#[derive(Default)]
pub struct Kept(Mutex<Vec<Made>>);

/// As many as one slot needs: each list, with a prefix and without.
const MAX_KEPT: usize = 8;

struct Made {
    kind: Kind,
    is_plain: bool,
    listing: Arc<Listing>,
    server: Arc<McpServer>,
    lock: Arc<Lock>,
    offers: Arc<Offers>,
}

impl Kept {
    /// The offers of a list: those made before, where nothing of it changed.
    pub fn of(
        &self,
        kind: Kind,
        listing: &Arc<Listing>,
        server: &Arc<McpServer>,
        lock: &Arc<Lock>,
        is_plain: bool,
    ) -> Arc<Offers> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_for = |made: &Made| made.kind == kind && made.is_plain == is_plain;
        if let Some(made) = kept.iter().find(|made| is_for(made))
            && Arc::ptr_eq(&made.listing, listing)
            && Arc::ptr_eq(&made.server, server)
            && Arc::ptr_eq(&made.lock, lock)
        {
            return made.offers.clone();
        }
        let offers = Arc::new(Offers::build(kind, listing, server, lock, is_plain));
        kept.retain(|made| !is_for(made));
        kept.truncate(MAX_KEPT - 1);
        kept.push(Made {
            kind,
            is_plain,
            listing: listing.clone(),
            server: server.clone(),
            lock: lock.clone(),
            offers: offers.clone(),
        });
        offers
    }
}
