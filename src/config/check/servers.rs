//! `mcp_servers`: that each can be reached by its transport and that everything it names exists.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use url::Url;

use super::super::file::servers::{self as typed, AuthType, McpServer as Entry, Transport};
use super::super::file::value::At;
use super::super::node::Node;
use super::super::problem::{Place, show};
use super::super::snapshot::{Backoff, McpCommand, McpServer, McpTransport, Models, Pin, Sharing};
use super::Checker;
use super::keys::{Names, digest};
use super::provider::http_url;
use super::routing::{must_exist, time};
use crate::ground::names::Pattern;
use crate::ground::secret::{KeyHash, Secret};
use crate::wire::mcp::revision::{REVISIONS, Revision};

/// How long a call may be silent.
const CALL_TIMEOUT: Duration = Duration::from_secs(300);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

type Entries = At<BTreeMap<String, At<Entry>>>;

pub(super) fn servers(
    entries: Option<&Entries>,
    aliases: Option<&BTreeMap<String, At<String>>>,
    tree: Option<&Node>,
    keys: &Names,
    models: &Models,
    separator: &str,
    checker: &mut Checker<'_, '_>,
) -> BTreeMap<String, Arc<McpServer>> {
    let none = BTreeMap::new();
    let listed = entries.map_or(&none, |entries| &entries.value);
    let aliases = aliases_by_server(listed, aliases, checker);
    let servers = listed
        .iter()
        .map(|(name, entry)| {
            server_name(name, entry.place, checker);
            let transport = transport(entry, checker);
            access(entry, models, checker);
            headers(entry, checker);
            let value = &entry.value;
            let aliases = aliases.get(name).cloned().unwrap_or_default();
            let prefix = prefix(aliases.first().unwrap_or(name), separator);
            let server = McpServer {
                name: name.clone(),
                aliases,
                prefix,
                access_groups: texts(value.access_groups.as_deref()),
                api_keys: value.api_keys.as_ref().map(|list| {
                    list.iter().filter_map(|key| listed_key(key, keys, checker)).collect()
                }),
                allow_all_keys: value.allow_all_keys.as_ref().is_some_and(|all| all.value),
                fingerprint: tree
                    .and_then(|tree| tree.get(name))
                    .map(Node::fingerprint)
                    .unwrap_or_default(),
                server_id: value.server_id.clone(),
                description: value.description.clone(),
                instructions: value.instructions.clone(),
                info: value.mcp_info.clone().unwrap_or_default(),
                tool_prices: super::prices::tools(value, entry.place, checker),
                transport,
                allowed_hosts: patterns(&texts(value.allowed_hosts.as_deref())),
                headers: sent_headers(value),
                forwarded_headers: texts(value.extra_headers.as_deref())
                    .iter()
                    .filter_map(|name| HeaderName::try_from(name).ok())
                    .collect(),
                allowed_tools: value.allowed_tools.as_deref().map(patterns),
                disallowed_tools: patterns(value.disallowed_tools.as_deref().unwrap_or_default()),
                allowed_params: value.allowed_params.clone().unwrap_or_default(),
                tool_names: value.tool_names.clone().unwrap_or_default(),
                tool_descriptions: value.tool_descriptions.clone().unwrap_or_default(),
                timeout: value.timeout.as_ref().map_or(CALL_TIMEOUT, |timeout| timeout.value.0),
                max_concurrent_requests: value
                    .max_concurrent_requests
                    .as_ref()
                    .map(|most| usize::try_from(most.value).unwrap_or(usize::MAX)),
                health_path: value
                    .health_check
                    .as_ref()
                    .map(|check| check.value.clone())
                    .filter(|check| check.starts_with('/')),
                allowed_paths: value
                    .allowed_paths
                    .iter()
                    .flatten()
                    .map(|path| path.value.clone())
                    .collect(),
                sharing: match value.sharing {
                    None | Some(typed::Sharing::Shared) => Sharing::Shared,
                    Some(typed::Sharing::PerKey) => Sharing::PerKey,
                    Some(typed::Sharing::PerSession) => Sharing::PerSession,
                },
                restart: backoff(entry, checker),
                revision: revision(entry, checker),
                sampling_model: value.sampling_model.as_ref().map(|model| model.value.clone()),
                pin: match value.pin {
                    None | Some(typed::Pin::Off) => Pin::Off,
                    Some(typed::Pin::Warn) => Pin::Warn,
                    Some(typed::Pin::Enforce) => Pin::Enforce,
                },
                parallel: value.parallel.unwrap_or(true),
            };
            (name.clone(), Arc::new(server))
        })
        .collect();
    prefixes(&servers, listed, checker);
    servers
}

