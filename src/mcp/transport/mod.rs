//! Carrying messages to one server and back, whatever the way: a child's pipes, the older HTTP with server-sent
//! events, streamable HTTP. A transport knows nothing of methods, eras or whose message it is; it knows whether what it
//! was given surely did not arrive, for only then may it be sent again.

mod answer;
mod client;
mod events;
pub mod http;
mod pieces;
pub mod sse;
pub mod stdio;

use std::fmt;
use std::time::Duration;

use ::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::config::snapshot::{McpServer, McpTransport};
use crate::wire::mcp::message::Id;
use crate::wire::mcp::revision::Revision;

/// The longest message that is read from a server; a longer one ends the connection.
pub const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// Messages from one server that may wait to be looked at; then it is not read on.
pub const MAX_WAITING: usize = 256;

/// The longest text of a failure: it is kept, and told again and again.
const MAX_TEXT: usize = 4 * 1024;

/// How long a health path may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The way to one server.
pub enum Transport {
    Stdio(stdio::Child),
    Sse(sse::Stream),
    Http(http::Endpoint),
}

/// One message on its way to a server.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The message: JSON on one line.
    pub text: String,
    /// The id, where it is a request: an answer is expected.
    pub request: Option<Id>,
    /// Further headers of this message, where the way is HTTP; over those of the server's entry.
    pub headers: HeaderMap,
}

/// What comes from a server.
#[derive(Debug)]
pub enum Incoming {
    /// A message, not looked at. `of`: the request on whose own stream it came; `None`: on the common one.
    Message { of: Option<Id>, text: Bytes },
    /// There will be no answer to a request.
    Lost { of: Id, failure: Failure },
    /// The connection is over. Nothing comes after it.
    Closed(Failure),
}

/// Why something did not arrive, or nothing more will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// For people: without secrets, and without the credentials a URL may hold.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection could be made, or the child could not be started: surely not processed.
    Unreachable,
    /// The server forgot the session (404): surely not processed.
    SessionExpired,
    /// Answered with this status and no message.
    Refused(StatusCode),
    /// The connection broke, or the child ended, after the message may have been read.
    Lost,
    /// What came is no message, or too long.
    Garbage,
    /// It took too long.
    Timeout,
    /// Closed by the gateway.
    Closed,
}

/// The server's process, where it has one.
pub type Pid = u32;

impl Failure {
    /// A text that is too long, as a server's own words may be, is cut.
    pub fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.len() > MAX_TEXT {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
            text.push('…');
        }
        Self { kind, text }
    }

    /// The server surely did not process what it was sent.
    pub fn is_unprocessed(&self) -> bool {
        matches!(self.kind, FailureKind::Unreachable | FailureKind::SessionExpired)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl Transport {
    /// Opens the way to a server: starts the child, or opens the event stream. Streamable HTTP has nothing to open.
    /// `headers` are the effective ones: the entry's own, its credential, and what is passed on of a client's.
    ///
    /// # Errors
    /// The server cannot be reached, or the child cannot be started.
    pub async fn open(
        server: &McpServer,
        headers: HeaderMap,
        incoming: mpsc::Sender<Incoming>,
    ) -> Result<Self, Failure> {
        match &server.transport {
            McpTransport::Stdio(command) => {
                stdio::Child::start(server, command, incoming).map(Self::Stdio)
            }
            McpTransport::Sse(url) => {
                sse::Stream::open(server, url, headers, incoming).await.map(Self::Sse)
            }
            McpTransport::Http(url) => {
                http::Endpoint::new(server, url, headers, incoming).map(Self::Http)
            }
        }
    }

    /// Hands a message over. A request returns at once, and its fate is told by [`Incoming`]; anything else returns when
    /// it has arrived.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn send(&self, message: Outgoing) -> Result<(), Failure> {
        match self {
            Self::Stdio(child) => child.send(message).await,
            Self::Sse(stream) => stream.send(message).await,
            Self::Http(endpoint) => endpoint.send(message).await,
        }
    }

    /// The revision is agreed on: later messages carry it and the session, so this comes before
    /// `notifications/initialized`; that one delivered, the common stream is opened in the era that has it.
    pub fn agreed(&self, revision: Revision) {
        match self {
            Self::Stdio(_) => {}
            Self::Sse(stream) => stream.agreed(revision),
            Self::Http(endpoint) => endpoint.agreed(revision),
        }
    }

    /// Nobody waits for the answer to a request any more: its own stream, where it has one, is closed, which in the
    /// modern era cancels it.
    pub fn abandon(&self, request: &Id) {
        match self {
            Self::Stdio(_) => {}
            Self::Sse(stream) => stream.abandon(request),
            Self::Http(endpoint) => endpoint.abandon(request),
        }
    }

    pub fn pid(&self) -> Option<Pid> {
        match self {
            Self::Stdio(child) => child.pid(),
            Self::Sse(_) | Self::Http(_) => None,
        }
    }

    /// Ends the connection properly: the session is deleted, the child is asked to end and, if it does not, killed with
    /// its whole group. Returns when that is done.
    pub async fn close(&self) {
        match self {
            Self::Stdio(child) => child.close().await,
            Self::Sse(stream) => stream.close(),
            Self::Http(endpoint) => endpoint.close().await,
        }
    }
}

/// Asks a path of a server for its health; gives the status. A child has no paths.
///
/// # Errors
/// There was no answer in time.
pub async fn probe(server: &McpServer, headers: &HeaderMap, path: &str) -> Result<u16, Failure> {
    let (McpTransport::Sse(url) | McpTransport::Http(url)) = &server.transport else {
        return Err(Failure::new(FailureKind::Unreachable, "a child process has no paths"));
    };
    let mut url = url.clone();
    url.set_path(path);
    let site = client::Site::new(server, &url, headers.clone())?;
    let none = HeaderMap::new();
    let asked = site.call(Method::GET, &url, &none, None);
    match tokio::time::timeout(PROBE_TIMEOUT, asked).await {
        Ok(reply) => Ok(reply?.response.status().as_u16()),
        Err(_) => Err(Failure::new(FailureKind::Timeout, "no answer in time")),
    }
}

#[cfg(test)]
mod tests;
