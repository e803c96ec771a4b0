//! How far a slot's lists are known: old, being fetched, or the latest; and whether what came is news to anybody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;

use super::catalogue::{KINDS, Kind, Listing};
use super::slot::Slot;
use crate::mcp::transport::Failure;

#[derive(Default)]
pub(super) struct List {
    pub(super) listing: ArcSwapOption<Listing>,
    pub(super) progress: Mutex<Progress>,
}

/// How far what is known of a list is from being the latest.
#[derive(Default)]
pub(super) struct Progress {
    /// It is to be fetched, or fetched anew.
    pub(super) is_stale: bool,
    pub(super) is_fetching: bool,
    /// The server said that it changed: clients are told even if it comes out the same.
    pub(super) is_said: bool,
    /// Somebody was given what may not be all of it.
    pub(super) is_missed: bool,
    /// Since when the latest is waited for.
    pub(super) since: Option<Instant>,
    /// Why it could not be fetched the last time.
    pub(super) failure: Option<String>,
}

impl List {
    /// It is, or will be, fetched anew.
    pub(super) fn is_old(&self) -> bool {
        let progress = self.progress();
        progress.is_stale || progress.is_fetching
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// The lists that are to be fetched.
    pub(super) fn stale(&self) -> Vec<Kind> {
        let is_stale =
            |kind: &Kind| self.lists.get(kind.index()).is_some_and(|list| list.progress().is_stale);
        KINDS.into_iter().filter(is_stale).collect()
    }

    /// A list is to be fetched anew. `is_said`: the server said that it changed.
    pub(super) fn mark_stale(&self, kind: Kind, is_said: bool) {
        if let Some(list) = self.lists.get(kind.index()) {
            let mut progress = list.progress();
            progress.is_stale = true;
            progress.is_said |= is_said;
            progress.since.get_or_insert_with(Instant::now);
        }
    }

    /// A connection is new: nothing is being fetched on it.
    pub(super) fn begin_anew(&self) {
        for list in &self.lists {
            let mut progress = list.progress();
            progress.is_stale = true;
            progress.is_fetching = false;
            progress.since = Some(Instant::now());
        }
    }

    /// Before a list is fetched: what changes from now on makes it stale again. Whether the server said that it changed.
    pub(super) fn begin_fetch(&self, kind: Kind) -> bool {
        let Some(list) = self.lists.get(kind.index()) else { return false };
        let mut progress = list.progress();
        progress.is_stale = false;
        progress.is_fetching = true;
        std::mem::take(&mut progress.is_said)
    }

    /// A list was fetched, or could not be; whether clients are to be told. They are where the server said that it changed,
    /// and else where it differs from what somebody was given.
    pub(super) fn publish(
        &self,
        kind: Kind,
        fetched: Result<Listing, Failure>,
        is_said: bool,
    ) -> bool {
        let Some(list) = self.lists.get(kind.index()) else { return false };
        let before = list.listing.load_full();
        let mut progress = list.progress();
        progress.is_fetching = false;
        progress.since = progress.is_stale.then(Instant::now);
        let is_told = match fetched {
            Ok(listing) => {
                progress.failure = None;
                let is_missed = std::mem::take(&mut progress.is_missed);
                let known = before.as_ref().map(|before| before.entries.as_slice());
                let differs = known.unwrap_or_default() != listing.entries.as_slice();
                list.listing.store(Some(Arc::new(listing)));
                is_said || (differs && (before.is_some() || is_missed))
            }
            Err(failure) => {
                progress.failure = Some(failure.text);
                progress.is_said |= is_said;
                false
            }
        };
        drop(progress);
        self.published.send_modify(|count| *count += 1);
        is_told
    }
}
