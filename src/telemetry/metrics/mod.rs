//! Counters and histograms over finished requests, for Prometheus. What is counted while requests are in progress is counted
//! where they are; here is only what an entry says. Names and labels: `docs/guide/metrics.md`.

mod labels;
mod litellm;
pub mod process;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use arc_swap::ArcSwap;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;

use self::labels::{
    FellBack, Finished, Known, Place, Retried, Served, Surface, SurfaceOfGroup, Tokens, Trace,
    Tried,
};
use self::litellm::Litellm;
use crate::config::snapshot::Snapshot;
use crate::conversation::usage::Usage;
use crate::entry::{Attempt, Entry, UsageSource};
use crate::ground::series::Series;
use crate::ground::usd::Usd;

/// Bounds of durations in seconds: those that OpenTelemetry's conventions for generative AI advise
/// (`gen_ai.client.operation.duration`), and three more for answers that take minutes.
const DURATIONS: [f64; 17] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84,
    327.68, 655.36,
];
/// Bounds of the gateway's own share, in seconds.
const OVERHEADS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
];

type Times = HistogramWithExemplars<Trace>;

/// All series that come from requests.
#[derive(Debug)]
pub struct Metrics {
    known: ArcSwap<Known>,
    requests: Series<Finished, Counter>,
    durations: Series<SurfaceOfGroup, Times>,
    first_tokens: Series<Served, Times>,
    overheads: Series<Surface, Times>,
    tokens: Series<Tokens, Counter>,
    costs: Series<Served, Counter<f64>>,
    attempts: Series<Tried, Counter>,
    retries: Series<Retried, Counter>,
    fallbacks: Series<FellBack, Counter>,
    litellm: Litellm,
    handles: RwLock<HashMap<Place, Arc<Handles>>>,
}

/// The metrics of one place, each resolved when it is first counted with: a request then costs one look-up, not ten.
#[derive(Debug, Default)]
struct Handles {
    good: OnceLock<Option<Counter>>,
    duration: OnceLock<Option<Times>>,
    overhead: OnceLock<Option<Times>>,
    first_token: OnceLock<Option<Times>>,
    tokens: [OnceLock<Option<Counter>>; 5],
    cost: OnceLock<Option<Counter<f64>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            known: ArcSwap::default(),
            requests: Series::counters(
                "tidegate_requests",
                "Requests that ended, by path, model group, provider, status told and kind of error",
            ),
            durations: Series::new(
                "tidegate_request_duration_seconds",
                "From a request's head to the last byte of its answer",
                durations,
            ),
            first_tokens: Series::new(
                "tidegate_time_to_first_token_seconds",
                "From a request's head to the first content of a streamed answer",
                durations,
            ),
            overheads: Series::new(
                "tidegate_overhead_seconds",
                "The gateway's own share of the time to the first byte",
                || Times::new(OVERHEADS.into_iter()),
            ),
            tokens: Series::counters(
                "tidegate_tokens",
                "Tokens that providers said were used; input includes cached, output includes reasoning",
            ),
            costs: Series::counters(
                "tidegate_cost_usd",
                "US dollars of requests whose price is known",
            ),
            attempts: Series::counters(
                "tidegate_upstream_attempts",
                "Calls to deployments: ok, or what went wrong",
            ),
            retries: Series::counters(
                "tidegate_retries",
                "Calls to deployments after which another was tried, by what had gone wrong",
            ),
            fallbacks: Series::counters(
                "tidegate_fallbacks",
                "Requests that another model group was asked for",
            ),
            litellm: Litellm::default(),
            handles: RwLock::default(),
        }
    }
}

fn durations() -> Times {
    Times::new(DURATIONS.into_iter())
}

