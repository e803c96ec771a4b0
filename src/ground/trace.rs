//! The trace that a request is part of: what a caller claims of it in W3C's words, what becomes of that, and what is passed
//! on. Pure text and numbers; who is believed, and which traces are kept, is decided above.
//! <https://www.w3.org/TR/trace-context/>, <https://www.w3.org/TR/baggage/>

use std::sync::Arc;

/// The longest `tracestate` that is passed on, and its most members: what W3C wants of everybody at least.
const MAX_STATE: (usize, usize) = (512, 32);
/// The same of `baggage`.
const MAX_BAGGAGE: (usize, usize) = (8_192, 64);

/// One span in one trace. Neither number is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanPlace {
    pub trace_id: u128,
    pub span_id: u64,
}

/// What a caller says of the trace that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub place: SpanPlace,
    pub sampled: bool,
    /// Within bounds, as it came.
    pub state: Option<Arc<str>>,
    /// Within bounds, as it came.
    pub baggage: Option<Arc<str>>,
}

/// The trace of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The request's own span.
    pub place: SpanPlace,
    /// The caller's span, where the caller is believed.
    pub parent: Option<u64>,
    /// A span of another trace, or of the same, that had to do with it.
    pub link: Option<SpanPlace>,
    /// It was drawn to be kept, here or by the caller.
    pub sampled: bool,
    pub state: Option<Arc<str>>,
    pub baggage: Option<Arc<str>>,
}

/// What is passed on to one who is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carrier {
    pub traceparent: String,
    pub state: Option<Arc<str>>,
    pub baggage: Option<Arc<str>>,
}

impl SpanPlace {
    /// The trace's id as 32 hexadecimal digits, the form of logs and of `traceparent`.
    pub fn trace_hex(self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The span's id as 16 hexadecimal digits.
    pub fn span_hex(self) -> String {
        format!("{:016x}", self.span_id)
    }

    /// A `traceparent` of version 00.
    pub fn traceparent(self, sampled: bool) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(sampled))
    }
}

impl Claim {
    /// What the three headers, or members of MCP's `_meta`, say. `None` where there is no `traceparent`, or one that is none:
    /// then the others mean nothing either.
    pub fn read(
        traceparent: Option<&str>,
        state: Option<&str>,
        baggage: Option<&str>,
    ) -> Option<Self> {
        let (place, sampled) = parent(traceparent?.trim())?;
        let bounded =
            |text: Option<&str>, most| text.and_then(|text| bounded(text, most)).map(Arc::from);
        Some(Self {
            place,
            sampled,
            state: bounded(state, MAX_STATE),
            baggage: bounded(baggage, MAX_BAGGAGE),
        })
    }
}

impl Trace {
    /// A request that goes on with the caller's trace. `span_id` is its own span's.
    pub fn of(claim: Claim, span_id: u64, sampled: bool) -> Self {
        let Claim { place, state, baggage, .. } = claim;
        Self {
            place: SpanPlace { trace_id: place.trace_id, span_id },
            parent: Some(place.span_id),
            link: None,
            sampled,
            state,
            baggage,
        }
    }

    /// A request that begins a trace, whatever the caller claimed.
    pub fn new(place: SpanPlace, sampled: bool, link: Option<SpanPlace>) -> Self {
        Self { place, parent: None, link, sampled, state: None, baggage: None }
    }

    /// What is passed on for one of its spans.
    pub fn carrier(&self, span_id: u64) -> Carrier {
        let place = SpanPlace { span_id, ..self.place };
        Carrier {
            traceparent: place.traceparent(self.sampled),
            state: self.state.clone(),
            baggage: self.baggage.clone(),
        }
    }
}

/// Reads a `traceparent`. Of later versions only what this one has is read; `ff` is no version.
fn parent(text: &str) -> Option<(SpanPlace, bool)> {
    let (head, rest) = text.split_at_checked(55)?;
    let mut fields = head.split('-');
    let (version, trace_id) = (hex(fields.next()?, 2)?, hex(fields.next()?, 32)?);
    let (span_id, flags) = (hex(fields.next()?, 16)?, hex(fields.next()?, 2)?);
    let is_whole =
        if version == 0 { rest.is_empty() } else { matches!(rest.get(..1), None | Some("-")) };
    let is_right = fields.next().is_none() && version != 0xff && is_whole;
    let place = SpanPlace { trace_id, span_id: u64::try_from(span_id).ok()? };
    (is_right && place.trace_id != 0 && place.span_id != 0).then_some((place, flags & 1 == 1))
}

