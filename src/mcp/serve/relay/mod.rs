//! One call on its way to one server and back, whatever eras the two sides speak. What belongs to the call goes to the
//! client as it comes; what the server asks is asked of the client who caused it. A call is made again only where it surely
//! was not processed, or does no harm twice.

mod input;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::HeaderMap;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use self::input::{Input, QUESTION, merged, wants_input};
use super::ask::{Asker, Out, Outbox};
use super::parked::{Binding, Parked};
use super::{dispatch, questions};
use crate::config::snapshot::McpServer;
use crate::conversation::Json;
use crate::mcp::Mcp;
use crate::mcp::connection::{Connection, Event, Exchange, Owner};
use crate::mcp::era::{self, Identity};
use crate::mcp::figures::Calling;
use crate::mcp::pool::slot::{Slot, severity};
use crate::mcp::roots;
use crate::mcp::traced;
use crate::mcp::transport::{Failure, FailureKind};
use crate::mcp::view::Seen;
use crate::wire::mcp::edit;
use crate::wire::mcp::error::{
    INTERNAL_ERROR, INVALID_PARAMS, RESOURCE_NOT_FOUND, RpcError, SERVER_BUSY, SERVER_TIMEOUT,
    SERVER_UNAVAILABLE,
};
use crate::wire::mcp::message::{Notification, Outcome, Request, notification};
use crate::wire::mcp::revision::META_LOG_LEVEL;

/// How often a call is made that was not processed.
const MAX_TRIES: u32 = 3;
/// The pause before it is made again; doubled each time.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a server may ask for more input in one call.
const MAX_ROUNDS: u32 = 10;
/// A call that goes on being told of lasts this many times its timeout at most, beside the time that a client takes to
/// answer.
const LONGEST: u32 = 12;

/// The least severe log messages that a session gets of a server of the newest era while it has set no level.
const DEFAULT_LOG_LEVEL: &str = "info";

/// A call, resolved.
pub struct Target {
    pub slot: Arc<Slot>,
    pub server: Arc<McpServer>,
    pub method: String,
    /// With the server's own names.
    pub params: Json,
    /// What the client calls it.
    pub name: String,
    /// It does no harm twice.
    pub is_safe: bool,
    /// Headers of this call, for servers of the newest era.
    pub headers: HeaderMap,
}

/// How far a call got.
enum Step {
    Answered(Outcome),
    /// The server asks, and the client can only be asked by an answer.
    Asked(Exchange, Request),
}

impl Target {
    /// A method that the gateway does not know, for the only server of a view.
    pub(super) fn plain(seen: &Seen, method: &str, params: Json) -> Self {
        Self {
            slot: seen.slot.clone(),
            server: seen.server.clone(),
            method: method.to_owned(),
            params,
            name: method.to_owned(),
            is_safe: false,
            headers: HeaderMap::new(),
        }
    }

    fn binding(&self, asker: &Asker) -> Binding {
        Binding {
            key: asker.key.as_ref().map(|key| key.hash),
            server: self.server.name.clone(),
            method: self.method.clone(),
            name: self.name.clone(),
        }
    }
}

/// Makes a call and sees it through.
pub async fn relay(mcp: &Arc<Mcp>, asker: &Asker, outbox: &Outbox, mut target: Target) -> Outcome {
    let span = traced::call(asker, &mut target);
    target.slot.health.calls.fetch_add(1, Ordering::Relaxed);
    let own_name = traced::own_name(&target).filter(|_| target.method == "tools/call");
    let calling = own_name.as_deref().map(|name| Calling::begin(&target.slot, name));
    let outcome = Call { mcp, asker, outbox, target: &target }.run().await;
    if let Some(calling) = calling {
        match &outcome {
            Ok(result) => calling.answered(result),
            Err(Trouble::Server(_)) => calling.refused(),
            Err(Trouble::Way(failure)) => calling.failed(failure.kind),
        }
    }
    let is_modern = asker.revision.is_modern();
    let outcome = outcome.map_err(|failure| match failure {
        Trouble::Server(error) => for_client(error, is_modern),
        Trouble::Way(failure) => {
            target.slot.health.failed_calls.fetch_add(1, Ordering::Relaxed);
            unavailable_error(&target.server, &failure)
        }
    });
    if let Some(span) = span {
        let connection = target.slot.current();
        span.end(&outcome, connection.map(|it| it.peer().revision.as_str()));
    }
    outcome
}

