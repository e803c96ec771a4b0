//! The configuration in force with the place that each value comes from: file and line, a variable, the command line, or a default.
//! Secrets are not shown; where a reference stands for one, the reference is.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use super::compare::is_seal;
use super::node::{self, Node, Scalar};
use super::outline::{self, Seals, Section};
use super::problem::{Place, Problem};
use super::snapshot::Snapshot;
use super::{Environment, LoadOptions, load_with_tree};
use crate::ground::secret::{KeyHash, Secret};
use crate::wire::catalogue;

/// Every setting in force.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// As [`Snapshot::hash`].
    pub hash: String,
    pub settings: Vec<Setting>,
    /// Files of the configuration in which a secret stands as it is, and not as a reference or a digest.
    #[serde(skip)]
    pub files_with_secrets: Vec<PathBuf>,
}

/// One value in force.
#[derive(Debug, Serialize)]
pub struct Setting {
    /// Keys and, in lists, numbers from 0: `["model_list", 0, "model_name"]`.
    pub path: Vec<Step>,
    pub value: Value,
    /// `config.yaml:7`, `variable DATABASE_URL`, `command line` or `default`; behind a place, the references that stand there.
    pub origin: String,
}

/// A step into the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// Loads a configuration and tells every value that is in force under it.
///
/// # Errors
/// Every problem, when one of them is an error.
pub fn show(
    path: &Path,
    environment: &dyn Environment,
    options: &LoadOptions,
) -> Result<Shown, Vec<Problem>> {
    let (loaded, root) = load_with_tree(path, environment, options);
    let (Some(snapshot), Some(root)) = (loaded.snapshot, root) else {
        return Err(loaded.problems);
    };
    let outline = outline::outline(&snapshot, &Seals::Blank);
    let mut writer = Writer {
        root: &root,
        sources: &loaded.sources,
        listen_was_said: options.listen.is_some(),
        settings: Vec::new(),
        files_with_secrets: Vec::new(),
    };
    writer.models(&outline.models);
    writer.keys(&outline.virtual_keys);
    writer.servers(&outline.mcp_servers);
    for (section, values) in &outline.settings {
        for (key, value) in values.as_object().into_iter().flatten() {
            writer.setting(section, key, value);
        }
    }
    let Writer { settings, files_with_secrets, .. } = writer;
    Ok(Shown { hash: snapshot.hash, settings, files_with_secrets })
}

/// The master key as the configuration or the environment holds it; `None` where it holds only its digest, or none. For whoever asks
/// a running gateway something.
pub fn master_key(path: &Path, environment: &dyn Environment) -> Option<Secret> {
    let (_, root) = load_with_tree(path, environment, &LoadOptions::default());
    let sections = ["general_settings", "litellm_settings"];
    let written = root.as_ref().and_then(|root| {
        sections.iter().find_map(|section| scalar(root.get(section)?.get("master_key")?))
    });
    let key = match written {
        Some(scalar) => Secret::new(scalar.text.as_str()),
        None => Secret::new(environment.variable("LITELLM_MASTER_KEY")?.into_string().ok()?),
    };
    Some(key).filter(|key| !key.expose().is_empty() && !key.expose().starts_with("sha256:"))
}

/// Where a gateway that serves this snapshot answers its operator.
pub fn admin_address(snapshot: &Snapshot) -> std::net::SocketAddr {
    snapshot.admin_listen.unwrap_or(snapshot.listen)
}

fn scalar(node: &Node) -> Option<&Scalar> {
    match &node.value {
        node::Value::Scalar(scalar) if !scalar.is_null() => Some(scalar),
        _ => None,
    }
}

/// A section and a key in it.
type Named = (&'static str, &'static str);

