//! The read half, for `tidegate logs`: finds rows in PostgreSQL and in the spool and shows each once.
//! Opens the file read-only beside a gateway that is writing it, and never changes anything. How rows
//! are printed is `show`'s business.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OpenFlags, params_from_iter};
use serde_json::{Map, Value};
use tokio_postgres::types::{ToSql, Type};

use crate::config::snapshot::RequestLog;

use super::columns::{self, Kind, REQUESTS};
use super::postgres::Postgres;
use super::{reader, show};

/// How often `follow` looks for new rows.
const POLL: Duration = Duration::from_millis(500);
/// How much later than others a row may reach PostgreSQL and still be seen by `follow`.
const OVERLAP: SignedDuration = SignedDuration::from_secs(10);
/// What ended longer ago than this is in PostgreSQL, or is seen in the spool.
const SETTLED: SignedDuration = SignedDuration::from_mins(5);
/// Rows read at once while following.
const PAGE: usize = 1000;
/// Rows that `follow` remembers having shown.
const REMEMBERED: usize = 20_000;

/// Which rows to show, and how. The default shows the newest 50.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// Requests that began at this moment or later.
    pub since: Option<Timestamp>,
    /// A word (`ok`, `error`, `cancelled`, `shed`, `denied`) or an HTTP status.
    pub status: Option<String>,
    /// A key's alias or id.
    pub key: Option<String>,
    /// A model as it was asked for, as its group is called, or as the provider calls it.
    pub model: Option<String>,
    /// At most this many rows, the newest ones.
    pub limit: usize,
    /// Whatever did not end well.
    pub errors: bool,
    /// One JSON object a line.
    pub json: bool,
}

/// One row: column names and values; times are RFC 3339 text in UTC.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRow(pub Map<String, Value>);

/// Rows, and what kept others from being among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Oldest first.
    pub rows: Vec<LogRow>,
    /// For a person: PostgreSQL was not reached and these are only the rows that wait for it.
    pub notice: Option<String>,
}

/// Why nothing can be shown.
#[derive(Debug)]
pub enum QueryError {
    /// There is no file, so no gateway has written one.
    NoLog(PathBuf),
    Sqlite(PathBuf, rusqlite::Error),
    Postgres(String),
    Output(io::Error),
    /// What was given to be stored is no row; the text says where.
    Input(String),
    /// More lines than this would have to be added up.
    Wide(usize),
}

/// Reads `--since`: a moment (`2026-02-03T04:05:06Z`) or how long ago (`90s`, `15m`, `1h`, `2d`).
///
/// # Errors
///
/// A text for a person, when it is neither.
pub fn parse_since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let unknown =
        || format!("`{text}` is neither a time (2026-02-03T04:05:06Z) nor an age (15m, 1h, 2d)");
    let ago = match text.strip_suffix('d').map(str::parse) {
        // jiff counts no days without a calendar.
        Some(Ok(days)) => SignedDuration::from_secs(i64::saturating_mul(days, 24 * 3600)),
        _ => text.parse().map_err(|_| unknown())?,
    };
    now.checked_sub(ago.unsigned_abs()).map_err(|_| unknown())
}

/// Finds the newest rows that match, in both stores.
///
/// # Errors
///
/// No store can be read, or without a `database_url` there is no file.
pub async fn find(settings: &RequestLog, query: &LogQuery) -> Result<Found, QueryError> {
    let server = server(settings)?;
    let in_file = read_file(&settings.path, query.clone(), Page::Newest).await;
    let Some(server) = server else {
        return Ok(Found { rows: newest(in_file?.rows, query.limit), notice: None });
    };
    match read_server(&server, query, Page::Newest).await {
        Ok(mut rows) => {
            // A file that is not there, or not readable here, only hides rows that still wait.
            rows.extend(in_file.map(|page| page.rows).unwrap_or_default());
            Ok(Found { rows: newest(rows, query.limit), notice: None })
        }
        Err(reason) => {
            let rows = in_file.map_err(|_| QueryError::Postgres(reason.clone()))?.rows;
            let notice = format!(
                "PostgreSQL is not available ({reason}): these are only the rows that wait for it"
            );
            Ok(Found { rows: newest(rows, query.limit), notice: Some(notice) })
        }
    }
}

