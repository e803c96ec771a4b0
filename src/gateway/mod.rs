//! Floor 5, the request corridor: `Gate::handle` tells it in order. One `Live` is loaded at the door
//! and carried to the end; nobody looks at the swap again midway, so a request sees one configuration.

pub mod admit;
mod answer;
mod attempt;
mod begin;
pub mod body;
mod content;
mod cost;
pub mod discovery;
pub mod endpoint;
mod figures;
mod held;
mod hub;
mod lane;
pub mod load;
pub mod models;
mod notes;
pub mod observers;
pub mod outgoing;
mod record;
pub mod relay;
pub mod responses;
mod rounds;
pub mod route;
pub mod sampling;
mod tools;
mod tracing;
mod translated;
mod translation;
mod tries;
mod upload;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Body;
use jiff::Timestamp;
use tokio::sync::Notify;

use self::admit::Caller;
pub use self::answer::{fault_response, fault_response_as, fault_response_to};
use self::answer::{refuse, respond};
use self::begin::Begun;
use self::endpoint::{BodyKind, Endpoint};
use self::figures::AuthFailures;
use self::load::Load;
use self::observers::Observers;
use self::outgoing::Outgoing;
use self::record::Record;
use self::responses::Thread;
use self::rounds::Rounds;
use self::route::{Candidate, Health, Ward};
use self::tools::{Pending, Served};
use crate::config::snapshot::{Deployment, Match, Snapshot};
use crate::conversation::Format;
use crate::entry::Client;
use crate::ground::fault::{Fault, Kind};
use crate::ground::names;
use crate::journal::responses::Responses;
use crate::mcp::Mcp;
use crate::provider::client::Upstreams;
use crate::telemetry::traces::Traces;
use crate::wire::envelope::Envelope;

/// One generation of everything a request needs: the configuration and the live parts built for it.
pub struct Live {
    pub snapshot: Arc<Snapshot>,
    /// Counts successful loads since the start, from 1.
    pub generation: u64,
    pub loaded_at: Timestamp,
    /// How each deployment has been doing; kept across reloads.
    pub ward: Ward,
}

impl Live {
    /// Builds the live parts for a snapshot, keeping from `old` whatever still fits.
    pub fn build(snapshot: Snapshot, old: Option<&Self>) -> Self {
        let kept = |id: &str| old.and_then(|old| old.ward.get(id)).cloned();
        let ward = snapshot
            .models
            .deployments()
            .map(|deployment| {
                let health = kept(&deployment.id).unwrap_or_else(|| Arc::new(Health::default()));
                (deployment.id.clone(), health)
            })
            .collect();
        let generation = old.map_or(0, |old| old.generation) + 1;
        Self { snapshot: Arc::new(snapshot), generation, loaded_at: Timestamp::now(), ward }
    }
}

/// The gate: what all requests share.
pub struct Gate {
    live: ArcSwap<Live>,
    observers: Observers,
    responses: Responses,
    mcp: Arc<Mcp>,
    /// Results that clients have to come back for.
    pending: Arc<Pending>,
    load: Load,
    auth_failures: AuthFailures,
    draining: AtomicBool,
    /// Rings at each swap.
    swapped: Notify,
}

/// What a JSON request asks for, once it has been read and may go on.
pub(crate) struct Asked<'r> {
    endpoint: &'static Endpoint,
    headers: &'r HeaderMap,
    envelope: Envelope,
    body: Bytes,
    upstreams: &'r Upstreams,
    /// Something of the request means nothing to a provider, even one that speaks the client's format.
    needs_hub: bool,
    /// The thread of stored responses that the request goes on with.
    thread: Option<Thread>,
    /// The gateway's own tools in it.
    served: Served<'r>,
}

impl Gate {
    pub fn new(live: Live, observers: Observers, responses: Responses, mcp: Arc<Mcp>) -> Self {
        observers.metrics.adopt(&live.snapshot);
        Self {
            live: ArcSwap::from_pointee(live),
            observers,
            responses,
            mcp,
            pending: Arc::default(),
            load: Load::default(),
            auth_failures: AuthFailures::default(),
            draining: AtomicBool::new(false),
            swapped: Notify::new(),
        }
    }

    /// The current generation. A request calls this once.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Puts a new generation in place; requests that began keep theirs.
    pub fn swap(&self, live: Arc<Live>) {
        let snapshot = live.snapshot.clone();
        self.live.store(live);
        self.observers.metrics.adopt(&snapshot);
        self.swapped.notify_one();
    }