impl Metrics {
    /// A configuration comes into force: what it does not have any more loses its series.
    pub fn adopt(&self, snapshot: &Snapshot) {
        let known = Known::of(snapshot);
        self.requests.retain(|labels| known.has_group(&labels.model_group));
        self.durations.retain(|labels| known.has_group(&labels.model_group));
        self.first_tokens.retain(|labels| known.has_group(&labels.model_group));
        self.tokens.retain(|labels| known.has_group(&labels.model_group));
        self.costs.retain(|labels| known.has_group(&labels.model_group));
        self.attempts.retain(|labels| known.has_deployment(&labels.deployment));
        self.retries.retain(|labels| known.has_deployment(&labels.deployment));
        self.fallbacks.retain(|it| known.has_group(&it.from) && known.has_group(&it.to));
        self.litellm.adopt(&known);
        self.known.store(known.into());
        // Those of series that are gone would count unseen.
        self.handles.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Counts a request that is over.
    pub fn observe(&self, entry: &Entry, has_trace: bool) {
        let known = self.known.load();
        let model_group = known.group(entry.model_group.as_deref());
        let (surface, provider) = (entry.surface, entry.provider.unwrap_or_default());
        let handles = self.handles(&Place { surface, model_group: model_group.clone(), provider });
        let error = entry.error_type.as_deref();
        let error = error.or_else(|| entry.client_closed.then_some("client_closed_request"));
        let (code, error_type) = (labels::code(entry.http_status), labels::error_type(error));
        let served = Served { model_group, provider };
        let finished = || {
            let Served { model_group, provider } = served.clone();
            self.requests.handle(Finished { surface, model_group, provider, code, error_type })
        };
        match (code, error_type) {
            (200, "") => count(&handles.good, finished, |count| _ = count.inc()),
            _ => count(&OnceLock::new(), finished, |count| _ = count.inc()),
        }
        // An exemplar leads to its trace: there is none for a trace that was not kept.
        let place = entry.place().filter(|_| has_trace);
        let trace = place.map(|place| Trace { trace_id: place.trace_hex() });
        let observe = |micros: u64| {
            let trace = trace.clone();
            move |times: &Times| times.observe(seconds(micros), trace, None)
        };
        let of_group = || {
            let model_group = served.model_group.clone();
            self.durations.handle(SurfaceOfGroup { surface, model_group })
        };
        count(&handles.duration, of_group, observe(entry.duration_us));
        if let Some(micros) = entry.overhead_us {
            let overheads = || self.overheads.handle(Surface { surface });
            count(&handles.overhead, overheads, observe(micros));
        }
        if let Some(micros) = entry.ttft_us {
            let first_tokens = || self.first_tokens.handle(served.clone());
            count(&handles.first_token, first_tokens, observe(micros));
        }
        if entry.usage_source == UsageSource::Provider {
            self.observe_tokens(&handles, &served, &entry.tokens);
        }
        if let Some(cost) = entry.cost_usd.map(Usd::to_stored) {
            let costs = || self.costs.handle(served.clone());
            count(&handles.cost, costs, |total| _ = total.inc_by(cost));
        }
        self.observe_attempts(&known, &entry.attempts);
        if entry.fallback_from.is_some() {
            let from = known.group(entry.fallback_from.as_deref());
            let to = served.model_group;
            self.fallbacks.with(FellBack { from, to }, |count| _ = count.inc());
        }
        if known.litellm_names {
            self.litellm.observe(entry, &known, code);
        }
    }

    /// What was resolved for a place before.
    fn handles(&self, place: &Place) -> Arc<Handles> {
        let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handles) = handles.get(place) {
            return handles.clone();
        }
        drop(handles);
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        handles.entry(place.clone()).or_default().clone()
    }

    fn observe_tokens(&self, handles: &Handles, served: &Served, used: &Usage) {
        let kinds = [
            ("input", used.input),
            ("output", used.output),
            ("cache_read", used.cache_read),
            ("cache_write", used.cache_write),
            ("reasoning", used.reasoning),
        ];
        for ((kind, tokens), handle) in kinds.into_iter().zip(&handles.tokens) {
            let Some(tokens) = tokens.filter(|tokens| *tokens > 0) else { continue };
            let resolve = || {
                let Served { model_group, provider } = served.clone();
                self.tokens.handle(Tokens { model_group, provider, kind })
            };
            count(handle, resolve, |total| _ = total.inc_by(tokens));
        }
    }

    fn observe_attempts(&self, known: &Known, attempts: &[Attempt]) {
        let later = attempts.iter().skip(1).map(Some).chain([None]);
        for (attempt, next) in attempts.iter().zip(later) {
            let deployment = known.deployment(&attempt.deployment);
            let outcome = attempt.error.unwrap_or("ok");
            let tried = Tried { deployment: deployment.clone(), outcome };
            self.attempts.with(tried, |count| _ = count.inc());
            if let Some(reason) = attempt.error
                && next.is_some_and(|next| next.round == attempt.round)
            {
                self.retries.with(Retried { deployment, reason }, |count| _ = count.inc());
            }
        }
    }

    /// Writes them onto a page.
    ///
    /// # Errors
    /// The page refuses.
    pub fn encode(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.requests.encode(page)?;
        self.durations.encode(page)?;
        self.first_tokens.encode(page)?;
        self.overheads.encode(page)?;
        self.tokens.encode(page)?;
        self.costs.encode(page)?;
        self.attempts.encode(page)?;
        self.retries.encode(page)?;
        self.fallbacks.encode(page)?;
        if self.known.load().litellm_names {
            self.litellm.encode(page)?;
        }
        Ok(())
    }
}

/// Counts with a handle, resolving it the first time.
fn count<M>(
    handle: &OnceLock<Option<M>>,
    resolve: impl FnOnce() -> Option<M>,
    count: impl FnOnce(&M),
) {
    if let Some(metric) = handle.get_or_init(resolve) {
        count(metric);
    }
}

fn seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}
