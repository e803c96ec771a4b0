//! Tidegate's own log, as a bounded queue and one thread that writes what is in it. Whoever logs never waits: not for a
//! reader that has stopped, nor for a full disk. What does not fit is counted, and what matters least goes first.

mod file;
mod format;
mod layer;

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::DescriptorEncoder;
use tracing::Level;

use self::file::RotatingFile;
use self::format::Finished;
pub use self::format::Style;
pub use self::layer::LogLayer;
use crate::entry::Entry;
use crate::ground::series;

/// Lines that may wait, and their bytes.
const MAX_LINES: usize = 8192;
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// What a finished request weighs in the queue.
const REQUEST_WEIGHT: usize = 512;
/// How long lines gather before they are written: a thread that is woken for each costs more than all it writes.
const GATHERING: Duration = Duration::from_millis(10);
/// How long the last lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// Where lines go in. Cheap to clone; without a writer it takes nothing.
#[derive(Clone, Debug, Default)]
pub struct Log(Option<Arc<Shared>>);

/// Writes what is left, within a second, when it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Writing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    written: Condvar,
    /// The most verbose level that is written, as an index of `LEVELS`.
    level: AtomicU8,
    dropped: [AtomicU64; LEVELS.len()],
    /// The file was moved by another: it is to be opened anew.
    is_moved: AtomicBool,
    style: Style,
    instance: String,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Line>,
    bytes: usize,
    is_closed: bool,
    /// There is a warning or an error in it, which is not kept waiting.
    is_urgent: bool,
    /// The thread has nothing in hand.
    is_idle: bool,
}

#[derive(Debug)]
enum Line {
    Text(Vec<u8>),
    /// Becomes text in the log's own thread, not in the request's.
    Request(Box<Finished>),
}

/// Where lines come out.
enum Sink {
    Stderr,
    File(RotatingFile),
}

impl Log {
    /// Starts the thread. Lines go to the file, where there is one, else to standard error.
    ///
    /// # Errors
    /// The file cannot be opened, or the system gives no thread.
    pub fn start(
        style: Style,
        level: Level,
        instance: &str,
        file: Option<&Path>,
    ) -> io::Result<(Self, Writing)> {
        let sink = match file {
            Some(path) => Sink::File(RotatingFile::open(path)?),
            None => Sink::Stderr,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            written: Condvar::new(),
            level: AtomicU8::new(rank(level)),
            dropped: Default::default(),
            is_moved: AtomicBool::new(false),
            style,
            instance: instance.to_owned(),
        });
        let thread = shared.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || thread.write(sink))?;
        Ok((Self(Some(shared.clone())), Writing(shared)))
    }

    /// From now on this level is the most verbose that is written.
    pub fn set_level(&self, level: Level) {
        if let Some(shared) = &self.0 {
            shared.level.store(rank(level), Ordering::Relaxed);
        }
    }

    /// The file was moved away by another program: it is opened anew, before the next line.
    pub fn reopen(&self) {
        if let Some(shared) = &self.0 {
            shared.is_moved.store(true, Ordering::Relaxed);
        }
    }

    /// Logs a request that is over.
    pub fn observe(&self, entry: &Entry) {
        let Some(shared) = &self.0 else { return };
        let level = format::level(entry.status);
        if shared.writes(level) {
            shared.push(level, REQUEST_WEIGHT, Line::Request(Box::new(Finished::of(entry))));
        }
    }

    /// Writes how many lines were lost onto a page of metrics.
    ///
    /// # Errors
    /// The page refuses.
    pub fn encode(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(shared) = &self.0 else { return Ok(()) };
        let dropped = LEVELS.iter().zip(&shared.dropped).map(|(level, count)| {
            let level = format::word(*level);
            ([("level", level)], count.load(Ordering::Relaxed))
        });
        let help = "Lines of the gateway's own log that were lost because nobody read them";
        series::counters(page, "tidegate_log_lines_dropped", help, dropped)
    }
}

impl Shared {
    fn writes(&self, level: Level) -> bool {
        rank(level) <= self.level.load(Ordering::Relaxed)
    }

