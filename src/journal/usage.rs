//! What was used: requests, tokens and money, added up by day, key, model and the like. Each request counts once, whichever store
//! holds it, and also while it moves from one to the other. How it is shown is not known here.

use std::collections::BTreeMap;

use rusqlite::Row;
use serde_json::{Map, Value};
use tokio_postgres::types::Type;

use super::postgres::{Fault, Postgres};
use super::query::{self, QueryError};
use super::walk::{self, Span};
use crate::config::snapshot::RequestLog;

/// Most lines of a report.
const MOST_GROUPS: usize = 200_000;

/// What requests are gathered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    Day,
    Month,
    Key,
    Model,
    Provider,
    Team,
    User,
    EndUser,
    Surface,
}

/// Which requests, and how they are gathered.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    pub span: Span,
    pub by: Vec<Dimension>,
    /// Only requests whose dimensions have these values.
    pub only: Vec<(Dimension, String)>,
}

/// What some requests used together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    pub requests: u64,
    /// Those that did not end well.
    pub errors: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_tokens: u64,
    pub reasoning_tokens: u64,
    pub tool_calls: u64,
    /// Billionths of a US dollar, which is what the stores are exact to, of the requests whose price is known.
    pub cost_nanos: i64,
    /// Requests with tokens and without a price.
    pub unpriced: u64,
}

/// Lines of a report, by the values of what they are gathered by; empty for what was not said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    pub lines: BTreeMap<Vec<String>, Sums>,
    /// For a person: PostgreSQL was not reached, and this is only what waits for it.
    pub notice: Option<String>,
}

impl Dimension {
    /// The column's name in a report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Key => "key",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Team => "team",
            Self::User => "user",
            Self::EndUser => "end_user",
            Self::Surface => "surface",
        }
    }

    /// What a value that is asked for may be: a key is asked for by its alias or its id.
    fn meant(self, dialect: Dialect) -> Vec<&'static str> {
        match self {
            Self::Key => vec!["coalesce(key_alias, '')", "coalesce(key_id, '')"],
            _ => vec![self.sql(dialect)],
        }
    }

    /// What stands for it in each store.
    fn sql(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::Day, Dialect::Sqlite) => {
                "strftime('%Y-%m-%d', started_at / 1000000, 'unixepoch')"
            }
            (Self::Month, Dialect::Sqlite) => {
                "strftime('%Y-%m', started_at / 1000000, 'unixepoch')"
            }
            (Self::Day, Dialect::Postgres) => {
                "to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
            }
            (Self::Month, Dialect::Postgres) => "to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM')",
            (Self::Key, _) => "coalesce(key_alias, key_id, '')",
            (Self::Model, _) => "coalesce(model_group, model_requested)",
            (Self::Provider, _) => "coalesce(provider, '')",
            (Self::Team, _) => "coalesce(team_id, '')",
            (Self::User, _) => "coalesce(user_id, '')",
            (Self::EndUser, _) => "coalesce(end_user, '')",
            (Self::Surface, _) => "surface",
        }
    }
}

impl Sums {
    /// The cost as a decimal number of US dollars, without zeros at the end.
    pub fn usd(&self) -> String {
        let sign = if self.cost_nanos < 0 { "-" } else { "" };
        let nanos = self.cost_nanos.unsigned_abs();
        let text = format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
        self.tool_calls += other.tool_calls;
        self.cost_nanos = self.cost_nanos.saturating_add(other.cost_nanos);
        self.unpriced += other.unpriced;
    }
}

impl Usage {
    fn add(&mut self, group: Vec<String>, sums: &Sums) -> Result<(), QueryError> {
        if self.lines.len() >= MOST_GROUPS && !self.lines.contains_key(&group) {
            return Err(QueryError::Wide(MOST_GROUPS));
        }
        self.lines.entry(group).or_default().add(sums);
        Ok(())
    }

    fn add_page(&mut self, page: Vec<Option<Used>>) -> Result<(), QueryError> {
        page.into_iter().flatten().try_for_each(|used| self.add(used.group, &used.sums))
    }

    /// All lines together.
    pub fn total(&self) -> Sums {
        let mut total = Sums::default();
        self.lines.values().for_each(|sums| total.add(sums));
        total
    }
}

