//! `litellm_settings`, `general_settings`, `router_settings` and `request_log`, as typed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{Address, At, Length, LogLevel, OnLoss, Target, Texts};
use crate::ground::secret::Secret;

/// A list of mappings from a model's name to the names to try after it.
pub(in crate::config) type Fallbacks = Vec<BTreeMap<String, At<Vec<At<String>>>>>;

/// Settings that LiteLLM keeps under this name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct LitellmSettings {
    /// As in `general_settings`.
    pub(in crate::config) master_key: Option<At<Secret>>,
    /// As in `general_settings`.
    pub(in crate::config) database_url: Option<At<Secret>>,
    /// Write the log as one JSON object a line. Default: false.
    pub(in crate::config) json_logs: Option<bool>,
    /// As `general_settings.detailed_debug`.
    pub(in crate::config) set_verbose: Option<bool>,
    /// Whether `/metrics` wants the master key. Default: where it stands on the address of clients, and not on that of
    /// `admin_listen`.
    pub(in crate::config) require_auth_for_metrics_endpoint: Option<bool>,
    /// `prometheus`: `/metrics` has the most used of LiteLLM's names, too. `otel`: traces go where `telemetry.exporters` or
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` says. Others are not honoured.
    pub(in crate::config) callbacks: Option<At<Texts>>,
    /// As `telemetry.propagate: always`, where that is not said.
    pub(in crate::config) forward_traceparent_to_llm_provider: Option<bool>,
    /// As in `router_settings`, which wins.
    pub(in crate::config) num_retries: Option<At<u32>>,
    /// As `router_settings.timeout`, which wins.
    pub(in crate::config) request_timeout: Option<At<Length>>,
    /// As in `router_settings`; both are used.
    pub(in crate::config) fallbacks: Option<Fallbacks>,
    /// As in `router_settings`; both are used.
    pub(in crate::config) default_fallbacks: Option<Vec<At<String>>>,
    /// Other names for MCP servers: alias → name in `mcp_servers`.
    pub(in crate::config) mcp_aliases: Option<BTreeMap<String, At<String>>>,
    /// As in `litellm_params`, for all models.
    pub(in crate::config) drop_params: Option<bool>,
    /// As in `litellm_params`, for all models.
    pub(in crate::config) modify_params: Option<bool>,
    /// What happens to a request of which a provider's format cannot carry all: `report` it in the
    /// header `x-tidegate-loss` and in the row, or `refuse` it. Default: `report`.
    pub(in crate::config) on_loss: Option<At<OnLoss>>,
    /// Seconds of silence after which a stream gets an SSE comment, so that proxies in between keep
    /// it open. Default: 15 (LiteLLM: none).
    pub(in crate::config) sse_keepalive_ping_interval_seconds: Option<At<Length>>,
}

/// Settings of the gateway itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct GeneralSettings {
    /// The administrator's key: may use everything, and `/admin`. Default: the variable
    /// `LITELLM_MASTER_KEY`, if it is set. Plain, or `sha256:` and 64 hexadecimal digits.
    pub(in crate::config) master_key: Option<At<Secret>>,
    /// `postgres://…`: where request rows go in the end. Default: the variable `DATABASE_URL`, if it
    /// is set; without either, the SQLite file is the store.
    pub(in crate::config) database_url: Option<At<Secret>>,
    /// Where to listen. Default: `127.0.0.1:4000`. Any address that is not loopback wants a key.
    pub(in crate::config) listen: Option<At<Address>>,
    /// A second address for `/admin`, which is then not served on the first.
    pub(in crate::config) admin_listen: Option<At<Address>>,
    /// Requests in progress; more are refused with status 503. Default: 2048.
    pub(in crate::config) global_max_parallel_requests: Option<At<u64>>,
    /// Largest JSON body, in MiB. Default: 32.
    pub(in crate::config) max_request_size_mb: Option<At<f64>>,
    /// Largest multipart body, in MiB. Default: 256.
    pub(in crate::config) max_upload_size_mb: Option<At<f64>>,
    /// How long streams may go on after SIGTERM. Default: 120 s.
    pub(in crate::config) drain_timeout_seconds: Option<At<Length>>,
    /// Log more of what is going on. Default: false.
    pub(in crate::config) detailed_debug: Option<bool>,
    /// How much the log says: `error`, `warn`, `info`, `debug` or `trace`; with `info` a line for each request. Default:
    /// `info`, or `debug` with `detailed_debug` or `set_verbose`.
    pub(in crate::config) log_level: Option<LogLevel>,
    /// A file for the log, in place of standard error: renamed at 10 MiB, of which five are kept, and opened anew at
    /// SIGUSR1. Relative to the configuration's directory.
    pub(in crate::config) log_file: Option<PathBuf>,
    /// What stands between an MCP server's alias and a tool's name: `-`, `_` or `__`. Default: `-`.
    pub(in crate::config) mcp_tool_name_separator: Option<At<String>>,
    /// Longest silence of a client's MCP session. Default: 1800 s.
    pub(in crate::config) mcp_session_idle_timeout_seconds: Option<At<Length>>,
    /// MCP sessions at once; more are refused with status 503. Default: 10000.
    pub(in crate::config) mcp_max_sessions: Option<At<u64>>,
    /// The file that holds the pins of MCP tools. Default: `mcp.lock` beside the configuration.
    pub(in crate::config) mcp_lock_file: Option<PathBuf>,
    /// Origins, as hosts or patterns, beside loopback and the gateway's own that pages may call `/mcp` from.
    pub(in crate::config) mcp_allowed_origins: Option<Vec<String>>,
    /// Rounds of a model that calls MCP tools within one answer. Default: 16.
    pub(in crate::config) max_tool_rounds: Option<At<u32>>,
    /// Calls of MCP tools within one answer. Default: 64.
    pub(in crate::config) max_tool_calls: Option<At<u32>>,
    /// How long the rounds of one answer may take together. Default: 600 s.
    pub(in crate::config) max_tool_seconds: Option<At<Length>>,
    /// Tokens of all rounds of one answer. Default: no limit.
    pub(in crate::config) max_tool_tokens: Option<At<u64>>,
    /// Tokens, by estimate, that the definitions of MCP tools may add to a request. Where they are more, the
    /// model gets `search_tools` and `call_tool` in their place, and finds them by words. Default: no limit.
    pub(in crate::config) tool_token_budget: Option<At<u64>>,
    /// A file with prices that go before the built-in ones: LiteLLM's `model_prices_and_context_window.json`, models.dev's
    /// `api.json`, or what `tidegate prices` wrote. Relative to the configuration; read again when it changes.
    pub(in crate::config) pricing_file: Option<At<PathBuf>>,
    /// Keep prompts and answers with the rows of requests. Default: false.
    pub(in crate::config) store_prompts_in_spend_logs: Option<bool>,
    /// Write no rows. Default: false.
    pub(in crate::config) disable_spend_logs: Option<bool>,
    /// As `request_log.retention`.
    pub(in crate::config) maximum_spend_logs_retention_period: Option<At<Length>>,
}

