//! A server that is a child process: one JSON-RPC message a line, in and out.

use tokio::sync::mpsc;

use super::{Failure, FailureKind, Incoming, Outgoing, Pid};
use crate::config::snapshot::{McpCommand, McpServer};

/// A running child.
pub struct Child {}

impl Child {
    pub fn start(
        _server: &McpServer,
        _command: &McpCommand,
        _incoming: mpsc::Sender<Incoming>,
    ) -> Result<Self, Failure> {
        Err(Failure::new(FailureKind::Unreachable, "not yet"))
    }

    pub async fn send(&self, _message: Outgoing) -> Result<(), Failure> {
        Ok(())
    }

    pub fn pid(&self) -> Option<Pid> {
        None
    }

    pub async fn close(&self) {}
}
