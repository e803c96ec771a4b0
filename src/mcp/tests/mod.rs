//! Connections, the pool and dispatch together, with servers in memory behind them: what is told to whom, what is waited
//! for and what is left behind. What tests share is here.

mod connections;
mod requests;
mod slots;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Mcp;
use super::serve::ask::{Ask, Asker, MAX_WAITING, Out, Scope};
use super::serve::dispatch;
use super::serve::session::Session;
use crate::config::snapshot::{Key, McpServer, Snapshot};
use crate::conversation::Json;
use crate::wire::mcp::message::{Id, Request};
use crate::wire::mcp::revision::{META_CAPABILITIES, META_VERSION, NEWEST, NEWEST_WITH_SESSIONS};

/// Longer than anything in memory takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration with these servers.
fn configured(servers: impl IntoIterator<Item = McpServer>) -> Snapshot {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.yaml");
    let keys = "virtual_keys:\n  - { key: sk-one, mcp_servers: ['*'] }\n  - { key: sk-two, mcp_servers: ['*'] }\n";
    std::fs::write(&path, format!("general_settings: {{ master_key: sk-m }}\n{keys}"))
        .expect("a file");
    let environment = std::collections::BTreeMap::new();
    let loaded = crate::config::load(&path, &environment, &crate::config::LoadOptions::default());
    let mut snapshot = loaded.snapshot.unwrap_or_else(|| panic!("{:?}", loaded.problems));
    snapshot.mcp_servers =
        servers.into_iter().map(|server| (server.name.clone(), Arc::new(server))).collect();
    snapshot
}

/// A gateway with a configuration in force.
fn gateway(snapshot: Snapshot) -> (Arc<Mcp>, Arc<Snapshot>) {
    let mcp = Mcp::new(Handle::current());
    let snapshot = Arc::new(snapshot);
    reload(&mcp, snapshot.clone());
    (mcp, snapshot)
}

/// Another configuration comes into force.
fn reload(mcp: &Mcp, snapshot: Arc<Snapshot>) {
    mcp.reconcile(&snapshot);
    mcp.announce(&snapshot);
}

/// The operator, who sees everything.
fn operator(snapshot: &Arc<Snapshot>) -> Asker {
    Asker::plain(snapshot.clone(), None, Scope::default(), Arc::new(HeaderMap::new()))
}

/// One of the keys: `sk-one`, `sk-two`.
fn key(snapshot: &Snapshot, key: &str) -> Arc<Key> {
    let hash = crate::ground::secret::KeyHash::of(key);
    snapshot.keys.virtual_keys.get(&hash).expect("a key").clone()
}

/// A client of the newest era.
fn modern(snapshot: &Arc<Snapshot>, named: &str, capabilities: Value) -> Asker {
    let key = Some(key(snapshot, named));
    let capabilities = Json::of(&capabilities);
    Asker { key, revision: NEWEST, capabilities, ..operator(snapshot) }
}

/// A client with a session, and what it is told beside requests.
fn session(
    snapshot: &Arc<Snapshot>,
    id: &str,
    named: &str,
    capabilities: Value,
) -> (Asker, mpsc::Receiver<Out>) {
    let (common, told) = mpsc::channel(MAX_WAITING);
    let key = key(snapshot, named);
    let capabilities = Json::of(&capabilities);
    let session = Session::new(
        id.into(),
        Some(key.hash),
        NEWEST_WITH_SESSIONS,
        capabilities.clone(),
        Json::empty_object(),
        common,
    );
    let session = Some(Arc::new(session));
    (Asker { key: Some(key), capabilities, session, ..operator(snapshot) }, told)
}

/// A request in progress: its task, and what its client is told.
struct Asked {
    task: tokio::task::JoinHandle<()>,
    told: mpsc::Receiver<Out>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn ask(mcp: &Arc<Mcp>, asker: &Asker, method: &str, mut params: Value) -> Asked {
    if asker.revision.is_modern() {
        params["_meta"][META_VERSION] = json!("2026-07-28");
        params["_meta"][META_CAPABILITIES] = asker.capabilities.to_value();
    }
    let (outbox, told) = mpsc::channel(MAX_WAITING);
    let params = Some(Json::of(&params));
    let request = Request { id: Id::number(1), method: method.into(), params };
    let (mcp, asker) = (mcp.clone(), asker.clone());
    let task = tokio::spawn(async move {
        dispatch::answer_request(&mcp, Ask { request, asker, outbox }).await;
    });
    Asked { task, told }
}

impl Asked {
    /// The next message.
    async fn next(&mut self) -> Value {
        match tokio::time::timeout(PATIENCE, self.told.recv()).await.expect("in time") {
            Some(Out::Message(text) | Out::Answer(text)) => {
                serde_json::from_str(&text).expect("JSON")
            }
            None => Value::Null,
        }
    }

    /// The answer; what comes before is passed over.
    async fn answer(&mut self) -> Value {
        loop {
            let next = self.next().await;
            if next.get("method").is_none() {
                return next;
            }
        }
    }
}

/// The next message on a session's common stream.
async fn told(stream: &mut mpsc::Receiver<Out>) -> Value {
    match tokio::time::timeout(PATIENCE, stream.recv()).await.expect("in time") {
        Some(Out::Message(text) | Out::Answer(text)) => serde_json::from_str(&text).expect("JSON"),
        None => Value::Null,
    }
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A list of tools.
fn tools(names: &[&str]) -> Value {
    let tool = |name: &&str| json!({ "name": name, "inputSchema": { "type": "object" } });
    json!({ "tools": names.iter().map(tool).collect::<Vec<_>>() })
}
