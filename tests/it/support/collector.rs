//! A collector of OpenTelemetry: takes spans by HTTP, decodes the protobuf, and shows a trace as a tree that can be compared.
//! It can also be slow, broken, or gone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message;

use super::gateway::PATIENCE;
use super::upstream::{Seen, Step, Upstream, whole};

/// One span as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) kind: i32,
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    /// Empty: it has none.
    pub(crate) parent_id: String,
    pub(crate) parent_is_remote: bool,
    pub(crate) state: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) events: Vec<(String, BTreeMap<String, String>)>,
    /// Trace and span.
    pub(crate) links: Vec<(String, String)>,
    /// 0 unset, 2 error.
    pub(crate) status: i32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) scope: String,
    pub(crate) schema_url: String,
    pub(crate) resource: BTreeMap<String, String>,
}

pub(crate) struct Collector {
    pub(crate) server: Upstream,
    spans: Arc<Mutex<Vec<Span>>>,
    /// The bytes of all exports, for what must not be in them.
    raw: Arc<Mutex<Vec<u8>>>,
    is_failing: Arc<AtomicBool>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let raw: Arc<Mutex<Vec<u8>>> = Arc::default();
        let is_failing: Arc<AtomicBool> = Arc::default();
        let (into, bytes, failing) = (spans.clone(), raw.clone(), is_failing.clone());
        let server = Upstream::start(move |seen| {
            if failing.load(Ordering::SeqCst) {
                return whole(500, "", b"");
            }
            assert_eq!(seen.path, "/v1/traces");
            assert_eq!(seen.header("content-type"), Some("application/x-protobuf"));
            bytes.lock().unwrap().extend_from_slice(&seen.body);
            into.lock().unwrap().extend(decode(seen));
            whole(200, "content-type: application/x-protobuf\r\n", b"")
        })
        .await;
        Self { server, spans, raw, is_failing }
    }

    /// One that takes requests and never answers.
    pub(crate) async fn silent() -> Upstream {
        Upstream::start(|_| vec![Step::Hang]).await
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    pub(crate) fn fail(&self, fails: bool) {
        self.is_failing.store(fails, Ordering::SeqCst);
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    pub(crate) fn raw(&self) -> Vec<u8> {
        self.raw.lock().unwrap().clone()
    }

    /// All spans, once there are so many that fit.
    pub(crate) async fn wait(&self, count: usize, fits: impl Fn(&Span) -> bool) -> Vec<Span> {
        let end = Instant::now() + PATIENCE;
        loop {
            let spans = self.spans();
            if spans.iter().filter(|span| fits(span)).count() >= count {
                return spans;
            }
            let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
            assert!(Instant::now() < end, "not {count} in {names:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The spans of one trace, once that many are there.
    pub(crate) async fn trace(&self, trace_id: &str, count: usize) -> Vec<Span> {
        let spans = self.wait(count, |span| span.trace_id == trace_id).await;
        spans.into_iter().filter(|span| span.trace_id == trace_id).collect()
    }
}

fn decode(seen: &Seen) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(seen.body.as_slice()).unwrap();
    let mut spans = Vec::new();
    for resource_spans in request.resource_spans {
        let resource = attributes(&resource_spans.resource.unwrap().attributes);
        for scope_spans in resource_spans.scope_spans {
            let scope = scope_spans.scope.unwrap_or_default().name;
            for span in scope_spans.spans {
                let status = span.status.unwrap_or_default();
                spans.push(Span {
                    name: span.name,
                    kind: span.kind,
                    trace_id: hex(&span.trace_id),
                    span_id: hex(&span.span_id),
                    parent_id: hex(&span.parent_span_id),
                    parent_is_remote: span.flags & 0x200 != 0,
                    state: span.trace_state,
                    attributes: attributes(&span.attributes),
                    events: span
                        .events
                        .iter()
                        .map(|event| (event.name.clone(), attributes(&event.attributes)))
                        .collect(),
                    links: span
                        .links
                        .iter()
                        .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
                        .collect(),
                    status: status.code,
                    start: span.start_time_unix_nano,
                    end: span.end_time_unix_nano,
                    scope: scope.clone(),
                    schema_url: scope_spans.schema_url.clone(),
                    resource: resource.clone(),
                });
            }
        }
    }
    spans
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    let map: BTreeMap<String, String> =
        list.iter().map(|pair| (pair.key.clone(), shown(pair.value.as_ref()))).collect();
    assert_eq!(map.len(), list.len(), "an attribute stands twice: {list:?}");
    map
}

fn shown(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::BoolValue(truth)) => truth.to_string(),
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::DoubleValue(number)) => format!("{number:?}"),
        Some(Any::ArrayValue(list)) => {
            let all: Vec<String> = list.values.iter().map(|value| shown(Some(value))).collect();
            format!("[{}]", all.join(", "))
        }
        other => format!("{other:?}"),
    }
}

/// A trace as text: children below parents in the order of their beginnings, and what changes from run to run as a word.
pub(crate) fn tree(spans: &[Span]) -> String {
    let mut roots: Vec<&Span> = spans
        .iter()
        .filter(|span| !spans.iter().any(|other| other.span_id == span.parent_id))
        .collect();
    roots.sort_by_key(|span| (span.start, span.name.clone()));
    let mut text = String::new();
    for root in roots {
        branch(root, spans, 0, &mut text);
    }
    text
}

fn branch(span: &Span, spans: &[Span], depth: usize, text: &mut String) {
    const KINDS: [&str; 6] = ["?", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
    let indent = "  ".repeat(depth);
    let kind = KINDS[usize::try_from(span.kind).unwrap()];
    let error = if span.status == 2 { " ERROR" } else { "" };
    text.push_str(&format!("{indent}{kind} {}{error}\n", span.name));
    if span.parent_is_remote {
        text.push_str(&format!("{indent}  parent is remote\n"));
    }
    for (name, value) in &span.attributes {
        text.push_str(&format!("{indent}  {name} = {}\n", masked(name, value)));
    }
    for (name, attributes) in &span.events {
        text.push_str(&format!("{indent}  event {name}\n"));
        for (name, value) in attributes {
            text.push_str(&format!("{indent}    {name} = {}\n", masked(name, value)));
        }
    }
    for _ in &span.links {
        text.push_str(&format!("{indent}  link\n"));
    }
    let mut children: Vec<&Span> =
        spans.iter().filter(|child| child.parent_id == span.span_id).collect();
    children.sort_by_key(|child| (child.start, child.name.clone()));
    for child in children {
        assert!(child.start >= span.start, "{} begins before {}", child.name, span.name);
        branch(child, spans, depth + 1, text);
    }
}

fn masked<'v>(name: &str, value: &'v str) -> &'v str {
    const VOLATILE: [&str; 13] = [
        "server.port",
        "tidegate.request_id",
        "tidegate.deployment",
        "tidegate.key_id",
        "gen_ai.tool.call.id",
        "gen_ai.response.time_to_first_chunk",
        "langfuse.trace.metadata.request_id",
        "langfuse.observation.completion_start_time",
        "user_agent.original",
        "mcp.session.id",
        "jsonrpc.request.id",
        "tidegate.cost_usd",
        "tidegate.result_bytes",
    ];
    if VOLATILE.contains(&name) { "…" } else { value }
}
