//! The record of one request: opened at the door, carried along, and told to the observers when the
//! last byte has left, or when the client went away: dropping it is what tells it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use uuid::Uuid;

use super::admit::Caller;
use super::cost;
use super::endpoint::Endpoint;
use super::load::Permit;
use super::notes::Notes;
use super::observers::Observers;
use super::route::Candidate;
use super::tracing::Tracing;
use crate::config::snapshot::Deployment;
use crate::conversation::{Losses, Usage};
use crate::entry::{self, Attempt, Client, Entry, Payload, Status, UsageSource};
use crate::ground::fault::{Fault, Kind};
use crate::ground::secret;
use crate::ground::span::micros;
use crate::ground::usd::Usd;
use crate::wire::fields::Fields;
use crate::wire::tap::Tap;

/// Longest text taken over from a header or a message.
const MAX_TEXT: usize = 512;
/// Bytes kept of a request or an answer where prompts are stored.
pub(super) const MAX_PAYLOAD: usize = 256 * 1024;

/// One request on its way to a row.
pub(super) struct Record {
    /// Boxed, as records are moved about and rows are wide.
    pub(super) entry: Box<Entry>,
    pub(super) begun: Instant,
    upstream_begun: Option<Instant>,
    /// The deployment that was tried last.
    tried: Option<Arc<Deployment>>,
    /// Absent: it is no request of its own.
    observers: Option<Observers>,
    /// Of a request with the gateway's tools.
    notes: Option<Notes>,
    /// What is charged for and only the request tells.
    asked: Usage,
    /// What its trace needs; absent where there are none.
    pub(super) tracing: Option<Box<Tracing>>,
    ended: bool,
    permit: Option<Permit>,
}

/// How long the head of an answer took, in microseconds: altogether, and without the provider's share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) whole_us: u64,
    pub(super) ours_us: u64,
}

