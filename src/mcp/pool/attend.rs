//! The lists of a server, fetched while its connection is up, whenever they changed. What keeps the connection itself is not
//! known here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::catalogue::{self, Kind};
use super::slot::Slot;
use super::{Change, Changed};
use crate::mcp::connection::Connection;
use crate::mcp::transport::{Failure, FailureKind};
use crate::wire::mcp::hidden;

/// Changes that come together are told once.
pub(super) const GATHER: Duration = Duration::from_millis(20);
/// Lists of a server are not fetched more often, however often it says that they changed.
pub(super) const FETCH_EVERY: Duration = Duration::from_millis(250);
/// Nor that often, where they turn out to be the same again and again.
const FETCH_SELDOM: Duration = Duration::from_secs(5);
/// Tools whose hidden characters are told of, of one list.
const MAX_WARNINGS: usize = 10;
/// Characters of a server's own words in the log.
const MAX_SHOWN: usize = 500;

/// Fetches lists. One that does not come holds up no other.
pub(super) async fn run(slot: Arc<Slot>, connection: Arc<Connection>) {
    let mut paces: HashMap<Kind, Pace> = HashMap::new();
    let mut fetching = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = slot.duties.notified() => tokio::time::sleep(GATHER).await,
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
    let is_said = slot.begin_fetch(kind);
    let fetched = catalogue::fetch(connection, kind, &slot.identity);
    let fetched = tokio::time::timeout(slot.server().timeout, fetched).await;
    let listing = fetched.unwrap_or_else(|_| {
        Err(Failure::new(FailureKind::Timeout, "the server did not answer in time"))
    });
    if let (Kind::Tools, Ok(tools)) = (kind, &listing) {
        warn_of_hidden_characters(&slot.name, tools);
    }
    if let Err(failure) = &listing {
        tracing::warn!(server = slot.name, list = kind.method(), %failure, "a list could not be fetched");
        slot.note_error(&failure.text);
        if failure.kind == FailureKind::SessionExpired {
            connection.expire(failure.text.clone());
        }
    }
    let before = slot.known_listing(kind);
    let is_new = listing
        .as_ref()
        .is_ok_and(|listing| before.is_none_or(|before| before.entries != listing.entries));
    if slot.publish(kind, listing, is_said) {
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
