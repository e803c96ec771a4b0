//! Whole configurations in, problems and snapshots out. What single stages do is tested beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LoadOptions, Loaded, Problem, load};
use crate::ground::secret::KeyHash;

const CANARY: &str = "sk-canary-5f1d7c0e9b3a4826";

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    // A provider's absent key is a warning of its own, which most tests are not about.
    own.chain([("OPENAI_API_KEY".to_owned(), CANARY.to_owned())]).collect()
}

/// A directory with files in it; the first is the configuration.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn load(&self, variables: &[(&str, &str)], options: &LoadOptions) -> Loaded {
        load(&self.path("config.yaml"), &environment(variables), options)
    }
}

fn load_text(text: impl AsRef<[u8]>) -> Loaded {
    let files = Files::new(&[("config.yaml", text.as_ref())]);
    files.load(&[("SECRET", CANARY), ("NUMBER", "600")], &LoadOptions::default())
}

/// Problems without their directory, one a line.
fn lines(problems: &[Problem]) -> Vec<String> {
    let line = |problem: &Problem| {
        let directory = problem.file.parent().map(|path| format!("{}/", path.display()));
        problem.to_string().replace(&directory.unwrap_or_default(), "")
    };
    problems.iter().map(line).collect()
}

/// Loads a text and compares every problem, written `line:column: severity: text`.
#[track_caller]
fn check(text: impl AsRef<[u8]>, expected: &[&str]) {
    let loaded = load_text(text.as_ref());
    let found: Vec<String> = lines(&loaded.problems)
        .iter()
        .map(|line| line.strip_prefix("config.yaml:").unwrap_or(line).to_owned())
        .collect();
    assert_eq!(found, expected, "\n{}", String::from_utf8_lossy(text.as_ref()));
    assert_eq!(loaded.snapshot.is_none(), loaded.problems.iter().any(Problem::is_error));
}

/// A configuration with nothing to complain of, with `text` added.
fn plus(text: &str) -> String {
    format!(
        "model_list: [{{model_name: mock, litellm_params: {{model: mock-response}}}}]\n\
         general_settings: {{master_key: \"{CANARY}\"}}\n{text}"
    )
}

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
    let text = include_str!("../../tests/config/lan.yaml");
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
        [
            "config.yaml:46:16: warning: `budget_duration`, `max_budget`, `rpm_limit` in 1 entry of \
             `virtual_keys`: read and checked, but not enforced yet",
            "config.yaml:50:1: warning: `mcp_servers` are read and checked, but not served yet",
        ]
    );
    let snapshot = loaded.snapshot.unwrap();
    assert_eq!(snapshot.models.groups["house-local"].deployments.len(), 2);
    assert_eq!(
        snapshot.models.groups["house-local"].deployments[0].base.as_str(),
        "http://ollama-a:11434/v1"
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
    let text = include_str!("../../tests/config/litellm.yaml");
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
        "47:3: warning: LiteLLM's `drop_params` in `litellm_settings` is not honoured by Tidegate: \
         fields of a request are passed on as they are",
        "50:3: warning: LiteLLM's `callbacks` in `litellm_settings` is not honoured by Tidegate",
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
    assert_eq!(large.prices.input_cost_per_token, Some(2e-8));
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

/// Each file under `tests/config/problems` ends with the problems that it has, one a line after `#:`.
#[test]
fn every_problem_is_told_with_its_place() {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/problems"));
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    for path in names {
        let text = std::fs::read_to_string(&path).unwrap();
        let expected: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("#: ")).collect();
        let loaded = load_text(&text);
        let found: Vec<String> = lines(&loaded.problems)
            .iter()
            .map(|line| line.trim_start_matches("config.yaml:").to_owned())
            .collect();
        let all: String = found.iter().map(|line| format!("#: {line}\n")).collect();
        assert_eq!(found, expected, "{}\n{all}", path.display());
        assert!(!all.contains("canary"), "{all}");
    }
}

