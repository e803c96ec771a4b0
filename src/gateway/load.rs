//! How much is in progress: bounds on requests and on the bytes of their bodies, held as permits that
//! give themselves back. What is over the bound is refused at once, never queued.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::ground::fault::{Fault, Kind};
use crate::ground::series::{self, Series};

/// Bytes of JSON bodies that may be in memory at once.
const MAX_BODY_BYTES: usize = 512 * 1024 * 1024;

/// The gauges of one gate.
#[derive(Debug, Default)]
pub struct Load(Arc<Gauges>);

#[derive(Debug)]
struct Gauges {
    requests: AtomicUsize,
    body_bytes: AtomicUsize,
    streams: AtomicUsize,
    surfaces: Series<Surface, Gauge>,
    shed: Series<Shed, Counter>,
}

/// A place among the requests in progress.
#[derive(Debug)]
pub struct Permit {
    gauges: Arc<Gauges>,
    surface: &'static str,
    is_streaming: bool,
}

/// Room for one body, growing as it comes.
#[derive(Debug)]
pub struct Room {
    gauges: Arc<Gauges>,
    held: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Surface {
    surface: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Shed {
    reason: &'static str,
}

impl Default for Gauges {
    fn default() -> Self {
        let shed = Series::counters(
            "tidegate_shed",
            "Requests refused for want of room or because of a shutdown",
        );
        for reason in ["in_flight", "body_bytes", "draining"] {
            shed.with(Shed { reason }, |_| {});
        }
        Self {
            requests: AtomicUsize::default(),
            body_bytes: AtomicUsize::default(),
            streams: AtomicUsize::default(),
            surfaces: Series::new(
                "tidegate_inflight",
                "Requests in progress, by path",
                Gauge::default,
            ),
            shed,
        }
    }
}

impl Load {
    /// A place for a request to a surface, which is a path as the tables of paths have it.
    ///
    /// # Errors
    /// `Overloaded` when `most` requests are in progress.
    pub fn enter(&self, most: usize, surface: &'static str) -> Result<Permit, Fault> {
        let gauges = self.0.clone();
        let before = gauges.requests.fetch_add(1, Ordering::Relaxed);
        gauges.surfaces.with(Surface { surface }, |gauge| _ = gauge.inc());
        let permit = Permit { gauges, surface, is_streaming: false };
        if before < most {
            return Ok(permit);
        }
        self.count_shed("in_flight");
        Err(overloaded())
    }

    pub fn in_flight(&self) -> usize {
        self.0.requests.load(Ordering::Relaxed)
    }

    pub fn room(&self) -> Room {
        Room { gauges: self.0.clone(), held: 0 }
    }

    /// A request was refused.
    pub(super) fn count_shed(&self, reason: &'static str) {
        self.0.count_shed(reason);
    }

    /// Writes what is in progress, and what was refused, onto a page of metrics.
    ///
    /// # Errors
    /// The page refuses.
    pub(super) fn encode(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.0.surfaces.encode(page)?;
        let streams = self.0.streams.load(Ordering::Relaxed);
        series::gauge(page, "tidegate_streams", "Answers that are being streamed", streams)?;
        self.0.shed.encode(page)
    }
}

impl Gauges {
    fn count_shed(&self, reason: &'static str) {
        self.shed.with(Shed { reason }, |count| _ = count.inc());
    }
}

impl Permit {
    /// Its answer is a stream, and has begun.
    pub(super) fn begin_stream(&mut self) {
        if !std::mem::replace(&mut self.is_streaming, true) {
            self.gauges.streams.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Room {
    /// # Errors
    /// `Overloaded` when all bodies together would pass their bound.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Fault> {
        let more = bytes.saturating_sub(self.held);
        let before = self.gauges.body_bytes.fetch_add(more, Ordering::Relaxed);
        self.held += more;
        if before + more <= MAX_BODY_BYTES {
            return Ok(());
        }
        self.gauges.count_shed("body_bytes");
        Err(overloaded())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Self { gauges, surface, is_streaming } = self;
        gauges.requests.fetch_sub(1, Ordering::Relaxed);
        gauges.surfaces.with(Surface { surface }, |gauge| _ = gauge.dec());
        if *is_streaming {
            gauges.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.gauges.body_bytes.fetch_sub(self.held, Ordering::Relaxed);
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
        let first = load.enter(1, "/x").expect("room for one");
        assert_eq!(load.enter(1, "/x").expect_err("full").status(), 503);
        drop(first);
        assert_eq!(load.in_flight(), 0);
        load.enter(1, "/x").expect("room again");
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
