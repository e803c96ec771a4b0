//! What can be seen of both stores from outside, for `tidegate doctor`: sizes, the schema's step, rights, partitions, the clock.
//! Changes nothing.

use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use super::postgres::{MIGRATIONS, Postgres, TABLES, month_of, partition_name};
use super::query::{self, QueryError};
use super::{GENERATION, reader, spool};
use crate::config::snapshot::RequestLog;

/// The SQLite file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileState {
    /// Of the file and its companions.
    pub bytes: u64,
    /// Rows in it; `None`: it cannot be read, and `error` says why.
    pub rows: Option<u64>,
    pub oldest: Option<Timestamp>,
    pub dead_letters: u64,
    /// Steps of the schema that were taken, and those that this release knows.
    pub schema: (usize, usize),
    pub error: Option<String>,
}

/// The database.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerState {
    pub version: String,
    /// Its clock, less this machine's, in seconds.
    pub clock_ahead: f64,
    /// The schema's last step, and the last one that this release knows; 0: there is no schema yet.
    pub schema: (usize, usize),
    /// What the role may not do and has to, in words.
    pub lacking: Vec<String>,
    /// Partitions for this month and the next that are not there.
    pub missing_partitions: Vec<String>,
}

/// Whether a schema is of a generation that this release cannot write to.
pub fn is_foreign(there: usize, known: usize) -> bool {
    there / GENERATION > known / GENERATION
}

/// Looks at the file; `None` where there is none.
pub fn file(path: &Path) -> Option<FileState> {
    let size = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        std::fs::metadata(name).map(|file| file.len()).ok()
    };
    let bytes = size("")?;
    let companions = ["-wal", "-shm"].iter().filter_map(|suffix| size(suffix)).sum::<u64>();
    let mut state = FileState { bytes: bytes + companions, ..FileState::default() };
    state.schema.1 = spool::known_schema();
    let read = || -> rusqlite::Result<(i64, Option<i64>, i64, i64)> {
        let connection = reader::open_read_only(path)?;
        let sql = "SELECT (SELECT count(*) FROM request_logs), (SELECT min(started_at) FROM request_logs),
                     (SELECT count(*) FROM dead_letters), (SELECT user_version FROM pragma_user_version)";
        connection
            .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
    };
    match read() {
        Ok((rows, oldest, dead_letters, schema)) => {
            state.rows = u64::try_from(rows).ok();
            state.oldest = oldest.and_then(|micros| Timestamp::from_microsecond(micros).ok());
            state.dead_letters = u64::try_from(dead_letters).unwrap_or(0);
            state.schema.0 = usize::try_from(schema).unwrap_or(0);
        }
        Err(error) => state.error = Some(error.to_string()),
    }
    Some(state)
}

/// Asks the database; `None` without a `database_url`.
///
/// # Errors
/// It cannot be reached, or refuses to answer; never with the password.
pub async fn server(settings: &RequestLog) -> Result<Option<ServerState>, QueryError> {
    let Some(server) = query::server(settings)? else { return Ok(None) };
    let state = look(&server).await;
    state.map(Some).map_err(|fault| QueryError::Postgres(fault.to_string()))
}

async fn look(server: &Postgres) -> Result<ServerState, super::postgres::Fault> {
    let asked_at = Timestamp::now();
    let sql = "SELECT json_build_object(
        'version', current_setting('server_version'),
        'now', extract(epoch FROM clock_timestamp()),
        'schema', to_regnamespace('tidegate') IS NOT NULL,
        'create', has_database_privilege(current_database(), 'CREATE'),
        'usage', CASE WHEN to_regnamespace('tidegate') IS NULL THEN NULL
                      ELSE has_schema_privilege('tidegate', 'USAGE') END,
        'create_in', CASE WHEN to_regnamespace('tidegate') IS NULL THEN NULL
                          ELSE has_schema_privilege('tidegate', 'CREATE') END)::text";
    let told = server.texts(sql, &[]).await?;
    let answered_at = Timestamp::now();
    let told: Value =
        told.first().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let says = |name: &str| told.get(name).and_then(Value::as_bool);
    let here = (asked_at.as_microsecond() + answered_at.as_microsecond()) / 2;
    #[expect(clippy::cast_precision_loss, reason = "microseconds are enough")]
    let here = here as f64 / 1e6;
    let versions = MIGRATIONS.iter().map(|(version, ..)| usize::try_from(*version).unwrap_or(0));
    let last = versions.max().unwrap_or(0);
    let mut state = ServerState {
        version: told.get("version").and_then(Value::as_str).unwrap_or_default().to_owned(),
        clock_ahead: told.get("now").and_then(Value::as_f64).map_or(0.0, |there| there - here),
        schema: (0, last),
        ..ServerState::default()
    };
    if says("schema") != Some(true) {
        if says("create") != Some(true) {
            state.lacking.push("it may not create the schema `tidegate`".to_owned());
        }
        return Ok(state);
    }
    if says("usage") != Some(true) {
        state.lacking.push("it may not use the schema `tidegate`".to_owned());
        return Ok(state);
    }
    if says("create_in") != Some(true) {
        state.lacking.push("it may not create partitions in the schema `tidegate`".to_owned());
    }
    let version = "SELECT coalesce(max(version), 0)::text FROM tidegate.migrations";
    let there = server.texts(version, &[]).await?;
    state.schema.0 = there.first().and_then(|version| version.parse().ok()).unwrap_or(0);
    let rights = "SELECT t || ' ' || p FROM unnest(ARRAY['request_logs', 'request_payloads', 'tool_call_logs']) t,
                    unnest(ARRAY['SELECT', 'INSERT', 'DELETE']) p
                  WHERE to_regclass('tidegate.' || t) IS NOT NULL AND NOT has_table_privilege('tidegate.' || t, p)";
    for lacking in server.texts(rights, &[]).await? {
        state.lacking.push(format!("it lacks a right on a table: {lacking}"));
    }
    let partitions =
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                      WHERE i.inhparent = ANY (SELECT to_regclass('tidegate.' || t)::oid FROM
                        unnest(ARRAY['request_logs', 'request_payloads', 'tool_call_logs']) t)";
    let there = server.texts(partitions, &[]).await?;
    let now = month_of(answered_at.as_microsecond());
    let next = now.and_then(|month| month.checked_add(jiff::Span::new().months(1)).ok());
    for month in [now, next].into_iter().flatten() {
        let wanted = TABLES.map(|table| partition_name(table, month));
        state.missing_partitions.extend(wanted.into_iter().filter(|name| !there.contains(name)));
    }
    Ok(state)
}
