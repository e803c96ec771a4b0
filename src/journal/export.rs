//! Every row of a span of time, oldest first, each once, written out as it is read: as JSON lines or CSV. Memory does not grow with the
//! number of rows. And back: JSON lines become rows of the configured store.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, TransactionBehavior};
use serde_json::{Map, Value};
use tokio_postgres::types::Type;

use super::columns::{self, Kind, PAYLOADS, REQUESTS, TOOL_CALLS};
use super::postgres::{Postgres, month_of};
use super::query::{self, LogRow, QueryError};
use super::show;
use super::spool::Spool;
use super::walk::{self, PAGE, Span};
use crate::config::snapshot::RequestLog;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    JsonLines,
    /// RFC 4180, with the columns' names first; lists as JSON.
    Csv,
}

/// The columns of a table, as `columns.rs` has them.
type Columns<'c> = &'c [(&'c str, Kind)];

/// The members under which a row's bodies and calls of tools stand in JSON lines.
const BELOW: [(&str, &str, Columns<'static>); 2] = [
    ("request_payloads", "request_payloads", PAYLOADS),
    ("tool_call_logs", "tool_call_logs", TOOL_CALLS),
];

/// Writes all rows of the span; returns how many. With `complete`, each line of JSON holds the request's stored bodies and calls of
/// tools too.
///
/// # Errors
/// A store cannot be read, or the output fails. A reader that hangs up (`| head`) is no error.
pub async fn export(
    settings: &RequestLog,
    span: Span,
    format: Format,
    complete: bool,
    out: &mut impl Write,
) -> Result<u64, QueryError> {
    let names = columns::names(REQUESTS);
    let take = |row: &rusqlite::Row<'_>| {
        let mut json = String::with_capacity(1024);
        columns::write_json(row, REQUESTS, &mut json)?;
        Ok(json)
    };
    let mut pages = walk::file(&settings.path, &names, span, take);
    let first = pages.recv().await;
    let server = query::server(settings)?;
    if server.is_none() {
        first.transpose()?;
    }
    let mut file = Rows::new(Store::File(pages));
    let mut in_server = Rows::new(match &server {
        Some(server) => Store::Server { server, span, last: None, ended: false },
        None => Store::Nothing,
    });
    let mut writer = Writer { format, out, rows: 0 };
    let mut below = Below { settings, server: server.as_ref(), file: None };
    writer.begin()?;
    loop {
        // Both are sorted alike: the earlier one goes out, and what is in both goes out once.
        let (left, right) = (file.peek().await?, in_server.peek().await?);
        let row = match (left, right) {
            (None, None) => break,
            (Some(left), Some(right)) if place(left) == place(right) => {
                drop(file.next());
                in_server.next()
            }
            (Some(left), Some(right)) if place(left) < place(right) => file.next(),
            (Some(_), None) => file.next(),
            (_, Some(_)) => in_server.next(),
        };
        let Some(mut row) = row else { break };
        if complete && format == Format::JsonLines {
            below.add_to(&mut row).await?;
        }
        if !writer.row(&row)? {
            break;
        }
    }
    writer.out.flush().or_else(hung_up).map_err(QueryError::Output)?;
    Ok(writer.rows)
}

fn hung_up(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

/// Where a row stands among all.
fn place(row: &LogRow) -> (&str, &str) {
    (row.text("started_at").unwrap_or_default(), row.text("request_id").unwrap_or_default())
}

enum Store<'s> {
    Nothing,
    File(walk::Pages<String>),
    Server {
        server: &'s Postgres,
        span: Span,
        /// Where the page before ended.
        last: Option<(String, String)>,
        ended: bool,
    },
}

/// Rows of one store, a page at a time.
struct Rows<'s> {
    store: Store<'s>,
    page: std::collections::VecDeque<LogRow>,
}

impl<'s> Rows<'s> {
    fn new(store: Store<'s>) -> Self {
        Self { store, page: std::collections::VecDeque::new() }
    }

    async fn peek(&mut self) -> Result<Option<&LogRow>, QueryError> {
        while self.page.is_empty() {
            let rows: Vec<String> = match &mut self.store {
                Store::Nothing => return Ok(None),
                Store::File(pages) => match pages.recv().await {
                    None => return Ok(None),
                    Some(page) => page?,
                },
                Store::Server { ended: true, .. } => return Ok(None),
                Store::Server { server, span, last, ended } => {
                    let rows = server_page(server, *span, last.as_ref()).await?;
                    *ended = rows.len() < PAGE;
                    rows
                }
            };
            self.page.extend(rows.iter().filter_map(|json| query::parse(json)));
            if let (Store::Server { last, .. }, Some(row)) = (&mut self.store, self.page.back()) {
                let (started_at, request_id) = place(row);
                *last = Some((started_at.to_owned(), request_id.to_owned()));
            }
        }
        Ok(self.page.front())
    }

    fn next(&mut self) -> Option<LogRow> {
        self.page.pop_front()
    }
}

async fn server_page(
    server: &Postgres,
    span: Span,
    last: Option<&(String, String)>,
) -> Result<Vec<String>, QueryError> {
    let columns = query::server_columns(REQUESTS);
    let (after, id) = match last {
        Some((started_at, id)) => (started_at.clone(), id.clone()),
        None => (span.since.to_string(), String::new()),
    };
    let until = span.until.to_string();
    let after_row = "(started_at, request_id) > ($1::text::timestamptz, $2::text::uuid)";
    let from = "started_at >= $1::text::timestamptz AND $2::text = ''";
    let begin = if last.is_some() { after_row } else { from };
    let sql = format!(
        "SELECT row_to_json(t)::text FROM (SELECT {columns} FROM
           (SELECT * FROM tidegate.request_logs
            WHERE {begin} AND started_at < $3::text::timestamptz
            ORDER BY started_at, request_id LIMIT {PAGE}) l) t"
    );
    let values = [(&after as _, Type::TEXT), (&id as _, Type::TEXT), (&until as _, Type::TEXT)];
    server.texts(&sql, &values).await.map_err(|fault| QueryError::Postgres(fault.to_string()))
}