/// Other places where a setting may be said, by section and key.
const ELSEWHERE: [(&str, &str, &[Named]); 12] = [
    ("general_settings", "master_key", &[("litellm_settings", "master_key")]),
    ("general_settings", "database_url", &[("litellm_settings", "database_url")]),
    (
        "general_settings",
        "log_level",
        &[("general_settings", "detailed_debug"), ("litellm_settings", "set_verbose")],
    ),
    ("router_settings", "num_retries", &[("litellm_settings", "num_retries")]),
    ("router_settings", "timeout", &[("litellm_settings", "request_timeout")]),
    (
        "router_settings",
        "stream_timeout",
        &[("router_settings", "timeout"), ("litellm_settings", "request_timeout")],
    ),
    ("router_settings", "fallbacks", &[("litellm_settings", "fallbacks")]),
    ("router_settings", "default_fallbacks", &[("litellm_settings", "default_fallbacks")]),
    ("request_log", "retention", &[("general_settings", "maximum_spend_logs_retention_period")]),
    ("litellm_params", "drop_params", &[("litellm_settings", "drop_params")]),
    ("litellm_params", "modify_params", &[("litellm_settings", "modify_params")]),
    ("litellm_params", "on_loss", &[("litellm_settings", "on_loss")]),
];

/// Other names of keys within one mapping.
const SYNONYMS: [(&str, &[&str]); 6] = [
    ("api_base", &["base_url", "aws_bedrock_runtime_endpoint", "vertex_location"]),
    ("static_headers", &["headers", "auth_value", "authentication_token"]),
    ("tool_names", &["tool_name_to_display_name"]),
    ("tool_descriptions", &["tool_name_to_description"]),
    ("weight", &["rpm", "tpm"]),
    ("prefix", &["alias"]),
];

/// Variables that stand in for a setting that is absent.
const VARIABLES: [(&str, &str); 8] = [
    ("master_key", "LITELLM_MASTER_KEY"),
    ("database_url", "DATABASE_URL"),
    ("vertex_credentials", "GOOGLE_APPLICATION_CREDENTIALS"),
    ("aws_region_name", "AWS_REGION_NAME or AWS_REGION"),
    ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
    ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("aws_session_token", "AWS_SESSION_TOKEN"),
    ("stream_timeout", ""),
];

/// Texts that may be shown though they came from the environment: addresses and names.
const PLAIN: [&str; 9] = [
    "listen",
    "admin_listen",
    "api_base",
    "api_version",
    "url",
    "model",
    "path",
    "command",
    "mcp_lock_file",
];

struct Writer<'w> {
    root: &'w Node,
    sources: &'w [PathBuf],
    listen_was_said: bool,
    settings: Vec<Setting>,
    files_with_secrets: Vec<PathBuf>,
}

