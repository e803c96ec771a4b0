//! Waiting until an answer is known to have begun. Nothing has left for the client yet, so what turns out
//! to be no answer (a web page, half a JSON text, a stream that ends at once) can still be replaced by
//! another deployment's.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use serde_json::value::RawValue;

use super::attempt::Miss;
use super::relay::Flow;
use super::responses::Keeper;
use super::translated::Round;
use crate::conversation::{self, Losses};
use crate::provider::{Failure, Reply, ReplyBody};
use crate::wire::fields::Fields;
use crate::wire::provider_error;
use crate::wire::sse::{self, Cutter};
use crate::wire::tap::{Family, Tap};

/// A reply up to this size is read whole before its head is passed on: then it is known to be whole.
const MAX_WHOLE: usize = 64 * 1024;

/// What the answer should be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub family: Family,
    /// The client asked for a stream.
    pub stream: bool,
}

/// An answer that has begun.
pub(super) struct Begun {
    pub headers: HeaderMap,
    pub content: Content,
    pub tap: Tap,
    /// What of the request did not reach the provider.
    pub losses: Losses,
    /// The whole answer, where it was wanted and is here. Boxed, like what follows: a beginning is handed on by
    /// many, and few have these.
    pub kept: Option<Box<conversation::Reply>>,
    /// What wants the answer once it is complete.
    pub keeper: Option<Box<Keeper>>,
}

/// How much of the answer is here.
pub(super) enum Content {
    Whole(Bytes),
    /// The first bytes, and where the rest comes from.
    Flowing {
        first: VecDeque<Bytes>,
        rest: ReplyBody,
        flow: Flow,
    },
    /// One round of several, to be read event by event.
    Round(Box<Round>),
}

/// What an answer's head says it is, weighed with what was asked for.
enum Kind {
    Events,
    /// Events under a general type, or none, as some servers send them.
    UnnamedEvents,
    Json,
    WebPage,
    Bytes,
}

impl Begun {
    /// An answer that passes as it is.
    pub(super) fn new(headers: HeaderMap, content: Content, tap: Tap) -> Self {
        Self { headers, content, tap, losses: Losses::default(), kept: None, keeper: None }
    }
}

/// Waits until the answer is known to have begun: whole where it is short, its first bytes where it
/// flows. A stream that stays silent is begun all the same after one ping interval.
pub(super) async fn begin(
    reply: Reply,
    timeout: Duration,
    ping_interval: Duration,
    expected: Expected,
) -> Result<Begun, Miss> {
    let Reply { mut headers, body, .. } = reply;
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Miss::garbage(
            "The provider compressed its answer, which it was asked not to.",
        ));
    }
    let tap = Tap::new(expected.family);
    match kind(&headers, expected) {
        Kind::WebPage => {
            Err(Miss::garbage("The provider answered with a web page, not with an answer."))
        }
        Kind::Events => {
            begin_events(headers, body, tap, timeout.min(ping_interval), expected.family).await
        }
        Kind::UnnamedEvents => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            begin_events(headers, body, tap, timeout.min(ping_interval), expected.family).await
        }
        Kind::Json => begin_json(headers, body, tap, timeout, expected.family).await,
        Kind::Bytes => Ok(flowing(headers, VecDeque::new(), body, Flow::Bytes, tap)),
    }
}

fn kind(headers: &HeaderMap, expected: Expected) -> Kind {
    let kind = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    // Media types are compared without regard to case (RFC 9110 section 8.3.1).
    let is = |name: &[u8]| kind.get(..name.len()).is_some_and(|k| k.eq_ignore_ascii_case(name));
    let is_general = kind.is_empty() || is(b"text/plain") || is(b"application/octet-stream");
    // An answer of a chat is events or JSON, whatever it is called.
    let is_chat = expected.family != Family::Other;
    if is(b"text/event-stream") {
        Kind::Events
    } else if is(b"text/html") {
        Kind::WebPage
    } else if is_chat && expected.stream && is_general {
        Kind::UnnamedEvents
    } else if is_chat || is(b"application/json") {
        Kind::Json
    } else {
        Kind::Bytes
    }
}

async fn begin_events(
    headers: HeaderMap,
    mut rest: ReplyBody,
    tap: Tap,
    patience: Duration,
    family: Family,
) -> Result<Begun, Miss> {
    let begun = Instant::now();
    let (mut first, mut opening) = (VecDeque::new(), Opening::default());
    while !opening.is_known {
        let left = patience.saturating_sub(begun.elapsed());
        match tokio::time::timeout(left, rest.next()).await {
            Ok(Some(Ok(bytes))) => {
                if family == Family::Other {
                    opening.is_known = true;
                } else {
                    opening.take(bytes.clone());
                }
                first.push_back(bytes);
            }
            Ok(Some(Err(failure))) => return Err(Miss::of_failure(failure)),
            Ok(None) if first.is_empty() => {
                return Err(Miss::garbage("The provider's stream ended before it began."));
            }
            // What has come may be all there is, or nothing yet.
            Ok(None) => break,
            Err(_silent) => break,
        }
    }
    if let Some(error) = opening.error {
        return Err(Miss::of_fault(provider_error::in_stream(&error)));
    }
    Ok(flowing(headers, first, rest, Flow::Events, tap))
}

