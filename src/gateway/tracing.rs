//! The trace of a request while it goes on: whose it is, what of it is passed on, and what spans will say of it that rows do
//! not. Spans themselves are made at the end, by whom the record is told to. Without traces there is nothing of it here.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use super::admit::Caller;
use super::content;
use super::record::Record;
use super::route::Candidate;
use crate::config::snapshot::Deployment;
use crate::config::telemetry::{Telemetry, Trust, is_internal, new_span_id};
use crate::conversation::Json;
use crate::entry::{Attempt, AttemptDetail, Entry, Parameters, Traced};
use crate::ground::fault::Fault;
use crate::ground::span::micros;
use crate::ground::trace::{Claim, Trace};
use crate::wire::envelope::Envelope;
use crate::wire::tap::Tap;
use crate::wire::trace;

/// The most that is kept of what was said in one call of a tool, either way, and of all calls of a request.
const MAX_SAID: usize = 8 * 1024;
const MAX_ALL_SAID: usize = 64 * 1024;
/// Stop sequences that are told.
const MAX_STOPS: usize = 16;

/// The trace of one request.
pub(super) struct Tracing {
    telemetry: Arc<Telemetry>,
    traced: Box<Traced>,
    /// What the caller claimed, as long as nobody knows who that is.
    claim: Option<Claim>,
    /// The try that goes on, and when it began within the request, in microseconds.
    attempt: Option<(Box<AttemptDetail>, u64)>,
    /// Bodies are kept for spans alone.
    keeps_bodies: bool,
}

/// What notes of tool calls need of it.
pub(super) struct Tells {
    trace: Trace,
    /// Bytes of what is said in calls that may still be kept.
    room: usize,
}

impl Record {
    /// The request becomes part of a trace, where there are traces.
    pub(super) fn begin_trace(&mut self, telemetry: &Arc<Telemetry>, headers: &HeaderMap) {
        if !telemetry.is_on() {
            return;
        }
        let claim = trace::claim_of(headers);
        let trace = telemetry.decide(claim.clone(), false);
        let traced = Box::new(Traced::new(trace));
        let telemetry = telemetry.clone();
        self.tracing = Some(Box::new(Tracing {
            telemetry,
            traced,
            claim,
            attempt: None,
            keeps_bodies: false,
        }));
    }

    /// It is known who calls: with a key, its trace may be gone on with.
    pub(super) fn believe(&mut self, caller: &Caller) {
        let is_known = caller.is_known();
        let since = micros(self.begun.elapsed());
        let Some(tracing) = self.tracing.as_deref_mut() else { return };
        tracing.traced.admitted_us = Some(since);
        if let Some(claim) = tracing.claim.take().filter(|_| is_known)
            && tracing.telemetry.trust_inbound == Trust::Keys
        {
            tracing.traced.trace = tracing.telemetry.decide(Some(claim), true);
        }
    }

    /// Reads the envelope, and with it what spans say of the request.
    pub(super) fn read_envelope(&mut self, body: &[u8]) -> Result<Envelope, Fault> {
        match self.tracing.as_deref_mut().filter(|tracing| tracing.may_be_kept()) {
            Some(tracing) => {
                let parameters = &mut tracing.traced.parameters;
                Envelope::read_telling(body, |key, value| note_parameter(parameters, key, value))
            }
            None => Envelope::read(body),
        }
    }

    /// Keeps the body for spans, where rows do not.
    pub(super) fn keep_request_for_spans(&mut self, body: &Bytes) {
        if self.tells_content() {
            self.keep_request(body);
            if let Some(tracing) = &mut self.tracing {
                tracing.keeps_bodies = true;
            }
        }
    }

    /// Whether spans will say what was said.
    fn tells_content(&self) -> bool {
        self.tracing.as_deref().is_some_and(Tracing::tells_content)
    }

    /// Tells a provider of the trace, where it is to know.
    pub(super) fn carry(&self, deployment: &Deployment, headers: &mut HeaderMap) {
        let Some(tracing) = self.tracing.as_deref() else { return };
        let Some((attempt, _)) = &tracing.attempt else { return };
        if tracing.telemetry.tells(&deployment.base) {
            let mut carrier = tracing.traced.trace.carrier(attempt.span_id);
            if !is_internal(&deployment.base) {
                carrier.baggage = None;
            }
            trace::inject(&carrier, headers);
        }
    }

    /// Its trace, where it has one.
    pub(super) fn trace(&self) -> Option<&Trace> {
        self.tracing.as_deref().map(|tracing| &tracing.traced.trace)
    }
}

