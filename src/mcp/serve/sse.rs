//! The older transport as its server: a GET opens the one stream on which everything comes, and says where messages are
//! posted to. The session is the connection: when it ends, so do its requests.
//! <https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>

use std::sync::{Arc, OnceLock};

use http::{Method, StatusCode};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ask::{Out, Scope};
use super::events::{EventStream, Manner, Tied};
use super::http::post::{hear, not_opened, opening, refused, unreadable};
use super::http::{Accept, Answer, ClientRequest, Desk, Refusal};
use super::line::Line;
use super::sessions::ClosesOlder;
use super::stream::Stream;
use super::work::{Behind, Job};
use crate::ground::secret::KeyHash;
use crate::mcp::Mcp;
use crate::wire::mcp::message::{Message, Request};

/// Where messages are posted to, with the parameter `sessionId`.
pub const MESSAGES: &str = "/sse/messages";

/// One connection.
pub struct Older {
    pub id: String,
    pub key: Option<KeyHash>,
    /// What the path and headers of its GET said.
    scope: Scope,
    common: mpsc::Sender<Out>,
    stream: Arc<Stream>,
    listening: CancellationToken,
    /// The session, once it has been initialised.
    line: OnceLock<Arc<Line>>,
}

impl Older {
    /// The connection is gone.
    pub fn end(&self) {
        self.listening.cancel();
        if let Some(line) = self.line.get() {
            line.end();
        }
    }
}

/// Answers a GET of `/sse`.
pub fn open(mcp: &Arc<Mcp>, request: &ClientRequest) -> Answer {
    opened(mcp, request).unwrap_or_else(Refusal::answer)
}

fn opened(mcp: &Arc<Mcp>, request: &ClientRequest) -> Result<Answer, Refusal> {
    if request.method != Method::GET {
        let message = "A GET opens the event stream, which says where to post messages.";
        return Err(Refusal::new(405, message).allowing("GET"));
    }
    if !Accept::of(&request.headers).events {
        return Err(Refusal::new(406, "Accept `text/event-stream`."));
    }
    let key = request.key.as_ref().map(|key| key.hash);
    let scope = request.scope.clone();
    let listening = mcp.sessions.stopping().child_token();
    let until = listening.clone();
    let make = |id, common, stream| {
        let line = OnceLock::new();
        Older { id, key, scope, common, stream, listening, line }
    };
    let older = mcp.sessions.open_older(&request.snapshot.mcp, make).map_err(not_opened)?;
    let closes = ClosesOlder { sessions: mcp.sessions.clone(), id: older.id.clone() };
    let ping_interval = request.snapshot.limits.ping_interval;
    let manner = Manner { named: true, ping_interval, ..Manner::default() };
    let tied = Tied { ends: Some(Box::new(closes)), ..Tied::default() };
    let reader = older.stream.read_after(0);
    let mut events = EventStream::new(Vec::new(), reader, manner, until, tied);
    events.begin_with("endpoint", &format!("{MESSAGES}?sessionId={}", older.id));
    Ok(Answer::events(events))
}

/// Answers a POST of a message. What it leads to comes on the stream.
pub fn post(mcp: &Arc<Mcp>, id: Option<&str>, request: ClientRequest) -> Answer {
    posted_to(Behind::dispatch(), mcp, id, request)
}

pub(super) fn posted_to(
    behind: Behind,
    mcp: &Arc<Mcp>,
    id: Option<&str>,
    request: ClientRequest,
) -> Answer {
    posted(behind, mcp, id, request).unwrap_or_else(Refusal::answer)
}

fn posted(
    behind: Behind,
    mcp: &Arc<Mcp>,
    id: Option<&str>,
    request: ClientRequest,
) -> Result<Answer, Refusal> {
    if request.method != Method::POST {
        return Err(Refusal::new(405, "Messages are posted.").allowing("POST"));
    }
    let id = id.ok_or_else(|| Refusal::new(400, "The parameter `sessionId` is missing."))?;
    let key = request.key.as_ref().map(|key| key.hash);
    let older = mcp.sessions.find_older(id, key).ok_or_else(|| {
        Refusal::new(
            404,
            "This session does not exist (any more). A GET of `/sse` begins a new one.",
        )
    })?;
    let request = ClientRequest { scope: older.scope.clone(), ..request };
    let desk = Desk { mcp, behind, request: &request };
    match Message::read(&request.body).map_err(unreadable)? {
        Message::Request(request) => {
            let id = request.id.clone();
            ask(&desk, &older, request).map_err(|refusal| refusal.to(&id))?;
        }
        Message::Notification(notification) => hear(&desk, line(&older)?, notification)?,
        Message::Answer(answer) => {
            if let Some(id) = &answer.id {
                line(&older)?.session.answered(id, answer.outcome);
            }
        }
    }
    Ok(Answer::empty(StatusCode::ACCEPTED))
}

fn ask(desk: &Desk<'_>, older: &Older, request: Request) -> Result<(), Refusal> {
    let slot = desk.slot()?;
    if request.method == "initialize" {
        let opening = opening(desk, &request)?;
        let (id, common) = (older.id.clone(), older.common.clone());
        let line = desk.mcp.sessions.line(id, opening, common, older.stream.clone());
        if older.line.set(line).is_err() {
            return Err(Refusal::new(400, "This session has been initialised already."));
        }
    }
    let line = line(older)?;
    let (token, place) = line.begin(&request.id).map_err(refused)?;
    let job = Job {
        mcp: desk.mcp.clone(),
        behind: desk.behind,
        request,
        asker: desk.asker_in(line),
        stream: older.stream.clone(),
        ends: None,
        token,
        place: Some(place),
        slot,
    };
    job.start();
    Ok(())
}

fn line(older: &Older) -> Result<&Arc<Line>, Refusal> {
    older.line.get().ok_or_else(|| Refusal::new(400, "Send `initialize` first."))
}
