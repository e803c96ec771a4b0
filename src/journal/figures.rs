//! The request log's figures, for the page of metrics. Read without touching a file or a database.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::Histogram;

use super::{Journal, JournalStatus, PostgresState};
use crate::ground::series::{counter, counters, gauge};

/// Seconds that a group of rows may take to commit.
const BOUNDS: [f64; 12] =
    [0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0];

/// How long groups of rows took to reach the file.
#[derive(Debug)]
pub(super) struct Flushes(Histogram);

impl Default for Flushes {
    fn default() -> Self {
        Self(Histogram::new(BOUNDS))
    }
}

impl Flushes {
    pub(super) fn observe(&self, time: Duration) {
        self.0.observe(time.as_secs_f64());
    }
}

impl Journal {
    /// Writes the figures onto a page.
    ///
    /// # Errors
    /// The page refuses.
    pub fn encode_metrics(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let status: JournalStatus = self.status();
        let counted = &self.shared.counters;
        counter(page, "tidegate_log_rows", "Request rows written", status.rows_total)?;
        let help = "Request rows that PostgreSQL confirmed";
        counter(page, "tidegate_log_drained", help, status.drained_total)?;
        let help = "Request rows in the SQLite file: kept there, or waiting for PostgreSQL";
        gauge(page, "tidegate_log_spool_rows", help, status.spool_rows)?;
        let bytes = counted.spool_bytes.load(Ordering::Relaxed);
        gauge(page, "tidegate_log_spool_bytes", "Bytes in use of the SQLite file", bytes)?;
        let help = "Age of the oldest row that waits for PostgreSQL";
        gauge(page, "tidegate_log_spool_oldest_seconds", help, status.spool_oldest_seconds)?;
        let help = "Time that a group of rows takes to reach the SQLite file";
        let flushes = page.encode_descriptor(
            "tidegate_log_flush_seconds",
            help,
            None,
            MetricType::Histogram,
        )?;
        counted.flushes.0.encode(flushes)?;
        let dropped = status.dropped.iter().map(|(reason, rows)| ([("reason", *reason)], *rows));
        counters(page, "tidegate_log_dropped", "Request rows that were lost", dropped)?;
        let help = "Prompts and answers left out of rows because the queue was full";
        counter(page, "tidegate_log_payloads_dropped", help, status.payloads_dropped_total)?;
        let help = "Rows deleted because the SQLite file, as the store, had reached its bound";
        counter(page, "tidegate_log_evicted", help, status.evicted_total)?;
        let help = "Rows in the SQLite file that PostgreSQL refused for what is in them";
        counter(page, "tidegate_log_dead_letter", help, status.dead_letter_total)?;
        let is_up = match status.postgres {
            PostgresState::Off => return Ok(()),
            PostgresState::Connected => 1,
            PostgresState::Connecting | PostgresState::Error(_) => 0,
        };
        gauge(page, "tidegate_log_postgres_up", "Whether PostgreSQL is connected", is_up)
    }
}
