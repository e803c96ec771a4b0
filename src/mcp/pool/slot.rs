//! One server as one group of clients reaches it: with one credential, shared as its entry says. The slot stays while
//! connections come and go; what it knew of the server's lists stays listed meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderMap;
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::catalogue::{Kind, Listing};
use super::{Change, Share, SlotKey};
use crate::config::snapshot::McpServer;
use crate::mcp::connection::Connection;
use crate::mcp::era::Identity;
use crate::mcp::offers::Kept;
use crate::mcp::serve::session::Session;
use crate::mcp::transport::{Failure, FailureKind};
use crate::wire::mcp::revision::Revision;

/// How long the first who ask wait for a server that is just coming up; later ones do not.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long whoever asks for a list that has changed waits for the new one to come.
const FETCHING: Duration = Duration::from_secs(1);
/// Starts that failed one after the other, until calls no longer wait for the next.
pub(super) const BREAKER: u32 = 4;
/// How long a call waits for a server that is coming up.
const CALL_PATIENCE: Duration = Duration::from_secs(30);

/// One server, one credential, one group of clients.
pub struct Slot {
    pub name: String,
    pub share: Share,
    /// The server's entry, as it is configured now.
    server: ArcSwap<McpServer>,
    pub(super) headers: HeaderMap,
    pub(super) identity: Identity,
    /// The session that alone uses this slot.
    session: Option<Weak<Session>>,
    pub(super) state: watch::Sender<State>,
    /// Rings when a connection is wanted.
    pub(super) demand: Notify,
    pub(super) retired: CancellationToken,
    /// What the server turned out to speak.
    pub(super) known: Mutex<Option<Revision>>,
    lists: [List; 4],
    /// Counts lists that were fetched, or could not be.
    pub(super) published: watch::Sender<u64>,
    pub(super) changes: broadcast::Sender<Change>,
    /// Rings when lists are to be fetched, subscriptions or the log level to be told.
    pub(super) duties: Notify,
    pub(super) wishes: Mutex<Wishes>,
    /// The number of wishes that the server has been told.
    pub(super) told: watch::Sender<u64>,
    /// How many calls may run on the server at once, over all its slots.
    pub(super) room: Option<Arc<Semaphore>>,
    /// Milliseconds since `began` of the last use.
    used: AtomicU64,
    began: Instant,
    pub health: Health,
    /// The lists as clients see them.
    pub offers: Kept,
    /// The stream of changes of the newest era is open, or there is none to be opened.
    pub(super) hears: watch::Sender<bool>,
}

/// Where a slot's connection stands.
#[derive(Clone)]
pub enum State {
    /// Nobody has asked for it yet, or not for a long time.
    Idle,
    Connecting {
        since: Instant,
        /// Starts that failed since the last that did not.
        failures: u32,
    },
    Up {
        connection: Arc<Connection>,
        since: Instant,
    },
    Down {
        failure: Failure,
        since: Instant,
        failures: u32,
    },
    /// The server is no longer configured like this.
    Retired,
}

/// What clients want of a server beside answers.
#[derive(Default)]
pub(super) struct Wishes {
    /// Counts what was wished.
    count: u64,
    /// URI → how many want to hear of it.
    pub subscriptions: BTreeMap<String, usize>,
    /// The most verbose level that anyone asked for.
    pub log_level: Option<String>,
}

/// What was seen of a server, for the operator.
#[derive(Default)]
pub struct Health {
    pub restarts: AtomicU64,
    pub calls: AtomicU64,
    pub failed_calls: AtomicU64,
    pub last_error: Mutex<Option<(jiff::Timestamp, String)>>,
    /// What the configured path answered last: a status, or why there was none.
    pub path: Mutex<Option<Result<u16, String>>>,
    /// The round trip of the last ping, in microseconds; 0: none yet.
    pub ping_us: AtomicU64,
}

#[derive(Default)]
struct List {
    listing: ArcSwapOption<Listing>,
    is_stale: AtomicBool,
    /// The server said that it changed.
    is_told: AtomicBool,
    /// Since when it is being fetched: what is known may be what was before.
    fetching: Mutex<Option<Instant>>,
    /// Why it could not be fetched the last time.
    failure: Mutex<Option<String>>,
    /// Since when somebody waits for it to be fetched.
    wanted: Mutex<Option<Instant>>,
}

