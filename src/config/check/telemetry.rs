//! `telemetry`: exporters that can be reached, and OpenTelemetry's variables for what the file does not say. A variable that
//! cannot be understood is a warning and holds nothing up, as its specification wants it.
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::super::file::settings::LitellmSettings;
use super::super::file::telemetry as typed;
use super::super::file::value::{At, Texts};
use super::super::problem::{Place, show};
use super::super::telemetry::{
    Capture, Exporter, Mappers, Propagate, Protocol, Sampling, Semconv, Telemetry, Trust,
};
use super::Checker;
use super::provider::http_url;
use super::routing::time;
use crate::ground::secret::Secret;

/// Collectors at once: each has a queue.
const MAX_EXPORTERS: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(10);
const PATH: &str = "v1/traces";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// What LiteLLM's file says of it.
pub(super) struct Callbacks {
    /// Where `otel` stands in `callbacks`.
    pub(super) otel: Option<Place>,
    pub(super) forwards: bool,
}

/// What `litellm_settings` says of callbacks; those that are not known here are named.
pub(super) fn callbacks(litellm: &LitellmSettings, checker: &mut Checker<'_, '_>) -> Callbacks {
    let mut otel = None;
    if let Some(At { value: Texts(names), place, hidden }) = &litellm.callbacks {
        let is_otel = |name: &String| matches!(name.as_str(), "otel" | "opentelemetry");
        otel = names.iter().any(is_otel).then_some(*place);
        let is_known = |name: &&String| is_otel(name) || *name == "prometheus";
        for other in names.iter().filter(|name| !is_known(name) && !*hidden) {
            let name = show(other);
            let message = format!("LiteLLM's callback {name} is not honoured by Tidegate");
            checker.warning(*place, message);
        }
    }
    let forwards = litellm.forward_traceparent_to_llm_provider.unwrap_or_default();
    Callbacks { otel, forwards }
}

pub(super) fn telemetry(
    said: &typed::Telemetry,
    callbacks: &Callbacks,
    root: Place,
    checker: &mut Checker<'_, '_>,
) -> Telemetry {
    let mappers = mappers(said.attributes.as_ref(), checker);
    let mut exporters = match &said.exporters {
        Some(listed) => listed_exporters(listed, mappers, checker),
        None => from_environment(mappers, root, checker).into_iter().collect(),
    };
    if let Some(place) = callbacks.otel.filter(|_| exporters.is_empty()) {
        let message = format!(
            "the callback `otel` has nowhere to send to: add `telemetry.exporters`, or set `{ENDPOINT}`"
        );
        checker.warning(place, message);
    }
    let disabled = variable("OTEL_SDK_DISABLED", root, checker);
    if said.exporters.is_none() && disabled.is_some_and(|it| it.eq_ignore_ascii_case("true")) {
        exporters.clear();
    }
    Telemetry {
        resource: resource(said, root, checker),
        sampling: sampling(said, root, checker),
        semconv: semconv(said, root, checker),
        capture: capture(said, root, checker),
        trust_inbound: match said.trust_inbound {
            None | Some(typed::Trust::Keys) => Trust::Keys,
            Some(typed::Trust::Always) => Trust::Always,
            Some(typed::Trust::Never) => Trust::Never,
        },
        propagate: match said.propagate {
            None if callbacks.forwards => Propagate::Always,
            None | Some(typed::Propagate::Internal) => Propagate::Internal,
            Some(typed::Propagate::Always) => Propagate::Always,
            Some(typed::Propagate::Never) => Propagate::Never,
        },
        exporters,
    }
}

fn listed_exporters(
    listed: &At<Vec<At<typed::Exporter>>>,
    mappers: Mappers,
    checker: &mut Checker<'_, '_>,
) -> Vec<Exporter> {
    if listed.value.len() > MAX_EXPORTERS {
        checker.error(listed.place, format!("more than {MAX_EXPORTERS} exporters"));
    }
    let exporters = listed.value.iter().take(MAX_EXPORTERS);
    exporters.filter_map(|entry| exporter(entry, mappers, checker)).collect()
}

