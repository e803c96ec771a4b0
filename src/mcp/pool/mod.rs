//! All connections to MCP servers: one slot for each server and each group of clients that may share one. An edit of the
//! configuration is reconciled here: what is unchanged is not touched, whatever it is doing.

mod attend;
pub mod catalogue;
mod heard;
mod progress;
pub mod slot;
mod supervise;
mod wishes;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, broadcast};

use self::catalogue::Kind;
use self::slot::{Slot, State};
use super::era::Identity;
use super::figures::Figures;
use super::serve::ask::Asker;
use crate::config::snapshot::{Keys, McpServer, McpTransport, Sharing, Snapshot};
use crate::conversation::Json;
use crate::ground::secret::KeyHash;

/// Slots at once: servers, times keys or sessions where they do not share.
const MAX_SLOTS: usize = 4096;
/// Changes that a slow session may be behind.
const MAX_CHANGES: usize = 256;

/// All slots.
pub struct Pool {
    state: Mutex<Slots>,
    /// How many calls may run on a server, with the number it was made for.
    rooms: Mutex<HashMap<String, (usize, Arc<Semaphore>)>>,
    changes: broadcast::Sender<Change>,
    pub(super) figures: Arc<Figures>,
    handle: Handle,
}

#[derive(Default)]
struct Slots {
    slots: HashMap<SlotKey, Arc<Slot>>,
    /// The entries in force; `None`: nothing was reconciled yet.
    configured: Option<BTreeMap<String, Arc<McpServer>>>,
}

/// What makes a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SlotKey {
    pub server: String,
    pub share: Share,
}

/// Who shares a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Share {
    /// All who send the same credential; 0: none of their own.
    All {
        credential: u64,
    },
    Key {
        key: Option<KeyHash>,
        credential: u64,
    },
    Session(Arc<str>),
}

/// Something changed at a server.
#[derive(Clone, Debug)]
pub struct Change {
    pub slot: SlotKey,
    pub what: Changed,
}

/// Resources, by the server's URIs, each with its notification's params.
pub type Updates = Arc<Vec<(String, Json)>>;

#[derive(Clone, Debug, PartialEq)]
pub enum Changed {
    Tools,
    Prompts,
    Resources,
    Updated(Updates),
    /// The server came or went.
    Health,
}

impl Share {
    /// For people: who shares a slot, without any key.
    pub fn word(&self) -> String {
        match self {
            Self::All { credential: 0 } => "all".into(),
            Self::All { credential } => format!("those with the credential {credential:016x}"),
            Self::Key { key, .. } => match key {
                Some(key) => format!("key {}", key.id()),
                None => "the master key".into(),
            },
            Self::Session(id) => format!("session {}…", id.get(..8).unwrap_or_default()),
        }
    }
}

impl Changed {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Tools => Self::Tools,
            Kind::Prompts => Self::Prompts,
            Kind::Resources | Kind::Templates => Self::Resources,
        }
    }
}

impl Change {
    fn of(slot: &Slot, what: Changed) -> Self {
        let slot = SlotKey { server: slot.name.clone(), share: slot.share.clone() };
        Self { slot, what }
    }
}

impl Pool {
    /// A pool whose tasks run on the runtime of the handle.
    pub fn new(handle: Handle) -> Self {
        let changes = broadcast::channel(MAX_CHANGES).0;
        let (state, rooms, figures) = (Mutex::default(), Mutex::default(), Arc::default());
        Self { state, rooms, changes, figures, handle }
    }

