//! Streamable HTTP as its server: a request to `/mcp` and the answer to it, in both eras of the protocol. What a request
//! means is decided by `dispatch`; here stand sessions, streams, statuses and headers. Who asks has been identified, and
//! the body read, by the floor above.
//! <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http>

mod accept;
mod first;
mod modern;
pub mod origin;
pub(super) mod post;
mod refusal;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

pub use self::accept::Accept;
pub use self::modern::supported;
pub use self::refusal::Refusal;
use super::ask::{Asker, Scope};
use super::events::{EventStream, Manner, Tied, read_id};
use super::line::Line;
use super::work::Behind;
use crate::config::snapshot::{Key, Snapshot};
use crate::conversation::Json;
use crate::ground::secret::KeyHash;
use crate::mcp::Mcp;
use crate::mcp::traced::Within;
use crate::wire::mcp::revision::Revision;

pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// A request of a client whose key has been found good.
pub struct ClientRequest {
    pub method: Method,
    pub headers: Arc<HeaderMap>,
    /// The whole body; empty for another method than POST.
    pub body: Bytes,
    pub scope: Scope,
    /// `None`: the master key, or no keys are configured.
    pub key: Option<Arc<Key>>,
    pub snapshot: Arc<Snapshot>,
    /// What it is part of; absent where there are no traces.
    pub trace: Option<Within>,
}

/// What is answered.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
}

pub enum Body {
    Empty,
    Whole(Bytes),
    Events(Box<EventStream>),
}

/// What the answering of one request needs at hand.
pub(super) struct Desk<'d> {
    pub(super) mcp: &'d Arc<Mcp>,
    pub(super) behind: Behind,
    pub(super) request: &'d ClientRequest,
}

/// Answers a request to `/mcp`. Dropping the future, or the event stream of the answer, means that the client went away.
pub async fn answer(mcp: &Arc<Mcp>, request: ClientRequest) -> Answer {
    answer_by(Behind::dispatch(), mcp, request).await
}

async fn answer_by(behind: Behind, mcp: &Arc<Mcp>, request: ClientRequest) -> Answer {
    let desk = Desk { mcp, behind, request: &request };
    let answered = match request.method {
        Method::POST => Box::pin(post::post(&desk)).await,
        Method::GET => get(&desk),
        Method::DELETE => delete(&desk),
        _ => Err(Refusal::new(405, "Use POST, GET or DELETE.").allowing("GET, POST, DELETE")),
    };
    answered.unwrap_or_else(Refusal::answer)
}

/// Opens the common stream of a session, or goes on with one that broke off.
fn get(desk: &Desk<'_>) -> Result<Answer, Refusal> {
    let headers = &desk.request.headers;
    if !Accept::of(headers).events {
        return Err(Refusal::new(406, "A GET opens an event stream: accept `text/event-stream`."));
    }
    let line = desk.line_of_get()?;
    let (reader, is_new) = match headers.get(LAST_EVENT) {
        // A second stream takes over from the first: its connection may be dead without a word, and to a client that
        // is refused its stream stays lost.
        None => (line.common.read_after(line.common.written()), true),
        Some(id) => {
            let place = id.to_str().ok().and_then(read_id);
            let stream = place.and_then(|(stream, after)| Some((line.stream(stream)?, after)));
            // Not 404, which would mean the session, and not an empty stream, which clients would ask for again.
            let (stream, after) = stream.ok_or_else(|| {
                Refusal::new(400, "The stream of this `Last-Event-ID` cannot be resumed any more.")
            })?;
            (stream.read_after(after), false)
        }
    };
    let is_common = reader.stream().number == line.common.number;
    let until = if is_common { &line.listening } else { &line.session.ended };
    let manner = desk.manner(&line, is_new);
    let tied = Tied { open: Some(line.open()), ..Tied::default() };
    let events = EventStream::new(Vec::new(), reader, manner, until.clone(), tied);
    Ok(Answer::events(events))
}

fn delete(desk: &Desk<'_>) -> Result<Answer, Refusal> {
    let line = desk.line_of_get()?;
    desk.mcp.sessions.close(&line.session.id, line.session.key);
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

impl Desk<'_> {
    pub(super) fn key(&self) -> Option<KeyHash> {
        self.request.key.as_ref().map(|key| key.hash)
    }

    /// The session that the request names.
    fn line(&self) -> Result<Arc<Line>, Refusal> {
        let Some(id) = self.request.headers.get(SESSION) else {
            return Err(Refusal::new(
                400,
                "The header `Mcp-Session-Id` is missing. Send `initialize` first, and then the session's id with every \
                 request.",
            ));
        };
        let idle = self.request.snapshot.mcp.session_idle_timeout;
        let found = id.to_str().ok().and_then(|id| self.mcp.sessions.find(id, self.key(), idle));
        let line = found.ok_or_else(|| {
            Refusal::new(
                404,
                "This session does not exist (any more). Send `initialize` to begin a new one.",
            )
        })?;
        let version = self.request.headers.get(VERSION);
        if version.is_some_and(|version| version.to_str().ok().and_then(Revision::of).is_none()) {
            return Err(Refusal::new(
                400,
                "The header `MCP-Protocol-Version` names no known revision.",
            ));
        }
        Ok(line)
    }

    /// The session of a GET or DELETE: without one they are requests of an era that has neither.
    fn line_of_get(&self) -> Result<Arc<Line>, Refusal> {
        if !self.request.headers.contains_key(SESSION) {
            let message = "Without a session there is only POST.";
            return Err(Refusal::new(405, message).allowing("POST"));
        }
        self.line()
    }

    /// Who asks, in a session.
    pub(super) fn asker_in(&self, line: &Line) -> Asker {
        let session = &line.session;
        let asker = self.asker(session.revision, session.capabilities.clone());
        Asker { session: Some(session.clone()), ..asker }
    }

    fn asker(&self, revision: Revision, capabilities: Json) -> Asker {
        let ClientRequest { headers, scope, key, snapshot, trace, .. } = self.request;
        Asker {
            snapshot: snapshot.clone(),
            key: key.clone(),
            scope: scope.clone(),
            headers: headers.clone(),
            revision,
            capabilities,
            session: None,
            trace: trace.clone(),
        }
    }

    /// How a session's streams are written.
    fn manner(&self, line: &Line, is_new: bool) -> Manner {
        Manner {
            ids: true,
            primed: is_new && line.session.revision >= Revision::V2025_11_25,
            named: false,
            ping_interval: self.request.snapshot.limits.ping_interval,
        }
    }
}

impl Answer {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Body::Empty }
    }

    pub(super) fn json(status: StatusCode, text: Bytes) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { status, headers, body: Body::Whole(text) }
    }

    pub(super) fn events(events: EventStream) -> Self {
        let mut headers = HeaderMap::new();
        let fixed = [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-cache"),
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Self { status: StatusCode::OK, headers, body: Body::Events(Box::new(events)) }
    }
}
