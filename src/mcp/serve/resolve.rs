//! From a name that a client uses to the server that has it and the server's own name. By table, never by cutting a name
//! apart; what is not in the table does not exist.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::ask::Asker;
use super::dispatch::not_found_code;
use super::lists::{behind_alias, offered, offered_by};
use super::relay::Target;
use crate::config::snapshot::McpServer;
use crate::conversation::Json;
use crate::ground::names;
use crate::mcp::offers::Offer;
use crate::mcp::pool::catalogue::Kind;
use crate::mcp::pool::slot::Slot;
use crate::mcp::transport::{Failure, FailureKind};
use crate::mcp::view::{Seen, View};
use crate::wire::mcp::error::{HEADER_MISMATCH, INVALID_PARAMS, RESOURCE_NOT_FOUND, RpcError};
use crate::wire::mcp::param_header::ParamHeaders;
use crate::wire::mcp::{edit, template};

/// A resource, and who may have it.
pub(super) struct Found {
    pub slot: Arc<Slot>,
    pub server: Arc<McpServer>,
    /// The server's URI for it.
    pub own: String,
    /// It is in a list; else it is a try.
    pub is_certain: bool,
}

/// The tool that is called.
pub(super) async fn tool(asker: &Asker, view: &View, params: &Json) -> Result<Target, RpcError> {
    let name = required(params, &["name"], "name")?;
    let found = find(asker, view, Kind::Tools, &name).await?;
    let (seen, offer) = match found {
        Some(found) => found,
        // Alone, a server may have tools that it does not list; only a list that is there can hide one.
        None => match view.single().filter(|seen| hides_nothing(&seen.server)) {
            Some(seen) => {
                let definition = Json::empty_object();
                (seen.clone(), Offer { name: name.clone(), own: name.clone(), definition })
            }
            None => return Err(unknown("tool", &name)),
        },
    };
    let arguments = edit::get(params, &["arguments"]).map(Json::of_raw);
    let arguments = arguments.unwrap_or_else(Json::empty_object);
    refuse_params(&seen.server, &offer.own, &arguments)?;
    let flag = |hint: &str| edit::read::<bool>(&offer.definition, &["annotations", hint]);
    let is_safe = flag("readOnlyHint") == Some(true) || flag("idempotentHint") == Some(true);
    let schema = edit::get(&offer.definition, &["inputSchema"]).map(Json::of_raw);
    let marked = schema.and_then(|schema| ParamHeaders::of(&schema).ok()).unwrap_or_default();
    if asker.revision.is_modern() {
        let sent = |name: &str| -> Vec<&[u8]> {
            asker.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
        };
        if let Some(fault) = marked.mismatch(&arguments, sent) {
            return Err(RpcError::new(HEADER_MISMATCH, fault));
        }
    }
    let headers = param_headers(&marked, &arguments);
    let params = edit::set(params, &["name"], Json::of(&offer.own).as_str());
    let params = translated_task(asker, params);
    Ok(Target {
        slot: seen.slot,
        server: seen.server,
        method: "tools/call".into(),
        params,
        name,
        is_safe,
        headers,
    })
}

/// The prompt that is asked for, named at `path` of the params.
pub(super) async fn prompt(
    asker: &Asker,
    view: &View,
    method: &str,
    path: &[&str],
    params: &Json,
) -> Result<Target, RpcError> {
    let name = required(params, path, "name")?;
    let found = find(asker, view, Kind::Prompts, &name).await?;
    let (seen, own) = match (found, view.single()) {
        (Some((seen, offer)), _) => (seen, offer.own),
        (None, Some(seen)) => (seen.clone(), name.clone()),
        (None, None) => return Err(unknown("prompt", &name)),
    };
    let params = edit::set(params, path, Json::of(&own).as_str());
    Ok(Target {
        slot: seen.slot,
        server: seen.server,
        method: method.to_owned(),
        params,
        name,
        is_safe: true,
        headers: HeaderMap::new(),
    })
}

/// What is to be completed: an argument of a prompt, or of a resource template.
pub(super) async fn completion(
    asker: &Asker,
    view: &View,
    params: Json,
) -> Result<Target, RpcError> {
    let method = "completion/complete";
    if edit::text(&params, &["ref", "type"]).as_deref() != Some("ref/resource") {
        return prompt(asker, view, method, &["ref", "name"], &params).await;
    }
    let uri = required(&params, &["ref", "uri"], "ref.uri")?;
    let found = owners(asker, view, &uri).await;
    let found = found.into_iter().next().ok_or_else(|| no_resource_for(asker, &uri))?;
    let params = edit::set(&params, &["ref", "uri"], Json::of(&found.own).as_str());
    Ok(Target {
        slot: found.slot,
        server: found.server,
        method: method.into(),
        params,
        name: uri,
        is_safe: true,
        headers: HeaderMap::new(),
    })
}

/// The URI in the params.
pub(super) fn uri(params: &Json) -> Result<String, RpcError> {
    required(params, &["uri"], "uri")
}

/// Who may have the resource in the params, the likeliest first.
pub(super) async fn resources(
    asker: &Asker,
    view: &View,
    params: &Json,
) -> Result<Vec<Found>, RpcError> {
    let uri = uri(params)?;
    let found = owners(asker, view, &uri).await;
    if found.is_empty() { Err(no_resource_for(asker, &uri)) } else { Ok(found) }
}

