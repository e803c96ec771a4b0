//! The columns of a request row, in one place: their order, how an `Entry` is bound to them and how
//! a stored row is read back as JSON. Both stores and `tidegate logs` lean on this table; nothing
//! here opens a file or a connection.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::LazyLock;

use jiff::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Row, Statement, ToSql};
use serde_json::Value;

use crate::entry::{Entry, Round, ToolCall};
use crate::ground::usd::Usd;

/// How a column's SQLite value is written as JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// As it is: text, number or null.
    Plain,
    /// 0 or 1.
    Flag,
    /// Text that is JSON already.
    Json,
    /// Microseconds since 1970 UTC, written as RFC 3339.
    Time,
    /// Bytes, in hexadecimal digits.
    Hex,
}

/// Name and kind of every column that is written, in the order in which `bind` binds them.
pub(super) const REQUESTS: &[(&str, Kind)] = &[
    ("request_id", Kind::Plain),
    ("started_at", Kind::Time),
    ("ended_at", Kind::Time),
    ("duration_us", Kind::Plain),
    ("upstream_us", Kind::Plain),
    ("ttfb_us", Kind::Plain),
    ("ttft_us", Kind::Plain),
    ("overhead_us", Kind::Plain),
    ("surface", Kind::Plain),
    ("operation", Kind::Plain),
    ("stream", Kind::Flag),
    ("status", Kind::Plain),
    ("http_status", Kind::Plain),
    ("error_type", Kind::Plain),
    ("error_message", Kind::Plain),
    ("finish_reason", Kind::Plain),
    ("client_closed", Kind::Flag),
    ("key_id", Kind::Plain),
    ("key_alias", Kind::Plain),
    ("user_id", Kind::Plain),
    ("team_id", Kind::Plain),
    ("end_user", Kind::Plain),
    ("session_id", Kind::Plain),
    ("tags", Kind::Json),
    ("model_requested", Kind::Plain),
    ("model_group", Kind::Plain),
    ("deployment", Kind::Plain),
    ("provider", Kind::Plain),
    ("model_upstream", Kind::Plain),
    ("api_base", Kind::Plain),
    ("lane", Kind::Plain),
    ("attempts", Kind::Plain),
    ("attempt_trail", Kind::Json),
    ("fallback_from", Kind::Plain),
    ("input_tokens", Kind::Plain),
    ("output_tokens", Kind::Plain),
    ("cache_read_tokens", Kind::Plain),
    ("cache_write_tokens", Kind::Plain),
    ("reasoning_tokens", Kind::Plain),
    ("usage_source", Kind::Plain),
    ("cost_usd", Kind::Plain),
    ("client_ip", Kind::Plain),
    ("user_agent", Kind::Plain),
    ("upstream_request_id", Kind::Plain),
    ("config_generation", Kind::Plain),
    ("instance", Kind::Plain),
    ("bytes_in", Kind::Plain),
    ("bytes_out", Kind::Plain),
    ("losses", Kind::Json),
    ("tool_calls", Kind::Plain),
    ("tool_rounds", Kind::Plain),
    ("mcp_servers", Kind::Json),
    ("rounds", Kind::Json),
    ("price_version", Kind::Plain),
    ("trace_id", Kind::Hex),
    ("span_id", Kind::Hex),
];

/// The same for payload rows.
pub(super) const PAYLOADS: &[(&str, Kind)] = &[
    ("request_id", Kind::Plain),
    ("started_at", Kind::Time),
    ("kind", Kind::Plain),
    ("encoding", Kind::Plain),
    ("bytes", Kind::Plain),
    ("truncated", Kind::Flag),
    ("body", Kind::Plain),
];

/// The same for rows of tool calls.
pub(super) const TOOL_CALLS: &[(&str, Kind)] = &[
    ("id", Kind::Plain),
    ("request_id", Kind::Plain),
    ("started_at", Kind::Time),
    ("duration_us", Kind::Plain),
    ("round", Kind::Plain),
    ("server", Kind::Plain),
    ("tool", Kind::Plain),
    ("function", Kind::Plain),
    ("status", Kind::Plain),
    ("arguments_bytes", Kind::Plain),
    ("result_bytes", Kind::Plain),
    ("arguments_digest", Kind::Plain),
    ("key_id", Kind::Plain),
    ("key_alias", Kind::Plain),
    ("instance", Kind::Plain),
    ("cost_usd", Kind::Plain),
];

/// `INSERT OR IGNORE` of one request row, with one parameter for each column.
pub(super) static INSERT_REQUEST: LazyLock<String> =
    LazyLock::new(|| insert("request_logs", REQUESTS));
/// The same for a payload row.
pub(super) static INSERT_PAYLOAD: LazyLock<String> =
    LazyLock::new(|| insert("request_payloads", PAYLOADS));
