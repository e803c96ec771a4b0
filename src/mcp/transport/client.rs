//! The HTTP client towards MCP servers. One pool for all of them; no proxy from the environment, no cookies, no
//! redirect that is not looked at: a server may lead to its own host or one that its entry allows, and the entry's
//! headers, the credential among them, go to its own origin only. HTTP/1.1 alone, so that a stream which is never
//! read holds up no other and giving up an answer closes its connection, which a server notices.

use std::error::Error;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::redirect::Policy;
use url::Url;

use super::pieces::Pieces;
use super::{Failure, FailureKind};
use crate::config::snapshot::McpServer;
use crate::ground::names::{Pattern, shown};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Below the 5 s after which uvicorn and Node close an idle connection: a call that meets the closing is lost, and may
/// not be made again.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
const MAX_REDIRECTS: usize = 5;
/// The most that is read of an answer that is only to be told of.
const MAX_ERROR_BODY: usize = 1024 * 1024;
/// The longest that such an answer is read.
const ERROR_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter values are words of their own and hide nothing.
const SHORTEST_SECRET: usize = 6;

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Where a server is and what goes with every message to it.
pub(super) struct Site {
    client: reqwest::Client,
    url: Url,
    /// Beside the host of its URL.
    allowed_hosts: Vec<Pattern>,
    /// Of the entry and its client: they stay with the origin of the URL.
    headers: HeaderMap,
}

/// The head of an answer, and what its body comes from.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) response: reqwest::Response,
    /// Where redirects led.
    pub(super) url: Url,
}

impl Site {
    /// # Errors
    /// No client could be made.
    pub(super) fn new(
        server: &McpServer,
        url: &Url,
        mut headers: HeaderMap,
    ) -> Result<Self, Failure> {
        let client = client()?;
        let mut url = url.clone();
        url.set_fragment(None);
        for name in CONNECTION_HEADERS.into_iter().chain([SESSION_ID, LAST_EVENT_ID]) {
            headers.remove(name);
        }
        // What the URL says of a user becomes a header, which does not go everywhere that the URL leads.
        let request = client.get(url.clone()).build().map_err(|error| {
            let text = format!("{} is no address: {}", origin(&url), error.without_url());
            Failure::new(FailureKind::Unreachable, text)
        })?;
        if let Some(credential) = request.headers().get(header::AUTHORIZATION) {
            headers.entry(header::AUTHORIZATION).or_insert_with(|| credential.clone());
        }
        url = request.url().clone();
        let lower = |host: &Pattern| Pattern::new(host.as_str().to_ascii_lowercase());
        let allowed_hosts = server.allowed_hosts.iter().map(lower).collect();
        Ok(Self { client, url, allowed_hosts, headers })
    }

    /// Where the server may be: its URL as it is given and, where that has no path, the customary one.
    pub(super) fn places(&self, customary: &str) -> Vec<Url> {
        let mut places = vec![self.url.clone()];
        if self.url.path() == "/" {
            let mut place = self.url.clone();
            place.set_path(customary);
            places.push(place);
        }
        places
    }

