//! The most used of LiteLLM's names, for dashboards and alerts that know those; only where the configuration asks for them
//! (`callbacks: [prometheus]`). Names and buckets are LiteLLM's
//! (<https://docs.litellm.ai/docs/proxy/prometheus>). Of its labels those are left out whose values clients make up, or keys.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::labels::{Known, OTHER};
use super::seconds;
use crate::entry::{Entry, Status, UsageSource};
use crate::ground::series::Series;
use crate::ground::usd::Usd;

const BOUNDS: [f64; 17] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 420.0,
    600.0,
];

/// LiteLLM's series.
#[derive(Debug)]
pub(super) struct Litellm {
    requests: Series<Asked, Counter>,
    failures: Series<Failed, Counter>,
    total: Series<Answered, Histogram>,
    upstream: Series<Answered, Histogram>,
    first_token: Series<Answered, Histogram>,
    overhead: Series<Answered, Histogram>,
    spend: Series<Answered, Counter<f64>>,
    input_tokens: Series<Answered, Counter>,
    output_tokens: Series<Answered, Counter>,
    total_tokens: Series<Answered, Counter>,
    deployment_requests: Series<Deployed, Counter>,
    deployment_successes: Series<Deployed, Counter>,
    deployment_failures: Series<Deployed, Counter>,
    fallbacks: Series<FellBack, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Asked {
    requested_model: Arc<str>,
    status_code: u16,
    route: &'static str,
    model_id: Arc<str>,
    api_provider: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Failed {
    requested_model: Arc<str>,
    exception_status: u16,
    route: &'static str,
    model_id: Arc<str>,
    api_provider: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Answered {
    requested_model: Arc<str>,
    model_group: Arc<str>,
    /// As LiteLLM's dashboards group by it: the group that answered.
    model: Arc<str>,
    model_id: Arc<str>,
    api_provider: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Deployed {
    model_id: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct FellBack {
    requested_model: Arc<str>,
    fallback_model: Arc<str>,
}

impl Default for Litellm {
    fn default() -> Self {
        let histogram = || Histogram::new(BOUNDS);
        Self {
            requests: Series::counters("litellm_proxy_total_requests_metric", "As in LiteLLM"),
            failures: Series::counters("litellm_proxy_failed_requests_metric", "As in LiteLLM"),
            total: Series::new("litellm_request_total_latency_metric", "As in LiteLLM", histogram),
            upstream: Series::new("litellm_llm_api_latency_metric", "As in LiteLLM", histogram),
            first_token: Series::new(
                "litellm_llm_api_time_to_first_token_metric",
                "As in LiteLLM",
                histogram,
            ),
            overhead: Series::new("litellm_overhead_latency_metric", "As in LiteLLM", histogram),
            spend: Series::counters("litellm_spend_metric", "As in LiteLLM"),
            input_tokens: Series::counters("litellm_input_tokens_metric", "As in LiteLLM"),
            output_tokens: Series::counters("litellm_output_tokens_metric", "As in LiteLLM"),
            total_tokens: Series::counters("litellm_total_tokens_metric", "As in LiteLLM"),
            deployment_requests: Series::counters(
                "litellm_deployment_total_requests",
                "As in LiteLLM",
            ),
            deployment_successes: Series::counters(
                "litellm_deployment_success_responses",
                "As in LiteLLM",
            ),
            deployment_failures: Series::counters(
                "litellm_deployment_failure_responses",
                "As in LiteLLM",
            ),
            fallbacks: Series::counters("litellm_deployment_successful_fallbacks", "As in LiteLLM"),
        }
    }
}

impl Litellm {
    pub(super) fn observe(&self, entry: &Entry, known: &Known, status_code: u16) {
        let model_group = known.group(entry.model_group.as_deref());
        let asked = entry.fallback_from.as_deref();
        let requested_model = asked.map_or_else(|| model_group.clone(), |it| known.group(Some(it)));
        let model_id =
            entry.deployment.as_deref().map_or_else(|| "".into(), |id| known.deployment(id));
        let (route, api_provider) = (entry.surface, entry.provider.unwrap_or_default());
        let (of_model, of_id) = (requested_model.clone(), model_id.clone());
        let asked =
            Asked { requested_model: of_model, status_code, route, model_id: of_id, api_provider };
        self.requests.with(asked.clone(), |count| _ = count.inc());
        for attempt in &entry.attempts {
            let deployed = Deployed { model_id: known.deployment(&attempt.deployment) };
            let outcome = match attempt.error {
                None => &self.deployment_successes,
                Some(_) => &self.deployment_failures,
            };
            self.deployment_requests.with(deployed.clone(), |count| _ = count.inc());
            outcome.with(deployed, |count| _ = count.inc());
        }
        if entry.status != Status::Ok {
            let Asked { requested_model, status_code, route, model_id, api_provider } = asked;
            let exception_status = status_code;
            let failed =
                Failed { requested_model, exception_status, route, model_id, api_provider };
            self.failures.with(failed, |count| _ = count.inc());
            return;
        }
        if asked.requested_model != model_group {
            let (from, to) = (requested_model.clone(), model_group.clone());
            let fell_back = FellBack { requested_model: from, fallback_model: to };
            self.fallbacks.with(fell_back, |count| _ = count.inc());
        }
        let model = model_group.clone();
        let answered = Answered { requested_model, model_group, model, model_id, api_provider };
        let times = [
            (&self.total, Some(entry.duration_us)),
            (&self.upstream, entry.upstream_us),
            (&self.first_token, entry.ttft_us),
            (&self.overhead, entry.overhead_us),
        ];
        for (series, micros) in times {
            if let Some(micros) = micros {
                series.with(answered.clone(), |times| times.observe(seconds(micros)));
            }
        }
        if entry.usage_source == UsageSource::Provider {
            let used = &entry.tokens;
            let counts = [
                (&self.input_tokens, used.input.unwrap_or_default()),
                (&self.output_tokens, used.output.unwrap_or_default()),
                (&self.total_tokens, used.total()),
            ];
            for (series, tokens) in counts {
                series.with(answered.clone(), |total| _ = total.inc_by(tokens));
            }
        }
        if let Some(cost) = entry.cost_usd.map(Usd::to_stored) {
            self.spend.with(answered, |total| _ = total.inc_by(cost));
        }
    }

    /// What the configuration does not have any more loses its series.
    pub(super) fn adopt(&self, known: &Known) {
        let has = |group: &str, id: &str| {
            known.has_group(group) && (id.is_empty() || known.has_deployment(id))
        };
        self.requests.retain(|it| has(&it.requested_model, &it.model_id));
        self.failures.retain(|it| has(&it.requested_model, &it.model_id));
        let is_kept =
            |it: &Answered| has(&it.requested_model, &it.model_id) && has(&it.model_group, "");
        for series in [&self.total, &self.upstream, &self.first_token, &self.overhead] {
            series.retain(is_kept);
        }
        for series in [&self.input_tokens, &self.output_tokens, &self.total_tokens] {
            series.retain(is_kept);
        }
        self.spend.retain(is_kept);
        let deployments =
            [&self.deployment_requests, &self.deployment_successes, &self.deployment_failures];
        for series in deployments {
            series.retain(|it| has(OTHER, &it.model_id));
        }
        self.fallbacks.retain(|it| has(&it.requested_model, "") && has(&it.fallback_model, ""));
    }

    pub(super) fn encode(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.requests.encode(page)?;
        self.failures.encode(page)?;
        for series in [&self.total, &self.upstream, &self.first_token, &self.overhead] {
            series.encode(page)?;
        }
        self.spend.encode(page)?;
        for series in [&self.input_tokens, &self.output_tokens, &self.total_tokens] {
            series.encode(page)?;
        }
        self.deployment_requests.encode(page)?;
        self.deployment_successes.encode(page)?;
        self.deployment_failures.encode(page)?;
        self.fallbacks.encode(page)
    }
}
