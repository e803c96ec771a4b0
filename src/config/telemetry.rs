//! What is resolved of `telemetry`: where traces go, which are kept, whose are gone on with. Immutable, like the rest of the
//! snapshot. Decides for single traces and addresses, and knows nothing of spans or collectors' protocols.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::{Host, Url};

use crate::ground::secret::Secret;
use crate::ground::trace::{Claim, SpanPlace, Trace};

/// `telemetry`.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// None: there are no traces.
    pub exporters: Vec<Exporter>,
    /// `service.name` among them.
    pub resource: BTreeMap<String, String>,
    pub sampling: Sampling,
    pub semconv: Semconv,
    pub capture: Capture,
    pub trust_inbound: Trust,
    pub propagate: Propagate,
}

/// One collector.
#[derive(Clone, Debug, PartialEq)]
pub struct Exporter {
    /// Where spans are sent: for HTTP with the path, for gRPC without.
    pub endpoint: Url,
    pub protocol: Protocol,
    pub headers: Vec<(HeaderName, Secret)>,
    /// Of one export, repetitions included.
    pub timeout: Duration,
    pub mappers: Mappers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Grpc,
}

/// Which attributes spans get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mappers {
    pub gen_ai: bool,
    pub openinference: bool,
    pub langfuse: bool,
}

/// Which traces are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// From 0 to 1.
    pub ratio: f64,
    /// A believed caller decides for its own traces.
    pub parent_based: bool,
    pub keep_errors: bool,
    /// What took longer is kept.
    pub keep_slower: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semconv {
    V1_42,
    Latest,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    None,
    Span,
    Event,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    Keys,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagate {
    Internal,
    Always,
    Never,
}

impl Protocol {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http/protobuf",
            Self::Grpc => "grpc",
        }
    }
}

impl Semconv {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::V1_42 => "1.42",
            Self::Latest => "latest",
            Self::Both => "both",
        }
    }
}

impl Capture {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Span => "span",
            Self::Event => "event",
            Self::Both => "both",
        }
    }
}

impl Trust {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

impl Propagate {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            exporters: Vec::new(),
            resource: BTreeMap::new(),
            sampling: Sampling::default(),
            semconv: Semconv::V1_42,
            capture: Capture::None,
            trust_inbound: Trust::Keys,
            propagate: Propagate::Internal,
        }
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            ratio: 0.1,
            parent_based: true,
            keep_errors: true,
            keep_slower: Some(Duration::from_secs(30)),
        }
    }
}

impl Telemetry {
    pub fn is_on(&self) -> bool {
        !self.exporters.is_empty()
    }

    /// Whether one at an address is told of the trace.
    pub fn tells(&self, address: &Url) -> bool {
        match self.propagate {
            Propagate::Never => false,
            Propagate::Always => true,
            Propagate::Internal => is_internal(address),
        }
    }

    /// Whose trace a request is part of: the caller's, where that one is believed, or a new one that has a link to what was
    /// claimed. `is_known`: the caller showed a key.
    pub fn decide(&self, claim: Option<Claim>, is_known: bool) -> Trace {
        match claim {
            Some(claim) if self.believes(is_known) => {
                let sampled = self.sampling.draws(claim.place.trace_id, Some(claim.sampled));
                Trace::of(claim, new_span_id(), sampled)
            }
            claim => {
                let place = SpanPlace { trace_id: fastrand::u128(1..), span_id: new_span_id() };
                let sampled = self.sampling.draws(place.trace_id, None);
                Trace::new(place, sampled, claim.map(|claim| claim.place))
            }
        }
    }

    /// Whether a caller's own trace is gone on with.
    pub fn believes(&self, is_known: bool) -> bool {
        match self.trust_inbound {
            Trust::Always => true,
            Trust::Keys => is_known,
            Trust::Never => false,
        }
    }

    pub fn captures(&self) -> bool {
        self.capture != Capture::None
    }
}

