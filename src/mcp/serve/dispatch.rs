//! One request of a client, answered: by the gateway itself, by one server, or by all that the caller sees.

use super::ask::{Ask, Out};
use crate::mcp::Mcp;
use crate::wire::mcp::error::{METHOD_NOT_FOUND, RpcError};
use crate::wire::mcp::message::answer;

/// Answers a request. Everything goes through the outbox, the answer last. Dropping this cancels what runs behind it.
pub async fn answer_request(_mcp: &Mcp, ask: Ask) {
    let error = RpcError::new(METHOD_NOT_FOUND, "not yet");
    let text = answer(Some(&ask.request.id), &Err(error));
    let _nobody_waits = ask.outbox.send(Out::Answer(text)).await;
}
