//! What clients want of a server beside answers, told to a connection whenever it changes: subscriptions, the log level, and
//! in the newest era the stream of changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use serde_json::json;
use tokio::sync::oneshot;

use super::attend::{FETCH_EVERY, GATHER};
use super::catalogue::KINDS;
use super::slot::Slot;
use crate::conversation::Json;
use crate::mcp::connection::{Connection, Event, Owner};
use crate::mcp::era;

/// How long a server may take to hear of a subscription or a log level.
const TELL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a new stream of changes may take to open before the one before it is closed.
const OPENING: Duration = Duration::from_secs(1);
/// The longest pause before a stream of changes that ends again and again is opened anew; one that lived longer is well.
const LISTEN_AGAIN: Duration = Duration::from_secs(30);

/// Tells subscriptions and the log level, whenever they change. Beside the lists, which do not wait for a server that is
/// slow to take them.
pub(super) async fn tell_wishes(slot: Arc<Slot>, connection: Arc<Connection>) {
    let mut told = Told::default();
    loop {
        slot.wishing.notified().await;
        tokio::time::sleep(GATHER).await;
        let wished = slot.wished();
        told.tell(&slot, &connection).await;
        slot.told.send_replace(wished);
    }
}

/// What a connection has been told.
#[derive(Default)]
struct Told {
    subscriptions: Vec<String>,
    log_level: Option<String>,
    /// The stream of changes, in the newest era.
    listening: Option<Listening>,
}

/// The task that keeps the stream of changes open; it ends with this.
struct Listening(tokio::task::JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Told {
    async fn tell(&mut self, slot: &Arc<Slot>, connection: &Arc<Connection>) {
        let (subscriptions, log_level) = {
            let wishes = slot.wishes();
            let uris: Vec<String> = wishes.subscriptions.keys().cloned().collect();
            (uris, wishes.log_level.clone())
        };
        if connection.is_modern() {
            if self.listening.is_none() || subscriptions != self.subscriptions {
                self.listen(slot, connection, &subscriptions).await;
            }
            self.subscriptions = subscriptions;
            return;
        }
        slot.hears.send_replace(true);
        if log_level != self.log_level && connection.peer().has(&["logging"]) {
            if let Some(level) = &log_level {
                ask(slot, connection, "logging/setLevel", &json!({ "level": level })).await;
            }
            self.log_level = log_level;
        }
        for uri in subscriptions.iter().filter(|uri| !self.subscriptions.contains(uri)) {
            ask(slot, connection, "resources/subscribe", &json!({ "uri": uri })).await;
        }
        for uri in self.subscriptions.iter().filter(|uri| !subscriptions.contains(uri)) {
            ask(slot, connection, "resources/unsubscribe", &json!({ "uri": uri })).await;
        }
        self.subscriptions = subscriptions;
    }

    /// Opens the stream of changes anew; the one before stays until this one is open, so that nothing is missed.
    /// <https://modelcontextprotocol.io/specification/2026-07-28/basic/utilities/subscriptions>
    async fn listen(&mut self, slot: &Arc<Slot>, connection: &Arc<Connection>, uris: &[String]) {
        let peer = connection.peer();
        let mut filter = serde_json::Map::new();
        for (capability, name) in [
            ("tools", "toolsListChanged"),
            ("prompts", "promptsListChanged"),
            ("resources", "resourcesListChanged"),
        ] {
            if peer.has(&[capability, "listChanged"]) {
                filter.insert(name.into(), true.into());
            }
        }
        if !uris.is_empty() && peer.has(&["resources", "subscribe"]) {
            filter.insert("resourceSubscriptions".into(), json!(uris));
        }
        let before = self.listening.take();
        if filter.is_empty() {
            slot.hears.send_replace(true);
            return;
        }
        let params = Json::of(&json!({ "notifications": filter }));
        let params = era::modern(Some(params), &slot.identity, peer.revision);
        let (slot, connection) = (slot.clone(), connection.clone());
        let (open, opened) = oneshot::channel::<()>();
        let mut open = Some(open);
        self.listening = Some(Listening(tokio::spawn(async move {
            let mut pause = FETCH_EVERY;
            loop {
                let began = Instant::now();
                let method = "subscriptions/listen";
                let asked =
                    connection.call(method, Some(params.clone()), Owner::Gateway, HeaderMap::new());
                let Ok(mut exchange) = asked.await else { return };
                // Changes are news of the connection; here only the beginning and the end are heard.
                let refused = loop {
                    match exchange.next().await {
                        Event::Notification(_) => {
                            slot.hears.send_replace(true);
                            drop(open.take());
                        }
                        Event::Request { .. } => {}
                        Event::Answer(outcome) => break outcome.err(),
                        Event::Lost(_) => break None,
                    }
                };
                if let Some(error) = refused {
                    tracing::debug!(
                        server = slot.name,
                        error = error.message(),
                        "the server tells no changes"
                    );
                    slot.hears.send_replace(true);
                    return;
                }
                if began.elapsed() > LISTEN_AGAIN {
                    pause = FETCH_EVERY;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LISTEN_AGAIN);
                // What changed in between was not told.
                KINDS.into_iter().for_each(|kind| slot.mark_stale(kind, false));
                slot.duties.notify_one();
            }
        })));
        let _open_or_late = tokio::time::timeout(OPENING, opened).await;
        drop(before);
    }
}

/// Asks for something whose answer says nothing.
async fn ask(slot: &Slot, connection: &Arc<Connection>, method: &str, params: &serde_json::Value) {
    let params = Some(Json::of(params));
    let asked = async {
        let exchange = connection.call(method, params, Owner::Gateway, HeaderMap::new()).await?;
        exchange.end().await
    };
    match tokio::time::timeout(TELL_TIMEOUT, asked).await {
        Ok(Ok(Ok(_))) => {}
        Err(_) => tracing::debug!(server = slot.name, method, "not answered in time"),
        Ok(Ok(Err(error))) => {
            tracing::debug!(server = slot.name, method, error = error.message(), "refused");
        }
        Ok(Err(failure)) => tracing::debug!(server = slot.name, method, %failure, "not answered"),
    }
}
