//! A configuration in force told in the file's own words: every setting under the name it has in the file, defaults filled in. Made
//! from the snapshot and not from the file, so that it can be asked of a running gateway too. Secrets are sealed: told apart by whoever
//! holds the same key, and read by nobody.

mod entries;
mod telemetry;

use std::path::Path;
use std::time::Duration;

use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::access::Access;
use super::snapshot::{
    Diagnostics, Key, Limits, McpSettings, MetricsSettings, RequestLog, Routing, Snapshot,
    ToolLimits,
};
use crate::ground::names::Pattern;
use crate::ground::secret::KeyHash;

pub use entries::shown_url;

/// The mapping's key under which a sealed secret stands.
pub const SEAL: &str = "secret";

/// One mapping of the file, its keys in the order of the file's reference.
pub type Section = Map<String, Value>;

/// A configuration in force, without its secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outline {
    /// As [`Snapshot::hash`].
    pub hash: String,
    /// `general_settings`, `router_settings`, …: sections of single settings.
    pub settings: Section,
    /// Public name → deployments, each a mapping of `id`, `litellm_params` and `model_info`.
    pub models: Map<String, Value>,
    /// Id (the start of the key's digest) → entry.
    pub virtual_keys: Map<String, Value>,
    /// Name → entry.
    pub mcp_servers: Map<String, Value>,
    /// Who may use what.
    pub access: Access,
}

/// How secrets are written.
#[derive(Clone, Debug)]
pub enum Seals {
    /// All alike.
    Blank,
    /// By a digest that nobody makes who has not the key.
    Keyed(hmac::Key),
}

impl Seals {
    /// Seals that a gateway and its operator can compare: both know the master key. Without one, nothing is told of secrets.
    pub fn of_master(master: Option<KeyHash>) -> Self {
        let Some(master) = master else { return Self::Blank };
        Self::Keyed(hmac::Key::new(hmac::HMAC_SHA256, master.to_hex().as_bytes()))
    }

    /// Seals for a comparison within this process.
    pub fn for_now() -> Self {
        Self::Keyed(hmac::Key::new(hmac::HMAC_SHA256, &fastrand::u128(..).to_le_bytes()))
    }

    fn seal(&self, secret: &str) -> Value {
        json!({ SEAL: self.digest(secret) })
    }

    /// What a secret is told apart by; empty where nothing is told.
    pub(super) fn digest(&self, secret: &str) -> String {
        match self {
            Self::Blank => String::new(),
            Self::Keyed(key) => {
                let tag = hmac::sign(key, secret.as_bytes());
                tag.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
            }
        }
    }
}

/// Tells a snapshot.
pub fn outline(snapshot: &Snapshot, seals: &Seals) -> Outline {
    let Snapshot {
        hash,
        sources,
        listen,
        admin_listen,
        keys,
        models,
        pricing_file,
        mcp_servers,
        mcp,
        tool_limits,
        routing,
        limits,
        request_log,
        diagnostics,
        metrics,
        telemetry,
    } = snapshot;
    let mut general = Section::new();
    put(&mut general, "listen", json!(listen));
    put(&mut general, "admin_listen", json!(admin_listen));
    let master = keys.master.map(|master| format!("sha256:{}…", master.id()));
    put(&mut general, "master_key", json!(master));
    let folder = sources.first().and_then(|main| main.parent()).unwrap_or(Path::new(""));
    general_settings(&mut general, limits, mcp, tool_limits, diagnostics, folder);
    put(&mut general, "pricing_file", json!(pricing_file));
    log_settings(&mut general, request_log, seals);
    let mut settings = Section::new();
    settings.insert("general_settings".into(), general.into());
    settings
        .insert("litellm_settings".into(), litellm_settings(limits, diagnostics, metrics).into());
    let aliases = json!(models.aliases);
    settings.insert("router_settings".into(), router_settings(routing, aliases).into());
    settings.insert("request_log".into(), request_log_section(request_log).into());
    settings.insert("telemetry".into(), telemetry::section(telemetry, seals).into());
    let groups = models.groups.values().chain(models.wildcards.iter().map(|(_, group)| group));
    let models = groups.map(|group| {
        let entries = group.deployments.iter().map(|it| entries::deployment(it, seals));
        (group.name.clone(), Value::Array(entries.collect()))
    });
    let mut ids: Vec<&Key> = keys.virtual_keys.values().map(|key| &**key).collect();
    ids.sort_by_key(|key| (key.display_name().to_owned(), key.id.clone()));
    let servers =
        mcp_servers.iter().map(|(name, it)| (name.clone(), entries::server(it, seals).into()));
    Outline {
        hash: hash.clone(),
        settings,
        models: models.collect(),
        virtual_keys: ids.into_iter().map(|it| (it.id.clone(), entries::key(it).into())).collect(),
        mcp_servers: servers.collect(),
        access: Access::of(snapshot, seals),
    }
}

