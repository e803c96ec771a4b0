//! Dealing what a server sends to the requests it belongs to. The rules stand in one order: an answer by its id; then the
//! stream that brought it; then what the message itself names (a subscription, a progress token); then the only client
//! that has anything running. What is left is news, and a question that is left is refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Connection, Event, News, Owner, news_of};
use crate::conversation::Json;
use crate::mcp::transport::{Failure, FailureKind, Incoming};
use crate::wire::mcp::edit;
use crate::wire::mcp::error::{INTERNAL_ERROR, METHOD_NOT_FOUND, RpcError};
use crate::wire::mcp::message::{Answer, Id, Message, Notification, Request};
use crate::wire::mcp::revision::META_SUBSCRIPTION;

/// Messages that are none, one after the other, until the connection is closed.
const MAX_GARBAGE: u32 = 1000;

/// Deals everything that comes, until the connection is over.
pub(super) async fn run(connection: Arc<Connection>, mut incoming: mpsc::Receiver<Incoming>) {
    let mut garbage = 0;
    let mut closed = connection.closed.subscribe();
    loop {
        let next = tokio::select! {
            next = incoming.recv() => next,
            _ = closed.wait_for(Option::is_some) => return,
        };
        match next {
            None => {
                let text = "the server closed the connection";
                return connection.end(&Failure::new(FailureKind::Lost, text));
            }
            Some(Incoming::Closed(failure)) => return connection.end(&failure),
            Some(Incoming::Lost { of, failure }) => connection.lose(&of, failure),
            Some(Incoming::Message { of, text }) => {
                if let Err(failure) = connection.deal(of, &text, &mut garbage) {
                    connection.end(&failure);
                    return connection.transport.close().await;
                }
            }
        }
    }
}

impl Connection {
    fn lose(&self, id: &Id, failure: Failure) {
        let running = self.state().running.remove(id);
        if let Some(running) = running {
            let _nobody_waits = running.done.send(Err(failure));
        }
    }

    fn deal(
        self: &Arc<Self>,
        of: Option<Id>,
        text: &Bytes,
        garbage: &mut u32,
    ) -> Result<(), Failure> {
        match Message::read(text) {
            // Some servers log in JSON on the same pipe: only nothing but garbage is too much of it.
            Ok(message) => {
                *garbage = 0;
                self.deal_message(of, message);
            }
            // A batch of revision 2025-03-26.
            Err(_) => match Message::read_batch(text) {
                Some(messages) if !messages.is_empty() => {
                    for message in messages.into_iter().flatten() {
                        self.deal_message(of.clone(), message);
                    }
                }
                _ => {
                    *garbage += 1;
                    if *garbage > MAX_GARBAGE {
                        let text = "the server sends what are no JSON-RPC messages";
                        return Err(Failure::new(FailureKind::Garbage, text));
                    }
                }
            },
        }
        Ok(())
    }

    fn deal_message(self: &Arc<Self>, of: Option<Id>, message: Message) {
        match message {
            Message::Answer(Answer { id, outcome }) => {
                // An answer without an id is about the request whose stream brought it, if one did.
                let Some(id) = id.or(of) else { return };
                let running = self.state().running.remove(&id);
                if let Some(running) = running {
                    if running.owner != Owner::Gateway {
                        self.has_served.store(true, Ordering::Relaxed);
                    }
                    let _nobody_waits = running.done.send(Ok(outcome));
                }
            }
            Message::Notification(notification) => self.deal_notification(of, notification),
            Message::Request(request) => self.deal_request(of, request),
        }
    }

