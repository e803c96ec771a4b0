//! What keeps one slot's connection alive: made when it is wanted, watched while it is up, made again after a pause when
//! it breaks, ended when the entry is gone. One task for each slot; calls do not pass through it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::HeaderMap;
use serde_json::json;
use tokio::sync::mpsc;

use super::catalogue::{self, KINDS, Kind};
use super::slot::{Slot, State};
use super::{Change, Changed};
use crate::config::snapshot::Backoff;
use crate::conversation::Json;
use crate::mcp::connection::{Connection, Event, Introduction, News, Owner, establish};
use crate::mcp::era;
use crate::mcp::roots;
use crate::mcp::transport::{Failure, FailureKind};
use crate::wire::mcp::error::{METHOD_NOT_FOUND, RpcError};
use crate::wire::mcp::{edit, hidden};

/// How long a server may take to introduce itself.
const INTRODUCTION: Duration = Duration::from_secs(60);
/// After this long without trouble a server's failures are forgotten.
const STEADY: Duration = Duration::from_secs(60);
/// How often a quiet connection is asked whether it lives.
const PROBE_EVERY: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);
/// Lists of a server are not fetched more often, however often it says that they changed.
const FETCH_EVERY: Duration = Duration::from_millis(250);
/// Changes that come together are told once.
const GATHER: Duration = Duration::from_millis(20);
/// How long calls may go on on a connection whose entry is gone.
const DRAIN: Duration = Duration::from_secs(30);
/// News that may wait.
const MAX_NEWS: usize = 256;

/// Runs until the slot is retired, or, where only some use it, nobody has for long.
pub(super) async fn run(slot: Arc<Slot>, idle: Duration) {
    let mut failures = 0;
    loop {
        tokio::select! {
            () = slot.demand.notified() => {}
            () = slot.retired.cancelled() => break,
        }
        // Wanted once, it is kept up.
        loop {
            slot.state.send_replace(State::Connecting { since: Instant::now(), failures });
            let ended = match connect(&slot).await {
                Ok((connection, news)) => {
                    let began = Instant::now();
                    let failure = keep(&slot, connection, news, idle).await;
                    if began.elapsed() >= STEADY {
                        failures = 0;
                    }
                    failure
                }
                Err(failure) => Some(failure),
            };
            if slot.retired.is_cancelled() {
                break;
            }
            let Some(failure) = ended else {
                slot.state.send_replace(State::Idle);
                break;
            };
            tracing::warn!(server = slot.name, failures, %failure, "MCP server is down");
            slot.note_error(&failure.text);
            slot.health.restarts.fetch_add(1, Ordering::Relaxed);
            let pause = pause(slot.server().restart, failures);
            failures = failures.saturating_add(1);
            slot.state.send_replace(State::Down { failure, since: Instant::now(), failures });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = slot.retired.cancelled() => break,
            }
            if slot.is_private() && slot.idle_for() > idle {
                slot.state.send_replace(State::Idle);
                break;
            }
        }
        if slot.retired.is_cancelled() {
            break;
        }
    }
    slot.state.send_replace(State::Retired);
}

/// The pause before the next start: doubled with each failure, and a little by chance, so that servers that fell together
/// do not come back together.
fn pause(backoff: Backoff, failures: u32) -> Duration {
    let doubled = backoff.first.saturating_mul(2_u32.saturating_pow(failures.min(20)));
    doubled.min(backoff.longest).mul_f64(0.75 + fastrand::f64() / 2.0)
}

async fn connect(slot: &Arc<Slot>) -> Result<(Arc<Connection>, mpsc::Receiver<News>), Failure> {
    let server = slot.server();
    let (news, heard) = mpsc::channel(MAX_NEWS);
    let known = *slot.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let introduction = Introduction {
        capabilities: roots::declared(&slot.identity.capabilities, &server),
        client_info: slot.identity.client_info.clone(),
        known,
    };
    let established = establish(&server, &slot.headers, &introduction, news);
    let timed = tokio::time::timeout(INTRODUCTION, established);
    let result = tokio::select! {
        result = timed => result,
        () = slot.retired.cancelled() => {
            return Err(Failure::new(FailureKind::Closed, "the server is no longer configured"));
        }
    };
    let connection = result.unwrap_or_else(|_| {
        let text =
            format!("the server did not introduce itself within {} s", INTRODUCTION.as_secs());
        Err(Failure::new(FailureKind::Timeout, text))
    });
    let mut known = slot.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match connection {
        Ok(connection) => {
            *known = Some(connection.peer().revision);
            Ok((connection, heard))
        }
        Err(failure) => {
            // It may be another server by now.
            *known = None;
            Err(failure)
        }
    }
}

