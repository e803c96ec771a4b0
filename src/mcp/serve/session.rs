//! A client's session, in the era that has them: who it belongs to, what its client can do, what it was asked and has
//! not answered yet, what it wants to hear of.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::ask::{Out, Outbox};
use crate::conversation::Json;
use crate::ground::secret::KeyHash;
use crate::wire::mcp::message::{Id, Outcome, request};
use crate::wire::mcp::revision::Revision;

/// One session.
pub struct Session {
    /// 256 bits, as text.
    pub id: String,
    /// The key it was opened with; another's sees nothing of it. `None`: the master key, or none.
    pub key: Option<KeyHash>,
    pub revision: Revision,
    /// The client's capabilities, as it sent them.
    pub capabilities: Json,
    pub client_info: Json,
    /// What goes to the client beside any request: its common stream takes from here. Bounded; what does not fit is
    /// dropped, and lists can be asked for.
    pub common: mpsc::Sender<Out>,
    /// Rings when the session is over: deleted, expired, or its connection is gone. Its requests have been cancelled.
    pub ended: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts the requests to the client.
    asked: u64,
    /// Requests to the client that it has not answered.
    waiting: HashMap<Id, oneshot::Sender<Outcome>>,
    /// The least severe log messages that the client wants: `logging/setLevel`.
    log_level: Option<String>,
    /// Resources that the client subscribed to, by the URI it knows.
    subscriptions: HashSet<String>,
}

impl Session {
    pub fn new(
        id: String,
        key: Option<KeyHash>,
        revision: Revision,
        capabilities: Json,
        client_info: Json,
        common: mpsc::Sender<Out>,
    ) -> Self {
        let (ended, state) = (CancellationToken::new(), Mutex::default());
        Self { id, key, revision, capabilities, client_info, common, ended, state }
    }

    /// Asks the client something, on the stream of the request that it is about where there is one. Gives where the answer
    /// will come; `None` where the client is gone.
    pub async fn ask(
        &self,
        method: &str,
        params: Option<&Json>,
        via: Option<&Outbox>,
    ) -> Option<(Id, oneshot::Receiver<Outcome>)> {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut state = self.state();
            state.asked += 1;
            let id = Id::text(&format!("tidegate-{}", state.asked));
            state.waiting.insert(id.clone(), answer);
            id
        };
        let message = Out::Message(request(&id, method, params));
        let sent = via.unwrap_or(&self.common).send(message).await;
        if sent.is_err() {
            self.forget(&id);
            return None;
        }
        Some((id, answered))
    }

    /// The client answered a request of ours; an unknown id is passed over.
    pub fn answered(&self, id: &Id, outcome: Outcome) {
        let waiting = self.state().waiting.remove(id);
        if let Some(waiting) = waiting {
            let _nobody_waits = waiting.send(outcome);
        }
    }

    /// Nobody waits for the answer any more.
    pub fn forget(&self, id: &Id) {
        self.state().waiting.remove(id);
    }

    pub fn log_level(&self) -> Option<String> {
        self.state().log_level.clone()
    }

    pub fn set_log_level(&self, level: String) {
        self.state().log_level = Some(level);
    }

    pub fn subscribe(&self, uri: String) -> bool {
        self.state().subscriptions.insert(uri)
    }

    pub fn unsubscribe(&self, uri: &str) -> bool {
        self.state().subscriptions.remove(uri)
    }

    pub fn is_subscribed(&self, uri: &str) -> bool {
        self.state().subscriptions.contains(uri)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
