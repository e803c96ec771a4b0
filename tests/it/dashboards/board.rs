//! A dashboard as a test reads it: its panels, variables and queries, and what Grafana makes of a query before it sends it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder of the repository.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

pub(super) struct Board {
    /// Of the file, without its ending.
    pub(super) name: String,
    pub(super) json: Value,
}

/// A query of a panel.
#[derive(Clone, Debug)]
pub(super) struct Query<'b> {
    /// Where it stands, for messages.
    pub(super) place: String,
    pub(super) panel: &'b Value,
    pub(super) target: &'b Value,
}

/// What Grafana fills in: the time shown, the length of a step, and the chosen values of variables.
pub(super) struct Shown {
    /// Seconds since 1970.
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) step_seconds: i64,
    /// By name, as they stand in SQL: `'a', 'b'`.
    pub(super) variables: BTreeMap<String, String>,
}

impl Board {
    /// Every one that is shipped.
    pub(super) fn all() -> Vec<Self> {
        let mut boards = Vec::new();
        for entry in std::fs::read_dir(folder()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                let json = serde_json::from_slice(&std::fs::read(&path).unwrap());
                boards.push(Self { json: json.unwrap_or_else(|e| panic!("{name}: {e}")), name });
            }
        }
        boards.sort_by(|a, b| a.name.cmp(&b.name));
        assert!(boards.len() >= 4, "where are the dashboards?");
        boards
    }

    /// All panels, rows and what collapsed rows hold among them.
    pub(super) fn panels(&self) -> Vec<&Value> {
        let top = self.json["panels"].as_array().unwrap();
        let held = top.iter().flat_map(|panel| panel["panels"].as_array().into_iter().flatten());
        top.iter().chain(held).collect()
    }

    /// The queries to one kind of data source.
    pub(super) fn queries(&self, kind: &str) -> Vec<Query<'_>> {
        let mut queries = Vec::new();
        for panel in self.panels() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                if target["datasource"]["type"] == kind {
                    let place = format!("{}: {} {}", self.name, panel["title"], target["refId"]);
                    queries.push(Query { place, panel, target });
                }
            }
        }
        queries
    }

    /// The variables that are asked of one kind of data source, in order.
    pub(super) fn variables(&self, kind: &str) -> Vec<&Value> {
        let all = self.json["templating"]["list"].as_array().unwrap();
        all.iter().filter(|variable| variable["datasource"]["type"] == kind).collect()
    }
}

impl Shown {
    /// What Grafana's PostgreSQL source makes of the text:
    /// https://grafana.com/docs/grafana/latest/datasources/postgres/query-editor/#macros
    pub(super) fn sql(&self, text: &str) -> String {
        let time = |seconds: i64| format!("'{}'", jiff::Timestamp::from_second(seconds).unwrap());
        let mut sql = text.replace("$__interval", &format!("{}s", self.step_seconds));
        for (name, values) in &self.variables {
            sql = sql.replace(&format!("${{{name}:sqlstring}}"), values);
        }
        sql = sql.replace("$__timeFrom()", &time(self.from)).replace("$__timeTo()", &time(self.to));
        sql = each_call(&sql, "$__timeFilter", |column| {
            format!("{column} BETWEEN {} AND {}", time(self.from), time(self.to))
        });
        sql = each_call(&sql, "$__timeGroup", |arguments| {
            let (column, step) = arguments.split_once(',').unwrap();
            let step = step.trim().trim_matches('\'').trim_end_matches('s');
            format!("floor(extract(epoch from {column})/{step})*{step}")
        });
        assert!(!sql.contains("$__") && !sql.contains("${"), "what is this? {sql}");
        sql
    }
}

/// A text as Grafana's `sqlstring` writes it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What Grafana's Prometheus source makes of the text; every value of every variable is chosen.
pub(super) fn promql(text: &str, window: &str) -> String {
    let mut text = text.replace("$__rate_interval", window);
    for variable in ["$instance", "$server"] {
        text = text.replace(variable, ".*");
    }
    assert!(!text.contains('$'), "what is this? {text}");
    text
}

fn each_call(text: &str, name: &str, make: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(&format!("{name}(")) {
        let (arguments, after) = after.split_once(')').unwrap();
        out.push_str(before);
        out.push_str(&make(arguments));
        rest = after;
    }
    out + rest
}
