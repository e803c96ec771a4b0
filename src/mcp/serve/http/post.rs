//! A POST: one message, or in revision 2025-03-26 several. Requests of the era of sessions go on working when their
//! client is gone, and their messages wait for it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio_util::sync::CancellationToken;

use super::accept::is_json;
use super::first::{First, first, list};
use super::{Accept, Answer, Desk, Refusal, SESSION, modern};
use crate::conversation::Json;
use crate::mcp::serve::ask::Asker;
use crate::mcp::serve::events::{EventStream, Tied};
use crate::mcp::serve::line::{Line, MAX_RUNNING, Place, Refused};
use crate::mcp::serve::sessions::{NotOpened, Opening, Slot};
use crate::mcp::serve::stream::{Ends, Reader};
use crate::mcp::serve::work::{self, Job};
use crate::wire::mcp::edit;
use crate::wire::mcp::error::{INVALID_PARAMS, PARSE_ERROR};
use crate::wire::mcp::message::{Id, Message, Notification, Request, Unreadable};
use crate::wire::mcp::revision::Revision;

/// Messages of one batch.
const MAX_BATCH: usize = 64;

pub(super) async fn post(desk: &Desk<'_>) -> Result<Answer, Refusal> {
    let headers = &desk.request.headers;
    if !is_json(headers) {
        return Err(Refusal::new(415, "Send `content-type: application/json`."));
    }
    let accept = Accept::of(headers);
    if !accept.json && !accept.events {
        let message = "Accept `application/json` and `text/event-stream`.";
        return Err(Refusal::new(406, message));
    }
    match Message::read(&desk.request.body) {
        Ok(message) => one(desk, message, accept).await,
        Err(Unreadable::Batch) => batch(desk, accept).await,
        Err(other) => Err(unreadable(other)),
    }
}

/// Why a body was no message.
pub(in crate::mcp::serve) fn unreadable(why: Unreadable) -> Refusal {
    match why {
        Unreadable::NotJson => Refusal::coded(400, PARSE_ERROR, "The body is not JSON."),
        Unreadable::Batch => {
            Refusal::new(400, "Several messages in one body are known to revision 2025-03-26 only.")
        }
        Unreadable::NotAMessage(id) => {
            let refusal = Refusal::new(400, "The body is no JSON-RPC 2.0 message.");
            match id {
                Some(id) => refusal.to(&id),
                None => refusal,
            }
        }
    }
}

async fn one(desk: &Desk<'_>, message: Message, accept: Accept) -> Result<Answer, Refusal> {
    let headers = &desk.request.headers;
    match message {
        Message::Request(request) if modern::is_modern(headers, &request) => {
            modern::ask(desk, request, accept).await
        }
        Message::Request(request) if request.method == "initialize" => {
            initialize(desk, request, accept).await
        }
        Message::Request(request) => {
            let id = request.id.clone();
            let line = desk.line().map_err(|refusal| refusal.to(&id))?;
            ask(desk, &line, request, accept).await.map_err(|refusal| refusal.to(&id))
        }
        // Without a session there is nobody whom they could concern.
        Message::Notification(_) if modern::is_meant(headers) => {
            Ok(Answer::empty(StatusCode::ACCEPTED))
        }
        Message::Answer(_) if modern::is_meant(headers) => {
            Err(Refusal::new(400, "Answers of clients are unknown to this revision."))
        }
        Message::Notification(notification) => {
            let line = desk.line()?;
            hear(desk, &line, notification)?;
            Ok(Answer::empty(StatusCode::ACCEPTED))
        }
        Message::Answer(answer) => {
            let line = desk.line()?;
            if let Some(id) = &answer.id {
                line.session.answered(id, answer.outcome);
            }
            Ok(Answer::empty(StatusCode::ACCEPTED))
        }
    }
}

