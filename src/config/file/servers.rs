//! `mcp_servers`, as typed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::value::{At, Length};
use crate::ground::secret::Secret;

/// How an MCP server is reached.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Transport {
    /// Streamable HTTP.
    #[serde(alias = "streamable_http", alias = "streamable-http")]
    Http,
    /// The older HTTP with server-sent events.
    Sse,
    /// A child process.
    Stdio,
}

/// How a server's credential is shown to it.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum AuthType {
    /// Not at all.
    None,
    /// `X-API-Key: VALUE`.
    ApiKey,
    /// `Authorization: Bearer VALUE`.
    BearerToken,
    /// `Authorization: Basic VALUE`.
    Basic,
    /// `Authorization: VALUE`.
    Authorization,
    /// `Authorization: token VALUE`.
    Token,
}

/// Whose session with the server a call runs in.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Sharing {
    /// One session for all.
    Shared,
    /// One for each key.
    PerKey,
    /// One for each client session.
    PerSession,
}

/// Whether a tool whose definition changed is held back.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Pin {
    /// Not looked at.
    Off,
    /// Logged.
    Warn,
    /// Held back until `tidegate mcp pin`.
    Enforce,
}

/// One MCP server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct McpServer {
    /// `http`, `sse` or `stdio`. Default: `stdio` with a `command`, else `http`.
    pub(in crate::config) transport: Option<At<Transport>>,
    /// `http` and `sse`: the server's URL. One without a path is tried as it is, then with the
    /// customary `/mcp` or `/sse`.
    pub(in crate::config) url: Option<At<String>>,
    /// `stdio`: the program. Started without a shell.
    pub(in crate::config) command: Option<At<String>>,
    /// `stdio`: its arguments.
    pub(in crate::config) args: Option<At<Vec<Secret>>>,
    /// `stdio`: its environment. Nothing else of the gateway's is passed on.
    pub(in crate::config) env: Option<At<BTreeMap<String, Secret>>>,
    /// `stdio`: the directory that it runs in.
    pub(in crate::config) cwd: Option<At<PathBuf>>,
    /// Another name for the server, which then stands before its tools' names.
    pub(in crate::config) alias: Option<At<String>>,
    /// What the server is for.
    pub(in crate::config) description: Option<String>,
    /// What a client should know of the server.
    pub(in crate::config) instructions: Option<String>,
    /// Any description for people and user interfaces; and `mcp_server_cost_info`, what a call of a tool costs in US dollars:
    /// `default_cost_per_query`, and `tool_name_to_cost_per_query` for some.
    pub(in crate::config) mcp_info: Option<Map<String, Value>>,
    /// A stable id.
    pub(in crate::config) server_id: Option<String>,
    /// The virtual keys that may use the server: the keys, their `sha256:` or their `key_alias`.
    /// Where the list is absent, a key's own `mcp_servers` decides.
    pub(in crate::config) api_keys: Option<Vec<At<Secret>>>,
    /// Every key may use the server whose own `mcp_servers` does not say otherwise. Default: `false`.
    pub(in crate::config) allow_all_keys: Option<At<bool>>,
    /// Names that a key's `mcp_servers` may use for all servers that carry them.
    pub(in crate::config) access_groups: Option<Vec<At<String>>>,
    /// How the credential is shown. Default: `none`.
    pub(in crate::config) auth_type: Option<At<AuthType>>,
    /// The credential.
    #[serde(alias = "authentication_token")]
    pub(in crate::config) auth_value: Option<At<Secret>>,
    /// Headers sent with every request.
    #[serde(alias = "headers")]
    pub(in crate::config) static_headers: Option<BTreeMap<String, At<Secret>>>,
    /// Names of the client's headers that are passed on.
    pub(in crate::config) extra_headers: Option<Vec<At<String>>>,
    /// Tools that may be used, as patterns. Default: all.
    pub(in crate::config) allowed_tools: Option<Vec<String>>,
    /// Tools that may not be used, as patterns: wins over `allowed_tools`.
    pub(in crate::config) disallowed_tools: Option<Vec<String>>,
    /// Parameters that may be given, for each tool. Default: all.
    pub(in crate::config) allowed_params: Option<BTreeMap<String, Vec<String>>>,
    /// Other names for tools: tool → name.
    #[serde(alias = "tool_name_to_display_name")]
    pub(in crate::config) tool_names: Option<BTreeMap<String, String>>,
    /// Other descriptions for tools: tool → text.
    #[serde(alias = "tool_name_to_description")]
    pub(in crate::config) tool_descriptions: Option<BTreeMap<String, String>>,
    /// How long a call may be silent; progress begins the time anew. Default: 300 s.
    pub(in crate::config) timeout: Option<At<Length>>,
    /// Calls at one time.
    pub(in crate::config) max_concurrent_requests: Option<At<u64>>,
    /// A path that is asked for the server's health, or `ping`.
    pub(in crate::config) health_check: Option<At<String>>,
    /// The only hosts that the server's URL and its redirects may have: names, or patterns with `*`.
    pub(in crate::config) allowed_hosts: Option<Vec<At<String>>>,
    /// The only directories that the server may use.
    pub(in crate::config) allowed_paths: Option<Vec<At<PathBuf>>>,
    /// Whose session a call runs in. Default: `shared`.
    pub(in crate::config) sharing: Option<Sharing>,
    /// How a child that ended is started again.
    pub(in crate::config) restart: Option<Restart>,
    /// The protocol's revision. Default: negotiated.
    pub(in crate::config) protocol_version: Option<At<String>>,
    /// The model that answers the server's sampling requests.
    pub(in crate::config) sampling_model: Option<At<String>>,
    /// Whether a tool whose definition changed is held back. Default: `off`.
    pub(in crate::config) pin: Option<Pin>,
    /// Calls that a model makes in one turn run at the same time. Default: true.
    pub(in crate::config) parallel: Option<bool>,
}

/// How a child that ended is started again: after a pause that doubles with every failure.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct Restart {
    /// The first pause. Default: 0.2 s.
    pub(in crate::config) min_delay_seconds: Option<Length>,
    /// The longest pause. Default: 30 s.
    pub(in crate::config) max_delay_seconds: Option<Length>,
}