    /// Returns after the next swap, at once where there was one since the last call. For one who waits.
    async fn swapped(&self) {
        self.swapped.notified().await;
    }

    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Who is told of requests that end outside of it.
    pub fn traces(&self) -> &Arc<Traces> {
        &self.observers.traces
    }

    /// From now on new requests are refused, and `/health/ready` says so.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// One request to a model, from the door to the head of its answer. What is not read of the body
    /// stays with the caller. `known`: who calls, where that is no matter of the headers. `upstreams` are the
    /// calling worker's connections to providers.
    pub async fn handle<B>(
        &self,
        known: Option<Caller>,
        endpoint: &'static Endpoint,
        headers: &HeaderMap,
        body: &mut Option<B>,
        client: Client,
        upstreams: &Upstreams,
    ) -> Response<Outgoing>
    where
        B: Body<Data = Bytes, Error: Error + Send + 'static> + Send + Unpin + 'static,
    {
        let live = self.live();
        let mut record = Record::open(self.observers.clone(), endpoint, live.generation, client);
        // Boxed: the futures of a request lie in one another, and moving the outermost would move all.
        let answer = self.answer(&live, known, endpoint, headers, body, upstreams, &mut record);
        match Box::pin(answer).await {
            Ok((begun, strip_usage)) => respond(&live, begun, strip_usage, record),
            Err(fault) => refuse(endpoint, fault, record),
        }
    }

    /// The numbered steps. Refusals stand in the order in which they cost the least. With the answer
    /// comes whether the usage chunk of its stream has to be taken out.
    #[expect(clippy::too_many_arguments, reason = "the corridor's parts, each used by name once")]
    async fn answer<B>(
        &self,
        live: &Arc<Live>,
        known: Option<Caller>,
        endpoint: &'static Endpoint,
        headers: &HeaderMap,
        body: &mut Option<B>,
        upstreams: &Upstreams,
        record: &mut Record,
    ) -> Result<(Begun, bool), Fault>
    where
        B: Body<Data = Bytes, Error: Error + Send + 'static> + Send + Unpin + 'static,
    {
        record.note_headers(headers);
        record.begin_trace(&live.snapshot.telemetry, headers);
        // 1. Is there room for one more?
        record.hold(self.enter(live, endpoint.surface)?);
        // 2. Who is calling? Headers only: a stranger's body is never looked at.
        let caller = match known {
            Some(caller) => caller,
            None => self.identify(live, headers)?,
        };
        record.note_caller(&caller);
        if endpoint.body == BodyKind::Multipart {
            let form = upload::Form { endpoint, headers, body };
            let begun = upload::pass_on(live, form, &caller, upstreams, record).await?;
            return Ok((begun, false));
        }
        // 3. What is asked? A bounded body, of which a few fields are looked at.
        body::check_json(headers)?;
        let incoming = body.as_mut().ok_or_else(|| Fault::bug("a body was read twice"))?;
        let mut room = self.load.room();
        let body = body::read(incoming, live.snapshot.limits.max_body, &mut room).await?;
        record.note_received(body.len() as u64);
        if live.snapshot.request_log.store_prompts {
            record.keep_request(&body);
        } else {
            record.keep_request_for_spans(&body);
        }
        record.note_asked(endpoint, &body);
        let mut envelope = record.read_envelope(&body)?;
        record.note_model(&envelope.model, envelope.stream, envelope.user.as_deref());
        // 4. May this key use this model, and who can serve it, in which order?
        let scoped = scope(live, &caller, &envelope.model)?;
        // 5. Does it go on from an earlier response?
        let (mut body, mut thread, mut needs_hub) = (body, None, false);
        if endpoint.client().is_some_and(|client| client.format == Format::OpenAiResponses) {
            let (found, expanded) = responses::follow(&self.responses, &caller, &body).await?;
            if let Some(expanded) = expanded {
                envelope = Envelope::read(&expanded)?;
                (body, needs_hub) = (expanded, true);
            }
            thread = Some(found);
        }
        let keeper = thread.as_ref().and_then(|thread| thread.deployment.as_deref());
        let candidates = scoped.plan(live, keeper);
        if let Some(thread) = thread.as_ref().filter(|_| candidates.is_empty()) {
            return Err(thread.kept_elsewhere());
        }
        // 6. Which of the gateway's own tools does it get?
        let owner = responses::owner(&caller);
        let asking = tools::Asking {
            mcp: &self.mcp,
            snapshot: &live.snapshot,
            caller: &caller,
            endpoint,
            headers,
            body: &body,
            pending: &self.pending,
            owner: &owner,
            record,
        };
        let set = tools::gather(asking).await?.map(Arc::new);
        // 7. Try them until one begins to answer.
        let served = Served {
            toolset: set.as_deref(),
            turns: &[],
            pending: &self.pending,
            owner: &owner,
            headers,
        };
        let mut asked =
            Asked { endpoint, headers, envelope, body, upstreams, needs_hub, thread, served };
        if set.is_some() {
            record.notes().begin_round();
        }
        let begun = attempt::run(live, &mut asked, &candidates, record).await?;
        // 8. Usage that only we asked for is taken out again on the way.
        let strip_usage = endpoint.stream_usage && !asked.envelope.asks_for_stream_usage();
        let Some((set, client)) = set.clone().zip(endpoint.runs_tools()) else {
            return Ok((begun, strip_usage));
        };
        // 9. Run what the model calls of them, until it has said all.
        let rounds = Rounds {
            live: live.clone(),
            endpoint,
            headers: headers.clone(),
            body: asked.body.clone(),
            upstreams: upstreams.clone(),
            candidates,
            pending: self.pending.clone(),
            owner: owner.clone(),
            record: record.aside(),
        };
        let (pending, idle) = (self.pending.clone(), live.snapshot.routing.stream_idle_timeout);
        let seed = record.id().simple().to_string();
        let stream = asked.envelope.stream;
        let run = |first, told| tools::Run { set, first, told, rounds, pending, owner, idle, seed };
        // Boxed: most requests have no tools, and would all be larger by it.
        let begun = Box::pin(tools::begin(client, stream, begun, run)).await?;
        Ok((begun, false))
    }

