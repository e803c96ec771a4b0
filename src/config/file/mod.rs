//! The configuration as it is typed: one struct for each section, everything optional. The doc
//! comments are the public reference (`docs/reference/config.md`) and the JSON Schema. Nothing here
//! says what a value means or whether two values fit together: that is `check`.

pub(super) mod keys;
pub(super) mod models;
pub(super) mod servers;
pub(super) mod settings;
pub(super) mod telemetry;
pub(super) mod value;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use keys::VirtualKey;
use models::{Credential, ModelEntry};
use servers::McpServer;
use settings::{GeneralSettings, LitellmSettings, RequestLog, RouterSettings};
use telemetry::Telemetry;
use value::{At, Texts};

/// Tidegate's configuration: LiteLLM's `config.yaml`, with virtual keys and access rules in the
/// file itself.
///
/// In any text, in lists too, `${NAME}` and `os.environ/NAME` stand for a variable of the
/// environment, `${NAME:-default}` for one that may be absent, and `${file:PATH}` for the content of
/// a file (without the line break at its end; the path is relative to the file that names it).
/// A literal `${` is written `$${`. A variable that is not set is an error.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(title = "Tidegate configuration")]
pub(super) struct File {
    /// More files to read, relative to this one: lists are appended, mappings merged.
    pub(super) include: Option<Texts>,
    /// The models that clients may ask for. Entries with the same `model_name` form a group, over
    /// which requests are spread.
    pub(super) model_list: Option<Vec<At<ModelEntry>>>,
    /// Settings that LiteLLM keeps under this name.
    pub(super) litellm_settings: Option<At<LitellmSettings>>,
    /// Settings of the gateway itself.
    pub(super) general_settings: Option<At<GeneralSettings>>,
    /// How a group's deployments are tried.
    pub(super) router_settings: Option<At<RouterSettings>>,
    /// The keys that clients show. LiteLLM keeps these in its database; here they are in the file.
    pub(super) virtual_keys: Option<At<Vec<At<VirtualKey>>>>,
    /// The MCP servers behind the gateway, by name.
    pub(super) mcp_servers: Option<At<BTreeMap<String, At<McpServer>>>>,
    /// Credentials that entries of `model_list` name with `litellm_credential_name`.
    pub(super) credential_list: Option<Vec<At<Credential>>>,
    /// Where a row for each request goes.
    pub(super) request_log: Option<At<RequestLog>>,
    /// What monitoring systems are told.
    pub(super) telemetry: Option<At<Telemetry>>,
}
