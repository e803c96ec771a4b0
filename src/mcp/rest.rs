//! MCP for scripts and user interfaces that do not speak it: LiteLLM's REST paths, the read-only lists of servers and tools,
//! and one OpenAPI document for each server, as mcpo gives it to Open WebUI. Everything here is read from the configuration;
//! nothing can be added to it. Answers are a status and JSON.

use std::sync::Arc;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Mcp;
use super::pool::slot::State;
use super::serve::ask::{Asker, Scope};
use super::status;
use super::toolbox::{Tool, Tools};
use super::view::{self, Denied};
use crate::config::snapshot::McpServer;
use crate::conversation::Json;
use crate::wire::mcp::error::{
    INVALID_PARAMS, METHOD_NOT_FOUND, RpcError, SERVER_BUSY, SERVER_TIMEOUT, SERVER_UNAVAILABLE,
};
use crate::wire::mcp::{edit, openapi};

/// A status and a body.
pub type RestAnswer = (u16, Json);

/// The body of `POST /mcp-rest/tools/call`.
#[derive(Deserialize)]
struct ToolCall {
    name: String,
    #[serde(default)]
    arguments: Option<Json>,
    #[serde(default, alias = "mcp_server_name", alias = "server_name")]
    server_id: Option<String>,
}

/// The answer to `GET /mcp-rest/tools/list`.
#[derive(Serialize)]
struct ToolList {
    tools: Vec<Json>,
    error: Option<&'static str>,
    message: &'static str,
    /// Servers whose tools may be missing.
    server_outcomes: Map<String, Value>,
}

/// `GET /mcp-rest/tools/list`: LiteLLM's shape, each tool under the name that a call with its `server_id` wants, which has
/// no prefix. `server`: the only one that is meant.
pub async fn list_tools(mcp: &Mcp, asker: &Asker, server: Option<&str>) -> RestAnswer {
    let asked = scoped(asker, server).and_then(|asker| {
        let servers = view::servers(&asker.snapshot, asker.key.as_deref(), &asker.scope)?;
        Ok(servers.into_iter().map(|server| alone(&asker, &server)).collect::<Vec<_>>())
    });
    let askers = match asked {
        Ok(askers) => askers,
        Err(denied) => return refused(&denied),
    };
    let listed = join_all(askers.iter().map(|asker| mcp.tools(asker))).await;
    let (mut tools, mut server_outcomes) = (Vec::new(), Map::new());
    for Tools { tools: own, unavailable } in listed.into_iter().flatten() {
        tools.extend(own.iter().map(rest_tool));
        server_outcomes.extend(
            unavailable
                .into_iter()
                .map(|(server, error)| (server.name.clone(), json!({ "error": error }))),
        );
    }
    let is_whole = server_outcomes.is_empty();
    let message = match is_whole {
        true => "Successfully retrieved tools",
        false => "Some servers did not answer; see server_outcomes",
    };
    let error = (!is_whole && tools.is_empty()).then_some("server_error");
    (200, Json::of(&ToolList { tools, error, message, server_outcomes }))
}

/// `POST /mcp-rest/tools/call`: gives the result of `tools/call`.
pub async fn call_tool(mcp: &Arc<Mcp>, asker: &Asker, body: &[u8]) -> RestAnswer {
    let Ok(call) = serde_json::from_slice::<ToolCall>(body) else {
        let text = "Send {\"server_id\": \"…\", \"name\": \"…\", \"arguments\": {…}} as JSON.";
        return (400, detailed("missing_parameter", text));
    };
    let scoped = match scoped(asker, call.server_id.as_deref()) {
        Ok(scoped) => scoped,
        Err(denied) => return refused(&denied),
    };
    match mcp.call_tool(&scoped, &call.name, call.arguments.as_ref()).await {
        Ok(result) => (200, result),
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
            shown.insert("status".into(), status::word(&state).into());
            if let State::Up { connection, .. } = &state {
                let peer = connection.peer();
                shown.insert("protocol_version".into(), peer.revision.as_str().into());
                shown.insert("server_info".into(), peer.info.to_value());
            }
        }
        shown
    });
    (200, Json::from(Value::Array(servers.collect())))
}

/// `GET /v1/mcp/tools`: every tool under the name that it has on `/mcp`.
pub async fn tools(mcp: &Mcp, asker: &Asker) -> RestAnswer {
    match mcp.tools(asker).await {
        Err(denied) => refused(&denied),
        Ok(Tools { tools, .. }) => {
            let tools: Vec<Json> = tools.into_iter().map(|tool| tool.definition).collect();
            (200, Json::of(&std::collections::BTreeMap::from([("tools", tools)])))
        }
    }
}

/// `GET /mcp-openapi/{server}/openapi.json`. The asker's scope is that one server.
pub async fn document(mcp: &Mcp, asker: &Asker) -> RestAnswer {
    let servers = view::servers(&asker.snapshot, asker.key.as_deref(), &asker.scope);
    let server = match servers {
        Ok(servers) => servers.into_iter().next(),
        Err(denied) => return refused(&denied),
    };
    let listed = mcp.tools(asker).await;
    let (Some(server), Ok(Tools { tools, unavailable })) = (server, listed) else {
        let name = asker.scope.single.clone().unwrap_or_default();
        return refused(&Denied(name));
    };
    if let (true, Some((_, error))) = (tools.is_empty(), unavailable.first()) {
        let message = format!("The MCP server did not answer: {error}");
        return (503, failure(message));
    }
    let tools: Vec<(String, Json)> =
        tools.into_iter().map(|tool| (tool.name, tool.definition)).collect();
    let about = openapi::About {
        title: server.display_name(),
        version: env!("CARGO_PKG_VERSION"),
        description: server.description.as_deref().unwrap_or_default(),
        base: &format!("/mcp-openapi/{}", server.display_name()),
    };
    (200, openapi::document(&about, &tools))
}

