//! Who is told of each request when it is over: counters, spans, the log, and the journal last, which takes the entry for itself.

use std::sync::Arc;

use crate::entry::{Entry, McpRequest};
use crate::journal::Recorder;
use crate::mcp::traced::Observer;
use crate::telemetry::log::Log;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// What every record holds on to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Observers {
    pub metrics: Arc<Metrics>,
    pub traces: Arc<Traces>,
    pub log: Log,
    pub recorder: Recorder,
}

impl Observers {
    pub fn new(recorder: Recorder) -> Self {
        let (metrics, traces, log) = (Arc::default(), Arc::default(), Log::default());
        Self { metrics, traces, log, recorder }
    }

    /// A request is over.
    pub(super) fn observe(&self, entry: Entry) {
        let has_trace = self.traces.observe(&entry);
        self.metrics.observe(&entry, has_trace);
        self.log.observe(&entry);
        self.recorder.record(entry);
    }
}

impl Observer for Observers {
    fn observe_mcp(&self, request: &McpRequest) {
        self.traces.observe_mcp(request);
    }
}
