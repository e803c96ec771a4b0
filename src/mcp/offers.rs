//! A server's list as clients see it: only what its entry allows, under names of which none is another's, with the
//! descriptions that the entry gives. Made once for each list and kept with the slot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::figures::Figures;
use super::pool::catalogue::{Entry, Kind, Listing};
use crate::config::snapshot::{McpServer, Pin};
use crate::conversation::Json;
use crate::wire::fields::Fields;
use crate::wire::mcp::lock::{Lock, Verdict};
use crate::wire::mcp::{edit, hidden, names};

/// Tools that one line of the log names.
const MAX_TOLD: usize = 20;

/// What clients see of one list.
#[derive(Debug, Default)]
pub struct Offers {
    pub entries: Vec<Offer>,
    by_name: HashMap<String, usize>,
    /// Tools that are not what was pinned, by the server's names; held back where the entry says so.
    pub unpinned: Vec<String>,
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
        let mut unpinned = Vec::new();
        let is_tool = kind == Kind::Tools;
        let visible: Vec<&Entry> = listing
            .entries
            .iter()
            .filter(|entry| !is_tool || server.allows_tool(&entry.name))
            .filter(|entry| {
                let is_pinned = !is_tool
                    || server.pin == Pin::Off
                    || lock.verdict(&server.name, &entry.definition) == Verdict::Pinned;
                if !is_pinned {
                    unpinned.push(entry.name.clone());
                }
                is_pinned || server.pin != Pin::Enforce
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
        Self { entries, by_name, unpinned }
    }
}

/// What the entry changes of a tool.
fn adapted(mut definition: Json, server: &McpServer, name: &str) -> Json {
    if let Some(text) = server.tool_descriptions.get(name) {
        definition = edit::set(&definition, &["description"], Json::of(text).as_str());
    }
    let Some(allowed) = server.allowed_params.get(name) else { return definition };
    let properties = edit::get(&definition, &["inputSchema", "properties"]).and_then(Fields::of);
    if let Some(properties) = properties {
        let left = properties.iter().filter(|(name, _)| allowed.iter().any(|it| it == name));
        let left: Vec<String> = left
            .map(|(name, schema)| format!("{}:{}", Json::of(&name).as_str(), schema.get()))
            .collect();
        let left = format!("{{{}}}", left.join(","));
        definition = edit::set(&definition, &["inputSchema", "properties"], &left);
    }
    let required: Option<Vec<String>> = edit::read(&definition, &["inputSchema", "required"]);
    if let Some(required) = required {
        let left: Vec<String> =
            required.into_iter().filter(|name| allowed.contains(name)).collect();
        definition = edit::set(&definition, &["inputSchema", "required"], Json::of(&left).as_str());
    }
    definition
}

/// Tells the operator of tools that are not what was pinned: all in one line, as there may be thousands.
fn warn_of_unpinned(server: &McpServer, unpinned: &[String]) {
    let (server_name, count) = (&server.name, unpinned.len());
    let first: Vec<&str> = unpinned.iter().take(MAX_TOLD).map(String::as_str).collect();
    let tools = hidden::made_visible(&first.join(", "));
    if server.pin == Pin::Enforce {
        tracing::warn!(
            server = server_name,
            count,
            tools,
            "tools are held back: they are not what was pinned"
        );
    } else {
        tracing::warn!(server = server_name, count, tools, "tools are not what was pinned");
    }
}

/// Offers that were made, with what they were made of.
#[derive(Default)]
pub struct Kept {
    made: Mutex<Vec<Made>>,
    figures: Arc<Figures>,
}

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
    pub fn new(figures: Arc<Figures>) -> Self {
        Self { made: Mutex::default(), figures }
    }

