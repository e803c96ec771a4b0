//! Streamable HTTP: every message is a POST, whose answer is JSON or a stream of its own; with a session there is one
//! common stream beside. <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http>

use http::HeaderMap;
use tokio::sync::mpsc;
use url::Url;

use super::{Failure, FailureKind, Incoming, Outgoing};
use crate::config::snapshot::McpServer;
use crate::wire::mcp::message::Id;
use crate::wire::mcp::revision::Revision;

/// A server's address, and the session there.
pub struct Endpoint {}

impl Endpoint {
    pub fn new(
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

    pub fn abandon(&self, _request: &Id) {}

    pub async fn close(&self) {}
}