#[test]
fn faults_of_syntax_have_a_place() {
    let tag = "a tag (`!…`) that means nothing here";
    check("a: !env X\n", &[&format!("1:4: error: {tag}")]);
    check("a: !include {b: c}\n", &[&format!("1:4: error: {tag}")]);
    check("a: &b [*b]\n", &["1:8: error: an alias inside the value that it stands for"]);
    check("? [a]\n: b\n", &["1:3: error: a key must be a text"]);
    check("a: {<<: 1}\n", &["1:9: error: `<<` wants a mapping, or a list of them"]);
    check("- a\n", &["1:1: error: a configuration is a mapping of keys, not a list"]);
    check("text", &["1:1: error: a configuration is a mapping of keys, not a text"]);
    check("", &["1:1: error: the file is empty"]);
    check("# nothing\n", &["1:1: error: the file is empty"]);
    check("~\n", &["1:1: error: the file is empty"]);
    let second = "2:1: error: a second document: only one is read (remove the `---`)";
    check("a: 1\n---\nb: 2\n", &[second]);
    check("a: 1\0\n", &["1:5: error: a NUL byte: the file is not text, or not UTF-8"]);
    check(b"a: 1\nb: \xff\n", &["2:4: error: the file is not UTF-8 from here on"]);
    // The parser's own words may change; the place must be there.
    for (text, place) in [
        ("model_list:\n  - model_name: a\n   x: 1\n", "3:4: error: not YAML: "),
        ("a:\n\tb: 1\n", "2:2: error: not YAML: "),
        ("a: [1, 2\nb: 3\n", "2:2: error: not YAML: "),
        ("a: *nowhere\n", "1:4: error: not YAML: "),
        ("}", "1:1: error: not YAML: "),
    ] {
        let found = lines(&load_text(text).problems);
        assert!(found.len() == 1 && found[0].contains(place), "{text:?}: {found:?}");
    }
}

#[test]
fn what_would_take_too_much_is_refused() {
    let refused = |text: String, part: &str| {
        let loaded = load_text(&text);
        let found = lines(&loaded.problems);
        assert!(found.len() == 1 && found[0].contains(part), "{:.200}: {found:?}", text);
        assert!(loaded.snapshot.is_none());
    };
    // A billion laughs: nine levels of nine aliases.
    let mut bomb = "x-0: &a0 [ha, ha, ha]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("x-{level}: &a{level} [{aliases}]\n"));
    }
    refused(bomb, "takes more than 64 MiB");
    // The same with one large text.
    let text = "x".repeat(1_000_000);
    refused(format!("x-a: &a {text}\nx-b: [{}]\n", vec!["*a"; 200].join(", ")), "64 MiB");
    // Depth, written out and by aliases of aliases.
    refused("[".repeat(10_000), "");
    refused(format!("a: {}1{}\n", "[".repeat(10_000), "]".repeat(10_000)), "");
    refused((0..10_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(), "");
    let mut chain = "x-0: &a0 [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]\n".to_owned();
    for level in 1..50 {
        chain.push_str(&format!("x-{level}: &a{level} [[[[[[[[[[*a{}]]]]]]]]]]\n", level - 1));
    }
    refused(chain, "more than 64 levels");
    refused(format!("a: {}\n", "x".repeat(10_000_000)), "one text of more than 1 MiB");
    refused("# padding\n".repeat(1_700_000), "is larger than 16384 KiB");
    let long_key = format!("{}: 1\n", "k".repeat(2_000_000));
    assert!(load_text(long_key).snapshot.is_none());
}

#[test]
fn there_may_be_any_number_of_problems() {
    let entries: String = (0..2_000).map(|_| "  - model_name: [x]\n").collect();
    let loaded = load_text(format!("model_list:\n{entries}"));
    assert!(loaded.snapshot.is_none());
    assert!((200..=600).contains(&loaded.problems.len()), "{}", loaded.problems.len());
}

/// Wherever a file full of secrets is broken, no message tells one of them.
#[test]
fn no_message_holds_a_secret() {
    let text = "\
general_settings: {master_key: canary-master-0123456789, database_url: 'postgres://u:canary@h/d'}
model_list:
  - model_name: a
    litellm_params: {model: openai/a, api_key: canary-a7, extra_headers: {x-k: canary-b7}}
virtual_keys:
  - {api_key: canary-key-0123456789, models: [a], key_alias: one}
  - {api_key: '${SECRET}', models: ['${SECRET}'], key_alias: '${SECRET}', tags: ['${SECRET}']}
mcp_servers:
  m: {url: 'http://h', auth_type: basic, auth_value: canary-d7, api_keys: [canary-e7]}
  n: {command: x, args: ['${SECRET}'], env: {A: canary-f7}}
";
    let breakers =
        [":", "[", "{", "}", "\"", "'", "\n", "- ", "&a ", "*a ", "!x ", "\t", "#", "$", "${"];
    for (at, _) in text.char_indices() {
        let (before, after) = text.split_at(at);
        let breaker = breakers[at % breakers.len()];
        for line in lines(&load_text(format!("{before}{breaker}{after}")).problems) {
            assert!(!line.contains("canary"), "{at} {breaker:?}: {line}");
        }
    }
}