/// The same for a row of a tool call.
pub(super) static INSERT_TOOL_CALL: LazyLock<String> =
    LazyLock::new(|| insert("tool_call_logs", TOOL_CALLS));

/// Longest text of a column in bytes; what comes from clients and providers is cut here.
const TEXT_LIMIT: usize = 1024;
/// Longest error message in bytes.
const MESSAGE_LIMIT: usize = 4096;
/// Most tags, and most tries, rounds and servers told one by one, of a row.
const LIST_LIMIT: usize = 64;
/// Most tokens or bytes a row can claim: sums stay exact in every store and in JSON.
const COUNT_LIMIT: u64 = 1_000_000_000_000_000;
/// PostgreSQL's `numeric(18,9)` ends below this many billionths.
const COST_LIMIT: u128 = 1_000_000_000_000_000_000;

/// `request_id, started_at, …`, for a `SELECT` or an `INSERT`.
pub(super) fn names(columns: &[(&str, Kind)]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Binds every column of `REQUESTS`, in order. `scratch` is memory to format in, kept from row to row.
pub(super) fn bind(
    statement: &mut Statement<'_>,
    entry: &Entry,
    instance: &str,
    scratch: &mut String,
) -> rusqlite::Result<()> {
    // What is null is not bound at all.
    statement.clear_bindings();
    let mut row = Binder { statement, next: 0 };
    let mut id = uuid::Uuid::encode_buffer();
    row.put(&*entry.request_id.hyphenated().encode_lower(&mut id))?;
    row.put(entry.started_at_us)?;
    row.put(entry.started_at_us.saturating_add_unsigned(entry.duration_us.min(COUNT_LIMIT)))?;
    row.count(Some(entry.duration_us))?;
    row.count(entry.upstream_us)?;
    row.count(entry.ttfb_us)?;
    row.count(entry.ttft_us)?;
    row.count(entry.overhead_us)?;
    row.put(entry.surface)?;
    row.put(entry.operation)?;
    row.put(entry.stream)?;
    row.put(entry.status.as_str())?;
    row.put(entry.http_status.min(i16::MAX.unsigned_abs()))?;
    row.text(entry.error_type.as_deref())?;
    row.long_text(entry.error_message.as_deref(), MESSAGE_LIMIT)?;
    row.text(entry.finish_reason.as_deref())?;
    row.put(entry.client_closed)?;
    row.text(entry.key_id.as_deref())?;
    row.text(entry.key_alias.as_deref())?;
    row.text(entry.user_id.as_deref())?;
    row.text(entry.team_id.as_deref())?;
    row.text(entry.end_user.as_deref())?;
    row.text(entry.session_id.as_deref())?;
    row.put(&*tags(entry))?;
    row.text(Some(&entry.model_requested))?;
    row.text(entry.model_group.as_deref())?;
    row.text(entry.deployment.as_deref())?;
    row.some(entry.provider)?;
    row.text(entry.model_upstream.as_deref())?;
    row.text(entry.api_base.as_deref())?;
    row.put(entry.lane)?;
    row.put(small(entry.attempts.len() as u64))?;
    row.some(trail(entry))?;
    row.text(entry.fallback_from.as_deref())?;
    row.count(entry.tokens.input)?;
    row.count(entry.tokens.output)?;
    row.count(entry.tokens.cache_read)?;
    row.count(entry.tokens.cache_write)?;
    row.count(entry.tokens.reasoning)?;
    row.put(entry.usage_source.as_str())?;
    row.cost(entry.cost_usd)?;
    row.some(entry.client_ip.map(|ip| formatted(ip.to_canonical(), scratch)))?;
    row.text(entry.user_agent.as_deref())?;
    row.text(entry.upstream_request_id.as_deref())?;
    row.count(Some(entry.config_generation))?;
    row.put(instance)?;
    row.count(Some(entry.bytes_in))?;
    row.count(Some(entry.bytes_out))?;
    row.some(losses(entry))?;
    row.put(small(entry.tool_calls))?;
    row.put(small(entry.rounds.len() as u64))?;
    row.put(&*servers(entry))?;
    row.some(rounds(entry))?;
    row.text(entry.price_version.as_deref())?;
    let place = entry.place();
    row.some(place.map(|place| formatted(format_args!("{:032x}", place.trace_id), scratch)))?;
    row.some(place.map(|place| formatted(format_args!("{:016x}", place.span_id), scratch)))
}

/// Binds every column of `TOOL_CALLS`, in order, for one call of the entry.
pub(super) fn bind_tool_call(
    statement: &mut Statement<'_>,
    entry: &Entry,
    call: &ToolCall,
    instance: &str,
    scratch: &mut String,
) -> rusqlite::Result<()> {
    statement.clear_bindings();
    let mut row = Binder { statement, next: 0 };
    row.put(formatted(call.id.hyphenated(), scratch))?;
    row.put(formatted(entry.request_id.hyphenated(), scratch))?;
    row.put(call.started_at_us)?;
    row.count(Some(call.duration_us))?;
    row.put(small(call.round.into()))?;
    row.text(Some(&call.server))?;
    row.text(Some(&call.tool))?;
    row.text(Some(&call.function))?;
    row.put(call.status.as_str())?;
    row.count(Some(call.arguments_bytes))?;
    row.count(call.result_bytes)?;
    row.put(formatted(
        format_args!("{:032x}", u128::from_be_bytes(call.arguments_digest)),
        scratch,
    ))?;
    row.text(entry.key_id.as_deref())?;
    row.text(entry.key_alias.as_deref())?;
    row.put(instance)?;
    row.cost(call.cost_usd)
}

/// Appends the row as a JSON object; the statement must have selected `columns` in this order.
pub(super) fn write_json(
    row: &Row<'_>,
    columns: &[(&str, Kind)],
    out: &mut String,
) -> rusqlite::Result<()> {
    out.push('{');
    for (index, (name, kind)) in columns.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push('"');
        out.push_str(name);
        out.push_str("\":");
        write_value(row.get_ref(index)?, *kind, out);
    }
    out.push('}');
    Ok(())
}

