//! What a server asks on the way: of the gateway, where its entry says so, else of the client who caused it, and never of
//! another. A client that cannot answer is not asked.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};

use super::ask::{Asker, Out, Outbox};
use super::session::Session;
use crate::config::snapshot::{Key, McpServer};
use crate::conversation::Json;
use crate::ground::names;
use crate::ground::trace::Carrier;
use crate::mcp::connection::Connection;
use crate::mcp::traced::Within;
use crate::mcp::{Mcp, roots};
use crate::wire::mcp::edit;
use crate::wire::mcp::error::{INTERNAL_ERROR, METHOD_NOT_FOUND, RpcError};
use crate::wire::mcp::message::{Id, Notification, Outcome, Request, notification};

/// How long a person may think.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// Questions that a server may have open in one call.
const MAX_OPEN: usize = 64;
/// What it may ask in one call at all.
const MAX: usize = 1000;

/// What a server asked in one call. Dropped, what is this call's own is asked no more.
#[derive(Default)]
pub(super) struct Questions {
    pub(super) open: JoinSet<()>,
    /// By the server's ids.
    by_id: HashMap<Id, AbortHandle>,
    count: usize,
}

impl Questions {
    /// Whether it may ask one more, which is counted.
    pub(super) fn admit(&mut self) -> bool {
        self.count += 1;
        self.count <= MAX && self.open.len() < MAX_OPEN
    }

    /// Begins one that ends with the call.
    pub(super) fn begin(&mut self, id: Id, answering: impl Future<Output = ()> + Send + 'static) {
        let handle = self.open.spawn(answering);
        self.by_id.insert(id, handle);
    }

    /// One has begun that may be another call's, and outlives this one.
    pub(super) fn note(&mut self, id: Id, handle: AbortHandle) {
        self.by_id.insert(id, handle);
    }

    /// The server does not want an answer any more.
    pub(super) fn cancel(&mut self, it: &Notification) {
        let id = it.params.as_ref().and_then(|params| edit::get(params, &["requestId"]));
        let id = id.and_then(|id| Id::of_json(id.get()));
        if let Some(asking) = id.and_then(|id| self.by_id.remove(&id)) {
            asking.abort();
        }
    }
}

/// Answers `sampling/createMessage` with the gateway's own models. `model`: a name of the configuration; `key`: within whose
/// limits; `trace`: what it is done for; `params`: those of the request. Gives its result.
pub trait Sampler: Send + Sync {
    fn sample(
        &self,
        model: &str,
        key: Option<Arc<Key>>,
        trace: Option<Carrier>,
        params: Json,
    ) -> Answering;
}

/// An answer that is on its way.
pub type Answering = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The gateway's own answer, where it is the one to give it: roots that the entry lists, and sampling by a model where the
/// client has none.
pub(super) fn by_gateway(
    mcp: &Mcp,
    asker: &Asker,
    server: &McpServer,
    request: &Request,
) -> Option<Answering> {
    if let Some(outcome) = roots::answer(server, request) {
        return Some(Box::pin(async { outcome }));
    }
    let model = server.sampling_model.as_ref()?;
    if request.method != "sampling/createMessage" || can(&asker.capabilities, "sampling") {
        return None;
    }
    let sampler = mcp.sampler()?;
    let params = request.params.clone().unwrap_or_else(Json::empty_object);
    let trace = asker.trace.as_ref().map(Within::carrier);
    Some(sampler.sample(model, asker.key.clone(), trace, params))
}

/// Whether a client with these capabilities said that it can answer.
///
/// # Errors
/// What the server is told otherwise.
pub(in crate::mcp) fn may_be_asked(capabilities: &Json, request: &Request) -> Result<(), RpcError> {
    let capability = match request.method.as_str() {
        "sampling/createMessage" => "sampling",
        "elicitation/create" => "elicitation",
        "roots/list" => "roots",
        _ => return Ok(()),
    };
    if can(capabilities, capability) {
        return Ok(());
    }
    let text = format!(
        "The client cannot answer `{}`: it has no capability `{capability}`.",
        names::shown(&request.method)
    );
    Err(RpcError::new(METHOD_NOT_FOUND, text))
}

fn can(capabilities: &Json, capability: &str) -> bool {
    edit::get(capabilities, &[capability]).is_some()
}

/// Asks a client with a session, on the stream of the request that caused it. `of`: the connection of the server that asks,
/// where that can hear of progress.
pub(in crate::mcp) async fn ask(
    session: &Arc<Session>,
    request: &Request,
    of: Option<&Arc<Connection>>,
    outbox: &Outbox,
) -> Option<Asking> {
    let asked = session.ask(&request.method, request.params.as_ref(), of, Some(outbox)).await;
    let (id, answered) = asked?;
    Some(Asking { session: session.clone(), id, outbox: outbox.clone(), answered, is_over: false })
}

/// The answer to a question, where it could be asked.
pub(in crate::mcp) async fn answered(asking: Option<Asking>) -> Outcome {
    let Some(mut asking) = asking else { return Err(gone()) };
    match tokio::time::timeout(PATIENCE, &mut asking.answered).await {
        Ok(Ok(outcome)) => {
            asking.is_over = true;
            outcome
        }
        Ok(Err(_)) => Err(gone()),
        Err(_) => Err(RpcError::new(INTERNAL_ERROR, "The client did not answer in time.")),
    }
}

fn gone() -> RpcError {
    RpcError::new(INTERNAL_ERROR, "The client is gone, or is asked too much already.")
}

/// A question that is open. Dropped, it tells the client that nobody waits any more.
pub(in crate::mcp) struct Asking {
    session: Arc<Session>,
    id: Id,
    outbox: Outbox,
    answered: oneshot::Receiver<Outcome>,
    is_over: bool,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.session.forget(&self.id);
        let params = format!(
            r#"{{"requestId":{},"reason":"the call it was asked for is over"}}"#,
            self.id.as_json()
        );
        let text = notification("notifications/cancelled", Json::parse(params).as_ref());
        let _nobody_waits = self.outbox.try_send(Out::Message(text));
    }
}
