//! The resolved configuration: what the program uses, as opposed to what was typed (`file.rs`).
//! Immutable once built, free of unresolved references, and shared by every request that began
//! while it was current. Times are durations, references are pointers, secrets are `Secret`.

mod mcp;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::Level;
use url::Url;

pub use self::mcp::{
    Backoff, McpCommand, McpServer, McpSettings, McpTransport, Pin, Sharing, ToolPrices,
};
use super::telemetry::Telemetry;
use crate::conversation::Format;
use crate::ground::names::Pattern;
use crate::ground::secret::{KeyHash, Secret};
use crate::prices::Pricing;
use crate::wire::catalogue::Provider;
use crate::wire::codec::Options;

/// One generation of the configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// SHA-256 over every source file and every variable asked for, in hex: the same text in the
    /// same environment gives the same hash.
    pub hash: String,
    /// Every file that was read, secret files included: what `watch` looks at.
    pub sources: Vec<PathBuf>,
    pub listen: SocketAddr,
    pub admin_listen: Option<SocketAddr>,
    pub keys: Keys,
    pub models: Models,
    /// Prices of the operator's own, from the folder of the configuration.
    pub pricing_file: Option<PathBuf>,
    pub mcp_servers: BTreeMap<String, Arc<McpServer>>,
    pub mcp: McpSettings,
    pub tool_limits: ToolLimits,
    pub routing: Routing,
    pub limits: Limits,
    pub request_log: RequestLog,
    pub diagnostics: Diagnostics,
    pub metrics: MetricsSettings,
    pub telemetry: Arc<Telemetry>,
}

/// Who may enter. Looked up by digest, in memory, without I/O.
#[derive(Debug, Default)]
pub struct Keys {
    pub master: Option<KeyHash>,
    pub virtual_keys: HashMap<KeyHash, Arc<Key>>,
}

/// One virtual key.
#[derive(Debug, PartialEq)]
pub struct Key {
    pub hash: KeyHash,
    /// First 12 hex digits of the digest: the only form that is ever written anywhere.
    pub id: String,
    pub alias: Option<String>,
    /// Empty: nothing. `*`: everything.
    pub models: Vec<Pattern>,
    /// `None`: the entry has no such list.
    pub mcp_servers: Option<Vec<String>>,
    /// Names this key uses for models → names in `model_list`.
    pub aliases: BTreeMap<String, String>,
    pub expires: Option<Timestamp>,
    pub blocked: bool,
    pub user_id: Option<String>,
    pub team_id: Option<String>,
    pub tags: Vec<String>,
    pub limits: KeyLimits,
    /// Gets the tools of its MCP servers in every request to a model.
    pub default_tools: bool,
    pub tool_limits: ToolLimits,
}

/// What tools that run inside an answer may cost; `None`: what holds for all, or the default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ToolLimits {
    /// Rounds of the model, 16 by default.
    pub rounds: Option<u32>,
    /// Calls of tools, 64 by default.
    pub calls: Option<u32>,
    /// All rounds together, 600 s by default.
    pub time: Option<Duration>,
    /// Tokens of all rounds together; no limit by default.
    pub tokens: Option<u64>,
    /// Tokens of the tools' definitions in a request, above which they can only be searched; no limit by default.
    pub definition_tokens: Option<u64>,
}

impl ToolLimits {
    /// These, and what they leave open as others have it.
    pub fn over(self, others: Self) -> Self {
        Self {
            rounds: self.rounds.or(others.rounds),
            calls: self.calls.or(others.calls),
            time: self.time.or(others.time),
            tokens: self.tokens.or(others.tokens),
            definition_tokens: self.definition_tokens.or(others.definition_tokens),
        }
    }

    pub fn max_rounds(self) -> u32 {
        self.rounds.unwrap_or(16)
    }

    pub fn max_calls(self) -> u32 {
        self.calls.unwrap_or(64)
    }

    pub fn max_time(self) -> Duration {
        self.time.unwrap_or(Duration::from_secs(600))
    }
}

/// Limits of a key: parsed and checked, enforced by a later floor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyLimits {
    pub rpm_limit: Option<u64>,
    pub tpm_limit: Option<u64>,
    pub max_parallel_requests: Option<u64>,
    /// US dollars in one `budget_duration`.
    pub max_budget: Option<f64>,
    pub budget_duration: Option<Duration>,
}