/// What other tables have of requests.
struct Below<'s> {
    settings: &'s RequestLog,
    server: Option<&'s Postgres>,
    /// Opened once: rows are many.
    file: Option<Connection>,
}

impl Below<'_> {
    /// Adds what there is of the row's request.
    async fn add_to(&mut self, row: &mut LogRow) -> Result<(), QueryError> {
        let id = row.text("request_id").unwrap_or_default().to_owned();
        for (member, table, columns) in BELOW {
            let mut found = Vec::new();
            if let Some(server) = self.server {
                let columns = query::server_columns(columns);
                let sql = format!(
                    "SELECT row_to_json(t)::text FROM (SELECT {columns} FROM tidegate.{table}
                       WHERE request_id = $1::text::uuid ORDER BY started_at) t"
                );
                let rows = server.texts(&sql, &[(&id, Type::TEXT)]).await;
                found = rows.map_err(|fault| QueryError::Postgres(fault.to_string()))?;
            }
            if found.is_empty() {
                found = self.of_file(table, columns, &id).await;
            }
            let found: Vec<Value> =
                found.iter().filter_map(|json| serde_json::from_str(json).ok()).collect();
            if !found.is_empty() {
                row.0.insert(member.to_owned(), Value::Array(found));
            }
        }
        Ok(())
    }

    /// A file that is not here has nothing of it.
    async fn of_file(
        &mut self,
        table: &'static str,
        columns: &'static [(&'static str, Kind)],
        id: &str,
    ) -> Vec<String> {
        let (path, id, file) = (self.settings.path.clone(), id.to_owned(), self.file.take());
        let read = move || {
            let file = file.map_or_else(|| super::reader::open_read_only(&path), Ok).ok()?;
            let found = rows_of(&file, table, columns, &id).unwrap_or_default();
            Some((file, found))
        };
        let (file, found) = tokio::task::spawn_blocking(read).await.ok().flatten().unzip();
        self.file = file;
        found.unwrap_or_default()
    }
}

