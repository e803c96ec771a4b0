//! What the door answers itself: refusals in the words of the API that the client meant, and short replies of its own. Which
//! of them is due, the router decides.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;

use crate::gateway::outgoing::Outgoing;
use crate::gateway::{fault_response, fault_response_as};
use crate::ground::fault::{Fault, Kind};
use crate::wire::formats;

/// A fault that the router raises itself, in the words of the API that the client meant.
pub(super) fn refusal(request: &Parts, fault: &Fault) -> Response<Outgoing> {
    let path = request.uri.path();
    let below = path.strip_prefix("/v1").unwrap_or(path).strip_prefix("/messages");
    let is_messages = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_messages || request.headers.contains_key("anthropic-version") {
        fault_response_as(&formats::MESSAGES, fault)
    } else {
        fault_response(fault)
    }
}

pub(super) fn no_such_path(method: &Method, path: &str) -> Fault {
    let shown: String = path.chars().filter(|c| !c.is_control()).take(200).collect();
    Fault::new(
        Kind::RouteNotFound,
        format!(
            "Unknown request URL: {method} {shown}. The base URL of this gateway ends in /v1; GET / \
             lists what it answers."
        ),
    )
}

pub(super) fn wrong_method(request: &Parts, allowed: &'static str) -> Response<Outgoing> {
    let message = format!("{} is not allowed on this path; use {allowed}.", request.method);
    let mut response = refusal(request, &Fault::new(Kind::MethodNotAllowed, message));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Newer clients try a WebSocket first. With this status they go on over HTTP at once, with any other
/// they try again (Codex CLI).
pub(super) fn upgrade_refused(request: &Parts, has_websocket: bool) -> Response<Outgoing> {
    let mut response = refusal(
        request,
        &Fault::new(
            Kind::MethodNotAllowed,
            "This endpoint is served over HTTP: send a POST. Only /v1/responses has a WebSocket, of version 13.",
        ),
    );
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    if has_websocket {
        // RFC 6455 section 4.4.
        let version = HeaderValue::from_static("13");
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, version);
    }
    response
}

pub(super) fn reply(status: u16, body: &Value) -> Response<Outgoing> {
    reply_with(status, body.to_string())
}

/// A status and JSON.
pub(super) fn reply_with(status: u16, json: String) -> Response<Outgoing> {
    let mut response = json_reply(Bytes::from(json));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    response
}

pub(super) fn json_reply(body: Bytes) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::Whole(body));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

pub(super) fn text(body: &'static str) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::Whole(Bytes::from_static(body.as_bytes())));
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
