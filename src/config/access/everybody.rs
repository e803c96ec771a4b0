//! What is the same for everybody who is let in: what answers to a model's name, which server stands behind the name of an MCP
//! server, what is open without a key; and what an edit makes of these.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::outline::{Seals, shown_url};
use super::super::snapshot::{Deployment, McpServer, McpTransport, Pin, Sharing, Snapshot};
use super::plan::uncovered;
use super::{Access, Server, Shift};
use crate::ground::names::Pattern;

/// Where `/metrics` is read without a key: because the configuration says so, or because it stands on an address of its own.
pub(super) fn open_metrics(snapshot: &Snapshot) -> Option<String> {
    let is_open = !snapshot.metrics.wants_key.unwrap_or(snapshot.admin_listen.is_none());
    let admin = || snapshot.admin_listen.map(|address| address.to_string());
    is_open.then(|| admin().unwrap_or_else(|| "the clients' address".to_owned()))
}

pub(super) fn answers(snapshot: &Snapshot) -> BTreeMap<String, BTreeSet<String>> {
    let models = &snapshot.models;
    let groups = models.groups.values().chain(models.wildcards.iter().map(|(_, group)| group));
    let told = |deployment: &Deployment| match deployment.provider.is_mock() {
        true => deployment.provider.name.to_owned(),
        false => {
            let Deployment { provider, model, base, .. } = deployment;
            format!("{}/{} at {}", provider.name, model.as_str(), shown_url(base))
        }
    };
    groups
        .map(|group| (group.name.clone(), group.deployments.iter().map(|it| told(it)).collect()))
        .collect()
}

pub(super) fn servers(snapshot: &Snapshot, seals: &Seals) -> BTreeMap<String, Server> {
    let lock = &snapshot.mcp.lock;
    let pins = |server: &McpServer| {
        let pin = |tool: &str| {
            let pin = lock.pin(&server.name, tool)?;
            Some((tool.to_owned(), pin.sha256.clone()))
        };
        (server.pin == Pin::Enforce).then(|| lock.tools(&server.name).filter_map(pin).collect())
    };
    let servers = snapshot.mcp_servers.values();
    servers
        .map(|server| {
            let told = Server {
                way: way(server),
                identity: seals.digest(&identity(server)),
                forwarded: server.forwarded_headers.iter().map(ToString::to_string).collect(),
                paths: server.allowed_paths.iter().map(|it| it.display().to_string()).collect(),
                hosts: hosts(server),
                sharing: match server.sharing {
                    Sharing::PerSession => 0,
                    Sharing::PerKey => 1,
                    Sharing::Shared => 2,
                },
                sampling: server.sampling_model.clone(),
                pins: pins(server),
            };
            (server.name.clone(), told)
        })
        .collect()
}

fn way(server: &McpServer) -> String {
    match &server.transport {
        McpTransport::Http(url) | McpTransport::Sse(url) => shown_url(url),
        McpTransport::Stdio(command) => command.program.clone(),
    }
}

fn hosts(server: &McpServer) -> BTreeSet<String> {
    let named = server.allowed_hosts.iter().map(|host| host.as_str().to_owned());
    let own = match &server.transport {
        McpTransport::Http(url) | McpTransport::Sse(url) => url.host_str(),
        McpTransport::Stdio(_) => None,
    };
    let own = own.filter(|_| server.allowed_hosts.is_empty());
    named.chain(own.map(str::to_owned)).collect()
}