impl Tracing {
    /// For later rounds of the same request.
    pub(super) fn aside(&self) -> Self {
        Self {
            telemetry: self.telemetry.clone(),
            traced: self.traced.clone(),
            claim: None,
            attempt: None,
            keeps_bodies: false,
        }
    }

    pub(super) fn tells(&self) -> Tells {
        let room = if self.tells_content() { MAX_ALL_SAID } else { 0 };
        Tells { trace: self.traced.trace.clone(), room }
    }

    fn tells_content(&self) -> bool {
        self.telemetry.captures() && self.traced.trace.sampled
    }

    /// It was drawn, or may yet fail or be slow.
    fn may_be_kept(&self) -> bool {
        self.telemetry.sampling.may_keep(self.traced.trace.sampled)
    }

    pub(super) fn begin_attempt(&mut self, candidate: &Candidate, began_us: u64) {
        let deployment = &candidate.deployment;
        let is_mock = deployment.provider.is_mock();
        let address = deployment.base.host_str().filter(|_| !is_mock).unwrap_or_default();
        let detail = Box::new(AttemptDetail {
            span_id: new_span_id(),
            provider: deployment.provider.name,
            model: candidate.model.clone(),
            group: deployment.group.clone(),
            address: address.to_owned(),
            port: deployment.base.port_or_known_default().filter(|_| !is_mock),
            is_fallback: candidate.is_fallback,
        });
        self.attempt = Some((detail, began_us));
        self.traced.routed_us.get_or_insert(began_us);
    }

    pub(super) fn end_attempt(&mut self) -> Option<Box<AttemptDetail>> {
        self.attempt.take().map(|(detail, _)| detail)
    }

    pub(super) fn note_tap(&mut self, tap: &Tap) {
        let traced = &mut self.traced;
        traced.response_id.clone_from(&tap.answer_id);
        traced.response_model.clone_from(&tap.model);
    }

    /// Hands what spans say over to the request's entry. A try that goes on ends with it.
    pub(super) fn close(mut self, entry: &mut Entry) {
        self.traced.unfinished = self.attempt.take().map(|(detail, began_us)| Attempt {
            deployment: entry.deployment.clone().unwrap_or_default(),
            status: None,
            error: Some("cancelled"),
            duration_us: entry.duration_us.saturating_sub(began_us),
            round: None,
            began_us,
            detail: Some(detail),
        });
        if self.tells_content() {
            self.traced.content = content::of(entry);
            if self.keeps_bodies {
                entry.payload = None;
            }
        }
        entry.traced = Some(self.traced);
    }
}

impl Tells {
    /// The trace with a call's span in the place of the request's.
    pub(super) fn trace_of(&self, span_id: u64) -> Trace {
        let mut trace = self.trace.clone();
        trace.place.span_id = span_id;
        trace
    }

    /// What is kept of a call's arguments.
    pub(super) fn said(&mut self, arguments: &str) -> Option<Box<(String, Option<String>)>> {
        self.excerpt(arguments).map(|arguments| Box::new((arguments, None)))
    }

    /// As much of a JSON text as is kept: what is cut becomes a string, which is JSON too.
    pub(super) fn excerpt(&mut self, json: &str) -> Option<String> {
        let most = MAX_SAID.min(self.room);
        let kept = json.get(..json.floor_char_boundary(most)).filter(|kept| !kept.is_empty())?;
        self.room -= kept.len();
        let is_whole = kept.len() == json.len();
        Some(if is_whole {
            json.to_owned()
        } else {
            Json::of(&format!("{kept}…")).as_str().into()
        })
    }
}

/// Takes over a parameter that spans tell of; one of another type is no matter here.
fn note_parameter(parameters: &mut Parameters, key: &[u8], value: &[u8]) {
    fn read<T: serde::de::DeserializeOwned>(value: &[u8]) -> Option<T> {
        serde_json::from_slice(value).ok()
    }
    match key {
        b"temperature" => parameters.temperature = read(value),
        b"top_p" => parameters.top_p = read(value),
        b"top_k" => parameters.top_k = read(value),
        b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens" => {
            parameters.max_tokens = read(value);
        }
        b"frequency_penalty" => parameters.frequency_penalty = read(value),
        b"presence_penalty" => parameters.presence_penalty = read(value),
        b"seed" => parameters.seed = read(value),
        b"n" => parameters.choices = read(value),
        b"stop" | b"stop_sequences" => {
            let one = || read(value).map(|one| vec![one]);
            let mut stops = read(value).or_else(one).unwrap_or_default();
            stops.truncate(MAX_STOPS);
            parameters.stop = stops;
        }
        _ => {}
    }
}
