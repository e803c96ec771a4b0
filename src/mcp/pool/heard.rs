//! What a server says that is about no request: lists are to be fetched, resources are told of together, and a question is
//! asked of the only client there can be, or of nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::attend::GATHER;
use super::catalogue::Kind;
use super::slot::Slot;
use super::{Change, Changed};
use crate::conversation::Json;
use crate::mcp::connection::{Connection, News};
use crate::mcp::roots;
use crate::mcp::serve::questions;
use crate::wire::mcp::edit;
use crate::wire::mcp::error::{INTERNAL_ERROR, RpcError};
use crate::wire::mcp::message::Request;

/// Questions of a server that no request caused, open at once.
const MAX_QUESTIONS: usize = 16;

/// What was heard of a server that is about no request.
pub(super) struct Heard {
    /// Resources that changed and are not told of yet, with the notification's params.
    updated: BTreeMap<String, Json>,
    /// When they are.
    at: tokio::time::Instant,
    /// Questions that may be open at once.
    questions: Arc<Semaphore>,
}

impl Default for Heard {
    fn default() -> Self {
        let at = tokio::time::Instant::now();
        Self { updated: BTreeMap::new(), at, questions: Arc::new(Semaphore::new(MAX_QUESTIONS)) }
    }
}

impl Heard {
    /// Returns when resources are to be told of.
    pub(super) async fn gathered(&self) {
        match self.updated.is_empty() {
            true => std::future::pending().await,
            false => tokio::time::sleep_until(self.at).await,
        }
    }

    /// Tells of resources, all at once: so many changes are one for who hears of all servers.
    pub(super) fn tell(&mut self, slot: &Slot) {
        let updated: Vec<_> = std::mem::take(&mut self.updated).into_iter().collect();
        let _nobody = slot.changes.send(Change::of(slot, Changed::Updated(Arc::new(updated))));
    }

    pub(super) fn hear(&mut self, slot: &Arc<Slot>, connection: &Arc<Connection>, news: News) {
        let stale = |kinds: &[Kind]| {
            kinds.iter().for_each(|kind| slot.mark_stale(*kind, true));
            slot.duties.notify_one();
        };
        match news {
            News::ToolsChanged => stale(&[Kind::Tools]),
            News::PromptsChanged => stale(&[Kind::Prompts]),
            News::ResourcesChanged => stale(&[Kind::Resources, Kind::Templates]),
            News::ResourceUpdated(params) => {
                let Some(uri) = edit::text(&params, &["uri"]) else { return };
                // Of what nobody subscribed to nobody is told.
                if slot.wishes().subscriptions.contains_key(&uri) {
                    if self.updated.is_empty() {
                        self.at = tokio::time::Instant::now() + GATHER;
                    }
                    self.updated.insert(uri, params);
                }
            }
            News::Other(notification) => {
                if let Some(session) = slot.session() {
                    session.tell(&notification);
                }
            }
            News::Request(request) => self.ask(slot, connection, request),
        }
    }

    /// The server asks, and no request says whom: the only client there can be, or nobody.
    fn ask(&self, slot: &Slot, connection: &Arc<Connection>, request: Request) {
        if let Some(outcome) = roots::answer(&slot.server(), &request) {
            return connection.respond_later(request.id, outcome);
        }
        let Some(session) = slot.session() else {
            return connection.refuse_question(request.id, &request.method);
        };
        if let Err(error) = questions::may_be_asked(&session.capabilities, &request) {
            return connection.respond_later(request.id, Err(error));
        }
        let Ok(room) = self.questions.clone().try_acquire_owned() else {
            let error = RpcError::new(INTERNAL_ERROR, "too much is asked of the client at once");
            return connection.respond_later(request.id, Err(error));
        };
        let connection = connection.clone();
        tokio::spawn(async move {
            let asked = async {
                let of = Some(&connection);
                let asking = questions::ask(&session, &request, of, &session.common).await;
                questions::answered(asking).await
            };
            let outcome = tokio::select! {
                outcome = asked => outcome,
                () = session.ended.cancelled() => return,
                _ = connection.closed() => return,
            };
            connection.respond_later(request.id, outcome);
            drop(room);
        });
    }
}
