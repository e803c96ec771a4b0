//! What a server asks on the way: of the gateway, where its entry says so, else of the client who caused it, and never of
//! another. A client that cannot answer is not asked.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::ask::{Asker, Out, Outbox};
use super::session::Session;
use crate::config::snapshot::{Key, McpServer};
use crate::conversation::Json;
use crate::ground::names;
use crate::mcp::connection::Connection;
use crate::mcp::{Mcp, roots};
use crate::wire::mcp::edit;
use crate::wire::mcp::error::{INTERNAL_ERROR, METHOD_NOT_FOUND, RpcError};
use crate::wire::mcp::message::{Id, Outcome, Request, notification};

/// How long a person may think.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

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
    if request.method != "sampling/createMessage" || can(asker, "sampling") {
        return None;
    }
    let sampler = mcp.sampler()?;
    let params = request.params.clone().unwrap_or_else(Json::empty_object);
    Some(sampler.sample(model, asker.key.clone(), params))
}

/// Whether the client said that it can answer.
///
/// # Errors
/// What the server is told otherwise.
pub(super) fn may_be_asked(asker: &Asker, request: &Request) -> Result<(), RpcError> {
    let capability = match request.method.as_str() {
        "sampling/createMessage" => "sampling",
        "elicitation/create" => "elicitation",
        "roots/list" => "roots",
        _ => return Ok(()),
    };
    if can(asker, capability) {
        return Ok(());
    }
    let text = format!(
        "The client cannot answer `{}`: it has no capability `{capability}`.",
        names::shown(&request.method)
    );
    Err(RpcError::new(METHOD_NOT_FOUND, text))
}

fn can(asker: &Asker, capability: &str) -> bool {
    edit::get(&asker.capabilities, &[capability]).is_some()
}

/// Asks a client with a session, on the stream of the request that caused it. `of`: the connection of the server that asks,
/// where that can hear of progress.
pub(super) async fn ask(
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
pub(super) async fn answered(asking: Option<Asking>) -> Outcome {
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
pub(super) struct Asking {
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
