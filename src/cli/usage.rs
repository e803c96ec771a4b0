//! `tidegate usage`: requests, tokens and money by day, key, model and the like.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value, json};

use super::{answered, complain, configured, failed, print};
use crate::journal::export::csv_field;
use crate::journal::query::parse_since;
use crate::journal::usage::{Dimension, Sums, Usage, UsageQuery, usage};
use crate::journal::walk::Span;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What to gather by, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [By::Day, By::Model])]
    by: Vec<By>,
    /// Requests that began then or later: 24h, 30d, or an RFC 3339 time. Default: 7d.
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,
    /// Requests that began before: as --since. Default: now.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only this key, by its alias or id.
    #[arg(long)]
    key: Option<String>,
    /// Only this model.
    #[arg(long)]
    model: Option<String>,
    /// Only this team.
    #[arg(long)]
    team: Option<String>,
    /// Only this user.
    #[arg(long)]
    user: Option<String>,
    /// One JSON object a line.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// CSV, with a line of names.
    #[arg(long)]
    csv: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Day,
    Month,
    Key,
    Model,
    Provider,
    Team,
    User,
    EndUser,
    Surface,
    /// All in one line.
    Nothing,
}

const COLUMNS: [&str; 9] = [
    "requests",
    "errors",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "reasoning_tokens",
    "tool_calls",
    "cost_usd",
    "unpriced",
];

pub(super) fn run(config: &Path, arguments: &Arguments) -> ExitCode {
    let snapshot = match configured(config) {
        Ok(snapshot) => snapshot,
        Err(code) => return code,
    };
    answered(async {
        let query = arguments.query().map_err(failed)?;
        let found = usage(&snapshot.request_log, &query).await;
        let found = found.map_err(failed)?;
        print(&arguments.told(&query.by, &found));
        if let Some(notice) = &found.notice {
            complain(notice);
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The span between two moments as they are typed; `until` is now where it is not said.
pub(super) fn span(since: &str, until: Option<&str>) -> Result<Span, String> {
    let now = Timestamp::now();
    let since = parse_since(since, now)?;
    // What begins in this very moment is among them.
    let end = now.checked_add(1.second()).unwrap_or(now);
    let until = until.map_or(Ok(end), |text| parse_since(text, now))?;
    Ok(Span { since, until })
}

impl Arguments {
    fn query(&self) -> Result<UsageQuery, String> {
        let by = self.by.iter().filter_map(|by| {
            Some(match by {
                By::Day => Dimension::Day,
                By::Month => Dimension::Month,
                By::Key => Dimension::Key,
                By::Model => Dimension::Model,
                By::Provider => Dimension::Provider,
                By::Team => Dimension::Team,
                By::User => Dimension::User,
                By::EndUser => Dimension::EndUser,
                By::Surface => Dimension::Surface,
                By::Nothing => return None,
            })
        });
        let only = [
            (Dimension::Key, &self.key),
            (Dimension::Model, &self.model),
            (Dimension::Team, &self.team),
            (Dimension::User, &self.user),
        ];
        Ok(UsageQuery {
            span: span(&self.since, self.until.as_deref())?,
            by: by.collect(),
            only: only
                .into_iter()
                .filter_map(|(dimension, value)| Some((dimension, value.clone()?)))
                .collect(),
        })
    }

    fn told(&self, by: &[Dimension], usage: &Usage) -> String {
        let names: Vec<&str> = by.iter().map(|by| by.as_str()).collect();
        if self.json {
            let line = |(group, sums): (&Vec<String>, &Sums)| {
                let mut line = Map::new();
                for (name, value) in names.iter().zip(group) {
                    line.insert((*name).to_owned(), value.as_str().into());
                }
                let values = values(sums);
                line.extend(COLUMNS.iter().map(|name| (*name).to_owned()).zip(values));
                format!("{}\n", Value::Object(line))
            };
            return usage.lines.iter().map(line).collect();
        }
        if self.csv {
            let mut text = [&names[..], &COLUMNS].concat().join(",") + "\r\n";
            for (group, sums) in &usage.lines {
                let group = group.iter().map(|value| csv_field(Some(&value.as_str().into())));
                let values = values(sums).into_iter().map(|value| csv_field(Some(&value)));
                text.push_str(&(group.chain(values).collect::<Vec<_>>().join(",") + "\r\n"));
            }
            return text;
        }
        table(&names, usage)
    }
}

fn values(sums: &Sums) -> [Value; 9] {
    [
        json!(sums.requests),
        json!(sums.errors),
        json!(sums.input_tokens),
        json!(sums.output_tokens),
        json!(sums.cache_read_tokens),
        json!(sums.reasoning_tokens),
        json!(sums.tool_calls),
        // A number as it is written, and not as a computer's fraction has it.
        sums.usd().parse::<serde_json::Number>().map_or(Value::Null, Value::Number),
        json!(sums.unpriced),
    ]
}

/// A table for a terminal, with a line for all.
fn table(names: &[&str], usage: &Usage) -> String {
    const NUMBERS: [&str; 7] = ["requests", "errors", "input", "output", "cached", "tools", "usd"];
    let cells = |group: &[String], sums: &Sums| -> Vec<String> {
        let shown = |text: &String| {
            if text.is_empty() { "-".to_owned() } else { crate::ground::names::shown(text) }
        };
        // A star: not every price is known.
        let star = if sums.unpriced > 0 { "*" } else { "" };
        let numbers = [
            sums.requests.to_string(),
            sums.errors.to_string(),
            sums.input_tokens.to_string(),
            sums.output_tokens.to_string(),
            sums.cache_read_tokens.to_string(),
            sums.tool_calls.to_string(),
            match sums.cost_nanos {
                0 if sums.unpriced > 0 => format!("-{star}"),
                _ => format!("{}{star}", sums.usd()),
            },
        ];
        group.iter().map(shown).chain(numbers).collect()
    };
    let heads: Vec<String> = names.iter().chain(&NUMBERS).map(|name| (*name).to_owned()).collect();
    let mut rows = vec![heads];
    rows.extend(usage.lines.iter().map(|(group, sums)| cells(group, sums)));
    let total = usage.total();
    if !names.is_empty() {
        let group: Vec<String> =
            (0..names.len()).map(|at| if at == 0 { "total" } else { "" }.to_owned()).collect();
        rows.push(cells(&group, &total));
    }
    let count = names.len() + NUMBERS.len();
    let widths: Vec<usize> = (0..count)
        .map(|at| {
            let widths = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
            widths.max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            if at < names.len() { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(&format!("{}\n", line.trim_end()));
    }
    if total.unpriced > 0 {
        let (noun, verb) =
            if total.unpriced == 1 { ("request", "has") } else { ("requests", "have") };
        text.push_str(&format!("* {} {noun} {verb} no known price\n", total.unpriced));
    }
    text
}
