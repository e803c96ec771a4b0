//! The section `telemetry`, told as it is in the file: where traces go, and what is in them.

use serde_json::{Value, json};

use super::{Seals, Section, put, seconds, shown_url};
use crate::config::telemetry::{Exporter, Mappers, Sampling, Telemetry};

pub(super) fn section(telemetry: &Telemetry, seals: &Seals) -> Section {
    let Telemetry { exporters, resource, sampling, semconv, capture, trust_inbound, propagate } =
        telemetry;
    let Sampling { ratio, parent_based, keep_errors, keep_slower } = sampling;
    let mut section = Section::new();
    let exporters: Vec<Value> = exporters.iter().map(|it| exporter(it, seals)).collect();
    put(&mut section, "exporters", json!(exporters));
    put(&mut section, "resource_attributes", json!(resource));
    put(&mut section, "sampling_ratio", json!(ratio));
    put(&mut section, "parent_based", json!(parent_based));
    put(&mut section, "keep_errors", json!(keep_errors));
    put(&mut section, "keep_slow_seconds", json!(keep_slower.map(seconds)));
    put(&mut section, "semconv", json!(semconv.as_str()));
    put(&mut section, "capture", json!(capture.as_str()));
    put(&mut section, "trust_inbound", json!(trust_inbound.as_str()));
    put(&mut section, "propagate", json!(propagate.as_str()));
    section
}

fn exporter(exporter: &Exporter, seals: &Seals) -> Value {
    let Exporter { endpoint, protocol, headers, timeout, mappers } = exporter;
    let Mappers { gen_ai, openinference, langfuse } = *mappers;
    let named = [(gen_ai, "gen_ai"), (openinference, "openinference"), (langfuse, "langfuse")];
    let attributes: Vec<&str> = named.iter().filter(|(is_on, _)| *is_on).map(|it| it.1).collect();
    let headers: Section = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), seals.seal(value.expose())))
        .collect();
    let mut section = Section::new();
    put(&mut section, "endpoint", json!(shown_url(endpoint)));
    put(&mut section, "protocol", json!(protocol.as_str()));
    put(&mut section, "headers", json!(headers));
    put(&mut section, "timeout_seconds", seconds(*timeout));
    put(&mut section, "attributes", json!(attributes));
    section.into()
}
