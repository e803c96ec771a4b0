//! Traces of finished requests, for OpenTelemetry's collectors. A request is drawn at the door and its spans are made once,
//! at the end, so that what failed or took long can be kept whatever was drawn. Each collector has a queue of its own; one
//! that is slow or gone costs a request nothing, and what it does not take is counted.

mod client;
mod draft;
#[cfg(feature = "otlp-grpc")]
mod grpc;
mod langfuse;
mod mcp;
mod names;
mod openinference;
mod queue;
mod request;
#[cfg(test)]
mod tests;
mod thread;
pub mod work;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use tokio::time::{Instant, timeout_at};

use self::names::Version;
use self::queue::{Queue, Tally, Worker};
use self::request::Shape;
use self::thread::Thread;
use crate::config::telemetry::{Mappers, Telemetry};
use crate::entry::{Entry, HttpRequest, McpRequest, Status, Traced};
use crate::ground::trace::Trace;

/// The way to the collectors.
#[derive(Debug, Default)]
pub struct Traces {
    /// Absent: there are no traces.
    active: ArcSwapOption<Pipeline>,
    tally: Arc<Tally>,
    machinery: Mutex<Machinery>,
}

/// What runs behind the queues.
#[derive(Debug, Default)]
struct Machinery {
    thread: Option<Thread>,
    /// Also those of former settings that still have something to send.
    workers: Vec<Worker>,
}

/// What one generation of settings makes of a request.
#[derive(Debug)]
struct Pipeline {
    telemetry: Arc<Telemetry>,
    version: &'static Version,
    scope: InstrumentationScope,
    queues: Vec<(Mappers, Queue)>,
}

impl Traces {
    /// New settings are in force. What waits for a collector that is not in them any more is still sent to it. `instance`: a
    /// name for this process.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn retarget(&self, telemetry: &Arc<Telemetry>, instance: &str) -> std::io::Result<()> {
        if self.active.load().as_ref().is_some_and(|active| active.telemetry == *telemetry) {
            return Ok(());
        }
        if !telemetry.is_on() {
            self.active.store(None);
            return Ok(());
        }
        let mut machinery = self.machinery();
        let thread = match machinery.thread.take() {
            Some(thread) => thread,
            None => Thread::start()?,
        };
        let resource = resource(telemetry, instance);
        machinery.workers.retain(|worker| !worker.task.is_finished());
        let mut queues = Vec::new();
        for exporter in &telemetry.exporters {
            let (resource, tally) = (resource.clone(), self.tally.clone());
            let (queue, worker) = Queue::start(exporter.clone(), resource, tally, thread.handle());
            machinery.workers.push(worker);
            queues.push((exporter.mappers, queue));
        }
        machinery.thread = Some(thread);
        let version = names::version(telemetry.semconv);
        let scope =
            InstrumentationScope::builder("tidegate").with_version(env!("CARGO_PKG_VERSION"));
        let scope = match version.schema_url {
            Some(url) => scope.with_schema_url(url).build(),
            None => scope.build(),
        };
        let telemetry = telemetry.clone();
        self.active.store(Some(Arc::new(Pipeline { telemetry, version, scope, queues })));
        Ok(())
    }

    /// Whether anything is exported.
    pub fn is_on(&self) -> bool {
        self.active.load().is_some()
    }

    /// Exports a request that is over, where it is to be kept. Says whether it is.
    pub fn observe(&self, entry: &Entry) -> bool {
        let Some(traced) = entry.traced.as_deref() else { return false };
        let has_failed = entry.status == Status::Error;
        self.send(&traced.trace, has_failed, entry.duration_us, bytes(entry, traced), |shape| {
            request::spans(entry, shape)
        })
    }

    /// The same for an HTTP request that asked no model.
    pub fn observe_http(&self, it: &HttpRequest) {
        // A stream that stays open is not slow.
        self.send(&it.trace, it.status >= 500, 0, 0, |shape| mcp::http(it, shape));
    }

    /// The same for a request of an MCP client.
    pub fn observe_mcp(&self, it: &McpRequest) {
        let has_failed = it.calls.iter().any(|call| call.is_unanswered);
        self.send(&it.trace, has_failed, it.duration_us, 0, |shape| mcp::request(it, shape));
    }

    /// Spans that were lost, on the way to all collectors together: there was no room, or they were not taken.
    pub fn spans_dropped(&self) -> u64 {
        self.tally.dropped.load(Ordering::Relaxed)
    }

    /// Spans that collectors took.
    pub fn spans_exported(&self) -> u64 {
        self.tally.exported.load(Ordering::Relaxed)
    }

    /// Sends what waits, for so long at most; what is left then is dropped.
    pub async fn close(&self, patience: Duration) {
        self.active.store(None);
        let (thread, workers) = {
            let mut machinery = self.machinery();
            (machinery.thread.take(), std::mem::take(&mut machinery.workers))
        };
        let end = Instant::now() + patience;
        let mut left = 0;
        for Worker { mut task, room } in workers {
            if timeout_at(end, &mut task).await.is_err() {
                task.abort();
                left += room.spans();
            }
        }
        if left > 0 {
            self.tally.dropped.fetch_add(left as u64, Ordering::Relaxed);
            tracing::warn!(spans = left, "traces were not taken in time");
        }
        if let Some(thread) = thread {
            thread.end();
        }
    }

    /// A span of the gateway's own work.
    fn pass_on(&self, span: SpanData) {
        if let Some(active) = &*self.active.load() {
            for (_, queue) in &active.queues {
                queue.push(vec![span.clone()], 0);
            }
        }
    }

    fn send(
        &self,
        trace: &Trace,
        has_failed: bool,
        duration_us: u64,
        bytes: usize,
        spans: impl Fn(&Shape<'_>) -> Vec<SpanData>,
    ) -> bool {
        let active = self.active.load();
        let Some(active) = &*active else { return false };
        let lasted = Duration::from_micros(duration_us);
        if !active.telemetry.sampling.keeps(trace.sampled, has_failed, lasted) {
            return false;
        }
        for (mappers, queue) in &active.queues {
            let shape = Shape {
                mappers: *mappers,
                version: active.version,
                capture: active.telemetry.capture,
                scope: &active.scope,
            };
            queue.push(spans(&shape), bytes);
        }
        true
    }

    fn machinery(&self) -> MutexGuard<'_, Machinery> {
        // Every change is whole before anything could panic.
        self.machinery.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of what was said in a request.
fn bytes(entry: &Entry, traced: &Traced) -> usize {
    let Some(content) = &traced.content else { return 0 };
    let said = entry.tool_call_logs.iter().filter_map(|call| call.said.as_deref());
    let said =
        said.map(|(arguments, result)| arguments.len() + result.as_ref().map_or(0, String::len));
    let own = [&content.system, &content.input, &content.output, &content.tools];
    own.iter().map(|text| text.len()).sum::<usize>() + said.sum::<usize>()
}

fn resource(telemetry: &Telemetry, instance: &str) -> Resource {
    let own = [
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", instance),
        ("telemetry.sdk.name", "opentelemetry"),
        ("telemetry.sdk.language", "rust"),
    ];
    let own = own.map(|(name, value)| KeyValue::new(name, value.to_owned()));
    let said = telemetry.resource.iter();
    let said = said.map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    // What the operator says counts more.
    Resource::builder_empty().with_attributes(own).with_attributes(said).build()
}