/// How a group's deployments are tried.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct RouterSettings {
    /// Only `simple-shuffle`: at random, by weight.
    pub(in crate::config) routing_strategy: Option<At<String>>,
    /// Tries after the first, before the first byte went out. Default: 2.
    pub(in crate::config) num_retries: Option<At<u32>>,
    /// How long an answer may take; streamed, how long its beginning may take. Default: 600 s.
    pub(in crate::config) timeout: Option<At<Length>>,
    /// How long the beginning of a streamed answer may take. Default: `timeout`.
    pub(in crate::config) stream_timeout: Option<At<Length>>,
    /// Longest silence within a streamed answer. Default: 300 s.
    pub(in crate::config) stream_idle_timeout_seconds: Option<At<Length>>,
    /// How long a deployment that failed is passed over, while its group has others. Default: 5 s.
    pub(in crate::config) cooldown_time: Option<At<Length>>,
    /// Other names for models: alias → name in `model_list`.
    pub(in crate::config) model_group_alias: Option<BTreeMap<String, At<Target>>>,
    /// Models to try in order when one fails: `[{a: [b, c]}]`. The name `*` stands for every model.
    pub(in crate::config) fallbacks: Option<Fallbacks>,
    /// Models to try when one fails that has no `fallbacks` of its own.
    pub(in crate::config) default_fallbacks: Option<Vec<At<String>>>,
}

/// Where a row for each request goes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct RequestLog {
    /// The SQLite file: the store itself, or the spool before PostgreSQL. Relative to the directory
    /// that the process was started in. Default: `data/tidegate.db`.
    pub(in crate::config) path: Option<PathBuf>,
    /// Rows older than this are deleted; `0` keeps them for ever. Default: `90d`.
    pub(in crate::config) retention: Option<At<Length>>,
    /// A role of the PostgreSQL database, for dashboards: the gateway lets it read rows, calls of tools, sums and the audit
    /// log, and neither stored prompts nor answers. It has to exist. Default: nobody is given anything.
    pub(in crate::config) reader_role: Option<At<String>>,
}
