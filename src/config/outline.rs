//! A configuration in force told in the file's own words: every setting under the name it has in the file, defaults filled in. Made
//! from the snapshot and not from the file, so that it can be asked of a running gateway too. Secrets are sealed: told apart by whoever
//! holds the same key, and read by nobody.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::access::Access;
use super::snapshot::{
    Cloud, Deployment, Diagnostics, Key, Limits, McpServer, McpSettings, McpTransport, Pin,
    RequestLog, Routing, Sharing, Snapshot, ToolLimits,
};
use crate::ground::names::Pattern;
use crate::ground::secret::KeyHash;

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
        let digits = match self {
            Self::Blank => String::new(),
            Self::Keyed(key) => {
                let tag = hmac::sign(key, secret.as_bytes());
                tag.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
            }
        };
        json!({ SEAL: digits })
    }
}

/// Tells a snapshot.
pub fn outline(snapshot: &Snapshot, seals: &Seals) -> Outline {
    let Snapshot {
        hash,
        sources: _,
        listen,
        admin_listen,
        keys,
        models,
        mcp_servers,
        mcp,
        tool_limits,
        routing,
        limits,
        request_log,
        diagnostics,
    } = snapshot;
    let mut general = Section::new();
    put(&mut general, "listen", json!(listen));
    put(&mut general, "admin_listen", json!(admin_listen));
    let master = keys.master.map(|master| format!("sha256:{}…", master.id()));
    put(&mut general, "master_key", json!(master));
    general_settings(&mut general, limits, mcp, tool_limits, diagnostics);
    log_settings(&mut general, request_log, seals);
    let mut settings = Section::new();
    settings.insert("general_settings".into(), general.into());
    settings.insert("litellm_settings".into(), litellm_settings(limits, diagnostics).into());
    let aliases = json!(models.aliases);
    settings.insert("router_settings".into(), router_settings(routing, aliases).into());
    settings.insert("request_log".into(), request_log_section(request_log).into());
    let groups = models.groups.values().chain(models.wildcards.iter().map(|(_, group)| group));
    let models = groups.map(|group| {
        let entries = group.deployments.iter().map(|it| deployment(it, seals));
        (group.name.clone(), Value::Array(entries.collect()))
    });
    let mut ids: Vec<&Key> = keys.virtual_keys.values().map(|key| &**key).collect();
    ids.sort_by_key(|key| (key.display_name().to_owned(), key.id.clone()));
    let servers = mcp_servers.iter().map(|(name, it)| (name.clone(), server(it, seals).into()));
    Outline {
        hash: hash.clone(),
        settings,
        models: models.collect(),
        virtual_keys: ids.into_iter().map(|it| (it.id.clone(), key(it).into())).collect(),
        mcp_servers: servers.collect(),
        access: Access::of(snapshot),
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
) {
    let Limits { max_body, max_upload, max_in_flight, ping_interval: _, drain_timeout } = limits;
    put(section, "global_max_parallel_requests", json!(max_in_flight));
    put(section, "max_request_size_mb", mebibytes(*max_body as u64));
    put(section, "max_upload_size_mb", mebibytes(*max_upload));
    put(section, "drain_timeout_seconds", seconds(*drain_timeout));
    put(section, "detailed_debug", json!(diagnostics.debug));
    let McpSettings { session_idle_timeout, max_sessions, lock_file, lock: _, allowed_origins } =
        mcp;
    put(section, "mcp_session_idle_timeout_seconds", seconds(*session_idle_timeout));
    put(section, "mcp_max_sessions", json!(max_sessions));
    put(section, "mcp_lock_file", json!(lock_file));
    put(section, "mcp_allowed_origins", texts(allowed_origins));
    let defaults = ToolLimits {
        rounds: Some(tools.rounds.unwrap_or(DEFAULT_ROUNDS)),
        calls: Some(tools.calls.unwrap_or(DEFAULT_CALLS)),
        time: Some(tools.time.unwrap_or(DEFAULT_TOOL_TIME)),
        ..*tools
    };
    tool_limits(section, &defaults);
}

/// What tools inside an answer may cost where nothing is said.
const DEFAULT_ROUNDS: u32 = 16;
const DEFAULT_CALLS: u32 = 64;
const DEFAULT_TOOL_TIME: Duration = Duration::from_secs(600);

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
    section
}

