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

/// Problems without the directory, one a line.
fn lines(problems: &[Problem]) -> Vec<String> {
    let line = |problem: &Problem| {
        let name = problem.file.file_name().unwrap_or_default();
        Problem { file: PathBuf::from(name), ..problem.clone() }.to_string()
    };
    problems.iter().map(line).collect()
}

/// Loads a text and compares every problem, written `line:column: severity: text`.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let loaded = load_text(text);
    let found: Vec<String> = lines(&loaded.problems)
        .iter()
        .map(|line| line.strip_prefix("config.yaml:").unwrap_or(line).to_owned())
        .collect();
    assert_eq!(found, expected, "\n{text}");
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
        ("ANTHROPIC_API_KEY", "sk-canary-anthropic-012345"),
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
        snapshot.models.groups["house-local"].deployments[0].base,
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
