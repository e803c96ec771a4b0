//! What models are listed with beside their names: the gateway's tools that the caller could give them. They are the same for
//! every model, so they are written once. Servers that do not answer are shown with what they had when they last did.

use std::sync::Arc;

use http::HeaderMap;
use serde::Serialize;

use crate::config::snapshot::Snapshot;
use crate::conversation::Json;
use crate::gateway::admit::Caller;
use crate::gateway::tools::named_servers;
use crate::ground::fault::{Fault, Kind};
use crate::mcp::serve::ask::{Asker, Scope};
use crate::mcp::toolbox::Tool;
use crate::mcp::view::Denied;
use crate::mcp::{Mcp, view};

/// Bytes of tools in one list of models: where they would be more, only names are told, and the rest with each model.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The tools of a caller.
pub(super) struct Tools(Vec<Shown>);

#[derive(Serialize)]
struct Shown {
    /// What a model knows it by.
    name: String,
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_schema: Option<Json>,
}

/// All tools of the caller's servers, fewer where the headers name some; `None` where there are no servers. It takes as long
/// as servers may take to come up.
///
/// # Errors
/// `ToolDenied`: the headers name a server that the caller may not use.
pub(super) async fn of(
    snapshot: &Arc<Snapshot>,
    mcp: &Mcp,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<Option<Tools>, Fault> {
    let scope = Scope { header: named_servers(headers), ..Scope::default() };
    let denied = |denied: Denied| Fault::new(Kind::ToolDenied, denied.message());
    let servers = view::servers(snapshot, caller.key().map(Arc::as_ref), &scope).map_err(denied)?;
    if servers.is_empty() {
        return Ok(None);
    }
    let key = caller.key().cloned();
    let asker = Asker::plain(snapshot.clone(), key, scope, Arc::new(headers.clone()));
    let found = mcp.tools(&asker).await.map_err(denied)?;
    Ok(Some(Tools(found.tools.iter().map(shown).collect())))
}

impl Tools {
    /// The list that each of so many models has.
    pub(super) fn for_models(mut self, models: usize) -> Json {
        let whole = Json::of(&self.0);
        if whole.as_str().len().saturating_mul(models) <= MAX_BYTES || models == 1 {
            return whole;
        }
        for tool in &mut self.0 {
            (tool.description, tool.input_schema) = (None, None);
        }
        Json::of(&self.0)
    }
}

fn shown(tool: &Tool) -> Shown {
    Shown {
        name: tool.name.clone(),
        server: tool.server.display_name().to_owned(),
        description: tool.description(),
        input_schema: Some(tool.input_schema()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_have_only_names() {
        let tool = || Shown {
            name: "db-x".into(),
            server: "db".into(),
            description: Some("d".repeat(1_000)),
            input_schema: Some(Json::empty_object()),
        };
        let text = |tools, models| Tools(tools).for_models(models).as_str().to_owned();
        assert!(text(vec![tool()], 100).ends_with(r#"d","input_schema":{}}]"#));
        assert_eq!(text(vec![tool()], 100_000), r#"[{"name":"db-x","server":"db"}]"#);
        let many: Vec<Shown> = std::iter::repeat_with(tool).take(40_000).collect();
        assert!(text(many, 1).len() > MAX_BYTES, "one model is told of whole");
    }
}