/// Why a call has no result.
enum Trouble {
    /// The server's own error, or the gateway's word for the client.
    Server(RpcError),
    /// The server could not be reached, or did not answer.
    Way(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Way(failure)
    }
}

struct Call<'c> {
    mcp: &'c Arc<Mcp>,
    asker: &'c Asker,
    outbox: &'c Outbox,
    target: &'c Target,
}

impl Call<'_> {
    async fn run(&self) -> Result<Json, Trouble> {
        let is_modern = self.asker.revision.is_modern();
        let mut params = self.target.params.clone();
        let state = edit::text(&params, &["requestState"]).filter(|_| is_modern);
        let parked =
            state.and_then(|state| self.mcp.parked.take(&state, &self.target.binding(self.asker)));
        let (mut room, mut going) = match parked {
            Some(Parked::Asked { exchange, question, room }) => {
                let Some(answer) = edit::get(&params, &["inputResponses", QUESTION]) else {
                    return Ok(self.park(exchange, question.request, room));
                };
                let answer = Ok(Json::of_raw(answer));
                exchange.park(false);
                exchange.connection().respond_later(question.request.id, answer);
                (room, Some(exchange))
            }
            Some(Parked::Partly { answers, state }) => {
                params = merged(&params, answers, state);
                (self.enter().await?, None)
            }
            None => (self.enter().await?, None),
        };
        let (mut tries, mut rounds) = (0, 0);
        loop {
            let step = match going.take() {
                Some(exchange) => self.follow(exchange).await,
                None => match self.start(&params).await? {
                    Ok(exchange) => self.follow(exchange).await,
                    Err(failure) => Err(failure),
                },
            };
            match step {
                Ok(Step::Asked(exchange, request)) => {
                    return Ok(self.park(exchange, request, room.take()));
                }
                Ok(Step::Answered(Ok(result))) if wants_input(&result) => {
                    rounds += 1;
                    if rounds > MAX_ROUNDS {
                        let text = "The server asks for more input again and again.";
                        return Err(Trouble::Server(RpcError::new(INVALID_PARAMS, text)));
                    }
                    match self.input(&params, result).await? {
                        Input::Again(with_answers) => params = with_answers,
                        Input::OfTheClient(result) => return Ok(result),
                    }
                }
                Ok(Step::Answered(Ok(result))) => return Ok(result),
                Ok(Step::Answered(Err(error))) => return Err(Trouble::Server(error)),
                Err(failure) if tries + 1 < MAX_TRIES && self.may_be_repeated(&failure) => {
                    tokio::time::sleep(PAUSE * 2_u32.pow(tries)).await;
                    tries += 1;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    fn may_be_repeated(&self, failure: &Failure) -> bool {
        let was_lost = failure.kind == FailureKind::Lost;
        failure.is_unprocessed() || (self.target.is_safe && was_lost)
    }

    async fn enter(&self) -> Result<Option<OwnedSemaphorePermit>, Trouble> {
        if self.target.method != "tools/call" {
            return Ok(None);
        }
        let name = self.target.server.display_name();
        self.target.slot.enter().await.map_err(|failure| {
            let text = format!("The MCP server `{name}` is busy: {}", failure.text);
            let data = json!({ "server": name, "reason": failure.text });
            Trouble::Server(RpcError::new(SERVER_BUSY, text).with_data(data))
        })
    }

    /// Sends the request. The outer error is final, the inner one may be tried again.
    async fn start(&self, params: &Json) -> Result<Result<Exchange, Failure>, Trouble> {
        let connection = self.connection().await?;
        let is_stale = !connection.is_modern() && edit::get(params, &["requestState"]).is_some();
        if is_stale && self.asker.revision.is_modern() {
            let text = "`requestState` is unknown: the server waited too long for the answer. Call again without it.";
            return Err(Trouble::Server(RpcError::new(INVALID_PARAMS, text)));
        }
        let params = self.fitting(params, &connection);
        let owner = match &self.asker.session {
            Some(session) => Owner::Session(session.id.as_str().into()),
            None => Owner::Key(self.asker.key.as_ref().map(|key| key.hash)),
        };
        let headers = self.target.headers.clone();
        let called = connection.call(&self.target.method, Some(params), owner, headers);
        // A child that reads nothing takes no call.
        let called = tokio::time::timeout(self.target.server.timeout, called).await;
        called.map_err(|_| {
            let text = "the server did not take the call in time";
            Failure::new(FailureKind::Timeout, text).into()
        })
    }

    /// A connection to the server; if its entry was changed meanwhile, one as it is configured now.
    async fn connection(&self) -> Result<Arc<Connection>, Failure> {
        let mut slot = self.target.slot.clone();
        loop {
            match slot.connection().await {
                Err(failure) if slot.is_retired() => {
                    let next = self.mcp.pool.slot(&self.target.server, self.asker);
                    slot = next.filter(|next| !Arc::ptr_eq(next, &slot)).ok_or(failure)?;
                }
                outcome => return outcome,
            }
        }
    }

    /// The params in the words of the server's era.
    fn fitting(&self, params: &Json, connection: &Connection) -> Json {
        let asker = self.asker;
        let level = edit::text(params, &["_meta", META_LOG_LEVEL]);
        if !connection.is_modern() {
            let in_session = || asker.session.as_ref().and_then(|session| session.log_level());
            // The connection may be younger than the session's wish.
            if let Some(level) = level.filter(|_| asker.revision.is_modern()).or_else(in_session) {
                self.target.slot.want_log_level(&level);
            }
            return match asker.revision.is_modern() {
                true => era::older(params.clone()),
                false => params.clone(),
            };
        }
        let client_info = match &asker.session {
            Some(session) => session.client_info.clone(),
            None => dispatch::client_info(Some(params))
                .unwrap_or_else(|| Identity::gateway().client_info),
        };
        let capabilities = roots::declared(&asker.capabilities, &self.target.server);
        let identity = Identity { capabilities, client_info };
        let params = era::modern(Some(params.clone()), &identity, connection.peer().revision);
        let Some(session) = &asker.session else { return params };
        // A session hears of logs without asking for them; of this era nobody does.
        let level = session.log_level().unwrap_or_else(|| DEFAULT_LOG_LEVEL.to_owned());
        edit::set(&params, &["_meta", META_LOG_LEVEL], Json::of(&level).as_str())
    }

    /// Sees a request through until it is answered, or the client has to be asked by an answer.
    async fn follow(&self, mut exchange: Exchange) -> Result<Step, Failure> {
        let silence = self.target.server.timeout;
        let mut left = silence.saturating_mul(LONGEST);
        let mut asked = Instant::now();
        let mut questions = questions::Questions::default();
        loop {
            let began = Instant::now();
            // While the client is asked, the server has reason to be silent.
            let is_asking = !questions.open.is_empty();
            let patience = if is_asking { questions::PATIENCE } else { silence.min(left) };
            let next = tokio::select! {
                next = tokio::time::timeout(patience, exchange.next()) => next,
                Some(_) = questions.open.join_next(), if is_asking => continue,
                () = self.outbox.closed() => {
                    return Err(Failure::new(FailureKind::Closed, "the client is gone"));
                }
            };
            if !is_asking {
                left = left.saturating_sub(began.elapsed());
            }
            if exchange.connection().has_open_questions() {
                asked = Instant::now();
            }
            let Ok(event) = next else {
                if asked.elapsed() < silence && !left.is_zero() {
                    continue;
                }
                let text = format!("no answer within {} s", patience.as_secs_f64());
                return Err(Failure::new(FailureKind::Timeout, text));
            };
            match event {
                Event::Notification(it) if it.method == "notifications/cancelled" => {
                    questions.cancel(&it);
                }
                Event::Notification(notification) => {
                    let passed = self.pass_on(notification);
                    if tokio::time::timeout(questions::PATIENCE, passed).await.is_err() {
                        let text = "the client does not read what it is sent";
                        return Err(Failure::new(FailureKind::Closed, text));
                    }
                }
                Event::Request { request, .. } if !questions.admit() => {
                    let error = RpcError::new(INTERNAL_ERROR, "Too much is asked at once.");
                    exchange.connection().respond_later(request.id, Err(error));
                }
                Event::Request { request, is_its_own } => {
                    let connection = exchange.connection().clone();
                    let server = &self.target.server;
                    let own = questions::by_gateway(self.mcp, self.asker, server, &request);
                    let capabilities = &self.asker.capabilities;
                    if let Some(answer) = own {
                        questions.begin(request.id.clone(), async move {
                            let outcome = answer.await;
                            connection.respond_later(request.id, outcome);
                        });
                    } else if let Err(error) = questions::may_be_asked(capabilities, &request) {
                        connection.respond_later(request.id, Err(error));
                    } else if let Some(session) = self.asker.session.clone() {
                        // Another of the client's calls may be the one that waits for it; then it outlives this one.
                        let open = (!is_its_own).then(|| exchange.ask_for_another());
                        let of = Some(&connection);
                        let asking = questions::ask(&session, &request, of, self.outbox).await;
                        let id = request.id.clone();
                        let answering = async move {
                            let outcome = questions::answered(asking).await;
                            connection.respond_later(request.id, outcome);
                            drop(open);
                        };
                        match is_its_own {
                            true => questions.begin(id, answering),
                            false => {
                                let asking = self.mcp.handle().spawn(answering);
                                questions.note(id, asking.abort_handle());
                            }
                        }
                    } else {
                        // What the gateway answers itself is answered all the same.
                        questions.open.detach_all();
                        return Ok(Step::Asked(exchange, request));
                    }
                }
                Event::Answer(outcome) => return Ok(Step::Answered(outcome)),
                Event::Lost(failure) => {
                    if failure.kind == FailureKind::SessionExpired {
                        exchange.connection().expire(failure.text.clone());
                    }
                    return Err(failure);
                }
            }
        }
    }

    /// Something about the call, for the client, if it wants it.
    async fn pass_on(&self, it: Notification) {
        if it.method == "notifications/message" {
            let level = it.params.as_ref().and_then(|params| edit::text(params, &["level"]));
            let asker = self.asker;
            let wanted = match &asker.session {
                Some(session) => session.log_level(),
                None => match edit::text(&self.target.params, &["_meta", META_LOG_LEVEL]) {
                    Some(wanted) => Some(wanted),
                    None => return,
                },
            };
            let is_below =
                |wanted: String| severity(&level.unwrap_or_default()) < severity(&wanted);
            if wanted.is_some_and(is_below) {
                return;
            }
        }
        let text = notification(&it.method, it.params.as_ref());
        let _nobody_waits = self.outbox.send(Out::Message(text)).await;
    }
}

/// A server's error in the client's revision: only the code for a missing resource differs.
fn for_client(error: RpcError, is_modern: bool) -> RpcError {
    if is_modern && error.code() == RESOURCE_NOT_FOUND {
        let json = edit::set(error.as_json(), &["code"], &INVALID_PARAMS.to_string());
        return RpcError::of_json(json);
    }
    error
}

/// The error for a server that cannot be reached or does not answer.
pub(super) fn unavailable(seen: &Seen, failure: &Failure) -> RpcError {
    unavailable_error(&seen.server, failure)
}

fn unavailable_error(server: &McpServer, failure: &Failure) -> RpcError {
    let name = server.display_name();
    let code =
        if failure.kind == FailureKind::Timeout { SERVER_TIMEOUT } else { SERVER_UNAVAILABLE };
    let text = format!("The MCP server `{name}` did not answer the call: {}", failure.text);
    RpcError::new(code, text).with_data(json!({ "server": name, "reason": failure.text }))
}
