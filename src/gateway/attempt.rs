//! Trying the candidates in order until one begins to answer. Nothing has left for the client yet, so
//! a deployment that cannot be reached, is busy, fails or breaks off at once is simply passed over; once
//! an answer has begun, its deployment is settled.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};

use super::begin::{Begun, Expected, begin};
use super::record::Record;
use super::route::Candidate;
use super::{Live, translated};
use crate::config::snapshot::Deployment;
use crate::entry::Attempt;
use crate::ground::fault::{Fault, Kind};
use crate::ground::span::micros;
use crate::provider::client::Upstreams;
use crate::provider::{Call, Failure, Reply, client};
use crate::wire::provider_error;

const MAX_ERROR: usize = 64 * 1024;

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
    let mut last = Fault::bug("a plan without candidates");
    let mut skip_group = false;
    for candidate in candidates.iter() {
        if skip_group && !candidate.is_fallback {
            continue;
        }
        record.try_candidate(candidate, &group);
        let outcome = noted(live, request, candidate, record).await;
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
    let began_us = micros(began.saturating_duration_since(record.begun));
    let outcome = request.once(live, candidate, record).await;
    let outcome = outcome.map_err(|mut miss| {
        miss.fault.strike(&candidate.deployment.secrets());
        miss
    });
    let (status, error) = match &outcome {
        Ok(_) => (Some(200), None),
        Err(Miss { fault: Fault { kind: Kind::Upstream(status), .. }, error, .. }) => {
            (Some(*status), Some(*error))
        }
        Err(miss) => (None, Some(miss.error)),
    };
    let deployment = candidate.deployment.id.clone();
    record.note_attempt(Attempt {
        deployment,
        status,
        error,
        duration_us: micros(began.elapsed()),
        round: None,
        began_us,
        detail: None,
    });
    if let Some(health) = live.ward.get(&candidate.deployment.id) {
        match &outcome {
            Ok(_) => health.recover(),
            Err(miss) if miss.retry => health.cool_down(live.snapshot.routing.cooldown),
            Err(_) => {}
        }
    }
    outcome
}

/// Calls a provider and waits until its answer, which passes as it is, begins.
pub(super) async fn call_verbatim(
    live: &Live,
    upstreams: &Upstreams,
    deployment: &Deployment,
    call: Call<'_>,
    expected: Expected,
    record: &mut Record,
) -> Result<Begun, Miss> {
    let (began, timeout) = (Instant::now(), call.timeout);
    let reply = send(upstreams, deployment, call, record).await?;
    let left = timeout.saturating_sub(began.elapsed());
    begin(reply, left, live.snapshot.limits.ping_interval, expected).await
}

/// Calls a provider for something short that is not a model's answer, of `most` bytes at most.
///
/// # Errors
/// What the provider says, or that it cannot be reached.
pub(super) async fn fetch(
    upstreams: &Upstreams,
    deployment: &Deployment,
    call: Call<'_>,
    most: usize,
) -> Result<Bytes, Fault> {
    let timeout = call.timeout;
    let sent = upstreams.send(deployment, call).await;
    let reply = sent.map_err(|failure| Miss::of_failure(failure).fault)?;
    if !(200..300).contains(&reply.status) {
        let secret = deployment.api_key.as_ref().map(|key| key.expose());
        return Err(read_error(reply, secret).await);
    }
    let mut body = reply.body;
    let read = tokio::time::timeout(timeout, translated::read(&mut body, most)).await;
    read.unwrap_or(Err(Miss::of_failure(Failure::Timeout))).map_err(|miss| miss.fault)
}

/// Calls a provider. What it answers is an answer, or a miss.
pub(super) async fn send(
    upstreams: &Upstreams,
    deployment: &Deployment,
    mut call: Call<'_>,
    record: &mut Record,
) -> Result<Reply, Miss> {
    record.carry(deployment, &mut call.headers);
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
    Ok(reply)
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
    let said: Vec<(String, String)> = headers
        .iter()
        .filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        })
        .collect();
    provider_error::read(status, &said, &text, secret)
}

impl Miss {
    pub(super) fn of_failure(failure: Failure) -> Self {
        let (kind, message) = match failure {
            Failure::Unreachable => {
                (Kind::Unreachable, "The model's provider could not be reached. Try again later.")
            }
            Failure::Lost => (
                Kind::Unreachable,
                "The connection to the model's provider broke before its answer came. Try again.",
            ),
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
            Failure::Credentials => (
                Kind::Unreachable,
                "The gateway has no credentials that this model's provider takes. Ask the operator.",
            ),
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

    pub(super) fn of_fault(fault: Fault) -> Self {
        match fault.kind {
            Kind::Upstream(_) => Self::of_status(fault),
            Kind::UpstreamGarbage => Self { fault, error: "garbage", retry: true, fallback: true },
            _ => Self::refusal(fault),
        }
    }

    pub(super) fn garbage(message: &'static str) -> Self {
        let fault = Fault::new(Kind::UpstreamGarbage, message);
        Self { fault, error: "garbage", retry: true, fallback: true }
    }

    /// The provider's own error body means something to clients only where they speak its format.
    pub(super) fn in_other_words(mut self, same_format: bool) -> Self {
        if !same_format && self.fault.details().is_some_and(|details| details.verbatim.is_some()) {
            self.fault.details_mut().verbatim = None;
        }
        self
    }

    /// The provider knows no such path.
    pub(super) fn is_no_such_path(&self) -> bool {
        matches!(self.fault.kind, Kind::Upstream(404 | 405 | 501))
    }

    /// A fault that no other deployment would mend.
    pub(super) fn refusal(fault: Fault) -> Self {
        Self { fault, error: "refused", retry: false, fallback: false }
    }
}