    /// Makes one request and waits for the head of the answer; the body is to be read by the caller. Follows redirects
    /// that keep the method.
    ///
    /// # Errors
    /// Nothing answered, or a redirect leads where it may not.
    pub(super) async fn call(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Reply, Failure> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = reqwest::Request::new(method.clone(), url.clone());
            *request.headers_mut() = self.headers_for(&url, headers);
            *request.body_mut() = body.clone().map(reqwest::Body::from);
            let response = self.client.execute(request).await;
            let response = response.map_err(|error| self.broken(&error))?;
            let Some(next) = redirect(&method, &url, &response) else {
                return Ok(Reply { response, url });
            };
            self.admits(&url, &next)?;
            url = next;
        }
        let text = format!("{} redirects without end", origin(&self.url));
        Err(Failure::new(FailureKind::Garbage, text))
    }

    /// Whether the server may lead from one URL to another: within its own origin, or to a host that the entry names.
    /// Another port of its own host may be anything, so that has to be named too.
    ///
    /// # Errors
    /// It may not: another origin, or from https to http.
    pub(super) fn admits(&self, from: &Url, to: &Url) -> Result<(), Failure> {
        let refuse = |why: &str| {
            let text = format!("{} leads to {}, {why}", origin(from), origin(to));
            Err(Failure::new(FailureKind::Garbage, text))
        };
        if !matches!(to.scheme(), "http" | "https") {
            return refuse("which is no HTTP");
        }
        if from.scheme() == "https" && to.scheme() == "http" {
            return refuse("which would give up TLS");
        }
        let host = to.host_str().unwrap_or_default();
        let is_named = self.allowed_hosts.iter().any(|allowed| allowed.matches(host));
        if !is_named && !self.is_trusted(to) {
            return refuse("which `allowed_hosts` does not name");
        }
        Ok(())
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Whether that is where the entry says that the server is, and its headers may go: its own origin, or the same host by https on the usual port.
    pub(super) fn is_trusted(&self, url: &Url) -> bool {
        let is_upgrade = (self.url.scheme(), url.scheme()) == ("http", "https")
            && self.url.port().is_none()
            && url.port().is_none();
        self.url.host() == url.host() && (self.url.origin() == url.origin() || is_upgrade)
    }

    fn headers_for(&self, url: &Url, of_message: &HeaderMap) -> HeaderMap {
        let mut headers =
            if self.is_trusted(url) { self.headers.clone() } else { HeaderMap::new() };
        for (name, value) in of_message {
            if !CONNECTION_HEADERS.contains(name) {
                headers.insert(name, value.clone());
            }
        }
        let agent = HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        headers.entry(header::USER_AGENT).or_insert(agent);
        // Nothing here unpacks.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers
    }

    /// What an error of the client means: only before the request was written is it surely not processed.
    pub(super) fn broken(&self, error: &reqwest::Error) -> Failure {
        let mut root: &(dyn Error + 'static) = error;
        let mut is_unsent = error.is_connect() || error.is_builder();
        let mut is_garbage = false;
        while let Some(cause) = root.source() {
            if let Some(error) = cause.downcast_ref::<hyper::Error>() {
                is_unsent |= error.is_canceled();
                is_garbage |= error.is_parse();
            }
            root = cause;
        }
        let kind = match (is_unsent, is_garbage) {
            (true, _) => FailureKind::Unreachable,
            (false, true) => FailureKind::Garbage,
            (false, false) => FailureKind::Lost,
        };
        // The outermost text has the URL in it, and the innermost says what happened.
        let why =
            if root.is::<reqwest::Error>() { "no connection".into() } else { root.to_string() };
        Failure::new(kind, format!("{}: {}", origin(&self.url), self.without_secrets(&why)))
    }

    /// An answer that is none, told with the server's own words.
    pub(super) fn refused(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
        let mut text = format!("{} answered {}", origin(&self.url), status.as_u16());
        if let Some(reason) = status.canonical_reason() {
            text = format!("{text} {reason}");
        }
        let challenge = headers.get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let location = headers.get(header::LOCATION).filter(|_| status.is_redirection());
        let target = location.and_then(|value| self.url.join(value.to_str().ok()?).ok());
        let told = [words(body), challenge.map(str::to_owned), target.map(|url| origin(&url))];
        for told in told.into_iter().flatten() {
            text = format!("{text}: {}", shown(&self.without_secrets(&told)));
        }
        Failure::new(FailureKind::Refused(status), text)
    }

    /// A text of the server, without what it was sent in confidence.
    fn without_secrets(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let values = self.headers.values().filter_map(|value| value.to_str().ok());
        let queries = self.url.query_pairs().map(|(_, value)| value.into_owned());
        let secrets = values
            // Behind `Bearer` and the like, too.
            .flat_map(|value| [value].into_iter().chain(value.split_ascii_whitespace().skip(1)))
            .map(str::to_owned)
            .chain(queries);
        for secret in secrets.filter(|secret| secret.len() >= SHORTEST_SECRET) {
            text = text.replace(&secret, "***");
        }
        text
    }

    pub(super) fn origin(&self) -> String {
        origin(&self.url)
    }
}

/// Why a body could not be read to its end.
pub(super) enum Unread {
    TooLong,
    Broken(reqwest::Error),
}

/// Reads a body of at most `max` bytes.
pub(super) async fn read(response: &mut reqwest::Response, max: usize) -> Result<Bytes, Unread> {
    let too_long = |length: u64| usize::try_from(length).map_or(true, |length| length > max);
    if response.content_length().is_some_and(too_long) {
        return Err(Unread::TooLong);
    }
    let first = response.chunk().await.map_err(Unread::Broken)?.unwrap_or_default();
    let Some(second) = response.chunk().await.map_err(Unread::Broken)? else {
        return if first.len() > max { Err(Unread::TooLong) } else { Ok(first) };
    };
    let mut body = Pieces::default();
    body.extend(&first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        if body.len() + chunk.len() > max {
            return Err(Unread::TooLong);
        }
        body.extend(&chunk);
        next = response.chunk().await.map_err(Unread::Broken)?;
    }
    Ok(body.take().freeze())
}

/// The body of an answer that went ill, where it can be had quickly.
pub(super) async fn read_error(response: &mut reqwest::Response) -> Option<Bytes> {
    tokio::time::timeout(ERROR_TIMEOUT, read(response, MAX_ERROR_BODY)).await.ok()?.ok()
}

/// Whether an answer is a stream of events.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind.eq_ignore_ascii_case("text/event-stream"))
}

