//! The older HTTP with server-sent events: one stream for all that comes, and an endpoint that is posted to. The stream
//! is the session: when it ends, so does that, and the pool opens another.
//! <https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use url::Url;

use super::answer::{self, Kind};
use super::client::{self, PROTOCOL_VERSION, Site};
use super::events::{Ended, Events};
use super::{Failure, FailureKind, Incoming, MAX_MESSAGE, Outgoing};
use crate::config::snapshot::McpServer;
use crate::wire::mcp::message::Id;
use crate::wire::mcp::revision::Revision;

/// The longest that the stream and its endpoint are waited for.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that a server may take to accept what wants no answer.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that the POST of a request is kept: some servers answer it when they have answered on the stream.
const POST_TIMEOUT: Duration = Duration::from_mins(10);
/// The longest that the body of an answer is waited for which nobody wants.
const LINGER: Duration = Duration::from_secs(1);
const CUSTOMARY_PATH: &str = "/sse";

/// An open stream.
pub struct Stream {
    shared: Arc<Shared>,
}

struct Shared {
    site: Site,
    endpoint: Url,
    incoming: mpsc::Sender<Incoming>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    revision: Option<Revision>,
    /// POSTs that run. As many as the caller lets.
    posts: HashMap<Id, AbortHandle>,
    reading: Option<AbortHandle>,
    is_over: bool,
}

impl Stream {
    /// Opens the stream and waits for the endpoint.
    ///
    /// # Errors
    /// The server cannot be reached, gives no stream, names no endpoint in time, or one that it may not name.
    pub async fn open(
        server: &McpServer,
        url: &Url,
        headers: HeaderMap,
        incoming: mpsc::Sender<Incoming>,
    ) -> Result<Self, Failure> {
        let site = Site::new(server, url, headers)?;
        let found = tokio::time::timeout(OPEN_TIMEOUT, find(&site)).await.unwrap_or_else(|_| {
            let text = format!("{} named no endpoint in time", site.origin());
            Err(Failure::new(FailureKind::Timeout, text))
        });
        let (events, endpoint) = found?;
        let shared = Arc::new(Shared { site, endpoint, incoming, state: Mutex::default() });
        let reading = tokio::spawn(read(shared.clone(), events));
        shared.state().reading = Some(reading.abort_handle());
        Ok(Self { shared })
    }

    /// Posts a message. A request returns at once; its answer comes on the stream, or its loss as [`Incoming`].
    ///
    /// # Errors
    /// The stream is closed, or what wants no answer was not accepted.
    pub async fn send(&self, message: Outgoing) -> Result<(), Failure> {
        if self.shared.state().is_over {
            return Err(Failure::new(FailureKind::Closed, "the connection is closed"));
        }
        if let Some(id) = message.request.clone() {
            self.shared.start(id, message);
            return Ok(());
        }
        if let Err(failure) = self.shared.post(message, ACCEPT_TIMEOUT).await {
            self.shared.fail(&failure).await;
            return Err(failure);
        }
        Ok(())
    }

    /// Later messages carry the revision.
    pub fn agreed(&self, revision: Revision) {
        self.shared.state().revision = Some(revision);
    }

    /// Nobody waits for the answer any more, nor for its POST.
    pub fn abandon(&self, request: &Id) {
        let running = self.shared.state().posts.remove(request);
        if let Some(running) = running {
            running.abort();
        }
    }

