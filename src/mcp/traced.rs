//! The trace of a request of MCP while it is worked on: whose it is, what servers are told of it, what its spans will say.
//! Whoever makes spans is handed in and told when the request is over, also when nobody waited for its end.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use jiff::Timestamp;

use super::Mcp;
use super::serve::ask::{Ask, Asker};
use super::serve::relay::Target;
use crate::config::snapshot::{McpServer, McpTransport};
use crate::config::telemetry::{Propagate, is_internal, new_span_id};
use crate::conversation::Json;
use crate::entry::{McpCall, McpRequest, McpWay};
use crate::ground::span::micros;
use crate::ground::trace::{Carrier, Trace};
use crate::wire::mcp::edit;
use crate::wire::mcp::error::{RpcError, SERVER_TIMEOUT, SERVER_UNAVAILABLE};
use crate::wire::mcp::message::Outcome;
use crate::wire::trace;

/// Calls of servers that are told of one request.
const MAX_CALLS: usize = 64;

/// Who is told of requests that are over.
pub trait Observer: Send + Sync {
    fn observe_mcp(&self, request: &McpRequest);
}

/// What a request is part of.
#[derive(Clone)]
pub enum Within {
    /// An HTTP request, which has a span. `is_known`: its client showed a key.
    Http { trace: Arc<Trace>, is_known: bool },
    /// A request of the protocol, which has a span.
    Request(Arc<Open>),
    /// A call that has a span already, the tool loop's: servers are told of that one.
    Tool(Arc<ToolSpan>),
}

/// The span of a tool's call, which others make. It has what was asked of a server for it.
pub struct ToolSpan {
    trace: Trace,
    asked: OnceLock<McpCall>,
}

/// A request that is worked on.
pub struct Open {
    trace: Trace,
    calls: Mutex<Vec<McpCall>>,
}

/// Tells of the request when it is dropped.
pub struct Telling {
    open: Arc<Open>,
    observer: Arc<dyn Observer>,
    request: McpRequest,
    begun: Instant,
}

/// A call of a server; tells of it when it is dropped.
pub(super) struct Calling {
    told: Told,
    call: McpCall,
    begun: Instant,
}

impl Within {
    /// What one is told who does something for it.
    pub(super) fn carrier(&self) -> Carrier {
        let trace = match self {
            Self::Http { trace, .. } => trace,
            Self::Request(open) => &open.trace,
            Self::Tool(span) => &span.trace,
        };
        trace.carrier(trace.place.span_id)
    }
}

/// Whose call it is.
enum Told {
    Request(Arc<Open>),
    Tool(Arc<ToolSpan>),
}

/// A request begins. The asker's trace is the request's from now on. Absent: it has none.
pub(super) fn begin(mcp: &Mcp, ask: &mut Ask) -> Option<Telling> {
    let Some(Within::Http { trace: http, is_known }) = &ask.asker.trace else { return None };
    // One is not worth a word, the other lasts as long as its client.
    if matches!(ask.request.method.as_str(), "ping" | "subscriptions/listen") {
        return None;
    }
    let observer = mcp.observer()?;
    let Ask { request, asker, .. } = &ask;
    let telemetry = &asker.snapshot.telemetry;
    let claim = request.params.as_ref().and_then(trace::claim_of_meta);
    let is_parent_remote = claim.is_some() && telemetry.believes(*is_known);
    let trace = if is_parent_remote {
        Trace { link: Some(http.place), ..telemetry.decide(claim, true) }
    } else {
        let mut trace = Trace::clone(http);
        trace.parent = Some(http.place.span_id);
        trace.place.span_id = new_span_id();
        trace.link = claim.map(|claim| claim.place);
        trace
    };
    let target = match request.method.as_str() {
        "tools/call" | "prompts/get" => {
            request.params.as_ref().and_then(|params| edit::text(params, &["name"]))
        }
        _ => None,
    };
    let told = McpRequest {
        trace: trace.clone(),
        is_parent_remote,
        started_at_us: Timestamp::now().as_microsecond(),
        duration_us: 0,
        method: request.method.clone(),
        target,
        id: request.id.as_json().to_owned(),
        error_code: None,
        is_tool_error: false,
        was_cancelled: true,
        revision: asker.revision.as_str(),
        session_id: asker.session.as_ref().map(|session| session.id.clone()),
        key_id: asker.key.as_ref().map(|key| key.id.clone()),
        calls: Vec::new(),
    };
    let open = Arc::new(Open { trace, calls: Mutex::default() });
    ask.asker.trace = Some(Within::Request(open.clone()));
    Some(Telling { open, observer, request: told, begun: Instant::now() })
}

