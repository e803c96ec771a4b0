//! The drainer: moves rows from the spool to PostgreSQL, oldest first, and has them deleted only after
//! the server answered COMMIT. Whatever is wrong with the server, rows stay where they are and are
//! sent again; sending twice is harmless. No request ever waits for anything here.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;

use crate::ground::secret::Secret;

use super::audit::{self, Act};
use super::grants;
use super::postgres::{Fault, Postgres, month_of};
use super::queue::{Command, Shared};
use super::reader::{Reader, Row};
use super::retention;
use super::spool;

/// Rows and bytes of one transaction.
const BATCH_ROWS: usize = 500;
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// So many rows in a batch, all of them refused, are no accident.
const SUSPICIOUS: usize = 10;
/// How long the first row waits for others.
const BATCH_TIME: Duration = Duration::from_millis(200);
/// First and longest wait after a fault of the server; the true wait is anything up to it.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// How long to wait when a person has to mend something.
const DRIFT_PAUSE: Duration = Duration::from_secs(30);
/// How often an idle connection is looked at, so that `/health` tells the truth.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(3600);

/// Where rows go, and for how long they are kept there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) database_url: Option<Secret>,
    pub(super) reader_role: Option<String>,
    pub(super) retention: Option<Duration>,
}

/// How PostgreSQL is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PostgresState {
    /// No `database_url`: SQLite is the store.
    #[default]
    Off,
    Connecting,
    Connected,
    /// Rows wait in the spool; the text says why and holds no password.
    Error(String),
}

/// The task's parts.
pub(super) struct Drainer {
    pub(super) shared: Arc<Shared>,
    pub(super) path: PathBuf,
    pub(super) target: watch::Receiver<Target>,
    pub(super) state: Arc<Mutex<PostgresState>>,
    /// Take what is left, once, and end.
    pub(super) closing: CancellationToken,
}

/// One server, until the target changes or the journal closes.
struct Session<'d> {
    drainer: &'d Drainer,
    postgres: Postgres,
    reader: Option<(u64, Reader)>,
    reader_role: Option<String>,
    retention: Option<Duration>,
    migrated: bool,
    maintained_at: Option<Instant>,
    /// When the server last showed that it is there.
    answered_at: Option<Instant>,
    batch_rows: usize,
    /// The audit log's chain, and the last of its entries that the server has.
    audited: Option<(String, i64)>,
}

/// What a turn of the session came to.
enum Turn {
    /// There are more rows.
    Moved,
    /// The spool is, or was a moment ago, empty.
    Idle,
}

impl Drainer {
    /// Runs until the journal closes; never fails.
    pub(super) async fn run(mut self) {
        loop {
            let target = self.target.borrow_and_update().clone();
            let mut changed = self.target.clone();
            let closing = self.closing.clone();
            tokio::select! {
                biased;
                () = self.follow(&target) => return,
                outcome = changed.changed() => if outcome.is_err() { closing.cancelled().await },
            }
            if self.closing.is_cancelled() {
                return;
            }
        }
    }

    /// Drains to one target; returns only when the journal closes.
    async fn follow(&self, target: &Target) {
        let Some(url) = &target.database_url else {
            self.show(PostgresState::Off);
            return self.closing.cancelled().await;
        };
        self.show(PostgresState::Connecting);
        let postgres = match Postgres::new(url.expose()) {
            Ok(postgres) => postgres,
            Err(error) => {
                tracing::error!(%error, "rows stay in the spool");
                self.show(PostgresState::Error(error.to_string()));
                return self.closing.cancelled().await;
            }
        };
        let mut session = Session {
            drainer: self,
            postgres,
            reader: None,
            reader_role: target.reader_role.clone(),
            retention: target.retention,
            migrated: false,
            maintained_at: None,
            answered_at: None,
            batch_rows: BATCH_ROWS,
            audited: None,
        };
        session.run().await;
    }

