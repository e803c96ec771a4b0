//! Spans of finished requests, for OpenTelemetry's collectors.

use crate::entry::Entry;

/// The way to the collectors.
#[derive(Debug, Default)]
pub struct Traces {}

impl Traces {
    /// Exports a request that is over, where it is to be kept.
    pub fn observe(&self, _entry: &Entry) {}
}