/// Opens a session. It is known to nobody else until its client has got the answer.
async fn initialize(desk: &Desk<'_>, request: Request, accept: Accept) -> Result<Answer, Refusal> {
    let id = request.id.clone();
    let to = |refusal: Refusal| refusal.to(&id);
    let opening = opening(desk, &request).map_err(to)?;
    let settings = &desk.request.snapshot.mcp;
    let opened = desk.mcp.sessions.open(settings, opening);
    let (line, unsettled) = opened.map_err(not_opened).map_err(to)?;
    let mut answer = ask(desk, &line, request, accept).await.map_err(to)?;
    let is_error = match &answer.body {
        super::Body::Whole(text) => !is_result(text, &id),
        super::Body::Events(_) | super::Body::Empty => false,
    };
    if !is_error {
        unsettled.settle();
        if let Ok(value) = HeaderValue::try_from(&*line.session.id) {
            answer.headers.insert(SESSION, value);
        }
    }
    Ok(answer)
}

/// What an `initialize` says.
pub(in crate::mcp::serve) fn opening(
    desk: &Desk<'_>,
    request: &Request,
) -> Result<Opening, Refusal> {
    let params = request.params.as_ref();
    let Some(version) = params.and_then(|params| edit::text(params, &["protocolVersion"])) else {
        let message = "`initialize` needs a `protocolVersion`.";
        return Err(Refusal::coded(400, INVALID_PARAMS, message));
    };
    let object = |name: &str| {
        let found = params.and_then(|params| edit::get(params, &[name])).map(Json::of_raw);
        found.filter(Json::is_object).unwrap_or_else(Json::empty_object)
    };
    Ok(Opening {
        key: desk.key(),
        revision: Revision::negotiate(&version),
        capabilities: object("capabilities"),
        client_info: object("clientInfo"),
    })
}

pub(in crate::mcp::serve) fn not_opened(why: NotOpened) -> Refusal {
    match why {
        NotOpened::TooMany => Refusal::new(
            503,
            "As many sessions are open as this gateway takes. End one with DELETE, or try again later.",
        ),
        NotOpened::NoId => Refusal::new(503, "No session can be opened now."),
    }
}

/// A request in a session.
async fn ask(
    desk: &Desk<'_>,
    line: &Arc<Line>,
    request: Request,
    accept: Accept,
) -> Result<Answer, Refusal> {
    let (token, place) = line.begin(&request.id).map_err(refused)?;
    let slot = desk.slot()?;
    let stream = line.new_stream();
    let reader = stream.read_after(0);
    let ends = Arc::new(Ends(stream));
    desk.start(request, desk.asker_in(line), ends, token.clone(), Some(place), slot);
    Ok(shaped(desk, line, reader, accept, Some(&token)).await)
}

/// Several messages in one body.
async fn batch(desk: &Desk<'_>, accept: Accept) -> Result<Answer, Refusal> {
    let line = desk.line()?;
    if line.session.revision != Revision::V2025_03_26 {
        return Err(unreadable(Unreadable::Batch));
    }
    let messages = Message::read_batch(&desk.request.body).unwrap_or_default();
    if messages.is_empty() || messages.len() > MAX_BATCH {
        let message = format!("A batch holds between 1 and {MAX_BATCH} messages.");
        return Err(Refusal::new(400, message));
    }
    // All or nothing: a batch that is refused halfway would have happened by half.
    let messages = messages.into_iter().collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let mut requests = Vec::new();
    for message in messages {
        match message {
            Message::Request(request) if request.method == "initialize" => {
                return Err(Refusal::new(400, "`initialize` cannot be part of a batch."));
            }
            Message::Request(request) => {
                let begun = line.begin(&request.id).map_err(refused)?;
                requests.push((request, begun, desk.slot()?));
            }
            Message::Notification(notification) => hear(desk, &line, notification)?,
            Message::Answer(answer) => {
                if let Some(id) = &answer.id {
                    line.session.answered(id, answer.outcome);
                }
            }
        }
    }
    if requests.is_empty() {
        return Ok(Answer::empty(StatusCode::ACCEPTED));
    }
    let stream = line.new_stream();
    let reader = stream.read_after(0);
    let ends = Arc::new(Ends(stream));
    for (request, (token, place), slot) in requests {
        desk.start(request, desk.asker_in(&line), ends.clone(), token, Some(place), slot);
    }
    drop(ends);
    Ok(shaped(desk, &line, reader, accept, None).await)
}

