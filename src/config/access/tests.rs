//! What edits give and take: each case is an edit of one configuration, and the lines of the plan for it.

use std::path::Path;

use jiff::Timestamp;

use super::super::outline::Seals;
use super::super::{LoadOptions, ProcessEnvironment, load};
use super::*;
use crate::ground::secret::KeyHash;

fn access(text: &str) -> Access {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yaml");
    std::fs::write(&path, text).unwrap();
    let loaded = load(Path::new(&path), &ProcessEnvironment, &LoadOptions::default());
    let problems = loaded.problems;
    let snapshot = loaded.snapshot.unwrap_or_else(|| panic!("{problems:?}"));
    Access::of(&snapshot, &Seals::of_master(Some(KeyHash::of("a key that both know"))))
}

const BASE: &str = "\
model_list:
- {model_name: a, litellm_params: {model: mock}}
- {model_name: b, litellm_params: {model: mock}}
- {model_name: openai/*, litellm_params: {model: mock}}
mcp_servers:
  db: {url: 'http://127.0.0.1:1/mcp', allowed_tools: [read_*]}
  fs: {url: 'http://127.0.0.1:2/mcp'}
virtual_keys:
- {api_key: sk-one-0123456789-0123456789, key_alias: one, models: [a], mcp_servers: [db], rpm_limit: 10}
- {api_key: sk-two-0123456789-0123456789, key_alias: two, models: ['*']}
";

/// The lines of a plan from the base to an edit of it: `+` gains, `-` loses.
#[track_caller]
fn check(from: &str, to: &str, expected: &[&str]) {
    check_in(BASE, from, to, expected);
}

#[track_caller]
fn check_in(base: &str, from: &str, to: &str, expected: &[&str]) {
    assert!(base.contains(from), "{from}");
    let (old, new) = (access(base), access(&base.replacen(from, to, 1)));
    let plan = Plan::of(&old, &new, Timestamp::now());
    let mut lines = Vec::new();
    let mut tell = |name: &str, shift: &Shift| {
        lines.extend(shift.gains.iter().map(|text| format!("+ {name}: {text}")));
        lines.extend(shift.loses.iter().map(|text| format!("- {name}: {text}")));
    };
    tell("gateway", &plan.gateway);
    plan.keys.iter().for_each(|key| tell(&format!("{} {}", key.name, key.what), &key.shift));
    assert_eq!(lines, expected);
    assert_eq!(plan.widens(), expected.iter().any(|line| line.starts_with('+')));
}

#[test]
fn an_edit_shows_who_gains_and_who_loses() {
    check("rpm_limit: 10", "rpm_limit: 10 ", &[]);
    check("models: [a]", "models: [a, b]", &["+ one changed: model b"]);
    check("models: [a]", "models: [b]", &["+ one changed: model b", "- one changed: model a"]);
    check(
        "models: ['*']",
        "models: ['openai/gpt*']",
        &["- two changed: model a", "- two changed: model b", "- two changed: model openai/*"],
    );
    check("mcp_servers: [db]", "mcp_servers: [db, fs]", &["+ one changed: MCP server fs"]);
    check(
        "allowed_tools: [read_*]",
        "allowed_tools: ['read_rows']",
        &["- one changed: db: tool read_*"],
    );
    check("allowed_tools: [read_*]", "allowed_tools: ['*']", &["+ one changed: db: tool *"]);
    // What is not said is not without limit.
    check(
        "rpm_limit: 10",
        "rpm_limit: 10, max_tool_rounds: 20, max_tool_seconds: 60",
        &[
            "+ one changed: max_tool_rounds: 20 (was 16)",
            "- one changed: max_tool_seconds: 60 (was 600)",
        ],
    );
    check("rpm_limit: 10", "rpm_limit: 20", &["+ one changed: rpm_limit: 20 (was 10)"]);
    check(
        "rpm_limit: 10",
        "rpm_limit: 5, expires: 2099-01-01",
        &["- one changed: rpm_limit: 5 (was 10)", "- one changed: ends 2099-01-02T00:00:00Z"],
    );
    check(
        "rpm_limit: 10",
        "blocked: true",
        &["- one changed: is blocked", "- one changed: model a", "- one changed: MCP server db"],
    );
    // Another key in the place of one: nobody gains.
    check("sk-one-0123456789-0123456789", "sk-new-0123456789-0123456789", &[]);
    check(
        "sk-one-0123456789-0123456789, key_alias: one",
        "sk-new-0123456789-0123456789, key_alias: new",
        &[
            "+ new new: model a",
            "+ new new: MCP server db, tools read_*",
            "- one removed: model a",
            "- one removed: MCP server db",
        ],
    );
    check(
        "virtual_keys:",
        "general_settings: {listen: '0.0.0.0:4000'}\nvirtual_keys:",
        &["+ gateway: other machines reach 0.0.0.0:4000"],
    );
}

#[test]
fn the_loss_of_the_last_key_opens_the_gateway() {
    let open = BASE.split("virtual_keys:").next().unwrap();
    let plan = Plan::of(&access(BASE), &access(open), Timestamp::now());
    assert!(plan.widens());
    assert!(plan.gateway.gains[0].contains("no key any more"));
}

/// With more that an edit can widen unseen.
const RICH: &str = "\
general_settings: {master_key: sk-master-0123456789-0123456789, listen: '0.0.0.0:4000', admin_listen: '127.0.0.1:4001'}
model_list:
- {model_name: small, litellm_params: {model: openai/small, api_base: 'http://127.0.0.1:9/v1', api_key: k}, model_info: {access_groups: [cheap]}}
- {model_name: large, litellm_params: {model: openai/large, api_base: 'http://127.0.0.1:9/v1', api_key: k}}
- {model_name: any/*, litellm_params: {model: 'openai/*', api_base: 'http://127.0.0.1:9/v1', api_key: k}}
mcp_servers:
  db: {url: 'http://127.0.0.1:1/mcp', static_headers: {x-db: one}, allowed_tools: [read], disallowed_tools: [drop], sharing: per_key}
  fs: {command: /bin/true, args: [--root, /srv/a], env: {TOKEN: t}, allowed_paths: [/srv/a], access_groups: [files]}
virtual_keys:
- {api_key: sk-one-0123456789-0123456789, key_alias: one, models: [cheap, any/x], mcp_servers: [db, files], max_budget: 5, budget_duration: 30d}
- {api_key: sk-two-0123456789-0123456789, key_alias: two, models: [large], max_budget: 5, expires: 2020-01-01}
- {api_key: sk-three-0123456789-0123456789, key_alias: three, models: [large]}
";

#[test]
fn what_widens_without_naming_a_key_is_seen() {
    let check = |from: &str, to: &str, expected: &[&str]| check_in(RICH, from, to, expected);
    // Models.
    check(
        "model: openai/small, api_base: 'http://127.0.0.1:9/v1'",
        "model: openai/o-pro, api_base: 'http://127.0.0.1:9/v1'",
        &[
            "+ gateway: model small is answered by openai/o-pro at http://127.0.0.1:9/v1",
            "- gateway: model small is answered by openai/small at http://127.0.0.1:9/v1",
        ],
    );
    check(
        "model: openai/small, api_base: 'http://127.0.0.1:9/v1'",
        "model: openai/small, api_base: 'http://127.0.0.1:8/v1'",
        &[
            "+ gateway: model small is answered by openai/small at http://127.0.0.1:8/v1",
            "- gateway: model small is answered by openai/small at http://127.0.0.1:9/v1",
        ],
    );
    // Another name for what the pattern answers already is nothing; one that leads elsewhere is.
    let entry = |model: &str| {
        format!(
            "model_list:\n- {{model_name: any/x, litellm_params: {{model: {model}, api_base: 'http://127.0.0.1:9/v1', api_key: k}}}}"
        )
    };
    check(
        "model_list:",
        &entry("openai/x"),
        &["- gateway: model any/x is answered by openai/* at http://127.0.0.1:9/v1"],
    );
    check(
        "model_list:",
        &entry("openai/large"),
        &["- gateway: model any/x is answered by openai/* at http://127.0.0.1:9/v1"],
    );
    check(
        "model_list:",
        &entry("groq/large"),
        &[
            "+ gateway: model any/x is answered by groq/large at http://127.0.0.1:9/v1",
            "- gateway: model any/x is answered by openai/* at http://127.0.0.1:9/v1",
        ],
    );
    check(
        "api_key: k}}\n- {model_name: any",
        "api_key: k}, model_info: {access_groups: [cheap]}}\n- {model_name: any",
        &["+ one changed: model large"],
    );
    check(
        "model_list:",
        "router_settings: {fallbacks: [{small: [large]}]}\nmodel_list:",
        &["+ one changed: model large, where small fails"],
    );
    check(
        "model_list:",
        "router_settings: {default_fallbacks: [large]}\nmodel_list:",
        &["+ one changed: model large, where another fails"],
    );
    // Nobody gains who may ask for it anyway, or might before.
    let routed = RICH.replacen(
        "model_list:",
        "router_settings: {fallbacks: [{small: [large]}]}\nmodel_list:",
        1,
    );
    let all = routed.replacen("models: [cheap, any/x]", "models: ['*']", 1);
    let (all, one) = (access(&all), access(&routed));
    assert!(!Plan::of(&all, &one, Timestamp::now()).widens());
    check("model_list:", "router_settings: {fallbacks: [{any/*: [small]}]}\nmodel_list:", &[]);
    check("model_list:", "router_settings: {num_retries: 5}\nmodel_list:", &[]);
    // What is open.
    check(
        ", admin_listen: '127.0.0.1:4001'",
        "",
        &[
            "+ gateway: other machines reach /admin at 0.0.0.0:4000",
            "- gateway: /metrics is read without a key, at 127.0.0.1:4001",
        ],
    );
    check(
        "127.0.0.1:4001",
        "0.0.0.0:4001",
        &[
            "+ gateway: other machines reach 0.0.0.0:4001",
            "+ gateway: /metrics is read without a key, at 0.0.0.0:4001",
            "- gateway: /metrics is read without a key, at 127.0.0.1:4001",
        ],
    );
    check(
        "model_list:",
        "litellm_settings: {require_auth_for_metrics_endpoint: true}\nmodel_list:",
        &["- gateway: /metrics is read without a key, at 127.0.0.1:4001"],
    );
    check(
        "listen: '0.0.0.0:4000'",
        "listen: '0.0.0.0:4000', mcp_allowed_origins: ['*']",
        &["+ gateway: pages of * may call /mcp"],
    );
    // Keys.
    check(
        ", max_budget: 5, expires: 2020-01-01",
        ", max_budget: 5",
        &["+ two changed: model large"],
    );
    check("30d}", "1d}", &["+ one changed: budgets in a year: 365 (was 12)"]);
    check(", budget_duration: 30d}", "}", &["- one changed: budgets in a year: 0 (was 12)"]);
}

#[test]
fn a_server_may_be_another_behind_its_name() {
    let check = |from: &str, to: &str, expected: &[&str]| check_in(RICH, from, to, expected);
    check(
        "http://127.0.0.1:1/mcp",
        "http://127.0.0.1:2/mcp",
        &["+ gateway: db: is http://127.0.0.1:2/mcp (was http://127.0.0.1:1/mcp)"],
    );
    let other = "is another server, or has other credentials";
    check("x-db: one", "x-db: two", &[&format!("+ gateway: db: {other}")]);
    check("TOKEN: t", "TOKEN: u", &[&format!("+ gateway: fs: {other}")]);
    check("[--root, /srv/a]", "[--root, /srv]", &[&format!("+ gateway: fs: {other}")]);
    check(
        "[/srv/a]",
        "[/srv/a/b, /srv/c]",
        &[
            "+ gateway: fs: may use the directory /srv/c",
            "- gateway: fs: may use the directory /srv/a",
        ],
    );
    check(", allowed_paths: [/srv/a]", "", &["+ gateway: fs: may use all directories"]);
    check(
        "sharing: per_key",
        "sharing: per_key, extra_headers: [authorization]",
        &["+ gateway: db: the client's header authorization is passed on"],
    );
    check("sharing: per_key", "sharing: shared", &["+ gateway: db: all keys share a session"]);
    check(
        "sharing: per_key",
        "sharing: per_session",
        &["- gateway: db: a key's clients share a session"],
    );
    check(
        "sharing: per_key",
        "sharing: per_key, sampling_model: large",
        &["+ gateway: db: may ask model large"],
    );
    check(", disallowed_tools: [drop]", "", &["+ one changed: db: tool drop, held back before"]);
    check("allowed_tools: [read], ", "", &["+ one changed: db: all its tools"]);
    check("sharing: per_key", "sharing: per_key, timeout: 5, description: a database", &[]);
    check(
        "sharing: per_key",
        "sharing: per_key, allow_all_keys: true",
        &["+ three changed: MCP server db, tools read, without drop"],
    );
}