/// Microseconds since 1970 as RFC 3339 with six decimals; `None` outside the years that has.
pub(super) fn rfc3339(micros: i64) -> Option<String> {
    Timestamp::from_microsecond(micros).ok().map(|time| format!("{time:.6}"))
}

/// Without U+0000, which PostgreSQL's `text` and `jsonb` refuse, and at most `limit` bytes long.
pub(super) fn clean(text: &str, limit: usize) -> Cow<'_, str> {
    let text = text.get(..text.floor_char_boundary(limit)).unwrap_or_default();
    if memchr::memchr(0, text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('\0', ""))
}

/// Counts parameters so that the list in `bind` reads as the table does.
struct Binder<'s, 'c> {
    statement: &'s mut Statement<'c>,
    next: usize,
}

impl Binder<'_, '_> {
    fn put(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.next += 1;
        self.statement.raw_bind_parameter(self.next, value)
    }

    /// Leaves the parameter unbound, and so null, where there is no value.
    fn some(&mut self, value: Option<impl ToSql>) -> rusqlite::Result<()> {
        match value {
            Some(value) => self.put(value),
            None => {
                self.next += 1;
                Ok(())
            }
        }
    }

    fn text(&mut self, text: Option<&str>) -> rusqlite::Result<()> {
        self.long_text(text, TEXT_LIMIT)
    }

    fn long_text(&mut self, text: Option<&str>, limit: usize) -> rusqlite::Result<()> {
        let text = text.map(|text| clean(text, limit));
        self.some(text.as_deref())
    }

    fn cost(&mut self, cost: Option<Usd>) -> rusqlite::Result<()> {
        self.some(stored(cost))
    }

    fn count(&mut self, count: Option<u64>) -> rusqlite::Result<()> {
        self.some(count.map(|count| i64::try_from(count.min(COUNT_LIMIT)).unwrap_or(i64::MAX)))
    }
}

/// A count that fits into every store's smallest integer.
fn small(count: u64) -> i16 {
    i16::try_from(count).unwrap_or(i16::MAX)
}

/// The number that has the amount's nine decimals, in SQLite, in JSON and on the way to PostgreSQL.
fn stored(cost: Option<Usd>) -> Option<f64> {
    cost.filter(|cost| cost.billionths() < COST_LIMIT).map(Usd::to_stored)
}

fn formatted(value: impl std::fmt::Display, scratch: &mut String) -> &str {
    scratch.clear();
    // A `String` takes whatever is written to it.
    _ = write!(scratch, "{value}");
    scratch
}

pub(super) fn insert(table: &str, columns: &[(&str, Kind)]) -> String {
    let names = names(columns);
    let marks = vec!["?"; columns.len()].join(", ");
    format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})")
}

fn tags(entry: &Entry) -> Cow<'static, str> {
    if entry.tags.is_empty() {
        return Cow::Borrowed("[]");
    }
    let tags: Vec<_> =
        entry.tags.iter().take(LIST_LIMIT).map(|tag| clean(tag, TEXT_LIMIT)).collect();
    Cow::Owned(serde_json::to_string(&tags).unwrap_or_else(|_| "[]".to_owned()))
}

