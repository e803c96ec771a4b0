//! One server as one group of clients reaches it: with one credential, shared as its entry says. The slot stays while
//! connections come and go; what it knew of the server's lists stays listed meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderMap;
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::catalogue::{Kind, Listing};
use super::progress::List;
use super::{Change, Pool, Share, SlotKey};
use crate::config::snapshot::McpServer;
use crate::mcp::connection::Connection;
use crate::mcp::era::Identity;
use crate::mcp::figures::Figures;
use crate::mcp::offers::Kept;
use crate::mcp::serve::session::Session;
use crate::mcp::transport::{Failure, FailureKind};
use crate::wire::mcp::revision::Revision;

/// How long the first who ask wait for a server that is just coming up; later ones do not.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for a list that is known, and is being fetched anew.
const OLD_PATIENCE: Duration = Duration::from_secs(1);
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
    pub(super) lists: [List; 4],
    /// Counts lists that were fetched, or could not be.
    pub(super) published: watch::Sender<u64>,
    pub(super) changes: broadcast::Sender<Change>,
    /// Rings when lists are to be fetched.
    pub(super) duties: Notify,
    /// Rings when subscriptions or the log level are to be told.
    pub(super) wishing: Notify,
    pub(super) wishes: Mutex<Wishes>,
    /// The number of wishes that the server has been told.
    pub(super) told: watch::Sender<u64>,
    /// How many calls may run on the server at once, over all its slots.
    pub(super) room: Option<Arc<Semaphore>>,
    /// Milliseconds since `began` of the last use.
    used: AtomicU64,
    began: Instant,
    pub health: Health,
    pub figures: Arc<Figures>,
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
        pool: &Pool,
    ) -> Self {
        let (changes, figures) = (pool.changes.clone(), pool.figures.clone());
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
            wishing: Notify::new(),
            wishes: Mutex::default(),
            told: watch::channel(0).0,
            room,
            used: AtomicU64::new(0),
            began: Instant::now(),
            health: Health::default(),
            offers: Kept::new(figures.clone()),
            figures,
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

    /// Nobody has used it for so long, where only some may.
    pub(super) fn is_unused(&self, idle: Duration) -> bool {
        let used = Duration::from_millis(self.used.load(Ordering::Relaxed));
        self.is_private()
            && self.began.elapsed().saturating_sub(used) > idle
            && self.wishes().subscriptions.is_empty()
    }

    /// The server is no longer configured like this, or its client is gone: another slot has taken over, or none.
    pub fn is_retired(&self) -> bool {
        self.retired.is_cancelled()
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
            State::Up { connection, .. } => !connection.is_over(),
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
        let before = list.listing.load_full();
        loop {
            published.mark_unchanged();
            let state = self.state();
            let known = list.listing.load_full();
            let give = |failure: Option<String>| {
                list.progress().is_missed |= failure.is_some();
                Listed { listing: known.clone(), failure }
            };
            if known.as_ref().map(Arc::as_ptr) != before.as_ref().map(Arc::as_ptr) {
                // It came while it was waited for; what changed since then will be told.
                return give(None);
            }
            let patience = match &state {
                State::Up { .. } => {
                    if known.as_ref().is_some_and(|known| known.is_fresh()) && !list.is_old() {
                        return give(None);
                    }
                    let (failure, since) = self.refresh(list);
                    if failure.is_some() {
                        return give(failure);
                    }
                    let patience = if known.is_some() { OLD_PATIENCE } else { PATIENCE };
                    let left = patience.saturating_sub(since.elapsed());
                    if left.is_zero() && known.is_some() {
                        // What is different will be told.
                        return give(None);
                    }
                    left
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

    /// What is known of a list, at once; `None`: nothing yet. What is old is fetched anew behind it.
    pub fn known_listing(&self, kind: Kind) -> Option<Arc<Listing>> {
        let list = self.lists.get(kind.index())?;
        let known = list.listing.load_full()?;
        if !known.is_fresh() {
            self.refresh(list);
        }
        Some(known)
    }

    /// Whether the server's list of tools, as far as it is known, has one of this name.
    pub fn lists_tool(&self, name: &str) -> bool {
        let listing = self.lists.get(Kind::Tools.index()).and_then(|list| list.listing.load_full());
        listing.is_some_and(|listing| listing.entries.iter().any(|entry| entry.name == name))
    }

    /// Has a list fetched that is not being fetched already. Gives why that failed the last time, and since when the latest
    /// is waited for.
    fn refresh(&self, list: &List) -> (Option<String>, Instant) {
        let mut progress = list.progress();
        progress.is_stale |= !progress.is_fetching;
        let since = *progress.since.get_or_insert_with(Instant::now);
        let failure = progress.failure.clone();
        drop(progress);
        self.duties.notify_one();
        (failure, since)
    }

    /// A client wants to hear of a resource.
    pub fn subscribe(&self, uri: &str) {
        let mut wishes = self.wishes();
        wishes.count += 1;
        *wishes.subscriptions.entry(uri.to_owned()).or_default() += 1;
        drop(wishes);
        self.wishing.notify_one();
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
        self.wishing.notify_one();
    }

    /// A client wants log messages from this level on.
    pub fn want_log_level(&self, level: &str) {
        let mut wishes = self.wishes();
        let known = wishes.log_level.as_deref().map_or(usize::MAX, severity);
        // A shared connection is as verbose as anyone wants it; each client gets what it asked for.
        let is_own = matches!(self.share, Share::Session(_)) && severity(level) != known;
        if severity(level) < known || is_own {
            wishes.log_level = Some(level.to_owned());
            drop(wishes);
            self.wishing.notify_one();
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
