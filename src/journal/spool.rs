//! The SQLite file: opening, mending, and every statement that changes it. One `Spool` lives in the
//! writer thread, the file's only writer in this process. Knows nothing of queues, threads or PostgreSQL.

use std::fmt::{self, Display};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};

use super::reader::Row;
use super::{GENERATION, columns};
use crate::entry::{Entry, Payload};

/// How long a statement waits for another process that holds the file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of one stored body; what is longer is cut, whatever the caller sends.
const BODY_LIMIT: usize = 256 * 1024;
/// Most rows kept for a person to look at after PostgreSQL refused them; the oldest go first.
const DEAD_LETTER_LIMIT: u32 = 10_000;
/// Every step of the schema, oldest first; `user_version` says how many were taken.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/sqlite_0001_request_logs.sql"),
    include_str!("migrations/sqlite_0002_losses.sql"),
    include_str!("migrations/sqlite_0003_tool_calls.sql"),
    include_str!("migrations/sqlite_0004_prices.sql"),
    include_str!("migrations/sqlite_0005_audit_log.sql"),
    include_str!("migrations/sqlite_0006_traces.sql"),
    include_str!("migrations/sqlite_0007_audit_seq.sql"),
];

/// Why the file cannot be used.
#[derive(Debug)]
pub enum SpoolError {
    /// The file's directory cannot be made.
    Directory(PathBuf, io::Error),
    /// SQLite refuses.
    Sqlite(PathBuf, rusqlite::Error),
    /// A newer release has changed the schema in a way that this one cannot live with.
    Newer(PathBuf, usize),
}

/// The writer's connection.
pub(super) struct Spool {
    connection: Connection,
    path: PathBuf,
    file: Option<FileId>,
}

/// What tells one file from another at the same path.
type FileId = (u64, u64);

