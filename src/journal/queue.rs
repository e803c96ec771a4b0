//! The bounded queue between the request path and the writer thread. `record` is called from `Drop`
//! on runtime threads: it takes a short lock, never waits for the disk and never fails its caller.
//! What does not fit is counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::audit::Act;
use super::figures::Flushes;
use super::reader::Row;
use crate::entry::{Entry, ToolCall};

/// What an entry weighs beside its texts and bodies, in bytes.
const ENTRY_WEIGHT: usize = 1024;
/// The same of a call of a tool, and of a round.
const CALL_WEIGHT: usize = 256;

/// Acts that wait for the audit log.
const AUDITS: usize = 1024;

/// Hands finished requests to the journal. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
}

/// The bounds of what waits and of what is kept; tests shrink them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) queue_rows: usize,
    pub(super) queue_bytes: usize,
    /// Bytes of rows in the SQLite file, whether they wait for PostgreSQL or are kept.
    pub(super) spool_bytes: u64,
}

/// Why a row was not kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dropped {
    /// The writer fell behind, or its disk is full.
    QueueFull,
    /// The spool reached its bound while PostgreSQL was away.
    SpoolFull,
    /// The journal was closed already.
    Closed,
    /// SQLite refuses this row, alone.
    Refused,
}

/// Counted since the start, read by `status`.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) rows: AtomicU64,
    pub(super) drained: AtomicU64,
    pub(super) payloads_dropped: AtomicU64,
    pub(super) evicted: AtomicU64,
    dropped: [AtomicU64; 4],
    pub(super) spool_rows: AtomicI64,
    /// Microseconds since 1970 UTC; `i64::MAX`: no row.
    pub(super) spool_oldest_us: AtomicI64,
    pub(super) dead_letters: AtomicI64,
    /// The number of the audit log's last entry.
    pub(super) audit_seq: AtomicI64,
    /// Of rows in the file, as it was looked at last.
    pub(super) spool_bytes: AtomicU64,
    /// How long groups took to commit.
    pub(super) flushes: Flushes,
    /// Unix second of the last complaint about dropped rows.
    complained_at: AtomicI64,
}

/// What the writer thread is asked to do besides writing entries. The answer is sent once it is done;
/// `false` means the file refused, and the asker may ask again.
#[derive(Debug)]
pub(super) enum Command {
    /// Everything that was queued before is in the file.
    Flush(oneshot::Sender<bool>),
    /// These rows are committed elsewhere.
    Delete(Vec<String>, oneshot::Sender<bool>),
    /// These rows are refused for what is in them.
    Bury(Vec<(Row, String)>, oneshot::Sender<bool>),
    /// The file turned out to be damaged where only the drainer reads: which one, by `file_generation`, and why.
    SetAside(u64, String),
    /// Rows from before this time, in microseconds since 1970 UTC, are too old.
    Expire(i64),
    /// An entry for the audit log, and when it happened, in microseconds since 1970 UTC.
    Audit(Box<Act>, i64),
}

/// What the request path, the writer and the drainer share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
    pub(super) bounds: Bounds,
    pub(super) counters: Counters,
    pub(super) enabled: AtomicBool,
    pub(super) store_prompts: AtomicBool,
    /// Whether rows go on to PostgreSQL.
    pub(super) draining: AtomicBool,
    /// Rows were committed to the file.
    pub(super) committed: Notify,
    /// Rises whenever the writer opens the file: other connections must follow.
    pub(super) file_generation: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    bytes: usize,
    commands: VecDeque<Command>,
    closed: bool,
}

/// What the writer found when it woke, beside entries.
pub(super) struct Work {
    pub(super) commands: VecDeque<Command>,
    pub(super) closed: bool,
}

/// How `next` waits.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    /// For anything, and then so long for a group to gather.
    Group(Duration),
    /// Takes what is there.
    Not,
    /// For a fault to pass, or for a command.
    Pause(Duration, Entries),
}

/// Whether a pause ends with more entries.
#[derive(Clone, Copy)]
pub(super) enum Entries {
    Take,
    /// There is a group in hand already; the queue's bound holds for the rest.
    Leave,
}

impl Recorder {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Queues one finished request. Returns at once; a row that does not fit is counted as dropped. A
    /// full queue costs a row its bodies first.
    pub fn record(&self, entry: Entry) {
        self.shared.record(entry);
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            queue_rows: 16_384,
            queue_bytes: 64 * 1024 * 1024,
            spool_bytes: 2 * 1024 * 1024 * 1024,
        }
    }
}

impl Shared {
    pub(super) fn new(bounds: Bounds) -> Self {
        let counters =
            Counters { spool_oldest_us: AtomicI64::new(i64::MAX), ..Counters::default() };
        Self {
            state: Mutex::default(),
            arrived: Condvar::new(),
            bounds,
            counters,
            enabled: AtomicBool::new(true),
            store_prompts: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            committed: Notify::new(),
            file_generation: AtomicU64::new(0),
        }
    }