    /// Queues a line, or counts it: the last quarter of the queue is for warnings and errors.
    fn push(&self, level: Level, weight: usize, line: Line) {
        let matters = level <= Level::WARN;
        let (lines, bytes) = match matters {
            true => (MAX_LINES, MAX_BYTES),
            false => (MAX_LINES / 4 * 3, MAX_BYTES / 4 * 3),
        };
        let mut queue = self.lock();
        if queue.is_closed || queue.lines.len() >= lines || queue.bytes + weight > bytes {
            drop(queue);
            if let Some(dropped) = self.dropped.get(usize::from(rank(level))) {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        queue.bytes += weight;
        queue.lines.push_back(line);
        queue.is_urgent |= matters;
        let is_first = queue.lines.len() == 1;
        drop(queue);
        // The thread sleeps on an empty queue, or while lines gather.
        if is_first || matters {
            self.arrived.notify_one();
        }
    }

    /// The thread's life: until the queue is closed and empty.
    fn write(&self, mut sink: Sink) {
        let mut told = 0;
        let mut text = Vec::new();
        loop {
            let mut queue = self.lock();
            while queue.lines.is_empty() && !queue.is_closed {
                queue.is_idle = true;
                self.written.notify_all();
                queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.is_idle = false;
            let gathers = |queue: &mut Queue| !(queue.is_closed || queue.is_urgent);
            let gathered = self.arrived.wait_timeout_while(queue, GATHERING, gathers);
            let mut queue = gathered.unwrap_or_else(PoisonError::into_inner).0;
            let lines = std::mem::take(&mut queue.lines);
            queue.bytes = 0;
            queue.is_urgent = false;
            drop(queue);
            if lines.is_empty() {
                break;
            }
            text.clear();
            for line in &lines {
                match line {
                    Line::Text(line) => text.extend_from_slice(line),
                    Line::Request(request) => request.write(self.style, &self.instance, &mut text),
                }
            }
            let dropped = self.dropped.iter().map(|count| count.load(Ordering::Relaxed)).sum();
            if dropped != told {
                format::dropped(self.style, &self.instance, dropped - told, &mut text);
                told = dropped;
            }
            if self.is_moved.swap(false, Ordering::Relaxed) {
                sink.reopen();
            }
            sink.write(&text);
        }
        let mut queue = self.lock();
        queue.is_idle = true;
        self.written.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    /// What cannot be written is lost: there is nowhere left to say so.
    fn write(&mut self, text: &[u8]) {
        let _lost = match self {
            Self::Stderr => io::stderr().write_all(text),
            Self::File(file) => file.write(text),
        };
    }

    fn reopen(&mut self) {
        if let Self::File(file) = self {
            let _stays_open = file.reopen();
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let end = Instant::now() + LAST_LINES;
        let mut queue = self.0.lock();
        queue.is_closed = true;
        self.0.arrived.notify_one();
        while !(queue.is_idle && queue.lines.is_empty()) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.written.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn rank(level: Level) -> u8 {
    match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        Level::TRACE => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        Shared {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            written: Condvar::new(),
            level: AtomicU8::new(rank(Level::TRACE)),
            dropped: Default::default(),
            is_moved: AtomicBool::default(),
            style: Style::Json,
            instance: String::new(),
        }
    }

    #[test]
    fn what_matters_least_is_dropped_first() {
        let shared = shared();
        for level in [Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR] {
            for _ in 0..MAX_LINES {
                shared.push(level, 1, Line::Text(Vec::new()));
            }
        }
        let dropped: Vec<u64> =
            shared.dropped.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let (all, quarter) = (MAX_LINES as u64, MAX_LINES as u64 / 4);
        assert_eq!(dropped, [all, all - quarter, all, quarter, 0]);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let shared = shared();
        shared.push(Level::ERROR, MAX_BYTES, Line::Text(Vec::new()));
        shared.push(Level::ERROR, 1, Line::Text(Vec::new()));
        assert_eq!(shared.lock().lines.len(), 1);
    }
}
