//! From figures to a judgement: medians of rounds, the comparison that each goal asks for, and the
//! table as Markdown or JSON. It must not know how a figure came about.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use crate::measure::Measure;
use crate::target::Kind;

/// Every figure of every round.
#[derive(Default)]
pub(crate) struct Results(BTreeMap<(Measure, Kind), Vec<f64>>);

/// What a figure of Tidegate is held against.
#[derive(Clone, Copy)]
enum Goal {
    /// Reported, not judged.
    None,
    AtMost(f64),
    /// A share of nginx's figure in the same round.
    AtLeastOfNginx(f64),
    AtMostOfNginx(f64),
    /// What is added to the direct upstream's figure in the same round.
    AddedAtMost(f64),
}

struct Row {
    measure: Measure,
    title: &'static str,
    unit: &'static str,
    goal: Goal,
}

#[rustfmt::skip]
const ROWS: [Row; 14] = [
    Row { measure: Measure::Throughput, title: "Requests a second, 64 connections, small body", unit: "/s", goal: Goal::AtLeastOfNginx(0.75) },
    Row { measure: Measure::CpuSmall, title: "CPU per 1,000 requests, small body", unit: "ms", goal: Goal::None },
    Row { measure: Measure::CpuBody8, title: "CPU per 1,000 requests, 8 KiB body", unit: "ms", goal: Goal::AtMostOfNginx(1.6) },
    Row { measure: Measure::CpuBody128, title: "CPU per 1,000 requests, 128 KiB body", unit: "ms", goal: Goal::AtMostOfNginx(2.5) },
    Row { measure: Measure::CpuAnswer128, title: "CPU per 1,000 requests, 128 KiB answer", unit: "ms", goal: Goal::None },
    Row { measure: Measure::SingleP50, title: "p50, one connection", unit: "µs", goal: Goal::AddedAtMost(60.0) },
    Row { measure: Measure::OpenP50, title: "p50 at 1,000 requests/s, open loop", unit: "µs", goal: Goal::None },
    Row { measure: Measure::OpenP99, title: "p99 at 1,000 requests/s, open loop", unit: "µs", goal: Goal::AddedAtMost(500.0) },
    Row { measure: Measure::FirstToken, title: "First token of a stream", unit: "µs", goal: Goal::AddedAtMost(250.0) },
    Row { measure: Measure::CpuBurst, title: "CPU per streamed chunk, burst", unit: "µs", goal: Goal::AtMost(5.0) },
    Row { measure: Measure::CpuPaced, title: "CPU per streamed chunk, one write each", unit: "µs", goal: Goal::None },
    Row { measure: Measure::Idle, title: "Memory idle (VmRSS)", unit: "MiB", goal: Goal::AtMost(25.0) },
    Row { measure: Measure::Peak, title: "Memory under load (VmHWM)", unit: "MiB", goal: Goal::AtMost(45.0) },
    Row { measure: Measure::Ready, title: "From start to ready", unit: "ms", goal: Goal::AtMost(100.0) },
];

impl Results {
    pub(crate) fn add(&mut self, kind: Kind, measure: Measure, figure: f64) {
        self.0.entry((measure, kind)).or_default().push(figure);
    }

    pub(crate) fn markdown(&self) -> String {
        let mut table = String::from(
            "| Measure | direct | nginx | tidegate | compared | goal | |\n\
             |---|---:|---:|---:|---:|---:|---|\n",
        );
        for row in &ROWS {
            let cell = |kind| {
                let figure = median(self.rounds(row.measure, kind));
                figure.map_or("–".into(), |figure| format!("{} {}", spell(figure), row.unit))
            };
            let (compared, goal, verdict) = self.judge(row);
            let _ = writeln!(
                table,
                "| {} | {} | {} | {} | {compared} | {goal} | {verdict} |",
                row.title,
                cell(Kind::Direct),
                cell(Kind::Nginx),
                cell(Kind::Tidegate)
            );
        }
        table
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let rows = ROWS.iter().map(|row| {
            let figures: serde_json::Map<_, _> = Kind::ALL
                .iter()
                .map(|kind| (kind.name().to_owned(), json!(self.rounds(row.measure, *kind))))
                .collect();
            let (compared, goal, verdict) = self.judge(row);
            json!({
                "measure": format!("{:?}", row.measure), "title": row.title, "unit": row.unit,
                "rounds": figures, "compared": compared, "goal": goal, "verdict": verdict,
            })
        });
        serde_json::Value::Array(rows.collect())
    }

    fn rounds(&self, measure: Measure, kind: Kind) -> &[f64] {
        self.0.get(&(measure, kind)).map_or(&[], Vec::as_slice)
    }

    /// The figure that the goal speaks of, the goal, and whether it is met.
    fn judge(&self, row: &Row) -> (String, String, &'static str) {
        let own = self.rounds(row.measure, Kind::Tidegate);
        // Figures of one round stand side by side in time, so they are compared before the median.
        let against = |other: Kind, compare: fn(f64, f64) -> f64| {
            let others = self.rounds(row.measure, other);
            let pairs: Vec<f64> = own.iter().zip(others).map(|(a, b)| compare(*a, *b)).collect();
            median(&pairs)
        };
        let ratio = || against(Kind::Nginx, |own, nginx| own / nginx);
        let added = || against(Kind::Direct, |own, direct| own - direct);
        let (figure, limit, spelt, goal) = match row.goal {
            Goal::None => return (String::new(), String::new(), ""),
            Goal::AtMost(limit) => {
                let figure = median(own);
                let spelt = figure.map(|figure| format!("{} {}", spell(figure), row.unit));
                (figure, limit, spelt, format!("≤ {limit} {}", row.unit))
            }
            Goal::AtLeastOfNginx(limit) => {
                let spelt = ratio().map(|ratio| format!("{ratio:.2} × nginx"));
                // Negated on both sides, so that one comparison serves every goal.
                (ratio().map(|ratio| -ratio), -limit, spelt, format!("≥ {limit} × nginx"))
            }
            Goal::AtMostOfNginx(limit) => {
                let spelt = ratio().map(|ratio| format!("{ratio:.2} × nginx"));
                (ratio(), limit, spelt, format!("≤ {limit} × nginx"))
            }
            Goal::AddedAtMost(limit) => {
                let spelt = added().map(|added| format!("+{} {}", spell(added), row.unit));
                (added(), limit, spelt, format!("≤ +{limit} {}", row.unit))
            }
        };
        let verdict = match figure {
            Some(figure) if figure <= limit => "PASS",
            Some(_) => "MISS",
            None => "not measured",
        };
        (spelt.unwrap_or_default(), goal, verdict)
    }
}

/// The middle of the rounds; `None` where nothing was measured.
pub(crate) fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied()?;
    let odd = sorted.len() % 2 == 1;
    let lower = if odd { upper } else { sorted.get(middle - 1).copied()? };
    Some(f64::midpoint(lower, upper))
}

/// Three digits that mean something, and no more.
pub(crate) fn spell(figure: f64) -> String {
    match figure.abs() {
        large if large >= 100.0 => format!("{figure:.0}"),
        middle if middle >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
