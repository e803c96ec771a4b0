//! How the MCP servers are, for `/health` and for the operator. Nothing is dialled for it: told is what was seen. No
//! secrets; on `/health` no keys either.

use std::fmt;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prometheus_client::encoding::DescriptorEncoder;
use serde_json::{Map, Value, json};

use super::Mcp;
use super::pool::catalogue::Kind;
use super::pool::slot::{Slot, State};
use crate::config::snapshot::{McpServer, McpTransport, Snapshot};
use crate::ground::series::gauges;

/// A word for a state.
pub fn word(state: &State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::Connecting { .. } => "connecting",
        State::Up { .. } => "healthy",
        State::Down { .. } => "unhealthy",
        State::Retired => "retired",
    }
}

/// A word for a transport.
pub fn transport(server: &McpServer) -> &'static str {
    match server.transport {
        McpTransport::Stdio(_) => "stdio",
        McpTransport::Sse(_) => "sse",
        McpTransport::Http(_) => "http",
    }
}

/// Every configured server: its name, how it is, what its health path answered, its last error.
pub fn health(mcp: &Mcp, snapshot: &Snapshot) -> Value {
    told(mcp, snapshot, |_, _| {})
}

/// The same with each of its connections, for the operator alone.
pub fn connections(mcp: &Mcp, snapshot: &Snapshot) -> Value {
    told(mcp, snapshot, |shown, slots| {
        let slots = slots.iter().map(|slot| of_slot(slot)).collect();
        shown.insert("connections".into(), Value::Array(slots));
    })
}

fn told(
    mcp: &Mcp,
    snapshot: &Snapshot,
    more: impl Fn(&mut Map<String, Value>, &[Arc<Slot>]),
) -> Value {
    let all = mcp.pool.all();
    let servers = snapshot.mcp_servers.values().map(|server| {
        let slots: Vec<Arc<Slot>> =
            all.iter().filter(|slot| slot.name == server.name).cloned().collect();
        let mut shown = of_server(server, &slots);
        more(&mut shown, &slots);
        Value::Object(shown)
    });
    Value::Array(servers.collect())
}

/// Writes what is counted of servers onto a page of metrics, and which are up.
///
/// # Errors
/// The page refuses.
pub fn encode_metrics(
    mcp: &Mcp,
    snapshot: &Snapshot,
    page: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let all = mcp.pool.all();
    let ups = snapshot.mcp_servers.keys().filter_map(|name| {
        let slots = all.iter().filter(|slot| slot.name == *name);
        let is_up = match best_of(slots.map(|slot| word(&slot.state()))) {
            "idle" => return None,
            status => i64::from(status == "healthy"),
        };
        Some(([("server", name.as_str())], is_up))
    });
    let help = "Whether an MCP server is connected; nothing for one that nobody has asked for yet";
    gauges(page, "tidegate_mcp_server_up", help, ups)?;
    mcp.pool.figures.encode(page)
}

/// How a server is, by its connections: as well as the best of them.
fn best_of(states: impl Iterator<Item = &'static str>) -> &'static str {
    const BEST_FIRST: [&str; 4] = ["healthy", "connecting", "unhealthy", "idle"];
    let rank = |state: &&str| BEST_FIRST.iter().position(|better| better == state);
    states.min_by_key(rank).filter(|state| rank(state).is_some()).unwrap_or("idle")
}

/// One server, whoever has connections to it.
fn of_server(server: &McpServer, slots: &[Arc<Slot>]) -> Map<String, Value> {
    let status = best_of(slots.iter().map(|slot| word(&slot.state())));
    let tools = slots.iter().filter_map(|slot| slot.known_listing(Kind::Tools));
    let mut shown = Map::new();
    shown.insert("name".into(), server.name.clone().into());
    shown.insert("transport".into(), transport(server).into());
    shown.insert("status".into(), status.into());
    shown.insert("tools".into(), tools.map(|listing| listing.entries.len()).max().into());
    let last = slots.iter().filter_map(|slot| last_error(slot)).max_by_key(|(at, _)| *at);
    shown.insert("last_error".into(), error(last));
    if let Some(path) = &server.health_path {
        let answered = slots.iter().find_map(|slot| path_answer(slot));
        shown.insert("health_check".into(), path_status(path, answered));
    }
    shown
}

/// One connection; the key that has it, where one key alone has, as its short digest.
fn of_slot(slot: &Slot) -> Value {
    let health = &slot.health;
    let state = slot.state();
    let mut shown = json!({
        "shared_by": slot.share.word(),
        "status": word(&state),
        "restarts": health.restarts.load(Relaxed),
        "calls": health.calls.load(Relaxed),
        "failed_calls": health.failed_calls.load(Relaxed),
        "last_error": error(last_error(slot)),
        "ping_ms": match health.ping_us.load(Relaxed) {
            0 => Value::Null,
            micros => json!(Duration::from_micros(micros).as_secs_f64() * 1e3),
        },
    });
    let Some(map) = shown.as_object_mut() else { return shown };
    if let Some(path) = &slot.server().health_path {
        map.insert("health_check".into(), path_status(path, path_answer(slot)));
    }
    if let State::Up { connection, since } = &state {
        map.insert("protocol_version".into(), connection.peer().revision.as_str().into());
        map.insert("pid".into(), connection.pid().into());
        map.insert("up_seconds".into(), since.elapsed().as_secs().into());
        map.insert("running".into(), connection.running().into());
    }
    shown
}

fn last_error(slot: &Slot) -> Option<(jiff::Timestamp, String)> {
    slot.health.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn error(last: Option<(jiff::Timestamp, String)>) -> Value {
    last.map_or(Value::Null, |(at, text)| json!({ "at": at, "text": text }))
}

fn path_answer(slot: &Slot) -> Option<Result<u16, String>> {
    slot.health.path.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn path_status(path: &str, answered: Option<Result<u16, String>>) -> Value {
    match answered {
        None => json!({ "path": path, "status": null }),
        Some(Ok(status)) => json!({ "path": path, "status": status }),
        Some(Err(error)) => json!({ "path": path, "status": null, "error": error }),
    }
}
