//! The queue to one collector, and the task behind it. Whoever finishes a request puts its spans in and goes on: where the
//! queue is full they are dropped and counted. A queue that is let go of is sent to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::client;
use crate::config::telemetry::{Exporter, Protocol};

/// Spans that may wait for one collector.
const MAX_SPANS: usize = 8_192;
/// Bytes of what was said that may wait for one collector.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Spans of one export.
const BATCH: usize = 512;
/// How long spans wait for others to go with.
const DELAY: Duration = Duration::from_secs(2);

/// Of all collectors, since the start.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) exported: AtomicU64,
    pub(super) dropped: AtomicU64,
}

/// The near end of a queue.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<Parcel>,
    room: Arc<Room>,
    tally: Arc<Tally>,
}

/// The spans of one request.
#[derive(Debug)]
struct Parcel {
    spans: Vec<SpanData>,
    bytes: usize,
}

/// What waits, or is on its way.
#[derive(Debug, Default)]
pub(super) struct Room {
    spans: AtomicUsize,
    bytes: AtomicUsize,
}

/// The task behind a queue.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) task: JoinHandle<()>,
    pub(super) room: Arc<Room>,
}

impl Queue {
    /// A queue whose task runs on the runtime of the handle.
    pub(super) fn start(
        settings: Exporter,
        resource: Resource,
        tally: Arc<Tally>,
        handle: &Handle,
    ) -> (Self, Worker) {
        let (sender, waiting) = mpsc::channel(MAX_SPANS);
        let room: Arc<Room> = Arc::default();
        let line = Line { waiting, room: room.clone(), tally: tally.clone(), is_failing: false };
        let task = handle.spawn(run(line, settings, resource));
        (Self { sender, room: room.clone(), tally }, Worker { task, room })
    }

    /// Puts the spans of one request in; `bytes`: of what was said in it.
    pub(super) fn push(&self, spans: Vec<SpanData>, bytes: usize) {
        let parcel = Parcel { spans, bytes };
        let sent = if self.room.take(&parcel) {
            self.sender.try_send(parcel).map_err(|refused| {
                let parcel = refused.into_inner();
                self.room.free(parcel.spans.len(), parcel.bytes);
                parcel
            })
        } else {
            Err(parcel)
        };
        if let Err(parcel) = sent {
            self.tally.dropped.fetch_add(parcel.spans.len() as u64, Ordering::Relaxed);
        }
    }
}

impl Room {
    fn take(&self, parcel: &Parcel) -> bool {
        let spans = self.spans.fetch_add(parcel.spans.len(), Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(parcel.bytes, Ordering::Relaxed);
        let fits = spans + parcel.spans.len() <= MAX_SPANS && bytes + parcel.bytes <= MAX_BYTES;
        if !fits {
            self.free(parcel.spans.len(), parcel.bytes);
        }
        fits
    }

    fn free(&self, spans: usize, bytes: usize) {
        self.spans.fetch_sub(spans, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Spans that wait, or are on their way.
    pub(super) fn spans(&self) -> usize {
        self.spans.load(Ordering::Relaxed)
    }
}

/// The far end of a queue.
struct Line {
    waiting: mpsc::Receiver<Parcel>,
    room: Arc<Room>,
    tally: Arc<Tally>,
    is_failing: bool,
}

async fn run(mut line: Line, settings: Exporter, resource: Resource) {
    let mut exporter = match exporter(&settings) {
        Ok(exporter) => Some(exporter),
        Err(error) => {
            tracing::error!(%error, "traces cannot be exported");
            None
        }
    };
    if let Some(exporter) = &mut exporter {
        exporter.set_resource(&resource);
    }
    while let Some(batch) = line.next().await {
        let count = batch.spans.len();
        let outcome = match &exporter {
            Some(exporter) => exporter.export(batch.spans).await.map_err(|it| it.to_string()),
            None => Err("there is no exporter".to_owned()),
        };
        line.room.free(count, batch.bytes);
        line.note(count, outcome, &settings);
    }
}

fn exporter(settings: &Exporter) -> Result<SpanExporter, ExporterBuildError> {
    match settings.protocol {
        Protocol::Http => client::exporter(settings),
        #[cfg(feature = "otlp-grpc")]
        Protocol::Grpc => super::grpc::exporter(settings),
        // The check of the configuration refuses it.
        #[cfg(not(feature = "otlp-grpc"))]
        Protocol::Grpc => {
            let text = "this build has no gRPC; use `protocol: http/protobuf`";
            Err(ExporterBuildError::InvalidConfiguration(text.to_owned()))
        }
    }
}

impl Line {
    /// The next spans to be sent; `None` when there will be none.
    async fn next(&mut self) -> Option<Parcel> {
        let mut batch = self.waiting.recv().await?;
        let end = Instant::now() + DELAY;
        while batch.spans.len() < BATCH {
            match timeout_at(end, self.waiting.recv()).await {
                Ok(Some(mut parcel)) => {
                    batch.spans.append(&mut parcel.spans);
                    batch.bytes += parcel.bytes;
                }
                // Nothing more in time, or ever.
                Ok(None) | Err(_) => break,
            }
        }
        Some(batch)
    }

    /// Counts an export. Of those that fail in a row the first is told.
    fn note(&mut self, count: usize, outcome: Result<(), String>, settings: &Exporter) {
        let collector = settings.endpoint.origin().ascii_serialization();
        match outcome {
            Ok(()) => {
                self.tally.exported.fetch_add(count as u64, Ordering::Relaxed);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(collector, "traces are exported again");
                }
            }
            Err(error) => {
                self.tally.dropped.fetch_add(count as u64, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(collector, spans = count, error, "traces could not be exported");
                }
            }
        }
    }
}