#[test]
fn included_files_are_merged() {
    let files = Files::new(&[
        ("config.yaml", b"include: [models.yaml, settings.yaml]\nmodel_list:\n  - {model_name: a, litellm_params: {model: mock}}\ngeneral_settings: {detailed_debug: true}\n"),
        ("models.yaml", b"include: more.yaml\nmodel_list:\n  - {model_name: b, litellm_params: {model: mock}}\n"),
        ("more.yaml", b"model_list: [{model_name: c, litellm_params: {model: mock}}]\n"),
        ("settings.yaml", b"general_settings: {detailed_debug: true, master_key: '${file:secret}'}\n"),
        ("secret", b"sk-canary-0123456789-0123456789\r\n"),
    ]);
    let loaded = files.load(&[], &LoadOptions { strict: true, listen: None });
    assert_eq!(lines(&loaded.problems), Vec::<String>::new());
    let names = ["config.yaml", "models.yaml", "more.yaml", "settings.yaml", "secret"];
    assert_eq!(loaded.sources, names.map(|name| files.path(name)));
    let snapshot = loaded.snapshot.unwrap();
    assert_eq!(snapshot.models.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(snapshot.keys.master, Some(KeyHash::of("sk-canary-0123456789-0123456789")));

    std::fs::write(files.path("secret"), "sk-another-0123456789-0123456789").unwrap();
    let changed = files.load(&[], &LoadOptions::default()).snapshot.unwrap();
    assert_ne!(changed.hash, snapshot.hash);
}

#[test]
fn includes_go_wrong_with_a_place() {
    let files = Files::new(&[
        ("config.yaml", b"include:\n  - b.yaml\n  - gone.yaml\ngeneral_settings: {master_key: sk-canary-0123456789-0}\nrequest_log: {retention: 1d}\n"),
        ("b.yaml", b"include: config.yaml\nmodel_list:\n  - {model_name: a, litellm_params: {model: mock}}\nrequest_log: {retention: 2d}\nlitellm_settings: {num_retries: x}\n"),
    ]);
    let loaded = files.load(&[], &LoadOptions::default());
    assert_eq!(
        lines(&loaded.problems),
        [
            "config.yaml:3:5: error: there is no file `gone.yaml`",
            "b.yaml:1:10: error: `config.yaml` is included more than once, or by itself",
            "b.yaml:4:15: error: `retention` has another value in `config.yaml`, line 5",
            "b.yaml:5:33: error: `num_retries`: expected a whole number, found a text",
        ]
    );
    assert_eq!(loaded.sources.len(), 3);
    let loaded = load(Path::new("/nowhere/config.yaml"), &BTreeMap::new(), &LoadOptions::default());
    let found: Vec<String> = loaded.problems.iter().map(Problem::to_string).collect();
    let missing = "/nowhere/config.yaml:1:1: error: there is no file `/nowhere/config.yaml`";
    assert_eq!(found, [missing]);
    assert_eq!(loaded.sources, [PathBuf::from("/nowhere/config.yaml")]);
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
    let same = super::diff(&old, &snapshot(&keys(&format!("{two}, {one}"))));
    assert!(same.is_empty());
    assert_eq!(same.to_string(), "models unchanged, keys unchanged, mcp_servers unchanged");
    let new = snapshot(
        &(keys(less) + "litellm_settings: {json_logs: true}\nmcp_servers: {m: {command: x}}\n"),
    );
    let diff = super::diff(&old, &new);
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

proptest::proptest! {
    /// Whatever the file holds, loading it ends, and without a snapshot there is an error.
    #[test]
    fn any_text_is_loaded_or_refused(
        text in "(model_list|virtual_keys|mcp_servers|[a-z&*!${}:?<> \n\t\\[\\],'\"|-]|- |: |\n  ){0,60}"
    ) {
        let loaded = load_text(&text);
        let refused = loaded.problems.iter().any(Problem::is_error);
        proptest::prop_assert_eq!(loaded.snapshot.is_none(), refused);
    }
}