/// So many lower-case hexadecimal digits, and nothing else.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != digits || !text.bytes().all(is_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// As many whole members of a list as there is room for. A member without `=`, or with what no header carries, is left out.
fn bounded(text: &str, (bytes, members): (usize, usize)) -> Option<String> {
    let mut kept = String::new();
    let fits = |member: &&str| {
        member.find('=').is_some_and(|at| at > 0)
            && member.bytes().all(|byte| (b' '..0x7f).contains(&byte))
    };
    for member in text.split(',').map(str::trim).filter(fits).take(members) {
        let comma = usize::from(!kept.is_empty());
        if kept.len() + comma + member.len() > bytes {
            break;
        }
        if comma == 1 {
            kept.push(',');
        }
        kept.push_str(member);
    }
    Some(kept).filter(|kept| !kept.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let claim = Claim::read(Some(GOOD), None, None).expect("good");
        assert!(claim.sampled);
        assert_eq!(claim.place.traceparent(true), GOOD);
        assert_eq!(claim.place.trace_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(claim.place.span_hex(), "00f067aa0ba902b7");
        // Later versions may say more, and other flags mean nothing here.
        for later in ["01", "cc"] {
            let text = format!("{later}{}-what-else", GOOD.get(2..).expect("text"));
            assert_eq!(Claim::read(Some(&text), None, None).expect("later").place, claim.place);
        }
        let random = GOOD.replace("-01", "-02");
        assert!(!Claim::read(Some(&random), None, None).expect("flags").sampled);
    }

    #[test]
    fn what_is_no_traceparent_claims_nothing() {
        let zeros = |from: usize, to: usize| {
            let mut text = GOOD.to_owned();
            text.replace_range(from..to, &"0".repeat(to - from));
            text
        };
        let bad = [
            String::new(),
            "00".into(),
            "é".repeat(55),
            format!("{GOOD}-"),
            GOOD.to_uppercase(),
            GOOD.replacen("00-", "ff-", 1),
            GOOD.replace('-', "_"),
            GOOD.replace("-01", "-0g"),
            zeros(3, 35),
            zeros(36, 52),
            format!("01{}x", GOOD.get(2..).expect("text")),
        ];
        for text in bad {
            assert_eq!(Claim::read(Some(&text), Some("a=b"), Some("c=d")), None, "{text}");
        }
        assert_eq!(Claim::read(None, Some("a=b"), None), None);
    }

    #[test]
    fn lists_are_bounded_by_whole_members() {
        let read = |state: &str, baggage: &str| {
            let claim = Claim::read(Some(GOOD), Some(state), Some(baggage)).expect("good");
            (claim.state.unwrap_or_default(), claim.baggage.unwrap_or_default())
        };
        assert_eq!(read(" a=1 , ,b=2;p,=x,no", "k=v;m=1"), ("a=1,b=2;p".into(), "k=v;m=1".into()));
        let many: Vec<String> = (0..100).map(|at| format!("k{at}={at}")).collect();
        let (state, baggage) = read(&many.join(","), &many.join(","));
        assert_eq!((state.split(',').count(), baggage.split(',').count()), (32, 64));
        let long = format!("a={},b={}", "x".repeat(500), "y".repeat(500));
        assert_eq!(read(&long, "").0.len(), 502);
        assert_eq!(read("a=\u{7}", "a=é").0.len(), 0);
    }

    #[test]
    fn what_is_passed_on_names_the_span_that_calls() {
        let claim = Claim::read(Some(GOOD), Some("v=1"), Some("k=v")).expect("good");
        let trace = Trace::of(claim.clone(), 5, true);
        assert_eq!((trace.parent, trace.link), (Some(claim.place.span_id), None));
        let carrier = trace.carrier(7);
        assert_eq!(carrier.traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000007-01");
        assert_eq!(
            (carrier.state.as_deref(), carrier.baggage.as_deref()),
            (Some("v=1"), Some("k=v"))
        );
    }
}