/// The first event of a stream: an error there is no answer yet, and another deployment may do better.
#[derive(Default)]
struct Opening {
    cutter: Cutter,
    /// An event that says something has come, or there is too much to wait for one.
    is_known: bool,
    error: Option<String>,
}

impl Opening {
    fn take(&mut self, bytes: Bytes) {
        let Self { cutter, is_known, error } = self;
        let cut = cutter.push(bytes, |event| {
            if let Some(data) = sse::data(event).filter(|data| !data.is_empty() && !*is_known) {
                *is_known = true;
                *error = as_error(&data);
            }
            false
        });
        self.is_known |= cut.is_err();
    }
}

/// The text, where it is an error and no answer.
pub(super) fn as_error(data: &[u8]) -> Option<String> {
    memchr::memmem::find(data, b"\"error\"")?;
    let text = std::str::from_utf8(data).ok()?;
    let mut fields = Fields::read(text)?;
    if fields.peek("type").is_some_and(|kind| kind.get() == "\"response.failed\"") {
        let error = fields.inner("response").and_then(|mut response| response.take("error"));
        return Some(error.map_or(text, RawValue::get).to_owned());
    }
    // An answer may speak of an error beside what it says.
    let answers = ["choices", "content", "output", "data", "response"];
    let is_answer = answers.iter().any(|name| fields.has(name));
    (fields.has("error") && !is_answer).then(|| text.to_owned())
}

async fn begin_json(
    headers: HeaderMap,
    mut rest: ReplyBody,
    mut tap: Tap,
    timeout: Duration,
    family: Family,
) -> Result<Begun, Miss> {
    let mut first = VecDeque::new();
    let read = read_whole(&mut rest, &mut first);
    let is_whole = match tokio::time::timeout(timeout, read).await {
        Err(_) => return Err(Miss::of_failure(Failure::Timeout)),
        Ok(outcome) => outcome.map_err(Miss::of_failure)?,
    };
    if !is_whole {
        return Ok(flowing(headers, first, rest, Flow::Json, tap));
    }
    let whole = join(first);
    if let Some(error) = as_error(&whole) {
        return Err(Miss::of_fault(provider_error::in_stream(&error)));
    }
    let is_object = tap.reply(&whole);
    if !is_object && (family != Family::Other || !is_json(&whole)) {
        return Err(Miss::garbage("The provider's answer is not the JSON it says it is."));
    }
    Ok(Begun::new(headers, Content::Whole(whole), tap))
}

fn flowing(
    headers: HeaderMap,
    first: VecDeque<Bytes>,
    rest: ReplyBody,
    flow: Flow,
    tap: Tap,
) -> Begun {
    Begun::new(headers, Content::Flowing { first, rest, flow }, tap)
}

/// Reads a reply to its end; `false` when it is too large to be held and has to flow.
async fn read_whole(body: &mut ReplyBody, parts: &mut VecDeque<Bytes>) -> Result<bool, Failure> {
    let mut size = 0;
    while let Some(bytes) = body.next().await {
        let bytes = bytes?;
        size += bytes.len();
        parts.push_back(bytes);
        if size > MAX_WHOLE {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

fn join(parts: VecDeque<Bytes>) -> Bytes {
    let mut parts = parts;
    if parts.len() < 2 {
        return parts.pop_front().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    whole.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_place_of_an_answer_is_known() {
        let error = |text: &str| as_error(text.as_bytes());
        assert!(error(r#"{"error":{"message":"x"}}"#).is_some());
        assert!(error(r#"{"type":"error","error":{"type":"overloaded_error"}}"#).is_some());
        let failed = r#"{"type":"response.failed","response":{"error":{"code":"c"}}}"#;
        assert_eq!(error(failed).as_deref(), Some(r#"{"code":"c"}"#));
        assert_eq!(error(r#"{"error":null,"choices":[]}"#), None);
        assert_eq!(error(r#"{"error":{"code":1},"output":[]}"#), None);
        assert_eq!(error(r#"{"text":"an \"error\""}"#), None);
        assert_eq!(error("\"error\""), None);
    }

    #[test]
    fn the_first_event_that_says_something_is_looked_at() {
        let open = |pieces: &[&'static str]| {
            let mut opening = Opening::default();
            for piece in pieces {
                opening.take(Bytes::from_static(piece.as_bytes()));
            }
            (opening.is_known, opening.error.is_some())
        };
        assert_eq!(open(&[": comment\n\n", "data:\n\n"]), (false, false));
        assert_eq!(open(&["data: {\"error\"", ":{}}\n", "\n"]), (true, true));
        assert_eq!(open(&["data: {\"id\":1}\n\ndata: {\"error\":{}}\n\n"]), (true, false));
    }
}
