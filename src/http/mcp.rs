//! MCP at the door: which paths there are, whom they let in, and how an answer of `mcp::serve` becomes one of HTTP. What
//! is refused here is refused in JSON-RPC's shape, without an id, as nothing has been read.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::Body as HttpBody;
use tokio_util::sync::CancellationToken;

use super::traced::Served;
use crate::gateway::load::Permit;
use crate::gateway::outgoing::{Events, Outgoing};
use crate::gateway::{Gate, body};
use crate::ground::fault::Fault;
use crate::mcp::Mcp;
use crate::mcp::serve::ask::Scope;
use crate::mcp::serve::events::EventStream;
use crate::mcp::serve::http::{self as streamable, Answer, Body, ClientRequest, Refusal, origin};
use crate::mcp::serve::sse;
use crate::mcp::view;

/// The client's list of servers.
const SERVERS: &str = "x-mcp-servers";
/// Between looks for idle sessions.
const SWEEP: Duration = Duration::from_secs(15);

/// Which path was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum McpPath {
    /// Streamable HTTP.
    Endpoint,
    /// The older transport's stream.
    Older,
    /// Where the older transport's messages go.
    Messages,
}

/// What the path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named<'p> {
    All,
    /// `/mcp/{a,b}`
    Servers(&'p str),
    /// `/{server}/mcp`
    Single(&'p str),
}

/// The paths of MCP: parameters are `servers` and `server`.
pub(super) const PATHS: &[(&str, McpPath)] = &[
    ("/mcp", McpPath::Endpoint),
    ("/mcp/{servers}", McpPath::Endpoint),
    ("/{server}/mcp", McpPath::Endpoint),
    ("/sse", McpPath::Older),
    ("/mcp/sse", McpPath::Older),
    ("/{server}/sse", McpPath::Older),
    (sse::MESSAGES, McpPath::Messages),
];

impl McpPath {
    /// What stands for it, and for what is spelled otherwise and means the same, in metrics.
    fn surface(self) -> &'static str {
        match self {
            Self::Endpoint => "/mcp",
            Self::Older => "/sse",
            Self::Messages => sse::MESSAGES,
        }
    }
}

/// Answers a request to one of the paths.
pub(super) async fn answer<B>(
    gate: &Gate,
    mcp: &Arc<Mcp>,
    path: McpPath,
    named: Named<'_>,
    request: &Parts,
    body: &mut Option<B>,
    from: IpAddr,
) -> Response<Outgoing>
where
    B: HttpBody<Data = Bytes, Error: Error + Send + 'static> + Send + Unpin + 'static,
{
    // Told of a refusal too.
    let mut served = None;
    match admitted(gate, path, named, request, body, from, &mut served).await {
        Ok((client, permit)) => {
            let answer = match path {
                McpPath::Endpoint => streamable::answer(mcp, client).await,
                McpPath::Older => sse::open(mcp, &client),
                McpPath::Messages => {
                    let query = request.uri.query().unwrap_or_default().as_bytes();
                    let mut pairs = url::form_urlencoded::parse(query);
                    let id = pairs.find(|(name, _)| name == "sessionId").map(|(_, id)| id);
                    sse::post(mcp, id.as_deref(), client)
                }
            };
            respond(answer, permit, served)
        }
        Err(refused) => respond(*refused, None, served),
    }
}

/// Lets a request in, and reads its body. The permit is for a request that works.
async fn admitted<B>(
    gate: &Gate,
    path: McpPath,
    named: Named<'_>,
    request: &Parts,
    body: &mut Option<B>,
    from: IpAddr,
    served: &mut Option<Served>,
) -> Result<(ClientRequest, Option<Permit>), Box<Answer>>
where
    B: HttpBody<Data = Bytes, Error: Error + Send + 'static> + Send + Unpin + 'static,
{
    let live = gate.live();
    let snapshot = live.snapshot.clone();
    let authority = request.uri.authority().map(|authority| authority.as_str());
    origin::check(&request.headers, authority, &snapshot)
        .map_err(|refusal| Box::new(refusal.answer()))?;
    let permit = gate.enter(&live, path.surface()).map_err(refused)?;
    let caller = gate.identify(&live, &request.headers).map_err(refused)?;
    let posts = request.method == Method::POST && path != McpPath::Older;
    // A stream that is opened to wait is no work, and has no span.
    if posts {
        let route = route(path, named);
        *served = Served::begin(gate.traces(), &snapshot, &caller, route, request, from);
    }
    let trace = served.as_ref().and_then(|served| served.within(&caller));
    let key = caller.key().cloned();
    let scope = scope(named, &request.headers);
    // Dispatch looks again, at each call; here it has a status of HTTP.
    view::servers(&snapshot, key.as_deref(), &scope)
        .map_err(|denied| Box::new(Refusal::new(403, denied.message()).answer()))?;
    let mut room = gate.load().room();
    let bytes = match body.as_mut().filter(|_| posts) {
        Some(body) => {
            body::read(body, snapshot.limits.max_body, &mut room).await.map_err(refused)?
        }
        None => Bytes::new(),
    };
    let client = ClientRequest {
        method: request.method.clone(),
        headers: Arc::new(request.headers.clone()),
        body: bytes,
        scope,
        key,
        snapshot,
        trace,
    };
    // A stream that waits is no work; it is bounded with its session.
    Ok((client, posts.then_some(permit)))
}