impl Writer<'_> {
    fn add(&mut self, path: Vec<Step>, value: Value, origin: String) {
        self.settings.push(Setting { path, value, origin });
    }

    fn holds_a_secret(&mut self, place: Place) {
        let file = self.sources.get(usize::from(place.file));
        let is_new = |file: &&PathBuf| !self.files_with_secrets.contains(file);
        let file = file.filter(is_new).cloned();
        self.files_with_secrets.extend(file);
    }

    /// Where a value stands, and what it refers to.
    fn origin(&self, node: &Node) -> String {
        let references = references(node).join(" ");
        let sign = if references.is_empty() { "" } else { ", " };
        format!("{}{sign}{references}", self.place(node.place))
    }

    fn place(&self, place: Place) -> String {
        let file = self.sources.get(usize::from(place.file));
        let file = file.map(|file| file.display().to_string()).unwrap_or_default();
        format!("{file}:{}", place.line)
    }

    fn setting(&mut self, section: &str, key: &str, value: &Value) {
        let path = [section, key].map(|step| Step::Key(step.to_owned()));
        if key == "listen" && self.listen_was_said {
            return self.add(path.into(), value.clone(), "command line".to_owned());
        }
        let own = self.root.get(section).and_then(|section| section.get(key));
        let node = own.or_else(|| elsewhere(self.root, section, key));
        self.value(path.into(), value, node, None);
    }

    /// One value: at its node's place, below it, or by default.
    fn value(
        &mut self,
        path: Vec<Step>,
        value: &Value,
        node: Option<&Node>,
        default: Option<String>,
    ) {
        if let Value::Object(entries) = value
            && !is_seal(entries)
        {
            return self.mapping(&path, entries, node);
        }
        let default = default.or_else(|| match path.as_slice() {
            [_, Step::Key(key)] => variable(key),
            _ => None,
        });
        if has_seal(value)
            && let Some(node) = node.filter(|node| references(node).is_empty())
        {
            self.holds_a_secret(node.place);
        }
        let origin = match (node, default) {
            (Some(node), _) => self.origin(node),
            (None, Some(default)) => default,
            (None, None) => "default".to_owned(),
        };
        let name = path.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        });
        let shown = veil(value, node, name.unwrap_or_default());
        self.add(path, shown, origin);
    }

    fn mapping(&mut self, path: &[Step], entries: &Map<String, Value>, node: Option<&Node>) {
        for (key, value) in entries {
            let below = node.and_then(|node| node.get(key));
            // Credentials of MCP servers stand in a header that has no line of its own.
            let below = below.or(node.filter(|node| scalar(node).is_some()));
            let mut path = path.to_vec();
            path.push(Step::Key(key.clone()));
            self.value(path, value, below, None);
        }
    }

    fn models(&mut self, models: &Section) {
        let nodes = items(self.root.get("model_list"));
        let mut index = 0;
        for (name, deployments) in models {
            let of_group: Vec<&Node> = nodes
                .iter()
                .copied()
                .filter(|node| text_at(node, "model_name") == Some(name))
                .collect();
            for (entry, node) in deployments.as_array().into_iter().flatten().zip(of_group) {
                let path = |steps: &[&str]| -> Vec<Step> {
                    let start = [Step::Key("model_list".to_owned()), Step::Index(index)];
                    let steps = steps.iter().map(|step| Step::Key((*step).to_owned()));
                    start.into_iter().chain(steps).collect()
                };
                let value = Value::from(name.as_str());
                self.value(path(&["model_name"]), &value, node.get("model_name"), None);
                let info = node.get("model_info");
                let id = info.and_then(|info| info.get("id"));
                let by = "default: a digest of the entry".to_owned();
                let value = entry.get("id").cloned().unwrap_or_default();
                self.value(path(&["model_info", "id"]), &value, id, Some(by));
                for (key, value) in section(entry, "model_info") {
                    if key != "id" {
                        let below = info.and_then(|info| info.get(key));
                        self.value(path(&["model_info", key]), value, below, None);
                    }
                }
                for (key, value) in section(entry, "litellm_params") {
                    self.parameter(path(&["litellm_params", key]), key, value, node);
                }
                index += 1;
            }
        }
    }

    fn parameter(&mut self, path: Vec<Step>, key: &str, value: &Value, entry: &Node) {
        let root = self.root;
        let params = entry.get("litellm_params");
        let own = params.and_then(|params| with_synonyms(params, key));
        let credential = || {
            let name = text_at(params?, "litellm_credential_name")?;
            let entry = items(root.get("credential_list"))
                .into_iter()
                .find(|entry| text_at(entry, "credential_name") == Some(name))?;
            with_synonyms(entry.get("credential_values")?, key)
        };
        let general = || elsewhere(root, "litellm_params", key);
        let node = own.or_else(credential).or_else(general);
        let default = match key {
            "api_base" => Some("default of the provider".to_owned()),
            "api_key" => params
                .and_then(|params| text_at(params, "model"))
                .and_then(|model| catalogue::find(model, true))
                .and_then(|(provider, _)| provider.key_variable)
                .map(|name| format!("variable {name}")),
            _ => variable(key),
        };
        self.value(path, value, node, default);
    }

    fn keys(&mut self, keys: &Section) {
        let nodes = items(self.root.get("virtual_keys"));
        for (index, (id, entry)) in keys.iter().enumerate() {
            let node = nodes.iter().copied().find(|node| key_id(node).as_ref() == Some(id));
            let start = [Step::Key("virtual_keys".to_owned()), Step::Index(index)];
            let path = |key: &str| -> Vec<Step> {
                start.iter().cloned().chain([Step::Key(key.to_owned())]).collect()
            };
            let api_key = node.and_then(|node| with_synonyms(node, "api_key").or(node.get("key")));
            // Never the key, and no more of its digest than stands in rows.
            let origin = api_key.map(|node| self.origin(node)).unwrap_or_default();
            if let Some(node) = api_key
                && let Some(scalar) = scalar(node)
                && scalar.references.is_empty()
                && !scalar.text.starts_with("sha256:")
            {
                self.holds_a_secret(node.place);
            }
            self.add(path("api_key"), Value::from(format!("sha256:{id}…")), origin);
            for (key, value) in entry.as_object().into_iter().flatten() {
                self.value(path(key), value, node.and_then(|node| node.get(key)), None);
            }
        }
    }

    fn servers(&mut self, servers: &Section) {
        let aliases = self.root.get("litellm_settings").and_then(|all| all.get("mcp_aliases"));
        for (name, entry) in servers {
            let node = self.root.get("mcp_servers").and_then(|servers| servers.get(name));
            for (key, value) in entry.as_object().into_iter().flatten() {
                let path = ["mcp_servers", name, key].map(|step| Step::Key(step.to_owned()));
                let own = node.and_then(|node| with_synonyms(node, key));
                let below = own.or(aliases.filter(|_| key == "alias"));
                self.value(path.into(), value, below, None);
            }
        }
    }
}

