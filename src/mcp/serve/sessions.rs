//! All sessions of clients: opened, found, expired. An id is 256 random bits and opens nothing to another key than the one
//! it was opened with. Nothing here depends on the configuration in force, so reloads pass sessions by.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ask::{MAX_WAITING, Out};
use super::line::Line;
use super::session::Session;
use super::sse::Older;
use super::stream::{Budget, Stream};
use crate::config::snapshot::McpSettings;
use crate::conversation::Json;
use crate::ground::secret::KeyHash;
use crate::wire::mcp::revision::Revision;

/// Requests of all clients in progress.
const MAX_RUNNING: usize = 8192;

/// The store.
#[derive(Default)]
pub struct Sessions {
    state: Mutex<State>,
    running: Arc<AtomicUsize>,
    budget: Arc<Budget>,
    /// Rings when the gateway is about to end.
    stopping: CancellationToken,
}

#[derive(Default)]
struct State {
    lines: HashMap<String, Arc<Line>>,
    /// Of the older transport; they live as long as their connection.
    older: HashMap<String, Arc<Older>>,
}

/// Why no session is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpened {
    TooMany,
    /// The operating system gives no randomness.
    NoId,
}

/// Who opens a session.
pub struct Opening {
    pub key: Option<KeyHash>,
    pub revision: Revision,
    pub capabilities: Json,
    pub client_info: Json,
}

/// The place of a request among those of all clients.
pub struct Slot(Arc<AtomicUsize>);

/// A session that is closed unless it is settled: its client has not got its id yet.
pub struct Unsettled<'s> {
    sessions: &'s Sessions,
    line: Option<Arc<Line>>,
}

/// Closes a session of the older transport when its connection is gone.
pub struct ClosesOlder {
    pub sessions: Arc<Sessions>,
    pub id: String,
}

impl Sessions {
    /// Opens a session.
    ///
    /// # Errors
    /// As many are open as may be.
    pub fn open(
        &self,
        settings: &McpSettings,
        opening: Opening,
    ) -> Result<(Arc<Line>, Unsettled<'_>), NotOpened> {
        let id = new_id()?;
        let (common, source) = mpsc::channel(MAX_WAITING);
        let stream = Stream::of(0, true, self.budget.clone(), source);
        let line = self.line(id.clone(), opening, common, stream);
        self.make_room(settings)?;
        self.state().lines.insert(id, line.clone());
        Ok((line.clone(), Unsettled { sessions: self, line: Some(line) }))
    }

    /// Finds a key's session, which is heard of thereby.
    pub fn find(&self, id: &str, key: Option<KeyHash>, idle: Duration) -> Option<Arc<Line>> {
        let line = self.state().lines.get(id).filter(|line| line.session.key == key).cloned()?;
        if line.is_idle(Instant::now(), idle) {
            self.close(id, key);
            return None;
        }
        line.touch();
        Some(line)
    }

    /// Ends a key's session; `false` where there is none.
    pub fn close(&self, id: &str, key: Option<KeyHash>) -> bool {
        let removed = match self.state().lines.entry(id.to_owned()) {
            Entry::Occupied(entry) if entry.get().session.key == key => Some(entry.remove()),
            Entry::Occupied(_) | Entry::Vacant(_) => None,
        };
        // Not under the lock: ending drops what others made.
        if let Some(line) = &removed {
            line.end();
        }
        removed.is_some()
    }

    /// Ends a session whose key is no more, on whichever transport.
    pub fn revoke(&self, id: &str) {
        let (line, older) = {
            let mut state = self.state();
            (state.lines.remove(id), state.older.remove(id))
        };
        if let Some(line) = line {
            line.end();
        }
        if let Some(older) = older {
            older.end();
        }
    }

    /// Ends the sessions that were silent for so long.
    pub fn sweep(&self, idle: Duration, now: Instant) {
        let lines: Vec<Arc<Line>> = self.state().lines.values().cloned().collect();
        let expired: Vec<Arc<Line>> =
            lines.into_iter().filter(|line| line.is_idle(now, idle)).collect();
        for line in &expired {
            self.close(&line.session.id, line.session.key);
        }
        if !expired.is_empty() {
            tracing::debug!(sessions = expired.len(), "idle MCP sessions were closed");
        }
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        let state = self.state();
        state.lines.len() + state.older.len()
    }

    /// The gateway is about to end: streams that wait for nothing in particular end now.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Rings at [`stop`](Self::stop).
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Opens a connection of the older transport.
    ///
    /// # Errors
    /// As many sessions are open as may be.
    pub fn open_older(
        &self,
        settings: &McpSettings,
        make: impl FnOnce(String, mpsc::Sender<Out>, Arc<Stream>) -> Older,
    ) -> Result<Arc<Older>, NotOpened> {
        let id = new_id()?;
        self.make_room(settings)?;
        let (common, source) = mpsc::channel(MAX_WAITING);
        let stream = Stream::of(0, false, self.budget.clone(), source);
        let older = Arc::new(make(id.clone(), common, stream));
        self.state().older.insert(id, older.clone());
        Ok(older)
    }

