//! What configurations mean: the shipped one, the owner's, LiteLLM's, and each turn of the dialect.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::diff;
use crate::conversation::Usage;
use crate::ground::secret::KeyHash;

#[test]
fn the_shipped_configuration_is_clean() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/config.yaml"));
    let loaded = load(path, &BTreeMap::new(), &LoadOptions { strict: true, listen: None });
    assert_eq!(loaded.problems, []);
    let snapshot = loaded.snapshot.unwrap();
    let quickstart = KeyHash::of("sk-tidegate-quickstart-change-me-0001");
    assert!(snapshot.keys.virtual_keys.contains_key(&quickstart));
    assert!(snapshot.models.find("gpt-4o-mock").is_some());
    assert_eq!(snapshot.listen.to_string(), "127.0.0.1:4000");

    let listen = "0.0.0.0:4000".parse().ok();
    let loaded = load(path, &BTreeMap::new(), &LoadOptions { strict: false, listen });
    assert!(loaded.snapshot.is_none());
    assert!(loaded.problems.iter().any(|p| p.message.contains("the quick start's")));
}

/// Every commented example in the shipped file is a configuration too.
#[test]
fn the_shipped_examples_load() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/config.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let uncomment = |line: &str| match line.split_once("# ") {
        Some((indent, rest)) if indent.trim().is_empty() && is_yaml(rest) => {
            format!("{indent}{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    let text: String = text.lines().map(uncomment).collect();
    let text = text.replace("<the digest that `tidegate keys new` prints>", &"0".repeat(64));
    let text = text.replace("include: [models.yaml, keys.yaml]\n", "");
    let text = text.replace("/run/secrets/anthropic_api_key", "secret");
    let files = Files::new(&[("config.yaml", text.as_bytes()), ("secret", b"sk-ant-canary\n")]);
    let variables = [
        ("LITELLM_MASTER_KEY", "sk-0123456789abcdef0123456789"),
        ("DATABASE_URL", "postgres://tidegate@localhost/tidegate"),
        ("OPENROUTER_API_KEY", CANARY),
    ];
    let loaded = files.load(&variables, &LoadOptions { strict: true, listen: None });
    assert_eq!(lines(&loaded.problems), Vec::<String>::new(), "{text}");
    let snapshot = loaded.snapshot.unwrap();
    assert_eq!(snapshot.models.groups.len(), 4);
    assert_eq!(snapshot.models.wildcards.len(), 1);
    assert_eq!(snapshot.sources.len(), 2);
}

fn is_yaml(text: &str) -> bool {
    let text = text.trim_start().trim_start_matches("- ");
    let key = text.split(':').next().unwrap_or_default();
    text.contains(':')
        && !key.contains(' ')
        && key != "yaml-language-server"
        && !text.starts_with("http")
        && !text.starts_with("${")
}

#[test]
fn the_owners_lan_configuration_loads_unmodified() {
    let text = include_str!("../../../tests/config/lan.yaml");
    let files = Files::new(&[("config.yaml", text.as_bytes())]);
    let variables = [
        ("LITELLM_MASTER_KEY", "sk-canary-master-0123456789"),
        ("DATABASE_URL", "postgres://user:canary@host/database"),
        ("ANTHROPIC_API_KEY", "sk-canary-a7nthropic-012345"),
        ("VIRTUAL_KEY_TEST", "sk-canary-test-0123456789"),
        ("VIRTUAL_KEY_WEBUI", "sk-canary-webui-0123456789"),
        ("MCP_MONITORING_TOKEN", "canary"),
    ];
    let loaded = files.load(&variables, &LoadOptions { strict: true, listen: None });
    assert_eq!(
        lines(&loaded.problems),
        ["config.yaml:46:16: warning: `budget_duration`, `max_budget`, `rpm_limit` in 1 entry of \
             `virtual_keys`: read and checked, but not enforced yet",]
    );
    let snapshot = loaded.snapshot.unwrap();
    assert_eq!(snapshot.models.groups["house-local"].deployments.len(), 2);
    assert_eq!(
        snapshot.models.groups["house-local"].deployments[0].base.as_str(),
        "http://ollama-a:11434/"
    );
    let key = &snapshot.keys.virtual_keys[&KeyHash::of("sk-canary-webui-0123456789")];
    assert!(key.allows_model("house-claude") && !key.allows_model("gpt-4o-mock"));
    assert_eq!(key.limits.budget_duration, Some(Duration::from_secs(30 * 86_400)));
    let postgres = &snapshot.mcp_servers["mcp_postgres"];
    assert_eq!(postgres.aliases, ["db"]);
    assert_eq!(postgres.api_keys.as_ref().map(|keys| keys.len()), Some(2));
    assert!(!format!("{snapshot:?}").contains("canary"));

    // Without the variables every one of them is told, and nothing that follows from it.
    let loaded = files.load(&[], &LoadOptions::default());
    let errors: Vec<&Problem> = loaded.problems.iter().filter(|p| p.is_error()).collect();
    assert_eq!(errors.len(), 8);
    assert!(errors.iter().all(|problem| problem.message.contains("is not set")));
}

#[test]
fn an_ordinary_litellm_configuration_loads() {
    let text = include_str!("../../../tests/config/litellm.yaml");
    let files = Files::new(&[("config.yaml", text.as_bytes())]);
    let variables = [
        ("AZURE_API_BASE", "https://eu.openai.azure.com"),
        ("AZURE_API_KEY", "azure-canary-0123456789"),
        ("OPENROUTER_API_KEY", CANARY),
        ("LITELLM_MASTER_KEY", "sk-canary-master-0123456789"),
        ("DATABASE_URL", "postgres://user:canary@host/database"),
        ("REDIS_HOST", "canary"),
    ];
    let loaded = files.load(&variables, &LoadOptions { strict: true, listen: None });
    let found: Vec<String> = lines(&loaded.problems)
        .iter()
        .map(|line| line.trim_start_matches("config.yaml:").to_owned())
        .collect();
    let ignored = [
        "9:12: warning: `rpm` in 2 entries of `model_list`: read and checked, but not enforced yet",
        "19:7: warning: LiteLLM's `temperature` in `litellm_params` is not honoured by Tidegate: put \
         it into `extra_body` to send it with every request",
        "38:7: warning: LiteLLM's `use_in_pass_through` in `litellm_params` is not honoured by Tidegate",
        "44:5: warning: LiteLLM's `credential_info` in `credential_list` is not honoured by Tidegate",
        "50:3: warning: LiteLLM's callback `langfuse` is not honoured by Tidegate",
        "51:3: warning: LiteLLM's `cache` in `litellm_settings` is not honoured by Tidegate",
        "52:3: warning: LiteLLM's `cache_params` in `litellm_settings` is not honoured by Tidegate",
        "59:3: warning: LiteLLM's `enable_pre_call_checks` in `router_settings` is not honoured by Tidegate",
        "60:3: warning: LiteLLM's `redis_host` in `router_settings` is not honoured by Tidegate: \
         Tidegate is one process and keeps its state in it",
        "61:3: warning: LiteLLM's `allowed_fails` in `router_settings` is not honoured by Tidegate: \
         a deployment is passed over after one failure, while its group has others",
        "66:3: warning: LiteLLM's `database_connection_pool_limit` in `general_settings` is not \
         honoured by Tidegate",
        "68:3: warning: LiteLLM's `alerting` in `general_settings` is not honoured by Tidegate",
        "70:1: warning: LiteLLM's `environment_variables` is not honoured by Tidegate: set the \
         variables in the environment of the process",
    ];
    assert_eq!(found, ignored);
    let snapshot = loaded.snapshot.unwrap();
    let group = &snapshot.models.groups["gpt-4o"];
    assert_eq!(group.deployments.iter().map(|d| d.weight).collect::<Vec<_>>(), [900.0, 300.0]);
    assert_eq!(group.deployments[0].api_version.as_deref(), Some("2024-10-21"));
    assert_eq!(group.deployments[0].info["mode"], "chat");
    let large = &snapshot.models.groups["text-embedding-3-large"].deployments[0];
    assert_eq!(large.model.as_str(), "text-embedding-3-large");
    let usage = Usage { input: Some(1_000), ..Usage::default() };
    let cost = large.prices.of("text-embedding-3-large", None).and_then(|it| it.cost(&usage, 0));
    assert_eq!(cost.map(|usd| usd.to_string()).as_deref(), Some("0.00002"));
    assert!(large.api_key.as_ref().is_some_and(|key| key.expose() == CANARY));
    assert_eq!(snapshot.models.groups["text-embedding-3-small"].deployments[0].id, "embedding-1");
    assert_eq!(snapshot.models.find("openrouter/a/b").unwrap().captured, ["a/b"]);
    assert_eq!(snapshot.models.find("gpt-4").unwrap().group.name, "gpt-4o");
    assert_eq!(snapshot.routing.num_retries, 3);
    assert_eq!(snapshot.routing.timeout, Duration::from_secs(120));
    assert_eq!(snapshot.routing.fallbacks["gpt-4o"], ["fake"]);
    assert_eq!(snapshot.request_log.retention, Some(Duration::from_secs(30 * 86_400)));
    assert!(snapshot.diagnostics.json_logs);
}

#[test]
fn references_stand_for_numbers_and_truths_too() {
    let loaded = load_text(plus(
        "virtual_keys: [{api_key: \"${SECRET}-2\", models: ['*'], rpm_limit: \"${NUMBER}\", \
         blocked: \"${NONE:-true}\", max_budget: \"${NONE:-}\"}]\n",
    ));
    let snapshot = loaded.snapshot.unwrap();
    let key = &snapshot.keys.virtual_keys[&KeyHash::of(&format!("{CANARY}-2"))];
    assert_eq!(key.limits.rpm_limit, Some(600));
    assert!(key.blocked);
    assert_eq!(key.limits.max_budget, None);
}

#[test]
fn strictness_is_about_unknown_keys() {
    let text = plus("model_lst: []\nguardrails: []\n");
    let files = Files::new(&[("config.yaml", text.as_bytes())]);
    assert!(files.load(&[], &LoadOptions::default()).snapshot.is_some());
    let strict = files.load(&[], &LoadOptions { strict: true, listen: None });
    assert!(strict.snapshot.is_none());
    assert_eq!(strict.problems.iter().filter(|problem| problem.is_error()).count(), 1);
    let json = serde_json::to_value(&strict.problems).unwrap();
    assert_eq!(json[0]["severity"], "error");
    assert_eq!(json[0]["line"], 3);
    assert_eq!(json[0]["suggestion"], "model_list");
}

#[test]
fn the_environment_stands_in() {
    let text = "model_list: [{model_name: a, litellm_params: {model: groq/a}}]\n";
    let files = Files::new(&[("config.yaml", text.as_bytes())]);
    let variables = [
        ("LITELLM_MASTER_KEY", "sk-canary-0123456789-0123456789"),
        ("DATABASE_URL", "postgresql://host/db"),
        ("GROQ_API_KEY", "groq-canary"),
    ];
    let snapshot = files.load(&variables, &LoadOptions::default()).snapshot.unwrap();
    assert_eq!(snapshot.keys.master, Some(KeyHash::of("sk-canary-0123456789-0123456789")));
    assert!(snapshot.request_log.database_url.is_some());
    let key = snapshot.models.groups["a"].deployments[0].api_key.as_ref();
    assert!(key.is_some_and(|key| key.expose() == "groq-canary"));
    let other = files.load(&[], &LoadOptions::default()).snapshot.unwrap();
    assert_ne!(other.hash, snapshot.hash);
    assert!(other.keys.is_open());
}

#[test]
fn access_groups_and_weights() {
    let loaded = load_text(
        "general_settings: {master_key: sk-canary-0123456789-0}
model_list:
  - {model_name: a, litellm_params: {model: mock, rpm: 300}, model_info: {access_groups: [g]}}
  - {model_name: a, litellm_params: {model: mock, rpm: 100}}
  - {model_name: a, litellm_params: {model: mock}}
  - {model_name: b, litellm_params: {model: mock, weight: 3, rpm: 1}}
  - {model_name: b, litellm_params: {model: mock, rpm: 7}}
  - {model_name: 'w/*', litellm_params: {model: mock/*}, model_info: {access_groups: [g]}}
  - {model_name: 'w/x-*', litellm_params: {model: mock/*}}
virtual_keys: [{api_key: sk-canary-0123456789-1, models: [g]}]
",
    );
    let snapshot = loaded.snapshot.unwrap();
    let weights = |name: &str| -> Vec<f64> {
        snapshot.models.groups[name].deployments.iter().map(|d| d.weight).collect()
    };
    assert_eq!(weights("a"), [300.0, 100.0, 200.0]);
    assert_eq!(weights("b"), [3.0, 3.0]);
    let key = &snapshot.keys.virtual_keys[&KeyHash::of("sk-canary-0123456789-1")];
    assert!(key.allows_model("a") && key.allows_model("w/1") && !key.allows_model("b"));
    assert_eq!(snapshot.models.find("w/x-1").unwrap().group.name, "w/x-*");
    let ids: std::collections::HashSet<_> = snapshot.models.deployments().map(|d| &d.id).collect();
    assert_eq!(ids.len(), 7);
}

#[test]
fn a_diff_names_what_changed() {
    let snapshot = |text: &str| load_text(plus(text)).snapshot.unwrap();
    let keys = |list: &str| format!("virtual_keys: [{list}]\n");
    let one = "{api_key: sk-canary-0123456789-1, models: ['*'], key_alias: one}";
    let two = "{api_key: sk-canary-0123456789-2, models: ['*'], key_alias: two}";
    let less = "{api_key: sk-canary-0123456789-1, models: [mock], key_alias: one}";
    let old = snapshot(&keys(&format!("{one}, {two}")));
    let same = diff(&old, &snapshot(&keys(&format!("{two}, {one}"))));
    assert!(same.is_empty());
    assert_eq!(same.to_string(), "models unchanged, keys unchanged, mcp_servers unchanged");
    let new = snapshot(
        &(keys(less) + "litellm_settings: {json_logs: true}\nmcp_servers: {m: {command: x}}\n"),
    );
    let diff = diff(&old, &new);
    assert_eq!(
        diff.to_string(),
        "models unchanged, keys +0 -1 ~1, mcp_servers +1 -0 ~0, settings changed: diagnostics"
    );
    assert_eq!(
        (diff.keys.removed, diff.keys.changed),
        (vec!["two".to_owned()], vec!["one".to_owned()])
    );
}

#[test]
fn litellms_long_form_of_an_alias() {
    let aliases =
        "router_settings: {model_group_alias: {a: mock, b: {model: mock, hidden: true}}}\n";
    let hidden =
        "3:48: warning: LiteLLM's `hidden` is not honoured by Tidegate: the alias is listed";
    check(plus(aliases), &[hidden]);
}

#[test]
fn a_known_key_is_known_by_its_digest() {
    let digest = KeyHash::of("sk-tidegate-quickstart-change-me-0001").to_hex();
    let text = plus(&format!("virtual_keys: [{{api_key: 'sha256:{digest}', models: ['*']}}]\n"));
    let files = Files::new(&[("config.yaml", text.as_bytes())]);
    assert_eq!(files.load(&[], &LoadOptions::default()).problems, []);
    let listen = "[::]:1".parse().ok();
    assert!(files.load(&[], &LoadOptions { strict: false, listen }).snapshot.is_none());
}
