//! The HTTP client towards providers: pooled connections, no redirects (a provider key must not follow
//! one), no proxy from the environment, no cookies, no decompression. TLS is reqwest's and rustls';
//! providers on plain http, which live on the same host or LAN and answer fastest, are reached through
//! hyper-util's client, on which reqwest stands (docs/decisions/0006-two-clients.md has the figures).

use std::error::Error;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use hyper_util::client::legacy::Client as PlainClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use reqwest::redirect::Policy;
use url::Url;

use super::auth::Authority;
use super::{Call, Content, Failure, Reply, ReplyBody, pieces};
use crate::config::snapshot::Deployment;
use crate::wire::catalogue::{Auth, Layout};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the 60 s after which many servers and NAT tables drop an idle connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// The most read at once of an answer, and the most its headers may take.
const MAX_BUFFER: usize = 64 * 1024;
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Whether a header of the client travels to the provider; all others stay here, above all its key, its
/// cookies and `x-mcp-*`.
pub fn travels(name: &HeaderName) -> bool {
    matches!(name.as_str(), "accept" | "openai-beta" | "idempotency-key" | "x-client-request-id")
}

const USER_AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));

/// Connections to providers. Each worker thread has its own.
#[derive(Clone, Debug)]
pub struct Upstreams {
    kept: Clients,
    /// A new connection for each call, for what must not meet one that is just being closed.
    fresh: Clients,
    authority: Authority,
}

/// One client for each scheme.
#[derive(Clone, Debug)]
struct Clients {
    secure: reqwest::Client,
    plain: PlainClient<HttpConnector, reqwest::Body>,
}

impl Upstreams {
    /// # Errors
    /// The TLS client could not be made.
    pub fn build(authority: Authority) -> Result<Self, reqwest::Error> {
        Ok(Self { kept: Clients::build(usize::MAX)?, fresh: Clients::build(0)?, authority })
    }

    /// Makes one call and waits for the head of the answer, for the call's timeout at most. A call whose
    /// connection is lost is made once more on a new one; an upload, which cannot be made twice, gets a
    /// new one at once.
    ///
    /// # Errors
    /// See [`Failure`]. Any answer with a status is a `Reply`, errors of the provider too.
    pub async fn send(
        &self,
        deployment: &Deployment,
        mut call: Call<'_>,
    ) -> Result<Reply, Failure> {
        let address = address(deployment, &call).ok_or(Failure::Unsendable)?;
        let mut headers = headers(deployment, call.is_native, std::mem::take(&mut call.headers));
        let client = &self.kept.secure;
        self.authority.sign(deployment, &call, &address, &mut headers, client).await?;
        // The operator's own headers count more than the gateway's.
        for (name, value) in &deployment.headers {
            headers.insert(name, value.clone());
        }
        let method = call.method;
        let sent = async {
            match call.body {
                Content::Flow(body) => self.fresh.send(method, &address, headers, body).await,
                Content::Pieces(pieces) => {
                    let body = pieces::body(pieces.clone());
                    let kept = self.kept.send(method.clone(), &address, headers.clone(), body);
                    match kept.await {
                        Err(Failure::Lost) => {
                            self.fresh.send(method, &address, headers, pieces::body(pieces)).await
                        }
                        outcome => outcome,
                    }
                }
            }
        };
        tokio::time::timeout(call.timeout, sent).await.unwrap_or(Err(Failure::Timeout))
    }
}

impl Clients {
    fn build(most_idle: usize) -> Result<Self, reqwest::Error> {
        // A container without a certificate store can still reach providers on the LAN over http.
        let secure = secure(most_idle).build().or_else(|error| {
            tracing::warn!(%error, "no certificate store: https providers cannot be reached");
            secure(most_idle).tls_certs_only([]).build()
        })?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let plain = PlainClient::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(most_idle)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(MAX_BUFFER)
            .build(connector);
        Ok(Self { secure, plain })
    }

    async fn send(
        &self,
        method: Method,
        address: &str,
        headers: HeaderMap,
        body: reqwest::Body,
    ) -> Result<Reply, Failure> {
        if address.starts_with("http:") {
            self.send_plain(method, address, headers, body).await
        } else {
            self.send_secure(method, address, headers, body).await
        }
    }

    async fn send_plain(
        &self,
        method: Method,
        address: &str,
        headers: HeaderMap,
        body: reqwest::Body,
    ) -> Result<Reply, Failure> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = Uri::try_from(address).map_err(|_| Failure::Unsendable)?;
        *request.headers_mut() = headers;
        let sent = self.plain.request(request).await;
        let (head, body) = sent.map_err(|error| failure(&error))?.into_parts();
        let body = ReplyBody::Plain(body);
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }

    async fn send_secure(
        &self,
        method: Method,
        address: &str,
        headers: HeaderMap,
        body: reqwest::Body,
    ) -> Result<Reply, Failure> {
        let url = Url::parse(address).map_err(|_| Failure::Unsendable)?;
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body);
        let sent = self.secure.execute(request).await.map_err(|error| {
            if error.is_builder() { Failure::Unsendable } else { failure(&error) }
        });
        let (head, body) = http::Response::<reqwest::Body>::from(sent?).into_parts();
        let body = ReplyBody::Secure(body);
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }
}

fn secure(most_idle: usize) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(most_idle)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .http2_adaptive_window(true)
}