fn texts(list: Option<&[At<String>]>) -> Vec<String> {
    list.unwrap_or_default().iter().map(|text| text.value.clone()).collect()
}

fn patterns(texts: &[String]) -> Vec<Pattern> {
    texts.iter().map(Pattern::new).collect()
}

/// What stands before the names of a server's tools. Functions of models have letters, digits, `_` and `-`; and
/// where the separator stands first, the prefix ends.
fn prefix(name: &str, separator: &str) -> String {
    let plain = name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-', "_");
    let other = if separator.starts_with('_') { "-" } else { "_" };
    [&plain.replace(separator, other), separator].concat()
}

/// Two servers whose tools could get the same name.
fn prefixes(
    servers: &BTreeMap<String, Arc<McpServer>>,
    listed: &BTreeMap<String, At<Entry>>,
    checker: &mut Checker<'_, '_>,
) {
    let all: Vec<&Arc<McpServer>> = servers.values().collect();
    for (at, server) in all.iter().enumerate() {
        let clash = all.iter().take(at).find(|other| {
            server.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&server.prefix)
        });
        if let Some((other, entry)) = clash.zip(listed.get(&server.name)) {
            let message = format!(
                "its tools begin with `{}`, and those of {} with `{}`, so that two tools could have \
                 the same name; give one of them another `alias`",
                server.prefix,
                show(&other.name),
                other.prefix
            );
            checker.error(entry.place, message);
        }
    }
}

/// The headers that go with every message.
fn sent_headers(value: &Entry) -> Vec<(HeaderName, HeaderValue)> {
    let sensitive = |text: &str| {
        let mut value = HeaderValue::from_str(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    };
    let fixed = value.static_headers.iter().flatten().filter_map(|(name, text)| {
        Some((HeaderName::try_from(name).ok()?, sensitive(text.value.expose())?))
    });
    let credential = value.auth_value.as_ref().zip(value.auth_type.as_ref());
    let credential = credential.and_then(|(secret, kind)| {
        let secret = secret.value.expose();
        let (name, text) = match kind.value {
            AuthType::None => return None,
            AuthType::ApiKey => (HeaderName::from_static("x-api-key"), secret.to_owned()),
            AuthType::BearerToken => (header::AUTHORIZATION, format!("Bearer {secret}")),
            AuthType::Basic => (header::AUTHORIZATION, basic(secret)),
            AuthType::Authorization => (header::AUTHORIZATION, secret.to_owned()),
            AuthType::Token => (header::AUTHORIZATION, format!("token {secret}")),
        };
        Some((name, sensitive(&text)?))
    });
    credential.into_iter().chain(fixed).collect()
}

/// `user:password` is encoded (RFC 7617); what holds no colon is so already.
fn basic(secret: &str) -> String {
    use base64::Engine;
    let encoded = if secret.contains(':') {
        base64::engine::general_purpose::STANDARD.encode(secret)
    } else {
        secret.to_owned()
    };
    format!("Basic {encoded}")
}

fn backoff(entry: &At<Entry>, checker: &mut Checker<'_, '_>) -> Backoff {
    let restart = entry.value.restart.as_ref();
    let first = restart.and_then(|restart| restart.min_delay_seconds.as_ref());
    let longest = restart.and_then(|restart| restart.max_delay_seconds.as_ref());
    let backoff = Backoff {
        first: first.map_or(FIRST_PAUSE, |pause| pause.0),
        longest: longest.map_or(LONGEST_PAUSE, |pause| pause.0),
    };
    if backoff.first > backoff.longest || backoff.first.is_zero() {
        let message =
            "`restart`: `min_delay_seconds` must be above zero and not above `max_delay_seconds`";
        checker.error(entry.place, message);
    }
    backoff
}

fn revision(entry: &At<Entry>, checker: &mut Checker<'_, '_>) -> Option<Revision> {
    let name = entry.value.protocol_version.as_ref()?;
    let revision = Revision::of(&name.value);
    if revision.is_none() {
        let known = REVISIONS.iter().map(|revision| revision.as_str());
        checker.dangling(name, "not a revision of MCP that is spoken here", known);
    }
    revision
}

/// Server → its other names, from the entries' own `alias` and from `mcp_aliases`.
fn aliases_by_server(
    listed: &BTreeMap<String, At<Entry>>,
    aliases: Option<&BTreeMap<String, At<String>>>,
    checker: &mut Checker<'_, '_>,
) -> HashMap<String, Vec<String>> {
    let mut by_server: HashMap<String, Vec<String>> = HashMap::new();
    // Clients and keys may write names in upper or lower case.
    let mut taken: HashMap<String, &str> = HashMap::new();
    for (name, entry) in listed {
        if taken.insert(name.to_ascii_lowercase(), name).is_some() {
            let message =
                "another MCP server has this name but for upper and lower case, which count as one";
            checker.error(entry.place, message);
        }
    }
    let own = listed.iter().filter_map(|(name, entry)| {
        let alias = entry.value.alias.as_ref()?;
        Some((alias.value.as_str(), name.as_str(), alias.place))
    });
    let mut wanted: Vec<(&str, &str, Place)> = own.collect();
    for (alias, target) in aliases.into_iter().flatten() {
        if listed.contains_key(&target.value) {
            wanted.push((alias, &target.value, target.place));
        } else {
            let known = listed.keys().map(String::as_str);
            checker.dangling(target, "not an MCP server in `mcp_servers`", known);
        }
    }
    for (alias, name, place) in wanted {
        match taken.insert(alias.to_ascii_lowercase(), name) {
            None => {
                server_name(alias, place, checker);
                by_server.entry(name.to_owned()).or_default().push(alias.to_owned());
            }
            Some(other) if other == name => {}
            Some(_) => {
                checker.error(place, format!("{} already names another MCP server", show(alias)));
            }
        }
    }
    by_server
}

/// Names stand in paths, headers and before tools' names.
fn server_name(name: &str, place: Place, checker: &mut Checker<'_, '_>) {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        let message = "an MCP server's name has 1 to 64 letters, digits, `_`, `-` or `.`";
        checker.error(place, message);
    }
}