/// Adds up what was used.
///
/// # Errors
/// A store cannot be read; without a `database_url` there is no file; the report would be endless.
pub async fn usage(settings: &RequestLog, query: &UsageQuery) -> Result<Usage, QueryError> {
    let mut pages = in_file(settings, query);
    // What is in the file is settled before PostgreSQL is asked: what moves in between is in both.
    let first = pages.recv().await;
    let mut usage = Usage::default();
    let Some(server) = query::server(settings)? else {
        first.transpose()?;
        while let Some(page) = pages.recv().await {
            usage.add_page(page?)?;
        }
        return Ok(usage);
    };
    match in_server(&server, query, &mut pages, &mut usage).await {
        Ok(()) => Ok(usage),
        Err(Failed::Query(error)) => Err(error),
        Err(Failed::Server(fault)) => {
            let mut waiting = Usage {
                notice: Some(format!(
                    "PostgreSQL is not available ({fault}): this is only what waits for it"
                )),
                ..Usage::default()
            };
            let mut pages = in_file(settings, query);
            while let Some(page) = pages.recv().await {
                waiting.add_page(page.map_err(|_| QueryError::Postgres(fault.to_string()))?)?;
            }
            Ok(waiting)
        }
    }
}

/// US dollars as SQLite keeps them, in billionths.
#[expect(clippy::cast_possible_truncation, reason = "a row's cost is below a billion dollars")]
fn nanos(usd: f64) -> i64 {
    (usd * 1e9).round() as i64
}

/// One request's share.
struct Used {
    request_id: String,
    group: Vec<String>,
    sums: Sums,
}

enum Failed {
    Server(Fault),
    Query(QueryError),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Server(fault)
    }
}

#[derive(Clone, Copy)]
enum Dialect {
    Sqlite,
    Postgres,
}

/// The file's rows, each with its share; nothing in the place of those that are not wanted.
fn in_file(settings: &RequestLog, query: &UsageQuery) -> walk::Pages<Option<Used>> {
    let only = query.only.iter().flat_map(|(it, _)| it.meant(Dialect::Sqlite));
    let dimensions = query.by.iter().map(|it| it.sql(Dialect::Sqlite)).chain(only);
    let dimensions: String = dimensions.map(|column| format!(", {column}")).collect();
    let columns = format!(
        "request_id, status, input_tokens, output_tokens, cache_read_tokens, reasoning_tokens, tool_calls, \
         cost_usd{dimensions}"
    );
    let (by, only) = (query.by.len(), query.only.clone());
    let take = move |row: &Row<'_>| used(row, by, &only);
    walk::file(&settings.path, &columns, query.span, take)
}

/// Reads a row of the columns above; `None` where it is not wanted.
fn used(row: &Row<'_>, by: usize, only: &[(Dimension, String)]) -> rusqlite::Result<Option<Used>> {
    const FIRST: usize = 8;
    let mut at = FIRST + by;
    for (dimension, wanted) in only {
        let mut is_wanted = false;
        for _ in dimension.meant(Dialect::Sqlite) {
            is_wanted |= row.get::<_, String>(at)? == *wanted;
            at += 1;
        }
        if !is_wanted {
            return Ok(None);
        }
    }
    let group = (0..by).map(|at| row.get(FIRST + at)).collect::<rusqlite::Result<_>>()?;
    let count = |at: usize| -> rusqlite::Result<Option<u64>> {
        Ok(row.get::<_, Option<i64>>(at)?.and_then(|count| u64::try_from(count).ok()))
    };
    let status: String = row.get(1)?;
    let (input, output) = (count(2)?, count(3)?);
    let cost: Option<f64> = row.get(7)?;
    let has_tokens = input.unwrap_or(0) + output.unwrap_or(0) > 0;
    let sums = Sums {
        requests: 1,
        errors: u64::from(status != "ok"),
        input_tokens: input.unwrap_or(0),
        output_tokens: output.unwrap_or(0),
        cache_read_tokens: count(4)?.unwrap_or(0),
        reasoning_tokens: count(5)?.unwrap_or(0),
        tool_calls: count(6)?.unwrap_or(0),
        cost_nanos: cost.map_or(0, nanos),
        unpriced: u64::from(cost.is_none() && has_tokens),
    };
    Ok(Some(Used { request_id: row.get(0)?, group, sums }))
}