impl Spool {
    /// Opens the file, making it and its directory when absent and bringing its schema up to date. A
    /// file that is no database any more is moved aside and a new one begun.
    pub(super) fn open(path: &Path) -> Result<Self, SpoolError> {
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(directory)
                .map_err(|error| SpoolError::Directory(directory.to_owned(), error))?;
        }
        match Self::open_once(path) {
            Err(SpoolError::Sqlite(_, error)) if is_corrupt(&error) => {
                set_aside(path, &error);
                Self::open_once(path)
            }
            outcome => outcome,
        }
    }

    /// The same, but with `existing_only` a file that is absent stays so.
    pub(super) fn open_if(path: &Path, existing_only: bool) -> Result<Option<Self>, SpoolError> {
        if existing_only && !path.exists() {
            return Ok(None);
        }
        Self::open(path).map(Some)
    }

    fn open_once(path: &Path) -> Result<Self, SpoolError> {
        let refused = |error| SpoolError::Sqlite(path.to_owned(), error);
        let mut connection = Connection::open(path).map_err(refused)?;
        prepare(&connection).map_err(refused)?;
        migrate(&mut connection).map_err(refused)?;
        // In WAL mode a crash of this process loses nothing that was committed; NORMAL leaves the fsync
        // to checkpoints, so that only a crash of the machine can cost the last moments.
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(refused)?;
        let version = schema_version(&connection).map_err(refused)?;
        if version / GENERATION > MIGRATIONS.len() / GENERATION {
            return Err(SpoolError::Newer(path.to_owned(), version));
        }
        // Damage in the pages every insert needs shows now, not with the first request.
        touch(&connection).map_err(refused)?;
        Ok(Self { connection, path: path.to_owned(), file: file_id(path) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to the file that is open: a person may have moved or deleted it.
    pub(super) fn is_in_place(&self) -> bool {
        self.file.is_none() || self.file == file_id(&self.path)
    }

    /// Writes the rows in one transaction and returns how many were new. A row that SQLite refuses by
    /// itself (an id that is there already) is passed over; any other error undoes all of them.
    pub(super) fn insert(&mut self, entries: &[Entry], instance: &str) -> rusqlite::Result<usize> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut written = 0;
        {
            let mut scratch = String::new();
            let mut insert = transaction.prepare_cached(&columns::INSERT_REQUEST)?;
            for entry in entries {
                columns::bind(&mut insert, entry, instance, &mut scratch)?;
                written += insert.raw_execute()?;
                if let Some(payload) = &entry.payload {
                    insert_payload(&transaction, entry, payload)?;
                }
                if !entry.tool_call_logs.is_empty() {
                    insert_tool_calls(&transaction, entry, instance, &mut scratch)?;
                }
            }
        }
        transaction.commit()?;
        Ok(written)
    }

    /// Deletes rows that are safe elsewhere, with their payloads and tool calls; returns how many were there.
    pub(super) fn delete(&mut self, ids: &[String]) -> rusqlite::Result<usize> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let deleted = delete_in(&transaction, ids)?;
        transaction.commit()?;
        Ok(deleted)
    }

    /// Moves rows that PostgreSQL refuses into `dead_letters`. Returns how many rows were moved, and how
    /// many dead letters had to go to keep to their bound.
    pub(super) fn bury(
        &mut self,
        rows: &[(Row, String)],
        now_us: i64,
    ) -> rusqlite::Result<(usize, usize)> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (row, reason) in rows {
            transaction.execute(
                "INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?, ?, ?, ?)",
                params![
                    row.request_id,
                    now_us,
                    reason,
                    row.entry,
                    format!("[{}]", row.payloads),
                    format!("[{}]", row.tool_calls)
                ],
            )?;
        }
        let lost = transaction.execute(
            "DELETE FROM dead_letters WHERE request_id IN
               (SELECT request_id FROM dead_letters ORDER BY buried_at DESC LIMIT -1 OFFSET ?)",
            params![DEAD_LETTER_LIMIT],
        )?;
        let ids: Vec<_> = rows.iter().map(|(row, _)| row.request_id.clone()).collect();
        let moved = delete_in(&transaction, &ids)?;
        transaction.commit()?;
        Ok((moved, lost))
    }

    /// Deletes at most `limit` of the rows, and of the dead letters, from before `before_us`; returns
    /// how many request rows went and whether more are left.
    pub(super) fn expire(&mut self, before_us: i64, limit: u32) -> rusqlite::Result<(usize, bool)> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut counts = [0; 4];
        for (count, (table, time)) in counts.iter_mut().zip([
            ("request_logs", "started_at"),
            ("request_payloads", "started_at"),
            ("tool_call_logs", "started_at"),
            ("dead_letters", "buried_at"),
        ]) {
            *count = transaction
                .prepare_cached(&delete_oldest(table, time, "< ?1"))?
                .execute(params![before_us, limit])?;
        }
        transaction.commit()?;
        let [requests, ..] = counts;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok((requests, counts.iter().any(|count| *count >= limit)))
    }

    /// Makes room in a full spool: the oldest bodies first, and when there are none the oldest rows.
    /// Returns how many rows were given up.
    pub(super) fn shed(&mut self, limit: u32) -> rusqlite::Result<usize> {
        let everything = params![i64::MAX, limit];
        let oldest = delete_oldest("request_payloads", "started_at", "<= ?1");
        if self.connection.execute(&oldest, everything)? > 0 {
            return Ok(0);
        }
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Both look along the same index, so that no call outlives its request.
        transaction.execute(
            "DELETE FROM tool_call_logs WHERE request_id IN
               (SELECT request_id FROM request_logs WHERE started_at <= ?1 ORDER BY started_at, rowid LIMIT ?2)",
            everything,
        )?;
        let oldest = delete_oldest("request_logs", "started_at", "<= ?1");
        let deleted = transaction.execute(&oldest, everything)?;
        transaction.commit()?;
        Ok(deleted)
    }

    /// For statements on tables that are not the requests'.
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) fn count(&self) -> rusqlite::Result<i64> {
        self.connection.query_row("SELECT count(*) FROM request_logs", [], |row| row.get(0))
    }

    pub(super) fn count_dead_letters(&self) -> rusqlite::Result<i64> {
        self.connection.query_row("SELECT count(*) FROM dead_letters", [], |row| row.get(0))
    }

    /// When the oldest row's request began, in microseconds since 1970 UTC.
    pub(super) fn oldest_us(&self) -> rusqlite::Result<Option<i64>> {
        self.connection
            .prepare_cached("SELECT min(started_at) FROM request_logs")?
            .query_row([], |row| row.get(0))
    }

    /// Bytes that hold rows; pages that were freed and will be used again do not count.
    pub(super) fn used_bytes(&self) -> rusqlite::Result<u64> {
        let pragma =
            |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
        Ok(pages.saturating_mul(pragma("page_size")?).unsigned_abs())
    }

    /// Gives up to 16 MiB of freed pages back to the file system.
    pub(super) fn vacuum(&self) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare("PRAGMA incremental_vacuum(4096)")?;
        let mut pages = statement.query([])?;
        while pages.next()?.is_some() {}
        Ok(())
    }

    /// Moves the write-ahead log into the file and empties it.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// Closes the file and moves it aside; the next `open` begins a new one.
    pub(super) fn set_aside(self, reason: &dyn Display) {
        let path = self.path.clone();
        drop(self);
        set_aside(&path, reason);
    }
}

