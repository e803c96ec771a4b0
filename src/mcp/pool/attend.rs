//! What a connection owes its server and its clients while it is up: lists that are fetched when they changed, subscriptions
//! and the log level that are told. What keeps the connection itself is not known here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::HeaderMap;
use serde_json::json;
use tokio::sync::oneshot;

use super::catalogue::{self, KINDS, Kind};
use super::slot::Slot;
use super::{Change, Changed};
use crate::conversation::Json;
use crate::mcp::connection::{Connection, Event, Owner};
use crate::mcp::era;
use crate::mcp::transport::{Failure, FailureKind};
use crate::wire::mcp::hidden;

/// Changes that come together are told once.
const GATHER: Duration = Duration::from_millis(20);
/// Lists of a server are not fetched more often, however often it says that they changed.
const FETCH_EVERY: Duration = Duration::from_millis(250);
/// Nor that often, where they turn out to be the same again and again.
const FETCH_SELDOM: Duration = Duration::from_secs(5);
/// How long a server may take for what is told it by the way.
const TELLING: Duration = Duration::from_secs(10);
/// How long a new stream of changes may take to open before the one before it is closed.
const OPENING: Duration = Duration::from_secs(1);
/// Tools whose hidden characters are told of, of one list.
const MAX_WARNINGS: usize = 10;
/// Characters of a server's own words in the log.
const MAX_SHOWN: usize = 500;

/// Does what the connection owes: fetches lists, tells subscriptions and the log level. A list that does not come holds up
/// no other.
pub(super) async fn run(slot: Arc<Slot>, connection: Arc<Connection>) {
    let mut told = Told::default();
    let mut paces: HashMap<Kind, Pace> = HashMap::new();
    let mut fetching = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = slot.duties.notified() => {
                tokio::time::sleep(GATHER).await;
                let wished = slot.wished();
                told.tell(&slot, &connection).await;
                slot.told.send_replace(wished);
            }
            Some((kind, is_new)) = fetching.next(), if !fetching.is_empty() => {
                paces.entry(kind).or_default().fetched(is_new);
            }
        }
        for kind in slot.stale() {
            let pace = paces.entry(kind).or_default();
            if std::mem::replace(&mut pace.is_busy, true) {
                continue;
            }
            let (slot, connection, pause) = (&slot, &connection, pace.left());
            fetching.push(async move {
                tokio::time::sleep(pause).await;
                (kind, fetch(slot, connection, kind).await)
            });
        }
    }
}

/// Fetches one list; whether it is another than before.
async fn fetch(slot: &Arc<Slot>, connection: &Arc<Connection>, kind: Kind) -> bool {
    // What changes from now on makes it stale again.
    let was_told = slot.mark_fresh(kind);
    let listing = limited(slot, catalogue::fetch(connection, kind, &slot.identity)).await;
    if let (Kind::Tools, Ok(tools)) = (kind, &listing) {
        warn_of_hidden_characters(&slot.name, tools);
    }
    if let Err(failure) = &listing {
        tracing::warn!(server = slot.name, list = kind.method(), %failure, "a list could not be fetched");
        slot.note_error(&failure.text);
    }
    let before = slot.known_listing(kind);
    let is_new = listing
        .as_ref()
        .is_ok_and(|listing| before.is_none_or(|before| before.entries != listing.entries));
    let is_there = listing.is_ok();
    slot.publish(kind, listing);
    // A server that says so is believed; one that came back with the same list has not changed it.
    if is_new || (was_told && is_there) {
        let _nobody = slot.changes.send(Change::of(slot, Changed::of(kind)));
    }
    is_new
}

/// How often one list is fetched.
#[derive(Default)]
struct Pace {
    is_busy: bool,
    /// When it was last fetched.
    last: Option<Instant>,
    pause: Duration,
}

impl Pace {
    fn fetched(&mut self, is_new: bool) {
        let is_calm = self.last.is_none_or(|last| last.elapsed() > 2 * FETCH_SELDOM);
        self.pause = match is_new || is_calm {
            true => FETCH_EVERY,
            false => (self.pause * 2).clamp(FETCH_EVERY, FETCH_SELDOM),
        };
        self.last = Some(Instant::now());
        self.is_busy = false;
    }

    /// How long to wait before it is fetched again.
    fn left(&self) -> Duration {
        self.last.map_or(Duration::ZERO, |last| self.pause.saturating_sub(last.elapsed()))
    }
}

/// Texts that a person does not see and a model does.
fn warn_of_hidden_characters(server: &str, tools: &catalogue::Listing) {
    let found = tools.entries.iter().filter_map(|entry| {
        let places = hidden::suspicious_in(&entry.definition);
        (!places.is_empty()).then_some((entry, places))
    });
    for (entry, places) in found.take(MAX_WARNINGS) {
        let shown = |text: &str| text.chars().take(MAX_SHOWN).collect::<String>();
        let tool = shown(&hidden::made_visible(&entry.name));
        let places = shown(&places.join("; "));
        tracing::warn!(server, tool, places, "a tool's definition has hidden characters");
    }
}

async fn limited<T>(
    slot: &Slot,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let limit = slot.server().timeout;
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Failure::new(FailureKind::Timeout, "the server did not answer in time"))
    })
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
            loop {
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
                tokio::time::sleep(FETCH_EVERY).await;
                // What changed in between was not told.
                KINDS.into_iter().for_each(|kind| slot.mark_stale(kind));
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
    match tokio::time::timeout(TELLING, asked).await {
        Ok(Ok(Ok(_))) => {}
        Ok(Ok(Err(error))) => {
            tracing::debug!(server = slot.name, method, error = error.message(), "refused");
        }
        Err(_) => tracing::debug!(server = slot.name, method, "not answered in time"),
        Ok(Err(failure)) => tracing::debug!(server = slot.name, method, %failure, "not answered"),
    }
}