/// Where a setting stands that is not said in its own place.
fn elsewhere<'r>(root: &'r Node, section: &str, key: &str) -> Option<&'r Node> {
    let (.., others) = ELSEWHERE.iter().find(|(of, name, _)| *of == section && *name == key)?;
    others.iter().find_map(|(section, key)| root.get(section)?.get(key))
}

fn items(node: Option<&Node>) -> Vec<&Node> {
    match node.map(|node| &node.value) {
        Some(node::Value::List(items)) => items.iter().collect(),
        _ => Vec::new(),
    }
}

fn section<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    value.get(key).and_then(Value::as_object).into_iter().flatten()
}

fn text_at<'n>(node: &'n Node, key: &str) -> Option<&'n String> {
    scalar(node.get(key)?).map(|scalar| &*scalar.text)
}

fn with_synonyms<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let others = SYNONYMS.iter().find(|(name, _)| *name == key).map(|(_, others)| *others);
    let others = others.unwrap_or_default().iter().copied();
    std::iter::once(key).chain(others).find_map(|name| node.get(name))
}

fn key_id(entry: &Node) -> Option<String> {
    let text = text_at(entry, "api_key").or_else(|| text_at(entry, "key"))?;
    let hash = match text.strip_prefix("sha256:") {
        Some(hex) => KeyHash::from_hex(hex.trim())?,
        None => KeyHash::of(text),
    };
    Some(hash.id())
}

fn variable(key: &str) -> Option<String> {
    let (_, name) = VARIABLES.iter().find(|(name, _)| *name == key)?;
    Some(if name.is_empty() {
        "default: as timeout".to_owned()
    } else {
        format!("variable {name}")
    })
}

/// Whether a secret is in the value.
fn has_seal(value: &Value) -> bool {
    match value {
        Value::Object(entries) => is_seal(entries) || entries.values().any(has_seal),
        Value::Array(items) => items.iter().any(has_seal),
        _ => false,
    }
}

/// Every reference at a node and below it.
fn references(node: &Node) -> Vec<String> {
    match &node.value {
        node::Value::Scalar(scalar) => scalar.references.clone(),
        node::Value::List(items) => items.iter().flat_map(references).collect(),
        node::Value::Map(entries) => {
            entries.iter().flat_map(|(_, node)| references(node)).collect()
        }
    }
}

