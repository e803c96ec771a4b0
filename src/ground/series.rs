//! Counters and histograms by labels, and how they get onto a page for Prometheus. Whoever counts sees to it that the values
//! of labels are few: names of the configuration, words of the code, never a client's. Nothing here knows what is counted.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, EncodeMetric,
};
use prometheus_client::metrics::counter::{Atomic, ConstCounter, Counter};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Label values of one name at most: a mistake in a label shall not fill the memory.
const MOST: usize = 10_000;

/// One metric by its labels. Counting takes a short lock that counters share; only labels that are new take it alone.
pub struct Series<L, M> {
    name: &'static str,
    help: &'static str,
    make: fn() -> M,
    metrics: RwLock<HashMap<L, M>>,
}

impl<L, M> Series<L, M>
where
    L: Clone + Eq + Hash + Ord + EncodeLabelSet,
    M: Clone + EncodeMetric + TypedMetric,
{
    /// `name` is without the `_total` of counters, which the page puts behind it; `make` makes the metric of new labels.
    pub fn new(name: &'static str, help: &'static str, make: fn() -> M) -> Self {
        Self { name, help, make, metrics: RwLock::default() }
    }

    /// Counts under these labels.
    pub fn with(&self, labels: L, count: impl FnOnce(&M)) {
        let metrics = self.metrics.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(metric) = metrics.get(&labels) {
            return count(metric);
        }
        drop(metrics);
        let mut metrics = self.metrics.write().unwrap_or_else(PoisonError::into_inner);
        if metrics.len() < MOST || metrics.contains_key(&labels) {
            count(metrics.entry(labels).or_insert_with(self.make));
        }
    }

    /// The metric of these labels, to be counted with again and again; `None` where there are too many already.
    pub fn handle(&self, labels: L) -> Option<M> {
        let mut handle = None;
        self.with(labels, |metric| handle = Some(metric.clone()));
        handle
    }

    /// Keeps only series whose labels are still of something.
    pub fn retain(&self, is_kept: impl Fn(&L) -> bool) {
        let mut metrics = self.metrics.write().unwrap_or_else(PoisonError::into_inner);
        metrics.retain(|labels, _| is_kept(labels));
    }

    /// Writes all series, in the order of their labels.
    ///
    /// # Errors
    /// The page refuses.
    pub fn encode(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // Copied out: writing a page takes longer than a request may wait for a lock.
        let metrics = self.metrics.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<(L, M)> =
            metrics.iter().map(|(labels, metric)| (labels.clone(), metric.clone())).collect();
        drop(metrics);
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        family(page, self.name, self.help, M::TYPE, all)
    }
}

impl<L, N, A> Series<L, Counter<N, A>>
where
    L: Clone + Eq + Hash + Ord + EncodeLabelSet,
    N: Clone + fmt::Debug + EncodeCounterValue,
    A: Atomic<N> + Default,
    Counter<N, A>: Clone + EncodeMetric + TypedMetric,
{
    /// Series of counters that begin at zero.
    pub fn counters(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, Counter::default)
    }
}

impl<L, M> fmt::Debug for Series<L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Series").field(&self.name).finish()
    }
}

/// Writes gauges that are read where the page is made.
///
/// # Errors
/// The page refuses.
pub fn gauges<L, N>(
    page: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, N)>,
) -> fmt::Result
where
    L: EncodeLabelSet,
    N: EncodeGaugeValue,
{
    let values = values.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value)));
    family(page, name, help, MetricType::Gauge, values)
}

/// Writes one gauge without labels.
///
/// # Errors
/// The page refuses.
pub fn gauge(
    page: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    ConstGauge::new(value).encode(page.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

/// Writes counters that something else keeps; `name` is without `_total`.
///
/// # Errors
/// The page refuses.
pub fn counters<L, N>(
    page: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, N)>,
) -> fmt::Result
where
    L: EncodeLabelSet,
    N: EncodeCounterValue,
{
    let values = values.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value)));
    family(page, name, help, MetricType::Counter, values)
}

/// Writes one counter without labels.
///
/// # Errors
/// The page refuses.
pub fn counter(
    page: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl EncodeCounterValue,
) -> fmt::Result {
    ConstCounter::new(value).encode(page.encode_descriptor(
        name,
        help,
        None,
        MetricType::Counter,
    )?)
}

/// Writes metrics by their labels, below one name. Without any there is nothing to be said, its name neither.
fn family<L: EncodeLabelSet, M: EncodeMetric>(
    page: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    metrics: impl IntoIterator<Item = (L, M)>,
) -> fmt::Result {
    let mut metrics = metrics.into_iter().peekable();
    if metrics.peek().is_none() {
        return Ok(());
    }
    let mut family = page.encode_descriptor(name, help, None, kind)?;
    for (labels, metric) in metrics {
        metric.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