    fn record(&self, mut entry: Entry) {
        if !self.enabled.load(Ordering::Relaxed) {
            return;
        }
        // A request may have begun before an edit forbade keeping what was said.
        if !self.store_prompts.load(Ordering::Relaxed) {
            entry.payload = None;
        }
        let mut weight = weigh(&entry);
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return self.count_dropped(Dropped::Closed, 1);
        }
        if state.bytes + weight > self.bounds.queue_bytes && entry.payload.take().is_some() {
            self.counters.payloads_dropped.fetch_add(1, Ordering::Relaxed);
            weight = weigh(&entry);
        }
        if state.entries.len() >= self.bounds.queue_rows
            || state.bytes + weight > self.bounds.queue_bytes
        {
            drop(state);
            return self.count_dropped(Dropped::QueueFull, 1);
        }
        state.bytes += weight;
        state.entries.push_back(entry);
        let length = state.entries.len();
        drop(state);
        // The writer sleeps only on an empty queue or until a full group: waking it for each row would
        // cost a system call for each request.
        if length == 1 || length == GROUP_ROWS {
            self.arrived.notify_one();
        }
    }

    /// Asks the writer for something; dropped, unanswered, when the journal is closed.
    pub(super) fn command(&self, command: Command) {
        let mut state = self.lock();
        if !state.closed {
            state.commands.push_back(command);
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Has an act written into the audit log. Acts are few; where the file refuses for long, only so many wait.
    pub(super) fn audit(&self, act: Act) {
        act.log();
        if !self.enabled.load(Ordering::Relaxed) {
            return;
        }
        let at_us = jiff::Timestamp::now().as_microsecond();
        let mut state = self.lock();
        let waiting = |command: &&Command| matches!(command, Command::Audit(..));
        if state.closed || state.commands.iter().filter(waiting).count() >= AUDITS {
            drop(state);
            return tracing::error!("an entry of the audit log could not be written");
        }
        state.commands.push_back(Command::Audit(Box::new(act), at_us));
        drop(state);
        self.arrived.notify_one();
    }

    /// No entry or command is taken from here on; the writer writes what there is and ends.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Waits as told, takes all commands, and adds one group of entries to `group`. Together with
    /// commands, or once the journal is closed, it takes every entry: what was queued before a `Flush`
    /// comes with it.
    pub(super) fn next(&self, wait: Wait, group: &mut VecDeque<Entry>) -> Work {
        let mut state = self.lock();
        match wait {
            Wait::Group(time) => {
                let idle =
                    |s: &mut State| s.entries.is_empty() && s.commands.is_empty() && !s.closed;
                state =
                    self.arrived.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
                let gathering = |s: &mut State| {
                    s.entries.len() < GROUP_ROWS && s.commands.is_empty() && !s.closed
                };
                (state, _) = self
                    .arrived
                    .wait_timeout_while(state, time, gathering)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            Wait::Pause(time, _) => {
                let quiet = |s: &mut State| s.commands.is_empty() && !s.closed;
                (state, _) = self
                    .arrived
                    .wait_timeout_while(state, time, quiet)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            Wait::Not => {}
        }
        let count = match wait {
            _ if state.closed => state.entries.len(),
            Wait::Pause(_, Entries::Leave) => 0,
            _ if !state.commands.is_empty() => state.entries.len(),
            _ => state.entries.len().min(GROUP_ROWS),
        };
        state.take(count, group);
        Work { commands: std::mem::take(&mut state.commands), closed: state.closed }
    }

    /// Counts rows that are lost, and says so at most once a second.
    pub(super) fn count_dropped(&self, reason: Dropped, rows: u64) {
        let total = self.counters.dropped.get(reason.index());
        let total = total.map_or(0, |total| total.fetch_add(rows, Ordering::Relaxed) + rows);
        let now = jiff::Timestamp::now().as_second();
        if self.counters.complained_at.swap(now, Ordering::Relaxed) != now {
            let reason = reason.as_str();
            tracing::warn!(reason, total, "request rows were dropped");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves a queue that is still whole: a push or a drain.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Moves the first `count` entries to the end of `group`.
    fn take(&mut self, count: usize, group: &mut VecDeque<Entry>) {
        if count < self.entries.len() {
            let taken: usize = self.entries.iter().take(count).map(weigh).sum();
            self.bytes = self.bytes.saturating_sub(taken);
            group.extend(self.entries.drain(..count));
            return;
        }
        self.bytes = 0;
        if group.is_empty() {
            // The two change places: no entry is copied under the lock, and no memory asked for.
            std::mem::swap(&mut self.entries, group);
        } else {
            group.append(&mut self.entries);
        }
        // A burst's memory is given back.
        self.entries.shrink_to(GROUP_ROWS);
    }
}

impl Counters {
    /// Rows dropped since the start, by reason.
    pub(super) fn dropped(&self) -> Vec<(&'static str, u64)> {
        let reasons = [Dropped::QueueFull, Dropped::SpoolFull, Dropped::Closed, Dropped::Refused];
        let totals = self.dropped.iter().map(|total| total.load(Ordering::Relaxed));
        reasons.into_iter().map(Dropped::as_str).zip(totals).collect()
    }
}

impl Dropped {
    fn index(self) -> usize {
        match self {
            Self::QueueFull => 0,
            Self::SpoolFull => 1,
            Self::Closed => 2,
            Self::Refused => 3,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::SpoolFull => "spool_full",
            Self::Closed => "closed",
            Self::Refused => "refused",
        }
    }
}

/// Rows of one group commit at most.
pub(super) const GROUP_ROWS: usize = 1024;

/// About how many bytes the entry holds. Texts that a client can make long are counted.
fn weigh(entry: &Entry) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let payload = entry.payload.as_ref().map_or(0, |p| p.request.len() + p.response.len());
    let call =
        |call: &ToolCall| CALL_WEIGHT + call.server.len() + call.tool.len() + call.function.len();
    ENTRY_WEIGHT
        + payload
        + entry.tool_call_logs.iter().map(call).sum::<usize>()
        + entry.rounds.len() * CALL_WEIGHT
        + entry.model_requested.len()
        + text(&entry.error_message)
        + text(&entry.user_agent)
        + text(&entry.end_user)
        + text(&entry.session_id)
        + entry.tags.iter().map(|tag| tag.len() + size_of::<String>()).sum::<usize>()
}