/// Looks after a connection until it ends. `None`: it was ended on purpose.
async fn keep(
    slot: &Arc<Slot>,
    connection: Arc<Connection>,
    mut news: mpsc::Receiver<News>,
    idle: Duration,
) -> Option<Failure> {
    let peer = connection.peer();
    let since = Instant::now();
    tracing::info!(
        server = slot.name, revision = %peer.revision, pid = connection.pid(), "MCP server is up"
    );
    KINDS.into_iter().for_each(|kind| slot.mark_stale(kind));
    slot.state.send_replace(State::Up { connection: connection.clone(), since });
    slot.duties.notify_one();
    ask_health_path(slot);
    let duties = tokio::spawn(attend(slot.clone(), connection.clone()));
    let mut probe = tokio::time::interval(PROBE_EVERY);
    probe.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    probe.reset();
    let ended = loop {
        tokio::select! {
            failure = connection.closed() => break Some(failure),
            () = slot.retired.cancelled() => {
                drain(&connection).await;
                break None;
            }
            Some(news) = news.recv() => hear(slot, &connection, news),
            _ = probe.tick() => {
                if slot.is_private() && slot.idle_for() > idle && connection.running() == 0 {
                    connection.close("nobody uses it").await;
                    break None;
                }
                ask_health_path(slot);
                if connection.running() == 0 {
                    tokio::spawn(ask_whether_it_lives(slot.clone(), connection.clone()));
                }
            }
        }
    };
    duties.abort();
    slot.hears.send_replace(false);
    if ended.is_some() {
        // The child, or the session, may still be there.
        connection.close("the connection broke").await;
    }
    let _retired_is_not_down = slot.changes.send(Change::of(slot, Changed::Health));
    ended
}

/// Asks the path of the entry, beside the connection: what it says is shown and decides nothing.
fn ask_health_path(slot: &Arc<Slot>) {
    let slot = slot.clone();
    tokio::spawn(async move {
        if let Err(text) = slot.ask_health_path().await {
            tracing::debug!(server = slot.name, error = text, "health path");
        }
    });
}

/// Lets what runs end, and closes the connection.
async fn drain(connection: &Arc<Connection>) {
    let until = Instant::now() + DRAIN;
    while connection.running() > 0 && Instant::now() < until && !connection.is_closed() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    connection.close("the server is no longer configured like this").await;
}

fn hear(slot: &Arc<Slot>, connection: &Arc<Connection>, news: News) {
    let stale = |kinds: &[Kind]| {
        kinds.iter().for_each(|kind| slot.mark_stale(*kind));
        slot.duties.notify_one();
    };
    match news {
        News::ToolsChanged => stale(&[Kind::Tools]),
        News::PromptsChanged => stale(&[Kind::Prompts]),
        News::ResourcesChanged => stale(&[Kind::Resources, Kind::Templates]),
        News::ResourceUpdated(params) => {
            if let Some(uri) = edit::text(&params, &["uri"]) {
                let _nobody = slot.changes.send(Change::of(slot, Changed::Updated { uri, params }));
            }
        }
        News::Log(params) => {
            if let Some(session) = slot.session() {
                session.tell_log(&params);
            }
        }
        News::Request(request) => {
            if let Some(outcome) = roots::answer(&slot.server(), &request) {
                return connection.respond_later(request.id, outcome);
            }
            let Some(session) = slot.session() else {
                return connection.refuse_question(request.id, &request.method);
            };
            let connection = connection.clone();
            tokio::spawn(async move {
                let asked = session.ask(&request.method, request.params.as_ref(), None).await;
                let outcome = match asked {
                    Some((_, answered)) => answered.await.ok(),
                    None => None,
                };
                let outcome = outcome.unwrap_or_else(|| {
                    Err(RpcError::new(METHOD_NOT_FOUND, "the client is not there to be asked"))
                });
                connection.respond_later(request.id, outcome);
            });
        }
    }
}

