//! From a path to what answers it. The table is built once; a path that is in none of its rows, or a
//! method that does not fit, is refused in the words of the API the client meant.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header};
use http_body::Body;
use serde_json::json;
use tokio::sync::Notify;

use super::cors;
use super::mcp::{self, McpPath, Named};
use super::mcp_rest::{self, RestPath};
use super::metrics;
use super::reply::{json_reply, no_such_path, refusal, reply, text, upgrade_refused, wrong_method};
use super::status::{self, Status};
use super::traced;
use super::websocket;
use crate::entry::Client;
use crate::gateway::endpoint::{ENDPOINTS, Endpoint};
use crate::gateway::models::{self, View};
use crate::gateway::outgoing::Outgoing;
use crate::gateway::responses::Question;
use crate::gateway::{Gate, body, fault_response, fault_response_to};
use crate::ground::fault::{Fault, Kind};
use crate::ground::names::is_loopback_host;
use crate::mcp::Mcp;
use crate::provider::client::Upstreams;

/// What a path leads to.
#[derive(Clone, Copy)]
enum Route {
    Model(&'static Endpoint),
    /// Something asked of a stored response.
    Stored(Question),
    Models,
    OneModel,
    Mcp(McpPath),
    McpRest(RestPath),
    Front,
    Health,
    Alive,
    Ready,
    AdminConfig,
    AdminReload,
    Metrics,
}

/// Which routes a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Everything: one listener for clients and the operator.
    Both,
    /// Clients only; the operator has a listener of his own.
    Clients,
    Admin,
}

/// What stands behind one listener.
pub struct Door {
    side: Side,
    table: matchit::Router<Route>,
    gate: Arc<Gate>,
    status: Arc<Status>,
    /// Rings when the operator asks for a reload.
    reload: Arc<Notify>,
    /// Connections to providers; each worker has a door, and so a pool, of its own.
    upstreams: Upstreams,
    mcp: Arc<Mcp>,
}

