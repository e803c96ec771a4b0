//! Anthropic's MCP connector in a request: servers in `mcp_servers`, and of the later form the tools `mcp_toolset`, which say
//! what of a server is wanted. Which of the servers are the gateway's is for its callers to say.
//! <https://docs.anthropic.com/en/docs/agents-and-tools/mcp-connector>

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::wanted::Allowed;
use crate::conversation::{Ask, Json, Tool, ToolKind};

const SERVERS: &str = "mcp_servers";

/// One server of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Server {
    pub name: Option<String>,
    pub url: Option<String>,
    pub authorization_token: Option<String>,
    tool_configuration: Option<Configuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    enabled: Option<bool>,
    allowed_tools: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Toolset {
    mcp_server_name: String,
    default_config: Option<Choice>,
    configs: Option<BTreeMap<String, Choice>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
    enabled: Option<bool>,
}

/// The servers of a request; one that cannot be read is `None`.
pub(super) fn servers(ask: &Ask) -> Vec<Option<Server>> {
    values(ask).iter().map(|value| Json::of(value).read()).collect()
}

/// Which of a server's tools are wanted.
pub(super) fn allowed(ask: &Ask, server: &Server) -> Allowed {
    let name = server.name.as_deref().unwrap_or_default();
    let mut allowed = Allowed::default();
    if let Some(configuration) = &server.tool_configuration {
        allowed.names.clone_from(&configuration.allowed_tools);
        if configuration.enabled == Some(false) {
            allowed.names = Some(Vec::new());
        }
    }
    let toolset = ask.tools.iter().filter_map(toolset).find(|it| it.mcp_server_name == name);
    let Some(Toolset { default_config, configs, .. }) = toolset else { return allowed };
    let is_on = default_config.and_then(|choice| choice.enabled).unwrap_or(true);
    let configs = configs.unwrap_or_default().into_iter();
    let others = configs.filter(|(_, choice)| choice.enabled.unwrap_or(is_on) != is_on);
    let others = others.map(|(name, _)| name).collect();
    match is_on {
        true => allowed.except = others,
        false => allowed.names = Some(others),
    }
    allowed
}

/// Leaves only the servers that `is_kept` says, by their URL, and the toolsets of those.
pub(super) fn keep(ask: &mut Ask, is_kept: impl Fn(&str) -> bool) {
    let (kept, gone): (Vec<Value>, Vec<Value>) = values(ask)
        .into_iter()
        .partition(|server| server.get("url").and_then(Value::as_str).is_some_and(&is_kept));
    if gone.is_empty() {
        return;
    }
    match kept.is_empty() {
        true => drop(ask.extras.take(SERVERS)),
        false => ask.extras.replace(SERVERS, Json::of(&kept)),
    }
    let is_gone = |name: &str| gone.iter().any(|server| server["name"] == name);
    ask.tools.retain(|tool| toolset(tool).is_none_or(|it| !is_gone(&it.mcp_server_name)));
}

/// Whether a tool stands for those of a server.
pub(super) fn is_toolset(tool: &Tool) -> bool {
    toolset(tool).is_some()
}

fn values(ask: &Ask) -> Vec<Value> {
    ask.extras.get(SERVERS).and_then(Json::read).unwrap_or_default()
}

fn toolset(tool: &Tool) -> Option<Toolset> {
    let ToolKind::Hosted { value, .. } = &tool.kind else { return None };
    let kind = crate::wire::mcp::edit::text(value, &["type"])?;
    (kind == "mcp_toolset").then(|| value.read()).flatten()
}
