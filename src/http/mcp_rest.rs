//! The paths for those who use MCP servers without speaking MCP: LiteLLM's REST, the read-only lists, one OpenAPI face for
//! each server. Here a request is let in and its work bound to the client's stay; what the answers say is decided in
//! `mcp::rest`. None of the paths takes a command, a URL or a template: servers come from the configuration alone.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body::Body;
use tokio_util::task::AbortOnDropHandle;

use super::cors;
use super::mcp::{Named, scope};
use super::reply::reply_with;
use super::router::percent_decoded;
use super::traced::Served;
use crate::gateway::admit::Caller;
use crate::gateway::outgoing::Outgoing;
use crate::gateway::{Gate, Live, body, fault_response};
use crate::ground::fault::{Fault, Kind};
use crate::mcp::Mcp;
use crate::mcp::rest::{self, RestAnswer};
use crate::mcp::serve::ask::Asker;

/// Which path was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RestPath {
    ListTools,
    CallTool,
    Servers,
    Tools,
    Document,
    CallByPath,
}

/// The paths: parameters are `server` and `tool`.
pub(super) const PATHS: &[(&str, RestPath)] = &[
    ("/mcp-rest/tools/list", RestPath::ListTools),
    ("/mcp-rest/tools/call", RestPath::CallTool),
    ("/v1/mcp/server", RestPath::Servers),
    ("/v1/mcp/tools", RestPath::Tools),
    ("/mcp-openapi/{server}", RestPath::Document),
    ("/mcp-openapi/{server}/openapi.json", RestPath::Document),
    ("/mcp-openapi/{server}/{tool}", RestPath::CallByPath),
];

impl RestPath {
    /// The path as in the table above.
    fn route(self) -> &'static str {
        match self {
            Self::ListTools => "/mcp-rest/tools/list",
            Self::CallTool => "/mcp-rest/tools/call",
            Self::Servers => "/v1/mcp/server",
            Self::Tools => "/v1/mcp/tools",
            Self::Document => "/mcp-openapi/{server}/openapi.json",
            Self::CallByPath => "/mcp-openapi/{server}/{tool}",
        }
    }

    /// Whether its method is POST; else it is GET.
    pub(super) fn posts(self) -> bool {
        matches!(self, Self::CallTool | Self::CallByPath)
    }
}

/// Answers a request to one of the paths. Dropped, it cancels what it asked for.
pub(super) async fn answer<B>(
    gate: &Gate,
    mcp: &Arc<Mcp>,
    path: RestPath,
    params: &matchit::Params<'_, '_>,
    request: &Parts,
    body: &mut Option<B>,
    client: IpAddr,
) -> Response<Outgoing>
where
    B: Body<Data = Bytes, Error: Error + Send + 'static> + Send + Unpin + 'static,
{
    let mut served = None;
    let answered = async {
        let live = gate.live();
        let _permit = gate.enter(&live, "/mcp-rest")?;
        let server = params.get("server").map_or(Named::All, Named::Single);
        let (mut asker, caller) = admitted(gate, &live, server, request)?;
        served =
            Served::begin(gate.traces(), &live.snapshot, &caller, path.route(), request, client);
        asker.trace = served.as_ref().and_then(|served| served.within(&caller));
        let mut room = gate.load().room();
        let bytes = match body.as_mut().filter(|_| path.posts()) {
            Some(body) => {
                body::check_json(&request.headers)?;
                body::read(body, live.snapshot.limits.max_body, &mut room).await?
            }
            None => Bytes::new(),
        };
        let query = request.uri.query().unwrap_or_default().to_owned();
        let tool = params.get("tool").map(percent_decoded).unwrap_or_default();
        // Servers and their answers belong to the thread of MCP.
        let work = worked(mcp.clone(), path, asker, query, tool, bytes);
        let work = AbortOnDropHandle::new(mcp.handle().spawn(work));
        work.await.map_err(|_| Fault::new(Kind::Draining, "The gateway is shutting down."))
    };
    let mut response = match answered.await {
        Ok((status, body)) => reply_with(status, body.as_str().to_owned()),
        Err(fault) => fault_response(&fault),
    };
    let _told = served.map(|served| served.answered(&mut response));
    response
}

/// Lets a request in, by its headers alone.
fn admitted(
    gate: &Gate,
    live: &Live,
    server: Named<'_>,
    request: &Parts,
) -> Result<(Asker, Caller), Fault> {
    let snapshot = &live.snapshot;
    let headers = &request.headers;
    let is_open = snapshot.keys.is_open();
    // A page sends such a request without asking for permission, and calls a tool by it.
    if headers.contains_key(http::header::ORIGIN)
        && cors::allowed_origin(headers, is_open).is_none()
    {
        return Err(Fault::new(
            Kind::RouteDenied,
            "This gateway has no keys configured, so only pages of this machine may use its MCP servers. Add \
             `virtual_keys` to the configuration.",
        ));
    }
    let caller = gate.identify(live, headers)?;
    let (key, headers) = (caller.key().cloned(), Arc::new(headers.clone()));
    let scope = scope(server, &headers);
    Ok((Asker::plain(snapshot.clone(), key, scope, headers), caller))
}

async fn worked(
    mcp: Arc<Mcp>,
    path: RestPath,
    asker: Asker,
    query: String,
    tool: String,
    body: Bytes,
) -> RestAnswer {
    match path {
        RestPath::ListTools => {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            let named = pairs.find(|(name, value)| {
                matches!(&**name, "server_id" | "mcp_server_name") && !value.is_empty()
            });
            rest::list_tools(&mcp, &asker, named.as_ref().map(|(_, server)| &**server)).await
        }
        RestPath::CallTool => rest::call_tool(&mcp, &asker, &body).await,
        RestPath::Servers => rest::servers(&mcp, &asker),
        RestPath::Tools => rest::tools(&mcp, &asker).await,
        RestPath::Document => rest::document(&mcp, &asker).await,
        RestPath::CallByPath => rest::call_by_path(&mcp, &asker, &tool, &body).await,
    }
}