    /// A place among the requests in progress.
    ///
    /// # Errors
    /// `Draining` when the gateway is about to end, `Overloaded` when there is no place.
    pub fn enter(&self, live: &Live, surface: &'static str) -> Result<load::Permit, Fault> {
        if self.is_draining() {
            self.load.count_shed("draining");
            return Err(Fault::new(
                Kind::Draining,
                "The gateway is shutting down. Try again in a moment.",
            )
            .with_retry_after(1));
        }
        self.load.enter(live.snapshot.limits.max_in_flight, surface)
    }
}

impl Asked<'_> {
    /// The canned answer (`None`: the mock's own), where the mock answers instead of a provider.
    fn mock<'a>(&'a self, deployment: &'a Deployment) -> Option<Option<&'a str>> {
        let canned = self.envelope.mock_response.as_deref();
        let canned = canned.or(deployment.mock_response.as_deref());
        (deployment.provider.is_mock() || canned.is_some()).then_some(canned)
    }
}

/// A model that the caller may use.
struct Scoped {
    meant: String,
    found: Match,
}

impl Scoped {
    /// Who is tried, in which order; with a keeper only that one, if it is among them.
    fn plan(&self, live: &Live, keeper: Option<&str>) -> Vec<Candidate> {
        let Live { snapshot, ward, .. } = live;
        let Snapshot { models, routing, .. } = &**snapshot;
        route::plan(&self.meant, &self.found, models, routing, ward, keeper)
    }
}

/// Checks the key's right to the model.
fn scope(live: &Live, caller: &Caller, name: &str) -> Result<Scoped, Fault> {
    let models = &live.snapshot.models;
    let meant = caller.meaning(name);
    let shown = names::shown(name);
    let Some(found) = models.find(meant) else {
        let visible = models.names().filter(|known| caller.may_use(known, known));
        let hint = names::closest(name, visible).map(|close| format!(" Did you mean `{close}`?"));
        return Err(Fault::new(
            Kind::ModelNotFound,
            format!(
                "The model `{shown}` does not exist here.{} GET /v1/models lists those that do.",
                hint.unwrap_or_default()
            ),
        )
        .with_param("model"));
    };
    if !caller.may_use(name, meant) {
        return Err(Fault::new(
            Kind::ModelDenied,
            format!(
                "This API key may not use the model `{shown}`. GET /v1/models lists those it may use."
            ),
        )
        .with_param("model"));
    }
    Ok(Scoped { meant: meant.to_owned(), found })
}