/// The way to the server; one that leads nowhere, once an error is found.
fn transport(entry: &At<Entry>, checker: &mut Checker<'_, '_>) -> McpTransport {
    let value = &entry.value;
    let transport = value.transport.as_ref().map(|transport| transport.value);
    let is_stdio = match transport {
        Some(transport) => transport == Transport::Stdio,
        None => value.command.is_some(),
    };
    if is_stdio {
        match &value.command {
            None => checker.missing(entry, "command"),
            Some(command) if command.value.trim().is_empty() => {
                checker.error(command.place, "`command` is empty");
            }
            Some(_) => {}
        }
        let useless = [
            ("url", value.url.as_ref().map(|at| at.place)),
            ("static_headers", first(value.static_headers.as_ref())),
            ("auth_value", value.auth_value.as_ref().map(|at| at.place)),
            ("allowed_hosts", value.allowed_hosts.as_ref().map(|_| entry.place)),
        ];
        no_meaning(&useless, "`transport: stdio`", checker);
        return McpTransport::Stdio(McpCommand {
            program: value.command.as_ref().map(|at| at.value.clone()).unwrap_or_default(),
            args: value.args.as_ref().map(|at| at.value.clone()).unwrap_or_default(),
            env: value.env.as_ref().map(|at| at.value.clone()).unwrap_or_default(),
            cwd: value.cwd.as_ref().map(|at| at.value.clone()),
        });
    }
    let useless = [
        ("command", value.command.as_ref().map(|at| at.place)),
        ("args", value.args.as_ref().map(|at| at.place)),
        ("env", value.env.as_ref().map(|at| at.place)),
        ("cwd", value.cwd.as_ref().map(|at| at.place)),
        ("allowed_paths", value.allowed_paths.as_ref().map(|_| entry.place)),
        ("restart", value.restart.as_ref().map(|_| entry.place)),
    ];
    no_meaning(&useless, "`transport: http` or `sse`", checker);
    let to = |url| match transport {
        Some(Transport::Sse) => McpTransport::Sse(url),
        _ => McpTransport::Http(url),
    };
    let nowhere = McpTransport::Stdio(McpCommand::default());
    let Some(url) = &value.url else {
        checker.missing(entry, "url");
        return nowhere;
    };
    match http_url(url.value.split(['?', '#']).next().unwrap_or_default()) {
        Err(message) => checker.error(url.place, format!("`url`: {message}")),
        Ok(parsed) => {
            let host = parsed.host_str().unwrap_or_default().to_ascii_lowercase();
            let fits = |allowed: &At<String>| {
                Pattern::new(allowed.value.to_ascii_lowercase()).matches(&host)
            };
            if let Some(hosts) = &value.allowed_hosts
                && !hosts.iter().any(fits)
            {
                checker.error(url.place, "`url` has a host that `allowed_hosts` does not allow");
            }
        }
    }
    Url::parse(&url.value).map_or(nowhere, to)
}

