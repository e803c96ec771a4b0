//! The spool read beside its writer: a second, read-only connection, and the rows that the drainer takes
//! from it as JSON. Changes nothing, and knows nothing of PostgreSQL.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::columns::{self, PAYLOADS, REQUESTS};
use super::spool::{BUSY_TIMEOUT, is_corrupt};

/// The drainer's connection.
pub(super) struct Reader {
    connection: Connection,
}

/// A row on its way to PostgreSQL.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) request_id: String,
    /// Microseconds since 1970 UTC: the partition it belongs to.
    pub(super) started_at_us: i64,
    /// The row as a JSON object.
    pub(super) entry: String,
    /// Its bodies as JSON objects, joined by commas.
    pub(super) payloads: String,
}

/// Opens a file that others may be writing to, without being able to change it.
pub(super) fn open_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

impl Reader {
    /// Opens the file for reading only.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        open_read_only(path).map(|connection| Self { connection })
    }

    /// The first rows written that are still there, at most `limit` of them and, after the first, at
    /// most `bytes` of JSON; and whether there may be more.
    pub(super) fn oldest(&self, limit: usize, bytes: usize) -> rusqlite::Result<(Vec<Row>, bool)> {
        let columns = columns::names(REQUESTS);
        let mut select = self.connection.prepare_cached(&format!(
            "SELECT {columns} FROM request_logs ORDER BY rowid LIMIT ?"
        ))?;
        let with_payloads = self.has_payloads()?;
        let mut rows = select.query(params![i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut batch: Vec<Row> = Vec::new();
        let mut size = 0;
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => break,
                // What was read before the damage is worth having.
                Err(error) if is_corrupt(&error) && !batch.is_empty() => return Ok((batch, true)),
                Err(error) => return Err(error),
            };
            let request_id: String = row.get(0)?;
            let mut entry = String::with_capacity(1536);
            columns::write_json(row, REQUESTS, &mut entry)?;
            let payloads = if with_payloads { self.payloads(&request_id)? } else { String::new() };
            size += entry.len() + payloads.len();
            if size > bytes && !batch.is_empty() {
                return Ok((batch, true));
            }
            batch.push(Row { request_id, started_at_us: row.get(1)?, entry, payloads });
        }
        let is_full = batch.len() >= limit;
        Ok((batch, is_full))
    }

    fn has_payloads(&self) -> rusqlite::Result<bool> {
        let one: Option<i64> = self
            .connection
            .prepare_cached("SELECT 1 FROM request_payloads LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        Ok(one.is_some())
    }

    fn payloads(&self, request_id: &str) -> rusqlite::Result<String> {
        let columns = columns::names(PAYLOADS);
        let mut select = self.connection.prepare_cached(&format!(
            "SELECT {columns} FROM request_payloads WHERE request_id = ?"
        ))?;
        let mut rows = select.query(params![request_id])?;
        let mut json = String::new();
        while let Some(row) = rows.next()? {
            if !json.is_empty() {
                json.push(',');
            }
            columns::write_json(row, PAYLOADS, &mut json)?;
        }
        Ok(json)
    }
}
