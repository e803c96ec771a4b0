//! From what came of a request to the answer that leaves: the head with the gateway's own headers, and faults in the words
//! of the client's format. What was decided before is not looked at again.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

use super::Live;
use super::begin::{Begun, Content};
use super::endpoint::Endpoint;
use super::outgoing::Outgoing;
use super::record::{Record, Times};
use super::relay::{Flow, Manner, Relay};
use crate::ground::fault::{Fault, Kind};
use crate::wire::codec::ClientHalf;
use crate::wire::{formats, openai_error, trace};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CALL_ID: HeaderName = HeaderName::from_static("x-litellm-call-id");
const MODEL_ID: HeaderName = HeaderName::from_static("x-litellm-model-id");
const RESPONSE_TIME: HeaderName = HeaderName::from_static("x-litellm-response-duration-ms");
/// As LiteLLM has it: US dollars. What flows has no such header, since its cost is known at its end only.
const COST: HeaderName = HeaderName::from_static("x-litellm-response-cost");
const OVERHEAD: HeaderName = HeaderName::from_static("x-litellm-overhead-duration-ms");
const LOSS: HeaderName = HeaderName::from_static("x-tidegate-loss");
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// How an answer that flows is to be relayed.
fn manner(live: &Live, headers: &HeaderMap, flow: Flow, strip_usage: bool) -> Manner {
    let events = flow.is_events();
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    Manner {
        flow,
        strip_usage: events && strip_usage,
        length: length.filter(|_| !events).and_then(|length| length.parse().ok()),
        ping_interval: live.snapshot.limits.ping_interval,
        idle: live.snapshot.routing.stream_idle_timeout,
    }
}

/// The head of an answer, and the body that follows.
pub(super) fn respond(
    live: &Live,
    begun: Begun,
    strip_usage: bool,
    mut record: Record,
) -> Response<Outgoing> {
    let times = record.begin_answer(200);
    let mut headers = passed_back(&begun.headers);
    if let Content::Whole(_) = begun.content {
        record.note_content();
        record.note_tap(&begun.tap);
    }
    gateway_headers(&mut headers, &record, times);
    if !begun.losses.is_empty()
        && let Ok(paths) = HeaderValue::try_from(begun.losses.paths())
    {
        headers.insert(LOSS, paths);
    }
    let body = match begun.content {
        Content::Whole(bytes) => {
            record.note_sent(&bytes);
            record.end();
            if let Some(keeper) = begun.keeper {
                keeper.keep(begun.tap.response_id.as_deref(), begun.kept.as_deref());
            }
            Outgoing::Whole(bytes)
        }
        // It has gone on long before.
        Content::Round(_) => Outgoing::Whole(Bytes::new()),
        Content::Flowing { first, rest, flow } => {
            if flow.is_events() {
                headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            }
            let manner = manner(live, &begun.headers, flow, strip_usage);
            Outgoing::Relay(Box::new(Relay::new(
                first,
                rest,
                manner,
                begun.tap,
                begun.keeper,
                record,
            )))
        }
    };
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}

/// A fault as an answer, in the words of the client's format.
pub(super) fn refuse(endpoint: &Endpoint, fault: Fault, mut record: Record) -> Response<Outgoing> {
    let fault = &fault;
    if fault.kind == Kind::Bug {
        let trace_id = record.trace().map(|trace| trace.place.trace_hex());
        tracing::error!(request_id = %record.id(), trace_id, message = %fault.message, "internal fault");
    }
    let mut response = fault_response_to(endpoint, fault);
    record.note_fault(fault);
    // The status that the client sees: Anthropic's have one of their own.
    let times = record.begin_answer(response.status().as_u16());
    gateway_headers(response.headers_mut(), &record, times);
    if let Outgoing::Whole(bytes) = response.body() {
        record.note_sent(bytes);
    }
    record.end();
    response
}

/// A fault as an answer to a request of an endpoint, in the shape its clients read.
pub fn fault_response_to(endpoint: &Endpoint, fault: &Fault) -> Response<Outgoing> {
    match endpoint.client() {
        Some(client) => fault_response_as(client, fault),
        None => fault_response(fault),
    }
}

/// A fault as an answer in the words of one format.
pub fn fault_response_as(client: &ClientHalf, fault: &Fault) -> Response<Outgoing> {
    shaped(fault, (client.error)(fault), formats::status(client, fault))
}

/// A fault as an answer, in OpenAI's shape: what the router says, too.
pub fn fault_response(fault: &Fault) -> Response<Outgoing> {
    shaped(fault, openai_error::body(fault), fault.status())
}

fn shaped(fault: &Fault, body: Bytes, status: u16) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::Whole(body));
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    };
    if let Some(seconds) = fault.retry_after() {
        add("retry-after", seconds);
    }
    for (name, value) in fault.details().into_iter().flat_map(|details| &details.headers) {
        add(name, value);
    }
    response
}

/// The provider's headers that mean something to the client; cookies, server names and framing stay.
fn passed_back(from: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    for (name, value) in from {
        let text = name.as_str();
        let passes = matches!(
            text,
            "content-type"
                | "content-disposition"
                | "retry-after"
                | "retry-after-ms"
                | "x-should-retry"
                | "openai-processing-ms"
                | "openai-version"
        ) || text.starts_with("x-ratelimit-")
            || text.starts_with("anthropic-ratelimit-");
        if passes {
            headers.append(name, value.clone());
        }
    }
    headers
}

/// Microseconds as milliseconds with three decimals, written without the formatting machinery: it is
/// done twice for each request.
struct Milliseconds {
    digits: [u8; 24],
    start: usize,
}

impl Milliseconds {
    fn new(micros: u64) -> Self {
        let mut text = Self { digits: [b'0'; 24], start: 24 };
        let mut rest = micros;
        for place in 0.. {
            if place > 3 && rest == 0 {
                break;
            }
            if place == 3 {
                text.push(b'.');
            }
            text.push(b'0' + u8::try_from(rest % 10).unwrap_or_default());
            rest /= 10;
        }
        text
    }

    fn push(&mut self, byte: u8) {
        if let Some(start) = self.start.checked_sub(1)
            && let Some(slot) = self.digits.get_mut(start)
        {
            *slot = byte;
            self.start = start;
        }
    }

    fn as_str(&self) -> &str {
        let digits = self.digits.get(self.start..).unwrap_or_default();
        std::str::from_utf8(digits).unwrap_or_default()
    }
}

fn gateway_headers(headers: &mut HeaderMap, record: &Record, times: Times) {
    let value = |text: &str| HeaderValue::try_from(text).ok();
    let milliseconds = |micros| value(Milliseconds::new(micros).as_str());
    let mut buffer = uuid::Uuid::encode_buffer();
    let id = value(record.id().hyphenated().encode_lower(&mut buffer));
    if let Some(trace) = record.trace() {
        trace::tell_caller(trace, headers);
    }
    let all = [
        (REQUEST_ID, id.clone()),
        (CALL_ID, id),
        (MODEL_ID, record.deployment().and_then(value)),
        (COST, record.cost().and_then(|usd| value(&usd.to_python()))),
        (RESPONSE_TIME, milliseconds(times.whole_us)),
        (OVERHEAD, milliseconds(times.ours_us)),
    ];
    for (name, value) in all {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_three_decimals() {
        for micros in [0, 7, 999, 1_000, 1_234_567, u64::MAX] {
            let expected = format!("{}.{:03}", micros / 1000, micros % 1000);
            assert_eq!(Milliseconds::new(micros).as_str(), expected);
        }
    }
}
