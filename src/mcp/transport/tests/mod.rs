//! What the tests of the transports share.

pub(super) mod server;

use http::HeaderMap;
use tokio::sync::mpsc;
use url::Url;

use super::{Failure, Incoming, Outgoing};
use crate::config::snapshot::{McpServer, McpTransport};
use crate::ground::names::Pattern;
use crate::wire::mcp::message::{Id, notification, request};

/// Shown to every server that is asked; it must not come back in any text.
pub(super) const CREDENTIAL: &str = "canary-7f3a9c";

pub(super) fn entry(url: &str, allowed_hosts: &[&str]) -> (McpServer, Url) {
    // As the program does at its start.
    let _first = rustls::crypto::ring::default_provider().install_default();
    let url: Url = url.parse().expect("a URL");
    let mut server = McpServer::sample("s", McpTransport::Http(url.clone()));
    server.allowed_hosts = allowed_hosts.iter().copied().map(Pattern::new).collect();
    (server, url)
}

pub(super) fn headers() -> HeaderMap {
    let credential = format!("Bearer {CREDENTIAL}");
    [(http::header::AUTHORIZATION, credential.parse().expect("a value"))].into_iter().collect()
}

pub(super) fn ask(id: u64, method: &str) -> Outgoing {
    let id = Id::number(id);
    let text = request(&id, method, None);
    Outgoing { text, request: Some(id), headers: HeaderMap::new() }
}

pub(super) fn tell(method: &str) -> Outgoing {
    Outgoing { text: notification(method, None), request: None, headers: HeaderMap::new() }
}

/// What came, in short: `1: text`, `-: text` on the common stream, `1 lost: Kind`, `closed: Kind`.
pub(super) async fn came(incoming: &mut mpsc::Receiver<Incoming>) -> String {
    let within = std::time::Duration::from_secs(20);
    let next = tokio::time::timeout(within, incoming.recv()).await.expect("something comes");
    match next.expect("the transport lives") {
        Incoming::Message { of, text } => {
            let of = of.map_or_else(|| "-".into(), |id| id.as_json().to_owned());
            format!("{of}: {}", String::from_utf8_lossy(&text))
        }
        Incoming::Lost { of, failure } => {
            check_text(&failure);
            format!("{} lost: {:?}", of.as_json(), failure.kind)
        }
        Incoming::Closed(failure) => {
            check_text(&failure);
            format!("closed: {:?}", failure.kind)
        }
    }
}

#[track_caller]
pub(super) fn check_text(failure: &Failure) {
    for secret in [CREDENTIAL, "session-1", "q-secret", "?"] {
        assert!(!failure.text.contains(secret), "{secret} is in {}", failure.text);
    }
}
