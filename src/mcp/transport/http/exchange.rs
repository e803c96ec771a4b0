//! One POST and what comes of it. A request's answer is a JSON body or a stream of events, which in the era of sessions
//! may be cut off, also by the server on purpose, and is taken up again behind the last event that was seen (SEP-1699).
//! Whatever its status, a body that is a JSON-RPC answer is delivered as one: eras are told apart by the codes in them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::{CUSTOMARY_PATH, Shared};
use crate::mcp::transport::answer::{self, Kind};
use crate::mcp::transport::client::{self, PROTOCOL_VERSION, SESSION_ID, Unread};
use crate::mcp::transport::events::{Ended, Event, Events};
use crate::mcp::transport::{Failure, FailureKind, Incoming, MAX_MESSAGE, Outgoing};
use crate::wire::mcp::message::Id;
use crate::wire::mcp::revision::Revision;

/// Attempts in a row to take up a stream that bring nothing new.
const MAX_RESUMES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// What a server may ask for.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_mins(10)];
/// The longest that the end of a body is waited for when all that matters has come: then its connection serves on.
const LINGER: Duration = Duration::from_secs(1);
/// The most that is read of a body which nobody wants, for the same reason.
const MAX_UNWANTED: usize = 64 * 1024;

/// What a POST was answered with.
enum Answered {
    /// Status 2xx; the body is still to be read.
    Well(reqwest::Response),
    /// Any other status, with what could be read of the body.
    Ill { status: StatusCode, headers: HeaderMap, body: Bytes },
}

/// Posts a request and delivers all that comes of it, at last its answer or its loss.
pub(super) async fn answer(shared: &Shared, id: &Id, message: Outgoing) {
    let mut exchange = Exchange {
        shared,
        id,
        is_modern: is_modern(shared, &message),
        last: None,
        retry: None,
        saw_event: false,
        saw_garbage: false,
    };
    if let Err(failure) = exchange.run(message).await {
        let lost = Incoming::Lost { of: id.clone(), failure };
        let _nobody_listens = shared.incoming.send(lost).await;
    }
}

/// Posts what wants no answer.
///
/// # Errors
/// It was not accepted.
pub(super) async fn deliver(shared: &Shared, message: Outgoing) -> Result<(), Failure> {
    match post(shared, message).await? {
        Answered::Well(mut response) => {
            // Some servers answer with a word, some with a stream that stays open.
            if !client::is_event_stream(response.headers()) {
                let read = client::read(&mut response, MAX_UNWANTED);
                let _unwanted = tokio::time::timeout(LINGER, read).await;
            }
            Ok(())
        }
        Answered::Ill { status, headers, body } => Err(shared.refused(status, &headers, &body)),
    }
}

/// Posts a message, to each place where the server may be until it is found.
async fn post(shared: &Shared, message: Outgoing) -> Result<Answered, Failure> {
    let is_request = message.request.is_some();
    let mut headers = shared.headers();
    if let Some(session) = shared.agreed_session() {
        headers.insert(SESSION_ID, session);
    }
    for (name, value) in &message.headers {
        headers.insert(name, value.clone());
    }
    let accept = HeaderValue::from_static("application/json, text/event-stream");
    headers.insert(header::ACCEPT, accept);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = Bytes::from(message.text);
    let found = shared.state().place.clone();
    let places = found.map_or_else(|| shared.site.places(CUSTOMARY_PATH), |place| vec![place]);
    let mut answered = Err(Failure::new(FailureKind::Unreachable, "nowhere to send to"));
    for place in places {
        let call = shared.site.call(Method::POST, &place, &headers, Some(body.clone()));
        let reply = call.await?;
        let session = reply.response.headers().get(SESSION_ID).cloned();
        let now = receive(reply.response).await;
        let is_well = matches!(now, Answered::Well(_));
        match presence(&now) {
            Presence::Mcp => {
                shared.found(place, reply.url);
                if is_request && is_well {
                    shared.opened(session);
                }
                return Ok(now);
            }
            Presence::Unclear => return Ok(now),
            Presence::Nothing => answered = Ok(now),
        }
    }
    answered
}

