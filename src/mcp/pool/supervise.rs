//! What keeps one slot's connection alive: made when it is wanted, watched while it is up, made again after a pause when
//! it breaks, ended when the entry is gone. One task for each slot; calls do not pass through it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::sync::mpsc;

use super::attend;
use super::heard::Heard;
use super::slot::{Slot, State};
use super::wishes::tell_wishes;
use super::{Change, Changed};
use crate::config::snapshot::Backoff;
use crate::ground::span::micros;
use crate::mcp::connection::{Connection, Introduction, News, Opened, Owner, establish};
use crate::mcp::era;
use crate::mcp::roots;
use crate::mcp::transport::{Failure, FailureKind};

/// How long a server may take to introduce itself.
const INTRODUCTION: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 60 });
/// After this long without trouble a server's failures are forgotten.
const STEADY: Duration = Duration::from_secs(60);
/// How often a quiet connection is asked whether it lives.
const PROBE_EVERY: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 30_000 });
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);
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
        if slot.is_unused(idle) {
            // It rang while a connection was up, before that was closed because nobody used it.
            continue;
        }
        // Wanted once, it is kept up.
        loop {
            slot.state.send_replace(State::Connecting { since: Instant::now(), failures });
            let ended = match connect(&slot).await {
                Ok((connection, news)) => {
                    let began = Instant::now();
                    let failure = keep(&slot, connection.clone(), news, idle).await;
                    // One that did its work and fell is no worse than one that is started for the first time.
                    if began.elapsed() >= STEADY || connection.has_served() {
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
            slot.figures.count_restart(&slot.server());
            let pause = pause(slot.server().restart, failures);
            failures = failures.saturating_add(1);
            slot.state.send_replace(State::Down { failure, since: Instant::now(), failures });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = slot.retired.cancelled() => break,
            }
            if slot.is_unused(idle) {
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
    let opened = Opened::default();
    let established = establish(&server, &slot.headers, &introduction, news, &opened);
    let given_up = async {
        let late = tokio::time::sleep(INTRODUCTION);
        tokio::select! {
            () = late => {
                let within = INTRODUCTION.as_secs();
                let text = format!("the server did not introduce itself within {within} s");
                Failure::new(FailureKind::Timeout, text)
            }
            () = slot.retired.cancelled() => {
                Failure::new(FailureKind::Closed, "the server is no longer configured")
            }
        }
    };
    let connection = tokio::select! {
        connection = established => connection,
        failure = given_up => {
            // What was opened knows of nobody who waits.
            opened.close(&failure.text).await;
            Err(failure)
        }
    };
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
    slot.begin_anew();
    slot.state.send_replace(State::Up { connection: connection.clone(), since });
    slot.duties.notify_one();
    slot.wishing.notify_one();
    ask_health_path(slot);
    let fetching = tokio::spawn(attend::run(slot.clone(), connection.clone()));
    let telling = tokio::spawn(tell_wishes(slot.clone(), connection.clone()));
    let mut heard = Heard::default();
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
            Some(news) = news.recv() => heard.hear(slot, &connection, news),
            () = heard.gathered() => heard.tell(slot),
            _ = probe.tick() => {
                if slot.is_unused(idle) && connection.running() == 0 {
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
    fetching.abort();
    telling.abort();
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
            slot.health.ping_us.store(micros(began.elapsed()).max(1), Ordering::Relaxed);
        }
        Ok(Err(failure)) => connection.close(&failure.text).await,
        // It may have become busy meanwhile, and calls have limits of their own.
        Err(_) if connection.running() > 0 => {}
        Err(_) => connection.close("the server did not answer a ping").await,
    }
}