fn rows_of(
    connection: &Connection,
    table: &str,
    columns: &[(&str, Kind)],
    id: &str,
) -> rusqlite::Result<Vec<String>> {
    let names = columns::names(columns);
    let sql = format!("SELECT {names} FROM {table} WHERE request_id = ?1 ORDER BY rowid");
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query([id])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut json = String::new();
        columns::write_json(row, columns, &mut json)?;
        found.push(json);
    }
    Ok(found)
}

struct Writer<'w, W> {
    format: Format,
    out: &'w mut W,
    rows: u64,
}

impl<W: Write> Writer<'_, W> {
    fn begin(&mut self) -> Result<(), QueryError> {
        if self.format == Format::Csv {
            let names: Vec<&str> = REQUESTS.iter().map(|(name, _)| *name).collect();
            write!(self.out, "{}\r\n", names.join(","))
                .or_else(hung_up)
                .map_err(QueryError::Output)?;
        }
        Ok(())
    }

    /// `false`: nobody reads any more.
    fn row(&mut self, row: &LogRow) -> Result<bool, QueryError> {
        let outcome = match self.format {
            Format::JsonLines => writeln!(self.out, "{}", show::json(row)),
            Format::Csv => {
                let fields: Vec<String> =
                    REQUESTS.iter().map(|(name, _)| csv_field(row.0.get(*name))).collect();
                write!(self.out, "{}\r\n", fields.join(","))
            }
        };
        match outcome {
            Ok(()) => {
                self.rows += 1;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(QueryError::Output(error)),
        }
    }
}

/// A value as a field of CSV. What a spreadsheet would take for a formula gets a `'` in front: it came from clients
/// (<https://owasp.org/www-community/attacks/CSV_Injection>).
pub fn csv_field(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => return String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let is_text = matches!(value, Some(Value::String(_)));
    let text = match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') if is_text => format!("'{text}"),
        _ => text,
    };
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

/// Reads JSON lines of `export` into the configured store: PostgreSQL where there is one, else the file. Rows that are there already
/// are passed over. Returns how many lines there were.
///
/// # Errors
/// A line that is no row, with its number; a store that refuses.
pub async fn import(settings: &RequestLog, input: impl BufRead) -> Result<u64, QueryError> {
    let server = query::server(settings)?;
    if let Some(server) = &server {
        let migrated = server.migrate().await;
        migrated.map_err(|fault| QueryError::Postgres(fault.to_string()))?;
    }
    let mut lines = 0;
    let mut group: Vec<Map<String, Value>> = Vec::new();
    for line in input.lines() {
        let line = line.map_err(QueryError::Output)?;
        if line.trim().is_empty() {
            continue;
        }
        lines += 1;
        let row = query::parse(&line).filter(|row| row.text("request_id").is_some());
        let row = row.filter(|row| started_at(&row.0).is_some()).ok_or_else(|| {
            QueryError::Input(format!(
                "line {lines} is no row: a JSON object with a `request_id` and a time in `started_at`"
            ))
        })?;
        group.push(row.0);
        if group.len() >= PAGE / 2 {
            store(settings, server.as_ref(), std::mem::take(&mut group)).await?;
        }
    }
    store(settings, server.as_ref(), group).await?;
    Ok(lines)
}

/// When a row's request began, in microseconds since 1970.
fn started_at(row: &Map<String, Value>) -> Option<i64> {
    let at: jiff::Timestamp = row.get("started_at")?.as_str()?.parse().ok()?;
    Some(at.as_microsecond())
}

