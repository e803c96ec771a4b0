//! Waiting until an answer is known to have begun. Nothing has left for the client yet, so what turns out
//! to be no answer (a web page, half a JSON text, a stream that ends at once) can still be replaced by
//! another deployment's.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};

use super::attempt::Miss;
use crate::provider::{Failure, Reply, ReplyBody};
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
#[derive(Debug)]
pub(super) struct Begun {
    pub headers: HeaderMap,
    pub content: Content,
    pub tap: Tap,
}

/// How much of the answer is here.
#[derive(Debug)]
pub(super) enum Content {
    Whole(Bytes),
    /// The first bytes, and where the rest comes from.
    Flowing {
        first: VecDeque<Bytes>,
        rest: ReplyBody,
        events: bool,
    },
}

/// Waits until the answer is known to have begun: whole where it is short, its first bytes where it
/// flows. A stream that stays silent is begun all the same after one ping interval.
pub(super) async fn begin(
    reply: Reply,
    timeout: Duration,
    ping_interval: Duration,
    expected: Expected,
) -> Result<Begun, Miss> {
    let Expected { family, stream } = expected;
    let Reply { mut headers, body: mut rest, .. } = reply;
    let mut tap = Tap::new(family);
    let mut first = VecDeque::new();
    let kind = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Miss::garbage(
            "The provider compressed its answer, which it was asked not to.",
        ));
    }
    // Some servers stream events under a general type, or none; a chat answer is nothing else then.
    let is_chat = family != Family::Other;
    let vague = is_chat
        && stream
        && (kind.is_empty()
            || is_kind(kind, b"text/plain")
            || is_kind(kind, b"application/octet-stream"));
    let is_json_kind = is_kind(kind, b"application/json");
    let is_page = is_kind(kind, b"text/html");
    if is_kind(kind, b"text/event-stream") || vague {
        if vague {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        }
        match tokio::time::timeout(timeout.min(ping_interval), rest.next()).await {
            Ok(Some(Ok(bytes))) => first.push_back(bytes),
            Ok(Some(Err(failure))) => return Err(Miss::of_failure(failure)),
            Ok(None) => return Err(Miss::garbage("The provider's stream ended before it began.")),
            Err(_silent) => {}
        }
        return Ok(Begun { headers, content: Content::Flowing { first, rest, events: true }, tap });
    }
    if is_page {
        return Err(Miss::garbage("The provider answered with a web page, not with an answer."));
    }
    if is_json_kind || is_chat {
        let read = read_whole(&mut rest, &mut first);
        let is_whole = match tokio::time::timeout(timeout, read).await {
            Err(_) => return Err(Miss::of_failure(Failure::Timeout)),
            Ok(outcome) => outcome.map_err(Miss::of_failure)?,
        };
        if is_whole {
            let whole = join(first);
            let is_object = tap.reply(&whole);
            if !is_object && (family != Family::Other || !is_json(&whole)) {
                return Err(Miss::garbage("The provider's answer is not the JSON it says it is."));
            }
            return Ok(Begun { headers, content: Content::Whole(whole), tap });
        }
    }
    Ok(Begun { headers, content: Content::Flowing { first, rest, events: false }, tap })
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

/// Media types are compared without regard to case (RFC 9110 section 8.3.1).
fn is_kind(value: &[u8], kind: &[u8]) -> bool {
    value.get(..kind.len()).is_some_and(|head| head.eq_ignore_ascii_case(kind))
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
