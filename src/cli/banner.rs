//! What `tidegate serve` says when it is ready: where it listens, what it serves, whom, and one line to
//! paste that works.

use std::io::Write;
use std::net::SocketAddr;

use crate::config::keys::QUICKSTART_KEY;
use crate::config::snapshot::Snapshot;
use crate::ground::secret::KeyHash;

const MOST_NAMES: usize = 12;

/// Prints the banner. Only the public quick-start key is ever shown in full.
pub fn print(out: &mut impl Write, address: SocketAddr, snapshot: &Snapshot) {
    let text = banner(address, snapshot);
    let _nobody_listens = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn banner(address: SocketAddr, snapshot: &Snapshot) -> String {
    let models: Vec<&str> = snapshot.models.names().collect();
    let wild: Vec<&str> =
        snapshot.models.wildcards.iter().map(|(pattern, _)| pattern.as_str()).collect();
    let mut keys: Vec<&str> =
        snapshot.keys.virtual_keys.values().map(|key| key.display_name()).collect();
    keys.sort_unstable();
    if snapshot.keys.master.is_some() {
        keys.insert(0, "master");
    }
    let everyone = if snapshot.keys.is_open() { "none: every local caller is let in" } else { "" };
    format!(
        "tidegate {version} listening on http://{address}\n  models: {models}\n  keys:   \
         {keys}{everyone}\n{mcp}  try:    {curl}\n",
        version = env!("CARGO_PKG_VERSION"),
        models = listed(models.iter().chain(&wild).copied()),
        keys = listed(keys.into_iter()),
        mcp = servers(address, snapshot),
        curl = curl(address, snapshot, models.first().copied()),
    )
}

/// A line for MCP clients, where there is something for them.
fn servers(address: SocketAddr, snapshot: &Snapshot) -> String {
    if snapshot.mcp_servers.is_empty() {
        return String::new();
    }
    let names = snapshot.mcp_servers.values().map(|server| server.display_name());
    format!("  mcp:    {} at http://{address}/mcp\n", listed(names))
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown: Vec<&str> = names.iter().copied().take(MOST_NAMES).collect();
    let more = names.len().saturating_sub(MOST_NAMES);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", shown.join(", "))
}

fn curl(address: SocketAddr, snapshot: &Snapshot, first: Option<&str>) -> String {
    let quickstart = snapshot.keys.virtual_keys.get(&KeyHash::of(QUICKSTART_KEY));
    let model = match quickstart {
        Some(key) => snapshot.models.names().find(|name| key.allows_model(name)),
        None => first,
    };
    let Some(model) = model else {
        return format!("curl http://{address}/health");
    };
    let key = match quickstart {
        Some(_) => format!(" -H 'authorization: Bearer {QUICKSTART_KEY}'"),
        None if snapshot.keys.is_open() => String::new(),
        None => " -H \"authorization: Bearer $KEY\"".to_owned(),
    };
    let body = serde_json::json!({
        "model": model, "messages": [{ "role": "user", "content": "hello" }],
    });
    // For a shell, within single quotes.
    let body = body.to_string().replace('\'', r"'\''");
    format!(
        "curl http://{address}/v1/chat/completions{key} -H 'content-type: application/json' -d '{body}'"
    )
}
