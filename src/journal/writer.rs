//! The writer thread: takes groups of entries from the queue and commits them to the spool, and does
//! what the drainer asks for in between. A fault of the disk keeps the group in memory and is tried
//! again; the queue's bound decides what is lost meanwhile. Knows nothing of PostgreSQL.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::ErrorCode;

use super::audit::{self, Act};
use super::queue::{Command, Dropped, Entries, GROUP_ROWS, Shared, Wait};
use super::spool::{self, Spool};
use crate::entry::Entry;

/// How long the first row of a group waits for others, and how long while many come.
const GROUP_TIME: Duration = Duration::from_millis(5);
const BUSY_GROUP_TIME: Duration = Duration::from_millis(20);
/// So many rows within `GROUP_TIME` are many.
const BUSY_ROWS: usize = 4;
/// Rows deleted in one transaction, so that new rows never wait long.
const DELETE_CHUNK: u32 = 1000;
/// How often the spool's size and place are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How often a full store is told of.
const EVICTED_INTERVAL: Duration = Duration::from_secs(3600);
/// First and longest wait after a fault of the file.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Tries of a failing file after the journal was closed.
const LAST_TRIES: u32 = 5;

/// The thread's state.
struct Writer {
    shared: Arc<Shared>,
    path: PathBuf,
    instance: String,
    /// `None`: not open yet, or damaged and set aside.
    spool: Option<Spool>,
    /// The group that is being written.
    pending: VecDeque<Entry>,
    commands: VecDeque<Command>,
    /// Rows from before this time are being deleted.
    expiring: Option<i64>,
    /// The file is larger than its bound; what is oldest is being deleted.
    is_full: bool,
    /// When deleting rows from a full store was last told.
    evicted_at: Option<Instant>,
    /// The last group was large: gathering longer makes each row cheaper, and is not felt.
    is_busy: bool,
    faults: u32,
    closed: bool,
    checked_at: Instant,
}

/// Starts the thread. With `spool: None` the file is opened when the first row needs it.
///
/// # Errors
///
/// When the system has no thread to give.
pub(super) fn start(
    shared: Arc<Shared>,
    path: PathBuf,
    instance: String,
    spool: Option<Spool>,
) -> std::io::Result<JoinHandle<()>> {
    let mut writer = Writer {
        shared,
        path,
        instance,
        spool: None,
        pending: VecDeque::new(),
        commands: VecDeque::new(),
        expiring: None,
        is_full: false,
        evicted_at: None,
        is_busy: false,
        faults: 0,
        closed: false,
        checked_at: Instant::now(),
    };
    thread::Builder::new().name("journal".to_owned()).spawn(move || {
        if let Some(spool) = spool {
            writer.adopt(spool);
        }
        writer.run();
    })
}

impl Writer {
    fn run(&mut self) {
        loop {
            let wait = self.wait();
            let work = self.shared.next(wait, &mut self.pending);
            self.commands.extend(work.commands);
            self.closed = work.closed;
            // Before writing: a file that was deleted would swallow the rows.
            self.check();
            self.write();
            self.serve();
            self.expire();
            self.shed();
            if self.closed && (self.pending.is_empty() || self.faults >= LAST_TRIES) {
                break;
            }
        }
        if !self.pending.is_empty() {
            let lost = self.pending.len().try_into().unwrap_or(u64::MAX);
            self.shared.count_dropped(Dropped::Closed, lost);
        }
        if let Some(spool) = &self.spool
            && let Err(error) = spool.checkpoint()
        {
            tracing::debug!(%error, "the request log was closed without a checkpoint");
        }
    }

    fn wait(&mut self) -> Wait {
        if self.faults == 0 {
            let time = if self.is_busy { BUSY_GROUP_TIME } else { GROUP_TIME };
            let is_cleaning = self.expiring.is_some() || self.is_full;
            return if is_cleaning { Wait::Not } else { Wait::Group(time) };
        }
        let (first, longest) = PAUSE;
        let longest = if self.closed { first } else { longest };
        let time = first.saturating_mul(1 << self.faults.min(10)).min(longest);
        Wait::Pause(time, if self.pending.is_empty() { Entries::Take } else { Entries::Leave })
    }

    fn write(&mut self) {
        if self.pending.is_empty() {
            // Nothing is left to try again: what failed was a command, and its asker will repeat it.
            if self.commands.is_empty() {
                self.faults = 0;
            }
            return;
        }
        let Some(mut spool) = self.opened() else { return };
        self.is_busy = self.pending.len() >= BUSY_ROWS;
        let began = Instant::now();
        let outcome = match spool.insert(self.pending.make_contiguous(), &self.instance) {
            Err(error) if is_about_a_row(&error) => self.insert_singly(&mut spool),
            outcome => outcome,
        };
        match outcome {
            Ok(written) => {
                self.shared.counters.flushes.observe(began.elapsed());
                self.spool = Some(spool);
                self.wrote(written);
            }
            Err(error) => self.failed(spool, &error),
        }
    }