/// The model groups, by public name.
#[derive(Debug, Default)]
pub struct Models {
    pub groups: BTreeMap<String, Arc<Group>>,
    /// Groups whose name holds a `*`, the most specific first.
    pub wildcards: Vec<(Pattern, Arc<Group>)>,
    /// `router_settings.model_group_alias`.
    pub aliases: BTreeMap<String, String>,
}

/// Every deployment that answers to one public name.
#[derive(Debug, PartialEq)]
pub struct Group {
    pub name: String,
    pub deployments: Vec<Arc<Deployment>>,
}

/// One entry of `model_list`.
#[derive(Debug, PartialEq)]
pub struct Deployment {
    /// `model_info.id`, or a digest of what identifies the entry: the same across unrelated edits.
    pub id: String,
    pub group: String,
    pub provider: &'static Provider,
    /// What this deployment is spoken to in; the first is what other formats are translated to.
    pub formats: &'static [Format],
    /// The provider's name for the model; may hold a `*` filled from the public name.
    pub model: Pattern,
    /// Endpoint paths are appended to its path.
    pub base: Url,
    pub api_version: Option<String>,
    pub api_key: Option<Secret>,
    /// What a cloud wants instead of a key.
    pub cloud: Option<Cloud>,
    /// How requests are translated.
    pub options: Options,
    /// `on_loss: refuse`: what the provider's format cannot carry is an error.
    pub refuse_losses: bool,
    /// Sent with every request to this deployment, over what the catalogue says.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Fields added to every JSON body, over what the client sent.
    pub extra_body: Map<String, Value>,
    /// Share within the group, above zero.
    pub weight: f64,
    /// Lower is tried first.
    pub order: i64,
    pub timeout: Option<Duration>,
    pub stream_timeout: Option<Duration>,
    /// `mock_response`: answer with this text (or fail with this LiteLLM exception name) at once.
    pub mock_response: Option<String>,
    /// Where its prices come from.
    pub prices: Pricing,
    /// `model_info` as the client may see it.
    pub info: Map<String, Value>,
}

impl Deployment {
    /// What is shown to the provider and to nobody else: to be struck out of what it says.
    pub fn secrets(&self) -> Vec<&str> {
        const NAMES: [&str; 6] = ["auth", "key", "token", "secret", "cookie", "password"];
        let mut secrets: Vec<&str> = self.api_key.iter().map(Secret::expose).collect();
        for (name, value) in &self.headers {
            let is_secret = NAMES.iter().any(|word| name.as_str().contains(word));
            let value = value.to_str().ok().filter(|_| is_secret);
            secrets.extend(value.and_then(|value| value.rsplit(' ').next()));
        }
        if let Some(Cloud::Amazon { access_key_id, secret_access_key, session_token, .. }) =
            &self.cloud
        {
            secrets.extend([access_key_id, secret_access_key.expose()]);
            secrets.extend(session_token.iter().map(Secret::expose));
        }
        secrets
    }
}

/// What a cloud wants instead of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Cloud {
    Amazon {
        region: String,
        access_key_id: String,
        secret_access_key: Secret,
        session_token: Option<Secret>,
    },
    /// The JSON of a service account, or of a user's own credentials.
    Google(Secret),
}

/// How a group's deployments are tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// Tries after the first, before the first byte went out.
    pub num_retries: u32,
    /// How long a deployment that failed is passed over while its group has others.
    pub cooldown: Duration,
    /// Until the provider's answer is complete (or, streamed, has begun).
    pub timeout: Duration,
    /// Until a streamed answer has begun.
    pub stream_timeout: Duration,
    /// Longest silence inside a streamed answer.
    pub stream_idle_timeout: Duration,
    /// Public name → names to try next, in order.
    pub fallbacks: BTreeMap<String, Vec<String>>,
    pub default_fallbacks: Vec<String>,
}

/// Bounds of the gateway itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of a JSON body.
    pub max_body: usize,
    /// Bytes of a multipart body, which is streamed through.
    pub max_upload: u64,
    /// Requests in progress; more are shed with a 503.
    pub max_in_flight: usize,
    /// Seconds between the SSE comments that keep a silent stream alive.
    pub ping_interval: Duration,
    /// How long streams may go on after SIGTERM.
    pub drain_timeout: Duration,
}

