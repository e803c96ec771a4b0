//! MCP for scripts and user interfaces that do not speak it: LiteLLM's REST paths, the read-only lists of servers and tools,
//! and one OpenAPI document for each server, as mcpo gives it to Open WebUI. Everything here is read from the configuration;
//! nothing can be added to it. Answers are a status and JSON.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Mcp;
use super::pool::slot::{Slot, State};
use super::serve::ask::{Asker, Scope};
use super::toolbox::{Tool, Tools};
use super::view::{self, Denied};
use crate::config::snapshot::{McpServer, McpTransport};
use crate::conversation::Json;
use crate::wire::mcp::error::{
    INVALID_PARAMS, METHOD_NOT_FOUND, RpcError, SERVER_BUSY, SERVER_TIMEOUT, SERVER_UNAVAILABLE,
};
use crate::wire::mcp::{edit, openapi};

/// A status and a body.
pub type RestAnswer = (u16, Value);

/// The body of `POST /mcp-rest/tools/call`.
#[derive(Deserialize)]
struct ToolCall {
    name: String,
    #[serde(default)]
    arguments: Option<Json>,
    #[serde(default, alias = "mcp_server_name", alias = "server_name")]
    server_id: Option<String>,
}

/// `GET /mcp-rest/tools/list`: LiteLLM's shape, names without a prefix. `server`: the only one that is meant.
pub async fn list_tools(mcp: &Mcp, asker: &Asker, server: Option<&str>) -> RestAnswer {
    let tools = match scoped(asker, server) {
        Ok(asker) => mcp.tools(&asker).await,
        Err(denied) => Err(denied),
    };
    match tools {
        Err(denied) => refused(&denied),
        Ok(Tools { tools, unavailable }) => {
            let tools: Vec<Value> = tools.iter().map(rest_tool).collect();
            let outcomes: serde_json::Map<String, Value> = unavailable
                .iter()
                .map(|(server, error)| (server.name.clone(), json!({ "error": error })))
                .collect();
            let error = (!outcomes.is_empty() && tools.is_empty()).then_some("unavailable");
            let message = match outcomes.is_empty() {
                true => "Successfully retrieved tools",
                false => "Some servers did not answer; see server_outcomes",
            };
            let body = json!({
                "tools": tools, "error": error, "message": message, "server_outcomes": outcomes,
            });
            (200, body)
        }
    }
}

/// `POST /mcp-rest/tools/call`: gives the result of `tools/call`.
pub async fn call_tool(mcp: &Arc<Mcp>, asker: &Asker, body: &[u8]) -> RestAnswer {
    let Ok(call) = serde_json::from_slice::<ToolCall>(body) else {
        let text = "Send {\"server_id\": \"…\", \"name\": \"…\", \"arguments\": {…}} as JSON.";
        return (400, json!({ "error": "missing_parameter", "message": text }));
    };
    let scoped = match scoped(asker, call.server_id.as_deref()) {
        Ok(scoped) => scoped,
        Err(denied) => return refused(&denied),
    };
    match mcp.call_tool(&scoped, &call.name, call.arguments.as_ref()).await {
        Ok(result) => (200, result.to_value()),
        Err(error) => failed(&error),
    }
}

/// `GET /v1/mcp/server`: the servers that the caller may use, and how they are.
pub fn servers(mcp: &Mcp, asker: &Asker) -> RestAnswer {
    let view = match mcp.view(asker) {
        Ok(view) => view,
        Err(denied) => return refused(&denied),
    };
    let servers = view.seen.iter().map(|seen| {
        let server = &seen.server;
        let state = seen.slot.state();
        let mut shown = described(server);
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("status".into(), word(&state).into());
            if let State::Up { connection, .. } = &state {
                let peer = connection.peer();
                shown.insert("protocol_version".into(), peer.revision.as_str().into());
                shown.insert("server_info".into(), peer.info.to_value());
            }
        }
        shown
    });
    (200, Value::Array(servers.collect()))
}