async fn receive(mut response: reqwest::Response) -> Answered {
    let status = response.status();
    if status.is_success() {
        return Answered::Well(response);
    }
    let body = if client::is_event_stream(response.headers()) {
        None
    } else {
        client::read_error(&mut response).await
    };
    let headers = std::mem::take(response.headers_mut());
    Answered::Ill { status, headers, body: body.unwrap_or_default() }
}

/// What an answer says of the place that it came from.
enum Presence {
    Mcp,
    /// A gate before it, or a server that is down.
    Unclear,
    /// A front page, or nothing at all.
    Nothing,
}

fn presence(answered: &Answered) -> Presence {
    match answered {
        Answered::Well(response) if client::is_page(response.headers()) => Presence::Nothing,
        Answered::Well(_) => Presence::Mcp,
        Answered::Ill { status, body, .. } => match (answer::kind(body), status.as_u16()) {
            (Kind::Answer(_), _) => Presence::Mcp,
            (_, 404 | 405 | 501) => Presence::Nothing,
            _ => Presence::Unclear,
        },
    }
}

fn is_modern(shared: &Shared, message: &Outgoing) -> bool {
    let named = message.headers.get(&PROTOCOL_VERSION).and_then(|value| value.to_str().ok());
    let revision = named.and_then(Revision::of).or(shared.state().revision);
    revision.is_some_and(Revision::is_modern)
}

/// A request on its way, and what is known of its stream.
struct Exchange<'s> {
    shared: &'s Shared,
    id: &'s Id,
    is_modern: bool,
    /// The last event that was seen.
    last: Option<HeaderValue>,
    /// The pause that the server asks for.
    retry: Option<Duration>,
    /// Something came since the stream was opened.
    saw_event: bool,
    /// Something came that is no message.
    saw_garbage: bool,
}

/// Whether anything more is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passed {
    /// The answer was not among it.
    OnTheWay,
    /// The answer was, or nobody listens any more.
    Done,
}

