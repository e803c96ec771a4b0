//! The figures of loops, and their table: a line for each surface and length, held in each round against a client that goes
//! through the same loop on its own. It must not know how a figure came about.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use super::{AT_ONCE, Surface};
use crate::report::{median, spell};

/// What the gateway may add to the p99 of one round, in microseconds.
const GOAL: f64 = 1_000.0;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Figure {
    /// Microseconds for a whole loop; the first two by a client that calls model and server itself.
    DirectP50,
    DirectP99,
    P50,
    P99,
    /// Loops a second, many at once.
    Rate,
    /// Milliseconds of the gateway's CPU for 1,000 rounds.
    Cpu,
}

/// Every figure of every round.
#[derive(Default)]
pub(crate) struct LoopResults {
    figures: BTreeMap<(Surface, usize, Figure), Vec<f64>>,
    pub(super) peak: Option<f64>,
}

impl LoopResults {
    pub(super) fn add(&mut self, surface: Surface, calls: usize, figure: Figure, value: f64) {
        self.figures.entry((surface, calls, figure)).or_default().push(value);
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "| A turn with tools | calls, one after the other | p50, client's own loop | p50 | p99, client's own loop | p99 | \
             added p99 per call | goal | | {AT_ONCE} at once: turns a second | CPU per 1,000 calls |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---|---:|---:|\n"
        );
        let mut lines: Vec<(Surface, usize)> =
            self.figures.keys().map(|(surface, calls, _)| (*surface, *calls)).collect();
        lines.dedup();
        for (surface, calls) in lines {
            let cell = |figure, unit: &str| {
                let value = median(self.rounds(surface, calls, figure));
                value.map_or("–".into(), |value| format!("{} {unit}", spell(value)))
            };
            let (added, verdict) = match self.added(surface, calls) {
                Some(added) if added <= GOAL => (format!("{added:+.0} µs"), "PASS"),
                Some(added) => (format!("{added:+.0} µs"), "MISS"),
                None => (String::new(), "not measured"),
            };
            let _ = writeln!(
                text,
                "| {} | {calls} | {} | {} | {} | {} | {added} | ≤ +{GOAL} µs | {verdict} | {} | {} |",
                surface.title(),
                cell(Figure::DirectP50, "µs"),
                cell(Figure::P50, "µs"),
                cell(Figure::DirectP99, "µs"),
                cell(Figure::P99, "µs"),
                cell(Figure::Rate, "/s"),
                cell(Figure::Cpu, "ms"),
            );
        }
        if let Some(peak) = self.peak {
            let _ = writeln!(
                text,
                "\nMost memory of the gateway in all that (VmHWM): {} MiB.",
                spell(peak)
            );
        }
        text
    }

    /// How many rounds were completed.
    pub(crate) fn completed(&self) -> usize {
        self.figures.values().map(Vec::len).min().unwrap_or(0)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let figures = self.figures.iter().map(|((surface, calls, figure), rounds)| {
            json!({ "surface": surface.title(), "calls": calls, "figure": format!("{figure:?}"), "rounds": rounds })
        });
        json!({ "figures": figures.collect::<Vec<_>>(), "peak": self.peak })
    }

    /// What the gateway adds to the p99 for each call, round by round.
    fn added(&self, surface: Surface, calls: usize) -> Option<f64> {
        let direct = self.rounds(surface, calls, Figure::DirectP99);
        let own = self.rounds(surface, calls, Figure::P99);
        let each = own.iter().zip(direct).map(|(own, direct)| (own - direct) / calls as f64);
        median(&each.collect::<Vec<f64>>())
    }

    fn rounds(&self, surface: Surface, calls: usize, figure: Figure) -> &[f64] {
        self.figures.get(&(surface, calls, figure)).map_or(&[], Vec::as_slice)
    }
}
