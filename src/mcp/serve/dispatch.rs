//! One request of a client, answered: by the gateway itself, by one server, or by all that the caller sees.

use super::ask::{Ask, Asker, Out};
use crate::mcp::Mcp;
use crate::wire::mcp::error::{METHOD_NOT_FOUND, RpcError};
use crate::wire::mcp::message::{Notification, answer};

/// Answers a request. Everything goes through the outbox, the answer last. Dropping this cancels what runs behind it.
pub async fn answer_request(_mcp: &Mcp, ask: Ask) {
    let error = RpcError::new(METHOD_NOT_FOUND, "not yet");
    let text = answer(Some(&ask.request.id), &Err(error));
    let _nobody_waits = ask.outbox.send(Out::Answer(text)).await;
}

/// Hears a notification of a client that has a session; `notifications/cancelled` has been seen to. It runs in a task of
/// its own, and is dropped when the session ends.
pub async fn notified(_mcp: &Mcp, _asker: Asker, _notification: Notification) {}
