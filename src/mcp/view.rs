//! What one caller sees: the servers that its key may use, narrowed by the path and by the header. Whoever names a server
//! that does not exist, or that the key may not use, is told the same.

use std::sync::Arc;

use super::Mcp;
use super::pool::slot::Slot;
use super::serve::ask::{Asker, Scope};
use crate::config::snapshot::{Key, McpServer, Snapshot};
use crate::ground::names;

/// The servers that a request is about, in the order of their names.
pub struct View {
    pub seen: Vec<Seen>,
    /// Names stand without a prefix.
    pub is_plain: bool,
}

/// One server, and the way to it.
#[derive(Clone)]
pub struct Seen {
    pub server: Arc<McpServer>,
    pub slot: Arc<Slot>,
}

/// A server was named that the caller does not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied(pub String);

impl Denied {
    /// For people: the same whether the server does not exist or is not theirs.
    pub fn message(&self) -> String {
        format!(
            "This key has no MCP server `{}`. GET /v1/mcp/server lists those it may use.",
            names::shown(&self.0)
        )
    }
}

/// The servers of a scope.
///
/// # Errors
/// [`Denied`]: the scope names one that the key may not use, or that does not exist.
pub fn servers(
    snapshot: &Snapshot,
    key: Option<&Key>,
    scope: &Scope,
) -> Result<Vec<Arc<McpServer>>, Denied> {
    let allowed =
        |server: &&Arc<McpServer>| key.is_none_or(|key| Snapshot::allows_mcp_server(key, server));
    let mut servers: Vec<Arc<McpServer>> =
        snapshot.mcp_servers.values().filter(allowed).cloned().collect();
    if let Some(single) = &scope.single {
        let named = |server: &Arc<McpServer>| {
            let mut names = server.aliases.iter().chain([&server.name]);
            names.any(|name| name.eq_ignore_ascii_case(single))
        };
        servers.retain(named);
        if servers.is_empty() {
            return Err(Denied(single.clone()));
        }
    }
    for names in [&scope.path, &scope.header] {
        narrow(&mut servers, names)?;
    }
    Ok(servers)
}

/// Keeps the servers that the names mean; `!name` and `-name` leave one out.
fn narrow(servers: &mut Vec<Arc<McpServer>>, names: &[String]) -> Result<(), Denied> {
    let excluded = |name: &String| name.strip_prefix(['!', '-']).map(str::to_owned);
    let (without, wanted): (Vec<_>, Vec<_>) =
        names.iter().partition(|name| excluded(name).is_some());
    for name in &wanted {
        if *name != "*" && !servers.iter().any(|server| server.answers_to(name)) {
            return Err(Denied((*name).clone()));
        }
    }
    let means = |server: &McpServer, name: &str| name == "*" || server.answers_to(name);
    if !wanted.is_empty() {
        servers.retain(|server| wanted.iter().any(|name| means(server, name)));
    }
    servers.retain(|server| {
        !without.iter().filter_map(|name| excluded(name)).any(|name| means(server, &name))
    });
    Ok(())
}

impl Mcp {
    /// What an asker sees. Nothing is dialled by it.
    ///
    /// # Errors
    /// See [`servers`].
    pub fn view(&self, asker: &Asker) -> Result<View, Denied> {
        let servers = servers(&asker.snapshot, asker.key.as_deref(), &asker.scope)?;
        let seen = servers.into_iter().filter_map(|server| {
            let slot = self.pool.slot(&server, asker)?;
            Some(Seen { server, slot })
        });
        Ok(View { seen: seen.collect(), is_plain: asker.scope.single.is_some() })
    }
}

impl View {
    /// An entry was changed or removed since.
    pub fn is_outdated(&self) -> bool {
        self.seen.iter().any(|seen| seen.slot.is_retired())
    }

    /// Of a single-server view, the server.
    pub fn single(&self) -> Option<&Seen> {
        self.seen.first().filter(|_| self.is_plain)
    }
}