impl Record {
    pub(super) fn open(
        observers: Observers,
        endpoint: &Endpoint,
        generation: u64,
        client: Client,
    ) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let entry = Box::new(Entry {
            request_id: uuid_at(since),
            started_at_us: i64::try_from(since.as_micros()).unwrap_or_default(),
            surface: endpoint.surface,
            operation: endpoint.operation,
            config_generation: generation,
            client_ip: Some(client.ip),
            http_version: client.http_version,
            lane: "verbatim",
            ..Entry::default()
        });
        Self {
            entry,
            begun: Instant::now(),
            upstream_begun: None,
            tried: None,
            observers: Some(observers),
            notes: None,
            asked: Usage::default(),
            tracing: None,
            ended: false,
            permit: None,
        }
    }

    /// What its rounds and calls are noted in.
    pub(super) fn notes(&mut self) -> Notes {
        let started_at_us = self.entry.started_at_us;
        let tells = self.tracing.as_deref().map(Tracing::tells);
        self.notes.get_or_insert_with(|| Notes::new(self.begun, started_at_us, tells)).clone()
    }

    /// For later rounds of the same request: it has no row of its own, and what it notes of tries comes into the first one's.
    pub(super) fn aside(&self) -> Self {
        let entry = Entry { request_id: self.entry.request_id, ..Entry::default() };
        Self {
            entry: Box::new(entry),
            begun: self.begun,
            upstream_begun: None,
            tried: None,
            observers: None,
            notes: self.notes.clone(),
            asked: Usage::default(),
            tracing: self.tracing.as_ref().map(|tracing| Box::new(tracing.aside())),
            ended: true,
            permit: None,
        }
    }

    pub(super) fn hold(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    pub(super) fn id(&self) -> Uuid {
        self.entry.request_id
    }

    /// Labels that clients send about their users and sessions; labels only, nothing is decided by them.
    pub(super) fn note_headers(&mut self, headers: &HeaderMap) {
        // The first one counts: what is said for this gateway before what a program says to everybody.
        static END_USER: [HeaderName; 3] = [
            HeaderName::from_static("x-litellm-end-user-id"),
            HeaderName::from_static("x-litellm-customer-id"),
            HeaderName::from_static("x-openwebui-user-id"),
        ];
        static SESSION: [HeaderName; 3] = [
            HeaderName::from_static("x-litellm-session-id"),
            HeaderName::from_static("session-id"),
            HeaderName::from_static("x-openwebui-chat-id"),
        ];
        let first = |names: &[HeaderName]| {
            let value = names.iter().find_map(|name| headers.get(name))?;
            Some(cut(&String::from_utf8_lossy(value.as_bytes())))
        };
        self.entry.user_agent = first(&[header::USER_AGENT]);
        self.entry.end_user = first(&END_USER);
        self.entry.session_id = first(&SESSION);
    }

    pub(super) fn note_caller(&mut self, caller: &Caller) {
        self.believe(caller);
        match caller {
            Caller::Master => self.entry.key_alias = Some("master".to_owned()),
            Caller::Anyone => {}
            Caller::Key(key) => {
                self.entry.key_id = Some(key.id.clone());
                self.entry.key_alias.clone_from(&key.alias);
                self.entry.user_id.clone_from(&key.user_id);
                self.entry.team_id.clone_from(&key.team_id);
                self.entry.tags.clone_from(&key.tags);
            }
        }
    }

    pub(super) fn note_model(&mut self, model: &str, stream: bool, user: Option<&str>) {
        self.entry.model_requested = cut(model);
        self.entry.stream = stream;
        if let Some(user) = user {
            self.entry.end_user = Some(cut(user));
        }
    }

    /// What of the request is charged for, where its answer does not say it: characters that are spoken, a ranking.
    pub(super) fn note_asked(&mut self, endpoint: &Endpoint, body: &[u8]) {
        match endpoint.operation {
            "speech" => {
                let text = Fields::of_bytes(body).and_then(|mut fields| fields.text("input"));
                self.asked.characters = text.map(|text| text.chars().count() as u64);
            }
            "rerank" => self.asked.queries = Some(1),
            _ => {}
        }
    }

    /// What the request has cost so far, with all its rounds and calls.
    pub(super) fn cost(&self) -> Option<Usd> {
        let rounds = self.notes.as_ref().and_then(Notes::cost);
        rounds.map_or(self.entry.cost_usd, |(cost, _)| cost)
    }

    pub(super) fn note_received(&mut self, bytes: u64) {
        self.entry.bytes_in += bytes;
    }

    /// Keeps the client's body, where the configuration wants prompts stored.
    pub(super) fn keep_request(&mut self, body: &Bytes) {
        let payload = self.entry.payload.get_or_insert_default();
        payload.request_truncated = body.len() > MAX_PAYLOAD;
        payload.request = body.get(..body.len().min(MAX_PAYLOAD)).unwrap_or_default().to_vec();
    }

    /// A deployment is about to be called.
    pub(super) fn try_candidate(&mut self, candidate: &Candidate, group: &str) {
        self.upstream_begun.get_or_insert_with(Instant::now);
        let deployment = &candidate.deployment;
        self.tried = Some(deployment.clone());
        if let Some(notes) = &self.notes {
            notes.try_candidate(candidate);
        }
        if let Some(tracing) = &mut self.tracing {
            tracing.begin_attempt(candidate, micros(self.begun.elapsed()));
        }
        let entry = &mut self.entry;
        entry.model_group = Some(deployment.group.clone());
        entry.deployment = Some(deployment.id.clone());
        entry.provider = Some(deployment.provider.name);
        entry.model_upstream = Some(candidate.model.clone());
        entry.api_base = Some(deployment.base.as_str().to_owned());
        // What an earlier try lost is no loss of this one.
        entry.losses.clear();
        entry.fallback_from = candidate.is_fallback.then(|| group.to_owned());
    }

    /// What became of the body on its way to the deployment.
    pub(super) fn note_lane(&mut self, lane: &'static str) {
        self.entry.lane = lane;
    }

    /// What of the request did not reach the provider.
    pub(super) fn note_losses(&mut self, losses: &Losses) {
        self.entry.losses = losses
            .iter()
            .map(|loss| entry::Loss { path: cut(&loss.path), why: cut(&loss.why) })
            .collect();
    }

    pub(super) fn note_attempt(&mut self, mut attempt: Attempt) {
        attempt.detail = self.tracing.as_mut().and_then(|tracing| tracing.end_attempt());
        match &self.notes {
            Some(notes) if self.observers.is_none() => notes.note_attempt(attempt),
            _ => self.entry.attempts.push(attempt),
        }
    }

    pub(super) fn note_upstream_request(&mut self, headers: &HeaderMap) {
        let id = headers.get("x-request-id").or_else(|| headers.get("request-id"));
        self.entry.upstream_request_id =
            id.map(|value| cut(&String::from_utf8_lossy(value.as_bytes())));
    }

    /// The head of the answer is about to leave: its status, and the times both sides took so far.
    pub(super) fn begin_answer(&mut self, status: u16) -> Times {
        let whole = self.begun.elapsed();
        let upstream = self.upstream_begun.map(|begun| begun.elapsed()).unwrap_or_default();
        let (whole_us, ours_us) = (micros(whole), micros(whole.saturating_sub(upstream)));
        if self.entry.stream
            && let Some(permit) = &mut self.permit
        {
            permit.begin_stream();
        }
        self.entry.http_status = status;
        self.entry.ttfb_us = Some(whole_us);
        self.entry.overhead_us = Some(ours_us);
        Times { whole_us, ours_us }
    }

    pub(super) fn deployment(&self) -> Option<&str> {
        self.entry.deployment.as_deref()
    }

    /// Something of the answer itself has come.
    pub(super) fn note_content(&mut self) {
        let elapsed = micros(self.begun.elapsed());
        self.entry.ttft_us.get_or_insert(elapsed);
    }

    /// Bytes of the answer left for the client.
    pub(super) fn note_sent(&mut self, bytes: &[u8]) {
        self.entry.bytes_out += bytes.len() as u64;
        if let Some(Payload { response, response_truncated, .. }) = &mut self.entry.payload {
            let room = MAX_PAYLOAD - response.len().min(MAX_PAYLOAD);
            *response_truncated |= bytes.len() > room;
            response.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
        }
    }

    /// An error that the provider said in a stream, as it may be passed on: without what only the provider may know.
    pub(super) fn struck(&self, bytes: Bytes) -> Bytes {
        let secrets = self.tried.as_deref().map(Deployment::secrets).unwrap_or_default();
        let struck = secret::strike(&String::from_utf8_lossy(&bytes), secrets);
        struck.map_or(bytes, Bytes::from)
    }

    /// What the tap saw of the answer.
    pub(super) fn note_tap(&mut self, tap: &Tap) {
        if let Some(tracing) = &mut self.tracing {
            tracing.note_tap(tap);
        }
        let (entry, tried) = (&mut self.entry, self.tried.as_deref());
        entry.finish_reason = tap.finish_reason.as_deref().map(cut);
        if let Some(usage) = tap.usage {
            entry.tokens = usage;
            entry.usage_source = UsageSource::Provider;
        }
        let usage = tap.usage.filter(|usage| !usage.is_empty()).unwrap_or(self.asked);
        let model = entry.model_upstream.as_deref().unwrap_or_default();
        let cost = tried.and_then(|tried| {
            cost::of(tried, model, tap.model.as_deref(), &usage, entry.started_at_us)
        });
        (entry.cost_usd, entry.price_version) = cost.map(|it| (it.usd, it.version)).unzip();
        // What broke the answer off has been told already, in more words.
        if let Some(error) = tap.error.as_ref().filter(|_| entry.error_type.is_none()) {
            entry.status = Status::Error;
            entry.error_type = Some("upstream_stream_error".to_owned());
            let secrets = tried.map(Deployment::secrets).unwrap_or_default();
            let struck = secret::strike(error, secrets);
            entry.error_message = Some(cut(struck.as_deref().unwrap_or(error)));
        }
    }

    /// The request failed; the row will say so.
    pub(super) fn note_fault(&mut self, fault: &Fault) {
        let entry = &mut self.entry;
        entry.http_status = fault.status();
        entry.error_type = Some(fault.code().unwrap_or(fault.class()).to_owned());
        entry.error_message = Some(cut(&fault.message));
        entry.status = match fault.kind {
            Kind::Overloaded | Kind::Draining => Status::Shed,
            Kind::ClientClosed => Status::Cancelled,
            Kind::Unreachable
            | Kind::UpstreamTimeout
            | Kind::UpstreamGarbage
            | Kind::Upstream(_)
            | Kind::Bug => Status::Error,
            _ => Status::Denied,
        };
        entry.client_closed = fault.kind == Kind::ClientClosed;
    }

    /// The answer had begun and broke off: the status is told already, the row says what happened.
    pub(super) fn note_broken(&mut self, fault: &Fault) {
        let status = self.entry.http_status;
        self.note_fault(fault);
        self.entry.http_status = status;
    }

    /// The answer is complete, or the fault told: nothing is missing.
    pub(super) fn end(&mut self) {
        self.ended = true;
        let upstream = self.upstream_begun.map(|begun| begun.elapsed());
        self.entry.upstream_us = upstream.map(micros);
        self.entry.duration_us = micros(self.begun.elapsed());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
            self.entry.client_closed = true;
            self.entry.status = Status::Cancelled;
            self.entry.http_status = Kind::ClientClosed.row().status;
        }
        if let Some(observers) = &self.observers {
            if let Some(notes) = &self.notes {
                notes.close(&mut self.entry);
            }
            if let Some(tracing) = self.tracing.take() {
                tracing.close(&mut self.entry);
            }
            observers.observe(std::mem::take(&mut *self.entry));
        }
    }
}

/// A UUID version 7: unique, sorted by time, and no secret, so the operating system is not asked for
/// randomness.
pub(super) fn uuid_at(since_1970: Duration) -> Uuid {
    let millis = u64::try_from(since_1970.as_millis()).unwrap_or_default();
    let random = fastrand::u128(..).to_le_bytes();
    let mut bytes = [0; 10];
    bytes.iter_mut().zip(random).for_each(|(byte, random)| *byte = random);
    uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