    fn deal_notification(&self, of: Option<Id>, mut notification: Notification) {
        if let Some(news) = news_of(&notification) {
            return self.tell(news);
        }
        let params = notification.params.as_ref();
        let named = |path: &[&str]| Id::of_json(edit::get(params?, path)?.get());
        let is_progress = notification.method == "notifications/progress";
        if is_progress {
            // The token is the request's id; what names another is about a request that is over.
            let Some(id) = named(&["progressToken"]) else { return };
            let token = self.state().running.get(&id).and_then(|running| running.token.clone());
            let (Some(token), Some(params)) = (token, params) else { return };
            let params = edit::set(params, &["progressToken"], token.as_str());
            notification.params = Some(params);
            return self.note(&id, Event::Notification(notification));
        }
        let subscription = named(&["_meta", META_SUBSCRIPTION]);
        match of.or(subscription).or_else(|| self.only_client()) {
            Some(id) => self.note(&id, Event::Notification(notification)),
            None if notification.method == "notifications/message" => {
                if let Some(params) = notification.params {
                    self.tell(News::Log(params));
                }
            }
            None => {}
        }
    }

    fn deal_request(self: &Arc<Self>, of: Option<Id>, request: Request) {
        if request.method == "ping" {
            return self.respond_later(request.id, Ok(Json::empty_object()));
        }
        let is_its_own = of.is_some();
        match of.or_else(|| self.only_client()) {
            Some(id) => {
                let note = self.state().running.get(&id).map(|running| running.notes.clone());
                let refused = match note {
                    Some(notes) => notes.try_send(Event::Request { request, is_its_own }).err(),
                    None => return self.refuse(request.id, "the request it is about is over"),
                };
                if let Some(error) = refused
                    && let Event::Request { request, .. } = error.into_inner()
                {
                    self.refuse(request.id, "too much is asked of the client at once");
                }
            }
            None => {
                if let Err(error) = self.news.try_send(News::Request(request))
                    && let News::Request(request) = error.into_inner()
                {
                    self.refuse(request.id, "too much is asked at once");
                }
            }
        }
    }

    /// Answers a question that no client can be asked.
    pub fn refuse_question(self: &Arc<Self>, id: Id, method: &str) {
        let text = format!(
            "The gateway cannot tell which client `{method}` is for; `sharing: per_session` in the server's entry \
             gives each client a connection of its own."
        );
        self.respond_later(id, Err(RpcError::new(METHOD_NOT_FOUND, text)));
    }

    fn refuse(self: &Arc<Self>, id: Id, why: &str) {
        self.respond_later(id, Err(RpcError::new(INTERNAL_ERROR, why)));
    }

    /// Answers without holding up what comes. A server that asks and asks and does not read the answers gets no more of
    /// them.
    pub fn respond_later(self: &Arc<Self>, id: Id, outcome: crate::wire::mcp::message::Outcome) {
        let Ok(owed) = self.owed.clone().try_acquire_owned() else {
            return tracing::debug!("an answer to the server was dropped: it reads none");
        };
        let connection = self.clone();
        self.handle.spawn(async move {
            if let Err(failure) = connection.respond(&id, &outcome).await {
                tracing::debug!(%failure, "an answer to the server did not arrive");
            }
            drop(owed);
        });
    }

    /// Something about a running request; dropped where its client does not keep up.
    fn note(&self, id: &Id, event: Event) {
        let notes = self.state().running.get(id).map(|running| running.notes.clone());
        if let Some(notes) = notes
            && notes.try_send(event).is_err()
        {
            tracing::debug!("a message about a request was dropped: its client does not keep up");
        }
    }

    fn tell(&self, news: News) {
        if self.news.try_send(news).is_err() {
            tracing::debug!("news of a server were dropped: too many at once");
        }
    }

    /// The latest request of the only client that has any running; `None` where several have, or none. Behind one key
    /// there may be several clients, so there it has to be the only request beside those that wait for an answer.
    fn only_client(&self) -> Option<Id> {
        let state = self.state();
        let of_clients = state.running.iter().filter(|(_, it)| it.owner != Owner::Gateway);
        let running: Vec<_> = of_clients.collect();
        let owner = &running.first()?.1.owner;
        if running.iter().any(|(_, other)| other.owner != *owner) {
            return None;
        }
        let awake = running.iter().filter(|(_, it)| !it.is_parked).map(|(id, _)| *id);
        if matches!(owner, Owner::Key(_)) && awake.clone().count() > 1 {
            return None;
        }
        // Ids are numbers: the longer is the greater.
        awake.max_by_key(|id| (id.as_json().len(), id.as_json())).cloned()
    }
}