fn first<T>(map: Option<&BTreeMap<String, At<T>>>) -> Option<Place> {
    map?.values().map(|value| value.place).min()
}

fn no_meaning(keys: &[(&str, Option<Place>)], with: &str, checker: &mut Checker<'_, '_>) {
    for (name, place) in keys {
        if let Some(place) = place {
            checker.error(*place, format!("`{name}` means nothing with {with}"));
        }
    }
}

fn access(entry: &At<Entry>, models: &Models, checker: &mut Checker<'_, '_>) {
    let value = &entry.value;
    time("timeout", value.timeout.as_ref(), checker);
    if let Some(zero) = value.max_concurrent_requests.as_ref().filter(|most| most.value == 0) {
        checker.error(zero.place, "`max_concurrent_requests` must be above zero");
    }
    if let Some(check) = &value.health_check
        && check.value != "ping"
        && !check.value.starts_with('/')
    {
        checker.error(check.place, "`health_check` is a path (`/health`) or `ping`");
    }
    if let Some(relative) =
        value.allowed_paths.iter().flatten().find(|path| path.value.is_relative())
    {
        checker.error(relative.place, "`allowed_paths` are absolute paths");
    }
    if let Some(all) = value.allow_all_keys.as_ref().filter(|all| all.value)
        && value.api_keys.is_some()
    {
        checker.error(all.place, "`allow_all_keys` and `api_keys` say two things; keep one");
    }
    if let Some(model) = &value.sampling_model {
        must_exist(model, models, checker);
    }
}

fn headers(entry: &At<Entry>, checker: &mut Checker<'_, '_>) {
    let value = &entry.value;
    for (name, text) in value.static_headers.iter().flatten() {
        if HeaderName::try_from(name).is_err() {
            checker.error(text.place, "not a header's name");
        } else if HeaderValue::from_str(text.value.expose()).is_err() {
            checker.error(text.place, "a value with characters that no header may have");
        }
    }
    for name in value.extra_headers.iter().flatten() {
        if HeaderName::try_from(&name.value).is_err() {
            checker.error(name.place, "not a header's name");
        }
    }
    let auth_type = value.auth_type.as_ref().filter(|auth| auth.value != AuthType::None);
    match (auth_type, &value.auth_value) {
        (Some(auth), None) if !checker.damaged.contains(&entry.place) => {
            checker.error(auth.place, "`auth_type` without an `auth_value`");
        }
        (None, Some(credential)) => {
            checker.error(credential.place, "`auth_value` without an `auth_type` is not sent");
        }
        (_, Some(credential)) if HeaderValue::from_str(credential.value.expose()).is_err() => {
            checker.error(credential.place, "`auth_value` has characters that no header may have");
        }
        _ => {}
    }
}

/// A key that a server lists: by itself, by its digest, or by its `key_alias`.
fn listed_key(key: &At<Secret>, keys: &Names, checker: &mut Checker<'_, '_>) -> Option<KeyHash> {
    if let Some(hash) = keys.aliases.get(key.value.expose()) {
        return Some(*hash);
    }
    let hash = digest(&key.value, key.place, "api_keys", checker)?.hash;
    if !keys.hashes.contains_key(&hash) {
        checker.error(key.place, "a key that is not in `virtual_keys`");
        return None;
    }
    Some(hash)
}
