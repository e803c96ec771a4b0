//! Calls whose server asks something before it answers: kept until the client comes again with the answers, or made again
//! with them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::{Call, Trouble};
use crate::conversation::Json;
use crate::mcp::connection::Exchange;
use crate::mcp::serve::parked::{Parked, Question};
use crate::mcp::serve::questions;
use crate::wire::mcp::edit;
use crate::wire::mcp::error::{INVALID_PARAMS, RpcError};
use crate::wire::mcp::message::{Id, Request};

/// What a server without sessions may ask in one answer.
const MAX_QUESTIONS: usize = 64;
/// The key of the only question that a parked call asks.
pub(super) const QUESTION: &str = "1";

impl Call<'_> {
    /// Keeps a call whose server asks something, and gives the answer that asks it.
    pub(super) fn park(
        &self,
        exchange: Exchange,
        request: Request,
        room: Option<OwnedSemaphorePermit>,
    ) -> Json {
        exchange.park(true);
        let Request { id, method, params } = request;
        let asked = Asked { method: &method, params: params.as_ref() };
        let asked = Json::of(&BTreeMap::from([(QUESTION, asked)]));
        let question = Question { request: Request { id, method, params } };
        let parked = Parked::Asked { exchange, question, room };
        let state = self.mcp.parked.keep(self.target.binding(self.asker), parked);
        let result = Json::of(&json!({
            "resultType": "input_required", "inputRequests": {}, "requestState": state,
        }));
        edit::set(&result, &["inputRequests"], asked.as_str())
    }

    /// A server of the newest era wants more input: from the gateway, from the client by asking it, or from the client by
    /// the answer.
    pub(super) async fn input(&self, params: &Json, result: Json) -> Result<Input, Trouble> {
        let wanted: BTreeMap<String, Json> =
            edit::read(&result, &["inputRequests"]).unwrap_or_default();
        let state = edit::text(&result, &["requestState"]);
        let mut answers = BTreeMap::new();
        let mut left = BTreeMap::new();
        if wanted.len() > MAX_QUESTIONS {
            let text = "The server asks too much in one call.";
            return Err(Trouble::Server(RpcError::new(INVALID_PARAMS, text)));
        }
        for (key, question) in wanted {
            let request = Request {
                id: Id::text(&key),
                method: edit::text(&question, &["method"]).unwrap_or_default(),
                params: edit::get(&question, &["params"]).map(Json::of_raw),
            };
            let server = &self.target.server;
            let outcome = match (
                questions::by_gateway(self.mcp, self.asker, server, &request),
                &self.asker.session,
            ) {
                (Some(answer), _) => answer.await,
                (None, Some(session)) => {
                    questions::may_be_asked(&self.asker.capabilities, &request)
                        .map_err(Trouble::Server)?;
                    let asking = questions::ask(session, &request, None, self.outbox).await;
                    questions::answered(asking).await
                }
                (None, None) => {
                    left.insert(key, question);
                    continue;
                }
            };
            answers.insert(key, outcome.map_err(Trouble::Server)?);
        }
        if left.is_empty() && (!answers.is_empty() || self.asker.session.is_some()) {
            return Ok(Input::Again(merged(params, answers, state)));
        }
        if answers.is_empty() {
            return Ok(Input::OfTheClient(result));
        }
        let parked = Parked::Partly { answers, state };
        let state = self.mcp.parked.keep(self.target.binding(self.asker), parked);
        let result = edit::set(&result, &["inputRequests"], Json::of(&left).as_str());
        Ok(Input::OfTheClient(edit::set(&result, &["requestState"], Json::of(&state).as_str())))
    }
}

/// A question as it stands in `inputRequests`.
#[derive(Serialize)]
struct Asked<'a> {
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a Json>,
}

pub(super) enum Input {
    /// The call, to be made again with the answers.
    Again(Json),
    /// The client gives them.
    OfTheClient(Json),
}

pub(super) fn wants_input(result: &Json) -> bool {
    edit::text(result, &["resultType"]).as_deref() == Some("input_required")
}

/// The params with answers added, and the server's own state.
pub(super) fn merged(
    params: &Json,
    answers: BTreeMap<String, Json>,
    state: Option<String>,
) -> Json {
    let mut all: BTreeMap<String, Json> =
        edit::read(params, &["inputResponses"]).unwrap_or_default();
    all.extend(answers);
    let params = edit::set(params, &["inputResponses"], Json::of(&all).as_str());
    match state {
        Some(state) => edit::set(&params, &["requestState"], Json::of(&state).as_str()),
        None => edit::remove(&params, &["requestState"]),
    }
}
