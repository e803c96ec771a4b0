//! Who may call from a browser, and under which name: a page of somebody else's must not reach a gateway on the
//! visitor's own machine, also not by a name that was made to mean that machine (DNS rebinding).
//! <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning>

use http::{HeaderMap, header};

use super::Refusal;
use crate::config::snapshot::Snapshot;
use crate::ground::names::is_loopback_host;

/// Checks the page that a request comes from, and the name it was sent to. `authority` is the target's, which counts
/// more than the header `Host`.
///
/// # Errors
/// A 403 for a page that may not call, or a name that is not this gateway's.
pub fn check(
    headers: &HeaderMap,
    authority: Option<&str>,
    snapshot: &Snapshot,
) -> Result<(), Refusal> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = authority.or(host);
    let is_allowed = |name: &str| {
        let own = without_port(name);
        let patterns = &snapshot.mcp.allowed_origins;
        patterns.iter().any(|pattern| pattern.matches(name) || pattern.matches(own))
    };
    // On loopback every name but its own was made to lead here.
    if let Some(host) = host
        && snapshot.listen.ip().is_loopback()
        && !is_loopback_host(host)
        && !is_allowed(host)
    {
        return Err(Refusal::new(
            403,
            "This gateway answers at this machine's own names only. Behind a proxy, put the public name into \
             `general_settings.mcp_allowed_origins`.",
        ));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("?");
    let page = origin.split_once("://").map_or(origin, |(_, page)| page);
    let is_own = host.is_some_and(|host| host.eq_ignore_ascii_case(page));
    if is_own || is_loopback_host(page) || is_allowed(page) || is_allowed(origin) {
        return Ok(());
    }
    Err(Refusal::new(
        403,
        "Pages of this origin may not call here. Its host can be put into `general_settings.mcp_allowed_origins`.",
    ))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::ground::names::Pattern;

    #[track_caller]
    fn check_at(listen: &str, host: &str, origin: Option<&str>, allowed: &[&str], fine: bool) {
        let mut snapshot = super::super::tests::snapshot();
        snapshot.listen = listen.parse().expect("an address");
        snapshot.mcp.allowed_origins = allowed.iter().map(|it| Pattern::new(*it)).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::try_from(host).expect("a host"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::try_from(origin).expect("an origin"));
        }
        assert_eq!(check(&headers, None, &snapshot).is_ok(), fine, "{host} {origin:?}");
    }

    #[test]
    fn pages_of_others_are_refused() {
        let (near, far) = ("127.0.0.1:4000", "0.0.0.0:4000");
        check_at(near, "localhost:4000", None, &[], true);
        check_at(near, "127.0.0.1:4000", Some("http://127.0.0.1:4000"), &[], true);
        check_at(near, "[::1]:4000", Some("http://localhost:6274"), &[], true);
        check_at(near, "localhost:4000", Some("https://evil.example"), &[], false);
        check_at(near, "localhost:4000", Some("null"), &[], false);
        check_at(near, "evil.example:4000", Some("http://evil.example:4000"), &[], false);
        check_at(near, "evil.example:4000", None, &[], false);
        check_at(near, "gate.example", None, &["gate.example"], true);
        check_at(near, "gate.example", Some("https://gate.example"), &["gate.example"], true);
        check_at(far, "gate.example:1", None, &[], true);
        check_at(far, "gate.example:1", Some("https://gate.example:1"), &[], true);
        check_at(far, "gate.example", Some("https://app.example:8"), &[], false);
        check_at(far, "gate.example", Some("https://app.example:8"), &["*.example"], true);
        check_at(far, "gate.example", Some("https://app.example"), &["https://app.example"], true);
        check_at(far, "gate.example", Some("null"), &["*"], true);
    }
}
