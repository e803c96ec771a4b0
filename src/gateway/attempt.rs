//! Trying the candidates in order until one begins to answer. Nothing has left for the client yet, so
//! a deployment that cannot be reached, is busy, fails or breaks off at once is simply passed over; once
//! an answer has begun, its deployment is settled.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};

use super::record::Record;
use super::route::Candidate;
use super::{Asked, Live};
use crate::config::snapshot::Deployment;
use crate::ground::fault::{Fault, Kind};
use crate::journal::entry::Attempt;
use crate::provider::client::Upstreams;
use crate::provider::{self, Call, Failure, Reply, ReplyBody, client, mock};
use crate::wire::openai_error;
use crate::wire::tap::{Family, Tap};

/// A reply up to this size is read whole before its head is passed on: then it is known to be whole,
/// and a broken one can still be replaced by another deployment's.
const MAX_WHOLE: usize = 64 * 1024;
const MAX_ERROR: usize = 64 * 1024;

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

/// What a try came to, where it is not an answer.
pub(super) struct Miss {
    fault: Fault,
    error: &'static str,
    /// Another deployment may do better.
    retry: bool,
    /// Only another group may: this one is set up wrongly for the request.
    fallback: bool,
}

/// A request that can be sent to a candidate.
pub(super) trait Try {
    /// Whether another try could still be made: an upload that has begun to flow cannot be repeated.
    fn can_repeat(&self) -> bool;

    /// Sends the request to one candidate and waits until the answer begins.
    async fn once(
        &mut self,
        live: &Live,
        candidate: &Candidate,
        record: &mut Record,
    ) -> Result<Begun, Miss>;
}

/// Tries the candidates in order.
///
/// # Errors
/// The last try's fault, in the provider's words where it had any.
pub(super) async fn run(
    live: &Live,
    request: &mut impl Try,
    candidates: &[Candidate],
    record: &mut Record,
) -> Result<Begun, Fault> {
    let group = candidates.first().map(|first| first.deployment.group.clone()).unwrap_or_default();
    let is_lone = candidates.iter().filter(|candidate| !candidate.is_fallback).count() == 1;
    let mut last = Fault::bug("a plan without candidates");
    let mut skip_group = false;
    for candidate in candidates.iter() {
        if skip_group && !candidate.is_fallback {
            continue;
        }
        record.try_candidate(candidate, &group);
        let mut outcome = noted(live, request, candidate, record).await;
        // A lone deployment gets a second try where the first never reached it: most often a pooled
        // connection that the provider had just closed.
        if is_lone
            && !candidate.is_fallback
            && outcome.as_ref().is_err_and(|miss| miss.fault.kind == Kind::Unreachable)
            && request.can_repeat()
        {
            outcome = noted(live, request, candidate, record).await;
        }
        let miss = match outcome {
            Ok(begun) => return Ok(begun),
            Err(miss) => miss,
        };
        skip_group = !miss.retry;
        let stop = !miss.fallback || !request.can_repeat();
        last = miss.fault;
        if stop {
            break;
        }
    }
    Err(last)
}

/// One try, with its line in the trail and its mark on the deployment's health.
async fn noted(
    live: &Live,
    request: &mut impl Try,
    candidate: &Candidate,
    record: &mut Record,
) -> Result<Begun, Miss> {
    let began = Instant::now();
    let outcome = request.once(live, candidate, record).await;
    let (status, error) = match &outcome {
        Ok(_) => (Some(200), None),
        Err(Miss { fault: Fault { kind: Kind::Upstream(status), .. }, error, .. }) => {
            (Some(*status), Some(*error))
        }
        Err(miss) => (None, Some(miss.error)),
    };
    let deployment = candidate.deployment.id.clone();
    let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    record.note_attempt(Attempt { deployment, status, error, duration_us });
    if let Some(health) = live.ward.get(&candidate.deployment.id) {
        match &outcome {
            Ok(_) => health.recover(),
            Err(miss) if miss.retry => health.cool_down(live.snapshot.routing.cooldown),
            Err(_) => {}
        }
    }
    outcome
}

impl Try for Asked<'_> {
    fn can_repeat(&self) -> bool {
        true
    }

    async fn once(
        &mut self,
        live: &Live,
        candidate: &Candidate,
        record: &mut Record,
    ) -> Result<Begun, Miss> {
        let deployment = &candidate.deployment;
        let family = self.endpoint.family;
        if let Some(canned) = self.mock(deployment) {
            record.note_mock();
            let stamp = mock::Stamp {
                id: record.id().simple().to_string(),
                created: jiff::Timestamp::now().as_second(),
            };
            let (path, model) = (self.endpoint.path, &self.envelope.model);
            let reply = mock::answer(path, &self.body, model, canned, stamp);
            return begin(
                reply.map_err(Miss::of_fault)?,
                Duration::MAX,
                Duration::MAX,
                (family, self.envelope.stream),
            )
            .await;
        }
        let ask_for_usage =
            self.envelope.stream && self.endpoint.stream_usage && deployment.provider.stream_usage;
        let extra = &deployment.extra_body;
        let pieces = self.envelope.rewrite(&self.body, &candidate.model, ask_for_usage, extra);
        let body = provider::Content::Pieces(pieces);
        let routing = &live.snapshot.routing;
        let timeout = if self.envelope.stream {
            deployment.stream_timeout.or(deployment.timeout).unwrap_or(routing.stream_timeout)
        } else {
            deployment.timeout.unwrap_or(routing.timeout)
        };
        let headers = forwarded(self.headers, HeaderValue::from_static("application/json"));
        let (path, model) = (self.endpoint.path, &candidate.model);
        let call = Call { path, model, headers, body, timeout };
        self::call(live, self.upstreams, deployment, call, (family, self.envelope.stream), record)
            .await
    }
}

