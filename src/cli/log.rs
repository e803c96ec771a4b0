//! Tidegate's own log: one line each, to standard error, as text or as JSON for a collector. Lines are
//! written by a thread of their own, so that a reader that has stopped holds up no request; what does not
//! fit is dropped. Colours are for terminals: in a file or a pipe their codes are noise.

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::snapshot::Diagnostics;
use crate::telemetry::traces::Traces;
use crate::telemetry::traces::work::{self, WORK, WorkLayer};

/// Lines that wait for a slow reader.
const WAITING: usize = 8192;

/// The level of the running log, to be changed.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// The layer that makes spans of the gateway's own work, where there is one.
static WORKING: OnceLock<reload::Handle<Option<WorkLayer>, Registry>> = OnceLock::new();

/// Writes what is left when it is dropped.
#[must_use]
pub struct Log(#[expect(dead_code, reason = "held for its Drop")] WorkerGuard);

/// Starts the log; a second call changes nothing.
pub fn start(diagnostics: &Diagnostics) -> Log {
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(WAITING).finish(std::io::stderr());
    let (filter, handle) = reload::Layer::new(level(diagnostics));
    let _first = LEVEL.set(handle);
    // A terminal's user may still say no, with NO_COLOR.
    let lines = fmt::layer().with_writer(writer).with_target(false);
    let lines = if std::io::stderr().is_terminal() { lines } else { lines.with_ansi(false) };
    let lines = if diagnostics.json_logs {
        lines.json().flatten_event(true).with_current_span(false).boxed()
    } else {
        lines.boxed()
    };
    // Spans of work are for collectors: a line says what it is about by itself.
    let lines = lines.with_filter(filter_fn(|it| !(it.is_span() && it.target() == WORK)));
    let (work, handle) = reload::Layer::new(None);
    let _first = WORKING.set(handle);
    let work = work.with_filter(filter_fn(|it| it.is_span() && it.target() == WORK));
    let layers = filter.and_then(work).and_then(lines);
    let _already_started = tracing_subscriber::registry().with(layers).try_init();
    Log(guard)
}

/// Makes spans of the gateway's own work, as long as traces are exported; without them there is no layer.
pub fn tell_work(traces: &Arc<Traces>) {
    let Some(handle) = WORKING.get() else { return };
    let has_layer = handle.with_current(Option::is_some).unwrap_or_default();
    if has_layer != traces.is_on() {
        let layer = traces.is_on().then(|| work::layer(traces));
        let _gone_at_exit = handle.reload(layer);
    }
}

/// Takes over an edit of the level. Between text and JSON it changes with a restart only.
pub fn adjust(diagnostics: &Diagnostics) {
    if let Some(handle) = LEVEL.get() {
        let _gone_at_exit = handle.reload(level(diagnostics));
    }
}

fn level(diagnostics: &Diagnostics) -> LevelFilter {
    if diagnostics.debug { LevelFilter::DEBUG } else { LevelFilter::INFO }
}