    fn insert_singly(&mut self, spool: &mut Spool) -> rusqlite::Result<usize> {
        let mut written = 0;
        while let Some(entry) = self.pending.back() {
            match spool.insert(std::slice::from_ref(entry), &self.instance) {
                Ok(count) => written += count,
                Err(error) if is_about_a_row(&error) => {
                    tracing::error!(%error, request_id = %entry.request_id, "a request row is refused");
                    self.shared.count_dropped(Dropped::Refused, 1);
                }
                Err(error) => return Err(error),
            }
            self.pending.pop_back();
        }
        Ok(written)
    }

    fn wrote(&mut self, written: usize) {
        let counters = &self.shared.counters;
        counters.rows.fetch_add(written.try_into().unwrap_or(0), Ordering::Relaxed);
        counters.spool_rows.fetch_add(written.try_into().unwrap_or(0), Ordering::Relaxed);
        let oldest = self.pending.iter().map(|entry| entry.started_at_us).min();
        counters.spool_oldest_us.fetch_min(oldest.unwrap_or(i64::MAX), Ordering::Relaxed);
        self.pending.clear();
        self.pending.shrink_to(GROUP_ROWS);
        self.recovered();
        self.shared.committed.notify_one();
    }

    /// Does what was asked for. The entries queued before a `Flush` were taken together with it.
    fn serve(&mut self) {
        for command in std::mem::take(&mut self.commands) {
            match command {
                // The file is at fault; the asker has a deadline of its own.
                Command::Flush(_) if !self.pending.is_empty() => self.commands.push_back(command),
                Command::Flush(done) => _ = done.send(true),
                Command::Delete(ids, done) => {
                    let outcome = self.change(|spool| spool.delete(&ids));
                    _ = done.send(outcome.is_some());
                }
                Command::Bury(rows, done) => {
                    let now = Timestamp::now().as_microsecond();
                    let mut lost = 0;
                    let outcome = self.change(|spool| {
                        let (moved, letters) = spool.bury(&rows, now)?;
                        lost = letters;
                        Ok(moved)
                    });
                    if outcome.is_some() {
                        let buried = rows.len().try_into().unwrap_or(0);
                        self.shared.counters.dead_letters.fetch_add(buried, Ordering::Relaxed);
                    }
                    if lost > 0 {
                        let lost = lost.try_into().unwrap_or(u64::MAX);
                        self.shared.count_dropped(Dropped::Refused, lost);
                    }
                    _ = done.send(outcome.is_some());
                }
                Command::SetAside(generation, reason) => {
                    self.spool = self.opened();
                    // One that was begun since is not the damaged one, and has new rows.
                    let is_that = self.shared.file_generation.load(Ordering::Relaxed) == generation;
                    if let Some(spool) = self.spool.take_if(|_| is_that) {
                        spool.set_aside(&reason);
                        self.spool = self.opened();
                    }
                }
                Command::Expire(before_us) => self.expiring = Some(before_us),
                Command::Audit(act, at_us) => {
                    if let Err(command) = self.audit(act, at_us) {
                        self.commands.push_back(command);
                    }
                }
            }
        }
    }

    /// Writes an entry of the audit log; gives it back where the file refuses.
    fn audit(&mut self, act: Box<Act>, at_us: i64) -> Result<(), Command> {
        let Some(mut spool) = self.opened() else { return Err(Command::Audit(act, at_us)) };
        match audit::store::append(spool.connection(), &act, at_us, &self.instance) {
            Ok(seq) => {
                self.spool = Some(spool);
                self.shared.counters.audit_seq.store(seq, Ordering::Relaxed);
                self.recovered();
                self.shared.committed.notify_one();
                Ok(())
            }
            Err(error) => {
                self.failed(spool, &error);
                Err(Command::Audit(act, at_us))
            }
        }
    }

    /// Deletes the next chunk of rows past their retention; new rows get their turn in between.
    fn expire(&mut self) {
        let Some(before_us) = self.expiring else { return };
        if self.spool.is_none() && !self.shared.enabled.load(Ordering::Relaxed) {
            // Switched off: no file is made only to find it empty.
            self.expiring = None;
            return;
        }
        let mut more = false;
        let outcome = self.change(|spool| {
            let (deleted, left) = spool.expire(before_us, DELETE_CHUNK)?;
            more = left;
            if !left {
                spool.vacuum()?;
            }
            Ok(deleted)
        });
        if outcome.is_none() || !more {
            self.expiring = None;
        }
    }