/// The answer in the shape that fits what comes first; `token` is that of a single request.
async fn shaped(
    desk: &Desk<'_>,
    line: &Arc<Line>,
    reader: Reader,
    accept: Accept,
    token: Option<&CancellationToken>,
) -> Answer {
    let open = line.open();
    let number = reader.stream().number;
    let first = first(reader, accept, token.is_none(), Some(&line.session.common)).await;
    let json = |text| {
        line.forget(number);
        Answer::json(StatusCode::OK, text)
    };
    match first {
        First::Answer(text) => json(text),
        First::Answers(answers) => json(list(&answers)),
        First::Events(read, reader) => {
            let manner = desk.manner(line, true);
            let tied = Tied { open: Some(open), ..Tied::default() };
            let until = line.session.ended.clone();
            Answer::events(EventStream::new(read, reader, manner, until, tied))
        }
        First::Nothing => {
            line.forget(number);
            unanswered(token.is_none_or(CancellationToken::is_cancelled))
        }
    }
}

/// A client that cancelled its request gets no answer to it, and an HTTP request has one.
pub(super) fn unanswered(is_cancelled: bool) -> Answer {
    if is_cancelled {
        return Answer::empty(StatusCode::ACCEPTED);
    }
    Refusal::new(500, "The gateway found no answer.").answer()
}

/// A notification of a client.
pub(in crate::mcp::serve) fn hear(
    desk: &Desk<'_>,
    line: &Arc<Line>,
    notification: Notification,
) -> Result<(), Refusal> {
    if notification.method == "notifications/cancelled" {
        let params = notification.params.as_ref();
        let id = params.and_then(|params| edit::get(params, &["requestId"]));
        if let Some(id) = id.and_then(|id| Id::of_json(id.get())) {
            line.cancel(&id);
        }
        return Ok(());
    }
    let slot = desk.slot()?;
    work::notify(desk.behind, desk.mcp, desk.asker_in(line), notification, slot);
    Ok(())
}

pub(in crate::mcp::serve) fn refused(why: Refused) -> Refusal {
    match why {
        Refused::Duplicate => {
            Refusal::new(400, "A request with this id is in progress in this session.")
        }
        Refused::TooMany => Refusal::new(
            429,
            format!("This session has {MAX_RUNNING} requests in progress, the most it may have."),
        ),
    }
}

impl Desk<'_> {
    /// # Errors
    /// A 503 where all clients together have as many requests in progress as may be.
    pub(in crate::mcp::serve) fn slot(&self) -> Result<Slot, Refusal> {
        let slot = self.mcp.sessions.slot();
        slot.ok_or_else(|| {
            Refusal::new(503, "The gateway has as many requests in progress as it takes.")
        })
    }

    /// A request begins to be worked on; with it, or with the last of several, its stream ends.
    pub(super) fn start(
        &self,
        request: Request,
        asker: Asker,
        ends: Arc<Ends>,
        token: CancellationToken,
        place: Option<Place>,
        slot: Slot,
    ) {
        let (mcp, behind, stream) = (self.mcp.clone(), self.behind, ends.0.clone());
        let ends = Some(ends);
        Job { mcp, behind, request, asker, stream, ends, token, place, slot }.start();
    }
}

/// Whether an answer holds a result. The gateway's own answers show it at their beginning; of others all is looked at.
pub(super) fn is_result(text: &Bytes, id: &Id) -> bool {
    let begins = |rest: &[u8]| -> Option<bool> {
        let rest = rest.strip_prefix(b"{\"jsonrpc\":\"2.0\",\"id\":")?;
        Some(rest.strip_prefix(id.as_json().as_bytes())?.starts_with(b",\"result\":"))
    };
    begins(text) == Some(true)
        || matches!(Message::read(text), Ok(Message::Answer(answer)) if answer.outcome.is_ok())
}

/// The name of a header, as text.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}