/// Where a call goes.
fn address(deployment: &Deployment, call: &Call<'_>) -> Option<String> {
    let base = deployment.base.as_str().trim_end_matches('/');
    let path = &*call.path;
    if call.is_native {
        return Some([base, path].concat());
    }
    let versioned = base.ends_with("/v1") || base.contains("/openai/deployments/");
    if deployment.provider.layout == Layout::Plain || versioned {
        return Some([base, deployment.provider.beside, path].concat());
    }
    // https://learn.microsoft.com/azure/ai-services/openai/reference: the deployment is in the path.
    let mut url = deployment.base.clone();
    let mut segments = url.path_segments_mut().ok()?;
    segments.pop_if_empty().push("openai");
    // Responses are not below a deployment there: the model is in the body.
    if !path.starts_with("/responses") {
        segments.extend(["deployments", call.model]);
    }
    drop(segments);
    let version = deployment.api_version.as_deref().unwrap_or("2024-10-21");
    let path = format!("{}{path}", url.path());
    url.set_path(&path);
    url.query_pairs_mut().append_pair("api-version", version);
    Some(url.into())
}

fn headers(deployment: &Deployment, is_native: bool, mut headers: HeaderMap) -> HeaderMap {
    if deployment.provider.auth == Auth::XApiKey && is_native {
        // https://docs.anthropic.com/en/api/versioning
        let version = HeaderValue::from_static("2023-06-01");
        headers.entry("anthropic-version").or_insert(version);
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    // The answer is looked at on its way: it must come as it is.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

/// What an error of either client means.
fn failure(error: &(dyn Error + 'static)) -> Failure {
    let mut found = Failure::Unreachable;
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<ClientBodyBroken>() {
            return Failure::ClientBody;
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            // What cannot be read as HTTP was an answer all the same; the rest broke on the way.
            found = if error.is_parse() { Failure::Broken } else { Failure::Lost };
        }
        cause = error.source();
    }
    found
}

/// The client's upload broke off while it was being passed on.
#[derive(Clone, Copy, Debug)]
pub struct ClientBodyBroken;

impl std::fmt::Display for ClientBodyBroken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client's body broke off")
    }
}

impl std::error::Error for ClientBodyBroken {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::secret::Secret;

    fn deployment(model: &str, base: &str) -> Deployment {
        Deployment {
            api_key: Some(Secret::new("sk-upstream")),
            headers: vec![(HeaderName::from_static("x-extra"), HeaderValue::from_static("1"))],
            ..Deployment::sample(model, base)
        }
    }

    #[track_caller]
    fn check(model: &str, base: &str, expected: &str) {
        let deployment = deployment(model, base);
        let model = deployment.model.as_str();
        let call = Call {
            method: Method::POST,
            path: "/chat/completions".into(),
            is_native: false,
            model,
            headers: HeaderMap::new(),
            body: Content::Pieces(Vec::new()),
            timeout: Duration::MAX,
        };
        let address = address(&deployment, &call).expect("an address");
        assert_eq!(address, expected);
    }

    #[test]
    fn paths_go_below_the_base() {
        check("openai/m", "http://h:1/v1", "http://h:1/v1/chat/completions");
        check(
            "perplexity/m",
            "https://api.perplexity.ai",
            "https://api.perplexity.ai/chat/completions",
        );
        check(
            "azure/my dep",
            "https://x.openai.azure.com",
            "https://x.openai.azure.com/openai/deployments/my%20dep/chat/completions?api-version=2024-10-21",
        );
        check(
            "azure/m",
            "https://x.openai.azure.com/openai/v1",
            "https://x.openai.azure.com/openai/v1/chat/completions",
        );
    }

    #[tokio::test]
    async fn the_key_goes_where_the_provider_wants_it() {
        let sent = async |model: &str, is_native| {
            let deployment = deployment(model, "http://h/v1");
            let call = Call {
                method: Method::POST,
                path: "/x".into(),
                is_native,
                model: "m",
                headers: HeaderMap::new(),
                body: Content::Pieces(Vec::new()),
                timeout: Duration::MAX,
            };
            let mut sent = headers(&deployment, is_native, HeaderMap::new());
            let _first = rustls::crypto::ring::default_provider().install_default();
            let client = Clients::build(0).expect("a client").secure;
            let authority = Authority::default();
            let address = address(&deployment, &call).expect("an address");
            authority.sign(&deployment, &call, &address, &mut sent, &client).await.expect("signed");
            sent
        };
        let headers = sent("openai/m", false).await;
        assert_eq!(headers.get("authorization").expect("bearer"), "Bearer sk-upstream");
        assert!(headers.get("authorization").expect("bearer").is_sensitive());
        let headers = sent("azure/m", false).await;
        assert_eq!(headers.get("api-key").expect("key"), "sk-upstream");
        assert!(headers.get("authorization").is_none());
        let headers = sent("anthropic/m", true).await;
        assert_eq!(headers.get("x-api-key").expect("key"), "sk-upstream");
        assert_eq!(headers.get("anthropic-version").expect("version"), "2023-06-01");
        let headers = sent("anthropic/m", false).await;
        assert_eq!(headers.get("authorization").expect("bearer"), "Bearer sk-upstream");
        let headers = sent("gemini/m", true).await;
        assert_eq!(headers.get("x-goog-api-key").expect("key"), "sk-upstream");
    }
}