    fn show(&self, state: PostgresState) {
        let mut shown = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*shown, &state) {
            (old, new) if old == new => {}
            (_, PostgresState::Connected) => tracing::info!("request rows reach PostgreSQL"),
            (PostgresState::Error(_), PostgresState::Error(_)) => {
                if let PostgresState::Error(reason) = &state {
                    tracing::warn!(
                        reason,
                        "PostgreSQL is still not available; rows wait in the spool"
                    );
                }
            }
            (_, PostgresState::Error(reason)) => {
                tracing::warn!(reason, "PostgreSQL is not available; rows wait in the spool");
            }
            _ => {}
        }
        *shown = state;
    }
}

impl Session<'_> {
    async fn run(&mut self) {
        let mut faults = 0_u32;
        loop {
            let closing = self.drainer.closing.is_cancelled();
            let pause = match self.turn().await {
                Ok(turn) => {
                    faults = 0;
                    self.drainer.show(PostgresState::Connected);
                    match turn {
                        Turn::Moved => continue,
                        Turn::Idle if closing => return,
                        Turn::Idle => {
                            self.wait_for_rows().await;
                            continue;
                        }
                    }
                }
                Err(fault) => {
                    self.drainer.show(PostgresState::Error(fault.to_string()));
                    faults = faults.saturating_add(1);
                    if let Fault::Drift(_) = fault {
                        // The tables may have been dropped, or made anew by someone else.
                        self.migrated = false;
                        DRIFT_PAUSE
                    } else {
                        back_off(faults)
                    }
                }
            };
            if closing {
                // The last try failed; what is left stays in the spool for the next start.
                return;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.drainer.closing.cancelled() => {}
            }
        }
    }

    /// Until rows were committed and had a moment to gather, or the server is due for a look.
    async fn wait_for_rows(&mut self) {
        let gathered = async {
            self.drainer.shared.committed.notified().await;
            sleep(BATCH_TIME).await;
        };
        tokio::select! {
            () = gathered => {}
            () = sleep(PING_INTERVAL) => {}
            () = self.drainer.closing.cancelled() => {}
        }
    }

    /// One batch, after whatever has to come before it.
    async fn turn(&mut self) -> Result<Turn, Fault> {
        if !self.migrated {
            let taken = self.postgres.migrate().await?;
            self.migrated = true;
            for step in taken {
                let object = format!("PostgreSQL, schema step {step}");
                self.shared().audit(Act::new("migrate", audit::Source::Gateway, object));
            }
        }
        self.maintain().await?;
        self.copy_audit().await?;
        let (rows, more) = self.read().await?;
        if rows.is_empty() {
            if self.answered_at.is_none_or(|at| at.elapsed() >= PING_INTERVAL / 2) {
                self.postgres.ping().await?;
                self.answered_at = Some(Instant::now());
            }
            return Ok(Turn::Idle);
        }
        let outcome = self.send(&rows).await;
        self.batch_rows = match outcome {
            Ok(()) => (self.batch_rows * 2).min(BATCH_ROWS),
            // A slow server may manage half.
            Err(Fault::Away(_)) => (self.batch_rows / 2).max(1),
            Err(_) => self.batch_rows,
        };
        outcome?;
        self.answered_at = Some(Instant::now());
        self.shared().counters.drained.fetch_add(rows.len() as u64, Ordering::Relaxed);
        let ids = rows.into_iter().map(|row| row.request_id).collect();
        self.ask(|done| Command::Delete(ids, done)).await?;
        // Without more to do the next rows get their moment to gather; before the end there is none.
        let more = more || self.drainer.closing.is_cancelled();
        Ok(if more { Turn::Moved } else { Turn::Idle })
    }

    /// Once an hour: partitions for the months to come, and an end for rows past retention. That the
    /// latter fails is no reason to stop taking rows.
    async fn maintain(&mut self) -> Result<(), Fault> {
        if self.maintained_at.is_some_and(|at| at.elapsed() < MAINTENANCE_INTERVAL) {
            return Ok(());
        }
        let now_us = jiff::Timestamp::now().as_microsecond();
        self.postgres.make_partitions(now_us).await?;
        self.maintained_at = Some(Instant::now());
        if let Some(role) = &self.reader_role
            && let Err(fault) = grants::let_read(&self.postgres, role).await
        {
            tracing::warn!(%fault, role, "`reader_role` cannot read; the next try is in an hour");
        }
        if let Some(retention) = self.retention
            && let Err(fault) = retention::expire(&self.postgres, retention, now_us).await
        {
            tracing::warn!(%fault, "old request rows could not be deleted; the next try is in an hour");
        }
        Ok(())
    }

    /// Copies what the audit log has that the server has not. That it cannot be is no reason to stop taking rows.
    async fn copy_audit(&mut self) -> Result<(), Fault> {
        loop {
            let written = self.shared().counters.audit_seq.load(Ordering::Relaxed);
            if self.audited.as_ref().map_or(0, |(_, copied)| *copied) == written {
                return Ok(());
            }
            let chain = self.in_file(|reader| reader.audit_chain()).await?.flatten();
            let Some(chain) = chain else { return Ok(()) };
            match self.copy_chain(&chain).await {
                Ok(Some(last)) => self.audited = Some((chain, last)),
                Ok(None) => return Ok(()),
                Err(fault @ Fault::Away(_)) => return Err(fault),
                Err(fault) => {
                    tracing::error!(%fault, "PostgreSQL refuses entries of the audit log");
                    self.audited = Some((chain, written));
                }
            }
        }
    }

    /// Copies the next entries of a chain; the number of the last one, or nothing where there is no more.
    async fn copy_chain(&mut self, chain: &str) -> Result<Option<i64>, Fault> {
        let copied = match &self.audited {
            Some((known, copied)) if known == chain => *copied,
            _ => self.copied(chain).await?,
        };
        let entries = self.in_file(move |reader| reader.audit_after(copied)).await?;
        let entries = entries.unwrap_or_default();
        let Some(last) = entries.last().map(|entry| entry.seq) else {
            self.audited = Some((chain.to_owned(), copied));
            return Ok(None);
        };
        self.postgres.insert_audit(&audit::store::to_json(&entries)).await?;
        Ok(Some(last))
    }

    /// The last entry of a chain that the server has.
    async fn copied(&mut self, chain: &str) -> Result<i64, Fault> {
        let sql = "SELECT coalesce(max(seq), 0)::text FROM tidegate.audit_log WHERE chain = $1::text::uuid";
        let found = self.postgres.texts(sql, &[(&chain, Type::TEXT)]).await?;
        Ok(found.first().and_then(|seq| seq.parse().ok()).unwrap_or(0))
    }

    async fn read(&mut self) -> Result<(Vec<Row>, bool), Fault> {
        let limit = self.batch_rows;
        let rows = self.in_file(move |reader| reader.oldest(limit, BATCH_BYTES)).await?;
        Ok(rows.unwrap_or_default())
    }

    /// Reads from the file on a thread that may wait for it; `None` while there is no file.
    async fn in_file<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Reader) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<Option<T>, Fault> {
        // The writer may have begun a new file.
        let generation = self.shared().file_generation.load(Ordering::Acquire);
        let reader = self.reader.take().filter(|(opened, _)| *opened == generation);
        if reader.is_none() && generation == 0 {
            return Ok(None);
        }
        let path = self.drainer.path.clone();
        let read = tokio::task::spawn_blocking(move || {
            let reader = match reader {
                Some((_, reader)) => reader,
                None => Reader::open(&path)?,
            };
            let found = work(&reader)?;
            Ok::<_, rusqlite::Error>((reader, found))
        });
        match read.await {
            Ok(Ok((reader, found))) => {
                self.reader = Some((generation, reader));
                Ok(Some(found))
            }
            Ok(Err(error)) => {
                if spool::is_corrupt(&error) {
                    self.shared().command(Command::SetAside(generation, error.to_string()));
                }
                Err(Fault::Away(format!("the spool cannot be read: {error}")))
            }
            Err(error) => Err(Fault::Away(format!("the spool cannot be read: {error}"))),
        }
    }

    /// Commits the batch; rows that the server refuses for their content are found by halving and buried.
    async fn send(&mut self, rows: &[Row]) -> Result<(), Fault> {
        let mut parts = vec![rows];
        let mut refused = Vec::new();
        let mut made_partitions = false;
        while let Some(part) = parts.pop() {
            let entries = array(part.iter().map(|row| row.entry.as_str()));
            let payloads = array(part.iter().map(|row| row.payloads.as_str()));
            let tool_calls = array(part.iter().map(|row| row.tool_calls.as_str()));
            let outcome = match self.postgres.insert(&entries, &payloads, &tool_calls).await {
                Err(Fault::NoPartition) if !made_partitions => {
                    let made = self.make_partitions(part).await;
                    if made.is_ok() {
                        made_partitions = true;
                        parts.push(part);
                        continue;
                    }
                    made
                }
                outcome => outcome,
            };
            match outcome {
                Ok(()) => made_partitions = false,
                Err(Fault::NoPartition) => {
                    return Err(Fault::Drift(Fault::NoPartition.to_string()));
                }
                Err(Fault::Row(reason)) => match part {
                    [row] => refused.push((row.clone(), reason)),
                    _ => {
                        let (left, right) = part.split_at(part.len() / 2);
                        parts.extend([right, left]);
                    }
                },
                Err(fault) => return Err(fault),
            }
        }
        match refused.first() {
            None => Ok(()),
            // Not the rows are at fault, but a constraint that somebody put on the table.
            Some((_, reason)) if refused.len() == rows.len() && rows.len() >= SUSPICIOUS => {
                Err(Fault::Drift(format!("every row is refused: {reason}")))
            }
            Some(_) => self.bury(refused).await,
        }
    }

    /// For rows older than the partitions made in advance, or from a clock that runs ahead of this one.
    async fn make_partitions(&mut self, rows: &[Row]) -> Result<(), Fault> {
        for month in months(rows) {
            self.postgres.make_partitions(month).await?;
        }
        Ok(())
    }

    async fn bury(&mut self, rows: Vec<(Row, String)>) -> Result<(), Fault> {
        for (row, reason) in &rows {
            tracing::error!(
                request_id = row.request_id,
                reason,
                "PostgreSQL refuses a request row; it is kept in dead_letters"
            );
        }
        self.ask(|done| Command::Bury(rows, done)).await
    }

    /// Has the writer do something and waits for it.
    async fn ask(
        &mut self,
        command: impl FnOnce(oneshot::Sender<bool>) -> Command,
    ) -> Result<(), Fault> {
        let (done, answer) = oneshot::channel();
        self.shared().command(command(done));
        match answer.await {
            Ok(true) => Ok(()),
            _ => Err(Fault::Away("the spool cannot be written".to_owned())),
        }
    }

    fn shared(&self) -> &Shared {
        &self.drainer.shared
    }
}

/// Anything up to 100 ms, 200 ms, … 30 s: full jitter keeps many gateways from coming back at once.
fn back_off(faults: u32) -> Duration {
    let (first, longest) = BACK_OFF;
    let bound = first.saturating_mul(1 << faults.saturating_sub(1).min(16)).min(longest);
    bound.mul_f64(fastrand::f64())
}

fn array<'r>(objects: impl Iterator<Item = &'r str>) -> String {
    let mut json = String::from("[");
    for object in objects.filter(|object| !object.is_empty()) {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(object);
    }
    json.push(']');
    json
}

/// One time in each month that the rows, and their calls of tools, belong to.
fn months(rows: &[Row]) -> Vec<i64> {
    let mut months = std::collections::BTreeMap::new();
    for row in rows {
        months.entry(month_of(row.started_at_us)).or_insert(row.started_at_us);
        if !row.tool_calls.is_empty() {
            months.entry(month_of(row.ended_at_us)).or_insert(row.ended_at_us);
        }
    }
    months.into_values().collect()
}
