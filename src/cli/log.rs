//! Starts Tidegate's own log as the configuration says, and follows its edits. Colours are for terminals: in a file or a
//! pipe their codes are noise.

use std::io::{self, IsTerminal};
use std::sync::{Arc, OnceLock};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::snapshot::Diagnostics;
use crate::config::{Environment, ProcessEnvironment};
use crate::telemetry::log::{Log, LogLayer, Style, Writing};
use crate::telemetry::traces::Traces;
use crate::telemetry::traces::work::{self, WORK, WorkLayer};

/// The level of the running log, to be changed.
static LEVEL: OnceLock<(reload::Handle<LevelFilter, Registry>, Log)> = OnceLock::new();

/// The layer that makes spans of the gateway's own work, where there is one.
static WORKING: OnceLock<reload::Handle<Option<WorkLayer>, Registry>> = OnceLock::new();

/// Starts the log; a second call changes nothing. `instance` names this process in its lines.
///
/// # Errors
/// The configured file cannot be written.
pub fn start(diagnostics: &Diagnostics, instance: &str) -> io::Result<(Log, Writing)> {
    let file = diagnostics.log_file.as_deref();
    // A terminal's user may still say no (<https://no-color.org>).
    let refuses = ProcessEnvironment.variable("NO_COLOR").is_some_and(|text| !text.is_empty());
    let colours = file.is_none() && io::stderr().is_terminal() && !refuses;
    let style = if diagnostics.json_logs { Style::Json } else { Style::Text { colours } };
    let (log, writing) = Log::start(style, diagnostics.level, instance, file)?;
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(diagnostics.level));
    let _first = LEVEL.set((handle, log.clone()));
    // Spans of work are for collectors, whatever the level: a line says what it is about by itself.
    let lines = LogLayer(log.clone()).with_filter(filter);
    let lines = lines.with_filter(filter_fn(|it| !(it.is_span() && it.target() == WORK)));
    let (work, working) = reload::Layer::new(None);
    let _first = WORKING.set(working);
    let work = work.with_filter(filter_fn(|it| it.is_span() && it.target() == WORK));
    let _already_started = tracing_subscriber::registry().with(work.and_then(lines)).try_init();
    Ok((log, writing))
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
    if let Some((handle, log)) = LEVEL.get() {
        log.set_level(diagnostics.level);
        let _gone_at_exit = handle.reload(LevelFilter::from_level(diagnostics.level));
    }
}