/// Prints what `find` finds, the newest row last. Returns a notice for standard error, if any.
///
/// # Errors
///
/// As `find`; and output that fails. A reader that hangs up (`| head`) is no error.
pub async fn run(
    settings: &RequestLog,
    query: &LogQuery,
    out: &mut impl Write,
) -> Result<Option<String>, QueryError> {
    let found = find(settings, query).await?;
    print(&found.rows, query.json, out)?;
    Ok(found.notice)
}

/// Prints what `find` finds and then every matching row as its request ends, until the reader hangs up
/// or the future is dropped. Faults of PostgreSQL pass: the spool is followed meanwhile.
///
/// # Errors
///
/// As `run`.
pub async fn follow(
    settings: &RequestLog,
    query: &LogQuery,
    out: &mut impl Write,
) -> Result<(), QueryError> {
    let server = server(settings)?;
    let mut seen = Seen::default();
    // Where the file ends is asked before the first look, so that no row falls between the two.
    let mut last_row = read_file(&settings.path, query.clone(), Page::After(i64::MAX))
        .await
        .map_or(0, |page| page.last_row);
    let mut since = Timestamp::now();
    if let Some(server) = &server {
        // What ended a moment ago is not news.
        for row in
            read_server(server, query, Page::After(overlapped(since))).await.unwrap_or_default()
        {
            seen.is_new(&row);
        }
    }
    let found = find(settings, query).await?;
    found.rows.iter().for_each(|row| _ = seen.is_new(row));
    if !print(&found.rows, query.json, out)? {
        return Ok(());
    }
    loop {
        tokio::time::sleep(POLL).await;
        let mut rows = Vec::new();
        if let Ok(page) = read_file(&settings.path, query.clone(), Page::After(last_row)).await {
            // Below what was there already: the spool ran empty and counts anew.
            last_row = if page.last_row < last_row { 0 } else { page.last_row };
            rows.extend(page.rows);
        }
        if let Some(server) = &server {
            let page = read_server(server, query, Page::After(overlapped(since))).await;
            rows.extend(page.unwrap_or_default());
        }
        rows.retain(|row| seen.is_new(row));
        rows.sort_by(|a, b| a.text("ended_at").cmp(&b.text("ended_at")));
        let ended = rows.last().and_then(|row| row.text("ended_at")?.parse().ok());
        // Without matching rows the window would grow for ever; clocks may differ by as much.
        let settled = Timestamp::now().checked_sub(SETTLED).unwrap_or(since);
        since = ended.unwrap_or(since).max(since).max(settled);
        if !print(&rows, query.json, out)? {
            return Ok(());
        }
    }
}

impl Default for LogQuery {
    fn default() -> Self {
        Self {
            since: None,
            status: None,
            key: None,
            model: None,
            limit: 50,
            errors: false,
            json: false,
        }
    }
}

impl LogRow {
    /// A text column; `None` when it is empty or no text.
    pub fn text(&self, column: &str) -> Option<&str> {
        self.0.get(column).and_then(Value::as_str)
    }

    /// A numeric column.
    pub fn number(&self, column: &str) -> Option<f64> {
        self.0.get(column).and_then(Value::as_f64)
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLog(path) => {
                write!(f, "there is no request log at {}: has the gateway run?", path.display())
            }
            Self::Sqlite(path, error) => {
                write!(f, "the request log {} cannot be read: {error}", path.display())
            }
            Self::Postgres(reason) => write!(f, "PostgreSQL cannot be read: {reason}"),
            Self::Output(error) => write!(f, "the rows cannot be printed: {error}"),
            Self::Input(text) => f.write_str(text),
            Self::Wide(most) => {
                write!(f, "more than {most} lines: name a shorter time, or gather by less")
            }
        }
    }
}

impl std::error::Error for QueryError {}

/// Which part of the matching rows.
#[derive(Clone, Copy)]
enum Page {
    Newest,
    /// Written after this `rowid` of the file, or ended after this microsecond since 1970 in PostgreSQL.
    After(i64),
}

