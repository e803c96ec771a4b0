//! What stands in the labels of request metrics. Every value is one of few: names that the configuration has, words that
//! stand here or in a table of the code. What a client or a provider made up becomes `other`.

use std::collections::HashSet;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;

use crate::config::snapshot::Snapshot;

/// What stands for a name that the configuration does not have.
pub(super) const OTHER: &str = "other";

/// `error_type` of rows that metrics tell apart: the gateway's own, and what providers customarily say.
const ERROR_TYPES: &[&str] = &[
    "api_error",
    "authentication_error",
    "billing_error",
    "budget_exceeded",
    "client_closed_request",
    "content_filter",
    "content_policy_violation",
    "context_length_exceeded",
    "expired_key",
    "insufficient_quota",
    "internal_error",
    "invalid_api_key",
    "invalid_request_error",
    "key_blocked",
    "method_not_allowed",
    "model_access_denied",
    "model_not_found",
    "not_found_error",
    "overloaded_error",
    "permission_error",
    "rate_limit_error",
    "rate_limit_exceeded",
    "request_timeout",
    "request_too_large",
    "response_not_found",
    "route_access_denied",
    "server_error",
    "server_is_overloaded",
    "server_shutting_down",
    "timeout_error",
    "tool_access_denied",
    "unsupported_media_type",
    "unsupported_operation",
    "upstream_invalid_response",
    "upstream_stream_error",
    "upstream_timeout",
    "upstream_unreachable",
];

/// Statuses that metrics tell apart.
const STATUSES: &[u16] = &[
    200, 201, 202, 204, 400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 422, 424, 426, 429, 499,
    500, 501, 502, 503, 504, 529,
];

/// Names that have series: those of the configuration in force.
#[derive(Debug, Default)]
pub(super) struct Known {
    groups: HashSet<Arc<str>>,
    deployments: HashSet<Arc<str>>,
    /// Whether LiteLLM's names are wanted.
    pub(super) litellm_names: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct Finished {
    pub(super) surface: &'static str,
    pub(super) model_group: Arc<str>,
    pub(super) provider: &'static str,
    pub(super) code: u16,
    pub(super) error_type: &'static str,
}

/// Where most of a request's metrics are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) surface: &'static str,
    pub(super) model_group: Arc<str>,
    pub(super) provider: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct Surface {
    pub(super) surface: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct SurfaceOfGroup {
    pub(super) surface: &'static str,
    pub(super) model_group: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct Served {
    pub(super) model_group: Arc<str>,
    pub(super) provider: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct Tokens {
    pub(super) model_group: Arc<str>,
    pub(super) provider: &'static str,
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct Tried {
    pub(super) deployment: Arc<str>,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct Retried {
    pub(super) deployment: Arc<str>,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct FellBack {
    pub(super) from: Arc<str>,
    pub(super) to: Arc<str>,
}

/// The label of an exemplar.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Trace {
    pub(super) trace_id: String,
}

impl Known {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let models = &snapshot.models;
        let wild = models.wildcards.iter().map(|(_, group)| group);
        let groups = models.groups.values().chain(wild).map(|group| group.name.as_str().into());
        let deployments = models.deployments().map(|deployment| deployment.id.as_str().into());
        Self {
            groups: groups.collect(),
            deployments: deployments.collect(),
            litellm_names: snapshot.metrics.litellm_names,
        }
    }

    pub(super) fn group(&self, name: Option<&str>) -> Arc<str> {
        name.and_then(|name| self.groups.get(name)).cloned().unwrap_or_else(|| OTHER.into())
    }

    pub(super) fn deployment(&self, id: &str) -> Arc<str> {
        self.deployments.get(id).cloned().unwrap_or_else(|| OTHER.into())
    }

    pub(super) fn has_group(&self, name: &str) -> bool {
        name == OTHER || self.groups.contains(name)
    }

    pub(super) fn has_deployment(&self, id: &str) -> bool {
        id == OTHER || self.deployments.contains(id)
    }
}

/// A status that is not told apart counts as the first of its class, as RFC 9110 section 15 has clients treat it.
pub(super) fn code(status: u16) -> u16 {
    if STATUSES.contains(&status) { status } else { status / 100 * 100 }
}

/// The word for a row's `error_type`; empty for none.
pub(super) fn error_type(text: Option<&str>) -> &'static str {
    let Some(text) = text else { return "" };
    ERROR_TYPES.iter().find(|known| **known == text).copied().unwrap_or(OTHER)
}