impl Door {
    pub fn new(
        side: Side,
        gate: Arc<Gate>,
        status: Arc<Status>,
        reload: Arc<Notify>,
        upstreams: Upstreams,
        mcp: Arc<Mcp>,
    ) -> Self {
        Self { side, table: table(side), gate, status, reload, upstreams, mcp }
    }

    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>, client: IpAddr) -> Response<Outgoing>
    where
        B: Body<Data = Bytes, Error: Error + Send + 'static> + Send + Unpin + 'static,
    {
        let (head, body) = request.into_parts();
        let mut body = Some(body);
        let mut response = self.answer_head(&head, &mut body, client).await;
        // What was refused without being read is read now, or the client would not read the refusal.
        if let Some(rest) = body
            && !rest.is_end_stream()
            && !body::discard(&head.headers, rest).await
            && head.version < Version::HTTP_2
        {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }

    async fn answer_head<B>(
        &self,
        request: &Parts,
        body: &mut Option<B>,
        client: IpAddr,
    ) -> Response<Outgoing>
    where
        B: Body<Data = Bytes, Error: Error + Send + 'static> + Send + Unpin + 'static,
    {
        if let Some(fault) = ambiguous(request) {
            return refusal(request, &fault);
        }
        let live = self.gate.live();
        let is_open = live.snapshot.keys.is_open();
        drop(live);
        let origin = cors::allowed_origin(&request.headers, is_open);
        if cors::is_preflight(&request.method, &request.headers) {
            return cors::preflight(&request.headers, origin);
        }
        let mut response = if is_open && !is_asked_for_by_a_loopback_name(request) {
            refusal(
                request,
                &Fault::new(
                    Kind::RouteDenied,
                    "This gateway has no keys configured, so it answers only requests addressed to this \
                 machine by a loopback name. Add `virtual_keys` to the configuration.",
                ),
            )
        } else if is_open && origin.is_none() && is_switch_of_a_page(request) {
            refusal(
                request,
                &Fault::new(
                    Kind::RouteDenied,
                    "This gateway has no keys configured, so it opens WebSockets only to pages of this \
                 machine. Add `virtual_keys` to the configuration.",
                ),
            )
        } else {
            self.route(request, body, client).await
        };
        if let Some(origin) = origin {
            cors::permit(response.headers_mut(), origin);
        }
        response
    }

    async fn route<B>(
        &self,
        request: &Parts,
        body: &mut Option<B>,
        client: IpAddr,
    ) -> Response<Outgoing>
    where
        B: Body<Data = Bytes, Error: Error + Send + 'static> + Send + Unpin + 'static,
    {
        let path = request.uri.path();
        let path = match path.strip_suffix('/') {
            Some(shorter) if !shorter.is_empty() => shorter,
            _ => path,
        };
        let Ok(matched) = self.table.at(path) else {
            return refusal(request, &no_such_path(&request.method, path));
        };
        let route = *matched.value;
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        let posts = match route {
            Route::Model(_) | Route::AdminReload | Route::Stored(Question::Cancel) => true,
            Route::McpRest(path) => path.posts(),
            _ => false,
        };
        let fits = match route {
            Route::Stored(Question::Retrieve) => reads || request.method == Method::DELETE,
            // It refuses methods in its own words.
            Route::Mcp(_) => true,
            _ if posts => request.method == Method::POST,
            _ => reads,
        };
        if let Route::Model(endpoint) = route
            && endpoint.has_websocket
            && websocket::is_asked_for(request)
        {
            return self.with_key(request, endpoint, || websocket::welcome(request));
        }
        if !fits && request.headers.contains_key(header::UPGRADE) {
            return upgrade_refused(request, matches!(route, Route::Model(it) if it.has_websocket));
        }
        if !fits {
            return wrong_method(
                request,
                match route {
                    Route::Stored(Question::Retrieve) => "GET, HEAD, DELETE",
                    _ if posts => "POST",
                    _ => "GET, HEAD",
                },
            );
        }
        match route {
            Route::Model(endpoint) => {
                let (headers, client) = (&request.headers, traced::client(request, client));
                self.gate.handle(None, endpoint, headers, body, client, &self.upstreams).await
            }
            Route::Stored(question) => {
                let deletes = request.method == Method::DELETE;
                let question = if deletes { Question::Delete } else { question };
                let id = percent_decoded(matched.params.get("id").unwrap_or_default());
                let (query, headers) = (request.uri.query(), &request.headers);
                let asked =
                    self.gate.stored_response(question, &id, query, headers, &self.upstreams);
                asked.await.map_or_else(|fault| fault_response(&fault), json_reply)
            }
            Route::Models => self.show_models(request, None).await,
            Route::OneModel => {
                let name = percent_decoded(matched.params.get("model").unwrap_or_default());
                self.show_models(request, Some(&name)).await
            }
            Route::Mcp(path) => {
                let server = matched.params.get("server").map(Named::Single);
                let servers = matched.params.get("servers").map(Named::Servers);
                let named = server.or(servers).unwrap_or(Named::All);
                Box::pin(mcp::answer(&self.gate, &self.mcp, path, named, request, body, client))
                    .await
            }
            Route::McpRest(path) => {
                let params = &matched.params;
                Box::pin(mcp_rest::answer(
                    &self.gate, &self.mcp, path, params, request, body, client,
                ))
                .await
            }
            Route::Front => text(status::front_page()),
            Route::Health => reply(200, &self.status.health(&self.gate)),
            Route::Alive => reply(200, &json!({ "status": "alive" })),
            Route::Ready => {
                let (status, body) = self.status.readiness(&self.gate);
                reply(status, &body)
            }
            Route::AdminConfig => {
                self.with_master(request, || reply(200, &self.status.config(&self.gate)))
            }
            Route::Metrics => self.show_metrics(request),
            Route::AdminReload => self.with_master(request, || {
                self.status.audit_reload_request(client);
                self.reload.notify_one();
                reply(202, &json!({ "status": "reloading", "see": "/admin/config" }))
            }),
        }
    }

    /// What all requests share.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// A request to `/v1/responses` that did not come over HTTP.
    pub(super) async fn ask_responses<B>(
        &self,
        headers: &HeaderMap,
        body: &mut Option<B>,
        client: IpAddr,
    ) -> Response<Outgoing>
    where
        B: Body<Data = Bytes, Error: Error + Send + 'static> + Send + Unpin + 'static,
    {
        let mut endpoints = ENDPOINTS.iter();
        match endpoints.find(|endpoint| endpoint.has_websocket) {
            Some(endpoint) => {
                let client = Client { ip: client, http_version: None };
                self.gate.handle(None, endpoint, headers, body, client, &self.upstreams).await
            }
            None => fault_response(&Fault::bug("no endpoint has a WebSocket")),
        }
    }

    /// Shows all models, or one, to whom a key lets in.
    async fn show_models(&self, request: &Parts, name: Option<&str>) -> Response<Outgoing> {
        let live = self.gate.live();
        let headers = &request.headers;
        let view = View::of(headers, request.uri.query());
        let shown = async {
            let caller = self.gate.identify(&live, headers)?;
            models::show(&live, &self.mcp, &caller, headers, view, name).await
        };
        match Box::pin(shown).await {
            Ok(body) => json_reply(body),
            Err(fault) => refusal(request, &fault),
        }
    }

    /// The page of metrics, for those who may see it.
    fn show_metrics(&self, request: &Parts) -> Response<Outgoing> {
        let live = self.gate.live();
        let wants_key = live.snapshot.metrics.wants_key.unwrap_or(self.side == Side::Both);
        if wants_key && !live.snapshot.keys.is_open() {
            return self.with_master(request, || self.metrics(request));
        }
        self.metrics(request)
    }

    fn metrics(&self, request: &Parts) -> Response<Outgoing> {
        metrics::answer(&self.gate, &self.status, &request.headers)
    }

    fn with_key(
        &self,
        request: &Parts,
        endpoint: &Endpoint,
        answer: impl FnOnce() -> Response<Outgoing>,
    ) -> Response<Outgoing> {
        let live = self.gate.live();
        match self.gate.identify(&live, &request.headers) {
            Ok(_) => answer(),
            Err(fault) => fault_response_to(endpoint, &fault),
        }
    }

    fn with_master(
        &self,
        request: &Parts,
        answer: impl FnOnce() -> Response<Outgoing>,
    ) -> Response<Outgoing> {
        let live = self.gate.live();
        match self.gate.identify(&live, &request.headers) {
            Ok(caller) if caller.is_administrator() => answer(),
            Ok(_) => fault_response(&Fault::new(
                Kind::RouteDenied,
                "This path is for the master key only: set `general_settings.master_key` and send it.",
            )),
            Err(fault) => fault_response(&fault),
        }
    }
}