struct FilePage {
    rows: Vec<LogRow>,
    /// The file's last `rowid`; 0 when it holds no row.
    last_row: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

/// Ids of rows that were shown, the latest ones.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    fn is_new(&mut self, row: &LogRow) -> bool {
        let id = row.text("request_id").unwrap_or_default();
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

pub(super) fn server(settings: &RequestLog) -> Result<Option<Postgres>, QueryError> {
    let Some(url) = &settings.database_url else { return Ok(None) };
    Postgres::new(url.expose()).map(Some).map_err(|error| QueryError::Postgres(error.to_string()))
}

fn overlapped(since: Timestamp) -> i64 {
    since.checked_sub(OVERLAP).unwrap_or(since).as_microsecond()
}

/// Each row once, the newest `limit` of them, oldest first.
fn newest(mut rows: Vec<LogRow>, limit: usize) -> Vec<LogRow> {
    let place = |row: &LogRow| {
        let text = |column| row.text(column).unwrap_or_default().to_owned();
        (text("started_at"), text("request_id"))
    };
    rows.sort_by_cached_key(place);
    rows.dedup_by(|a, b| a.text("request_id") == b.text("request_id"));
    rows.split_off(rows.len().saturating_sub(limit))
}

/// `false`: nobody reads any more.
fn print(rows: &[LogRow], json: bool, out: &mut impl Write) -> Result<bool, QueryError> {
    let mut lines = rows.iter().map(|row| if json { show::json(row) } else { show::text(row) });
    let outcome = lines.try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(QueryError::Output(error)),
    }
}

/// The `WHERE` clause and its parameters, all of them text.
fn conditions(query: &LogQuery, page: Page, dialect: Dialect) -> (String, Vec<String>) {
    let mut all = Vec::new();
    let mut values = Vec::new();
    let mut value = |text: String| {
        values.push(text);
        match dialect {
            Dialect::Sqlite => format!("?{}", values.len()),
            Dialect::Postgres => format!("${}::text", values.len()),
        }
    };
    let mut time = |micros: i64| match dialect {
        Dialect::Sqlite => format!("CAST({} AS integer)", value(micros.to_string())),
        Dialect::Postgres => {
            format!("{}::timestamptz", value(columns::rfc3339(micros).unwrap_or_default()))
        }
    };
    match page {
        Page::Newest => {}
        Page::After(last) if dialect == Dialect::Sqlite => {
            all.push(format!("rowid > {}", time(last)));
        }
        Page::After(last) => all.push(format!("ended_at > {}", time(last))),
    }
    if let Some(since) = query.since {
        all.push(format!("started_at >= {}", time(since.as_microsecond())));
    }
    if query.errors {
        all.push("status <> 'ok'".to_owned());
    }
    if let Some(status) = &query.status {
        // Compared as text, so that a number too large for the column is no error.
        let column =
            if status.parse::<u16>().is_ok() { "CAST(http_status AS text)" } else { "status" };
        all.push(format!("{column} = {}", value(status.clone())));
    }
    if let Some(key) = &query.key {
        let key = value(key.clone());
        all.push(format!("(key_alias = {key} OR key_id = {key})"));
    }
    if let Some(model) = &query.model {
        let model = value(model.clone());
        all.push(format!(
            "(model_requested = {model} OR model_group = {model} OR model_upstream = {model})"
        ));
    }
    let clause =
        if all.is_empty() { String::new() } else { format!("WHERE {}", all.join(" AND ")) };
    (clause, values)
}

async fn read_file(path: &Path, query: LogQuery, page: Page) -> Result<FilePage, QueryError> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        if !path.exists() {
            return Err(QueryError::NoLog(path));
        }
        read_rows(&path, &query, page).map_err(|error| QueryError::Sqlite(path, error))
    });
    read.await.unwrap_or_else(|error| Err(QueryError::Output(io::Error::other(error))))
}

