//! Rows read in order, however many: from the file within one transaction, so that what moves to PostgreSQL meanwhile is not missed,
//! in pages from PostgreSQL. What is done with them is the business of `usage` and `export`.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Row, params};
use tokio::sync::mpsc;

use super::query::QueryError;
use super::reader;

/// Rows handed over at once.
pub(super) const PAGE: usize = 1000;
/// Pages that wait for whoever takes them.
const WAITING: usize = 2;

/// Which rows: those of requests that began in this span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub since: Timestamp,
    /// Not among them.
    pub until: Timestamp,
}

/// Pages of rows, and in place of the last one perhaps why there is no more.
pub(super) type Pages<T> = mpsc::Receiver<Result<Vec<T>, QueryError>>;

/// Reads the file's rows in the order of (`started_at`, `request_id`). The first page is empty: once it has come, the rows that
/// will follow are settled. Where there is no file, that page is an error.
pub(super) fn file<T: Send + 'static>(
    path: &Path,
    columns: &str,
    span: Span,
    take: impl Fn(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
) -> Pages<T> {
    let (pages, received) = mpsc::channel(WAITING);
    let path = path.to_owned();
    let sql = format!(
        "SELECT {columns} FROM request_logs WHERE started_at >= ?1 AND started_at < ?2
         ORDER BY started_at, request_id"
    );
    tokio::task::spawn_blocking(move || {
        if !path.exists() {
            _ = pages.blocking_send(Err(QueryError::NoLog(path)));
            return;
        }
        let read = || -> rusqlite::Result<()> {
            let mut connection = reader::open_read_only(&path)?;
            let transaction = connection.transaction()?;
            // A transaction sees what is there at its first read.
            transaction.query_row("SELECT max(rowid) FROM request_logs", [], |_| Ok(()))?;
            if pages.blocking_send(Ok(Vec::new())).is_err() {
                return Ok(());
            }
            let mut select = transaction.prepare(&sql)?;
            let span = params![span.since.as_microsecond(), span.until.as_microsecond()];
            let mut rows = select.query(span)?;
            let mut page = Vec::with_capacity(PAGE);
            while let Some(row) = rows.next()? {
                page.push(take(row)?);
                if page.len() >= PAGE && pages.blocking_send(Ok(std::mem::take(&mut page))).is_err()
                {
                    return Ok(());
                }
            }
            _ = pages.blocking_send(Ok(page));
            Ok(())
        };
        if let Err(error) = read() {
            _ = pages.blocking_send(Err(QueryError::Sqlite(path.clone(), error)));
        }
    });
    received
}
