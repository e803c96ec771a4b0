//! The era without sessions (2026-07-28): every request stands alone, says in its `_meta` what it is, and repeats in
//! headers what those on the way want to see. A client that goes away cancels.
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http>

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::first::{First, first};
use super::post::{header, is_result, unanswered};
use super::{Accept, Answer, Desk, Refusal, SESSION, VERSION};
use crate::conversation::Json;
use crate::mcp::serve::events::{EventStream, Manner, Tied};
use crate::mcp::serve::stream::Ends;
use crate::wire::mcp::error::{
    HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CAPABILITY, UNSUPPORTED_VERSION,
};
use crate::wire::mcp::message::{Id, Message, Request};
use crate::wire::mcp::revision::{META_CAPABILITIES, META_VERSION, REVISIONS, Revision};
use crate::wire::mcp::{edit, header as mcp_header};

/// Whether a request is of this era: its `_meta` says a version. One that forgot it is known by its header; an
/// `initialize` opens a session all the same.
pub(super) fn is_modern(headers: &HeaderMap, request: &Request) -> bool {
    let params = request.params.as_ref();
    params.is_some_and(|params| edit::get(params, &["_meta", META_VERSION]).is_some())
        || (request.method != "initialize" && is_meant(headers))
}

/// Whether the headers speak of this era.
pub(super) fn is_meant(headers: &HeaderMap) -> bool {
    let version = header(headers, &VERSION).and_then(Revision::of);
    version.is_some_and(Revision::is_modern) && !headers.contains_key(SESSION)
}

/// Every revision that is spoken here, the newest first.
pub fn supported() -> Vec<&'static str> {
    REVISIONS.iter().rev().map(|revision| revision.as_str()).collect()
}

/// Answers a request.
pub(super) async fn ask(
    desk: &Desk<'_>,
    request: Request,
    accept: Accept,
) -> Result<Answer, Refusal> {
    let id = request.id.clone();
    let (revision, capabilities) =
        checked(&desk.request.headers, &request).map_err(|refusal| refusal.to(&id))?;
    // Its answer is the end of what it is for.
    if request.method == "subscriptions/listen" && !accept.events {
        return Err(Refusal::new(406, "Accept `text/event-stream` to listen.").to(&id));
    }
    let slot = desk.slot().map_err(|refusal| refusal.to(&id))?;
    let stream = desk.mcp.sessions.passing_stream();
    let reader = stream.read_after(0);
    let token = CancellationToken::new();
    let cancels = token.clone().drop_guard();
    let asker = desk.asker(revision, capabilities);
    desk.start(request, asker, Arc::new(Ends(stream)), token.clone(), None, slot);
    Ok(match first(reader, accept, false, None).await {
        First::Answer(text) => Answer::json(status(&text, &id), text),
        First::Events(read, reader) => {
            let ping_interval = desk.request.snapshot.limits.ping_interval;
            let manner = Manner { ping_interval, ..Manner::default() };
            let tied = Tied { cancels: Some(cancels), ..Tied::default() };
            let until = CancellationToken::new();
            Answer::events(EventStream::new(read, reader, manner, until, tied))
        }
        First::Answers(_) | First::Nothing => unanswered(token.is_cancelled()),
    })
}

/// Checks what every request has to say, in the order in which clients learn the most from the first failure: what is
/// not there, what contradicts itself, what is not spoken here.
fn checked(headers: &HeaderMap, request: &Request) -> Result<(Revision, Json), Refusal> {
    let member = |name: &str| {
        let params = request.params.as_ref();
        params.and_then(|params| edit::get(params, &["_meta", name])).map(Json::of_raw)
    };
    let lacks = |name: &str| {
        let message = format!("`params._meta` needs `{name}`.");
        Refusal::coded(400, INVALID_PARAMS, message)
    };
    let version: Option<String> = member(META_VERSION).and_then(|version| version.read());
    let version = version.ok_or_else(|| lacks(META_VERSION))?;
    let capabilities = member(META_CAPABILITIES).filter(Json::is_object);
    let capabilities = capabilities.ok_or_else(|| lacks(META_CAPABILITIES))?;
    matches(headers, request)?;
    let revision = Revision::of(&version).filter(|revision| revision.is_modern());
    let revision = revision.ok_or_else(|| {
        // An older one is spoken here, in sessions.
        let others: Vec<&str> = supported().into_iter().filter(|known| *known != version).collect();
        Refusal::coded(400, UNSUPPORTED_VERSION, "This protocol version is not spoken here.")
            .with_data(json!({ "supported": others, "requested": version }))
    })?;
    Ok((revision, capabilities))
}

/// Checks that the headers say what the body says.
fn matches(headers: &HeaderMap, request: &Request) -> Result<(), Refusal> {
    let sent = |name: &str| -> Vec<&[u8]> {
        headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
    };
    match mcp_header::mismatch(&request.method, request.params.as_ref(), sent) {
        Some(fault) => Err(Refusal::coded(400, HEADER_MISMATCH, fault)),
        None => Ok(()),
    }
}

/// The status that goes with an answer.
fn status(text: &bytes::Bytes, id: &Id) -> StatusCode {
    if is_result(text, id) {
        return StatusCode::OK;
    }
    match Message::read(text) {
        Ok(Message::Answer(answer)) => match answer.outcome.err().map(|error| error.code()) {
            Some(METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
            Some(HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION) => {
                StatusCode::BAD_REQUEST
            }
            _ => StatusCode::OK,
        },
        _ => StatusCode::OK,
    }
}