fn table(side: Side) -> matchit::Router<Route> {
    let mut table = matchit::Router::new();
    let mut add = |path: &str, route: Route| {
        if let Err(error) = table.insert(path, route) {
            tracing::error!(path, %error, "a route could not be added");
        }
    };
    if side != Side::Admin {
        for endpoint in ENDPOINTS {
            add(endpoint.surface, Route::Model(endpoint));
            add(endpoint.surface.trim_start_matches("/v1"), Route::Model(endpoint));
        }
        for (path, question) in [
            ("", Question::Retrieve),
            ("/cancel", Question::Cancel),
            ("/input_items", Question::InputItems),
        ] {
            add(&format!("/v1/responses/{{id}}{path}"), Route::Stored(question));
            add(&format!("/responses/{{id}}{path}"), Route::Stored(question));
        }
        for prefix in ["/v1", ""] {
            add(&format!("{prefix}/models"), Route::Models);
            add(&format!("{prefix}/models/{{*model}}"), Route::OneModel);
        }
        for (path, route) in mcp::PATHS {
            add(path, Route::Mcp(*route));
        }
        for (path, route) in mcp_rest::PATHS {
            add(path, Route::McpRest(*route));
        }
        add("/", Route::Front);
    }
    if side != Side::Clients {
        add("/admin/config", Route::AdminConfig);
        add("/admin/reload", Route::AdminReload);
        add("/metrics", Route::Metrics);
    }
    add("/health", Route::Health);
    // LiteLLM's spellings beside the customary ones.
    for path in ["/health/live", "/health/liveliness", "/health/liveness", "/healthz"] {
        add(path, Route::Alive);
    }
    for path in ["/health/ready", "/health/readiness", "/readyz"] {
        add(path, Route::Ready);
    }
    table
}

/// What two servers in a row could read in two ways is read by none (RFC 9112 sections 3.2 and 6.1).
fn ambiguous(request: &Parts) -> Option<Fault> {
    let hosts = request.headers.get_all(header::HOST).iter().count();
    let needed = usize::from(request.version == Version::HTTP_11);
    if hosts > 1 || hosts < needed {
        return Some(Fault::invalid("An HTTP/1.1 request has exactly one Host header."));
    }
    let mut codings = request.headers.get_all(header::TRANSFER_ENCODING).iter();
    let only_chunked = codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    (!only_chunked).then(|| Fault::invalid("The only transfer coding understood is `chunked`."))
}

/// The name by which the client believes to call: absent in HTTP/1.0, which browsers do not speak.
fn is_asked_for_by_a_loopback_name(request: &Parts) -> bool {
    let host = request.headers.get(header::HOST).map(|host| host.as_bytes());
    let authority = request.uri.authority().map(|authority| authority.as_str().as_bytes());
    // RFC 9112 section 3.2.2: an absolute target counts more than the header.
    let name = authority.or(host).map(String::from_utf8_lossy);
    name.is_none_or(|name| is_loopback_host(&name))
}

/// A browser sends the cookies and the origin of the page that opens a WebSocket, and asks no permission for it.
fn is_switch_of_a_page(request: &Parts) -> bool {
    request.headers.contains_key(header::UPGRADE) && request.headers.contains_key(header::ORIGIN)
}

/// `%2F` and kin in a model's name; what is not a valid escape stays as it is.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escape = (byte == b'%').then(|| tail.get(..2)).flatten();
        let decoded = escape
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(decoded.unwrap_or(byte));
        rest = if decoded.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_slashes_are_found() {
        let table = table(Side::Both);
        for (path, model) in [
            ("/v1/models/openai/gpt-5", "openai/gpt-5"),
            ("/models/a%2Fb", "a/b"),
            ("/v1/models/100%", "100%"),
        ] {
            let matched = table.at(path).expect(path);
            assert_eq!(percent_decoded(matched.params.get("model").expect("model")), model);
        }
    }

    #[test]
    fn the_operators_paths_can_have_their_own_listener() {
        assert!(table(Side::Both).at("/admin/config").is_ok());
        assert!(table(Side::Clients).at("/admin/config").is_err());
        assert!(table(Side::Admin).at("/admin/config").is_ok());
        assert!(table(Side::Admin).at("/v1/chat/completions").is_err());
        assert!(table(Side::Admin).at("/health/ready").is_ok());
    }
}