impl Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path, error) => {
                write!(f, "the directory {} cannot be made: {error}", path.display())
            }
            Self::Sqlite(path, error) => {
                write!(f, "the request log {} cannot be opened: {error}", path.display())
            }
            Self::Newer(path, version) => write!(
                f,
                "the request log {} was written by a newer release (schema {version}, this one knows \
                 {}): use that release, or another path",
                path.display(),
                MIGRATIONS.len()
            ),
        }
    }
}

impl std::error::Error for SpoolError {}

/// Whether the error says that the file is damaged or no database at all.
pub(super) fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Only heeded while the file is empty, so it comes before anything that writes.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    // A new file holds nothing that a crash of the machine could cost, and its four fsyncs would be most
    // of the time that starting takes.
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    if pages == 0 {
        connection.pragma_update(None, "synchronous", "OFF")?;
    }
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    // In KiB, half of SQLite's default: rows are written at the end and read once.
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    if schema_version(connection)? >= MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again under the lock: another process may have been first.
    let done = schema_version(&transaction)?;
    for step in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    if done < MIGRATIONS.len() {
        transaction.pragma_update(
            None,
            "user_version",
            u32::try_from(MIGRATIONS.len()).unwrap_or(0),
        )?;
    }
    transaction.commit()
}

/// How many steps of the schema this release knows.
pub(super) fn known_schema() -> usize {
    MIGRATIONS.len()
}

fn schema_version(connection: &Connection) -> rusqlite::Result<usize> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn touch(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .query_row(
            "SELECT (SELECT max(started_at) FROM request_logs), (SELECT max(request_id) FROM request_logs),
               (SELECT max(rowid) FROM request_logs)",
            [],
            |_| Ok(()),
        )
}

fn delete_in(connection: &Connection, ids: &[String]) -> rusqlite::Result<usize> {
    let mut deleted = 0;
    let mut request = connection.prepare_cached("DELETE FROM request_logs WHERE request_id = ?")?;
    let mut payload =
        connection.prepare_cached("DELETE FROM request_payloads WHERE request_id = ?")?;
    let mut calls = connection.prepare_cached("DELETE FROM tool_call_logs WHERE request_id = ?")?;
    for id in ids {
        deleted += request.execute(params![id])?;
        payload.execute(params![id])?;
        calls.execute(params![id])?;
    }
    Ok(deleted)
}

fn delete_oldest(table: &str, time: &str, condition: &str) -> String {
    format!(
        "DELETE FROM {table} WHERE rowid IN
           (SELECT rowid FROM {table} WHERE {time} {condition} ORDER BY {time}, rowid LIMIT ?2)"
    )
}

fn insert_payload(
    connection: &Connection,
    entry: &Entry,
    payload: &Payload,
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(&columns::INSERT_PAYLOAD)?;
    for (kind, body, truncated) in [
        ("request", &payload.request, payload.request_truncated),
        ("response", &payload.response, payload.response_truncated),
    ] {
        if body.is_empty() {
            continue;
        }
        let (encoding, text, cut) = readable(body);
        insert.execute(params![
            entry.request_id.hyphenated().to_string(),
            entry.started_at_us,
            kind,
            encoding,
            i64::try_from(body.len()).unwrap_or(i64::MAX),
            truncated || cut,
            text,
        ])?;
    }
    Ok(())
}

