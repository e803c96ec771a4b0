//! One session with one server, whatever its transport and era: requests go out under ids of our own, and what comes back
//! is dealt to the request it belongs to. A message is never given to a client by guess: what cannot be attributed is
//! news of the connection, or is refused.

mod deal;
mod exchange;
mod handshake;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use self::exchange::{Event, Exchange, OpenQuestion};
pub use self::handshake::{Introduction, establish};
use super::transport::{Failure, FailureKind, Outgoing, Pid, Transport};
use crate::conversation::Json;
use crate::ground::secret::KeyHash;
use crate::wire::mcp::message::{self, Id, Notification, Outcome, Request};
use crate::wire::mcp::revision::{META_VERSION, Revision};
use crate::wire::mcp::{edit, header};

/// Messages about one request that may wait for whoever made it; further ones are dropped.
const MAX_NOTES: usize = 256;
/// Requests to one server at once, whatever its entry says.
const MAX_RUNNING: usize = 4096;
/// Answers that a server may owe us the reading of; further ones are dropped.
const MAX_OWED: usize = 256;

/// One live session with one server.
pub struct Connection {
    transport: Transport,
    /// Unset until the handshake is over.
    peer: OnceLock<Peer>,
    state: Mutex<State>,
    closed: watch::Sender<Option<Failure>>,
    /// What is about no request.
    news: mpsc::Sender<News>,
    /// Answers to the server that are on their way.
    owed: Arc<Semaphore>,
    /// A client got an answer.
    has_served: AtomicBool,
    /// Questions that may be any request's.
    open_questions: AtomicUsize,
    handle: Handle,
}

/// What a server said of itself.
#[derive(Clone, Debug)]
pub struct Peer {
    pub revision: Revision,
    pub capabilities: Json,
    /// `serverInfo`.
    pub info: Json,
    pub instructions: Option<String>,
}

/// What is known before the handshake is over.
static NOBODY: LazyLock<Peer> = LazyLock::new(|| Peer {
    revision: Revision::V2024_11_05,
    capabilities: Json::empty_object(),
    info: Json::empty_object(),
    instructions: None,
});

/// What a server says that is about no request.
#[derive(Debug)]
pub enum News {
    ToolsChanged,
    PromptsChanged,
    ResourcesChanged,
    /// With the notification's params.
    ResourceUpdated(Json),
    /// A log message that no request caused, or nobody can say which.
    Log(Json),
    /// The server asks a client, and nobody can say which.
    Request(Request),
}

/// Who made a request, where messages can be attributed to one client only: requests of one owner are one client's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The gateway itself.
    Gateway,
    /// A client's session.
    Session(Arc<str>),
    /// A client without a session is its key; `None`: the master key, or none.
    Key(Option<KeyHash>),
}

#[derive(Default)]
struct State {
    /// The id of the last request.
    last: u64,
    running: HashMap<Id, Running>,
}

/// A request that has not been answered.
struct Running {
    owner: Owner,
    notes: mpsc::Sender<Event>,
    done: oneshot::Sender<Result<Outcome, Failure>>,
    /// It waits for its client to come again with an answer.
    is_parked: bool,
    /// The client's own progress token, which ours stands for.
    token: Option<Json>,
}

impl Peer {
    /// Whether the server has a capability: `tools`, `resources.subscribe`.
    pub fn has(&self, path: &[&str]) -> bool {
        edit::get(&self.capabilities, path).is_some_and(|value| value.get() != "false")
    }
}

impl Connection {
    fn new(transport: Transport, news: mpsc::Sender<News>) -> Self {
        let (closed, _) = watch::channel(None);
        let (state, handle) = (Mutex::default(), Handle::current());
        let owed = Arc::new(Semaphore::new(MAX_OWED));
        let (peer, has_served) = (OnceLock::new(), AtomicBool::new(false));
        let open_questions = AtomicUsize::new(0);
        Self { transport, peer, state, closed, news, owed, has_served, open_questions, handle }
    }

    /// What the server said of itself.
    pub fn peer(&self) -> &Peer {
        self.peer.get().unwrap_or(&NOBODY)
    }

    pub fn is_modern(&self) -> bool {
        self.peer().revision.is_modern()
    }

    pub fn pid(&self) -> Option<Pid> {
        self.transport.pid()
    }