/// A list as far as it is known.
pub struct Listed {
    /// `None`: never fetched.
    pub listing: Option<Arc<Listing>>,
    /// Why it may not be the latest.
    pub failure: Option<String>,
}

impl Slot {
    pub(super) fn new(
        server: Arc<McpServer>,
        share: Share,
        headers: HeaderMap,
        identity: Identity,
        session: Option<Weak<Session>>,
        room: Option<Arc<Semaphore>>,
        changes: broadcast::Sender<Change>,
    ) -> Self {
        Self {
            name: server.name.clone(),
            share,
            server: ArcSwap::new(server),
            headers,
            identity,
            session,
            state: watch::channel(State::Idle).0,
            demand: Notify::new(),
            retired: CancellationToken::new(),
            known: Mutex::default(),
            lists: Default::default(),
            published: watch::channel(0).0,
            changes,
            duties: Notify::new(),
            wishes: Mutex::default(),
            told: watch::channel(0).0,
            room,
            used: AtomicU64::new(0),
            began: Instant::now(),
            health: Health::default(),
            offers: Kept::default(),
            hears: watch::channel(false).0,
        }
    }

    pub fn server(&self) -> Arc<McpServer> {
        self.server.load_full()
    }

    /// The entry changed in what does not touch the connection.
    pub(super) fn adopt(&self, server: Arc<McpServer>) {
        self.server.store(server);
    }

    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    pub fn key(&self) -> SlotKey {
        SlotKey { server: self.name.clone(), share: self.share.clone() }
    }

    /// Returns when changes at the server are heard of.
    pub async fn hears_changes(&self) {
        let mut hears = self.hears.subscribe();
        let _ended = hears.wait_for(|hears| *hears).await;
    }

    /// The session that alone uses this slot, while it lives.
    pub fn session(&self) -> Option<Arc<Session>> {
        self.session.as_ref()?.upgrade()
    }

    /// The server is no longer configured like this: another slot has taken over, or none.
    pub fn is_retired(&self) -> bool {
        self.retired.is_cancelled()
    }

    /// Whose connection it is, where several clients do not share it.
    pub fn is_private(&self) -> bool {
        !matches!(self.share, Share::All { credential: 0 })
    }

    /// Says that the slot is used: a connection is wanted, and it is not idle.
    pub fn want(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used.store(now, Ordering::Relaxed);
        self.demand.notify_one();
    }