fn exporter(
    entry: &At<typed::Exporter>,
    mappers: Mappers,
    checker: &mut Checker<'_, '_>,
) -> Option<Exporter> {
    let value = &entry.value;
    let protocol = match value.protocol.as_ref().map(|at| (at.value, at.place)) {
        None | Some((typed::Protocol::Http, _)) => Protocol::Http,
        Some((typed::Protocol::Grpc, place)) => {
            if !cfg!(feature = "otlp-grpc") {
                let message = "`protocol: grpc` needs a build with the feature `otlp-grpc`; this one has \
                               `http/protobuf`, which collectors take at port 4318";
                checker.error(place, message);
            }
            Protocol::Grpc
        }
    };
    let headers = value.headers.iter().flatten();
    let headers = headers.filter_map(|(name, secret)| {
        let parsed = HeaderName::try_from(name.as_str()).ok();
        if parsed.is_none() || HeaderValue::from_str(secret.value.expose()).is_err() {
            checker.error(secret.place, "a header that HTTP cannot carry");
        }
        Some((parsed?, secret.value.clone()))
    });
    let headers = headers.collect();
    let timeout = value.timeout_seconds.as_ref();
    let timeout = time("timeout_seconds", timeout, checker).unwrap_or(TIMEOUT);
    let mappers = match &value.attributes {
        Some(own) => self::mappers(Some(own), checker),
        None => mappers,
    };
    let Some(endpoint) = &value.endpoint else {
        checker.missing(entry, "endpoint");
        return None;
    };
    match http_url(&endpoint.value) {
        Ok(url) => {
            let endpoint = with_path(url, protocol);
            Some(Exporter { endpoint, protocol, headers, timeout, mappers })
        }
        Err(message) => {
            checker.error(endpoint.place, format!("`endpoint`: {message}"));
            None
        }
    }
}

/// The one exporter that the variables describe.
fn from_environment(
    mappers: Mappers,
    root: Place,
    checker: &mut Checker<'_, '_>,
) -> Option<Exporter> {
    let traces = variable(TRACES_ENDPOINT, root, checker);
    let common = variable(ENDPOINT, root, checker);
    let (name, text, is_whole) = match (traces, common) {
        (Some(text), _) => (TRACES_ENDPOINT, text, true),
        (None, Some(text)) => (ENDPOINT, text, false),
        (None, None) => return None,
    };
    let mut either = |what: &str| {
        let own = variable(&format!("OTEL_EXPORTER_OTLP_TRACES_{what}"), root, checker);
        let common = variable(&format!("OTEL_EXPORTER_OTLP_{what}"), root, checker);
        own.or(common)
    };
    let (protocol, headers) = (either("PROTOCOL"), either("HEADERS"));
    let timeout = either("TIMEOUT");
    let protocol = match protocol.as_deref() {
        None | Some("http/protobuf") => Protocol::Http,
        Some("grpc") if cfg!(feature = "otlp-grpc") => Protocol::Grpc,
        Some(_) => {
            let message = "`OTEL_EXPORTER_OTLP_PROTOCOL`: this build speaks `http/protobuf`, and so does it here";
            checker.warning(root, message);
            Protocol::Http
        }
    };
    let url = match http_url(&text) {
        Ok(url) => url,
        Err(message) => {
            checker.warning(root, format!("`{name}`: {message}; traces stay off"));
            return None;
        }
    };
    let endpoint = if is_whole { url } else { with_path(url, protocol) };
    let timeout = timeout.map(|text| text.trim().parse().map(Duration::from_millis));
    let timeout = timeout.unwrap_or(Ok(TIMEOUT)).unwrap_or_else(|_| {
        checker.warning(root, "`OTEL_EXPORTER_OTLP_TIMEOUT` is a number of milliseconds");
        TIMEOUT
    });
    let pairs = pairs(headers.as_deref().map_or("", |text| text));
    let headers = pairs.filter_map(|(name, value)| {
        let header = HeaderName::try_from(name).ok();
        if header.is_none() || HeaderValue::from_str(&value).is_err() {
            checker.warning(root, "`OTEL_EXPORTER_OTLP_HEADERS` holds what is no header");
        }
        Some((header?, Secret::new(value)))
    });
    Some(Exporter { headers: headers.collect(), endpoint, protocol, timeout, mappers })
}

/// The address of spans below a collector's. gRPC has a path of its own.
fn with_path(mut url: Url, protocol: Protocol) -> Url {
    let path = url.path().trim_end_matches('/').to_owned();
    if protocol == Protocol::Http && !path.ends_with(PATH) {
        url.set_path(&format!("{path}/{PATH}"));
    }
    url
}

fn mappers(listed: Option<&At<Vec<typed::Mapper>>>, checker: &mut Checker<'_, '_>) -> Mappers {
    let Some(listed) = listed else { return Mappers { gen_ai: true, ..Mappers::default() } };
    if listed.value.is_empty() {
        checker.error(
            listed.place,
            "`attributes` names at least one of `gen_ai`, `openinference`, `langfuse`",
        );
    }
    Mappers {
        gen_ai: listed.value.contains(&typed::Mapper::GenAi),
        openinference: listed.value.contains(&typed::Mapper::Openinference),
        langfuse: listed.value.contains(&typed::Mapper::Langfuse),
    }
}

