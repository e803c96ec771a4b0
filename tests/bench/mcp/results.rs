//! The figures of MCP, and their tables: a line for each way to a server and each kind of client, held against the server
//! itself in the same round. It must not know how a figure came about.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use super::Server;
use super::many::SESSIONS;
use crate::report::{median, spell};

/// What the gateway may add to the p99 of a call, in microseconds.
const GOAL: f64 = 1_000.0;

/// How a call is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Way {
    /// To the server itself.
    Direct,
    /// Through the gateway, by a client of 2026-07-28.
    Modern,
    /// Through the gateway, by a client with a session.
    Session,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Figure {
    /// Microseconds.
    P50,
    P99,
    /// Calls a second.
    Rate,
    /// Milliseconds of the gateway's CPU for 1,000 calls.
    Cpu,
}

/// What is measured once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Number {
    /// KiB.
    ListBytes,
    /// Milliseconds.
    ListP50,
    ListP99,
    ListDirect,
    Opening,
    CallP50,
    CallP99,
    /// MiB.
    Before,
    With,
    After,
    /// KiB.
    PerSession,
}

/// Every figure of every round.
#[derive(Default)]
pub(crate) struct McpResults {
    calls: BTreeMap<(Server, Way, Figure), Vec<f64>>,
    numbers: BTreeMap<Number, f64>,
}

impl Way {
    pub(super) const ALL: [Self; 3] = [Self::Direct, Self::Modern, Self::Session];
}

impl Server {
    fn title(self) -> &'static str {
        match self {
            Self::Sessions => "http, 2025-11-25",
            Self::Stateless => "http, 2026-07-28",
            Self::Older => "sse",
            Self::Child => "stdio",
        }
    }
}

impl McpResults {
    pub(super) fn add(&mut self, server: Server, way: Way, figure: Figure, value: f64) {
        self.calls.entry((server, way, figure)).or_default().push(value);
    }

    pub(super) fn set(&mut self, number: Number, value: f64) {
        self.numbers.insert(number, value);
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(
            "| MCP: `tools/call` with 1 KiB | client | p50 direct | p50 | p99 direct | p99 | added p99 | goal | | \
             calls a second, direct | calls a second | CPU per 1,000 calls |\n\
             |---|---|---:|---:|---:|---:|---:|---:|---|---:|---:|---:|\n",
        );
        for server in Server::ALL {
            for (way, client) in [(Way::Modern, "2026-07-28"), (Way::Session, "session")] {
                let cell = |way, figure, unit: &str| {
                    let value = median(self.rounds(server, way, figure));
                    value.map_or("–".into(), |value| format!("{} {unit}", spell(value)))
                };
                let added = self.added(server, way);
                let verdict = match added {
                    Some(added) if added <= GOAL => "PASS",
                    Some(_) => "MISS",
                    None => "not measured",
                };
                let added = added.map_or(String::new(), |added| format!("{added:+.0} µs"));
                let _ = writeln!(
                    text,
                    "| {} | {client} | {} | {} | {} | {} | {added} | ≤ +{GOAL} µs | {verdict} | {} | {} | {} |",
                    server.title(),
                    cell(Way::Direct, Figure::P50, "µs"),
                    cell(way, Figure::P50, "µs"),
                    cell(Way::Direct, Figure::P99, "µs"),
                    cell(way, Figure::P99, "µs"),
                    cell(Way::Direct, Figure::Rate, "/s"),
                    cell(way, Figure::Rate, "/s"),
                    cell(way, Figure::Cpu, "ms"),
                );
            }
        }
        text.push_str("\n| MCP: many servers, many clients | |\n|---|---:|\n");
        for (number, title, unit) in NUMBERS {
            let value = self.numbers.get(&number).copied();
            let value = value.map_or("–".into(), |value| format!("{} {unit}", spell(value)));
            let title = title.replace("{sessions}", &SESSIONS.to_string());
            let _ = writeln!(text, "| {title} | {value} |");
        }
        text
    }

    /// How many rounds were completed.
    pub(crate) fn completed(&self) -> usize {
        self.calls.values().map(Vec::len).min().unwrap_or(0)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let calls = self.calls.iter().map(|((server, way, figure), rounds)| {
            json!({ "server": server.title(), "way": format!("{way:?}"),
                "figure": format!("{figure:?}"), "rounds": rounds })
        });
        let numbers = self.numbers.iter().map(|(number, value)| (format!("{number:?}"), *value));
        let numbers: BTreeMap<String, f64> = numbers.collect();
        json!({ "calls": calls.collect::<Vec<_>>(), "numbers": numbers })
    }

    /// What the gateway adds to the p99, round by round.
    fn added(&self, server: Server, way: Way) -> Option<f64> {
        let direct = self.rounds(server, Way::Direct, Figure::P99);
        let own = self.rounds(server, way, Figure::P99);
        let added: Vec<f64> = own.iter().zip(direct).map(|(own, direct)| own - direct).collect();
        median(&added)
    }

    fn rounds(&self, server: Server, way: Way, figure: Figure) -> &[f64] {
        self.calls.get(&(server, way, figure)).map_or(&[], Vec::as_slice)
    }
}

#[rustfmt::skip]
const NUMBERS: [(Number, &str, &str); 11] = [
    (Number::ListBytes, "`tools/list`, 10 servers with 100 tools each: length", "KiB"),
    (Number::ListP50, "its p50", "ms"),
    (Number::ListP99, "its p99", "ms"),
    (Number::ListDirect, "the ten servers' own lists, asked one after the other: p50", "ms"),
    (Number::Before, "Memory before the sessions (VmRSS)", "MiB"),
    (Number::With, "with {sessions} sessions that have that list and keep a stream open", "MiB"),
    (Number::PerSession, "for each session", "KiB"),
    (Number::After, "when all have ended", "MiB"),
    (Number::Opening, "Opening a session, its stream and that list, one after the other", "ms"),
    (Number::CallP50, "`tools/call` in each of the {sessions} sessions in turn: p50", "ms"),
    (Number::CallP99, "its p99", "ms"),
];
