//! One list of a slot and how new it is: fetched by `attend`, waited for by whoever asks. What stands in it is not known
//! here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use super::catalogue::Listing;
use crate::mcp::transport::Failure;

/// How long whoever asks for a list that has changed waits for the new one to come.
const FETCHING: Duration = Duration::from_secs(1);

/// One list.
#[derive(Default)]
pub(super) struct List {
    listing: ArcSwapOption<Listing>,
    is_stale: AtomicBool,
    /// The server said that it changed.
    is_told: AtomicBool,
    times: Mutex<Times>,
}

#[derive(Default)]
struct Times {
    /// Why it could not be fetched the last time.
    failure: Option<String>,
    /// Since when somebody waits for it to be fetched.
    wanted: Option<Instant>,
    /// Since when it is being fetched: what is known may be what was before.
    fetching: Option<Instant>,
}

impl List {
    /// What was fetched last.
    pub(super) fn known(&self) -> Option<Arc<Listing>> {
        self.listing.load_full()
    }

    pub(super) fn is_stale(&self) -> bool {
        self.is_stale.load(Ordering::Relaxed)
    }

    pub(super) fn mark_stale(&self) {
        self.is_stale.store(true, Ordering::Relaxed);
    }

    /// The server says that it changed.
    pub(super) fn mark_told(&self) {
        self.is_told.store(true, Ordering::Relaxed);
        self.mark_stale();
    }

    /// It is fetched from now on. Whether the server said that it changed.
    pub(super) fn mark_fresh(&self) -> bool {
        self.times().fetching = Some(Instant::now());
        self.is_stale.store(false, Ordering::Relaxed);
        self.is_told.swap(false, Ordering::Relaxed)
    }

    pub(super) fn publish(&self, fetched: Result<Listing, Failure>) {
        let failure = match fetched {
            Ok(listing) => {
                self.listing.store(Some(Arc::new(listing)));
                None
            }
            Err(failure) => Some(failure.text),
        };
        *self.times() = Times { failure, ..Times::default() };
    }

    /// How long the fetch that is under way is worth waiting for.
    pub(super) fn fetching(&self) -> Duration {
        let since = self.times().fetching;
        since.map_or(Duration::ZERO, |since| FETCHING.saturating_sub(since.elapsed()))
    }

    /// How long it has been waited for.
    pub(super) fn waited(&self) -> Duration {
        self.times().wanted.get_or_insert_with(Instant::now).elapsed()
    }

    /// Why it could not be fetched the last time.
    pub(super) fn failure(&self) -> Option<String> {
        self.times().failure.clone()
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