    /// Runs a statement that takes rows away and corrects the counters. `None`: the file refused.
    fn change(
        &mut self,
        statement: impl FnOnce(&mut Spool) -> rusqlite::Result<usize>,
    ) -> Option<usize> {
        let mut spool = self.opened()?;
        match statement(&mut spool).and_then(|gone| Ok((gone, spool.oldest_us()?))) {
            Ok((gone, oldest)) => {
                let counters = &self.shared.counters;
                counters.spool_rows.fetch_sub(gone.try_into().unwrap_or(0), Ordering::Relaxed);
                counters.spool_oldest_us.store(oldest.unwrap_or(i64::MAX), Ordering::Relaxed);
                self.spool = Some(spool);
                self.recovered();
                Some(gone)
            }
            Err(error) => {
                self.failed(spool, &error);
                None
            }
        }
    }

    /// Once a second: is the file still where it was, and within its bound?
    fn check(&mut self) {
        if self.checked_at.elapsed() < CHECK_INTERVAL {
            return;
        }
        self.checked_at = Instant::now();
        let Some(spool) = &self.spool else { return };
        if !spool.is_in_place() {
            let path = spool.path().display();
            tracing::error!(%path, "the request log was moved or deleted; a new one is begun");
            self.spool = None;
            return;
        }
        self.is_full = self.exceeds_its_bound();
    }

    fn exceeds_its_bound(&self) -> bool {
        let used = self.spool.as_ref().and_then(|spool| spool.used_bytes().ok());
        if let Some(used) = used {
            self.shared.counters.spool_bytes.store(used, Ordering::Relaxed);
        }
        used.is_some_and(|used| used > self.shared.bounds.spool_bytes)
    }

    /// Makes room in a full file by a chunk of what is oldest; new rows get their turn in between.
    fn shed(&mut self) {
        if !self.is_full {
            return;
        }
        let gone = self.change(|spool| spool.shed(DELETE_CHUNK));
        if let Some(rows) = gone.and_then(|rows| u64::try_from(rows).ok()).filter(|rows| *rows > 0)
        {
            if self.shared.draining.load(Ordering::Relaxed) {
                self.shared.count_dropped(Dropped::SpoolFull, rows);
            } else {
                self.evicted(rows);
            }
        }
        let is_empty = self.shared.counters.spool_oldest_us.load(Ordering::Relaxed) == i64::MAX;
        self.is_full = gone.is_some() && !is_empty && self.exceeds_its_bound();
    }

    /// Counts rows that made room in the store. That goes on for as long as requests come, so it is
    /// said at first and then hourly.
    fn evicted(&mut self, rows: u64) {
        let total = self.shared.counters.evicted.fetch_add(rows, Ordering::Relaxed) + rows;
        if self.evicted_at.is_none_or(|at| at.elapsed() >= EVICTED_INTERVAL) {
            self.evicted_at = Some(Instant::now());
            let bytes = self.shared.bounds.spool_bytes;
            tracing::warn!(
                total,
                bytes,
                "the request log reached its bound: its oldest rows are deleted"
            );
        }
    }

    /// The open file, opening it when it is not; takes it out, so that a fault can dispose of it.
    fn opened(&mut self) -> Option<Spool> {
        if self.spool.is_none() {
            match Spool::open(&self.path) {
                Ok(spool) => self.adopt(spool),
                Err(error) => self.complain(&error),
            }
        }
        self.spool.take()
    }

    fn adopt(&mut self, mut spool: Spool) {
        let counters = &self.shared.counters;
        counters.spool_rows.store(spool.count().unwrap_or(0), Ordering::Relaxed);
        counters.dead_letters.store(spool.count_dead_letters().unwrap_or(0), Ordering::Relaxed);
        let audited = audit::store::end(spool.connection()).ok().flatten();
        counters.audit_seq.store(audited.map_or(0, |(_, seq)| seq), Ordering::Relaxed);
        let oldest = spool.oldest_us().ok().flatten().unwrap_or(i64::MAX);
        counters.spool_oldest_us.store(oldest, Ordering::Relaxed);
        counters.spool_bytes.store(spool.used_bytes().unwrap_or(0), Ordering::Relaxed);
        self.shared.file_generation.fetch_add(1, Ordering::Release);
        self.spool = Some(spool);
        self.shared.committed.notify_one();
    }

    fn failed(&mut self, spool: Spool, error: &rusqlite::Error) {
        if spool::is_corrupt(error) {
            spool.set_aside(error);
            self.faults = self.faults.saturating_add(1);
            return;
        }
        let path = spool.path().to_owned();
        self.complain(&format_args!("{}: {error}", path.display()));
        // A full disk comes back as it is; after anything stranger a fresh connection is the safer one.
        let is_plain = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        );
        self.spool = is_plain.then_some(spool);
    }

    fn complain(&mut self, error: &dyn std::fmt::Display) {
        if self.faults == 0 {
            tracing::error!(%error, "the request log cannot be written; rows wait in memory");
        }
        self.faults = self.faults.saturating_add(1);
    }

    fn recovered(&mut self) {
        if self.faults > 0 {
            tracing::info!("the request log is written again");
            self.faults = 0;
        }
    }
}

/// Whether one row is at fault and the others would go in.
fn is_about_a_row(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch)
    )
}
