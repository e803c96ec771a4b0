//! The HTTP client towards providers: one pool for the whole process, TLS by rustls, no redirects (a
//! provider key must not follow one), no proxy from the environment, no cookies, no decompression.

use std::error::Error as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Request, Url};

use super::{Call, Content, Failure, Reply, ReplyBody, pieces};
use crate::config::snapshot::Deployment;
use crate::wire::catalogue::{Auth, Layout};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the 60 s after which many servers and NAT tables drop an idle connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Whether a header of the client travels to the provider; all others stay here, above all its key, its
/// cookies and `x-mcp-*`.
pub fn travels(name: &HeaderName) -> bool {
    matches!(name.as_str(), "accept" | "openai-beta" | "idempotency-key" | "x-client-request-id")
}

/// Builds the client.
///
/// # Errors
/// The platform's certificate store could not be read.
pub fn build() -> Result<Client, reqwest::Error> {
    let builder = || {
        Client::builder()
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(30))
            .http2_adaptive_window(true)
    };
    // A container without a certificate store can still reach providers on the LAN over http.
    builder().build().or_else(|error| {
        tracing::warn!(%error, "no certificate store: https providers cannot be reached");
        builder().tls_certs_only([]).build()
    })
}

/// Makes one call and waits for the head of the answer, for the call's timeout at most.
///
/// # Errors
/// See [`Failure`]. Any answer with a status is a `Reply`, errors of the provider too.
pub async fn send(
    client: &Client,
    deployment: &Deployment,
    call: Call<'_>,
) -> Result<Reply, Failure> {
    let url = url(deployment, call.path, call.model).ok_or(Failure::Unsendable)?;
    let mut request = Request::new(Method::POST, url);
    *request.headers_mut() = headers(deployment, call.headers)?;
    *request.body_mut() = Some(match call.body {
        Content::Pieces(pieces) => pieces::body(pieces),
        Content::Flow(body) => body,
    });
    let response = match tokio::time::timeout(call.timeout, client.execute(request)).await {
        Err(_) => return Err(Failure::Timeout),
        Ok(Err(error)) => return Err(failure(&error)),
        Ok(Ok(response)) => response,
    };
    let (head, body) = http::Response::<reqwest::Body>::from(response).into_parts();
    let body = ReplyBody::Remote(body);
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
}

/// Where an endpoint of a deployment is.
fn url(deployment: &Deployment, path: &str, model: &str) -> Option<Url> {
    let mut url = deployment.base.clone();
    let base = url.path().trim_end_matches('/');
    let versioned = base.ends_with("/v1") || base.contains("/openai/deployments/");
    if deployment.provider.layout == Layout::Plain || versioned {
        let path = format!("{base}{path}");
        url.set_path(&path);
        return Some(url);
    }
    // https://learn.microsoft.com/azure/ai-services/openai/reference: the deployment is in the path.
    url.path_segments_mut().ok()?.pop_if_empty().extend(["openai", "deployments", model]);
    let version = deployment.api_version.as_deref().unwrap_or("2024-10-21");
    let path = format!("{}{path}", url.path());
    url.set_path(&path);
    url.query_pairs_mut().append_pair("api-version", version);
    Some(url)
}

fn headers(deployment: &Deployment, mut headers: HeaderMap) -> Result<HeaderMap, Failure> {
    if let Some(key) = &deployment.api_key {
        let (name, value) = match deployment.provider.auth {
            Auth::Bearer => (header::AUTHORIZATION, format!("Bearer {}", key.expose())),
            Auth::ApiKeyHeader => (HeaderName::from_static("api-key"), key.expose().to_owned()),
        };
        let mut value = HeaderValue::try_from(value).map_err(|_| Failure::Unsendable)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    for (name, value) in &deployment.headers {
        headers.insert(name, value.clone());
    }
    // The answer is looked at on its way: it must come as it is.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(headers)
}

fn failure(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::Timeout;
    }
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.downcast_ref::<ClientBodyBroken>().is_some() {
            return Failure::ClientBody;
        }
        cause = inner.source();
    }
    if error.is_builder() { Failure::Unsendable } else { Failure::Unreachable }
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
    use crate::ground::names::Pattern;
    use crate::ground::secret::Secret;
    use crate::wire::catalogue;

    fn deployment(model: &str, base: &str) -> Deployment {
        let (provider, model) = catalogue::find(model, true).expect("known");
        Deployment {
            id: "id".into(),
            group: "group".into(),
            provider,
            model: Pattern::new(model),
            base: base.parse().expect("a URL"),
            api_version: None,
            api_key: Some(Secret::new("sk-upstream")),
            headers: vec![(HeaderName::from_static("x-extra"), HeaderValue::from_static("1"))],
            extra_body: serde_json::Map::new(),
            weight: 1.0,
            order: 0,
            timeout: None,
            stream_timeout: None,
            mock_response: None,
            prices: Default::default(),
            info: serde_json::Map::new(),
        }
    }

    #[track_caller]
    fn check(model: &str, base: &str, expected: &str) {
        let deployment = deployment(model, base);
        let url = url(&deployment, "/chat/completions", deployment.model.as_str()).expect("a URL");
        assert_eq!(url.as_str(), expected);
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

    #[test]
    fn the_key_goes_where_the_provider_wants_it() {
        let sent =
            headers(&deployment("openai/m", "http://h/v1"), HeaderMap::new()).expect("sendable");
        assert_eq!(sent.get("authorization").expect("bearer"), "Bearer sk-upstream");
        assert!(sent.get("authorization").expect("bearer").is_sensitive());
        assert_eq!(sent.get("x-extra").expect("extra"), "1");
        let sent = headers(&deployment("azure/m", "http://h"), HeaderMap::new()).expect("sendable");
        assert_eq!(sent.get("api-key").expect("key"), "sk-upstream");
        assert!(sent.get("authorization").is_none());
    }
}
