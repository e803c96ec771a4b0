//! Floor 4, the journal: one record for each request, never lost to a database, never in a
//! request's way. The request path hands an `Entry` to a `Recorder` and goes on.
//!
//! ```text
//! Recorder → queue (memory, bounded) → writer (thread) → spool (SQLite) → drain (task) → PostgreSQL
//! ```
//!
//! Without a `database_url` the spool is the store and nothing follows it. SQL lives on this floor
//! only; nothing here knows of HTTP, models or prices.

pub mod audit;
mod columns;
mod drain;
pub mod examine;
pub mod export;
mod figures;
mod grants;
mod postgres;
pub mod query;
mod queue;
mod reader;
pub mod responses;
mod retention;
mod show;
mod spool;
mod tls;
pub mod usage;
pub mod walk;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::snapshot::RequestLog;

pub use drain::PostgresState;
pub use queue::Recorder;
pub use spool::SpoolError;

use drain::{Drainer, Target};
use queue::{Bounds, Command, Shared};
use responses::Responses;
use spool::Spool;

/// Steps of a schema within one thousand only add to it, and with defaults: a release works on the tables of newer ones, passing
/// over steps that it does not know, so that it may run beside them, and again after them. What it could not live with begins
/// the next thousand.
const GENERATION: usize = 1000;

/// Kept back from `close`'s deadline for the file, whatever PostgreSQL does.
const FILE_SHARE: Duration = Duration::from_secs(1);

/// The open journal. Dropped without `close` it still writes what was queued, in the background.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    path: PathBuf,
    target: watch::Sender<Target>,
    postgres: Arc<Mutex<PostgresState>>,
    tasks: TaskTracker,
    /// Take what is left and end.
    closing: CancellationToken,
    /// End now.
    ended: CancellationToken,
    writer: Mutex<Option<JoinHandle<()>>>,
    responses: Responses,
}

/// What `/health` and the metrics show.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct JournalStatus {
    /// Rows in the SQLite file: waiting for PostgreSQL or, without it, kept.
    pub spool_rows: u64,
    /// Age of the oldest row that waits for PostgreSQL; 0 when none does.
    pub spool_oldest_seconds: f64,
    /// Rows written since the start.
    pub rows_total: u64,
    /// Rows that PostgreSQL confirmed since the start.
    pub drained_total: u64,
    /// Rows lost since the start, for whatever reason.
    pub dropped_total: u64,
    /// The same by reason: `queue_full`, `spool_full`, `closed`, `refused`.
    pub dropped: Vec<(&'static str, u64)>,
    /// Rows written without their bodies, because the queue was full.
    pub payloads_dropped_total: u64,
    /// Rows deleted since the start because the file, as the store, had reached its bound.
    pub evicted_total: u64,
    /// Rows that PostgreSQL refused for their content, kept in `dead_letters`.
    pub dead_letter_total: u64,
    pub postgres: PostgresState,
}

/// Why the journal cannot be opened or changed.
#[derive(Debug)]
pub enum JournalError {
    Spool(SpoolError),
    /// No thread, or no runtime, to work on.
    System(String),
    /// The path was edited; everything else of the edit is in force.
    PathChanged {
        open: PathBuf,
        wanted: PathBuf,
    },
}

impl Journal {
    /// Opens the SQLite file and starts the writer and the drainer. Does not wait for PostgreSQL. Must be
    /// called within a tokio runtime. `instance` names this process in every row.
    ///
    /// # Errors
    ///
    /// The file or its directory cannot be made, or a newer release wrote it. A damaged file is no
    /// error: it is moved aside. With `disabled` no file is made, but rows that
    /// wait in one still go to PostgreSQL.
    pub fn open(settings: &RequestLog, instance: &str) -> Result<Self, JournalError> {
        Self::open_within(settings, instance, Bounds::default())
    }

    fn open_within(
        settings: &RequestLog,
        instance: &str,
        bounds: Bounds,
    ) -> Result<Self, JournalError> {
        let runtime =
            Handle::try_current().map_err(|error| JournalError::System(error.to_string()))?;
        let spool = match Spool::open_if(&settings.path, settings.disabled) {
            // A log that is switched off may point to where nothing can be written.
            Err(_) if settings.disabled => None,
            outcome => outcome.map_err(JournalError::Spool)?,
        };
        let shared = Arc::new(Shared::new(bounds));
        configure(&shared, settings);
        let writer =
            writer::start(shared.clone(), settings.path.clone(), instance.to_owned(), spool)
                .map_err(|error| JournalError::System(error.to_string()))?;
        let (target, changes) = watch::channel(target(settings));
        let journal = Self {
            shared,
            path: settings.path.clone(),
            target,
            postgres: Arc::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            ended: CancellationToken::new(),
            writer: Mutex::new(Some(writer)),
            responses: Responses::open(&settings.path, settings.disabled),
        };
        let drainer = Drainer {
            shared: journal.shared.clone(),
            path: journal.path.clone(),
            target: changes.clone(),
            state: journal.postgres.clone(),
            closing: journal.closing.clone(),
        };
        let until = journal.ended.clone();
        let work = async move { _ = until.run_until_cancelled(drainer.run()).await };
        journal.tasks.spawn_on(work, &runtime);
        let retention = retention::run(journal.shared.clone(), changes);
        let until = journal.closing.clone();
        let work = async move { _ = until.run_until_cancelled(retention).await };
        journal.tasks.spawn_on(work, &runtime);
        Ok(journal)
    }

