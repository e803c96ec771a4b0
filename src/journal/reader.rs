//! The spool read beside its writer: a second, read-only connection, and the rows that the drainer takes
//! from it as JSON. Changes nothing, and knows nothing of PostgreSQL.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::audit::{self, Entry};
use super::columns::{self, Kind, PAYLOADS, REQUESTS, TOOL_CALLS};
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
    /// No call of a tool began later.
    pub(super) ended_at_us: i64,
    /// The row as a JSON object.
    pub(super) entry: String,
    /// Its bodies as JSON objects, joined by commas.
    pub(super) payloads: String,
    /// The same of its calls of tools.
    pub(super) tool_calls: String,
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
        let with_payloads = self.has_any("request_payloads")?;
        let with_tool_calls = self.has_any("tool_call_logs")?;
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
            let of_it = |is_there: bool, table: &str, columns: &[(&str, Kind)]| {
                if is_there { self.rows_of(&request_id, table, columns) } else { Ok(String::new()) }
            };
            let payloads = of_it(with_payloads, "request_payloads", PAYLOADS)?;
            let tool_calls = of_it(with_tool_calls, "tool_call_logs", TOOL_CALLS)?;
            size += entry.len() + payloads.len() + tool_calls.len();
            if size > bytes && !batch.is_empty() {
                return Ok((batch, true));
            }
            let (started_at_us, ended_at_us) = (row.get(1)?, row.get(2)?);
            batch.push(Row { request_id, started_at_us, ended_at_us, entry, payloads, tool_calls });
        }
        let is_full = batch.len() >= limit;
        Ok((batch, is_full))
    }

    /// The id of the audit log's chain; `None` while it has no entry.
    pub(super) fn audit_chain(&self) -> rusqlite::Result<Option<String>> {
        Ok(audit::store::end(&self.connection)?.map(|(chain, _)| chain))
    }

    /// Entries of the audit log after a number, a bounded count of them.
    pub(super) fn audit_after(&self, seq: i64) -> rusqlite::Result<Vec<Entry>> {
        audit::store::after(&self.connection, seq)
    }

    fn has_any(&self, table: &str) -> rusqlite::Result<bool> {
        let one: Option<i64> = self
            .connection
            .prepare_cached(&format!("SELECT 1 FROM {table} LIMIT 1"))?
            .query_row([], |row| row.get(0))
            .optional()?;
        Ok(one.is_some())
    }

    /// What another table has of a request, as JSON objects, joined by commas.
    fn rows_of(
        &self,
        request_id: &str,
        table: &str,
        columns: &[(&str, Kind)],
    ) -> rusqlite::Result<String> {
        let names = columns::names(columns);
        let mut select = self.connection.prepare_cached(&format!(
            "SELECT {names} FROM {table} WHERE request_id = ? ORDER BY rowid"
        ))?;
        let mut rows = select.query(params![request_id])?;
        let mut json = String::new();
        while let Some(row) = rows.next()? {
            if !json.is_empty() {
                json.push(',');
            }
            columns::write_json(row, columns, &mut json)?;
        }
        Ok(json)
    }
}