impl Exchange<'_> {
    async fn run(&mut self, message: Outgoing) -> Result<(), Failure> {
        match post(self.shared, message).await? {
            Answered::Well(response) if client::is_event_stream(response.headers()) => {
                self.follow(response).await
            }
            Answered::Well(mut response) => {
                let status = response.status();
                let read = client::read(&mut response, MAX_MESSAGE).await;
                let body = read.map_err(|unread| self.unread(&unread))?;
                let is_empty = body.is_empty();
                match self.pass(body, true).await {
                    Passed::Done => Ok(()),
                    Passed::OnTheWay if is_empty => {
                        Err(self.garbage(&format!("answered a request with {status} and nothing")))
                    }
                    Passed::OnTheWay => Err(self.garbage("answered with no JSON-RPC message")),
                }
            }
            Answered::Ill { status, headers, body } => {
                let failure = self.shared.refused(status, &headers, &body);
                let is_lost = failure.kind == FailureKind::SessionExpired;
                if !is_lost && self.pass(body, true).await == Passed::Done {
                    return Ok(());
                }
                Err(failure)
            }
        }
    }

    /// Reads a stream to the answer, also over its ends.
    async fn follow(&mut self, response: reqwest::Response) -> Result<(), Failure> {
        let mut events = Events::new(response, MAX_MESSAGE);
        let mut failed = 0;
        loop {
            match self.read(&mut events).await {
                Ok(()) => return Ok(()),
                Err(Ended::TooLong) => return Err(self.garbage("sent a message that is too long")),
                Err(Ended::Properly | Ended::Broken) => {}
            }
            failed = if self.saw_event { 0 } else { failed + 1 };
            events = self.resume(&mut failed).await?;
        }
    }

    async fn read(&mut self, events: &mut Events) -> Result<(), Ended> {
        loop {
            let Event { name, data, id, retry } = events.next().await?;
            self.saw_event = true;
            self.last = id.or(self.last.take());
            self.retry = retry.or(self.retry);
            let Some(data) = data.filter(|_| matches!(name.as_str(), "" | "message")) else {
                continue;
            };
            if self.pass(data, false).await == Passed::Done {
                let rest = async {
                    while let Ok(event) = events.next().await {
                        let data = event.data.unwrap_or_default();
                        let _no_other_answer = self.pass(data, false).await;
                    }
                };
                let _ended = tokio::time::timeout(LINGER, rest).await;
                return Ok(());
            }
        }
    }

    /// Opens the stream again behind the last event.
    async fn resume(&self, failed: &mut u32) -> Result<Events, Failure> {
        while *failed <= MAX_RESUMES {
            let Some(last) = self.last.as_ref().filter(|_| !self.is_modern) else { break };
            let [shortest, longest] = PAUSES;
            let pause = self.retry.map(|asked| asked.clamp(shortest, longest));
            tokio::time::sleep(pause.unwrap_or(FIRST_PAUSE * 2_u32.pow(*failed))).await;
            *failed += 1;
            match self.shared.get(Some(last)).await {
                Ok(reply) if super::is_open(&reply) => {
                    return Ok(Events::new(reply.response, MAX_MESSAGE));
                }
                Ok(reply) if super::is_passing(reply.response.status()) => {}
                Err(failure) if failure.kind != FailureKind::Garbage => {}
                Ok(_) | Err(_) => break,
            }
        }
        let text = format!("{} broke off before it answered", self.shared.site.origin());
        let kind = if self.saw_garbage { FailureKind::Garbage } else { FailureKind::Lost };
        Err(Failure::new(kind, text))
    }

    /// Passes on the messages in a text. A body that is one answer can only be meant for this request, whatever id it
    /// has: errors often have none, or one that is made up.
    async fn pass(&mut self, text: Bytes, is_body: bool) -> Passed {
        let pieces = answer::messages(text);
        let is_single = is_body && pieces.len() == 1;
        let mut passed = Passed::OnTheWay;
        for piece in pieces {
            let text = match answer::kind(&piece) {
                Kind::Other if !is_single => piece,
                Kind::Other | Kind::None => {
                    self.saw_garbage = true;
                    continue;
                }
                Kind::Answer(found) => {
                    let similar = |id: &Id| answer::is_same_but_for_quotes(id, self.id);
                    if is_single || found.as_ref().is_none_or(similar) {
                        passed = Passed::Done;
                        let is_exact = found.as_ref() == Some(self.id);
                        if is_exact { piece } else { answer::with_id(&piece, self.id) }
                    } else {
                        piece
                    }
                }
            };
            let message = Incoming::Message { of: Some(self.id.clone()), text };
            if self.shared.incoming.send(message).await.is_err() {
                return Passed::Done;
            }
        }
        passed
    }

    fn unread(&self, unread: &Unread) -> Failure {
        match unread {
            Unread::TooLong => self.garbage("sent a message that is too long"),
            Unread::Broken(error) => {
                // The head had come: the request was read.
                let failure = self.shared.site.broken(error);
                Failure { kind: FailureKind::Lost, ..failure }
            }
        }
    }

    fn garbage(&self, what: &str) -> Failure {
        let text = format!("{} {what}", self.shared.site.origin());
        Failure::new(FailureKind::Garbage, text)
    }
}

impl Shared {
    /// A place turned out to be right. A redirect within it is followed once, and known from then on.
    fn found(&self, place: Url, led_to: Url) {
        let known = if self.site.is_trusted(&led_to) { led_to } else { place };
        self.state().place.get_or_insert(known);
    }

    /// A request was answered; before the agreement, that may have opened a session.
    fn opened(&self, session: Option<HeaderValue>) {
        let mut state = self.state();
        if state.revision.is_none() {
            state.session = session;
        }
    }
}
