//! A client's session, in the era that has them: who it belongs to, what its client can do, what it was asked and has
//! not answered yet, what it wants to hear of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::ask::{Out, Outbox};
use crate::conversation::Json;
use crate::ground::secret::KeyHash;
use crate::mcp::connection::Connection;
use crate::mcp::pool::SlotKey;
use crate::mcp::pool::slot::{Slot, severity};
use crate::wire::mcp::edit;
use crate::wire::mcp::message::{Id, Outcome, notification, request};
use crate::wire::mcp::revision::Revision;

/// Questions that a client may have open.
const MAX_QUESTIONS: usize = 256;

/// Where the params of a request say under which token its progress is told.
const TOKEN: [&str; 2] = ["_meta", "progressToken"];

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
    waiting: HashMap<Id, Waiting>,
    /// The least severe log messages that the client wants: `logging/setLevel`.
    log_level: Option<String>,
    /// Resources that the client subscribed to, by the URI it knows, with the server's.
    subscriptions: HashMap<String, (Arc<Slot>, String)>,
}

/// A request to the client that it has not answered.
struct Waiting {
    answer: oneshot::Sender<Outcome>,
    progress: Option<Progress>,
}

/// Who wants to hear how an answer of the client gets on, and the token it gave for that.
#[derive(Clone)]
pub struct Progress {
    pub connection: Arc<Connection>,
    pub token: Json,
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
    /// will come; `None` where the client is gone, or has too many to answer. `of`: the connection of the server that asks, which hears of progress
    /// if it gave a token: two servers may give the same one, so the client gets the request's id instead.
    pub async fn ask(
        &self,
        method: &str,
        params: Option<&Json>,
        of: Option<&Arc<Connection>>,
        via: Option<&Outbox>,
    ) -> Option<(Id, oneshot::Receiver<Outcome>)> {
        let (answer, answered) = oneshot::channel();
        let token = params.and_then(|params| edit::get(params, &TOKEN)).map(Json::of_raw);
        let progress = of
            .zip(token)
            .map(|(connection, token)| Progress { connection: connection.clone(), token });
        let has_token = progress.is_some();
        let id = {
            let mut state = self.state();
            if state.waiting.len() >= MAX_QUESTIONS {
                return None;
            }
            state.asked += 1;
            let id = Id::text(&format!("tidegate-{}", state.asked));
            state.waiting.insert(id.clone(), Waiting { answer, progress });
            id
        };
        let own =
            params.filter(|_| has_token).map(|params| edit::set(params, &TOKEN, id.as_json()));
        let message = Out::Message(request(&id, method, own.as_ref().or(params)));
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
            let _nobody_waits = waiting.answer.send(outcome);
        }
    }

    /// Who hears of the progress that the client tells under a token of ours; `None` where nobody does any more.
    pub fn progress(&self, token: &Id) -> Option<Progress> {
        self.state().waiting.get(token)?.progress.clone()
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

    /// The client wants to hear of a resource of a server, whose own name for it is `own`.
    pub fn subscribe(&self, uri: String, slot: &Arc<Slot>, own: String) {
        slot.subscribe(&own);
        let before = self.state().subscriptions.insert(uri, (slot.clone(), own));
        if let Some((slot, own)) = before {
            slot.unsubscribe(&own);
        }
    }

    pub fn unsubscribe(&self, uri: &str) {
        let before = self.state().subscriptions.remove(uri);
        if let Some((slot, own)) = before {
            slot.unsubscribe(&own);
        }
    }

    /// The names by which the client subscribed to a server's resource.
    pub fn subscribed_as(&self, slot: &SlotKey, own: &str) -> Vec<String> {
        let state = self.state();
        let named = state.subscriptions.iter();
        let named = named.filter(|(_, (there, known))| there.key() == *slot && known == own);
        named.map(|(uri, _)| uri.clone()).collect()
    }

    /// A log message that no request caused: for the common stream, if the client wants it.
    pub fn tell_log(&self, params: &Json) {
        let level = edit::text(params, &["level"]).unwrap_or_default();
        if self.log_level().is_some_and(|wanted| severity(&level) < severity(&wanted)) {
            return;
        }
        let text = notification("notifications/message", Some(params));
        let _full = self.common.try_send(Out::Message(text));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let subscriptions = std::mem::take(&mut self.state().subscriptions);
        for (slot, own) in subscriptions.into_values() {
            slot.unsubscribe(&own);
        }
    }
}
