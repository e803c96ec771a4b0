//! The phases: each puts one kind of load on one target and says what came of it. It must not know
//! goals or other targets; comparing is the report's work.

use std::time::Duration;

use tidegate::conversation::Format;

use crate::answers::CHUNKS;
use crate::target::Target;
use crate::upstream::{BURST_CHUNKS, PACED_CHUNKS, PACED_PAUSE};
use crate::{Outcome, load};

/// What is measured, in the order of the report.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Measure {
    /// Requests a second.
    Throughput,
    /// Milliseconds of CPU per 1,000 requests.
    CpuSmall,
    CpuBody8,
    CpuBody128,
    CpuAnswer128,
    /// Microseconds.
    SingleP50,
    OpenP50,
    OpenP99,
    FirstToken,
    /// Microseconds of CPU per streamed chunk.
    CpuBurst,
    CpuPaced,
    /// MiB.
    Idle,
    Peak,
    /// Milliseconds.
    Ready,
}

/// One kind of load.
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Target, Duration) -> Outcome<Figures>,
}

pub(crate) type Figures = Vec<(Measure, f64)>;

pub(crate) const PHASES: [Phase; 8] = [
    Phase { name: "throughput", run: throughput },
    Phase { name: "body8", run: |target, time| bodies(target, time, Measure::CpuBody8, 8) },
    Phase { name: "body128", run: |target, time| bodies(target, time, Measure::CpuBody128, 128) },
    Phase { name: "answer128", run: large_answers },
    Phase { name: "latency", run: latency },
    Phase { name: "first-token", run: first_token },
    Phase { name: "burst", run: burst },
    Phase { name: "paced", run: paced },
];

/// Requests a second which the open loop asks for.
const OPEN_RATE: u32 = 1_000;
const OPEN_LANES: u32 = 16;
/// A rendered chunk is longer than this; replies with less in total were cut.
const CHUNK_AT_LEAST: usize = 150;

fn throughput(target: &Target, time: Duration) -> Outcome<Figures> {
    closed(target, time, Measure::CpuSmall, "plain", 0, 64)
}

/// CPU per 1,000 requests whose bodies hold `kib` KiB.
fn bodies(target: &Target, time: Duration, measure: Measure, kib: usize) -> Outcome<Figures> {
    let mut figures = closed(target, time, measure, "plain", kib * 1024, 16)?;
    figures.retain(|(which, _)| *which == measure);
    Ok(figures)
}

fn large_answers(target: &Target, time: Duration) -> Outcome<Figures> {
    let mut figures = closed(target, time, Measure::CpuAnswer128, "large", 0, 16)?;
    figures.retain(|(which, _)| *which == Measure::CpuAnswer128);
    Ok(figures)
}

/// The closed loop with its CPU, which the direct upstream does not have.
fn closed(
    target: &Target,
    time: Duration,
    cpu: Measure,
    route: &str,
    size: usize,
    connections: usize,
) -> Outcome<Figures> {
    let request = target.request(route, size, false);
    let before = target.settled_cpu();
    let done = load::closed(target.address, &request, connections, time, 1)?;
    let mut figures =
        vec![(Measure::Throughput, done.requests as f64 / done.elapsed.as_secs_f64())];
    if let (Some(before), Some(after)) = (before, target.settled_cpu()) {
        let milliseconds = (after - before).as_secs_f64() * 1e3;
        figures.push((cpu, milliseconds / (done.requests as f64 / 1e3)));
    }
    Ok(figures)
}

/// One connection in a closed loop, then a fixed rate in an open one.
fn latency(target: &Target, time: Duration) -> Outcome<Figures> {
    let request = target.request("plain", 0, false);
    let single = load::single(target.address, &request, time / 2)?;
    // A p99 wants some thousands of requests, so this phase is the longest.
    let open = load::open(target.address, &request, OPEN_RATE, OPEN_LANES, time * 2)?;
    Ok(vec![
        (Measure::SingleP50, microseconds(load::percentile(single, 0.5)?)),
        (Measure::OpenP50, microseconds(load::percentile(open.clone(), 0.5)?)),
        (Measure::OpenP99, microseconds(load::percentile(open, 0.99)?)),
    ])
}

fn first_token(target: &Target, time: Duration) -> Outcome<Figures> {
    let request = target.request("token", 0, true);
    let times = load::first_tokens(target.address, &request, time)?;
    Ok(vec![(Measure::FirstToken, microseconds(load::percentile(times, 0.5)?))])
}

fn burst(target: &Target, time: Duration) -> Outcome<Figures> {
    chunks(target, time, Measure::CpuBurst, "burst", BURST_CHUNKS, 8)
}

/// Every chunk is a write of its own: the relay's cost when it can gather nothing.
fn paced(target: &Target, time: Duration) -> Outcome<Figures> {
    // Streams must end within the phase to be counted.
    let time = time.max(PACED_PAUSE * PACED_CHUNKS as u32);
    chunks(target, time, Measure::CpuPaced, "paced", PACED_CHUNKS, 32)
}

fn chunks(
    target: &Target,
    time: Duration,
    measure: Measure,
    route: &str,
    per_stream: usize,
    connections: usize,
) -> Outcome<Figures> {
    let request = target.request(route, 0, true);
    let at_least = per_stream * CHUNK_AT_LEAST;
    let before = target.settled_cpu();
    let done = load::closed(target.address, &request, connections, time, at_least)?;
    let (Some(before), Some(after)) = (before, target.settled_cpu()) else {
        return Ok(Vec::new());
    };
    let chunks = done.requests as f64 * per_stream as f64;
    Ok(vec![(measure, microseconds(after - before) / chunks)])
}

/// What translation costs with everything around it: CPU of one 16 KiB request, or of one chunk of a stream, in
/// microseconds; `None` for the upstream itself.
pub(crate) fn translated(
    target: &Target,
    time: Duration,
    client: Format,
    provider: Format,
    stream: bool,
) -> Outcome<Option<f64>> {
    let request = target.translated(client, provider, stream);
    let (connections, pieces) = if stream { (8, CHUNKS) } else { (16, 1) };
    let before = target.settled_cpu();
    let at_least = if stream { CHUNKS * CHUNK_AT_LEAST / 2 } else { 1 };
    let done = load::closed(target.address, &request, connections, time, at_least)?;
    let (Some(before), Some(after)) = (before, target.settled_cpu()) else { return Ok(None) };
    Ok(Some(microseconds(after - before) / (done.requests as f64 * pieces as f64)))
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