fn litellm_settings(limits: &Limits, diagnostics: &Diagnostics) -> Section {
    let mut section = Section::new();
    put(&mut section, "json_logs", json!(diagnostics.json_logs));
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

fn deployment(deployment: &Deployment, seals: &Seals) -> Value {
    let Deployment {
        id,
        group: _,
        provider,
        formats,
        model,
        base,
        api_version,
        api_key,
        cloud,
        options,
        refuse_losses,
        headers,
        extra_body,
        weight,
        order,
        timeout,
        stream_timeout,
        mock_response,
        prices,
        info,
    } = deployment;
    let mut params = Section::new();
    let named = match provider.is_mock() {
        true => provider.name.to_owned(),
        false => format!("{}/{}", provider.name, model.as_str()),
    };
    put(&mut params, "model", json!(named));
    let base = if provider.is_mock() { Value::Null } else { json!(shown_url(base)) };
    put(&mut params, "api_base", base);
    put(&mut params, "api_version", json!(api_version));
    put(&mut params, "api_key", json!(api_key.as_ref().map(|key| seals.seal(key.expose()))));
    match cloud {
        Some(Cloud::Amazon { region, access_key_id, secret_access_key, session_token }) => {
            put(&mut params, "aws_region_name", json!(region));
            put(&mut params, "aws_access_key_id", seals.seal(access_key_id));
            put(&mut params, "aws_secret_access_key", seals.seal(secret_access_key.expose()));
            let token = session_token.as_ref().map(|token| seals.seal(token.expose()));
            put(&mut params, "aws_session_token", json!(token));
        }
        Some(Cloud::Google(credentials)) => {
            put(&mut params, "vertex_credentials", seals.seal(credentials.expose()));
        }
        None => {}
    }
    let spoken = formats.first() != provider.formats.first();
    put(&mut params, "use_chat_completions_api", json!(spoken.then_some(true)));
    put(&mut params, "drop_params", json!(options.drop_params.unwrap_or(true)));
    put(&mut params, "modify_params", json!(options.modify_params.unwrap_or(true)));
    put(&mut params, "additional_drop_params", json!(options.additional_drop_params));
    put(&mut params, "allowed_openai_params", json!(options.allowed_openai_params));
    let merges = options.merge_reasoning_content_in_choices.then_some(true);
    put(&mut params, "merge_reasoning_content_in_choices", json!(merges));
    put(&mut params, "on_loss", json!(if *refuse_losses { "refuse" } else { "report" }));
    put(&mut params, "extra_headers", header_values(headers, seals));
    put(&mut params, "extra_body", veiled(&Value::Object(extra_body.clone()), seals));
    put(&mut params, "weight", json!(weight));
    put(&mut params, "order", json!(order));
    put(&mut params, "timeout", json!(timeout.map(seconds)));
    put(&mut params, "stream_timeout", json!(stream_timeout.map(seconds)));
    put(&mut params, "mock_response", json!(mock_response));
    put(&mut params, "input_cost_per_token", json!(prices.input_cost_per_token));
    put(&mut params, "output_cost_per_token", json!(prices.output_cost_per_token));
    put(&mut params, "cache_read_input_token_cost", json!(prices.cache_read_input_token_cost));
    let mut whole = Section::new();
    whole.insert("id".into(), json!(id));
    whole.insert("litellm_params".into(), params.into());
    put(&mut whole, "model_info", veiled(&Value::Object(info.clone()), seals));
    whole.into()
}

fn key(key: &Key) -> Section {
    let Key {
        hash: _,
        id: _,
        alias,
        models,
        mcp_servers,
        aliases,
        expires,
        blocked,
        user_id,
        team_id,
        tags,
        limits,
        default_tools,
        tool_limits: tools,
    } = key;
    let mut section = Section::new();
    put(&mut section, "key_alias", json!(alias));
    section.insert("models".into(), texts(models));
    if let Some(servers) = mcp_servers {
        section.insert("mcp_servers".into(), json!(servers));
    }
    put(&mut section, "aliases", json!(aliases));
    put(&mut section, "expires", json!(expires));
    put(&mut section, "blocked", json!(blocked));
    put(&mut section, "user_id", json!(user_id));
    put(&mut section, "team_id", json!(team_id));
    put(&mut section, "tags", json!(tags));
    put(&mut section, "default_tools", json!(default_tools));
    tool_limits(&mut section, tools);
    put(&mut section, "rpm_limit", json!(limits.rpm_limit));
    put(&mut section, "tpm_limit", json!(limits.tpm_limit));
    put(&mut section, "max_parallel_requests", json!(limits.max_parallel_requests));
    put(&mut section, "max_budget", json!(limits.max_budget));
    put(&mut section, "budget_duration", json!(limits.budget_duration.map(seconds)));
    section
}

fn server(server: &McpServer, seals: &Seals) -> Section {
    let McpServer {
        name: _,
        aliases,
        access_groups,
        api_keys,
        allow_all_keys,
        fingerprint: _,
        prefix,
        server_id,
        description,
        instructions,
        info,
        transport,
        allowed_hosts,
        headers,
        forwarded_headers,
        allowed_tools,
        disallowed_tools,
        allowed_params,
        tool_names,
        tool_descriptions,
        timeout,
        max_concurrent_requests,
        health_path,
        allowed_paths,
        sharing,
        restart,
        revision,
        sampling_model,
        pin,
        parallel,
    } = server;
    let mut section = Section::new();
    let is_child = matches!(transport, McpTransport::Stdio(_));
    way(&mut section, transport, seals);
    put(&mut section, "alias", json!(aliases));
    put(&mut section, "prefix", json!(prefix));
    put(&mut section, "description", json!(description));
    put(&mut section, "instructions", json!(instructions));
    put(&mut section, "mcp_info", veiled(&Value::Object(info.clone()), seals));
    put(&mut section, "server_id", json!(server_id));
    if let Some(keys) = api_keys {
        let mut ids: Vec<String> = keys.iter().map(|key| key.id()).collect();
        ids.sort_unstable();
        section.insert("api_keys".into(), json!(ids));
    }
    put(&mut section, "allow_all_keys", json!(allow_all_keys));
    put(&mut section, "access_groups", json!(access_groups));
    put(&mut section, "static_headers", header_values(headers, seals));
    let forwarded: Vec<&str> = forwarded_headers.iter().map(HeaderName::as_str).collect();
    put(&mut section, "extra_headers", json!(forwarded));
    if let Some(tools) = allowed_tools {
        section.insert("allowed_tools".into(), texts(tools));
    }
    put(&mut section, "disallowed_tools", texts(disallowed_tools));
    put(&mut section, "allowed_params", json!(allowed_params));
    put(&mut section, "tool_names", json!(tool_names));
    put(&mut section, "tool_descriptions", json!(tool_descriptions));
    put(&mut section, "timeout", seconds(*timeout));
    put(&mut section, "max_concurrent_requests", json!(max_concurrent_requests));
    put(&mut section, "health_check", json!(health_path.as_deref().unwrap_or("ping")));
    put(&mut section, "allowed_hosts", texts(allowed_hosts));
    put(&mut section, "allowed_paths", json!(allowed_paths));
    put(
        &mut section,
        "sharing",
        json!(match sharing {
            Sharing::Shared => "shared",
            Sharing::PerKey => "per_key",
            Sharing::PerSession => "per_session",
        }),
    );
    if is_child {
        let (first, longest) = (seconds(restart.first), seconds(restart.longest));
        let restart = json!({ "min_delay_seconds": first, "max_delay_seconds": longest });
        put(&mut section, "restart", restart);
    }
    put(&mut section, "protocol_version", json!(revision.map(|revision| revision.as_str())));
    put(&mut section, "sampling_model", json!(sampling_model));
    put(
        &mut section,
        "pin",
        json!(match pin {
            Pin::Off => "off",
            Pin::Warn => "warn",
            Pin::Enforce => "enforce",
        }),
    );
    put(&mut section, "parallel", json!(parallel));
    section
}

fn way(section: &mut Section, transport: &McpTransport, seals: &Seals) {
    let (word, url) = match transport {
        McpTransport::Http(url) => ("http", url),
        McpTransport::Sse(url) => ("sse", url),
        McpTransport::Stdio(command) => {
            put(section, "transport", json!("stdio"));
            put(section, "command", json!(command.program));
            let args = command.args.iter().map(|arg| seals.seal(arg.expose()));
            put(section, "args", args.collect());
            let env = command.env.iter();
            let env = env.map(|(name, text)| (name.clone(), seals.seal(text.expose())));
            put(section, "env", Value::Object(env.collect()));
            put(section, "cwd", json!(command.cwd));
            return;
        }
    };
    put(section, "transport", json!(word));
    put(section, "url", json!(shown_url(url)));
    // What is left out of the address may be what changed.
    let hidden = url.query().is_some() || !url.username().is_empty() || url.password().is_some();
    put(section, "url_credentials", json!(hidden.then(|| seals.seal(url.as_str()))));
}

/// A URL without what may be secret in it.
pub fn shown_url(url: &url::Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    let _cannot = url.set_username("");
    let _cannot = url.set_password(None);
    url.into()
}

/// Every header that the file names is taken for a secret: the file's types say so too.
fn header_values(headers: &[(HeaderName, HeaderValue)], seals: &Seals) -> Value {
    let told = headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), seals.seal(&String::from_utf8_lossy(value.as_bytes())))
    });
    Value::Object(told.collect())
}

/// What is free text in the file, with what its name makes a secret sealed.
fn veiled(value: &Value, seals: &Seals) -> Value {
    match value {
        Value::Object(entries) => {
            let told = entries.iter().map(|(name, value)| {
                let told = match value {
                    Value::String(text) if names_a_secret(name) => seals.seal(text),
                    value => veiled(value, seals),
                };
                (name.clone(), told)
            });
            Value::Object(told.collect())
        }
        Value::Array(items) => items.iter().map(|item| veiled(item, seals)).collect(),
        value => value.clone(),
    }
}

/// Whether what stands under a name is likely one.
pub(super) fn names_a_secret(name: &str) -> bool {
    const WORDS: [&str; 7] = ["auth", "key", "token", "secret", "cookie", "password", "credential"];
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
        && !name.contains("tokens")
        && !name.contains("_per_token")
}