    pub(super) fn idle_for(&self) -> Duration {
        let used = Duration::from_millis(self.used.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(used)
    }

    /// A connection to make a call on: waits for one that is coming up, but not where that failed again and again, and the
    /// next start has not shown that it is better.
    ///
    /// # Errors
    /// There is none; surely nothing was processed.
    pub async fn connection(&self) -> Result<Arc<Connection>, Failure> {
        self.want();
        let mut state = self.state.subscribe();
        let ready = state.wait_for(|state| match state {
            State::Up { connection, .. } => !connection.is_closed(),
            State::Down { failures, .. } | State::Connecting { failures, .. } => {
                *failures >= BREAKER
            }
            State::Retired => true,
            State::Idle => false,
        });
        let unreachable = |text: String| Err(Failure::new(FailureKind::Unreachable, text));
        match tokio::time::timeout(CALL_PATIENCE, ready).await {
            Ok(Ok(state)) => match &*state {
                State::Up { connection, .. } => Ok(connection.clone()),
                State::Down { failure, .. } => {
                    Err(Failure { kind: FailureKind::Unreachable, ..failure.clone() })
                }
                State::Connecting { failures, .. } => {
                    let last =
                        self.health.last_error.lock().unwrap_or_else(PoisonError::into_inner);
                    let last = last.as_ref().map(|(_, text)| format!(": {text}"));
                    let last = last.unwrap_or_default();
                    unreachable(format!("the server did not come up {failures} times{last}"))
                }
                _ => unreachable("the server is no longer configured".into()),
            },
            Ok(Err(_)) => unreachable("the gateway is shutting down".into()),
            Err(_) => unreachable("the server did not come up in time".into()),
        }
    }

    /// The connection, where one is up.
    pub fn current(&self) -> Option<Arc<Connection>> {
        match &*self.state.borrow() {
            State::Up { connection, .. } => Some(connection.clone()),
            _ => None,
        }
    }

    /// One of the server's lists. What is known and fresh is given at once. Otherwise the first who ask wait a little for
    /// the server; while it stays silent, what was known before is given without waiting.
    pub async fn listing(&self, kind: Kind) -> Listed {
        self.want();
        let Some(list) = self.lists.get(kind.index()) else { return Listed::unknown() };
        let mut published = self.published.subscribe();
        let asked = Instant::now();
        loop {
            published.mark_unchanged();
            let state = self.state();
            let known = list.listing.load_full();
            let is_stale = list.is_stale.load(Ordering::Relaxed);
            let fetching = list
                .fetching()
                .map_or(Duration::ZERO, |since| FETCHING.saturating_sub(since.elapsed()));
            let give = |failure: Option<String>| Listed { listing: known.clone(), failure };
            let patience = match &state {
                State::Up { .. } => {
                    let is_fresh = known.as_ref().is_some_and(|known| known.is_fresh());
                    if is_fresh && !is_stale && fetching.is_zero() {
                        return give(None);
                    }
                    let failure = list.failure();
                    if failure.is_some() && !is_stale && fetching.is_zero() {
                        list.is_stale.store(true, Ordering::Relaxed);
                        self.duties.notify_one();
                        return give(failure);
                    }
                    if is_fresh && !is_stale {
                        fetching
                    } else {
                        list.is_stale.store(true, Ordering::Relaxed);
                        self.duties.notify_one();
                        PATIENCE.saturating_sub(list.waited())
                    }
                }
                State::Idle => PATIENCE.saturating_sub(asked.elapsed()),
                State::Connecting { since, failures } => {
                    let is_new = *failures == 0 && known.is_none();
                    let left = PATIENCE.saturating_sub(since.elapsed());
                    if is_new { left } else { Duration::ZERO }
                }
                State::Down { failure, .. } => return give(Some(failure.text.clone())),
                State::Retired => return give(Some("the server is no longer configured".into())),
            };
            if patience.is_zero() {
                return give(Some("the server has not answered yet".into()));
            }
            let mut changed = self.state.subscribe();
            changed.mark_unchanged();
            if !same(&self.state(), &state) {
                continue;
            }
            let _either = tokio::time::timeout(patience, async {
                tokio::select! {
                    _ = published.changed() => {}
                    _ = changed.changed() => {}
                }
            })
            .await;
        }
    }

    /// The list as it is known now, without asking for it.
    pub fn known_listing(&self, kind: Kind) -> Option<Arc<Listing>> {
        self.lists.get(kind.index())?.listing.load_full()
    }

    /// The lists that are to be fetched.
    pub(super) fn stale(&self) -> Vec<Kind> {
        let is_stale = |kind: &Kind| {
            let list = self.lists.get(kind.index());
            list.is_some_and(|list| list.is_stale.load(Ordering::Relaxed))
        };
        super::catalogue::KINDS.into_iter().filter(is_stale).collect()
    }

    pub(super) fn mark_stale(&self, kind: Kind) {
        if let Some(list) = self.lists.get(kind.index()) {
            list.is_stale.store(true, Ordering::Relaxed);
        }
    }

    /// The server says that a list changed.
    pub(super) fn mark_told(&self, kind: Kind) {
        if let Some(list) = self.lists.get(kind.index()) {
            list.is_told.store(true, Ordering::Relaxed);
            list.is_stale.store(true, Ordering::Relaxed);
        }
    }

    /// Before a list is fetched: what changes from now on makes it stale again. Whether the server said that it changed.
    pub(super) fn mark_fresh(&self, kind: Kind) -> bool {
        self.lists.get(kind.index()).is_some_and(|list| {
            *list.fetching.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            list.is_stale.store(false, Ordering::Relaxed);
            list.is_told.swap(false, Ordering::Relaxed)
        })
    }

    pub(super) fn publish(&self, kind: Kind, fetched: Result<Listing, Failure>) {
        if let Some(list) = self.lists.get(kind.index()) {
            let failure = match fetched {
                Ok(listing) => {
                    list.listing.store(Some(Arc::new(listing)));
                    None
                }
                Err(failure) => Some(failure.text),
            };
            *list.fetching.lock().unwrap_or_else(PoisonError::into_inner) = None;
            *list.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
            *list.wanted.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        self.published.send_modify(|count| *count += 1);
    }

    /// A client wants to hear of a resource; whether it is the first.
    pub fn subscribe(&self, uri: &str) {
        let mut wishes = self.wishes();
        wishes.count += 1;
        *wishes.subscriptions.entry(uri.to_owned()).or_default() += 1;
        drop(wishes);
        self.duties.notify_one();
    }

    /// How much was wished so far.
    pub(super) fn wished(&self) -> u64 {
        self.wishes().count
    }

    /// Returns when the server, if it is up, has been told all that was wished.
    pub async fn tells_wishes(&self) {
        let wished = self.wished();
        if self.current().is_some() {
            let mut told = self.told.subscribe();
            let _ended = told.wait_for(|told| *told >= wished).await;
        }
    }

    pub fn unsubscribe(&self, uri: &str) {
        let mut wishes = self.wishes();
        if let Some(count) = wishes.subscriptions.get_mut(uri) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                wishes.subscriptions.remove(uri);
            }
        }
        drop(wishes);
        self.duties.notify_one();
    }

