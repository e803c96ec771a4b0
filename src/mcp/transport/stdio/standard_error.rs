//! What a child says on standard error: always read, or it would block; written to the log up to a rate; and its last
//! words kept for the text that says why it ended. The first line is the supervisor's, where there is one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::time::Instant;

use super::supervisor::Report;
use super::{Told, struck};
use crate::ground::secret::Secret;

/// Of a longer line, the rest is thrown away.
const MAX_LINE: usize = 4 * 1024;
/// A secret that begins within the line is read to its end, up to this, so that it can be struck out whole.
const MAX_SECRET: usize = 64 * 1024;
/// Lines that may come at once, and in each second.
const RATE: f64 = 100.0;
/// Last lines that are kept.
const KEPT: usize = 20;
/// Last lines that stand in a failure's text, and how long one may be there.
const SHOWN: usize = 4;
const SHOWN_CHARACTERS: usize = 300;

/// Where a child's words go.
#[derive(Clone)]
pub(super) struct Said {
    server: String,
    secrets: Arc<[Secret]>,
    /// As they came, secrets included.
    last: Arc<Mutex<VecDeque<Vec<u8>>>>,
}

/// How many lines may still be written.
struct Allowance {
    lines: f64,
    since: Instant,
    suppressed: u64,
}

impl Said {
    pub(super) fn new(server: String, secrets: Vec<Secret>) -> Self {
        Self { server, secrets: secrets.into(), last: Arc::default() }
    }

    /// Reads to the end. `told`: where the supervisor's report goes.
    pub(super) async fn drain(self, errors: impl AsyncRead + Unpin, mut told: Option<Arc<Told>>) {
        let longest = self.secrets.iter().map(|secret| secret.expose().len()).max().unwrap_or(0);
        let most = MAX_LINE + longest.min(MAX_SECRET);
        let mut allowance = Allowance::new();
        let mut errors = BufReader::new(errors);
        let mut line = Vec::new();
        while let Ok(piece) = errors.fill_buf().await {
            if piece.is_empty() {
                break;
            }
            let end = memchr::memchr(b'\n', piece);
            let (part, used) = match end {
                Some(at) => (piece.get(..at).unwrap_or_default(), at + 1),
                None => (piece, piece.len()),
            };
            let room = most.saturating_sub(line.len()).min(part.len());
            line.extend_from_slice(part.get(..room).unwrap_or_default());
            errors.consume(used);
            if end.is_some() {
                self.line(&line, &mut told, &mut allowance);
                line.clear();
            }
        }
        if !line.is_empty() {
            self.line(&line, &mut told, &mut allowance);
        }
        allowance.tell_suppressed(&self.server);
    }

    /// The last words, for a failure's text.
    pub(super) fn last(&self) -> Option<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a stack trace, what stands above it says more.
        let is_trace = |line: &String| line.starts_with("at ") || line.starts_with("Node.js v");
        let mut lines: Vec<String> = last
            .iter()
            .rev()
            .map(|line| self.text(line))
            .filter(|line| !line.is_empty() && !is_trace(line))
            .take(SHOWN)
            .map(|line| line.chars().take(SHOWN_CHARACTERS).collect())
            .collect();
        lines.reverse();
        (!lines.is_empty()).then(|| lines.join(" | "))
    }

    fn line(&self, line: &[u8], told: &mut Option<Arc<Told>>, allowance: &mut Allowance) {
        if let Some(told) = told.take()
            && let Some(report) = Report::read(line)
        {
            report.warn(&self.server);
            let _first = told.pid.set(report.pid);
            return;
        }
        if line.trim_ascii().is_empty() {
            return;
        }
        if allowance.take(&self.server) {
            let line = self.text(line);
            tracing::info!(server = self.server, line, "an MCP server's standard error");
        }
        // As it came: in a flood, cleaning every line would cost more than reading it.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = if last.len() < KEPT { None } else { last.pop_front() }.unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(line);
        last.push_back(kept);
    }

    /// A line as it may be seen.
    fn text(&self, line: &[u8]) -> String {
        let mut text = struck::clean(&String::from_utf8_lossy(line), &self.secrets);
        if line.len() > MAX_LINE {
            text.truncate(text.floor_char_boundary(MAX_LINE));
            text.push('…');
        }
        text.trim().to_owned()
    }
}

impl Allowance {
    fn new() -> Self {
        Self { lines: RATE, since: Instant::now(), suppressed: 0 }
    }

    /// Whether one more line may be written.
    fn take(&mut self, server: &str) -> bool {
        let now = Instant::now();
        let gained = now.duration_since(self.since).as_secs_f64() * RATE;
        self.since = now;
        self.lines = (self.lines + gained).min(RATE);
        if self.lines < 1.0 {
            self.suppressed += 1;
            return false;
        }
        self.lines -= 1.0;
        self.tell_suppressed(server);
        true
    }

    fn tell_suppressed(&mut self, server: &str) {
        let lines = std::mem::take(&mut self.suppressed);
        if lines > 0 {
            tracing::info!(server, lines, "lines of an MCP server's standard error suppressed");
        }
    }
}