fn resource(
    said: &typed::Telemetry,
    root: Place,
    checker: &mut Checker<'_, '_>,
) -> BTreeMap<String, String> {
    let mut resource = BTreeMap::from([("service.name".to_owned(), "tidegate".to_owned())]);
    if let Some(text) = variable("OTEL_RESOURCE_ATTRIBUTES", root, checker) {
        resource.extend(pairs(&text).map(|(name, value)| (name.to_owned(), value)));
    }
    if let Some(name) = variable("OTEL_SERVICE_NAME", root, checker) {
        resource.insert("service.name".into(), name);
    }
    resource.extend(said.resource_attributes.clone().unwrap_or_default());
    if let Some(name) = &said.service_name {
        resource.insert("service.name".into(), name.clone());
    }
    resource
}

fn sampling(said: &typed::Telemetry, root: Place, checker: &mut Checker<'_, '_>) -> Sampling {
    let mut sampling = Sampling::default();
    let sampler = variable("OTEL_TRACES_SAMPLER", root, checker);
    let argument = variable("OTEL_TRACES_SAMPLER_ARG", root, checker);
    if let Some(sampler) = sampler {
        let (is_based, kind) = match sampler.strip_prefix("parentbased_") {
            Some(kind) => (true, kind),
            None => (false, sampler.as_str()),
        };
        let ratio = argument.as_deref().map_or(Ok(1.0), str::parse::<f64>);
        match (kind, ratio) {
            ("always_on", _) => sampling.ratio = 1.0,
            // Off is off: what failed is not kept either.
            ("always_off", _) => {
                sampling.ratio = 0.0;
                sampling.keep_errors = false;
                sampling.keep_slower = None;
            }
            ("traceidratio", Ok(ratio)) if (0.0..=1.0).contains(&ratio) => sampling.ratio = ratio,
            _ => {
                let message = "`OTEL_TRACES_SAMPLER` and its `_ARG` are not understood: the sampler is \
                               `always_on`, `always_off` or `traceidratio`, each also with `parentbased_` before it, \
                               the argument a number from 0 to 1";
                checker.warning(root, message);
            }
        }
        sampling.parent_based = is_based;
    }
    if let Some(ratio) = &said.sampling_ratio {
        if !(0.0..=1.0).contains(&ratio.value) {
            checker.error(ratio.place, "`sampling_ratio` is a number from 0 to 1");
        }
        sampling.ratio = ratio.value;
    }
    sampling.parent_based = said.parent_based.unwrap_or(sampling.parent_based);
    sampling.keep_errors = said.keep_errors.unwrap_or(sampling.keep_errors);
    if let Some(slow) = &said.keep_slow_seconds {
        sampling.keep_slower = Some(slow.value.0).filter(|slow| !slow.is_zero());
    }
    sampling
}

fn semconv(said: &typed::Telemetry, root: Place, checker: &mut Checker<'_, '_>) -> Semconv {
    let opted = variable("OTEL_SEMCONV_STABILITY_OPT_IN", root, checker);
    let is_latest = opted.is_some_and(|text| {
        text.split(',').any(|word| word.trim() == "gen_ai_latest_experimental")
    });
    match said.semconv {
        Some(typed::Semconv::V1_42) => Semconv::V1_42,
        Some(typed::Semconv::Latest) => Semconv::Latest,
        Some(typed::Semconv::Both) => Semconv::Both,
        None if is_latest => Semconv::Latest,
        None => Semconv::V1_42,
    }
}

fn capture(said: &typed::Telemetry, root: Place, checker: &mut Checker<'_, '_>) -> Capture {
    const NAME: &str = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
    let variable = variable(NAME, root, checker).map(|text| text.to_ascii_lowercase());
    match said.capture {
        Some(typed::Capture::None) => return Capture::None,
        Some(typed::Capture::Span) => return Capture::Span,
        Some(typed::Capture::Event) => return Capture::Event,
        Some(typed::Capture::Both) => return Capture::Both,
        None => {}
    }
    match variable.as_deref() {
        None | Some("false" | "no_content") => Capture::None,
        Some("true" | "span_only") => Capture::Span,
        Some("event_only") => Capture::Event,
        Some("span_and_event") => Capture::Both,
        Some(_) => {
            let message = format!(
                "`{NAME}` is `NO_CONTENT`, `SPAN_ONLY`, `EVENT_ONLY` or `SPAN_AND_EVENT`; nothing is captured"
            );
            checker.warning(root, message);
            Capture::None
        }
    }
}

fn variable(name: &str, root: Place, checker: &mut Checker<'_, '_>) -> Option<String> {
    checker.variable(name, root).map(|value| value.as_str().to_owned())
}

/// `a=1,b=2`, with values percent-encoded, as W3C's baggage has it.
fn pairs(text: &str) -> impl Iterator<Item = (&str, String)> {
    text.split(',').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim(), decoded(value.trim())))
    })
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = text.get(at + 1..at + 3).filter(|_| byte == b'%');
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(code) => {
                out.push(code);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