/// The path as in the table above.
fn route(path: McpPath, named: Named<'_>) -> &'static str {
    match (path, named) {
        (McpPath::Endpoint, Named::All) => "/mcp",
        (McpPath::Endpoint, Named::Servers(_)) => "/mcp/{servers}",
        (McpPath::Endpoint, Named::Single(_)) => "/{server}/mcp",
        (McpPath::Older, _) => "/sse",
        (McpPath::Messages, _) => sse::MESSAGES,
    }
}

/// Which servers a request is about.
pub(super) fn scope(named: Named<'_>, headers: &HeaderMap) -> Scope {
    let names = |list: &str| -> Vec<String> {
        list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(Into::into).collect()
    };
    let lists = headers.get_all(SERVERS).iter();
    let header = lists.flat_map(|list| names(&String::from_utf8_lossy(list.as_bytes()))).collect();
    let decoded = super::router::percent_decoded;
    match named {
        Named::All => Scope { header, ..Scope::default() },
        Named::Servers(list) => Scope { path: names(&decoded(list)), header, single: None },
        Named::Single(name) => Scope { path: Vec::new(), header, single: Some(decoded(name)) },
    }
}

/// A fault in JSON-RPC's shape.
fn refused(fault: Fault) -> Box<Answer> {
    let mut answer = Refusal::new(fault.status(), &fault.message).answer();
    if answer.status == StatusCode::UNAUTHORIZED {
        answer.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    let wait = fault.retry_after().and_then(|wait| HeaderValue::try_from(wait).ok());
    if let Some(wait) = wait {
        answer.headers.insert(header::RETRY_AFTER, wait);
    }
    Box::new(answer)
}

fn respond(answer: Answer, permit: Option<Permit>, served: Option<Served>) -> Response<Outgoing> {
    let Answer { status, headers, body } = answer;
    let mut response = Response::new(Outgoing::Whole(Bytes::new()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    let served = served.map(|served| served.answered(&mut response));
    *response.body_mut() = match body {
        Body::Empty => Outgoing::Whole(Bytes::new()),
        Body::Whole(bytes) => Outgoing::Whole(bytes),
        Body::Events(stream) => {
            Outgoing::Events(Box::new(Flow { stream: *stream, _permit: permit, _served: served }))
        }
    };
    response
}

/// An event stream, counted among the requests in progress.
struct Flow {
    stream: EventStream,
    _permit: Option<Permit>,
    _served: Option<Served>,
}

impl Events for Flow {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.stream.poll_next(context)
    }
}

/// Closes idle sessions until `stop`.
pub async fn sweep(gate: Arc<Gate>, mcp: Arc<Mcp>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            () = stop.cancelled() => return,
        }
        let idle = gate.live().snapshot.mcp.session_idle_timeout;
        mcp.sessions.sweep(idle, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_path_and_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(scope(Named::All, &headers), Scope::default());
        headers.append(SERVERS, HeaderValue::from_static("a, b,"));
        headers.append(SERVERS, HeaderValue::from_static(" c"));
        let expected = Scope {
            path: vec!["x".into(), "y z".into()],
            header: vec!["a".into(), "b".into(), "c".into()],
            single: None,
        };
        assert_eq!(scope(Named::Servers("x,%20y%20z"), &headers), expected);
        let single = scope(Named::Single("db"), &HeaderMap::new());
        assert_eq!(single, Scope { single: Some("db".into()), ..Scope::default() });
    }
}
