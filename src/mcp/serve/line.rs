//! The line to one client that has a session: its streams, its requests in progress, when it was last heard of.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::session::Session;
use super::stream::{Budget, Stream};
use crate::wire::mcp::message::Id;

/// Requests of one session in progress.
pub const MAX_RUNNING: usize = 256;
/// Streams that are kept beyond their end.
const MAX_KEPT: usize = 32;
/// Bytes of the streams that are kept beyond their end; the newest may have more.
const MAX_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// One client's line.
pub struct Line {
    pub session: Arc<Session>,
    /// What belongs to no request.
    pub common: Arc<Stream>,
    /// Rings when streams that wait for nothing in particular have to end.
    pub listening: CancellationToken,
    budget: Arc<Budget>,
    /// Open event streams.
    open: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    running: HashMap<Id, CancellationToken>,
    /// Those of requests, the oldest first.
    streams: Vec<Arc<Stream>>,
    /// Streams so far; the common one is 0.
    count: u64,
    heard: Instant,
}

/// Why a request is not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// One with the same id is in progress.
    Duplicate,
    TooMany,
}

/// The place of a request among those in progress.
pub struct Place {
    line: Arc<Line>,
    id: Id,
}

/// An event stream that is open.
pub struct Open(Arc<Line>);

impl Line {
    /// The line of a session; `stopping` rings when the gateway is about to end.
    pub fn new(
        session: Arc<Session>,
        common: Arc<Stream>,
        budget: Arc<Budget>,
        stopping: &CancellationToken,
    ) -> Arc<Self> {
        let state =
            State { running: HashMap::new(), streams: Vec::new(), count: 0, heard: Instant::now() };
        Arc::new(Self {
            session,
            common,
            listening: stopping.child_token(),
            budget,
            open: AtomicUsize::new(0),
            state: Mutex::new(state),
        })
    }