/// `GET /v1/mcp/tools`: every tool under the name that it has on `/mcp`.
pub async fn tools(mcp: &Mcp, asker: &Asker) -> RestAnswer {
    match mcp.tools(asker).await {
        Err(denied) => refused(&denied),
        Ok(Tools { tools, .. }) => {
            let tools: Vec<Value> = tools.iter().map(|tool| tool.definition.to_value()).collect();
            (200, json!({ "tools": tools }))
        }
    }
}

/// `GET /mcp-openapi/{server}/openapi.json`.
pub async fn document(mcp: &Mcp, asker: &Asker) -> RestAnswer {
    match mcp.tools(asker).await {
        Err(denied) => refused(&denied),
        Ok(Tools { tools, unavailable }) => {
            if let (true, Some((_, error))) = (tools.is_empty(), unavailable.first()) {
                return (
                    503,
                    json!({ "detail": format!("The MCP server did not answer: {error}") }),
                );
            }
            let first = tools.first().map(|tool| tool.server.clone());
            let title = first.as_ref().map_or("MCP", |server| server.display_name());
            let description = first.as_ref().and_then(|server| server.description.as_deref());
            let listed: Vec<(String, Json)> =
                tools.iter().map(|tool| (tool.name.clone(), tool.definition.clone())).collect();
            let version = env!("CARGO_PKG_VERSION");
            let document =
                openapi::document(title, version, description.unwrap_or_default(), &listed);
            (200, document.to_value())
        }
    }
}

/// `POST /mcp-openapi/{server}/{tool}`: the body is the arguments; the answer is what the tool said, as mcpo gives it.
pub async fn call_by_path(mcp: &Arc<Mcp>, asker: &Asker, tool: &str, body: &[u8]) -> RestAnswer {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let text = if text.trim().is_empty() { "{}" } else { text };
    let Some(arguments) = Json::parse(text).filter(Json::is_object) else {
        return (
            422,
            json!({ "detail": "The body is to be a JSON object: the tool's arguments." }),
        );
    };
    let result = match mcp.call_tool(asker, tool, Some(&arguments)).await {
        Ok(result) => result,
        Err(error) => {
            let (status, _) = failed(&error);
            return (status, json!({ "detail": { "message": error.message() } }));
        }
    };
    let said = said(&result);
    if edit::read::<bool>(&result, &["isError"]) == Some(true) {
        return (500, json!({ "detail": { "message": said } }));
    }
    (200, said)
}

/// What a result says, without its wrapping: structured content as it is, one text as the value it spells.
fn said(result: &Json) -> Value {
    if let Some(structured) = edit::get(result, &["structuredContent"]) {
        return Json::of_raw(structured).to_value();
    }
    let content: Vec<Value> = edit::read(result, &["content"]).unwrap_or_default();
    let mut said: Vec<Value> = content.iter().map(part).collect();
    if said.len() == 1 { said.remove(0) } else { Value::Array(said) }
}

fn part(part: &Value) -> Value {
    let text = |name: &str| part.get(name).and_then(Value::as_str);
    match text("type") {
        Some("text") => {
            let text = text("text").unwrap_or_default();
            serde_json::from_str(text).unwrap_or_else(|_| text.into())
        }
        Some("image" | "audio") => {
            let (kind, data) =
                (text("mimeType").unwrap_or_default(), text("data").unwrap_or_default());
            format!("data:{kind};base64,{data}").into()
        }
        _ => part.clone(),
    }
}

fn rest_tool(tool: &Tool) -> Value {
    let definition = tool.definition.to_value();
    let server = &tool.server;
    let mut info = server.info.clone();
    info.insert("server_name".into(), server.name.clone().into());
    info.insert("server_id".into(), id(server).into());
    info.insert("alias".into(), server.display_name().into());
    let mut shown = definition;
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("name".into(), tool.own.clone().into());
        shown.insert("mcp_info".into(), info.into());
    }
    shown
}