fn insert_tool_calls(
    connection: &Connection,
    entry: &Entry,
    instance: &str,
    scratch: &mut String,
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(&columns::INSERT_TOOL_CALL)?;
    for call in &entry.tool_call_logs {
        columns::bind_tool_call(&mut insert, entry, call, instance, scratch)?;
        insert.raw_execute()?;
    }
    Ok(())
}

/// A body as text: its encoding's name, the text, and whether something was cut off. Speech and
/// pictures are noted by their size only; their bytes would say nothing to a reader of rows.
fn readable(body: &[u8]) -> (&'static str, std::borrow::Cow<'_, str>, bool) {
    let whole = body.len() <= BODY_LIMIT;
    let body = body.get(..BODY_LIMIT).unwrap_or(body);
    match std::str::from_utf8(body) {
        Ok(text) => ("utf-8", columns::clean(text, BODY_LIMIT), !whole),
        // The cut fell inside a character.
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            let text = body.get(..error.valid_up_to()).unwrap_or_default();
            let text = std::str::from_utf8(text).unwrap_or_default();
            ("utf-8", columns::clean(text, BODY_LIMIT), true)
        }
        Err(_) => ("binary", "".into(), true),
    }
}

/// Renames the file and its companions to `….corrupt-<time>`.
fn set_aside(path: &Path, reason: &dyn Display) {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.6f").to_string();
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = with(&format!(".corrupt-{time}"));
    for companion in ["", "-wal", "-shm"] {
        let mut name = aside.as_os_str().to_owned();
        name.push(companion);
        match fs::rename(with(companion), name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a damaged request log cannot be moved aside");
            }
        }
    }
    tracing::error!(
        path = %path.display(),
        moved_to = %aside.display(),
        %reason,
        "the request log is damaged; it was moved aside and a new one begun"
    );
}

#[cfg(unix)]
fn file_id(path: &Path) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn file_id(_path: &Path) -> Option<FileId> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::ToolCall;

    #[test]
    fn a_full_disk_undoes_the_group_and_passes() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(&directory.path().join("x.db")).unwrap();
        // SQLite's own bound answers as a full disk does.
        spool_bound(&spool.connection, 30);
        let group = || -> Vec<Entry> {
            (0..50)
                .map(|_| Entry { request_id: uuid::Uuid::now_v7(), ..Entry::default() })
                .collect()
        };
        let mut written = 0;
        let error = loop {
            match spool.insert(&group(), "test") {
                Ok(rows) => written += i64::try_from(rows).unwrap(),
                Err(error) => break error,
            }
        };
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull));
        assert!(!is_corrupt(&error));
        assert_eq!(spool.count().unwrap(), written);
        // Deleting makes room where nothing else does.
        assert!(spool.shed(40).unwrap() > 0);
        spool_bound(&spool.connection, 10_000);
        assert_eq!(spool.insert(&group(), "test").unwrap(), 50);
        assert_eq!(spool.count().unwrap(), written + 10);
    }

    #[test]
    fn calls_of_tools_go_with_their_request() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(&directory.path().join("x.db")).unwrap();
        let entries: Vec<Entry> = (0..20)
            .map(|at| {
                let call = || ToolCall { id: uuid::Uuid::now_v7(), ..ToolCall::default() };
                Entry {
                    request_id: uuid::Uuid::now_v7(),
                    // In pairs, so that the order has to be settled by something else.
                    started_at_us: at / 2,
                    tool_call_logs: vec![call(), call()],
                    ..Entry::default()
                }
            })
            .collect();
        spool.insert(&entries, "test").unwrap();
        let strays = |spool: &Spool| -> (i64, i64) {
            let sql = "SELECT count(*), count(*) FILTER (WHERE request_id NOT IN
                         (SELECT request_id FROM request_logs)) FROM tool_call_logs";
            spool.connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        assert_eq!(spool.shed(5).unwrap(), 5);
        assert_eq!(strays(&spool), (30, 0));
        let ids: Vec<_> = entries.iter().skip(10).map(|it| it.request_id.to_string()).collect();
        assert_eq!(spool.delete(&ids).unwrap(), 10);
        assert_eq!(strays(&spool), (10, 0));
    }

    fn spool_bound(connection: &Connection, pages: i64) {
        let sql = format!("PRAGMA max_page_count = {pages}");
        connection.query_row(&sql, [], |_| Ok(())).unwrap();
    }
}
