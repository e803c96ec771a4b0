//! One request of a client, answered: by the gateway itself, by one server, or by all that the caller sees.

use serde_json::json;

use super::ask::{Ask, Asker, Out};
use crate::conversation::Json;
use crate::mcp::Mcp;
use crate::wire::mcp::error::{METHOD_NOT_FOUND, RpcError};
use crate::wire::mcp::message::{Notification, answer};

/// Answers a request. Everything goes through the outbox, the answer last. Dropping this cancels what runs behind it.
pub async fn answer_request(_mcp: &Mcp, ask: Ask) {
    let outcome = match (&*ask.request.method, &ask.asker.session) {
        ("initialize", Some(session)) => Ok(Json::of(&json!({
            "protocolVersion": session.revision.as_str(),
            "capabilities": {},
            "serverInfo": { "name": "tidegate", "version": env!("CARGO_PKG_VERSION") },
        }))),
        ("ping", Some(_)) => Ok(Json::empty_object()),
        _ => Err(RpcError::new(METHOD_NOT_FOUND, "not yet")),
    };
    let text = answer(Some(&ask.request.id), &outcome);
    let _nobody_waits = ask.outbox.send(Out::Answer(text)).await;
}

/// Hears a notification of a client that has a session; `notifications/cancelled` has been seen to. It runs in a task of
/// its own, and is dropped when the session ends.
pub async fn notified(_mcp: &Mcp, _asker: Asker, _notification: Notification) {}
