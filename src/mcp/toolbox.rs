//! Tools for those who are no MCP clients: the REST paths, the command line, the tool loop. They list and call like a client
//! that can do nothing else.

use std::sync::Arc;

use futures_util::future::join_all;
use http::HeaderMap;
use serde_json::json;
use tokio::sync::mpsc;

use super::Mcp;
use super::pool::catalogue::Kind;
use super::serve::ask::{Ask, Asker, MAX_WAITING, Out, Scope};
use super::serve::{dispatch, lists};
use super::view::Denied;
use crate::config::snapshot::{Key, McpServer, Snapshot};
use crate::conversation::Json;
use crate::wire::mcp::edit;
use crate::wire::mcp::error::{INTERNAL_ERROR, RpcError};
use crate::wire::mcp::message::{Answer, Id, Message, Outcome, Request};
use crate::wire::mcp::revision::NEWEST_WITH_SESSIONS;

/// The tools of a scope.
#[derive(Default)]
pub struct Tools {
    pub tools: Vec<Tool>,
    /// Servers whose tools may be missing: each with the reason.
    pub unavailable: Vec<(Arc<McpServer>, String)>,
}

/// One tool.
#[derive(Clone)]
pub struct Tool {
    /// Its name in the scope.
    pub name: String,
    /// The server's own name for it.
    pub own: String,
    pub server: Arc<McpServer>,
    /// The whole definition, with the name in the scope.
    pub definition: Json,
}

impl Tool {
    /// What it does, in its own words or its title.
    pub fn description(&self) -> Option<String> {
        let text = |name: &str| edit::text(&self.definition, &[name]);
        text("description").or_else(|| text("title"))
    }

    /// The JSON Schema of its arguments.
    pub fn input_schema(&self) -> Json {
        let schema = edit::get(&self.definition, &["inputSchema"]).map(Json::of_raw);
        schema.unwrap_or_else(|| Json::of(&json!({ "type": "object" })))
    }
}

impl Asker {
    /// One who is no MCP client. `None` for the key: the master key, or none is configured.
    pub fn plain(
        snapshot: Arc<Snapshot>,
        key: Option<Arc<Key>>,
        scope: Scope,
        headers: Arc<HeaderMap>,
    ) -> Self {
        Self {
            snapshot,
            key,
            scope,
            headers,
            revision: NEWEST_WITH_SESSIONS,
            capabilities: Json::empty_object(),
            session: None,
            trace: None,
        }
    }
}

impl Mcp {
    /// The tools that an asker sees.
    ///
    /// # Errors
    /// The scope names a server that the asker does not see.
    pub async fn tools(&self, asker: &Asker) -> Result<Tools, Denied> {
        let view = self.view(asker)?;
        let mut all = Tools::default();
        for offered in lists::offered(asker, &view, Kind::Tools).await {
            let server = offered.seen.server;
            if let Some(failure) = offered.failure {
                all.unavailable.push((server.clone(), failure));
            }
            all.tools.extend(offered.offers.entries.iter().map(|offer| Tool {
                name: offer.name.clone(),
                own: offer.own.clone(),
                server: server.clone(),
                definition: offer.definition.clone(),
            }));
        }
        Ok(all)
    }

    /// The same, but a server that is just coming up is waited for as long as a call would wait.
    ///
    /// # Errors
    /// The scope names a server that the asker does not see.
    pub async fn tools_awaited(&self, asker: &Asker) -> Result<Tools, Denied> {
        let found = self.tools(asker).await?;
        if found.unavailable.is_empty() {
            return Ok(found);
        }
        let view = self.view(asker)?;
        let is_missing = |name: &str| found.unavailable.iter().any(|(it, _)| it.name == name);
        let coming = view.seen.iter().filter(|seen| is_missing(&seen.server.name));
        let up = join_all(coming.map(|seen| seen.slot.connection())).await;
        // One that did not come up is missing again.
        if up.iter().all(Result::is_err) { Ok(found) } else { self.tools(asker).await }
    }

    /// Calls a tool by its name in the asker's scope. Dropped, it cancels the call. The result is that of `tools/call`.
    pub async fn call_tool(
        self: &Arc<Self>,
        asker: &Asker,
        name: &str,
        arguments: Option<&Json>,
    ) -> Outcome {
        let arguments = arguments.map_or("{}", Json::as_str);
        let params = Json::of(&json!({ "name": name }));
        let params = edit::set(&params, &["arguments"], arguments);
        let request =
            Request { id: Id::number(1), method: "tools/call".into(), params: Some(params) };
        let (outbox, mut out) = mpsc::channel(MAX_WAITING);
        let ask = Ask { request, asker: asker.clone(), outbox };
        let listen = async {
            while let Some(next) = out.recv().await {
                if let Out::Answer(text) = next {
                    return Some(text);
                }
            }
            None
        };
        let ((), answer) = tokio::join!(dispatch::answer_request(self, ask), listen);
        match answer.map(|text| Message::read(text.as_bytes())) {
            Some(Ok(Message::Answer(Answer { outcome, .. }))) => outcome,
            _ => Err(RpcError::new(INTERNAL_ERROR, "The call ended without an answer.")),
        }
    }
}