    /// Makes a request. `params` are as the client sent them: a progress token in them is replaced by one of ours, and given
    /// back in what comes.
    ///
    /// # Errors
    /// The connection is closed, or too much runs on it.
    pub async fn call(
        self: &Arc<Self>,
        method: &str,
        params: Option<Json>,
        owner: Owner,
        mut headers: HeaderMap,
    ) -> Result<Exchange, Failure> {
        let (notes, noted) = mpsc::channel(MAX_NOTES);
        let (done, outcome) = oneshot::channel();
        let token =
            params.as_ref().and_then(|params| edit::get(params, &["_meta", "progressToken"]));
        let token = token.map(Json::of_raw);
        let has_token = token.is_some();
        let id = {
            let mut state = self.state();
            if let Some(failure) = &*self.closed.borrow() {
                return Err(Failure { kind: FailureKind::Unreachable, ..failure.clone() });
            }
            if state.running.len() >= MAX_RUNNING {
                let text = format!("{MAX_RUNNING} requests to the server are in progress already");
                return Err(Failure::new(FailureKind::Unreachable, text));
            }
            state.last += 1;
            let id = Id::number(state.last);
            state
                .running
                .insert(id.clone(), Running { owner, notes, done, is_parked: false, token });
            id
        };
        let params = params.map(|params| {
            if has_token {
                edit::set(&params, &["_meta", "progressToken"], id.as_json())
            } else {
                params
            }
        });
        if self.is_modern() && matches!(self.transport, Transport::Http(_)) {
            modern_headers(&mut headers, method, params.as_ref(), self.peer().revision);
        }
        let exchange = Exchange::new(self.clone(), id.clone(), noted, outcome);
        let text = message::request(&id, method, params.as_ref());
        self.transport.send(Outgoing { text, request: Some(id), headers }).await?;
        Ok(exchange)
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// It did not arrive.
    pub async fn notify(&self, method: &str, params: Option<&Json>) -> Result<(), Failure> {
        let text = message::notification(method, params);
        self.transport.send(self.plain(text)).await
    }

    /// Answers a request of the server.
    ///
    /// # Errors
    /// It did not arrive.
    pub async fn respond(&self, id: &Id, outcome: &Outcome) -> Result<(), Failure> {
        let text = message::answer(Some(id), outcome);
        self.transport.send(self.plain(text)).await
    }

    /// Returns when the connection is over, with the reason.
    pub async fn closed(&self) -> Failure {
        let mut closed = self.closed.subscribe();
        let ended = closed.wait_for(Option::is_some).await;
        ended
            .ok()
            .and_then(|reason| reason.clone())
            .unwrap_or_else(|| Failure::new(FailureKind::Closed, "the connection was closed"))
    }

    pub fn is_closed(&self) -> bool {
        self.closed.borrow().is_some()
    }

    /// How many requests of clients have not been answered. The gateway's own do not count: one of them, the stream of
    /// changes, runs for as long as the connection.
    pub fn running(&self) -> usize {
        let state = self.state();
        state.running.values().filter(|running| running.owner != Owner::Gateway).count()
    }

    /// Whether a client has got an answer.
    pub fn has_served(&self) -> bool {
        self.has_served.load(Ordering::Relaxed)
    }

    /// Somebody is asked something that may be about any request.
    pub fn has_open_questions(&self) -> bool {
        self.open_questions.load(Ordering::Relaxed) > 0
    }

    /// Ends the connection: what runs fails, and the transport is closed properly.
    pub async fn close(&self, why: &str) {
        self.end(&Failure::new(FailureKind::Closed, why));
        self.transport.close().await;
    }

    /// Everything that runs fails with this.
    fn end(&self, failure: &Failure) {
        let running = {
            let mut state = self.state();
            self.closed.send_if_modified(|closed| {
                let is_first = closed.is_none();
                closed.get_or_insert_with(|| failure.clone());
                is_first
            });
            std::mem::take(&mut state.running)
        };
        for (_, request) in running {
            let _nobody_waits = request.done.send(Err(failure.clone()));
        }
    }

    /// Nobody waits for a request any more: the server is told, and a late answer is dropped.
    fn cancel(self: &Arc<Self>, id: &Id) {
        if self.state().running.remove(id).is_none() || self.is_closed() {
            return;
        }
        let (connection, id) = (self.clone(), id.clone());
        self.handle.spawn(async move {
            let is_http = matches!(connection.transport, Transport::Http(_));
            if !(is_http && connection.is_modern()) {
                let params = format!(
                    r#"{{"requestId":{},"reason":"the client cancelled it"}}"#,
                    id.as_json()
                );
                let params = Json::parse(params);
                let _gone = connection.notify("notifications/cancelled", params.as_ref()).await;
            }
            connection.transport.abandon(&id);
        });
    }

    fn plain(&self, text: String) -> Outgoing {
        Outgoing { text, request: None, headers: HeaderMap::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request of the modern era says in its headers too.
/// <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports>
fn modern_headers(
    headers: &mut HeaderMap,
    method: &str,
    params: Option<&Json>,
    revision: Revision,
) {
    let mut add = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    let version = params.and_then(|params| edit::text(params, &["_meta", META_VERSION]));
    add("mcp-protocol-version", version.as_deref().unwrap_or(revision.as_str()));
    add("mcp-method", method);
    if let Some(name) = params.and_then(|params| header::name_of(method, params)) {
        add("mcp-name", &header::encode_name(&name));
    }
}

/// A notification's kind, where it is about no request.
fn news_of(notification: &Notification) -> Option<News> {
    Some(match notification.method.as_str() {
        "notifications/tools/list_changed" => News::ToolsChanged,
        "notifications/prompts/list_changed" => News::PromptsChanged,
        "notifications/resources/list_changed" => News::ResourcesChanged,
        "notifications/resources/updated" => News::ResourceUpdated(notification.params.clone()?),
        _ => return None,
    })
}