fn described(server: &McpServer) -> Value {
    let transport = match server.transport {
        McpTransport::Stdio(_) => "stdio",
        McpTransport::Sse(_) => "sse",
        McpTransport::Http(_) => "http",
    };
    json!({
        "server_id": id(server),
        "server_name": server.name,
        "alias": server.display_name(),
        "aliases": server.aliases,
        "description": server.description,
        "transport": transport,
        "mcp_access_groups": server.access_groups,
        "mcp_info": server.info,
    })
}

/// What `server_id` is in LiteLLM's shapes: the entry's own, else the name.
fn id(server: &McpServer) -> &str {
    server.server_id.as_deref().unwrap_or(&server.name)
}

/// The asker, narrowed to one server with plain names.
fn scoped(asker: &Asker, server: Option<&str>) -> Result<Asker, Denied> {
    let mut asker = asker.clone();
    let Some(wanted) = server else { return Ok(asker) };
    let seen = view::servers(&asker.snapshot, asker.key.as_deref(), &asker.scope)?;
    let named = seen.iter().find(|server| {
        server.server_id.as_deref() == Some(wanted)
            || server.name.eq_ignore_ascii_case(wanted)
            || server.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(wanted))
    });
    let named = named.ok_or_else(|| Denied(wanted.to_owned()))?;
    asker.scope = Scope { single: Some(named.name.clone()), ..Scope::default() };
    Ok(asker)
}

fn refused(denied: &Denied) -> RestAnswer {
    (403, json!({ "error": "access_denied", "message": denied.message() }))
}

fn failed(error: &RpcError) -> RestAnswer {
    let status = match error.code() {
        INVALID_PARAMS => 400,
        METHOD_NOT_FOUND => 404,
        SERVER_UNAVAILABLE => 502,
        SERVER_TIMEOUT => 504,
        SERVER_BUSY => 503,
        _ => 500,
    };
    (status, json!({ "error": error.as_json(), "message": error.message() }))
}

/// A word for a state, for people and programs.
pub fn word(state: &State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::Connecting { .. } => "connecting",
        State::Up { .. } => "healthy",
        State::Down { .. } => "unhealthy",
        State::Retired => "retired",
    }
}

/// One slot for the operator's pages: no secrets, the key as its short digest.
pub fn slot_status(slot: &Slot) -> Value {
    use std::sync::atomic::Ordering::Relaxed;
    let health = &slot.health;
    let state = slot.state();
    let last_error = health.last_error.lock().ok().and_then(|last| last.clone());
    let path = health.path.lock().ok().and_then(|path| path.clone());
    let mut shown = json!({
        "server": slot.name,
        "shared_by": slot.share.word(),
        "status": word(&state),
        "restarts": health.restarts.load(Relaxed),
        "calls": health.calls.load(Relaxed),
        "failed_calls": health.failed_calls.load(Relaxed),
        "last_error": last_error.map(|(at, text)| json!({ "at": at, "text": text })),
        "ping_ms": match health.ping_us.load(Relaxed) {
            0 => Value::Null,
            micros => json!(std::time::Duration::from_micros(micros).as_secs_f64() * 1e3),
        },
    });
    let Some(map) = shown.as_object_mut() else { return shown };
    if let Some(path) = path {
        let answered = match path {
            Ok(status) => json!({ "status": status }),
            Err(error) => json!({ "error": error }),
        };
        map.insert("health_check".into(), answered);
    }
    if let State::Up { connection, since } = &state {
        map.insert("protocol_version".into(), connection.peer().revision.as_str().into());
        map.insert("pid".into(), connection.pid().into());
        map.insert("up_seconds".into(), since.elapsed().as_secs().into());
        map.insert("running".into(), connection.running().into());
    }
    shown
}