/// The tries one by one, told only where there is something to tell: more than one in a round, or one that failed.
fn trail(entry: &Entry) -> Option<String> {
    let worth_telling = entry.attempts.len() > entry.rounds.len().max(1)
        || entry.attempts.iter().any(|a| a.error.is_some());
    if !worth_telling {
        return None;
    }
    let tries: Vec<_> = entry
        .attempts
        .iter()
        .take(LIST_LIMIT)
        .map(|attempt| crate::entry::Attempt {
            deployment: clean(&attempt.deployment, TEXT_LIMIT).into_owned(),
            ..attempt.clone()
        })
        .collect();
    serde_json::to_string(&tries).ok()
}

fn losses(entry: &Entry) -> Option<String> {
    if entry.losses.is_empty() {
        return None;
    }
    let losses: Vec<_> = entry
        .losses
        .iter()
        .take(LIST_LIMIT)
        .map(|loss| crate::entry::Loss {
            path: clean(&loss.path, TEXT_LIMIT).into_owned(),
            why: clean(&loss.why, TEXT_LIMIT).into_owned(),
        })
        .collect();
    serde_json::to_string(&losses).ok()
}

/// The servers whose tools were called, each once.
fn servers(entry: &Entry) -> Cow<'static, str> {
    if entry.tool_call_logs.is_empty() {
        return Cow::Borrowed("[]");
    }
    let mut servers: Vec<Cow<'_, str>> = Vec::new();
    for call in &entry.tool_call_logs {
        let server = clean(&call.server, TEXT_LIMIT);
        if servers.len() < LIST_LIMIT && !servers.contains(&server) {
            servers.push(server);
        }
    }
    Cow::Owned(serde_json::to_string(&servers).unwrap_or_else(|_| "[]".to_owned()))
}

/// The rounds one by one, with the names that the row has for the same of all of them. One alone is the row itself.
fn rounds(entry: &Entry) -> Option<String> {
    if entry.rounds.len() < 2 {
        return None;
    }
    let told = entry.rounds.iter().take(LIST_LIMIT).map(|round| {
        let Round {
            deployment, model, status, duration_us, tokens, cost_usd, price_version, ..
        } = round;
        let mut told = serde_json::Map::new();
        let mut tell = |name: &str, value: Value| {
            if !value.is_null() {
                told.insert(name.to_owned(), value);
            }
        };
        let count = |count: Option<u64>| Value::from(count.map(|count| count.min(COUNT_LIMIT)));
        tell("deployment", clean(deployment, TEXT_LIMIT).into());
        tell("model", clean(model, TEXT_LIMIT).into());
        tell("status", status.as_str().into());
        tell("duration_us", count(Some(*duration_us)));
        tell("input_tokens", count(tokens.input));
        tell("output_tokens", count(tokens.output));
        tell("cache_read_tokens", count(tokens.cache_read));
        tell("cache_write_tokens", count(tokens.cache_write));
        tell("reasoning_tokens", count(tokens.reasoning));
        tell("cost_usd", Value::from(stored(*cost_usd)));
        tell("price_version", price_version.as_deref().into());
        Value::Object(told)
    });
    Some(Value::Array(told.collect()).to_string())
}

fn write_value(value: ValueRef<'_>, kind: Kind, out: &mut String) {
    match (value, kind) {
        (ValueRef::Integer(micros), Kind::Time) => match rfc3339(micros) {
            Some(time) => write_string(&time, out),
            None => out.push_str("null"),
        },
        (ValueRef::Integer(flag), Kind::Flag) => {
            out.push_str(if flag == 0 { "false" } else { "true" });
        }
        (ValueRef::Integer(number), _) => out.push_str(&number.to_string()),
        (ValueRef::Real(number), _) => match serde_json::Number::from_f64(number) {
            Some(number) => out.push_str(&number.to_string()),
            None => out.push_str("null"),
        },
        (ValueRef::Text(bytes) | ValueRef::Blob(bytes), kind) => {
            let text = String::from_utf8_lossy(bytes);
            let is_json =
                kind == Kind::Json && serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            if is_json { out.push_str(&text) } else { write_string(&text, out) }
        }
        (ValueRef::Null, _) => out.push_str("null"),
    }
}

fn write_string(text: &str, out: &mut String) {
    // A JSON string of valid text cannot fail to serialise; `null` is the honest fallback.
    out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "null".to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cleaned_of_nul_and_cut_between_characters() {
        assert_eq!(clean("a\0b\0", 10), "ab");
        assert_eq!(clean("aéé", 4), "aé");
        assert_eq!(clean("short", 1024), "short");
    }

    #[test]
    fn times_have_six_decimals_and_a_bound() {
        assert_eq!(rfc3339(0).as_deref(), Some("1970-01-01T00:00:00.000000Z"));
        assert_eq!(rfc3339(1_763_690_400_000_001).as_deref(), Some("2025-11-21T02:00:00.000001Z"));
        assert_eq!(rfc3339(i64::MAX), None);
    }
}
