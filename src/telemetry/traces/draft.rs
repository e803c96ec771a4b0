//! A span as it is drafted, before an exporter's attributes are laid over it: when, whose child, what it says in words that
//! all conventions share. Nothing here knows what a request is.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::ground::trace::{SpanPlace, Trace};

/// The longest text of an attribute that is no content, in bytes.
const MAX_TEXT: usize = 1024;

/// One span being drafted.
pub(super) struct Draft {
    data: SpanData,
}

/// A moment, from microseconds since 1970.
pub(super) fn moment(since_1970_us: i64) -> SystemTime {
    let since = Duration::from_micros(u64::try_from(since_1970_us).unwrap_or_default());
    SystemTime::UNIX_EPOCH + since
}

impl Draft {
    /// A span of a trace. `parent`: the span above it, and whether that is another program's.
    pub(super) fn new(
        trace: &Trace,
        span_id: u64,
        parent: Option<(u64, bool)>,
        kind: SpanKind,
        name: impl Into<Cow<'static, str>>,
        scope: &InstrumentationScope,
    ) -> Self {
        let state = trace.state.as_deref().and_then(|state| state.parse().ok());
        let place = SpanPlace { span_id, ..trace.place };
        // What is exported was kept, though perhaps only at the end.
        let span_context = context(place, TraceFlags::SAMPLED, state.unwrap_or_default(), false);
        let (parent_id, is_remote) = parent.unwrap_or_default();
        Self {
            data: SpanData {
                span_context,
                parent_span_id: SpanId::from_bytes(parent_id.to_be_bytes()),
                parent_span_is_remote: is_remote,
                span_kind: kind,
                name: name.into(),
                start_time: SystemTime::UNIX_EPOCH,
                end_time: SystemTime::UNIX_EPOCH,
                attributes: Vec::with_capacity(24),
                dropped_attributes_count: 0,
                events: SpanEvents::default(),
                links: SpanLinks::default(),
                status: Status::Unset,
                instrumentation_scope: scope.clone(),
            },
        }
    }

    /// From a moment on, for so many microseconds.
    pub(super) fn lasting(mut self, started_at_us: i64, duration_us: u64) -> Self {
        self.data.start_time = moment(started_at_us);
        self.data.end_time = moment(started_at_us.saturating_add_unsigned(duration_us));
        self
    }

    pub(super) fn put(&mut self, name: &'static str, value: impl Into<Value>) {
        self.data.attributes.push(KeyValue::new(name, value));
    }

    /// An attribute, where there is something to say.
    pub(super) fn some(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    /// A text of somebody else, which may be long.
    pub(super) fn text(&mut self, name: &'static str, text: Option<&str>) {
        self.some(name, text.filter(|text| !text.is_empty()).map(|text| cut(text).to_owned()));
    }

    /// A text that is bounded already.
    pub(super) fn whole(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.put(name, text.to_owned());
        }
    }

    pub(super) fn count(&mut self, name: &'static str, count: Option<u64>) {
        self.some(name, count.map(|count| i64::try_from(count).unwrap_or(i64::MAX)));
    }

    pub(super) fn texts(&mut self, name: &'static str, texts: &[String]) {
        if !texts.is_empty() {
            let texts = texts.iter().map(|text| StringValue::from(cut(text).to_owned())).collect();
            self.put(name, Value::Array(Array::String(texts)));
        }
    }

    pub(super) fn event(&mut self, name: &'static str, at_us: i64, attributes: Vec<KeyValue>) {
        self.data.events.events.push(Event::new(name, moment(at_us), attributes, 0));
    }

    pub(super) fn link(&mut self, to: SpanPlace) {
        let context = context(to, TraceFlags::NOT_SAMPLED, TraceState::NONE, true);
        self.data.links.links.push(Link::new(context, Vec::new(), 0));
    }

    /// It failed; in which words, where there are any.
    pub(super) fn fail(&mut self, description: Option<&str>) {
        let description = description.map(cut).unwrap_or_default().to_owned();
        self.data.status = Status::error(description);
    }

    pub(super) fn finish(self) -> SpanData {
        self.data
    }
}

fn context(place: SpanPlace, flags: TraceFlags, state: TraceState, is_remote: bool) -> SpanContext {
    let trace_id = TraceId::from_bytes(place.trace_id.to_be_bytes());
    let span_id = SpanId::from_bytes(place.span_id.to_be_bytes());
    SpanContext::new(trace_id, span_id, flags, is_remote, state)
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default()
}