    /// What changes at servers, from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// The slot that an asker reaches a server through, made where there is none. Nothing is dialled by it. An asker who came
    /// under an older configuration gets the entry in force: what was changed or removed does not come back.
    pub fn slot(&self, server: &Arc<McpServer>, asker: &Asker) -> Option<Arc<Slot>> {
        let mut state = self.state();
        let Slots { slots, configured } = &mut *state;
        let server = match configured {
            Some(configured) => configured.get(&server.name)?,
            None => server,
        };
        let key = slot_key(server, asker);
        if let Some(slot) = slots.get(&key) {
            return Some(slot.clone());
        }
        let session = asker.session.as_ref().filter(|_| matches!(key.share, Share::Session(_)));
        // Its slots have been ended already.
        if session.is_some_and(|session| session.ended.is_cancelled()) {
            return None;
        }
        let headers = effective_headers(server, asker);
        if slots.len() >= MAX_SLOTS {
            retire(slots, is_unheld);
            if slots.len() >= MAX_SLOTS {
                tracing::warn!(most = MAX_SLOTS, "too many connections to MCP servers");
                return None;
            }
        }
        let identity = match session {
            Some(session) => Identity {
                capabilities: session.capabilities.clone(),
                client_info: session.client_info.clone(),
            },
            None => Identity::gateway(),
        };
        let slot = Arc::new(Slot::new(
            server.clone(),
            key.share.clone(),
            headers,
            identity,
            session.map(Arc::downgrade),
            self.room(server),
            self,
        ));
        let idle = asker.snapshot.mcp.session_idle_timeout;
        self.handle.spawn(supervise::run(slot.clone(), idle));
        slots.insert(key, slot.clone());
        Some(slot)
    }

    /// A session is over: its own connections end.
    pub fn end_session(&self, id: &str) {
        let is_its = |key: &SlotKey, _: &Arc<Slot>| matches!(&key.share, Share::Session(own) if &**own == id);
        retire(&mut self.state().slots, is_its);
    }

    /// Brings the slots in line with a configuration: what is not configured like that any more, or not for that key, is
    /// retired, the rest is not touched.
    pub fn reconcile(&self, snapshot: &Snapshot) {
        let mut state = self.state();
        state.configured = Some(snapshot.mcp_servers.clone().into_iter().collect());
        retire(&mut state.slots, |key, slot| {
            let Some(server) = snapshot.mcp_servers.get(&key.server) else { return true };
            let is_same = slot.server().connects_like(server)
                && slot.server().max_concurrent_requests == server.max_concurrent_requests
                && may_go_on(snapshot, slot, server);
            if is_same {
                slot.adopt(server.clone());
            }
            !is_same
        });
        drop(state);
        self.figures.adopt(snapshot.mcp_servers.values());
        let names: Vec<String> = snapshot.mcp_servers.keys().cloned().collect();
        self.rooms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|name, _| names.contains(name));
    }

    /// Every slot, by its key.
    pub fn all(&self) -> Vec<Arc<Slot>> {
        self.state().slots.values().cloned().collect()
    }

    /// Ends every connection, and returns when they are.
    pub async fn close(&self, patience: Duration) {
        let slots: Vec<Arc<Slot>> = self.state().slots.drain().map(|(_, slot)| slot).collect();
        let ended = slots.iter().map(|slot| async {
            slot.retired.cancel();
            let mut state = slot.state.subscribe();
            let _ended = state.wait_for(|state| matches!(state, State::Retired)).await;
        });
        let all = futures_util::future::join_all(ended);
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!("some MCP servers did not end in time");
        }
    }

    /// Forgets slots that are idle and that nobody holds.
    pub fn sweep(&self) {
        retire(&mut self.state().slots, is_unheld);
    }

    fn room(&self, server: &McpServer) -> Option<Arc<Semaphore>> {
        let most = server.max_concurrent_requests?;
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let room =
            rooms.entry(server.name.clone()).or_insert_with(|| (0, Arc::new(Semaphore::new(0))));
        if room.0 != most {
            *room = (most, Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))));
        }
        Some(room.1.clone())
    }

    fn state(&self) -> MutexGuard<'_, Slots> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn retire(slots: &mut HashMap<SlotKey, Arc<Slot>>, goes: impl Fn(&SlotKey, &Arc<Slot>) -> bool) {
    slots.retain(|key, slot| {
        let goes = goes(key, slot);
        if goes {
            slot.retired.cancel();
        }
        !goes
    });
}

/// Only the map and the slot's own task know of it: who is about to use it would hold it, too.
fn is_unheld(_: &SlotKey, slot: &Arc<Slot>) -> bool {
    slot.is_private() && matches!(slot.state(), State::Idle) && Arc::strong_count(slot) <= 2
}

