//! The span of a request to MCP's paths: begun where the request is let in, told of when the last byte of the answer has left
//! or the client is gone. Requests to models have a record for that.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::request::Parts;
use http::{HeaderMap, Response};

use crate::config::snapshot::Snapshot;
use crate::entry::HttpRequest;
use crate::gateway::admit::Caller;
use crate::gateway::outgoing::Outgoing;
use crate::mcp::traced::Within;
use crate::telemetry::traces::Traces;
use crate::wire::trace;

/// A request that has a span.
pub(super) struct Served {
    request: Option<HttpRequest>,
    begun: Instant,
    traces: Arc<Traces>,
}

impl Served {
    /// A request is let in; `None` where there are no traces.
    pub(super) fn begin(
        traces: &Arc<Traces>,
        snapshot: &Snapshot,
        caller: &Caller,
        route: &'static str,
        request: &Parts,
        client: IpAddr,
    ) -> Option<Self> {
        let telemetry = &snapshot.telemetry;
        if !telemetry.is_on() {
            return None;
        }
        let claim = trace::claim_of(&request.headers);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let request = HttpRequest {
            trace: telemetry.decide(claim, is_known(caller)),
            started_at_us: i64::try_from(since.as_micros()).unwrap_or_default(),
            duration_us: 0,
            method: request.method.as_str().to_owned(),
            route,
            path: request.uri.path().to_owned(),
            // The client's own going away, until something else is known.
            status: 499,
            client_ip: Some(client),
            key_id: caller.key().map(|key| key.id.clone()),
        };
        Some(Self { request: Some(request), begun: Instant::now(), traces: traces.clone() })
    }

    /// What the request of MCP in it is part of.
    pub(super) fn within(&self, caller: &Caller) -> Option<Within> {
        let trace = Arc::new(self.request.as_ref()?.trace.clone());
        Some(Within::Http { trace, is_known: is_known(caller) })
    }

    /// The head of the answer is known.
    pub(super) fn answer(&mut self, response: &mut Response<Outgoing>) {
        if let Some(request) = &mut self.request {
            request.status = response.status().as_u16();
            let headers: &mut HeaderMap = response.headers_mut();
            trace::tell_caller(&request.trace, headers);
        }
    }
}

fn is_known(caller: &Caller) -> bool {
    !matches!(caller, Caller::Anyone)
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(mut request) = self.request.take() {
            request.duration_us =
                u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.traces.observe_http(&request);
        }
    }
}