/// PostgreSQL's rows, added up there, and those of the file that it has not, all as of one moment.
async fn in_server(
    server: &Postgres,
    query: &UsageQuery,
    pages: &mut walk::Pages<Option<Used>>,
    usage: &mut Usage,
) -> Result<(), Failed> {
    let dimensions = query.by.iter().enumerate();
    let named: Vec<String> =
        dimensions.map(|(at, it)| format!("{} AS d{at}", it.sql(Dialect::Postgres))).collect();
    let places: Vec<String> = (1..=query.by.len()).map(|at| at.to_string()).collect();
    let comma = if named.is_empty() { "" } else { ", " };
    let group =
        if places.is_empty() { String::new() } else { format!("GROUP BY {}", places.join(", ")) };
    let mut values = vec![query.span.since.to_string(), query.span.until.to_string()];
    let mut clause =
        String::from("started_at >= $1::text::timestamptz AND started_at < $2::text::timestamptz");
    for (dimension, value) in &query.only {
        values.push(value.clone());
        let meant = dimension.meant(Dialect::Postgres).join(", ");
        clause.push_str(&format!(" AND ${}::text IN ({meant})", values.len()));
    }
    let sql = format!(
        "SELECT row_to_json(t)::text FROM (
           SELECT {}{comma} count(*) AS requests, count(*) FILTER (WHERE status <> 'ok') AS errors,
             coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
             coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
             coalesce(sum(cache_read_tokens), 0)::bigint AS cache_read_tokens,
             coalesce(sum(reasoning_tokens), 0)::bigint AS reasoning_tokens,
             coalesce(sum(tool_calls), 0)::bigint AS tool_calls,
             round(coalesce(sum(cost_usd), 0) * 1000000000)::bigint AS cost_nanos,
             count(*) FILTER (WHERE cost_usd IS NULL
               AND coalesce(input_tokens, 0) + coalesce(output_tokens, 0) > 0) AS unpriced
           FROM tidegate.request_logs WHERE {clause} {group} HAVING count(*) > 0 LIMIT {}) t",
        named.join(", "),
        MOST_GROUPS + 1,
    );
    let known = "SELECT request_id::text FROM tidegate.request_logs
                 WHERE request_id = ANY (SELECT json_array_elements_text($1::text::json)::uuid)";
    let by = query.by.len();
    server
        .in_snapshot(async |snapshot| {
            let values: Vec<_> = values.iter().map(|value| (value as _, Type::TEXT)).collect();
            let mut groups = Vec::new();
            for json in snapshot.texts(&sql, &values).await? {
                let line: Map<String, Value> = serde_json::from_str(&json).unwrap_or_default();
                groups.push(from_server(&line, by));
            }
            // The file's rows that are not among them.
            while let Some(page) = pages.recv().await {
                // A file that is not here, or not readable, only hides rows that still wait.
                let Ok(page) = page else { break };
                let page: Vec<Used> = page.into_iter().flatten().collect();
                let ids: Vec<&str> = page.iter().map(|used| used.request_id.as_str()).collect();
                if ids.is_empty() {
                    continue;
                }
                let ids = serde_json::to_string(&ids).unwrap_or_default();
                let moved: std::collections::HashSet<String> =
                    snapshot.texts(known, &[(&ids, Type::TEXT)]).await?.into_iter().collect();
                let waits = page.into_iter().filter(|used| !moved.contains(&used.request_id));
                groups.extend(waits.map(|used| (used.group, used.sums)));
            }
            Ok(groups)
        })
        .await?
        .into_iter()
        .try_for_each(|(group, sums)| usage.add(group, &sums))
        .map_err(Failed::Query)
}

fn from_server(line: &Map<String, Value>, by: usize) -> (Vec<String>, Sums) {
    let text = |at: usize| {
        let text = line.get(&format!("d{at}")).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let count = |name: &str| line.get(name).and_then(Value::as_u64).unwrap_or(0);
    let sums = Sums {
        requests: count("requests"),
        errors: count("errors"),
        input_tokens: count("input_tokens"),
        output_tokens: count("output_tokens"),
        cache_read_tokens: count("cache_read_tokens"),
        reasoning_tokens: count("reasoning_tokens"),
        tool_calls: count("tool_calls"),
        cost_nanos: line.get("cost_nanos").and_then(Value::as_i64).unwrap_or(0),
        unpriced: count("unpriced"),
    };
    ((0..by).map(text).collect(), sums)
}
