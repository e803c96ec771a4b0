//! `telemetry`, as typed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{At, Length};
use crate::ground::secret::Secret;

/// How spans travel.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
pub(in crate::config) enum Protocol {
    /// HTTP with protobuf.
    #[serde(rename = "http/protobuf", alias = "http")]
    Http,
    /// gRPC: needs a build with the feature `otlp-grpc`.
    #[serde(rename = "grpc")]
    Grpc,
}

/// Which of OpenTelemetry's conventions for generative AI the attributes follow.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
pub(in crate::config) enum Semconv {
    /// Those of 1.42, which monitoring systems know.
    #[serde(rename = "1.42")]
    V1_42,
    /// The unreleased head.
    #[serde(rename = "latest")]
    Latest,
    /// Where the two differ, both.
    #[serde(rename = "both")]
    Both,
}

/// Where prompts and answers go.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Capture {
    /// Nowhere.
    None,
    /// Into attributes of the span.
    Span,
    /// Into an event of the span.
    Event,
    /// Into both.
    Both,
}

/// Attributes for one kind of monitoring system.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Mapper {
    /// OpenTelemetry's own: `gen_ai.*`, `mcp.*`.
    GenAi,
    /// OpenInference, which Arize Phoenix reads.
    Openinference,
    /// `langfuse.*`.
    Langfuse,
}

/// Whose trace is gone on with.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Trust {
    /// That of callers who showed a key; others get a new trace with a link.
    Keys,
    /// That of everyone.
    Always,
    /// Nobody's.
    Never,
}

/// Who is told of the trace.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Propagate {
    /// Model providers on this machine or a private network, and MCP servers.
    Internal,
    /// Everyone; baggage still stays within the private network.
    Always,
    /// Nobody.
    Never,
}

/// What monitoring systems are told. Off as long as there is no exporter, here or in the variable
/// `OTEL_EXPORTER_OTLP_ENDPOINT`. OpenTelemetry's variables stand for what is not said here.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct Telemetry {
    /// Where traces go; each gets all of them, by a queue of its own. An empty list switches traces off.
    pub(in crate::config) exporters: Option<At<Vec<At<Exporter>>>>,
    /// The name of this gateway. Default: `tidegate`.
    pub(in crate::config) service_name: Option<String>,
    /// Further facts about this gateway: `deployment.environment.name: lab`.
    pub(in crate::config) resource_attributes: Option<BTreeMap<String, String>>,
    /// The share of traces that are kept, from 0 to 1. Default: 0.1.
    pub(in crate::config) sampling_ratio: Option<At<f64>>,
    /// Keep what a believed caller keeps, and nothing else of his. Default: true.
    pub(in crate::config) parent_based: Option<bool>,
    /// Keep every request that failed on the provider's or the gateway's side, whatever the share.
    /// Default: true.
    pub(in crate::config) keep_errors: Option<bool>,
    /// Keep every request that took longer; `0` for none. Default: 30 s.
    pub(in crate::config) keep_slow_seconds: Option<At<Length>>,
    /// Which conventions the attributes follow. Default: `"1.42"`.
    pub(in crate::config) semconv: Option<Semconv>,
    /// Whether prompts and answers are told too, and where. Default: `none`.
    pub(in crate::config) capture: Option<Capture>,
    /// Which attributes the spans get. Default: `[gen_ai]`.
    pub(in crate::config) attributes: Option<At<Vec<Mapper>>>,
    /// Whose `traceparent` is gone on with. Default: `keys`.
    pub(in crate::config) trust_inbound: Option<Trust>,
    /// Who gets a `traceparent`. Default: `internal`.
    pub(in crate::config) propagate: Option<Propagate>,
}

/// Where traces go.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct Exporter {
    /// The collector: `http://tempo:4318`. `/v1/traces` is appended where it is not there.
    pub(in crate::config) endpoint: Option<At<String>>,
    /// `http/protobuf` or `grpc`. Default: `http/protobuf`.
    pub(in crate::config) protocol: Option<At<Protocol>>,
    /// Headers sent with every export: a key, usually.
    pub(in crate::config) headers: Option<BTreeMap<String, At<Secret>>>,
    /// How long one export may take, repetitions included. Default: 10 s.
    pub(in crate::config) timeout_seconds: Option<At<Length>>,
    /// As `telemetry.attributes`, for this exporter alone.
    pub(in crate::config) attributes: Option<At<Vec<Mapper>>>,
}
