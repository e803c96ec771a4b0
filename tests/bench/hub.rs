//! What translation costs, from figures to tables: the formats themselves and the whole gateway, for each pair of
//! formats, beside the verbatim lane of the same client. It must not know how a figure came about.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::json;
use tidegate::conversation::Format;

use crate::codec::{self, Lane, Work};
use crate::measure;
use crate::report::{median, spell};
use crate::target::Target;
use crate::{Outcome, answers};

/// Translation both ways of a 16 KiB request and its answer, the formats alone, in microseconds.
const REQUEST_GOAL: f64 = 150.0;
/// The same for one chunk of a stream.
const CHUNK_GOAL: f64 = 5.0;

/// Every figure of every round, in microseconds of CPU.
#[derive(Default)]
pub(crate) struct Translated {
    codec: BTreeMap<(Format, Lane, Work), Vec<f64>>,
    /// The same through the gateway; `true`: a chunk of a stream.
    gateway: BTreeMap<(Format, Lane, bool), Vec<f64>>,
}

impl Translated {
    /// One round over all pairs.
    pub(crate) fn round(&mut self, target: Option<(&Target, Duration)>) -> Outcome<()> {
        for client in codec::clients() {
            for (lane, work) in Lane::all().flat_map(|lane| Work::ALL.map(|work| (lane, work))) {
                if let Some(figure) = codec::cost(client, lane, work)? {
                    self.codec.entry((client, lane, work)).or_default().push(figure);
                }
            }
        }
        let Some((target, time)) = target else { return Ok(()) };
        let pairs = codec::clients()
            .flat_map(|client| answers::PROVIDERS.map(|(provider, _)| (client, provider)));
        for (client, provider) in pairs {
            // The same format on both sides is the other lane.
            let lane = if client == provider { Lane::Verbatim } else { Lane::Hub(provider) };
            for stream in [false, true] {
                let figure = measure::translated(target, time, client, provider, stream);
                let figure =
                    figure.map_err(|error| format!("{client:?} to {provider:?}: {error}"))?;
                self.gateway.entry((client, lane, stream)).or_default().extend(figure);
            }
        }
        Ok(())
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = self.goals();
        for client in codec::clients() {
            let _ = write!(
                text,
                "\n| {} to | request | answer | Codex | chunk | request, gateway | | chunk, gateway | |\n\
                 |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
                client.as_str()
            );
            for lane in Lane::all() {
                let works = [Work::Request, Work::Reply, Work::Codex, Work::Chunk];
                let cells = works.map(|work| cell(self.codec(client, lane, work)));
                let _ = write!(text, "| {} | {} |", name(lane), cells.join(" | "));
                for stream in [false, true] {
                    let figure = self.gateway(client, lane, stream);
                    let ratio = self.ratio(client, lane, stream);
                    let _ = write!(text, " {} | {ratio} |", cell(figure));
                }
                text.push('\n');
            }
        }
        text
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let codec = self.codec.iter().map(|((client, lane, work), figures)| {
            json!({ "client": client.as_str(), "to": name(*lane), "work": format!("{work:?}"),
                "codec": figures })
        });
        let gateway = self.gateway.iter().map(|((client, lane, stream), figures)| {
            let work = if *stream { Work::Chunk } else { Work::Request };
            json!({ "client": client.as_str(), "to": name(*lane), "work": format!("{work:?}"),
                "gateway": figures })
        });
        codec.chain(gateway).collect()
    }

    /// The costliest pair against each goal.
    fn goals(&self) -> String {
        let both = |client, lane| {
            let request = self.codec(client, lane, Work::Request)?;
            Some(request + self.codec(client, lane, Work::Reply)?)
        };
        let chunk = |client, lane| self.codec(client, lane, Work::Chunk);
        let rows = [
            ("a 16 KiB request and its answer", REQUEST_GOAL, self.worst(both)),
            ("a chunk of a stream", CHUNK_GOAL, self.worst(chunk)),
        ];
        let mut text = String::from(
            "| Translating, the costliest pair | CPU | goal | |\n|---|---:|---:|---|\n",
        );
        for (title, goal, worst) in rows {
            let (figure, pair) = worst.unwrap_or_default();
            let verdict = if figure <= goal { "PASS" } else { "MISS" };
            let _ = writeln!(
                text,
                "| {title}: {pair} | {} | ≤ {goal} µs | {verdict} |",
                cell(Some(figure))
            );
        }
        text
    }

    fn worst(&self, figure: impl Fn(Format, Lane) -> Option<f64>) -> Option<(f64, String)> {
        let lanes = || Lane::all().filter(|lane| *lane != Lane::Verbatim);
        let pairs = codec::clients().flat_map(|client| lanes().map(move |lane| (client, lane)));
        let figures = pairs.filter_map(|(client, lane)| {
            Some((figure(client, lane)?, format!("{} to {}", client.as_str(), name(lane))))
        });
        figures.max_by(|(one, _), (other, _)| one.total_cmp(other))
    }

    fn codec(&self, client: Format, lane: Lane, work: Work) -> Option<f64> {
        median(self.codec.get(&(client, lane, work))?)
    }

    fn gateway(&self, client: Format, lane: Lane, stream: bool) -> Option<f64> {
        median(self.gateway.get(&(client, lane, stream))?)
    }

    /// Against the verbatim lane of the same client, round by round.
    fn ratio(&self, client: Format, lane: Lane, stream: bool) -> String {
        let rounds = |lane| self.gateway.get(&(client, lane, stream));
        let (Some(own), Some(verbatim)) = (rounds(lane), rounds(Lane::Verbatim)) else {
            return String::new();
        };
        let ratios: Vec<f64> = own.iter().zip(verbatim).map(|(own, other)| own / other).collect();
        median(&ratios).map_or(String::new(), |ratio| format!("{ratio:.2} ×"))
    }
}

fn cell(figure: Option<f64>) -> String {
    figure.map_or("–".to_owned(), |figure| format!("{} µs", spell(figure)))
}

fn name(lane: Lane) -> &'static str {
    match lane {
        Lane::Verbatim => "the same, verbatim",
        Lane::Hub(format) => format.as_str(),
    }
}

/// Does one kind of work over and over, for a profiler.
pub(crate) fn repeat(client: &str, lane: &str, work: &str, times: usize) -> Outcome<()> {
    let client = Format::parse(client).ok_or("no such format of a client")?;
    let lane = match lane {
        "verbatim" => Lane::Verbatim,
        format => Lane::Hub(Format::parse(format).ok_or("no such format of a provider")?),
    };
    let wanted = |known: &Work| format!("{known:?}").eq_ignore_ascii_case(work);
    let work = Work::ALL.into_iter().find(wanted).ok_or("no such work")?;
    codec::repeat(client, lane, work, times)
}