impl Telling {
    /// The request is answered.
    pub(super) fn end(mut self, outcome: &Outcome) {
        let request = &mut self.request;
        request.was_cancelled = false;
        request.error_code = outcome.as_ref().err().map(RpcError::code);
        request.is_tool_error = is_tool_error(outcome);
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.request.duration_us = micros(self.begun.elapsed());
        self.request.calls = std::mem::take(&mut *self.open.calls());
        self.observer.observe_mcp(&self.request);
    }
}

/// A server is about to be called: it is told of the trace, where that is wanted. Gives what tells of the call.
pub(super) fn call(asker: &Asker, target: &mut Target) -> Option<Calling> {
    let (told, trace, span_id) = match asker.trace.as_ref()? {
        Within::Http { .. } => return None,
        Within::Tool(span) => (Told::Tool(span.clone()), &span.trace, span.trace.place.span_id),
        Within::Request(open) => (Told::Request(open.clone()), &open.trace, new_span_id()),
    };
    let call = McpCall {
        span_id,
        started_at_us: Timestamp::now().as_microsecond(),
        method: target.method.clone(),
        server: target.server.name.clone(),
        target: own_name(target),
        was_cancelled: true,
        way: way(&target.server),
        ..McpCall::default()
    };
    tell(asker, target, trace.carrier(span_id));
    Some(Calling { told, call, begun: Instant::now() })
}

/// Puts the trace where the server looks for it. Baggage, which may hold anything, stays within the private network.
fn tell(asker: &Asker, target: &mut Target, mut carrier: Carrier) {
    if asker.snapshot.telemetry.propagate == Propagate::Never {
        return;
    }
    let is_near = match &target.server.transport {
        McpTransport::Stdio(_) => true,
        McpTransport::Sse(url) | McpTransport::Http(url) => is_internal(url),
    };
    if !is_near {
        carrier.baggage = None;
    }
    target.params = trace::inject_meta(&carrier, &target.params);
    trace::inject(&carrier, &mut target.headers);
}

impl Calling {
    /// The server answered, or did not.
    pub(super) fn end(mut self, outcome: &Outcome, revision: Option<&'static str>) {
        let call = &mut self.call;
        call.was_cancelled = false;
        call.way.revision = revision.unwrap_or_default();
        call.is_tool_error = is_tool_error(outcome);
        match outcome.as_ref().err().map(RpcError::code) {
            Some(SERVER_TIMEOUT | SERVER_UNAVAILABLE) => call.is_unanswered = true,
            code => call.error_code = code,
        }
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        self.call.duration_us = micros(self.begun.elapsed());
        let call = std::mem::take(&mut self.call);
        match &self.told {
            Told::Request(open) => {
                let mut calls = open.calls();
                if calls.len() < MAX_CALLS {
                    calls.push(call);
                }
            }
            // It is of one call, and that is made once.
            Told::Tool(span) => _ = span.asked.set(call),
        }
    }
}

impl ToolSpan {
    /// The trace with the call's own span as the one that calls.
    pub fn new(trace: Trace) -> Self {
        Self { trace, asked: OnceLock::new() }
    }

    /// What was asked of a server, once that is over.
    pub fn asked(&self) -> Option<McpCall> {
        self.asked.get().cloned()
    }
}

impl Open {
    fn calls(&self) -> MutexGuard<'_, Vec<McpCall>> {
        // Every change is whole before anything could panic.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the server itself calls the tool or prompt.
pub(super) fn own_name(target: &Target) -> Option<String> {
    let is_named = matches!(target.method.as_str(), "tools/call" | "prompts/get");
    is_named.then(|| edit::text(&target.params, &["name"])).flatten()
}

fn way(server: &McpServer) -> McpWay {
    match &server.transport {
        McpTransport::Stdio(_) => McpWay { is_pipe: true, ..McpWay::default() },
        McpTransport::Sse(url) | McpTransport::Http(url) => McpWay {
            address: url.host_str().map(str::to_owned),
            port: url.port_or_known_default(),
            ..McpWay::default()
        },
    }
}

fn is_tool_error(outcome: &Outcome) -> bool {
    let fails = |result: &Json| edit::read::<bool>(result, &["isError"]);
    outcome.as_ref().ok().and_then(fails) == Some(true)
}