/// Whether the key that a slot was made for may still use the server.
fn may_go_on(snapshot: &Snapshot, slot: &Slot, server: &McpServer) -> bool {
    let key = match &slot.share {
        Share::All { .. } => None,
        Share::Key { key, .. } => *key,
        Share::Session(_) => slot.session().and_then(|session| session.key),
    };
    let may = |key: KeyHash| {
        let key = snapshot.keys.virtual_keys.get(&key);
        key.is_some_and(|key| Snapshot::allows_mcp_server(key, server))
    };
    key.is_none_or(may)
}

/// Which slot an asker reaches a server through.
pub fn slot_key(server: &McpServer, asker: &Asker) -> SlotKey {
    let credential = credential(server, asker);
    let share = match (server.sharing, &asker.session) {
        (Sharing::Shared, _) => Share::All { credential },
        (Sharing::PerSession, Some(session)) => Share::Session(session.id.as_str().into()),
        // Without sessions a client is its key.
        (Sharing::PerKey | Sharing::PerSession, _) => {
            Share::Key { key: asker.key.as_ref().map(|key| key.hash), credential }
        }
    };
    SlotKey { server: server.name.clone(), share }
}

/// The headers that a server gets: its entry's own, and what it may have of the client's.
fn effective_headers(server: &McpServer, asker: &Asker) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in passed_on(server, asker) {
        headers.append(name, value);
    }
    // The entry's own count more.
    for (name, value) in &server.headers {
        headers.insert(name, value.clone());
    }
    headers
}

/// A digest of what the client sends for the server itself; 0 where that is nothing. Nobody can foresee another's.
fn credential(server: &McpServer, asker: &Asker) -> u64 {
    let sent: BTreeMap<String, Vec<u8>> = passed_on(server, asker)
        .into_iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect();
    if sent.is_empty() {
        return 0;
    }
    static DIGEST: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    DIGEST.hash_one(&sent).max(1)
}

/// The client's headers that go on to a server: those that its entry lists, and those sent for it alone, as
/// `x-mcp-{alias}-{header}`, if the entry lists the header. Never what frames the message, and never a key of this gateway.
fn passed_on(server: &McpServer, asker: &Asker) -> Vec<(HeaderName, HeaderValue)> {
    if matches!(server.transport, McpTransport::Stdio(_)) || server.forwarded_headers.is_empty() {
        return Vec::new();
    }
    let client = &*asker.headers;
    let keys = &asker.snapshot.keys;
    let names = server.aliases.iter().chain([&server.name]);
    let prefixes: Vec<String> =
        names.map(|name| format!("x-mcp-{}-", name.to_ascii_lowercase())).collect();
    let listed = server.forwarded_headers.iter().filter(|name| !is_framing(name));
    listed
        .filter_map(|name| {
            let own = prefixes.iter().find_map(|prefix| client.get(format!("{prefix}{name}")));
            let is_sent = |value: &&HeaderValue| !is_key(keys, value);
            let value = own.or_else(|| client.get(name)).filter(is_sent)?;
            let mut value = value.clone();
            value.set_sensitive(true);
            Some((name.clone(), value))
        })
        .collect()
}

/// Whether a header shows a key that opens this gateway.
fn is_key(keys: &Keys, value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let text = text.trim();
    let shown = text.split_once(' ').map_or(text, |(_, key)| key.trim());
    let hash = KeyHash::of(shown);
    keys.master == Some(hash) || keys.virtual_keys.contains_key(&hash)
}

/// Headers that belong to one connection or one message.
fn is_framing(name: &HeaderName) -> bool {
    let text = name.as_str();
    *name == header::HOST
        || *name == header::CONNECTION
        || *name == header::UPGRADE
        || *name == header::TE
        || *name == header::TRAILER
        || *name == header::ACCEPT
        || *name == header::EXPECT
        || *name == header::TRANSFER_ENCODING
        || text.starts_with("content-")
        || text.starts_with("mcp-")
        || text.starts_with("proxy-")
        || matches!(text, "keep-alive" | "last-event-id" | "accept-encoding")
}
