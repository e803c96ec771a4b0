//! The span of a request to MCP's paths: begun where the request is let in, told of when the last byte of the answer has left
//! or the client is gone. Requests to models have a record for that.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{Response, Version};

use crate::config::snapshot::Snapshot;
use crate::entry::{Client, HttpRequest};
use crate::gateway::admit::Caller;
use crate::gateway::outgoing::Outgoing;
use crate::ground::span::micros;
use crate::mcp::traced::Within;
use crate::telemetry::traces::Traces;
use crate::wire::trace;

/// Who sends a request over HTTP.
pub(super) fn client(request: &Parts, ip: IpAddr) -> Client {
    let http_version = match request.version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    };
    Client { ip, http_version }
}

/// A request that has a span.
pub(super) struct Served {
    request: HttpRequest,
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
        let client = self::client(request, client);
        let request = HttpRequest {
            trace: telemetry.decide(claim, caller.is_known()),
            started_at_us: jiff::Timestamp::now().as_microsecond(),
            duration_us: 0,
            method: request.method.as_str().to_owned(),
            route,
            path: request.uri.path().to_owned(),
            // The client's own going away, until something else is known.
            status: 499,
            client,
            key_id: caller.key().map(|key| key.id.clone()),
        };
        Some(Self { request, begun: Instant::now(), traces: traces.clone() })
    }

    /// What the request of MCP in it is part of.
    pub(super) fn within(&self, caller: &Caller) -> Option<Within> {
        let trace = Arc::new(self.request.trace.clone());
        Some(Within::Http { trace, is_known: caller.is_known() })
    }

    /// The head of the answer is known.
    pub(super) fn answered(mut self, response: &mut Response<Outgoing>) -> Self {
        self.request.status = response.status().as_u16();
        trace::tell_caller(&self.request.trace, response.headers_mut());
        self
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.request.duration_us = micros(self.begun.elapsed());
        self.traces.observe_http(&self.request);
    }
}
