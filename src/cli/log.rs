//! Tidegate's own log: one line each, to standard error, as text or as JSON for a collector. Colours are
//! for terminals: in a file or a pipe their codes are noise.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;

use crate::config::snapshot::Diagnostics;

/// Starts the log; a second call changes nothing.
pub fn start(diagnostics: &Diagnostics) {
    let level = if diagnostics.debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    // A terminal's user may still say no, with NO_COLOR.
    let builder = if std::io::stderr().is_terminal() { builder } else { builder.with_ansi(false) };
    let _already_started = if diagnostics.json_logs {
        builder.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        builder.with_target(false).try_init()
    };
}
