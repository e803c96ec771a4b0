//! The audit log read back, for `tidegate audit`: from PostgreSQL and from the file, each entry once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use rusqlite::params;
use tokio_postgres::types::Type;

use super::super::query::{self, QueryError};
use super::super::reader;
use super::{Entry, store};
use crate::config::snapshot::RequestLog;

/// What each store has, sorted by chain and number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stores {
    /// The SQLite file; empty where there is none.
    pub file: Vec<Entry>,
    /// PostgreSQL; `None` without a `database_url`.
    pub server: Option<Vec<Entry>>,
}

/// Reads all entries since a moment, or all there are.
///
/// # Errors
///
/// A store cannot be read; without a `database_url`, there is no file.
pub async fn stores(settings: &RequestLog, since: Option<Timestamp>) -> Result<Stores, QueryError> {
    let since = since.map_or(0, |since| since.as_microsecond().max(0));
    let path = settings.path.clone();
    let read = tokio::task::spawn_blocking(move || in_file(path, since)).await;
    let file = read.unwrap_or_else(|error| Err(QueryError::Output(std::io::Error::other(error))));
    let Some(server) = query::server(settings)? else {
        return Ok(Stores { file: file?, server: None });
    };
    let sql = "SELECT row_to_json(t)::text FROM (
                 SELECT chain::text, seq, (extract(epoch FROM at) * 1000000)::bigint AS at, instance, actor,
                   source, action, object, outcome, before, after, config_sha256, prev_hash, hash
                 FROM tidegate.audit_log WHERE at >= to_timestamp($1::text::bigint / 1000000.0)
                 ORDER BY chain, seq) t";
    let since = since.to_string();
    let rows = server.texts(sql, &[(&since, Type::TEXT)]).await;
    let rows = rows.map_err(|fault| QueryError::Postgres(fault.to_string()))?;
    let entries = rows.iter().filter_map(|json| serde_json::from_str(json).ok());
    // A file that is not here belongs to a gateway on another machine.
    let file = match file {
        Err(QueryError::NoLog(_)) => Vec::new(),
        read => read?,
    };
    Ok(Stores { file, server: Some(entries.collect()) })
}

impl Stores {
    /// Each entry once, oldest first.
    pub fn merged(self) -> Vec<Entry> {
        let all = self.file.into_iter().chain(self.server.into_iter().flatten());
        let once: BTreeMap<(i64, String, i64), Entry> =
            all.map(|entry| ((entry.at, entry.chain.clone(), entry.seq), entry)).collect();
        once.into_values().collect()
    }
}

fn in_file(path: PathBuf, since: i64) -> Result<Vec<Entry>, QueryError> {
    if !path.exists() {
        return Err(QueryError::NoLog(path));
    }
    let read = || -> rusqlite::Result<Vec<Entry>> {
        let connection = reader::open_read_only(&path)?;
        let columns = store::COLUMNS;
        let sql = format!("SELECT {columns} FROM audit_log WHERE at >= ?1 ORDER BY chain, seq");
        connection.prepare(&sql)?.query_map(params![since], store::read)?.collect()
    };
    read().map_err(|error| QueryError::Sqlite(path.clone(), error))
}
