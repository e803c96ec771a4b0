//! What requests feel of those who are told of them: collectors of traces that answer, refuse, fail or never answer, and a log
//! that nobody reads. Each is a gateway of its own beside the same upstream; rounds visit them in turn. It must not know proxies.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::report::{median, spell};
use crate::target::{self, Output, Target};
use crate::upstream::Upstream;
use crate::{Outcome, load};

/// Requests a second, each on its own time.
const RATE: u32 = 1_000;
const LANES: u32 = 16;

/// One line of the table.
struct Line {
    name: &'static str,
    beside: usize,
    target: Target,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

/// What a collector does with what it gets.
#[derive(Clone, Copy)]
enum Collector {
    Answers(&'static str),
    NeverAnswers,
    Refuses,
}

/// What came of all rounds.
pub(crate) struct SinkResults {
    rows: Vec<Row>,
    rounds: usize,
}

struct Row {
    name: &'static str,
    /// The line that it is compared with.
    beside: usize,
    p50: f64,
    p99: f64,
    spans_dropped: f64,
    lines_dropped: f64,
    exit: Duration,
}

/// Runs the rounds, with so many seconds of requests for each line.
pub(crate) fn run(rounds: usize, seconds: f64) -> Outcome<SinkResults> {
    let upstream = Upstream::start()?;
    let time = Duration::try_from_secs_f64(seconds)?;
    let mut lines: VecDeque<Line> = VecDeque::new();
    let mut add = |name, beside, collector: Option<Collector>, output| {
        let config = config(upstream.address, collector)?;
        let target = Target::with_output(&config, output)?;
        let request = target.request("plain", 0, false);
        load::closed(target.address, &request, 16, Duration::from_millis(500), 1)?;
        lines.push_back(Line { name, beside, target, p50: Vec::new(), p99: Vec::new() });
        Outcome::Ok(())
    };
    let (answers, fails) = ("200 OK", "500 Internal Server Error");
    add("1. no traces, the log into a file", 0, None, Output::File)?;
    add("2. a collector that answers", 0, Some(Collector::Answers(answers)), Output::File)?;
    add("3. one that fails (500)", 1, Some(Collector::Answers(fails)), Output::File)?;
    add("4. one that refuses connections", 1, Some(Collector::Refuses), Output::File)?;
    add("5. one that never answers", 1, Some(Collector::NeverAnswers), Output::File)?;
    add("6. no traces, a log whose pipe nobody reads", 0, None, Output::Unread)?;
    for round in 0..rounds.max(1) {
        for line in &mut lines {
            let request = line.target.request("plain", 0, false);
            let times = load::open(line.target.address, &request, RATE, LANES, time)?;
            line.p50.push(load::percentile(times.clone(), 0.5)?.as_secs_f64() * 1e6);
            line.p99.push(load::percentile(times, 0.99)?.as_secs_f64() * 1e6);
        }
        lines.rotate_left(1);
        eprintln!("sinks: round {} of {rounds}", round + 1);
    }
    lines.rotate_right(rounds.max(1) % lines.len());
    let rows = lines.into_iter().map(|line| {
        let page = metrics(line.target.address)?;
        Ok(Row {
            name: line.name,
            beside: line.beside,
            p50: median(&line.p50).unwrap_or_default(),
            p99: median(&line.p99).unwrap_or_default(),
            spans_dropped: sum(&page, "tidegate_spans_dropped_total"),
            lines_dropped: sum(&page, "tidegate_log_lines_dropped_total"),
            exit: line.target.stop(),
        })
    });
    Ok(SinkResults { rows: rows.collect::<Outcome<_>>()?, rounds })
}

impl SinkResults {
    pub(crate) fn completed(&self) -> usize {
        self.rounds
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(
            "| told of every request | p50, µs | p99, µs | p99 compared | spans dropped | lines dropped | end after SIGTERM, s |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let other = self.rows.get(row.beside).map_or(row.p99, |other| other.p99);
            text.push_str(&format!(
                "| {} | {} | {} | {:.2} × line {} | {} | {} | {:.2} |\n",
                row.name,
                spell(row.p50),
                spell(row.p99),
                row.p99 / other,
                row.beside + 1,
                row.spans_dropped,
                row.lines_dropped,
                row.exit.as_secs_f64(),
            ));
        }
        text
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let row = |row: &Row| {
            serde_json::json!({
                "name": row.name, "p50_us": row.p50, "p99_us": row.p99, "spans_dropped": row.spans_dropped,
                "lines_dropped": row.lines_dropped, "exit_seconds": row.exit.as_secs_f64(),
            })
        };
        self.rows.iter().map(row).collect()
    }
}

/// The models of the other phases; every trace is kept.
fn config(upstream: SocketAddr, collector: Option<Collector>) -> Outcome<String> {
    let mut config = target::models(upstream);
    config.push_str("litellm_settings: {require_auth_for_metrics_endpoint: false}\n");
    if let Some(collector) = collector {
        let address = collector.start()?;
        config.push_str(&format!(
            "telemetry:\n  sampling_ratio: 1\n  exporters: [{{endpoint: 'http://{address}'}}]\n"
        ));
    }
    Ok(config)
}

impl Collector {
    /// Listens until the program ends, on a thread of its own.
    fn start(self) -> Outcome<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        match self {
            // The port is free again, and nobody is there.
            Self::Refuses => drop(listener),
            Self::NeverAnswers => {
                let hold = move || listener.incoming().flatten().collect::<Vec<_>>();
                drop(std::thread::spawn(hold));
            }
            Self::Answers(status) => {
                let serve = move || {
                    for socket in listener.incoming().flatten() {
                        std::thread::spawn(move || answer(socket, status));
                    }
                };
                drop(std::thread::spawn(serve));
            }
        }
        Ok(address)
    }
}

/// Takes requests with a `content-length` off a connection, and answers each.
fn answer(mut socket: TcpStream, status: &str) -> std::io::Result<()> {
    let reply = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    let (mut held, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let length = socket.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        held.extend_from_slice(buffer.get(..length).unwrap_or_default());
        while let Some(size) = whole(&held).filter(|size| *size <= held.len()) {
            held.drain(..size);
            socket.write_all(reply.as_bytes())?;
        }
    }
}

/// How long the first request is, once its head is here.
fn whole(held: &[u8]) -> Option<usize> {
    let head = held.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(held.get(..head)?).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    Some(head + length.trim().parse::<usize>().ok()?)
}

fn metrics(address: SocketAddr) -> Outcome<String> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let mut page = String::new();
    socket.read_to_string(&mut page)?;
    if !page.starts_with("HTTP/1.1 200") {
        return Err("the page of metrics is not given".into());
    }
    Ok(page)
}

/// All series of a counter.
fn sum(page: &str, name: &str) -> f64 {
    let lines = page.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
