//! `mcp_servers`: that each can be reached by its transport and that everything it names exists.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::super::file::servers::{AuthType, McpServer as Entry, Transport};
use super::super::file::value::At;
use super::super::node::Node;
use super::super::problem::{Place, show};
use super::super::snapshot::{McpServer, Models};
use super::Checker;
use super::keys::{Names, digest};
use super::provider::http_url;
use super::routing::{must_exist, time};
use crate::ground::names::Pattern;
use crate::ground::secret::{KeyHash, Secret};

type Entries = At<BTreeMap<String, At<Entry>>>;

pub(super) fn servers(
    entries: Option<&Entries>,
    aliases: Option<&BTreeMap<String, At<String>>>,
    tree: Option<&Node>,
    keys: &Names,
    models: &Models,
    checker: &mut Checker<'_, '_>,
) -> BTreeMap<String, Arc<McpServer>> {
    let none = BTreeMap::new();
    let listed = entries.map_or(&none, |entries| &entries.value);
    if let Some(entries) = entries.filter(|entries| !entries.value.is_empty()) {
        let message = "`mcp_servers` are read and checked, but not served yet";
        checker.warning(entries.place, message);
    }
    let aliases = aliases_by_server(listed, aliases, checker);
    listed
        .iter()
        .map(|(name, entry)| {
            server_name(name, entry.place, checker);
            transport(entry, checker);
            access(entry, models, checker);
            headers(entry, checker);
            let server = McpServer {
                name: name.clone(),
                aliases: aliases.get(name).cloned().unwrap_or_default(),
                access_groups: texts(entry.value.access_groups.as_deref()),
                api_keys: entry.value.api_keys.as_ref().map(|list| {
                    list.iter().filter_map(|key| listed_key(key, keys, checker)).collect()
                }),
                fingerprint: tree
                    .and_then(|tree| tree.get(name))
                    .map(Node::fingerprint)
                    .unwrap_or_default(),
            };
            (name.clone(), Arc::new(server))
        })
        .collect()
}

fn texts(list: Option<&[At<String>]>) -> Vec<String> {
    list.unwrap_or_default().iter().map(|text| text.value.clone()).collect()
}

/// Server → its other names, from the entries' own `alias` and from `mcp_aliases`.
fn aliases_by_server(
    listed: &BTreeMap<String, At<Entry>>,
    aliases: Option<&BTreeMap<String, At<String>>>,
    checker: &mut Checker<'_, '_>,
) -> HashMap<String, Vec<String>> {
    let mut by_server: HashMap<String, Vec<String>> = HashMap::new();
    let mut taken: HashMap<&str, &str> =
        listed.keys().map(|name| (name.as_str(), name.as_str())).collect();
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
        match taken.insert(alias, name) {
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

fn transport(entry: &At<Entry>, checker: &mut Checker<'_, '_>) {
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
        return;
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
    let Some(url) = &value.url else {
        checker.missing(entry, "url");
        return;
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
