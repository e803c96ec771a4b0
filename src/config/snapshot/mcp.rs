//! MCP servers as the program uses them: the way to each, who may call what of it, and how a connection is kept.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use url::Url;

use crate::ground::names::Pattern;
use crate::ground::secret::{KeyHash, Secret};
use crate::ground::usd::Usd;
use crate::wire::mcp::lock::Lock;
use crate::wire::mcp::revision::Revision;

/// One MCP server.
#[derive(Debug, PartialEq)]
pub struct McpServer {
    pub name: String,
    /// Every other name it answers to.
    pub aliases: Vec<String>,
    pub access_groups: Vec<String>,
    /// Digests of the keys its own `api_keys` lists; `None`: the entry has no such list.
    pub api_keys: Option<HashSet<KeyHash>>,
    /// As if `api_keys` listed every key.
    pub allow_all_keys: bool,
    /// SHA-256 of the entry's resolved text: changes exactly when the entry does.
    pub fingerprint: String,
    /// What stands before the names of its tools, with the separator: `db-`. No server's begins with another's.
    pub prefix: String,
    pub server_id: Option<String>,
    pub description: Option<String>,
    pub instructions: Option<String>,
    pub info: Map<String, Value>,
    pub tool_prices: ToolPrices,
    pub transport: McpTransport,
    /// The only hosts that its URL and redirects may have; empty: that of its URL.
    pub allowed_hosts: Vec<Pattern>,
    /// Sent with every message, the credential among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The client's headers that are passed on.
    pub forwarded_headers: Vec<HeaderName>,
    /// `None`: all tools.
    pub allowed_tools: Option<Vec<Pattern>>,
    /// Wins over `allowed_tools`.
    pub disallowed_tools: Vec<Pattern>,
    /// Tool → the only parameters that may be given to it.
    pub allowed_params: BTreeMap<String, Vec<String>>,
    /// The server's name for a tool → another name.
    pub tool_names: BTreeMap<String, String>,
    pub tool_descriptions: BTreeMap<String, String>,
    /// How long a call may be silent; progress begins it anew.
    pub timeout: Duration,
    pub max_concurrent_requests: Option<usize>,
    /// A path to ask for the server's health, beside the ping.
    pub health_path: Option<String>,
    /// The only directories that it may use: its roots, and what a child can reach.
    pub allowed_paths: Vec<PathBuf>,
    pub sharing: Sharing,
    pub restart: Backoff,
    /// The only revision that is spoken with it; `None`: negotiated.
    pub revision: Option<Revision>,
    /// The model group that answers its sampling requests where the client cannot.
    pub sampling_model: Option<String>,
    pub pin: Pin,
    /// Calls that a model makes at once may run at once.
    pub parallel: bool,
}

/// What calls of a server's tools cost, in US dollars each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolPrices {
    pub default: Option<Usd>,
    /// By the server's own names.
    pub by_tool: BTreeMap<String, Usd>,
}

impl ToolPrices {
    pub fn of(&self, tool: &str) -> Option<Usd> {
        self.by_tool.get(tool).copied().or(self.default)
    }
}

/// The way to an MCP server.
#[derive(Debug, PartialEq)]
pub enum McpTransport {
    Stdio(McpCommand),
    Sse(Url),
    Http(Url),
}

/// How a child is started.
#[derive(Debug, Default, PartialEq)]
pub struct McpCommand {
    pub program: String,
    pub args: Vec<Secret>,
    pub env: BTreeMap<String, Secret>,
    pub cwd: Option<PathBuf>,
}

/// Who shares a connection to an MCP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    Shared,
    PerKey,
    PerSession,
}

/// What becomes of a tool whose definition is not the pinned one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    Off,
    Warn,
    Enforce,
}

/// Pauses between starts: each twice the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub longest: Duration,
}

/// What holds for all MCP servers and for `/mcp`.
#[derive(Clone, Debug)]
pub struct McpSettings {
    /// Longest silence of a client's session.
    pub session_idle_timeout: Duration,
    /// Sessions at once; more are refused.
    pub max_sessions: usize,
    /// Where pins are kept: `mcp.lock` beside the configuration.
    pub lock_file: PathBuf,
    /// The pins in it; none where no server has `pin`.
    pub lock: Arc<Lock>,
    /// Hosts and origins beside loopback and the request's own that browsers may call from; `*`: all.
    pub allowed_origins: Vec<Pattern>,
}

impl McpServer {
    /// Whether a name means this server: its own, an alias or an access group. Upper and lower case count as one.
    pub fn answers_to(&self, name: &str) -> bool {
        let mut names = self.aliases.iter().chain(&self.access_groups).chain([&self.name]);
        names.any(|own| own.eq_ignore_ascii_case(name))
    }

    /// The name that people and paths use for it: its alias, else its name.
    pub fn display_name(&self) -> &str {
        self.aliases.first().unwrap_or(&self.name)
    }

    /// Whether another entry leads to the same server in the same way, so that connections made for this one serve it too.
    pub fn connects_like(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.name.clone(), it.sharing, it.restart, it.revision);
        key(self) == key(other)
            && self.transport == other.transport
            && self.headers == other.headers
            && self.forwarded_headers == other.forwarded_headers
            && self.allowed_hosts == other.allowed_hosts
            && self.allowed_paths == other.allowed_paths
            && self.sampling_model.is_some() == other.sampling_model.is_some()
    }

    /// Whether clients may see a tool, by the server's name for it.
    pub fn allows_tool(&self, name: &str) -> bool {
        let fits = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        self.allowed_tools.as_deref().is_none_or(fits) && !fits(&self.disallowed_tools)
    }
}

#[cfg(test)]
impl McpServer {
    /// A server at the end of a transport, for tests.
    pub(crate) fn sample(name: &str, transport: McpTransport) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            access_groups: Vec::new(),
            api_keys: None,
            allow_all_keys: false,
            fingerprint: String::new(),
            prefix: format!("{name}-"),
            server_id: None,
            description: None,
            instructions: None,
            info: Map::new(),
            tool_prices: ToolPrices::default(),
            transport,
            allowed_hosts: Vec::new(),
            headers: Vec::new(),
            forwarded_headers: Vec::new(),
            allowed_tools: None,
            disallowed_tools: Vec::new(),
            allowed_params: BTreeMap::new(),
            tool_names: BTreeMap::new(),
            tool_descriptions: BTreeMap::new(),
            timeout: Duration::from_secs(60),
            max_concurrent_requests: None,
            health_path: None,
            allowed_paths: Vec::new(),
            sharing: Sharing::Shared,
            restart: Backoff { first: Duration::from_millis(10), longest: Duration::from_secs(1) },
            revision: None,
            sampling_model: None,
            pin: Pin::Off,
            parallel: true,
        }
    }
}