    /// Where responses are kept that clients go on from.
    pub fn responses(&self) -> Responses {
        self.responses.clone()
    }

    /// Writes an act into the audit log, and into the log. Does not wait.
    pub fn audit(&self, act: audit::Act) {
        self.shared.audit(act);
    }

    /// What the request path records with.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(self.shared.clone())
    }

    /// Puts an edit into force: `database_url`, `retention`, `store_prompts`, `disabled`. Rows that wait go
    /// to the new database.
    ///
    /// # Errors
    ///
    /// `PathChanged`, with all the rest in force: rows keep going to the file that is open.
    pub fn retarget(&self, settings: &RequestLog) -> Result<(), JournalError> {
        configure(&self.shared, settings);
        let wanted = target(settings);
        self.target.send_if_modified(|current| {
            let changed = *current != wanted;
            *current = wanted;
            changed
        });
        if settings.path == self.path {
            return Ok(());
        }
        Err(JournalError::PathChanged { open: self.path.clone(), wanted: settings.path.clone() })
    }

    /// A moment's figures, without touching a file or a database.
    pub fn status(&self) -> JournalStatus {
        let counters = &self.shared.counters;
        let count = |value: i64| u64::try_from(value).unwrap_or(0);
        let oldest = counters.spool_oldest_us.load(Ordering::Relaxed);
        let waits = self.shared.draining.load(Ordering::Relaxed) && oldest != i64::MAX;
        let age = jiff::Timestamp::now().as_microsecond().saturating_sub(oldest).max(0);
        let dropped = counters.dropped();
        JournalStatus {
            spool_rows: count(counters.spool_rows.load(Ordering::Relaxed)),
            spool_oldest_seconds: if waits {
                Duration::from_micros(age.unsigned_abs()).as_secs_f64()
            } else {
                0.0
            },
            rows_total: counters.rows.load(Ordering::Relaxed),
            drained_total: counters.drained.load(Ordering::Relaxed),
            dropped_total: dropped.iter().map(|(_, rows)| rows).sum(),
            dropped,
            payloads_dropped_total: counters.payloads_dropped.load(Ordering::Relaxed),
            evicted_total: counters.evicted.load(Ordering::Relaxed),
            dead_letter_total: count(counters.dead_letters.load(Ordering::Relaxed)),
            postgres: self.postgres.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Waits until everything recorded so far is in the file; `false`: not within the deadline.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let (done, answer) = oneshot::channel();
        self.shared.command(Command::Flush(done));
        matches!(timeout(deadline, answer).await, Ok(Ok(true)))
    }

    /// Writes everything queued, tries once more to empty the spool into PostgreSQL, and closes the file.
    /// What PostgreSQL does not take within the deadline stays in the spool for the next start. Rows
    /// recorded during the call are still written; later ones are counted as dropped.
    pub async fn close(&self, deadline: Duration) {
        let end = Instant::now() + deadline;
        let reserve = FILE_SHARE.min(deadline / 2);
        if !self.flush(deadline - reserve).await {
            tracing::error!("request rows could not be written before the deadline");
        }
        if timeout_at(end - reserve, self.responses.flush()).await.is_err() {
            tracing::error!("stored responses could not be written before the deadline");
        }
        self.closing.cancel();
        self.tasks.close();
        if timeout_at(end - reserve, self.tasks.wait()).await.is_err() {
            self.ended.cancel();
            self.tasks.wait().await;
        }
        self.shared.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(writer) = writer else { return };
        let joined = tokio::task::spawn_blocking(move || writer.join().is_ok());
        if !matches!(timeout_at(end, joined).await, Ok(Ok(true))) {
            tracing::error!("the request log did not close before the deadline");
        }
        let status = self.status();
        if status.postgres != PostgresState::Off && status.spool_rows > 0 {
            let rows = status.spool_rows;
            tracing::info!(rows, "request rows wait in the spool for the next start");
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.closing.cancel();
        self.ended.cancel();
        self.shared.close();
    }
}

impl fmt::Display for PostgresState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Connecting => f.write_str("connecting"),
            Self::Connected => f.write_str("connected"),
            Self::Error(reason) => write!(f, "error: {reason}"),
        }
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spool(error) => error.fmt(f),
            Self::System(reason) => write!(f, "the request log cannot start: {reason}"),
            Self::PathChanged { open, wanted } => write!(
                f,
                "the request log stays in {}: moving it to {} needs a restart",
                open.display(),
                wanted.display()
            ),
        }
    }
}

impl std::error::Error for JournalError {}

fn configure(shared: &Shared, settings: &RequestLog) {
    shared.enabled.store(!settings.disabled, Ordering::Relaxed);
    shared.store_prompts.store(settings.store_prompts, Ordering::Relaxed);
    shared.draining.store(settings.database_url.is_some(), Ordering::Relaxed);
}

fn target(settings: &RequestLog) -> Target {
    Target {
        database_url: settings.database_url.clone(),
        reader_role: settings.reader_role.clone(),
        retention: settings.retention,
    }
}

#[cfg(test)]
mod tests;