fn read_rows(path: &Path, query: &LogQuery, page: Page) -> rusqlite::Result<FilePage> {
    let connection = open(path)?;
    let last_row: Option<i64> =
        connection.query_row("SELECT max(rowid) FROM request_logs", [], |row| row.get(0))?;
    let (clause, values) = conditions(query, page, Dialect::Sqlite);
    let (order, limit) = match page {
        Page::Newest => ("started_at DESC, request_id DESC", query.limit),
        Page::After(_) => ("rowid", PAGE),
    };
    let names = columns::names(REQUESTS);
    let mut select = connection.prepare(&format!(
        "SELECT {names}, rowid FROM request_logs {clause} ORDER BY {order} LIMIT {limit}"
    ))?;
    let mut found = select.query(params_from_iter(values))?;
    let mut rows = Vec::new();
    let mut last_read = None;
    while let Some(row) = found.next()? {
        let mut json = String::new();
        columns::write_json(row, REQUESTS, &mut json)?;
        rows.extend(parse(&json));
        last_read = Some(row.get(REQUESTS.len())?);
    }
    // A full page of a followed file goes on where it ended.
    let is_full = matches!(page, Page::After(_)) && rows.len() >= PAGE;
    let last_row = if is_full { last_read } else { last_row };
    Ok(FilePage { rows, last_row: last_row.unwrap_or(0) })
}

/// Opens the file for reading. Where the directory may not be written to, a file that no gateway has
/// open is read as it stands; one that is open has its companions, and needs no more.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = reader::open_read_only(path)?;
    let Err(error) = connection.query_row("SELECT 1 FROM request_logs LIMIT 1", [], |_| Ok(()))
    else {
        return Ok(connection);
    };
    let is_refused = matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly)
    );
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if !is_refused || Path::new(&log).exists() {
        return Ok(connection);
    }
    let mut uri = url::Url::from_file_path(std::path::absolute(path).unwrap_or_default())
        .map_err(|()| error)?;
    uri.set_query(Some("immutable=1"));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri.as_str(), flags)
}

async fn read_server(
    server: &Postgres,
    query: &LogQuery,
    page: Page,
) -> Result<Vec<LogRow>, String> {
    let (clause, values) = conditions(query, page, Dialect::Postgres);
    let (order, limit) = match page {
        Page::Newest => ("started_at DESC, request_id DESC", query.limit),
        Page::After(_) => ("ended_at DESC", REMEMBERED),
    };
    let columns = server_columns(REQUESTS);
    // The order is that of the table's columns, not of the texts that stand in their place.
    let sql = format!(
        "SELECT row_to_json(t)::text FROM (SELECT {columns} FROM
           (SELECT * FROM tidegate.request_logs {clause} ORDER BY {order} LIMIT {limit}) l) t"
    );
    let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
        values.iter().map(|value| (value as _, Type::TEXT)).collect();
    let rows = server.texts(&sql, &parameters).await.map_err(|fault| fault.to_string())?;
    Ok(rows.iter().filter_map(|json| parse(json)).collect())
}

/// The columns as PostgreSQL is asked for them: times as text in UTC, bytes as hexadecimal digits.
pub(super) fn server_columns(columns: &[(&str, Kind)]) -> String {
    let columns: Vec<_> = columns
        .iter()
        .map(|(name, kind)| match kind {
            Kind::Time => format!(
                "to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS {name}"
            ),
            Kind::Hex => format!("encode({name}, 'hex') AS {name}"),
            _ => (*name).to_owned(),
        })
        .collect();
    columns.join(", ")
}

pub(super) fn parse(json: &str) -> Option<LogRow> {
    serde_json::from_str(json).ok().map(LogRow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_moment_or_an_age() {
        let now: Timestamp = "2026-02-03T04:05:06Z".parse().unwrap();
        let check = |text: &str, expected: &str| {
            assert_eq!(parse_since(text, now), Ok(expected.parse().unwrap()), "{text}");
        };
        check("1h", "2026-02-03T03:05:06Z");
        check("90s", "2026-02-03T04:03:36Z");
        check("1h30m", "2026-02-03T02:35:06Z");
        check("2d", "2026-02-01T04:05:06Z");
        check("2026-01-01T00:00:00+01:00", "2025-12-31T23:00:00Z");
        for wrong in ["", "d", "yesterday", "1x", "999999999999999d"] {
            assert!(parse_since(wrong, now).is_err(), "{wrong}");
        }
    }
}
