//! What a server asks on the way: of the gateway, where its entry says so, else of the client who caused it, and never of
//! another. A client that cannot answer is not asked.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use super::ask::{Asker, Out, Outbox};
use super::session::Session;
use crate::config::snapshot::{Key, McpServer};
use crate::conversation::Json;
use crate::ground::names;
use crate::mcp::{Mcp, roots};
use crate::wire::mcp::edit;
use crate::wire::mcp::error::{INTERNAL_ERROR, METHOD_NOT_FOUND, RpcError};
use crate::wire::mcp::message::{Id, Notification, Outcome, Request, notification};

/// How long a person may think.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// What a server may ask in one call.
pub(super) const MAX: usize = 100;

/// What a server asked in one call. Dropped, nobody is asked any more.
#[derive(Default)]
pub(super) struct Questions {
    pub(super) open: JoinSet<()>,
    /// By the server's ids.
    by_id: HashMap<Id, AbortHandle>,
    pub(super) count: usize,
}

impl Questions {
    pub(super) fn begin(&mut self, id: Id, answering: impl Future<Output = ()> + Send + 'static) {
        let handle = self.open.spawn(answering);
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
/// limits; `params`: those of the request. Gives its result.
pub trait Sampler: Send + Sync {
    fn sample(&self, model: &str, key: Option<Arc<Key>>, params: Json) -> Answering;
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
    Some(sampler.sample(model, asker.key.clone(), params))
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

/// Asks a client with a session, on the stream of the request that caused it. Dropped, it tells the client that nobody
/// waits any more.
pub(in crate::mcp) async fn ask(
    session: &Arc<Session>,
    request: &Request,
    outbox: &Outbox,
) -> Outcome {
    let asked = session.ask(&request.method, request.params.as_ref(), Some(outbox)).await;
    let Some((id, answered)) = asked else { return Err(gone()) };
    let mut asking = Asking { session, id, outbox, is_over: false };
    let outcome = tokio::time::timeout(PATIENCE, answered).await;
    match outcome {
        Ok(Ok(outcome)) => {
            asking.is_over = true;
            outcome
        }
        Ok(Err(_)) => Err(gone()),
        Err(_) => Err(RpcError::new(INTERNAL_ERROR, "The client did not answer in time.")),
    }
}

fn gone() -> RpcError {
    RpcError::new(INTERNAL_ERROR, "The client is gone.")
}

/// A question that is open.
struct Asking<'a> {
    session: &'a Arc<Session>,
    id: Id,
    outbox: &'a Outbox,
    is_over: bool,
}

impl Drop for Asking<'_> {
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