async fn store(
    settings: &RequestLog,
    server: Option<&Postgres>,
    mut rows: Vec<Map<String, Value>>,
) -> Result<(), QueryError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut parts = BELOW.map(|(member, ..)| {
        let taken = rows.iter_mut().filter_map(|row| row.remove(member));
        let taken = taken.filter_map(|value| match value {
            Value::Array(items) => Some(items),
            _ => None,
        });
        taken.flatten().collect::<Vec<Value>>()
    });
    let [payloads, calls] = &mut parts;
    let Some(server) = server else {
        let path = settings.path.clone();
        let (payloads, calls) = (std::mem::take(payloads), std::mem::take(calls));
        let write = move || -> Result<(), QueryError> {
            let mut spool =
                Spool::open(&path).map_err(|error| QueryError::Input(error.to_string()))?;
            let rows: Vec<Value> = rows.into_iter().map(Value::Object).collect();
            let tables = [
                ("request_logs", REQUESTS, rows),
                ("request_payloads", PAYLOADS, payloads),
                ("tool_call_logs", TOOL_CALLS, calls),
            ];
            write_rows(spool.connection(), &tables)
                .map_err(|error| QueryError::Sqlite(path.clone(), error))
        };
        let written = tokio::task::spawn_blocking(write).await;
        return written.unwrap_or_else(|error| Err(QueryError::Output(io::Error::other(error))));
    };
    let texts =
        |values: &[Value]| serde_json::to_string(values).unwrap_or_else(|_| "[]".to_owned());
    let times = rows.iter().filter_map(started_at);
    // One of each month.
    let months: BTreeMap<_, i64> = times.map(|at| (month_of(at), at)).collect();
    for at in months.into_values() {
        let made = server.make_partitions(at).await;
        made.map_err(|fault| QueryError::Postgres(fault.to_string()))?;
    }
    let entries = texts(&rows.into_iter().map(Value::Object).collect::<Vec<_>>());
    let stored = server.insert(&entries, &texts(payloads), &texts(calls)).await;
    stored.map_err(|fault| QueryError::Postgres(fault.to_string()))
}

/// Writes rows of tables, with their columns, each a JSON object. What is there already stays.
fn write_rows(
    connection: &mut Connection,
    tables: &[(&str, Columns<'_>, Vec<Value>)],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (table, columns, rows) in tables {
        let mut insert = transaction.prepare(&columns::insert(table, columns))?;
        for row in rows {
            let values = columns.iter().map(|(name, kind)| to_sqlite(row.get(*name), *kind));
            insert.execute(rusqlite::params_from_iter(values))?;
        }
    }
    transaction.commit()
}

/// A JSON value as SQLite keeps it in a column of that kind.
fn to_sqlite(value: Option<&Value>, kind: Kind) -> Sql {
    match (value, kind) {
        (None | Some(Value::Null), _) => Sql::Null,
        (Some(Value::String(text)), Kind::Time) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => Sql::Integer(time.as_microsecond()),
            Err(_) => Sql::Null,
        },
        (Some(value), Kind::Json) => Sql::Text(value.to_string()),
        (Some(Value::Bool(flag)), _) => Sql::Integer(i64::from(*flag)),
        (Some(Value::Number(number)), _) => match number.as_i64() {
            Some(whole) => Sql::Integer(whole),
            None => Sql::Real(number.as_f64().unwrap_or(0.0)),
        },
        (Some(Value::String(text)), _) => Sql::Text(text.clone()),
        (Some(value), _) => Sql::Text(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_csv_are_quoted_and_no_formulas() {
        let field = |value: Value| csv_field(Some(&value));
        assert_eq!(field(Value::Null), "");
        assert_eq!(field(3.into()), "3");
        assert_eq!(field("a, \"b\"\n".into()), "\"a, \"\"b\"\"\n\"");
        assert_eq!(field("=1+1".into()), "'=1+1");
        assert_eq!(field((-5).into()), "-5");
        assert_eq!(field(serde_json::json!(["a", 1])), "\"[\"\"a\"\",1]\"");
    }
}
