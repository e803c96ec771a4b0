//! `GET /metrics`: what every room counts of itself, on one page, in the form that the reader asks for. Nothing is dialled
//! for it and no database is read.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

use super::status::Status;
use crate::gateway::outgoing::Outgoing;
use crate::gateway::{Gate, fault_response};
use crate::ground::fault::Fault;
use crate::telemetry::metrics::process;

/// OpenMetrics 1.0, the form with exemplars.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that has figures.
struct Page {
    gate: Arc<Gate>,
    status: Arc<Status>,
}

/// Answers with the page.
pub(super) fn answer(
    gate: &Arc<Gate>,
    status: &Arc<Status>,
    headers: &HeaderMap,
) -> Response<Outgoing> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page { gate: gate.clone(), status: status.clone() }));
    let mut page = String::new();
    let is_open = wants_open_metrics(headers);
    let (kind, written) = if is_open {
        (OPEN_METRICS, text::encode(&mut page, &registry))
    } else {
        (prometheus_text::CONTENT_TYPE, prometheus_text::encode(&mut page, &registry))
    };
    if written.is_err() {
        return fault_response(&Fault::bug("the page of metrics could not be written"));
    }
    let mut response = Response::new(Outgoing::Whole(Bytes::from(page)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Whether the reader likes OpenMetrics at least as well as the older text.
fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut open, mut plain) = (0.0_f64, 0.0_f64);
    for kind in accepted.flat_map(|value| value.split(',')) {
        let mut parts = kind.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        match name {
            "application/openmetrics-text" => open = open.max(quality),
            "text/plain" | "text/*" | "*/*" => plain = plain.max(quality),
            _ => {}
        }
    }
    open > 0.0 && open >= plain
}

impl Collector for Page {
    fn encode(&self, mut page: DescriptorEncoder<'_>) -> fmt::Result {
        let page = &mut page;
        self.gate.encode_metrics(page)?;
        self.status.encode_metrics(&self.gate, page)?;
        process::encode(page)
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Page")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::try_from(accept).expect("a header"));
        assert_eq!(wants_open_metrics(&headers), expected, "{accept}");
    }

    #[test]
    fn the_reader_says_which_form() {
        check("*/*", false);
        check("text/plain", false);
        check("application/json", false);
        check("application/openmetrics-text", true);
        check("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.6", false);
        check("application/openmetrics-text;q=0", false);
        // Prometheus 2.42's own.
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            true,
        );
        assert!(!wants_open_metrics(&HeaderMap::new()));
    }
}
