//! `cargo bench --bench gateway`: what Tidegate costs, side by side with the direct upstream and
//! with nginx in one run on one machine. Rounds are interleaved (every phase visits every target
//! before the next phase begins), and medians of rounds are reported. This is a program for people
//! to run and read, not a test: nothing fails because a machine was busy.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program whose output is a table")]

mod answers;
mod codec;
mod conversation;
mod hub;
mod load;
mod loops;
mod machine;
mod mcp;
mod measure;
mod report;
mod sinks;
mod target;
mod traces;
mod upstream;
mod wire;

use std::collections::VecDeque;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;

use crate::hub::Translated;
use crate::loops::LoopResults;
use crate::mcp::McpResults;
use crate::measure::{Measure, PHASES};
use crate::report::Results;
use crate::target::{Kind, Target};
use crate::upstream::Upstream;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// No new round begins after this time.
const BUDGET: Duration = Duration::from_secs(420);
/// Fresh starts of each proxy, of which the median time to readiness is reported.
const STARTS: usize = 7;
/// The marker comments between which `--write` puts its table.
const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";
/// The same for MCP, which has a run of its own.
const MCP_BEGIN: &str = "<!-- bench: mcp begin -->";
const MCP_END: &str = "<!-- bench: mcp end -->";
const MCP_PHASE: &str = "mcp";
/// And for tools inside answers.
const LOOPS_BEGIN: &str = "<!-- bench: loops begin -->";
const LOOPS_END: &str = "<!-- bench: loops end -->";
const LOOPS_PHASE: &str = "loops";
/// And for those who are told of requests.
const SINKS_BEGIN: &str = "<!-- bench: sinks begin -->";
const SINKS_END: &str = "<!-- bench: sinks end -->";
const SINKS_PHASE: &str = "sinks";

/// Measures Tidegate beside nginx and the direct upstream.
#[derive(Parser)]
struct Arguments {
    /// Only these targets (direct, nginx, tidegate), separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these phases (throughput, body8, body128, answer128, latency, first-token, burst, paced,
    /// translated, mcp, loops, sinks).
    #[arg(long, value_delimiter = ',')]
    phases: Vec<String>,
    /// Seconds of load per phase, target and round.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Rounds over all phases.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Print every round's figures as JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Put the table into this file, between its marker comments.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Only what the formats themselves cost, which takes a few seconds and no proxies.
    #[arg(long)]
    codec: bool,
    /// Only what traces cost the thread that finishes a request, which takes a second and no proxies.
    #[arg(long)]
    traces: bool,
    /// Do one kind of work over and over and say nothing, for a profiler: the client's format, `verbatim` or
    /// the provider's format, the work (`openai_chat,gemini,chunk`).
    #[arg(long, value_delimiter = ',')]
    repeat: Vec<String>,
    /// How often.
    #[arg(long, default_value_t = 1)]
    times: usize,
    /// Be an MCP server on standard input and output, as the gateway's child.
    #[arg(long, hide = true)]
    mcp_stdio: bool,
    /// Passed by Cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    if arguments.mcp_stdio {
        return mcp::servers::child();
    }
    if let [client, lane, work] = &*arguments.repeat {
        return hub::repeat(client, lane, work, arguments.times);
    }
    if arguments.codec {
        let mut translated = Translated::default();
        for _ in 0..arguments.rounds {
            translated.round(None)?;
        }
        println!("{}", translated.markdown());
        return Ok(());
    }
    if arguments.traces {
        print!("{}", traces::markdown(arguments.rounds)?);
        return Ok(());
    }
    let mut json = serde_json::Map::new();
    let mut reports = Vec::new();
    let apart = [MCP_PHASE, LOOPS_PHASE, SINKS_PHASE];
    if arguments.phases.iter().any(|phase| !apart.contains(&phase.as_str()))
        || arguments.phases.is_empty()
    {
        reports.push((BEGIN, END, proxies(&arguments, &mut json)?));
    }
    if wanted(&arguments.phases, MCP_PHASE) && wanted(&arguments.only, Kind::Tidegate.name()) {
        let results = mcp::run(arguments.rounds, arguments.seconds)?;
        json.insert("mcp".into(), results.json());
        reports.push((MCP_BEGIN, MCP_END, mcp_report(&arguments, &results)));
    }
    if wanted(&arguments.phases, LOOPS_PHASE) && wanted(&arguments.only, Kind::Tidegate.name()) {
        let results = loops::run(arguments.rounds, arguments.seconds)?;
        json.insert("loops".into(), results.json());
        reports.push((LOOPS_BEGIN, LOOPS_END, loops_report(&arguments, &results)));
    }
    if wanted(&arguments.phases, SINKS_PHASE) && wanted(&arguments.only, Kind::Tidegate.name()) {
        // A p99 wants some thousands of requests.
        let seconds = arguments.seconds * 4.0;
        let results = sinks::run(arguments.rounds, seconds)?;
        json.insert("sinks".into(), results.json());
        let conditions = conditions_of_gateway(results.completed(), seconds);
        reports.push((SINKS_BEGIN, SINKS_END, format!("{conditions}\n\n{}", results.markdown())));
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&json)?);
    } else {
        for (_, _, report) in &reports {
            println!("{report}");
        }
    }
    if let Some(path) = &arguments.write {
        for (begin, end, report) in &reports {
            write_between(begin, end, path, report)?;
        }
        eprintln!("wrote the tables into {}", path.display());
    }
    Ok(())
}