    /// A client wants log messages from this level on.
    pub fn want_log_level(&self, level: &str) {
        let mut wishes = self.wishes();
        let known = wishes.log_level.as_deref().map_or(usize::MAX, severity);
        // A shared connection is as verbose as anyone wants it; each client gets what it asked for.
        if severity(level) < known || matches!(self.share, Share::Session(_)) {
            wishes.log_level = Some(level.to_owned());
            drop(wishes);
            self.duties.notify_one();
        }
    }

    pub(super) fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one call, waited for as long as a call may take.
    ///
    /// # Errors
    /// All places stay taken.
    pub async fn enter(&self) -> Result<Option<tokio::sync::OwnedSemaphorePermit>, Failure> {
        let Some(room) = &self.room else { return Ok(None) };
        let timeout = self.server().timeout;
        match tokio::time::timeout(timeout, room.clone().acquire_owned()).await {
            Ok(permit) => Ok(permit.ok()),
            Err(_) => Err(Failure::new(
                FailureKind::Unreachable,
                "`max_concurrent_requests` calls to the server are in progress, and none ended in time",
            )),
        }
    }

    /// Asks the path that the entry names for the server's health, where it names one; kept for the operator. A server
    /// whose path does not answer well stays in use: what counts are its answers to MCP.
    ///
    /// # Errors
    /// What it answered instead of well, in words.
    pub async fn ask_health_path(&self) -> Result<(), String> {
        let server = self.server();
        let Some(path) = &server.health_path else { return Ok(()) };
        let answered = crate::mcp::transport::probe(&server, &self.headers, path).await;
        let answered = answered.map_err(|failure| failure.text);
        let mut last = self.health.path.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(answered.clone());
        match answered {
            Ok(200..=299) => Ok(()),
            Ok(status) => Err(format!("the health path `{path}` answered with status {status}")),
            Err(error) => Err(format!("the health path `{path}` did not answer: {error}")),
        }
    }

    pub(super) fn note_error(&self, text: &str) {
        let mut last = self.health.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((jiff::Timestamp::now(), text.to_owned()));
    }
}

impl List {
    /// How long it has been waited for.
    fn waited(&self) -> Duration {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.get_or_insert_with(Instant::now).elapsed()
    }

    fn fetching(&self) -> Option<Instant> {
        *self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Listed {
    fn unknown() -> Self {
        Self { listing: None, failure: None }
    }
}

/// How severe a log level is; RFC 5424's words. <https://modelcontextprotocol.io/specification/2025-11-25/server/utilities/logging>
pub fn severity(level: &str) -> usize {
    const LEVELS: [&str; 8] =
        ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
    LEVELS.iter().position(|known| *known == level).unwrap_or(LEVELS.len())
}

fn same(one: &State, other: &State) -> bool {
    match (one, other) {
        (State::Up { connection: a, .. }, State::Up { connection: b, .. }) => Arc::ptr_eq(a, b),
        (State::Connecting { since: a, .. }, State::Connecting { since: b, .. })
        | (State::Down { since: a, .. }, State::Down { since: b, .. }) => a == b,
        _ => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}
