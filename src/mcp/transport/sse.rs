//! The older HTTP with server-sent events: one stream for all that comes, and an endpoint that is posted to.
//! <https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>

use http::HeaderMap;
use tokio::sync::mpsc;
use url::Url;

use super::{Failure, FailureKind, Incoming, Outgoing};
use crate::config::snapshot::McpServer;
use crate::wire::mcp::revision::Revision;

/// An open stream.
pub struct Stream {}

impl Stream {
    pub async fn open(
        _server: &McpServer,
        _url: &Url,
        _headers: HeaderMap,
        _incoming: mpsc::Sender<Incoming>,
    ) -> Result<Self, Failure> {
        Err(Failure::new(FailureKind::Unreachable, "not yet"))
    }

    pub async fn send(&self, _message: Outgoing) -> Result<(), Failure> {
        Ok(())
    }

    pub fn agreed(&self, _revision: Revision) {}

    pub fn close(&self) {}
}