/// Does what the connection owes: fetches lists, tells subscriptions and the log level.
async fn attend(slot: Arc<Slot>, connection: Arc<Connection>) {
    let mut told = Told::default();
    loop {
        slot.duties.notified().await;
        tokio::time::sleep(GATHER).await;
        told.tell(&slot, &connection).await;
        let stale = slot.stale();
        if stale.is_empty() {
            continue;
        }
        let is_first = !std::mem::replace(&mut told.has_listed, true);
        let fetched = stale.iter().map(|kind| {
            slot.mark_fresh(*kind);
            let fetch = catalogue::fetch(&connection, *kind, &slot.identity);
            async { (*kind, limited(&slot, fetch).await) }
        });
        let fetched = futures_util::future::join_all(fetched).await;
        let has_failed = fetched.iter().any(|(_, listing)| listing.is_err());
        for (kind, listing) in fetched {
            if let (Kind::Tools, Ok(tools)) = (kind, &listing) {
                warn_of_hidden_characters(&slot.name, tools);
            }
            if let Err(failure) = &listing {
                tracing::warn!(server = slot.name, list = kind.method(), %failure, "a list could not be fetched");
                slot.note_error(&failure.text);
            }
            slot.publish(kind, listing);
        }
        let mut changed: Vec<Changed> = stale.iter().map(|kind| Changed::of(*kind)).collect();
        changed.dedup();
        for what in changed {
            let _nobody = slot.changes.send(Change::of(&slot, what));
        }
        if !is_first || has_failed {
            tokio::time::sleep(FETCH_EVERY).await;
        }
    }
}

/// Texts that a person does not see and a model does.
fn warn_of_hidden_characters(server: &str, tools: &catalogue::Listing) {
    for entry in &tools.entries {
        let places = hidden::suspicious_in(&entry.definition);
        if !places.is_empty() {
            let (tool, places) = (hidden::made_visible(&entry.name), places.join("; "));
            tracing::warn!(server, tool, places, "a tool's definition has hidden characters");
        }
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
    has_listed: bool,
    subscriptions: Vec<String>,
    log_level: Option<String>,
    /// The stream of changes, in the newest era.
    listening: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
        }
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
                self.listen(slot, connection, &subscriptions);
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

    /// Opens the stream of changes anew. <https://modelcontextprotocol.io/specification/2026-07-28/basic/utilities/subscriptions>
    fn listen(&mut self, slot: &Arc<Slot>, connection: &Arc<Connection>, uris: &[String]) {
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
        if let Some(before) = self.listening.take() {
            before.abort();
        }
        if filter.is_empty() {
            slot.hears.send_replace(true);
            return;
        }
        let params = Json::of(&json!({ "notifications": filter }));
        let params = era::modern(Some(params), &slot.identity, peer.revision);
        let (slot, connection) = (slot.clone(), connection.clone());
        self.listening = Some(tokio::spawn(async move {
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
                        }
                        Event::Request(_) => {}
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
        }));
    }
}

/// Asks for something whose answer says nothing.
async fn ask(slot: &Slot, connection: &Arc<Connection>, method: &str, params: &serde_json::Value) {
    let params = Some(Json::of(params));
    let asked = async {
        let exchange = connection.call(method, params, Owner::Gateway, HeaderMap::new()).await?;
        exchange.end().await
    };
    match limited(slot, asked).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::debug!(server = slot.name, method, error = error.message(), "refused");
        }
        Err(failure) => tracing::debug!(server = slot.name, method, %failure, "not answered"),
    }
}

/// A connection that does not answer is closed, and so made anew.
async fn ask_whether_it_lives(slot: Arc<Slot>, connection: Arc<Connection>) {
    let modern = connection.is_modern();
    let method = if modern { "server/discover" } else { "ping" };
    let revision = connection.peer().revision;
    let params = modern.then(|| era::modern(None, &slot.identity, revision));
    let began = Instant::now();
    let asked = async {
        let exchange = connection.call(method, params, Owner::Gateway, HeaderMap::new()).await?;
        exchange.end().await
    };
    match tokio::time::timeout(PROBE_TIMEOUT, asked).await {
        // An error is an answer, too.
        Ok(Ok(_)) => {
            let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            slot.health.ping_us.store(micros.max(1), Ordering::Relaxed);
        }
        Ok(Err(failure)) => connection.close(&failure.text).await,
        Err(_) => connection.close("the server did not answer a ping").await,
    }
}
