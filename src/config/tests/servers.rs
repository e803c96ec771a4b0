//! `mcp_servers` as the snapshot has them: their defaults, and which keys may use which.

use std::time::Duration;

use super::*;
use crate::config::snapshot::{Backoff, McpTransport, Pin, Sharing, Snapshot};
use crate::ground::secret::KeyHash;

#[test]
fn an_mcp_server_has_its_defaults() {
    let loaded = load_text(plus(
        "mcp_servers:
  plain: {url: 'http://host'}
  child: {command: run, args: [-v, \"${SECRET}\"], env: {TOKEN: \"${SECRET}\", ROOT: \"${NONE:-/srv}\"}}
  set: {url: 'http://host/sse', transport: sse, timeout: 5, protocol_version: 2024-11-05, sharing: per_session,
        pin: warn, health_check: ping, tool_name_to_display_name: {a: b}, allow_all_keys: true}
",
    ));
    assert_eq!(lines(&loaded.problems), [""; 0]);
    let snapshot = loaded.snapshot.unwrap();
    let plain = &snapshot.mcp_servers["plain"];
    assert_eq!(plain.prefix, "plain-");
    assert_eq!(plain.timeout, Duration::from_secs(300));
    assert_eq!((plain.sharing, plain.pin, plain.revision), (Sharing::Shared, Pin::Off, None));
    assert!(matches!(&plain.transport, McpTransport::Http(url) if url.path() == "/"));
    let first = Duration::from_millis(200);
    assert_eq!(plain.restart, Backoff { first, longest: Duration::from_secs(30) });
    assert_eq!((plain.allow_all_keys, &plain.health_path), (false, &None));
    let McpTransport::Stdio(command) = &snapshot.mcp_servers["child"].transport else { panic!() };
    assert_eq!(command.args[1].expose(), CANARY);
    assert_eq!(command.env["TOKEN"].expose(), CANARY);
    assert_eq!(command.env["ROOT"].expose(), "/srv");
    assert!(!format!("{snapshot:?}").contains("canary"));
    let set = &snapshot.mcp_servers["set"];
    assert!(matches!(&set.transport, McpTransport::Sse(_)));
    assert_eq!((set.sharing, set.pin), (Sharing::PerSession, Pin::Warn));
    assert_eq!(set.revision.unwrap().as_str(), "2024-11-05");
    assert_eq!((set.tool_names["a"].as_str(), &set.health_path), ("b", &None));
    assert_eq!(snapshot.mcp.session_idle_timeout, Duration::from_secs(1800));
}

#[test]
fn keys_and_servers_name_each_other() {
    let loaded = load_text(plus(
        "virtual_keys:
  - {api_key: sk-canary-0123456789-1, key_alias: all, models: ['*'], mcp_servers: [all-proxy-mcpservers]}
  - {api_key: sk-canary-0123456789-2, key_alias: one, models: ['*'], mcp_servers: [GROUP]}
  - {api_key: sk-canary-0123456789-3, key_alias: listed, models: ['*']}
  - {api_key: sk-canary-0123456789-4, key_alias: none, models: ['*'], mcp_servers: [no_mcp_servers]}
mcp_servers:
  free: {url: 'http://host'}
  grouped: {url: 'http://host', access_groups: [group]}
  own: {url: 'http://host', api_keys: [listed, one, none]}
  open: {url: 'http://host', allow_all_keys: true}
",
    ));
    assert_eq!(lines(&loaded.problems), [""; 0]);
    let snapshot = loaded.snapshot.unwrap();
    let reached = |key: u8| -> Vec<&str> {
        let hash = KeyHash::of(&format!("sk-canary-0123456789-{key}"));
        let key = &snapshot.keys.virtual_keys[&hash];
        let servers = snapshot.mcp_servers.values();
        let allowed = servers.filter(|server| Snapshot::allows_mcp_server(key, server));
        allowed.map(|server| server.name.as_str()).collect()
    };
    assert_eq!(reached(1), ["free", "grouped", "open"]);
    assert_eq!(reached(2), ["grouped"]);
    assert_eq!(reached(3), ["open", "own"]);
    assert_eq!(reached(4), [""; 0]);
}

#[test]
fn where_there_are_mcp_servers_no_model_is_missed() {
    check(
        "general_settings: {master_key: sk-canary-0123456789-0}\nmcp_servers: {a: {command: x}}\n",
        &[],
    );
}