/// All that decides which server it is and as whom it is asked, secrets included: to be sealed.
fn identity(server: &McpServer) -> String {
    let mut parts: Vec<String> = Vec::new();
    match &server.transport {
        McpTransport::Http(url) | McpTransport::Sse(url) => parts.push(url.to_string()),
        McpTransport::Stdio(command) => {
            parts.push(command.program.clone());
            parts.extend(command.args.iter().map(|arg| arg.expose().to_owned()));
            let env = command.env.iter();
            parts.extend(env.map(|(name, text)| format!("{name}={}", text.expose())));
            parts.extend(command.cwd.as_ref().map(|folder| folder.display().to_string()));
        }
    }
    for (name, value) in &server.headers {
        parts.push(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    }
    parts.join("\0")
}

/// What an edit makes of all that, told to a shift.
pub(super) fn compare(old: &Access, new: &Access, shift: &mut Shift) {
    let metrics = |address: &String| format!("/metrics is read without a key, at {address}");
    if old.open_metrics != new.open_metrics {
        shift.gains.extend(new.open_metrics.as_ref().map(metrics));
        shift.loses.extend(old.open_metrics.as_ref().map(metrics));
    }
    // Where the listener itself is new to other machines, that is told already.
    let known =
        |address: &&String| old.exposed.contains(*address) && new.exposed.contains(*address);
    let (before, after) = (administered(old), administered(new));
    let admin = |address: &String| format!("other machines reach /admin at {address}");
    shift.gains.extend(after.difference(&before).copied().filter(known).map(admin));
    shift.loses.extend(before.difference(&after).copied().filter(known).map(admin));
    let names: BTreeSet<&String> = old.answers.keys().chain(new.answers.keys()).collect();
    for name in names {
        if let (Some(before), Some(after)) = (answering(old, name), answering(new, name)) {
            let told = |other: &String| format!("model {name} is answered by {other}");
            shift.gains.extend(uncovered(after, before).into_iter().map(told));
            shift.loses.extend(uncovered(before, after).into_iter().map(told));
        }
    }
    for (name, server) in &new.servers {
        if let Some(known) = old.servers.get(name) {
            shift.gains.extend(known.wider(server).into_iter().map(|it| format!("{name}: {it}")));
            shift.loses.extend(server.more(known).into_iter().map(|it| format!("{name}: {it}")));
        }
    }
}

/// Addresses at which other machines reach `/admin`.
fn administered(access: &Access) -> BTreeSet<&String> {
    let apart = access.admin.as_ref();
    access.exposed.iter().filter(|address| apart.is_none_or(|apart| apart == *address)).collect()
}

/// What answers to a name: its own deployments, or those of a pattern.
fn answering<'a>(access: &'a Access, name: &String) -> Option<&'a BTreeSet<String>> {
    access.answers.get(name).or_else(|| {
        let fits = |(pattern, _): &(&String, _)| Pattern::new(pattern.as_str()).matches(name);
        let patterns = access.answers.iter().filter(fits);
        patterns.max_by_key(|(pattern, _)| pattern.len()).map(|(_, answers)| answers)
    })
}

impl Server {
    /// What another gives that this one does not.
    fn wider(&self, other: &Self) -> Vec<String> {
        let mut wider = Vec::new();
        if self.way != other.way {
            wider.push(format!("is {} (was {})", other.way, self.way));
        } else if self.identity != other.identity {
            wider.push("is another server, or has other credentials".to_owned());
        }
        wider.extend(self.more(other));
        wider
    }

    /// The same, of what only grows or shrinks.
    fn more(&self, other: &Self) -> Vec<String> {
        let mut more = Vec::new();
        let forwarded = other.forwarded.difference(&self.forwarded);
        more.extend(forwarded.map(|name| format!("the client's header {name} is passed on")));
        let is_within = |path: &&String| {
            self.paths.iter().any(|folder| Path::new(path).starts_with(Path::new(folder)))
        };
        if other.paths.is_empty() && !self.paths.is_empty() {
            more.push("may use all directories".to_owned());
        } else if !self.paths.is_empty() {
            let paths = other.paths.iter().filter(|path| !is_within(path));
            more.extend(paths.map(|path| format!("may use the directory {path}")));
        }
        if self.way == other.way {
            let hosts = uncovered(&other.hosts, &self.hosts);
            more.extend(hosts.into_iter().map(|host| format!("may be at {host}")));
        }
        if other.sharing > self.sharing {
            let whom = if other.sharing == 2 { "all keys" } else { "a key's clients" };
            more.push(format!("{whom} share a session"));
        }
        if let Some(model) = other.sampling.as_ref().filter(|_| self.sampling != other.sampling) {
            more.push(format!("may ask model {model}"));
        }
        if let (Some(own), Some(other)) = (&self.pins, &other.pins) {
            for (tool, digest) in other {
                match own.get(tool) {
                    None => more.push(format!("tool {tool} is accepted")),
                    Some(known) if known != digest => {
                        more.push(format!("tool {tool} is accepted as it is now"));
                    }
                    Some(_) => {}
                }
            }
        }
        more
    }
}