/// The value for people's eyes: no secret, and of what came from the environment only what names something.
fn veil(value: &Value, node: Option<&Node>, name: &str) -> Value {
    let is_hidden = |node: &Node| matches!(&node.value, node::Value::Scalar(it) if it.hidden);
    match value {
        Value::Object(entries) if is_seal(entries) => Value::from("(secret)"),
        Value::Array(values) => {
            let nodes = items(node);
            let veiled = values.iter().enumerate();
            veiled.map(|(at, value)| veil(value, nodes.get(at).copied(), name)).collect()
        }
        Value::String(_) if !PLAIN.contains(&name) && node.is_some_and(is_hidden) => {
            Value::from("(from the environment)")
        }
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_value_has_its_origin_and_no_secret_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        let text = "\
model_list:
- model_name: a
  litellm_params: {model: openai/up, api_base: '${BASE}/v1', weight: 2, api_key: '${file:key}'}
  model_info: {note: '${NOTE}'}
- model_name: b
  litellm_params: {model: openai/up}
mcp_servers:
  db: {url: 'http://h/mcp?key=canary-5', auth_type: bearer_token, auth_value: canary-6}
virtual_keys:
- {api_key: '${VIRTUAL}', key_alias: one, models: [a]}
general_settings:
  database_url: 'postgres://u:${PASSWORD:-canary-7}@h/d'
litellm_settings: {request_timeout: 60, set_verbose: true}
";
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("key"), "canary-4").unwrap();
        let environment: BTreeMap<String, String> = [
            ("BASE", "https://base"),
            ("NOTE", "canary-0"),
            ("PASSWORD", "canary-1"),
            ("VIRTUAL", "sk-canary-2-0123456789"),
            ("OPENAI_API_KEY", "canary-3"),
            ("LITELLM_MASTER_KEY", "sk-canary-8-0123456789"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let shown = show(&path, &environment, &LoadOptions::default());
        let shown = serde_json::to_string(&shown.unwrap()).unwrap();
        assert!(!shown.contains("canary"), "{shown}");
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let found = |path: &[&str]| -> (Value, String) {
            let steps: Vec<Value> = path
                .iter()
                .map(|step| step.parse::<u64>().map_or_else(|_| Value::from(*step), Value::from))
                .collect();
            let settings = shown["settings"].as_array().unwrap();
            let found = settings.iter().find(|it| it["path"] == Value::from(steps.clone()));
            let found = found.unwrap_or_else(|| panic!("{steps:?} in {shown:#}"));
            let origin = found["origin"].as_str().unwrap();
            let origin = origin.rsplit('/').next().unwrap().to_owned();
            (found["value"].clone(), origin)
        };
        #[track_caller]
        fn check(found: (Value, String), value: impl Into<Value>, origin: &str) {
            assert_eq!(found, (value.into(), origin.to_owned()));
        }
        let params = |key| ["model_list", "0", "litellm_params", key];
        check(found(&["general_settings", "log_level"]), "debug", "c.yaml:13");
        check(found(&params("model")), "openai/up", "c.yaml:3");
        check(found(&params("api_base")), "https://base/v1", "c.yaml:3, ${BASE}");
        check(found(&params("api_key")), "(secret)", "c.yaml:3, ${file:key}");
        let other = ["model_list", "1", "litellm_params", "api_key"];
        check(found(&other), "(secret)", "variable OPENAI_API_KEY");
        check(found(&params("weight")), 2.0, "c.yaml:3");
        check(found(&params("order")), 0, "default");
        let note = ["model_list", "0", "model_info", "note"];
        check(found(&note), "(from the environment)", "c.yaml:4, ${NOTE}");
        let header = ["mcp_servers", "db", "static_headers", "authorization"];
        check(found(&header), "(secret)", "c.yaml:8");
        check(found(&["router_settings", "timeout"]), 60, "c.yaml:13");
        check(found(&["router_settings", "stream_timeout"]), 60, "c.yaml:13");
        check(found(&["general_settings", "listen"]), "127.0.0.1:4000", "default");
        check(found(&["general_settings", "database_url"]), "(secret)", "c.yaml:12, ${PASSWORD}");
        let (_, master) = found(&["general_settings", "master_key"]);
        assert_eq!(master, "variable LITELLM_MASTER_KEY");
        let (_, key) = found(&["virtual_keys", "0", "api_key"]);
        assert_eq!(key, "c.yaml:10, ${VIRTUAL}");
    }
}