    /// The offers of a list: those made before, where nothing of it changed.
    pub fn of(
        &self,
        kind: Kind,
        listing: &Arc<Listing>,
        server: &Arc<McpServer>,
        lock: &Arc<Lock>,
        is_plain: bool,
    ) -> Arc<Offers> {
        let mut kept = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let is_for = |made: &Made| made.kind == kind && made.is_plain == is_plain;
        if let Some(made) = kept.iter().find(|made| is_for(made))
            && Arc::ptr_eq(&made.listing, listing)
            && Arc::ptr_eq(&made.server, server)
            && Arc::ptr_eq(&made.lock, lock)
        {
            return made.offers.clone();
        }
        let offers = Arc::new(Offers::build(kind, listing, server, lock, is_plain));
        // Once for a list, however its tools are called.
        let is_told = kept.iter().any(|made| {
            let is_of_it = Arc::ptr_eq(&made.listing, listing) && Arc::ptr_eq(&made.lock, lock);
            made.kind == kind
                && (is_for(made) || is_of_it)
                && made.offers.unpinned == offers.unpinned
        });
        if !is_told && !offers.unpinned.is_empty() {
            warn_of_unpinned(server, &offers.unpinned);
            self.figures.count_unpinned(&server.name, offers.unpinned.len());
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::snapshot::{McpCommand, McpTransport};
    use crate::ground::names::Pattern;

    fn server(change: impl FnOnce(&mut McpServer)) -> McpServer {
        let mut server = McpServer::sample("s", McpTransport::Stdio(McpCommand::default()));
        change(&mut server);
        server
    }

    fn listing(definitions: &[&str]) -> Listing {
        let entry = |text: &&str| {
            let definition = Json::parse(*text).expect("JSON");
            Entry { name: edit::text(&definition, &["name"]).expect("a name"), definition }
        };
        let mut listing = Listing::default();
        listing.entries = definitions.iter().map(entry).collect();
        listing
    }

    fn built(server: &McpServer, definitions: &[&str], is_plain: bool) -> Offers {
        Offers::build(Kind::Tools, &listing(definitions), server, &Lock::default(), is_plain)
    }

    fn shown(offers: &Offers) -> Vec<(&str, &str)> {
        offers.entries.iter().map(|offer| (offer.name.as_str(), offer.own.as_str())).collect()
    }

    const THREE: [&str; 3] = [r#"{"name":"a"}"#, r#"{"name":"b"}"#, r#"{"name":"c"}"#];

    #[test]
    fn what_is_hidden_has_no_name() {
        let server = server(|server| {
            server.allowed_tools = Some(vec![Pattern::new("a"), Pattern::new("b")]);
            server.disallowed_tools = vec![Pattern::new("b")];
        });
        for (is_plain, name) in [(false, "s-a"), (true, "a")] {
            let offers = built(&server, &THREE, is_plain);
            assert_eq!(shown(&offers), [(name, "a")]);
            assert!(offers.find("b").or(offers.find("s-b")).or(offers.find("c")).is_none());
        }
    }

    #[test]
    fn a_renamed_tool_takes_no_others_name() {
        let server = server(|server| {
            server.tool_names.insert("a".into(), "b".into());
        });
        let offers = built(&server, &THREE, true);
        assert_eq!(offers.find("b").map(|offer| offer.own.as_str()), Some("a"));
        assert!(offers.find("a").is_none(), "it is not called that any more");
        let owns: Vec<&str> = offers.entries.iter().map(|offer| offer.own.as_str()).collect();
        assert_eq!(owns, ["a", "b", "c"]);
        let names: std::collections::HashSet<_> =
            offers.entries.iter().map(|it| &it.name).collect();
        assert_eq!(names.len(), 3, "and each can be called");
    }

    #[test]
    fn only_allowed_parameters_are_shown_as_they_were_spelled() {
        let server = server(|server| {
            server.allowed_params.insert("a".into(), vec!["x".into()]);
            server.tool_descriptions.insert("a".into(), "Ours".into());
        });
        let own = r#"{"name":"a", "inputSchema":{"properties":{"w":{},"x":{ "maximum":1.0 },"y":{}},"required":["x","y"],"z":1e5}}"#;
        let offers = built(&server, &[own], true);
        assert_eq!(
            offers.entries[0].definition.as_str(),
            r#"{"name":"a", "inputSchema":{"properties":{"x":{ "maximum":1.0 }},"required":["x"],"z":1e5},"description":"Ours"}"#
        );
    }

    #[test]
    fn very_many_parameters_cost_no_square() {
        let server = server(|server| {
            server.allowed_params.insert("a".into(), vec!["p7".into()]);
        });
        let properties: serde_json::Map<_, _> =
            (0..50_000).map(|at| (format!("p{at}"), json!({}))).collect();
        let own = json!({ "name": "a", "inputSchema": { "properties": properties } }).to_string();
        let offers = built(&server, &[&own], true);
        let left = r#"{"name":"a","inputSchema":{"properties":{"p7":{}}}}"#;
        assert_eq!(offers.entries[0].definition.as_str(), left);
    }

    #[test]
    fn what_is_not_pinned_is_held_back_where_the_entry_says_so() {
        let mut lock = Lock::default();
        let listing = listing(&THREE);
        lock.accept_one("s", &listing.entries[0].definition);
        for (pin, names, unpinned) in [
            (Pin::Off, vec!["a", "b", "c"], vec![]),
            (Pin::Warn, vec!["a", "b", "c"], vec!["b", "c"]),
            (Pin::Enforce, vec!["a"], vec!["b", "c"]),
        ] {
            let server = server(|server| server.pin = pin);
            let offers = Offers::build(Kind::Tools, &listing, &server, &lock, true);
            assert_eq!(shown(&offers).iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
            assert_eq!(offers.unpinned, unpinned);
        }
    }

    #[test]
    fn offers_are_made_once() {
        let (kept, listing, lock) = (Kept::default(), Arc::new(listing(&THREE)), Arc::default());
        let server = Arc::new(server(|_| {}));
        let of = |listing: &Arc<Listing>, is_plain| {
            kept.of(Kind::Tools, listing, &server, &lock, is_plain)
        };
        let first = of(&listing, true);
        let _other = of(&listing, false);
        assert!(Arc::ptr_eq(&first, &of(&listing, true)));
        assert!(!Arc::ptr_eq(&first, &of(&Arc::new(Listing::default()), true)));
    }
}