/// What is not there is left out; so is what says nothing.
fn put(section: &mut Section, name: &str, value: Value) {
    let says_nothing = match &value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    };
    if !says_nothing {
        section.insert(name.to_owned(), value);
    }
}

/// Seconds, as a number that needs no fraction where there is none.
fn seconds(duration: Duration) -> Value {
    if duration.subsec_nanos() == 0 {
        json!(duration.as_secs())
    } else {
        json!(duration.as_secs_f64())
    }
}

fn texts(patterns: &[Pattern]) -> Value {
    patterns.iter().map(Pattern::as_str).collect()
}

#[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^53")]
fn mebibytes(bytes: u64) -> Value {
    let mebibytes = bytes as f64 / (1024.0 * 1024.0);
    if mebibytes.fract() == 0.0 { json!(bytes >> 20) } else { json!(mebibytes) }
}

fn general_settings(
    section: &mut Section,
    limits: &Limits,
    mcp: &McpSettings,
    tools: &ToolLimits,
    diagnostics: &Diagnostics,
    folder: &Path,
) {
    let Limits { max_body, max_upload, max_in_flight, ping_interval: _, drain_timeout } = limits;
    put(section, "global_max_parallel_requests", json!(max_in_flight));
    put(section, "max_request_size_mb", mebibytes(*max_body as u64));
    put(section, "max_upload_size_mb", mebibytes(*max_upload));
    put(section, "drain_timeout_seconds", seconds(*drain_timeout));
    put(section, "log_level", json!(diagnostics.level.as_str().to_ascii_lowercase()));
    put(section, "log_file", json!(diagnostics.log_file));
    let McpSettings { session_idle_timeout, max_sessions, lock_file, lock: _, allowed_origins } =
        mcp;
    put(section, "mcp_session_idle_timeout_seconds", seconds(*session_idle_timeout));
    put(section, "mcp_max_sessions", json!(max_sessions));
    // Relative to the file, as it is typed: an edited copy elsewhere says the same.
    put(section, "mcp_lock_file", json!(lock_file.strip_prefix(folder).unwrap_or(lock_file)));
    put(section, "mcp_allowed_origins", texts(allowed_origins));
    let whole = ToolLimits {
        rounds: Some(tools.max_rounds()),
        calls: Some(tools.max_calls()),
        time: Some(tools.max_time()),
        ..*tools
    };
    tool_limits(section, &whole);
}

fn tool_limits(section: &mut Section, limits: &ToolLimits) {
    let ToolLimits { rounds, calls, time, tokens, definition_tokens } = limits;
    put(section, "max_tool_rounds", json!(rounds));
    put(section, "max_tool_calls", json!(calls));
    put(section, "max_tool_seconds", json!(time.map(seconds)));
    put(section, "max_tool_tokens", json!(tokens));
    put(section, "tool_token_budget", json!(definition_tokens));
}

fn log_settings(section: &mut Section, log: &RequestLog, seals: &Seals) {
    let url = log.database_url.as_ref().map(|url| seals.seal(url.expose()));
    put(section, "database_url", json!(url));
    put(section, "store_prompts_in_spend_logs", json!(log.store_prompts));
    put(section, "disable_spend_logs", json!(log.disabled));
}

fn request_log_section(log: &RequestLog) -> Section {
    let mut section = Section::new();
    put(&mut section, "path", json!(log.path));
    put(&mut section, "retention", seconds(log.retention.unwrap_or_default()));
    put(&mut section, "reader_role", json!(log.reader_role));
    section
}

fn litellm_settings(
    limits: &Limits,
    diagnostics: &Diagnostics,
    metrics: &MetricsSettings,
) -> Section {
    let mut section = Section::new();
    put(&mut section, "json_logs", json!(diagnostics.json_logs));
    put(&mut section, "require_auth_for_metrics_endpoint", json!(metrics.wants_key));
    put(&mut section, "callbacks", json!(metrics.litellm_names.then_some(["prometheus"])));
    let ping = seconds(limits.ping_interval);
    put(&mut section, "sse_keepalive_ping_interval_seconds", ping);
    section
}

fn router_settings(routing: &Routing, aliases: Value) -> Section {
    let Routing {
        num_retries,
        cooldown,
        timeout,
        stream_timeout,
        stream_idle_timeout,
        fallbacks,
        default_fallbacks,
    } = routing;
    let mut section = Section::new();
    put(&mut section, "num_retries", json!(num_retries));
    put(&mut section, "timeout", seconds(*timeout));
    put(&mut section, "stream_timeout", seconds(*stream_timeout));
    put(&mut section, "stream_idle_timeout_seconds", seconds(*stream_idle_timeout));
    put(&mut section, "cooldown_time", seconds(*cooldown));
    put(&mut section, "model_group_alias", aliases);
    let fallbacks: Vec<Value> =
        fallbacks.iter().map(|(name, others)| json!({ name.as_str(): others })).collect();
    put(&mut section, "fallbacks", fallbacks.into());
    put(&mut section, "default_fallbacks", json!(default_fallbacks));
    section
}
