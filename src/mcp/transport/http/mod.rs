//! Streamable HTTP: every message is a POST, whose answer is JSON or a stream of its own; in the era of sessions there
//! is one common stream beside. Here are the session and what runs; `exchange` makes one request and follows its answer,
//! `common` keeps the common stream. <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http>
//! and, without sessions, <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http>

mod common;
mod exchange;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use url::Url;

use super::client::{LAST_EVENT_ID, PROTOCOL_VERSION, Reply, SESSION_ID, Site};
use super::{Failure, FailureKind, Incoming, Outgoing, answer, client};
use crate::config::snapshot::McpServer;
use crate::wire::mcp::message::Id;
use crate::wire::mcp::revision::Revision;

/// The longest that a server may take to accept what wants no answer.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that the end of a session may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Where a server is customarily, when its URL has no path.
const CUSTOMARY_PATH: &str = "/mcp";

/// A server's address, and the session there.
pub struct Endpoint {
    shared: Arc<Shared>,
}

/// What the endpoint and its tasks share.
struct Shared {
    site: Site,
    incoming: mpsc::Sender<Incoming>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where the server was found.
    place: Option<Url>,
    /// What was agreed on.
    revision: Option<Revision>,
    /// What the last answer before the agreement said: that to `initialize`.
    session: Option<HeaderValue>,
    /// Requests that run. As many as the caller lets.
    requests: HashMap<Id, AbortHandle>,
    common: Common,
    is_over: bool,
}

/// The common stream.
#[derive(Default)]
enum Common {
    #[default]
    Unwanted,
    /// To be opened when the server has been told that its client is ready.
    Wanted,
    Open(AbortHandle),
}

impl Endpoint {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// No HTTP client could be made.
    pub fn new(
        server: &McpServer,
        url: &Url,
        headers: HeaderMap,
        incoming: mpsc::Sender<Incoming>,
    ) -> Result<Self, Failure> {
        let site = Site::new(server, url, headers)?;
        Ok(Self { shared: Arc::new(Shared { site, incoming, state: Mutex::default() }) })
    }

    /// Posts a message. A request returns at once; its answer or its loss comes as [`Incoming`].
    ///
    /// # Errors
    /// The endpoint is closed, or what wants no answer was not accepted.
    pub async fn send(&self, message: Outgoing) -> Result<(), Failure> {
        if self.shared.state().is_over {
            return Err(closed());
        }
        match message.request.clone() {
            Some(id) => {
                self.shared.start(id, message);
                self.shared.open_common();
                Ok(())
            }
            None => {
                let accepted = exchange::deliver(&self.shared, message);
                let accepted = tokio::time::timeout(ACCEPT_TIMEOUT, accepted).await;
                accepted.unwrap_or_else(|_| Err(self.shared.timed_out()))?;
                self.shared.open_common();
                Ok(())
            }
        }
    }

    /// Later messages carry the revision, and the session that the answer to `initialize` gave. In the era of sessions
    /// the common stream is opened behind the next message: servers expect that they are told of a ready client first.
    pub fn agreed(&self, revision: Revision) {
        let mut state = self.shared.state();
        state.revision = Some(revision);
        if revision.is_modern() {
            state.session = None;
        } else if matches!(state.common, Common::Unwanted) {
            state.common = Common::Wanted;
        }
    }

    /// Closes the stream of a request: in the modern era the server gives it up.
    pub fn abandon(&self, request: &Id) {
        let running = self.shared.state().requests.remove(request);
        if let Some(running) = running {
            running.abort();
        }
    }

    /// Ends all that runs and the session.
    pub async fn close(&self) {
        let Some(session) = self.shared.end() else { return };
        let mut headers = self.shared.headers();
        headers.insert(SESSION_ID, session);
        let url = self.shared.place();
        let deleted = self.shared.site.call(Method::DELETE, &url, &headers, None);
        if let Ok(Err(error)) = tokio::time::timeout(CLOSE_TIMEOUT, deleted).await {
            tracing::debug!(%error, "a session could not be ended");
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _session = self.shared.end();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Self>, id: Id, message: Outgoing) {
        let shared = self.clone();
        // Under the lock, so that a quick end finds what it is to take out.
        let mut state = self.state();
        let running = tokio::spawn({
            let id = id.clone();
            async move {
                exchange::answer(&shared, &id, message).await;
                let own = tokio::task::id();
                let mut state = shared.state();
                if state.requests.get(&id).is_some_and(|running| running.id() == own) {
                    state.requests.remove(&id);
                }
            }
        });
        if let Some(former) = state.requests.insert(id, running.abort_handle()) {
            former.abort();
        }
    }

    fn open_common(self: &Arc<Self>) {
        let mut state = self.state();
        if matches!(state.common, Common::Wanted) && !state.is_over {
            let listening = tokio::spawn(common::listen(self.clone()));
            state.common = Common::Open(listening.abort_handle());
        }
    }

    /// Stops everything; gives the session that there was.
    fn end(&self) -> Option<HeaderValue> {
        let mut state = self.state();
        state.is_over = true;
        for (_, running) in state.requests.drain() {
            running.abort();
        }
        if let Common::Open(listening) = std::mem::take(&mut state.common) {
            listening.abort();
        }
        state.session.take()
    }

    /// The headers of every message.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(revision) = self.state().revision {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(revision.as_str()));
        }
        headers
    }

    /// The session that a message belongs to. `initialize` belongs to none, also where something before it was answered
    /// with one.
    fn agreed_session(&self) -> Option<HeaderValue> {
        let state = self.state();
        state.session.clone().filter(|_| state.revision.is_some())
    }

    /// Where messages go.
    fn place(&self) -> Url {
        let found = self.state().place.clone();
        found.unwrap_or_else(|| self.site.url().clone())
    }

    /// Opens the common stream, or a request's own once more, behind the event that was last seen.
    async fn get(&self, last: Option<&HeaderValue>) -> Result<Reply, Failure> {
        let mut headers = self.headers();
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        let session = self.state().session.clone();
        if let Some(session) = session {
            headers.insert(SESSION_ID, session);
        }
        if let Some(last) = last {
            headers.insert(LAST_EVENT_ID, last.clone());
        }
        self.site.call(Method::GET, &self.place(), &headers, None).await
    }

    /// What an answer means that is neither a message nor a stream.
    fn refused(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
        let session = self.agreed_session();
        let mut failure = self.site.refused(status, headers, body);
        if let Some(session) = session {
            if answer::tells_of_a_lost_session(status, body) {
                failure.kind = FailureKind::SessionExpired;
            }
            if let Ok(session) = session.to_str() {
                failure.text = failure.text.replace(session, "***");
            }
        }
        failure
    }

    fn timed_out(&self) -> Failure {
        let text = format!("{} did not accept a message in time", self.site.origin());
        Failure::new(FailureKind::Timeout, text)
    }
}

/// Whether an answer to a GET is the stream that was asked for.
fn is_open(reply: &Reply) -> bool {
    reply.response.status().is_success() && client::is_event_stream(reply.response.headers())
}

/// Whether the same may be tried again later: an old stream that the server has not yet seen the end of, too many
/// requests, a server that is down.
fn is_passing(status: StatusCode) -> bool {
    let is_failure = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
    is_failure || matches!(status.as_u16(), 409 | 425 | 429)
}

fn closed() -> Failure {
    Failure::new(FailureKind::Closed, "the connection is closed")
}

#[cfg(test)]
mod tests;