    /// A request begins. The token rings when it is cancelled.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn begin(self: &Arc<Self>, id: &Id) -> Result<(CancellationToken, Place), Refused> {
        let mut state = self.state();
        if state.running.contains_key(id) {
            return Err(Refused::Duplicate);
        }
        if state.running.len() >= MAX_RUNNING {
            return Err(Refused::TooMany);
        }
        let token = self.session.ended.child_token();
        state.running.insert(id.clone(), token.clone());
        Ok((token, Place { line: self.clone(), id: id.clone() }))
    }

    /// The client does not want the answer any more; an unknown id is passed over.
    pub fn cancel(&self, id: &Id) {
        let token = self.state().running.get(id).cloned();
        if let Some(token) = token {
            token.cancel();
        }
    }

    /// A stream for the messages of a request, which can be resumed.
    pub fn new_stream(&self) -> Arc<Stream> {
        let mut state = self.state();
        state.prune(Instant::now());
        state.count += 1;
        let stream = Stream::new(state.count, true, self.budget.clone());
        state.streams.push(stream.clone());
        stream
    }

    /// The stream of a number, the common one included.
    pub fn stream(&self, number: u64) -> Option<Arc<Stream>> {
        if number == self.common.number {
            return Some(self.common.clone());
        }
        let mut state = self.state();
        state.prune(Instant::now());
        state.streams.iter().find(|stream| stream.number == number).cloned()
    }

    /// Nobody will resume a stream.
    pub fn forget(&self, number: u64) {
        self.state().streams.retain(|stream| stream.number != number);
    }

    /// The client was heard of.
    pub fn touch(&self) {
        self.state().heard = Instant::now();
    }

    /// The client has an event stream open.
    pub fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }

    /// Forgets streams that nobody will resume, and says whether nothing was heard of the client for that long.
    pub fn is_idle(&self, now: Instant, longest: Duration) -> bool {
        let mut state = self.state();
        state.prune(now);
        self.open.load(Ordering::Relaxed) == 0
            && state.running.is_empty()
            && now.saturating_duration_since(state.heard) > longest
    }

    /// The session is over: its requests are cancelled, its streams end.
    pub fn end(&self) {
        self.session.ended.cancel();
        self.listening.cancel();
        self.state().streams.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn prune(&mut self, now: Instant) {
        self.streams.retain(|stream| !stream.is_over(now));
        let ended = self.streams.iter().filter(|stream| stream.ended().is_some());
        let (mut count, mut bytes) =
            ended.fold((0, 0), |(count, bytes), stream| (count + 1, bytes + stream.bytes()));
        self.streams.retain(|stream| {
            let is_too_much = count > MAX_KEPT || (bytes > MAX_KEPT_BYTES && count > 1);
            if !is_too_much || stream.ended().is_none() {
                return true;
            }
            count -= 1;
            bytes -= stream.bytes();
            false
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.line.state();
        state.running.remove(&self.id);
        state.heard = Instant::now();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.touch();
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::conversation::Json;
    use crate::wire::mcp::revision::NEWEST_WITH_SESSIONS;

    /// A line of a session with the newest revision that has them.
    fn line() -> Arc<Line> {
        let (common, source) = mpsc::channel(4);
        let nothing = Json::empty_object;
        let session =
            Session::new("s".into(), None, NEWEST_WITH_SESSIONS, nothing(), nothing(), common);
        let budget: Arc<Budget> = Arc::default();
        let common = Stream::of(0, true, budget.clone(), source);
        Line::new(Arc::new(session), common, budget, &CancellationToken::new())
    }

    #[test]
    fn requests_are_known_by_their_exact_ids() {
        let line = line();
        let (number, _place) = line.begin(&Id::number(1)).expect("new");
        let (text, place) = line.begin(&Id::text("1")).expect("another");
        assert_eq!(line.begin(&Id::number(1)).err(), Some(Refused::Duplicate));
        line.cancel(&Id::text("1"));
        assert!(text.is_cancelled() && !number.is_cancelled());
        drop(place);
        let (again, _place) = line.begin(&Id::text("1")).expect("free again");
        line.end();
        assert!(number.is_cancelled() && again.is_cancelled());
    }

    #[test]
    fn requests_in_progress_are_bounded() {
        let line = line();
        let begin = |at| line.begin(&Id::number(at)).map(|(_, place)| place);
        let places: Vec<_> = (0..256).map_while(|at| begin(at).ok()).collect();
        assert_eq!(places.len(), MAX_RUNNING);
        assert_eq!(begin(999).err(), Some(Refused::TooMany));
        drop(places);
        assert!(begin(999).is_ok());
    }

    #[tokio::test]
    async fn streams_are_kept_within_bounds() {
        let line = line();
        let running = line.new_stream();
        for _ in 0..MAX_KEPT + 5 {
            line.new_stream().end();
        }
        let last = line.new_stream();
        assert_eq!(line.state().streams.len(), MAX_KEPT + 2);
        assert!(line.stream(running.number).is_some(), "it still runs");
        assert!(line.stream(2).is_none(), "the oldest gave way");
        assert!(line.stream(last.number).is_some());
        for _ in 0..5 {
            let stream = line.new_stream();
            stream.push("x".repeat(MAX_KEPT_BYTES), true).await;
            stream.end();
        }
        let _pruned = line.new_stream();
        assert!(line.state().streams.len() <= 5, "bytes count, too");
        line.forget(running.number);
        assert!(line.stream(running.number).is_none());
        assert!(line.stream(0).is_some(), "the common stream");
    }

    #[test]
    fn a_session_in_use_is_not_idle() {
        let line = line();
        let (now, longest) = (Instant::now(), Duration::from_secs(60));
        let later = now + Duration::from_secs(100);
        assert!(!line.is_idle(now, longest) && line.is_idle(later, longest));
        let open = line.open();
        assert!(!line.is_idle(later, longest));
        drop(open);
        let place = line.begin(&Id::number(1)).map(|(_, place)| place);
        assert!(!line.is_idle(later, longest));
        drop(place);
        assert!(line.is_idle(later, longest));
    }
}