    /// Finds a key's connection of the older transport.
    pub fn find_older(&self, id: &str, key: Option<KeyHash>) -> Option<Arc<Older>> {
        self.state().older.get(id).filter(|older| older.key == key).cloned()
    }

    /// The line of a session whose messages go through `common`.
    pub fn line(
        &self,
        id: String,
        opening: Opening,
        common: mpsc::Sender<Out>,
        stream: Arc<Stream>,
    ) -> Arc<Line> {
        let Opening { key, revision, capabilities, client_info } = opening;
        let session = Session::new(id, key, revision, capabilities, client_info, common);
        Line::new(Arc::new(session), stream, self.budget.clone(), &self.stopping)
    }

    /// A stream for a request that has no session.
    pub fn passing_stream(&self) -> Arc<Stream> {
        Stream::new(0, false, self.budget.clone())
    }

    /// A request begins; `None` where there are as many as may be.
    pub fn slot(&self) -> Option<Slot> {
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(self.running.clone());
        (before < MAX_RUNNING).then_some(slot)
    }

    fn make_room(&self, settings: &McpSettings) -> Result<(), NotOpened> {
        if self.count() >= settings.max_sessions {
            self.sweep(settings.session_idle_timeout, Instant::now());
        }
        if self.count() >= settings.max_sessions {
            tracing::warn!(most = settings.max_sessions, "an MCP session was refused: too many");
            return Err(NotOpened::TooMany);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unsettled<'_> {
    /// The client gets to know the session.
    pub fn settle(mut self) {
        self.line = None;
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            self.sessions.close(&line.session.id, line.session.key);
        }
    }
}

impl Drop for ClosesOlder {
    fn drop(&mut self) {
        let older = self.sessions.state().older.remove(&self.id);
        if let Some(older) = older {
            older.end();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// 256 random bits as text that is safe in headers and URLs.
fn new_id() -> Result<String, NotOpened> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "no randomness for a session id");
        NotOpened::NoId
    })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mcp::revision::NEWEST_WITH_SESSIONS;

    const IDLE: Duration = Duration::from_secs(60);

    fn settings(max_sessions: usize) -> McpSettings {
        McpSettings {
            session_idle_timeout: IDLE,
            max_sessions,
            lock_file: "mcp.lock".into(),
            lock: Arc::default(),
            allowed_origins: Vec::new(),
        }
    }

    fn opening(key: &str) -> Opening {
        Opening {
            key: Some(KeyHash::of(key)),
            revision: NEWEST_WITH_SESSIONS,
            capabilities: Json::empty_object(),
            client_info: Json::empty_object(),
        }
    }

    fn open(sessions: &Sessions, most: usize) -> Result<Arc<Line>, NotOpened> {
        sessions.open(&settings(most), opening("a")).map(|(line, unsettled)| {
            unsettled.settle();
            line
        })
    }

    #[test]
    fn a_session_belongs_to_its_key() {
        let sessions = Sessions::default();
        let line = open(&sessions, 9).expect("room");
        let id = line.session.id.as_str();
        assert_eq!(id.len(), 43);
        let (own, other) = (Some(KeyHash::of("a")), Some(KeyHash::of("b")));
        assert!(sessions.find(id, own, IDLE).is_some());
        assert!(sessions.find(id, other, IDLE).is_none());
        assert!(sessions.find(id, None, IDLE).is_none());
        assert!(!sessions.close(id, other));
        assert!(sessions.close(id, own));
        assert!(line.session.ended.is_cancelled());
        assert!(sessions.find(id, own, IDLE).is_none());
    }

    #[test]
    fn idle_sessions_make_room_for_new_ones() {
        let sessions = Sessions::default();
        let lines: Vec<_> = (0..2).filter_map(|_| open(&sessions, 2).ok()).collect();
        assert_eq!(open(&sessions, 2).err(), Some(NotOpened::TooMany));
        let later = Instant::now() + 2 * IDLE;
        let _in_use = lines[0].open();
        sessions.sweep(IDLE, later);
        assert_eq!(sessions.count(), 1, "one is in use");
        assert!(lines[1].session.ended.is_cancelled());
        assert!(open(&sessions, 2).is_ok());
    }

    #[test]
    fn a_session_that_nobody_got_to_know_is_closed() {
        let sessions = Sessions::default();
        drop(sessions.open(&settings(9), opening("a")));
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn requests_of_all_are_bounded() {
        let sessions = Sessions::default();
        let slots: Vec<_> = (0..=MAX_RUNNING).map_while(|_| sessions.slot()).collect();
        assert_eq!(slots.len(), MAX_RUNNING);
        drop(slots);
        assert!(sessions.slot().is_some());
    }
}