/// Everything but MCP: the report, and its figures.
fn proxies(
    arguments: &Arguments,
    json: &mut serde_json::Map<String, serde_json::Value>,
) -> Outcome<String> {
    let mut translated = Translated::default();
    let upstream = Upstream::start()?;
    let mut results = Results::default();
    let targets = start(arguments, &upstream, &mut results);
    let rounds = run(arguments, &targets, &mut results, &mut translated)?;
    for target in &targets {
        if let Some(peak) = target.memory("VmHWM") {
            results.add(target.kind, Measure::Peak, peak);
        }
    }
    json.insert("proxies".into(), results.json());
    json.insert("translated".into(), translated.json());
    let conditions = conditions(arguments, rounds);
    Ok(format!("{conditions}\n\n{}\n{}", results.markdown(), translated.markdown()))
}

fn mcp_report(arguments: &Arguments, results: &McpResults) -> String {
    let seconds = arguments.seconds * mcp::SHARE;
    format!("{}\n\n{}", conditions_of_gateway(results.completed(), seconds), results.markdown())
}

fn loops_report(arguments: &Arguments, results: &LoopResults) -> String {
    let seconds = arguments.seconds * loops::SHARE;
    format!("{}\n\n{}", conditions_of_gateway(results.completed(), seconds), results.markdown())
}

/// Starts what was asked for; a target that cannot run is left out with a word why.
fn start(arguments: &Arguments, upstream: &Upstream, results: &mut Results) -> Vec<Target> {
    let mut targets = Vec::new();
    for kind in Kind::ALL {
        if !wanted(&arguments.only, kind.name()) {
            continue;
        }
        match prepare(kind, upstream, results) {
            Ok(target) => targets.push(target),
            Err(error) => eprintln!("{} is left out: {error}", kind.name()),
        }
    }
    targets
}

/// Readiness over several fresh starts, memory before the first request, then the probe.
fn prepare(kind: Kind, upstream: &Upstream, results: &mut Results) -> Outcome<Target> {
    let target = Target::start(kind, upstream.address)?;
    std::thread::sleep(Duration::from_millis(300));
    let idle = target.memory("VmRSS");
    target.probe(upstream)?;
    if let Some(idle) = idle {
        results.add(kind, Measure::Idle, idle);
        for _ in 0..STARTS {
            let fresh = Target::start(kind, upstream.address)?;
            let ready = fresh.ready().unwrap_or_default();
            results.add(kind, Measure::Ready, ready.as_secs_f64() * 1e3);
        }
    }
    let request = target.request("plain", 0, false);
    load::closed(target.address, &request, 64, Duration::from_millis(500), 1)?;
    Ok(target)
}

/// Runs the rounds; returns how many were completed.
fn run(
    arguments: &Arguments,
    targets: &[Target],
    results: &mut Results,
    translated: &mut Translated,
) -> Outcome<usize> {
    let started = Instant::now();
    let time = Duration::try_from_secs_f64(arguments.seconds)?;
    let mut order: VecDeque<&Target> = targets.iter().collect();
    for round in 0..arguments.rounds {
        if started.elapsed() > BUDGET {
            eprintln!("out of time after {round} rounds");
            return Ok(round);
        }
        for phase in PHASES.iter().filter(|phase| wanted(&arguments.phases, phase.name)) {
            for target in &order {
                let figures = (phase.run)(target, time)
                    .map_err(|error| format!("{}, {}: {error}", target.kind.name(), phase.name))?;
                for (measure, figure) in figures {
                    results.add(target.kind, measure, figure);
                }
            }
        }
        let gateway = targets.iter().find(|target| target.kind == Kind::Tidegate);
        if wanted(&arguments.phases, "translated")
            && let Some(gateway) = gateway
        {
            translated.round(Some((gateway, time / 3)))?;
        }
        // Nobody always goes first.
        order.rotate_left(1.min(order.len()));
        eprintln!("round {} of {}", round + 1, arguments.rounds);
    }
    Ok(arguments.rounds)
}

fn wanted(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|wanted| wanted == name)
}

/// The lines above the table: machine, versions, the way of measuring.
fn conditions(arguments: &Arguments, rounds: usize) -> String {
    let nginx = target::nginx_path().and_then(|path| machine::version(path, "-v"));
    let tidegate = machine::version(env!("CARGO_BIN_EXE_tidegate"), "--version");
    let absent = || "absent".to_owned();
    format!(
        "Measured on {}: {}.\n{}; {}; {}. Medians of {rounds} interleaved rounds, {} s of load for each phase.",
        jiff::Timestamp::now().strftime("%-d %B %Y"),
        machine::describe(),
        tidegate.unwrap_or_else(|| "tidegate absent".to_owned()),
        nginx.unwrap_or_else(absent),
        machine::version("rustc", "--version").unwrap_or_else(absent),
        arguments.seconds,
    )
}

/// The same for a table of the gateway alone, with `seconds` of calls for each line and way.
fn conditions_of_gateway(rounds: usize, seconds: f64) -> String {
    let tidegate = machine::version(env!("CARGO_BIN_EXE_tidegate"), "--version");
    format!(
        "Measured on {}: {}.\n{}. Medians of {rounds} interleaved rounds, {seconds} s of calls for each line and way.",
        jiff::Timestamp::now().strftime("%-d %B %Y"),
        machine::describe(),
        tidegate.unwrap_or_else(|| "tidegate absent".to_owned()),
    )
}

fn write_between(begin: &str, end: &str, path: &Path, report: &str) -> Outcome<()> {
    let page = std::fs::read_to_string(path)?;
    let parts =
        page.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) = parts.ok_or("the page lacks the marker comments")?;
    std::fs::write(path, format!("{before}{begin}\n{}\n{end}{after}", report.trim_end()))?;
    Ok(())
}
