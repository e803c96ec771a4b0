//! The directories that a server may use, where its entry lists them: then the gateway answers `roots/list` itself, and no
//! client's own directories are told.

use serde_json::json;

use crate::config::snapshot::McpServer;
use crate::conversation::Json;
use crate::wire::mcp::edit;
use crate::wire::mcp::message::{Outcome, Request};

/// The capabilities that a server is told of: the client's, and what the gateway does in its place.
pub(super) fn declared(capabilities: &Json, server: &McpServer) -> Json {
    let mut declared = capabilities.clone();
    if !server.allowed_paths.is_empty() && edit::get(&declared, &["roots"]).is_none() {
        declared = edit::set(&declared, &["roots"], "{}");
    }
    if server.sampling_model.is_some() && edit::get(&declared, &["sampling"]).is_none() {
        declared = edit::set(&declared, &["sampling"], "{}");
    }
    declared
}

/// The answer to a question about roots, where the entry gives it.
pub(super) fn answer(server: &McpServer, request: &Request) -> Option<Outcome> {
    if request.method != "roots/list" || server.allowed_paths.is_empty() {
        return None;
    }
    let roots = server.allowed_paths.iter().filter_map(|path| {
        let url = url::Url::from_file_path(path).ok()?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Some(json!({ "uri": url.as_str(), "name": name.unwrap_or_default() }))
    });
    Some(Ok(Json::of(&json!({ "roots": roots.collect::<Vec<_>>() }))))
}