/// `POST /mcp-openapi/{server}/{tool}`: the body is the arguments; the answer is what the tool said, as mcpo gives it.
pub async fn call_by_path(mcp: &Arc<Mcp>, asker: &Asker, tool: &str, body: &[u8]) -> RestAnswer {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let text = if text.trim().is_empty() { "{}" } else { text };
    let Some(arguments) = Json::parse(text).filter(Json::is_object) else {
        return (422, failure("The body is to be a JSON object: the tool's arguments."));
    };
    let result = match mcp.call_tool(asker, tool, Some(&arguments)).await {
        Ok(result) => result,
        Err(error) => {
            // As FastAPI, and so mcpo, says it.
            let status = if error.code() == INVALID_PARAMS { 422 } else { status_of(&error) };
            let mut detail = json!({ "message": error.message() });
            if let (Some(detail), data @ (Value::Object(_) | Value::Array(_))) =
                (detail.as_object_mut(), error.data())
            {
                detail.insert("data".into(), data);
            }
            return (status, Json::from(json!({ "detail": detail })));
        }
    };
    let content: Vec<Json> = edit::read(&result, &["content"]).unwrap_or_default();
    if edit::read::<bool>(&result, &["isError"]) == Some(true) {
        let texts: Vec<String> =
            content.iter().filter_map(|part| edit::text(part, &["text"])).collect();
        return (500, failure(texts.join("\n")));
    }
    let structured = edit::get(&result, &["structuredContent"]).map(Json::of_raw);
    (200, structured.unwrap_or_else(|| said(&content)))
}

/// What contents say, without their wrapping: one as it is, several as a list.
fn said(content: &[Json]) -> Json {
    match content {
        [one] => part(one),
        all => Json::of(&all.iter().map(part).collect::<Vec<_>>()),
    }
}

/// A text as the value that it spells, if it spells one.
fn part(part: &Json) -> Json {
    let text = |name: &str| edit::text(part, &[name]).unwrap_or_default();
    match text("type").as_str() {
        "text" => {
            let text = text("text");
            Json::parse(text.trim()).unwrap_or_else(|| Json::of(&text))
        }
        "image" | "audio" => {
            Json::of(&format!("data:{};base64,{}", text("mimeType"), text("data")))
        }
        _ => part.clone(),
    }
}

fn rest_tool(tool: &Tool) -> Json {
    let server = &tool.server;
    let mut info = server.info.clone();
    info.insert("server_name".into(), server.name.clone().into());
    info.insert("server_id".into(), id(server).into());
    info.insert("alias".into(), server.display_name().into());
    edit::set(&tool.definition, &["mcp_info"], Json::of(&info).as_str())
}

fn described(server: &McpServer) -> Value {
    json!({
        "server_id": id(server),
        "server_name": server.name,
        "alias": server.display_name(),
        "aliases": server.aliases,
        "description": server.description,
        "transport": status::transport(server),
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
    let Some(wanted) = server else { return Ok(asker.clone()) };
    let seen = view::servers(&asker.snapshot, asker.key.as_deref(), &asker.scope)?;
    let named = seen.iter().find(|server| {
        server.server_id.as_deref() == Some(wanted)
            || server.name.eq_ignore_ascii_case(wanted)
            || server.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(wanted))
    });
    let named = named.ok_or_else(|| Denied(wanted.to_owned()))?;
    Ok(alone(asker, named))
}

/// The asker with one of its servers alone, whose names then have no prefix.
fn alone(asker: &Asker, server: &McpServer) -> Asker {
    let scope = Scope { single: Some(server.name.clone()), ..Scope::default() };
    Asker { scope, ..asker.clone() }
}

/// An error as LiteLLM's paths have it.
fn detailed(error: &str, message: impl AsRef<str>) -> Json {
    Json::from(json!({ "detail": { "error": error, "message": message.as_ref() } }))
}

/// An error as mcpo has it.
fn failure(message: impl AsRef<str>) -> Json {
    Json::from(json!({ "detail": { "message": message.as_ref() } }))
}

fn refused(denied: &Denied) -> RestAnswer {
    (403, detailed("access_denied", denied.message()))
}

fn failed(error: &RpcError) -> RestAnswer {
    let word = match error.code() {
        INVALID_PARAMS => "invalid_parameters",
        METHOD_NOT_FOUND => "not_found",
        SERVER_UNAVAILABLE => "server_unavailable",
        SERVER_TIMEOUT => "server_timeout",
        SERVER_BUSY => "server_busy",
        _ => "server_error",
    };
    let body = detailed(word, error.message());
    let body = edit::set(&body, &["detail", "rpc_error"], error.as_json().as_str());
    (status_of(error), body)
}

fn status_of(error: &RpcError) -> u16 {
    match error.code() {
        INVALID_PARAMS => 400,
        METHOD_NOT_FOUND => 404,
        SERVER_UNAVAILABLE => 502,
        SERVER_TIMEOUT => 504,
        SERVER_BUSY => 503,
        _ => 500,
    }
}
