//! Cross-origin requests of browser clients (<https://fetch.spec.whatwg.org/#http-cors-protocol>). Keys
//! travel in headers, never in cookies, so any origin may ask; without any key configured only pages of
//! this machine may, as otherwise every web page could use the gateway.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use crate::gateway::outgoing::Outgoing;
use crate::ground::names::is_loopback_host;

/// Whether this is a browser asking for permission, not the request itself.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The origin that may read the answer, as the header wants it.
pub(super) fn allowed_origin(headers: &HeaderMap, is_open: bool) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    if !is_open {
        return Some(HeaderValue::from_static("*"));
    }
    let host = origin.to_str().ok()?.split_once("://")?.1;
    is_loopback_host(host).then(|| origin.clone())
}

/// The permission, for any header the browser wants to send.
pub(super) fn preflight(headers: &HeaderMap, origin: Option<HeaderValue>) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::Whole(Default::default()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let Some(origin) = origin else { return response };
    let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let out = response.headers_mut();
    out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    out.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, DELETE, OPTIONS"),
    );
    out.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        wanted.unwrap_or_else(|| HeaderValue::from_static("*")),
    );
    out.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    out.insert(header::VARY, HeaderValue::from_static("origin, access-control-request-headers"));
    response
}

/// Lets the page read the answer, our own headers included.
pub(super) fn permit(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "x-request-id, x-litellm-call-id, x-litellm-model-id, retry-after, mcp-session-id, \
             mcp-protocol-version",
        ),
    );
    headers.append(header::VARY, HeaderValue::from(HeaderName::from_static("origin")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_keys_only_pages_of_this_machine_may_ask() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static("https://evil.example"));
        assert_eq!(allowed_origin(&headers, true), None);
        assert_eq!(allowed_origin(&headers, false).as_ref(), Some(&HeaderValue::from_static("*")));
        headers.insert(header::ORIGIN, HeaderValue::from_static("http://localhost:3000"));
        assert!(allowed_origin(&headers, true).is_some());
    }
}