    /// Ends the stream, and with it the session.
    pub fn close(&self) {
        self.shared.end();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// Opens the stream where the server has it, and reads it to the endpoint.
async fn find(site: &Site) -> Result<(Events, Url), Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    let mut none = Failure::new(FailureKind::Unreachable, "nowhere to look");
    for place in site.places(CUSTOMARY_PATH) {
        let mut reply = site.call(Method::GET, &place, &headers, None).await?;
        let status = reply.response.status();
        let is_stream = client::is_event_stream(reply.response.headers());
        if status.is_success() && is_stream {
            return endpoint(site, reply.url, Events::new(reply.response, MAX_MESSAGE)).await;
        }
        if status.is_success() {
            let text = format!("{} gives no event stream", site.origin());
            none = Failure::new(FailureKind::Garbage, text);
            continue;
        }
        let body = client::read_error(&mut reply.response).await.unwrap_or_default();
        none = site.refused(status, reply.response.headers(), &body);
        if !matches!(status.as_u16(), 404 | 405 | 501) {
            break;
        }
    }
    Err(none)
}

/// What comes before the endpoint is passed over.
async fn endpoint(site: &Site, url: Url, mut events: Events) -> Result<(Events, Url), Failure> {
    let garbage =
        |what: &str| Failure::new(FailureKind::Garbage, format!("{} {what}", site.origin()));
    loop {
        let event = match events.next().await {
            Ok(event) => event,
            Err(Ended::TooLong) => return Err(garbage("sent a message that is too long")),
            Err(Ended::Properly | Ended::Broken) => {
                let text =
                    format!("{} ended the stream before it named an endpoint", site.origin());
                return Err(Failure::new(FailureKind::Unreachable, text));
            }
        };
        let Some(data) = event.data.filter(|_| event.name == "endpoint") else { continue };
        let named = std::str::from_utf8(&data).ok().and_then(|text| url.join(text.trim()).ok());
        let mut named = named.ok_or_else(|| garbage("named an endpoint that is no address"))?;
        named.set_fragment(None);
        site.admits(&url, &named)?;
        // A server gives no credentials.
        let _never_fails = named.set_username("").and_then(|()| named.set_password(None));
        return Ok((events, named));
    }
}

async fn read(shared: Arc<Shared>, mut events: Events) {
    let failure = loop {
        match events.next().await {
            Ok(event) if event.is_message() => {
                let Some(text) = event.data else { continue };
                let message = Incoming::Message { of: None, text };
                if shared.incoming.send(message).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(Ended::TooLong) => {
                let text = format!("{} sent a message that is too long", shared.site.origin());
                break Failure::new(FailureKind::Garbage, text);
            }
            Err(Ended::Properly | Ended::Broken) => {
                let text = format!("{} ended the stream", shared.site.origin());
                break Failure::new(FailureKind::Lost, text);
            }
        }
    };
    shared.over(failure).await;
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
                shared.ask(&id, message).await;
                let own = tokio::task::id();
                let mut state = shared.state();
                if state.posts.get(&id).is_some_and(|running| running.id() == own) {
                    state.posts.remove(&id);
                }
            }
        });
        if let Some(former) = state.posts.insert(id, running.abort_handle()) {
            former.abort();
        }
    }

    /// Posts a request. Some servers answer in the POST itself.
    async fn ask(&self, id: &Id, message: Outgoing) {
        match self.post(message, POST_TIMEOUT).await {
            Ok(Some(text)) => {
                let message = Incoming::Message { of: Some(id.clone()), text };
                let _nobody_listens = self.incoming.send(message).await;
            }
            Ok(None) => {}
            Err(failure) => {
                let lost = Incoming::Lost { of: id.clone(), failure: failure.clone() };
                let _nobody_listens = self.incoming.send(lost).await;
                self.fail(&failure).await;
            }
        }
    }

    /// Posts a message, and waits so long that it is accepted; gives the answer, where the body is one.
    async fn post(&self, message: Outgoing, longest: Duration) -> Result<Option<Bytes>, Failure> {
        let mut headers = message.headers;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(revision) = self.state().revision {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(revision.as_str()));
        }
        let body = Bytes::from(message.text);
        let call = self.site.call(Method::POST, &self.endpoint, &headers, Some(body));
        let called = tokio::time::timeout(longest, call).await;
        let mut response = called.unwrap_or_else(|_| Err(self.timed_out()))?.response;
        let status = response.status();
        if status.is_success() {
            // A body that is no answer or cannot be read is none: the answer comes on the stream.
            let longest = if message.request.is_some() { longest } else { LINGER };
            let body = client::read(&mut response, MAX_MESSAGE);
            let body = tokio::time::timeout(longest, body).await.ok().and_then(Result::ok);
            return Ok(body.filter(|body| matches!(answer::kind(body), Kind::Answer(_))));
        }
        let body = client::read_error(&mut response).await.unwrap_or_default();
        if matches!(answer::kind(&body), Kind::Answer(_)) && !is_gone(status) {
            let id = message.request.as_ref();
            return Ok(id.map(|id| answer::with_id(&body, id)));
        }
        let mut failure = self.site.refused(status, response.headers(), &body);
        if is_gone(status) {
            failure.kind = FailureKind::SessionExpired;
        }
        Err(failure)
    }

    /// A failed POST may mean that the session is no more.
    async fn fail(&self, failure: &Failure) {
        if failure.kind == FailureKind::SessionExpired {
            let reading = self.state().reading.take();
            if let Some(reading) = reading {
                reading.abort();
            }
            self.over(failure.clone()).await;
        }
    }

    /// Tells once that nothing more comes.
    async fn over(&self, failure: Failure) {
        let was_over = std::mem::replace(&mut self.state().is_over, true);
        if !was_over {
            let _nobody_listens = self.incoming.send(Incoming::Closed(failure)).await;
        }
    }

    fn end(&self) {
        let mut state = self.state();
        state.is_over = true;
        let posts: Vec<AbortHandle> = state.posts.drain().map(|(_, running)| running).collect();
        for running in posts.into_iter().chain(state.reading.take()) {
            running.abort();
        }
    }

    fn timed_out(&self) -> Failure {
        let text = format!("{} did not accept a message in time", self.site.origin());
        Failure::new(FailureKind::Timeout, text)
    }
}

/// The session that the endpoint belongs to is no more.
fn is_gone(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

#[cfg(test)]
mod tests;
