//! A server in memory, for tests of what stands on transports: it is called by the name of its entry, hears every message
//! and says what the test wants. Nothing here is in the program.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::{Failure, FailureKind, Incoming, Outgoing};
use crate::config::snapshot::{McpCommand, McpServer, McpTransport};

/// Longer than anything in memory takes.
const PATIENCE: Duration = Duration::from_secs(20);

static SERVERS: LazyLock<Mutex<HashMap<String, mpsc::Sender<Peer>>>> =
    LazyLock::new(Mutex::default);

/// The gateway's end.
pub struct Pipe {
    heard: mpsc::Sender<Outgoing>,
    closed: watch::Sender<bool>,
    is_deaf: Arc<AtomicBool>,
}

/// A server that waits to be called.
pub(crate) struct Listener {
    name: String,
    called: mpsc::Receiver<Peer>,
}

/// The server's end of one connection.
pub(crate) struct Peer {
    heard: mpsc::Receiver<Outgoing>,
    say: mpsc::Sender<Incoming>,
    closed: watch::Receiver<bool>,
    is_deaf: Arc<AtomicBool>,
}

/// Lets a name be called. No two tests may use the same.
pub(crate) fn listen(name: &str) -> Listener {
    let (call, called) = mpsc::channel(64);
    let before = SERVERS.lock().expect("a lock").insert(name.to_owned(), call);
    assert!(before.is_none(), "{name} is in use");
    Listener { name: name.to_owned(), called }
}

/// The way to a name, where somebody listens.
pub(super) fn call(name: &str, say: mpsc::Sender<Incoming>) -> Option<Result<Pipe, Failure>> {
    let call = SERVERS.lock().expect("a lock").get(name).cloned()?;
    let (hear, heard) = mpsc::channel(1024);
    let (closed, _) = watch::channel(false);
    let is_deaf = Arc::new(AtomicBool::new(false));
    let peer = Peer { heard, say, closed: closed.subscribe(), is_deaf: is_deaf.clone() };
    Some(match call.try_send(peer) {
        Ok(()) => Ok(Pipe { heard: hear, closed, is_deaf }),
        Err(_) => Err(Failure::new(FailureKind::Unreachable, "nobody listens")),
    })
}

impl Pipe {
    pub(super) async fn send(&self, message: Outgoing) -> Result<(), Failure> {
        if self.is_deaf.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let sent = self.heard.send(message).await;
        sent.map_err(|_| Failure::new(FailureKind::Unreachable, "the server is gone"))
    }

    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }
}

impl Listener {
    /// The entry that leads here.
    pub(crate) fn entry(&self) -> McpServer {
        McpServer::sample(&self.name, McpTransport::Stdio(McpCommand::default()))
    }

    /// The next connection.
    pub(crate) async fn accept(&mut self) -> Peer {
        let called = tokio::time::timeout(PATIENCE, self.called.recv()).await;
        called.expect("a call comes").expect("the name is known")
    }

    /// Whether a call came that was not accepted.
    pub(crate) fn is_called(&self) -> bool {
        !self.called.is_empty()
    }

    /// The next connection, introduced as one of a session with these capabilities.
    pub(crate) async fn accept_legacy(&mut self, capabilities: Value) -> Peer {
        let mut peer = self.accept().await;
        let mut asked = peer.next().await;
        if asked["method"] == "server/discover" {
            peer.fail(&asked, -32601).await;
            asked = peer.next().await;
        }
        assert_eq!(asked["method"], "initialize");
        let result = json!({
            "protocolVersion": "2025-11-25", "capabilities": capabilities,
            "serverInfo": { "name": "memory", "version": "1" },
        });
        peer.answer(&asked, result).await;
        assert_eq!(peer.next().await["method"], "notifications/initialized");
        peer
    }

    /// The next connection, introduced as one of the newest era.
    pub(crate) async fn accept_modern(&mut self, capabilities: Value) -> Peer {
        let mut peer = self.accept().await;
        let asked = peer.next().await;
        assert_eq!(asked["method"], "server/discover");
        let result = json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": capabilities, "ttlMs": 0, "cacheScope": "private",
        });
        peer.answer(&asked, result).await;
        peer
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        SERVERS.lock().expect("a lock").remove(&self.name);
    }
}

impl Peer {
    /// The next message, as it is spelled.
    pub(crate) async fn next_text(&mut self) -> String {
        let heard = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
        heard.expect("a message comes").expect("the gateway is there").text
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Value {
        serde_json::from_str(&self.next_text().await).expect("JSON")
    }

    /// The next message of a method; others are passed over.
    pub(crate) async fn next_of(&mut self, method: &str) -> Value {
        loop {
            let next = self.next().await;
            if next["method"] == method {
                return next;
            }
        }
    }

    /// What has come and was not looked at.
    pub(crate) fn rest(&mut self) -> Vec<Value> {
        let texts = std::iter::from_fn(|| self.heard.try_recv().ok());
        texts.map(|heard| serde_json::from_str(&heard.text).expect("JSON")).collect()
    }

    /// Says a message on the common way.
    pub(crate) async fn say(&self, message: Value) {
        let text = Bytes::from(message.to_string());
        let said = self.say.send(Incoming::Message { of: None, text }).await;
        said.expect("the gateway is there");
    }

    /// Says a message on the way of a request.
    pub(crate) async fn say_of(&self, request: &Value, message: Value) {
        let of = crate::wire::mcp::message::Id::of_json(&request["id"].to_string());
        let text = Bytes::from(message.to_string());
        self.say.send(Incoming::Message { of, text }).await.expect("the gateway is there");
    }

    pub(crate) async fn answer(&self, request: &Value, result: Value) {
        self.say(json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })).await;
    }

    pub(crate) async fn fail(&self, request: &Value, code: i64) {
        let error = json!({ "code": code, "message": "no" });
        self.say(json!({ "jsonrpc": "2.0", "id": request["id"], "error": error })).await;
    }

    /// There will be no answer to a request.
    pub(crate) async fn lose(&self, request: &Value, kind: FailureKind) {
        let of = crate::wire::mcp::message::Id::of_json(&request["id"].to_string());
        let failure = Failure::new(kind, "lost");
        let lost = Incoming::Lost { of: of.expect("an id"), failure };
        self.say.send(lost).await.expect("the gateway is there");
    }

    /// Reads nothing any more: who sends waits.
    pub(crate) fn go_deaf(&self) {
        self.is_deaf.store(true, Ordering::Relaxed);
    }

    /// Returns when the gateway closed the connection.
    pub(crate) async fn closed(&mut self) {
        let closed = self.closed.wait_for(|closed| *closed);
        tokio::time::timeout(PATIENCE, closed).await.expect("it is closed").ok();
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }
}