/// Where request rows go.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestLog {
    /// The SQLite file: the store itself, or the spool before Postgres.
    pub path: PathBuf,
    pub database_url: Option<Secret>,
    /// The database's role that may read all of it but what was said.
    pub reader_role: Option<String>,
    pub store_prompts: bool,
    /// Rows older than this are deleted; `None` keeps them for ever.
    pub retention: Option<Duration>,
    /// `disable_spend_logs`.
    pub disabled: bool,
}

/// What holds for the page of metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsSettings {
    /// Whether it wants the master key; `None`: only where clients have the same listener.
    pub wants_key: Option<bool>,
    /// Whether LiteLLM's names stand on it, too.
    pub litellm_names: bool,
}

/// What Tidegate says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostics {
    pub json_logs: bool,
    pub level: Level,
    /// The log goes to this file instead of standard error.
    pub log_file: Option<PathBuf>,
}

/// A model found for a public name.
#[derive(Clone, Debug)]
pub struct Match {
    pub group: Arc<Group>,
    /// What the stars of the group's name stood for.
    pub captured: Vec<String>,
}

impl Snapshot {
    /// Whether a key may use an MCP server: its own `mcp_servers`, where it has such a list, names the server (by name,
    /// alias or access group, or `*`), and the server's `api_keys`, where it has such a list, holds the key; `allow_all_keys`
    /// is a list of all keys. Where neither has a list, the key may not.
    pub fn allows_mcp_server(key: &Key, server: &McpServer) -> bool {
        let named = key
            .mcp_servers
            .as_ref()
            .map(|names| names.iter().any(|name| name == "*" || server.answers_to(name)));
        let listed = server.api_keys.as_ref().map(|keys| keys.contains(&key.hash));
        let listed = if server.allow_all_keys { Some(true) } else { listed };
        (named.is_some() || listed.is_some()) && named.unwrap_or(true) && listed.unwrap_or(true)
    }
}

impl Keys {
    /// No key at all: every caller on this (loopback) listener is let in.
    pub fn is_open(&self) -> bool {
        self.master.is_none() && self.virtual_keys.is_empty()
    }
}

impl Key {
    pub fn allows_model(&self, name: &str) -> bool {
        self.models.iter().any(|pattern| pattern.matches(name))
    }

    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// How the key is named to people: its alias, or its id.
    pub fn display_name(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.id)
    }
}

impl Models {
    /// Finds the group for a public name: exact first, then aliases, then the most specific wildcard.
    pub fn find(&self, name: &str) -> Option<Match> {
        let exact = |name: &str| {
            let group = self.groups.get(name)?;
            Some(Match { group: group.clone(), captured: Vec::new() })
        };
        exact(name).or_else(|| exact(self.aliases.get(name)?)).or_else(|| {
            self.wildcards.iter().find_map(|(pattern, group)| {
                let captured = pattern.captures(name)?;
                let captured = captured.into_iter().map(str::to_owned).collect();
                Some(Match { group: group.clone(), captured })
            })
        })
    }

    /// Every name a client may ask for and see in `GET /v1/models`; wildcards are left out, as no
    /// client can send one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().chain(self.aliases.keys()).map(String::as_str)
    }

    pub fn deployments(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        let wild = self.wildcards.iter().map(|(_, group)| group);
        self.groups.values().chain(wild).flat_map(|group| &group.deployments)
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.wildcards.is_empty()
    }
}

#[cfg(test)]
impl Deployment {
    /// A deployment of a model at an address, for tests.
    pub(crate) fn sample(model: &str, base: &str) -> Self {
        let (provider, model) = crate::wire::catalogue::find(model, true).expect("known");
        Self {
            id: "id".into(),
            group: "group".into(),
            provider,
            formats: provider.formats,
            model: Pattern::new(model),
            base: base.parse().expect("a URL"),
            api_version: None,
            api_key: None,
            cloud: None,
            options: Options::default(),
            refuse_losses: false,
            headers: Vec::new(),
            extra_body: Map::new(),
            weight: 1.0,
            order: 0,
            timeout: None,
            stream_timeout: None,
            mock_response: None,
            prices: Pricing::default(),
            info: Map::new(),
        }
    }
}
