//! What the gate itself tells on the page of metrics: what is in progress, who was refused, how deployments are. Read where
//! the page is made; only refusals are counted as they happen.

use std::fmt;

use http::HeaderMap;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::counter::Counter;

use super::admit::{self, Caller};
use super::{Gate, Live};
use crate::config::snapshot::{Deployment, Group};
use crate::ground::fault::{Fault, Kind};
use crate::ground::series::{self, Series};

/// Callers that were not let in.
#[derive(Debug)]
pub(super) struct AuthFailures(Series<Reason, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// As the configuration calls it: what leads from a digest to an entry of `model_list`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Info {
    deployment: String,
    model_group: String,
    provider: &'static str,
    model: String,
}

impl From<&Deployment> for Info {
    fn from(deployment: &Deployment) -> Self {
        Self {
            deployment: deployment.id.clone(),
            model_group: deployment.group.clone(),
            provider: deployment.provider.name,
            model: deployment.model.as_str().to_owned(),
        }
    }
}

impl Default for AuthFailures {
    fn default() -> Self {
        let help = "Callers whose key was missing, unknown, expired or blocked";
        let series = Series::counters("tidegate_auth_failures", help);
        for reason in ["missing", "unknown", "expired", "blocked"] {
            series.with(Reason { reason }, |_| {});
        }
        Self(series)
    }
}

impl Gate {
    /// Finds the caller, and counts one who is not let in.
    ///
    /// # Errors
    /// See [`admit::identify`].
    pub fn identify(&self, live: &Live, headers: &HeaderMap) -> Result<Caller, Fault> {
        admit::identify(&live.snapshot.keys, headers).inspect_err(|fault| {
            let reason = match fault.kind {
                Kind::ExpiredKey => "expired",
                Kind::BlockedKey => "blocked",
                _ if admit::presented(headers).is_none() => "missing",
                _ => "unknown",
            };
            self.auth_failures.0.with(Reason { reason }, |count| _ = count.inc());
        })
    }

    /// Writes everything that requests come to, finished or not, onto a page.
    ///
    /// # Errors
    /// The page refuses.
    pub fn encode_metrics(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.observers.metrics.encode(page)?;
        let help = "Spans that were not exported";
        let spans = self.observers.traces.spans_dropped();
        series::counter(page, "tidegate_spans_dropped", help, spans)?;
        self.observers.log.encode(page)?;
        self.load.encode(page)?;
        self.auth_failures.0.encode(page)?;
        let live = self.live();
        let models = &live.snapshot.models;
        let wild = models.wildcards.iter().map(|(_, group)| group);
        let groups: Vec<&Group> =
            models.groups.values().chain(wild).map(|group| &**group).collect();
        let of_all = |value: fn(&Live, &Group, &Deployment) -> i64| {
            let live = &live;
            let of_group = move |group: &'_ Group| -> Vec<([(&'static str, String); 1], i64)> {
                let of = |it: &std::sync::Arc<Deployment>| {
                    ([("deployment", it.id.clone())], value(live, group, it))
                };
                group.deployments.iter().map(of).collect()
            };
            groups.iter().copied().flat_map(of_group).collect::<Vec<_>>()
        };
        let help = "How a deployment is: 0 well, 1 it failed a moment ago and is the only one of its group, 2 passed over";
        series::gauges(page, "tidegate_deployment_state", help, of_all(state))?;
        let help = "What the id of a deployment stands for; always 1";
        let deployments = groups.iter().flat_map(|group| &group.deployments);
        let infos = deployments.map(|it| (Info::from(&**it), 1));
        series::gauges(page, "tidegate_deployment_info", help, infos)?;
        if live.snapshot.metrics.litellm_names {
            let states =
                of_all(state).into_iter().map(|([(_, id)], state)| ([("model_id", id)], state));
            series::gauges(page, "litellm_deployment_state", "As in LiteLLM", states)?;
            let running = self.load.in_flight();
            series::gauge(page, "litellm_in_flight_requests", "As in LiteLLM", running)?;
        }
        Ok(())
    }
}

fn state(live: &Live, group: &Group, deployment: &Deployment) -> i64 {
    let is_cooling = live.ward.get(&deployment.id).is_some_and(|health| health.is_cooling());
    match group.deployments.len() {
        _ if !is_cooling => 0,
        // It is never passed over.
        1 => 1,
        _ => 2,
    }
}