async fn owners(asker: &Asker, view: &View, uri: &str) -> Vec<Found> {
    let found = |seen: &Seen, own: &str, is_certain| Found {
        slot: seen.slot.clone(),
        server: seen.server.clone(),
        own: own.to_owned(),
        is_certain,
    };
    if let Some(seen) = view.single() {
        return vec![found(seen, uri, true)];
    }
    let listed = offered(asker, view, Kind::Resources).await;
    if let Some(owner) = listed.iter().find(|it| it.offers.find(uri).is_some()) {
        return vec![found(&owner.seen, uri, true)];
    }
    let templates = offered(asker, view, Kind::Templates).await;
    for seen in &view.seen {
        let own = uri.strip_prefix(&behind_alias(seen, ""));
        if let Some(own) = own {
            return vec![found(seen, own, true)];
        }
    }
    let matching = templates.iter().find(|it| {
        it.offers
            .entries
            .iter()
            .any(|offer| offer.name == uri || template::matches(&offer.own, uri))
    });
    if let Some(owner) = matching {
        return vec![found(&owner.seen, uri, true)];
    }
    let has_resources = |seen: &&Seen| {
        seen.slot.current().is_some_and(|connection| connection.peer().has(&["resources"]))
    };
    view.seen.iter().filter(has_resources).map(|seen| found(seen, uri, false)).collect()
}

/// The server and entry that a client's name means. Only the server that can have it is asked; the others need not be up.
async fn find(
    asker: &Asker,
    view: &View,
    kind: Kind,
    name: &str,
) -> Result<Option<(Seen, Offer)>, RpcError> {
    let may_have = |seen: &&Seen| view.is_plain || name.starts_with(&seen.server.prefix);
    let Some(seen) = view.seen.iter().find(may_have) else { return Ok(None) };
    let offered = offered_by(asker, seen, kind, view.is_plain).await;
    if let Some(offer) = offered.offers.find(name) {
        return Ok(Some((seen.clone(), offer.clone())));
    }
    if offered.failure.is_none() {
        return Ok(None);
    }
    // The list is not there yet: the server is waited for as long as a call would wait.
    seen.slot.connection().await.map_err(|failure| super::relay::unavailable(seen, &failure))?;
    let offered = offered_by(asker, seen, kind, view.is_plain).await;
    match (offered.offers.find(name), offered.failure) {
        (Some(offer), _) => Ok(Some((seen.clone(), offer.clone()))),
        // It came up, and fell again: nobody can say that it has no such tool.
        (None, Some(text)) if !view.is_plain => {
            let failure = Failure::new(FailureKind::Unreachable, text);
            Err(super::relay::unavailable(seen, &failure))
        }
        (None, _) => Ok(None),
    }
}

fn hides_nothing(server: &McpServer) -> bool {
    server.allowed_tools.is_none()
        && server.disallowed_tools.is_empty()
        && server.pin != crate::config::snapshot::Pin::Enforce
        && server.tool_names.is_empty()
}

/// `allowed_params` of the server's entry.
fn refuse_params(server: &McpServer, tool: &str, arguments: &Json) -> Result<(), RpcError> {
    let Some(allowed) = server.allowed_params.get(tool) else { return Ok(()) };
    let given: serde_json::Map<String, serde_json::Value> = arguments.read().unwrap_or_default();
    match given.keys().find(|name| !allowed.contains(name)) {
        None => Ok(()),
        Some(name) => Err(RpcError::new(
            INVALID_PARAMS,
            format!(
                "The parameter `{}` may not be given to this tool; it takes {}.",
                names::shown(name),
                allowed.join(", ")
            ),
        )),
    }
}

fn param_headers(marked: &ParamHeaders, arguments: &Json) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in marked.for_call(arguments) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers
}

/// Tasks of 2025-11-25 are experimental and bound to one session with the server; the call is made at once instead.
fn translated_task(asker: &Asker, params: Json) -> Json {
    if asker.scope.single.is_some() { params } else { edit::remove(&params, &["task"]) }
}

fn required(params: &Json, path: &[&str], shown: &str) -> Result<String, RpcError> {
    edit::text(params, path).ok_or_else(|| {
        RpcError::new(INVALID_PARAMS, format!("`params.{shown}` is missing, or is no string."))
    })
}

fn unknown(what: &str, name: &str) -> RpcError {
    let text =
        format!("Unknown {what}: {}. {what}s/list shows those that there are.", names::shown(name));
    RpcError::new(INVALID_PARAMS, text)
}

pub(super) fn no_resource(uri: &str) -> RpcError {
    let text = format!("Resource not found: {}", names::shown(uri));
    RpcError::new(RESOURCE_NOT_FOUND, text).with_data(json!({ "uri": uri }))
}

/// The same in the words of the client's revision.
pub(super) fn no_resource_for(asker: &Asker, uri: &str) -> RpcError {
    let text = format!("Resource not found: {}", names::shown(uri));
    RpcError::new(not_found_code(asker.revision), text).with_data(json!({ "uri": uri }))
}