impl Sampling {
    /// Whether a request that is over is kept; `is_drawn`: what was decided when it began.
    pub fn keeps(&self, is_drawn: bool, has_failed: bool, lasted: Duration) -> bool {
        is_drawn
            || (has_failed && self.keep_errors)
            || self.keep_slower.is_some_and(|slow| lasted > slow)
    }

    /// Whether one that has only begun may come to be.
    pub fn may_keep(&self, is_drawn: bool) -> bool {
        self.keeps(is_drawn, true, Duration::MAX)
    }

    /// Whether a trace is drawn to be kept; `parent`: what a believed caller decided. The same trace is drawn alike by
    /// every gateway with the same share.
    pub fn draws(&self, trace_id: u128, parent: Option<bool>) -> bool {
        if let Some(parent) = parent.filter(|_| self.parent_based) {
            return parent;
        }
        if self.ratio >= 1.0 {
            return true;
        }
        // The lower 63 bits, as OpenTelemetry's `TraceIdRatioBased` takes them.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of 2^63, above zero"
        )]
        let bound = (self.ratio.max(0.0) * (1_u64 << 63) as f64) as u64;
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
        let drawn = (trace_id as u64) >> 1;
        drawn < bound
    }
}

/// A span's id that no other has.
pub fn new_span_id() -> u64 {
    fastrand::u64(1..)
}

impl Exporter {
    /// The headers, for the one place that puts them on the wire.
    pub fn exposed(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        self.headers.iter().filter_map(|(name, value)| {
            let mut value = HeaderValue::from_str(value.expose()).ok()?;
            value.set_sensitive(true);
            Some((name.clone(), value))
        })
    }
}

/// Whether an address is of this machine or of a private network: an address of one, a name without a dot, or below a domain
/// that only private networks have (RFC 6761, RFC 6762, RFC 8375, ICANN's `.internal`, Kubernetes' `.svc`).
pub fn is_internal(address: &Url) -> bool {
    match address.host() {
        Some(Host::Ipv4(ip)) => is_private(ip.into()),
        Some(Host::Ipv6(ip)) => is_private(IpAddr::from(ip).to_canonical()),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            let private = ["localhost", "local", "internal", "lan", "home.arpa", "svc"];
            let is_below = |domain: &str| {
                name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            !name.contains('.') || private.into_iter().any(is_below)
        }
        None => false,
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_are_known_by_address_and_name() {
        for (host, expected) in [
            ("127.0.0.1", true),
            ("192.168.1.9", true),
            ("10.1.2.3", true),
            ("172.20.0.2", true),
            ("[::1]", true),
            ("[fd00::1]", true),
            ("[::ffff:10.0.0.1]", true),
            ("vllm", true),
            ("gpu.lan", true),
            ("host.docker.internal", true),
            ("vllm.models.svc", true),
            ("api.openai.com", false),
            ("8.8.8.8", false),
            ("172.32.0.1", false),
            ("[2001:4860::1]", false),
            ("notinternal", true),
            ("evil-internal.com", false),
            ("xlocal.dev", false),
        ] {
            let url = Url::parse(&format!("http://{host}:8000/v1")).expect("a URL");
            assert_eq!(is_internal(&url), expected, "{host}");
        }
    }

    #[test]
    fn a_share_is_drawn_by_the_trace_alone() {
        let draws =
            |ratio: f64, id: u128| Sampling { ratio, ..Sampling::default() }.draws(id, None);
        let low = (7_u128 << 64) | 1;
        let high = u128::MAX;
        assert!(draws(1.0, high) && draws(0.5, low) && !draws(0.5, high) && !draws(0.0, low));
        let kept = (0..10_000_u64).filter(|at| {
            // Knuth's multiplier spreads the numbers.
            draws(0.1, u128::from(at.wrapping_mul(0x9E37_79B9_7F4A_7C15)) | (1 << 64))
        });
        assert!((900..1_100).contains(&kept.count()));
        let none = Sampling { ratio: 0.0, ..Sampling::default() };
        assert!(none.draws(low, Some(true)) && !none.draws(low, Some(false)));
        let own = Sampling { parent_based: false, ..none };
        assert!(!own.draws(low, Some(true)));
    }
}
