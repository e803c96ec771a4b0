//! How much is in progress: bounds on requests and on the bytes of their bodies, held as permits that
//! give themselves back. What is over the bound is refused at once, never queued.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ground::fault::{Fault, Kind};

/// Bytes of JSON bodies that may be in memory at once.
const MAX_BODY_BYTES: usize = 512 * 1024 * 1024;

/// The gauges of one gate.
#[derive(Debug, Default)]
pub struct Load {
    requests: Arc<AtomicUsize>,
    body_bytes: Arc<AtomicUsize>,
}

/// A place among the requests in progress.
#[derive(Debug)]
pub struct Permit(Arc<AtomicUsize>);

/// Room for one body, growing as it comes.
#[derive(Debug)]
pub struct Room {
    gauge: Arc<AtomicUsize>,
    held: usize,
}

impl Load {
    /// # Errors
    /// `Overloaded` when `most` requests are in progress.
    pub fn enter(&self, most: usize) -> Result<Permit, Fault> {
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(self.requests.clone());
        if before >= most { Err(overloaded()) } else { Ok(permit) }
    }

    pub fn in_flight(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn room(&self) -> Room {
        Room { gauge: self.body_bytes.clone(), held: 0 }
    }
}

impl Room {
    /// # Errors
    /// `Overloaded` when all bodies together would pass their bound.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Fault> {
        let more = bytes.saturating_sub(self.held);
        let before = self.gauge.fetch_add(more, Ordering::Relaxed);
        self.held += more;
        if before + more > MAX_BODY_BYTES { Err(overloaded()) } else { Ok(()) }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.gauge.fetch_sub(self.held, Ordering::Relaxed);
    }
}

fn overloaded() -> Fault {
    Fault::new(
        Kind::Overloaded,
        "The gateway has as many requests in progress as it takes. Try again in a moment.",
    )
    .with_retry_after(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let load = Load::default();
        let first = load.enter(1).expect("room for one");
        assert_eq!(load.enter(1).expect_err("full").status(), 503);
        drop(first);
        assert_eq!(load.in_flight(), 0);
        load.enter(1).expect("room again");
    }

    #[test]
    fn bytes_are_bounded_together() {
        let load = Load::default();
        let mut one = load.room();
        one.grow_to(MAX_BODY_BYTES - 10).expect("room");
        let mut two = load.room();
        two.grow_to(10).expect("room");
        assert!(two.grow_to(11).is_err());
        drop((one, two));
        load.room().grow_to(MAX_BODY_BYTES).expect("all free again");
    }
}
