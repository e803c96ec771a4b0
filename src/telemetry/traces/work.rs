//! Spans of the gateway's own work (an edit, the drain), which is told by `tracing`: the layer that makes spans of it, and
//! hands them to the collectors. Requests are not told that way: their spans are made from what is known at their end.

use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Registry;

use super::Traces;

/// The target of spans that are work of the gateway's own.
pub const WORK: &str = "tidegate::work";

/// What makes spans of the gateway's own work.
pub type WorkLayer = OpenTelemetryLayer<Registry, SdkTracer>;

/// The layer, which holds on to the traces only as long as they are there.
pub fn layer(traces: &Arc<Traces>) -> WorkLayer {
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(Resource::builder_empty().build())
        .with_span_processor(Passing(Arc::downgrade(traces)))
        .build();
    let scope = InstrumentationScope::builder("tidegate.work")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build();
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer_with_scope(scope))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
}

/// Passes each span on when it ends.
#[derive(Debug)]
struct Passing(Weak<Traces>);

impl SpanProcessor for Passing {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if let Some(traces) = self.0.upgrade() {
            traces.pass_on(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
