//! `virtual_keys`, as typed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{At, Expiry, Length};
use crate::ground::secret::Secret;

/// One key, and what it may use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct VirtualKey {
    /// The key itself, or `sha256:` and the 64 hexadecimal digits of its SHA-256 (required).
    #[serde(alias = "key")]
    pub(in crate::config) api_key: Option<At<Secret>>,
    /// The key's name in rows and logs.
    pub(in crate::config) key_alias: Option<At<String>>,
    /// Models it may use: names, patterns with `*`, or access groups. `all-proxy-models` is `*`.
    /// Without any it may use none (LiteLLM: all).
    pub(in crate::config) models: Option<Vec<At<String>>>,
    /// MCP servers it may use: names, aliases or access groups. Where the list is absent, a server
    /// is reached only if the server's `api_keys` lists the key.
    pub(in crate::config) mcp_servers: Option<Vec<At<String>>>,
    /// Names this key may use for models: alias → name in `model_list`.
    pub(in crate::config) aliases: Option<BTreeMap<String, At<String>>>,
    /// When it ends: RFC 3339, or a date, to its end in UTC.
    pub(in crate::config) expires: Option<At<Expiry>>,
    /// Switched off. Default: false.
    pub(in crate::config) blocked: Option<bool>,
    /// Written to the rows of its requests.
    pub(in crate::config) user_id: Option<String>,
    /// Written to the rows of its requests.
    pub(in crate::config) team_id: Option<String>,
    /// Written to the rows of its requests.
    pub(in crate::config) tags: Option<Vec<String>>,
    /// Give the tools of its MCP servers to the model in every request, as if the header
    /// `x-mcp-servers` named them all. Default: false.
    pub(in crate::config) default_tools: Option<bool>,
    /// As in `general_settings`, for this key.
    pub(in crate::config) max_tool_rounds: Option<At<u32>>,
    /// As in `general_settings`, for this key.
    pub(in crate::config) max_tool_calls: Option<At<u32>>,
    /// As in `general_settings`, for this key.
    pub(in crate::config) max_tool_seconds: Option<At<Length>>,
    /// As in `general_settings`, for this key.
    pub(in crate::config) max_tool_tokens: Option<At<u64>>,
    /// As in `general_settings`, for this key.
    pub(in crate::config) tool_token_budget: Option<At<u64>>,
    /// Requests a minute. Not enforced yet.
    pub(in crate::config) rpm_limit: Option<At<u64>>,
    /// Tokens a minute. Not enforced yet.
    pub(in crate::config) tpm_limit: Option<At<u64>>,
    /// Requests at one time. Not enforced yet.
    pub(in crate::config) max_parallel_requests: Option<At<u64>>,
    /// US dollars in one `budget_duration`. Not enforced yet.
    pub(in crate::config) max_budget: Option<At<f64>>,
    /// The period of `max_budget`. Not enforced yet.
    pub(in crate::config) budget_duration: Option<At<Length>>,
}