/// Whether an answer is a page for people.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"))
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

/// Scheme, host and port: paths and queries may hold a secret.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Headers that speak of one connection or one body.
const CONNECTION_HEADERS: [HeaderName; 9] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
];

/// Where an answer leads, if it is a redirect that leaves the method as it is.
fn redirect(method: &Method, url: &Url, response: &reqwest::Response) -> Option<Url> {
    let keeps = match response.status().as_u16() {
        307 | 308 => true,
        301..=303 => *method == Method::GET,
        _ => false,
    };
    let location = response.headers().get(header::LOCATION).filter(|_| keeps)?;
    let mut next = url.join(location.to_str().ok()?).ok()?;
    next.set_fragment(None);
    // A server gives no credentials.
    next.set_username("").and_then(|()| next.set_password(None)).ok()?;
    Some(next)
}

/// What a body says, where it says it in words: the message of an error, or plain text.
fn words(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        let places = ["/error/message", "/error_description", "/message", "/detail", "/error"];
        let found = places.into_iter().find_map(|place| value.pointer(place)?.as_str());
        return found.map(str::to_owned);
    }
    (!text.is_empty() && !text.starts_with('<')).then(|| text.to_owned())
}

/// The one client. Its connections live on the runtime that makes the requests.
fn client() -> Result<reqwest::Client, Failure> {
    static CLIENT: OnceLock<Result<reqwest::Client, String>> = OnceLock::new();
    let made = CLIENT.get_or_init(|| {
        // A container without a certificate store can still reach servers on the LAN over http.
        let made = builder().build().or_else(|error| {
            tracing::warn!(%error, "no certificate store: https MCP servers cannot be reached");
            builder().tls_certs_only([]).build()
        });
        made.map_err(|error| error.to_string())
    });
    let unmade = |error: &String| {
        Failure::new(FailureKind::Unreachable, format!("no HTTP client could be made: {error}"))
    };
    made.as_ref().cloned().map_err(unmade)
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .http1_only()
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
}