/// Calls a provider and waits until its answer begins.
pub(super) async fn call(
    live: &Live,
    upstreams: &Upstreams,
    deployment: &Deployment,
    call: Call<'_>,
    (family, streamed): (Family, bool),
    record: &mut Record,
) -> Result<Begun, Miss> {
    let (began, timeout) = (Instant::now(), call.timeout);
    let sent = upstreams.send(deployment, call).await;
    let reply = sent.map_err(Miss::of_failure)?;
    record.note_upstream_request(&reply.headers);
    if (300..400).contains(&reply.status) {
        return Err(Miss::garbage(
            "The provider answered with a redirect. Set the model's api_base to where it leads.",
        ));
    }
    if !(200..600).contains(&reply.status) {
        return Err(Miss::garbage("The provider answered with a status that is none."));
    }
    if !(200..300).contains(&reply.status) {
        let secret = deployment.api_key.as_ref().map(|key| key.expose());
        return Err(Miss::of_status(read_error(reply, secret).await));
    }
    let left = timeout.saturating_sub(began.elapsed());
    begin(reply, left, live.snapshot.limits.ping_interval, (family, streamed)).await
}

/// Waits until the answer is known to have begun: whole where it is short, its first bytes where it
/// flows. A stream that stays silent is begun all the same after one ping interval.
async fn begin(
    reply: Reply,
    timeout: Duration,
    ping_interval: Duration,
    (family, streamed): (Family, bool),
) -> Result<Begun, Miss> {
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
        && streamed
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

/// The few client headers that travel.
pub(super) fn forwarded(headers: &HeaderMap, content_type: HeaderValue) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(8);
    for (name, value) in headers {
        if client::travels(name) {
            out.insert(name, value.clone());
        }
    }
    out.insert(header::CONTENT_TYPE, content_type);
    out
}

/// Reads a provider's error answer, within bounds of size and time.
async fn read_error(reply: Reply, secret: Option<&str>) -> Fault {
    let Reply { status, headers, mut body } = reply;
    let mut text = BytesMut::new();
    let read = async {
        while let Some(Ok(bytes)) = body.next().await {
            text.extend_from_slice(
                bytes.get(..bytes.len().min(MAX_ERROR - text.len())).unwrap_or_default(),
            );
            if text.len() >= MAX_ERROR {
                break;
            }
        }
    };
    let _cut_short = tokio::time::timeout(Duration::from_secs(10), read).await;
    let mut fault = openai_error::read(status, &text.freeze(), secret);
    let details = fault.details_mut();
    for (name, value) in &headers {
        let (name, Ok(value)) = (name.as_str(), value.to_str()) else { continue };
        if name == "retry-after" {
            details.retry_after = Some(value.to_owned());
        } else if name.starts_with("x-ratelimit-")
            || matches!(name, "retry-after-ms" | "x-should-retry")
        {
            details.headers.push((name.to_owned(), value.to_owned()));
        }
    }
    fault
}

impl Miss {
    fn of_failure(failure: Failure) -> Self {
        let (kind, message) = match failure {
            Failure::Unreachable => {
                (Kind::Unreachable, "The model's provider could not be reached. Try again later.")
            }
            Failure::Timeout => (
                Kind::UpstreamTimeout,
                "The model's provider did not answer in time. Try again, or ask for less.",
            ),
            Failure::Broken => {
                (Kind::UpstreamGarbage, "The provider's answer broke off before it was complete.")
            }
            Failure::ClientBody => {
                (Kind::ClientClosed, "The request body broke off before its end.")
            }
            Failure::Unsendable => (
                Kind::Bug,
                "The configuration of this model gives an address or a key that no request can carry.",
            ),
        };
        let retry = failure != Failure::ClientBody;
        Self { fault: Fault::new(kind, message), error: failure.as_str(), retry, fallback: retry }
    }

    /// A provider's own error: 408, 429 and 5xx may go better elsewhere; a refused key or an unknown
    /// model is this group's own trouble; the rest is the caller's.
    fn of_status(fault: Fault) -> Self {
        let status = fault.status();
        let retry = matches!(status, 408 | 429 | 500..=599);
        let fallback = retry || matches!(status, 401 | 403 | 404);
        Self { fault, error: "status", retry, fallback }
    }

    fn of_fault(fault: Fault) -> Self {
        match fault.kind {
            Kind::Upstream(_) => Self::of_status(fault),
            _ => Self::refusal(fault),
        }
    }

    fn garbage(message: &'static str) -> Self {
        let fault = Fault::new(Kind::UpstreamGarbage, message);
        Self { fault, error: "garbage", retry: true, fallback: true }
    }

    /// A fault that no other deployment would mend.
    pub(super) fn refusal(fault: Fault) -> Self {
        Self { fault, error: "refused", retry: false, fallback: false }
    }
}
