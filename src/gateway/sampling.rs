//! What MCP servers ask of models, answered by the gateway's own, for clients that have none: an ordinary request, made for
//! the key whose call it is, with its row and within its limits.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt, Full, Limited};

use super::Gate;
use super::admit::Caller;
use super::endpoint::ENDPOINTS;
use crate::config::snapshot::Key;
use crate::conversation::Json;
use crate::entry::Client;
use crate::ground::trace::Carrier;
use crate::mcp::serve::questions::{Answering, Sampler};
use crate::provider::client::Upstreams;
use crate::wire::mcp::error::{INTERNAL_ERROR, INVALID_PARAMS, RpcError};
use crate::wire::mcp::message::Outcome;
use crate::wire::mcp::{edit, sampling};
use crate::wire::trace;

const SURFACE: &str = "/v1/messages";
/// The longest reply of a model that is given to a server.
const MAX_REPLY: usize = 16 * 1024 * 1024;

/// The gateway as a sampler.
pub struct Models {
    pub gate: Arc<Gate>,
    pub upstreams: Upstreams,
}

impl Sampler for Models {
    fn sample(
        &self,
        model: &str,
        key: Option<Arc<Key>>,
        trace: Option<Carrier>,
        params: Json,
    ) -> Answering {
        let (gate, upstreams, model) =
            (self.gate.clone(), self.upstreams.clone(), model.to_owned());
        let caller = key.map_or(Caller::Master, Caller::Key);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(trace) = trace {
            trace::inject(&trace, &mut headers);
        }
        Box::pin(async move { sample(&gate, &upstreams, &model, caller, &headers, &params).await })
    }
}

async fn sample(
    gate: &Gate,
    upstreams: &Upstreams,
    model: &str,
    caller: Caller,
    headers: &HeaderMap,
    params: &Json,
) -> Outcome {
    let body = sampling::to_messages(model, params)
        .map_err(|error| RpcError::new(INVALID_PARAMS, format!("{error}.")))?;
    let failed = |text: String| RpcError::new(INTERNAL_ERROR, text);
    let endpoint = ENDPOINTS.iter().find(|endpoint| endpoint.surface == SURFACE);
    let endpoint = endpoint.ok_or_else(|| failed("Messages are not served.".into()))?;
    let mut body = Some(Full::new(Bytes::from(body.to_string())));
    let answered =
        gate.handle(Some(caller), endpoint, headers, &mut body, Client::HERE, upstreams).await;
    let status = answered.status();
    let whole = Limited::new(answered.into_body(), MAX_REPLY).collect().await;
    let whole = whole.map_err(|error| failed(error.to_string()))?.to_bytes();
    let reply = String::from_utf8_lossy(&whole).into_owned();
    let reply =
        Json::parse(reply).ok_or_else(|| failed("The model's answer is no JSON.".into()))?;
    if !status.is_success() {
        let said = edit::text(&reply, &["error", "message"]);
        return Err(failed(
            said.unwrap_or_else(|| format!("The model failed with status {status}.")),
        ));
    }
    sampling::from_message(&reply).ok_or_else(|| failed("The model's answer is no message.".into()))
}
