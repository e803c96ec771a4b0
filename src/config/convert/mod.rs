//! A LiteLLM configuration becomes a Tidegate one: what both have stays, what is spelled otherwise is respelled, and of everything it is
//! told whether it does the same, nearly the same, wants a hand, or is not there. What comes out loads: it is checked before it is
//! given out. References are not followed, so no secret is read.

mod models;
mod providers;
mod rules;
mod yaml;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde::Serialize;

use super::node::{Key, Node, Value};
use super::problem::{Findings, Place, Problem, show_key};
use super::resolve::{Environment, read_bounded};
use super::{LoadOptions, known, load};
use rules::Rule;

/// How well a setting is carried over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It does the same.
    Exact,
    /// It does nearly the same, or so it is anyway.
    Approximate,
    /// A person has to do something.
    Manual,
    /// There is nothing like it.
    Unsupported,
}

/// What became of one setting.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    pub path: String,
    /// In the file that was converted; 0: it is not in there.
    pub line: u32,
    pub verdict: Verdict,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

/// A configuration that was converted.
#[derive(Debug, Serialize)]
pub struct Converted {
    /// The new file's text.
    pub config: String,
    /// Every setting, in the order of the file.
    pub items: Vec<Item>,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Approximate => "approximate",
            Self::Manual => "manual",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Converts a file. `include`d files are named and have to be converted one by one.
///
/// # Errors
/// The file cannot be read, or is not YAML.
pub fn convert(path: &Path) -> Result<Converted, Vec<Problem>> {
    let mut findings = Findings::default();
    let bytes = match read_bounded(path, super::load::MOST_BYTES) {
        Ok(bytes) => bytes,
        Err(message) => {
            findings.error(Place { file: 0, line: 1, column: 1 }, message);
            return Err(findings.into_problems(&[path.to_owned()]));
        }
    };
    let tree = super::load::parse(&bytes, 0, &mut findings);
    let Some(Node { value: Value::Map(entries), place }) = tree else {
        findings
            .error(Place { file: 0, line: 1, column: 1 }, "a configuration is a mapping of keys");
        return Err(findings.into_problems(&[path.to_owned()]));
    };
    let mut converter = Converter::default();
    for problem in findings.into_problems(&[path.to_owned()]) {
        let place = Place { file: 0, line: problem.line, column: problem.column };
        converter.note(problem.message, place, Verdict::Manual, "the first one is taken", "");
    }
    let kept = converter.file(entries);
    let has_keys = kept.iter().any(|(key, _)| key.text == "virtual_keys");
    let mut config = format!(
        "# Made of {} by `tidegate config convert`.\n",
        path.file_name().unwrap_or_default().to_string_lossy()
    );
    config.push_str(&yaml::write(&Node { place, value: Value::Map(kept) }));
    if !has_keys {
        config.push_str(NO_KEYS);
        converter.note(
            "virtual_keys".to_owned(),
            Place::default(),
            Verdict::Manual,
            "LiteLLM keeps virtual keys in its database; here they are in the file",
            "take them over with their digests (docs/guide/migrate-from-litellm.md), or make new ones: \
             `tidegate keys new`",
        );
    }
    converter.check(&config);
    Ok(Converted { config, items: converter.items })
}

const NO_KEYS: &str = "\
# Who may come in. `tidegate keys new` makes a key and prints its entry; the master key may do everything.
# virtual_keys:
#   - api_key: sha256:<64 hexadecimal digits>
#     key_alias: open-webui
#     models: [\"*\"]
";

#[derive(Default)]
struct Converter {
    items: Vec<Item>,
    /// Providers of which it was told where credentials come from.
    told: Vec<&'static str>,
}

type Entries = Vec<(Key, Node)>;

impl Converter {
    fn note(&mut self, path: String, place: Place, verdict: Verdict, reason: &str, fix: &str) {
        let (reason, fix) = (reason.to_owned(), fix.to_owned());
        self.items.push(Item { path, line: place.line, verdict, reason, fix });
    }

    fn exact(&mut self, path: String, place: Place) {
        self.note(path, place, Verdict::Exact, "", "");
    }

    fn ruled(&mut self, path: String, place: Place, rule: &Rule) {
        self.note(path, place, rule.verdict, rule.reason, rule.fix);
    }

    fn file(&mut self, entries: Entries) -> Entries {
        let mut kept = Entries::new();
        for (key, node) in entries {
            let name = key.text.clone();
            // A section of which everything is commented out.
            if node.is_null() {
                continue;
            }
            let node = match name.as_str() {
                "model_list" => self.models(node),
                "litellm_settings" => self.section("LitellmSettings", &name, node),
                "general_settings" => self.section("GeneralSettings", &name, node),
                "router_settings" => self.section("RouterSettings", &name, node),
                "mcp_servers" => self.servers(node),
                "credential_list" => self.credentials(node),
                "include" => {
                    let fix = "convert each of the files too";
                    self.note(name, key.place, Verdict::Manual, "it names more files", fix);
                    Some(node)
                }
                _ if has_key("File", &name) || name.starts_with("x-") => {
                    self.exact(name, key.place);
                    Some(node)
                }
                _ => {
                    self.left_out("File", &name, name.clone(), key.place);
                    None
                }
            };
            kept.extend(node.filter(|node| node.len() > 0).map(|node| (key, node)));
        }
        kept
    }

    /// A mapping of settings: what is known stays.
    fn section(&mut self, section: &str, path: &str, node: Node) -> Option<Node> {
        let Value::Map(entries) = node.value else {
            let reason = "it is not a mapping";
            self.note(path.to_owned(), node.place, Verdict::Manual, reason, "");
            return None;
        };
        let mut kept = Entries::new();
        for (key, node) in entries {
            let path = format!("{path}.{}", shown(&key.text));
            if let Some(node) = self.setting(section, &key, path, node) {
                kept.push((key, node));
            }
        }
        Some(Node { place: node.place, value: Value::Map(kept) })
    }

    /// One setting; gives back what stays of it.
    fn setting(&mut self, section: &str, key: &Key, path: String, node: Node) -> Option<Node> {
        let has_key = has_key(section, &key.text);
        match (section, key.text.as_str(), text(&node)) {
            ("RouterSettings", "routing_strategy", Some(strategy)) => {
                if strategy != "simple-shuffle" {
                    let reason = "deployments are chosen at random, by `weight` (or `rpm`, `tpm`)";
                    self.note(path, key.place, Verdict::Approximate, reason, "");
                    return None;
                }
                self.exact(path, key.place);
                return Some(node);
            }
            ("GeneralSettings" | "LitellmSettings", "master_key", Some(written)) => {
                let is_reference = written.contains("os.environ/") || written.contains("${");
                if written.len() < 20 && !is_reference {
                    let reason =
                        "the key can be guessed: on an address other than loopback it is refused";
                    let fix =
                        "make a longer one, and keep it in a variable: `${LITELLM_MASTER_KEY}`";
                    self.note(path, key.place, Verdict::Manual, reason, fix);
                } else {
                    self.exact(path, key.place);
                }
                return Some(node);
            }
            ("LitellmSettings", "callbacks" | "success_callback" | "failure_callback", _) => {
                return self.callbacks(key, &path, node);
            }
            ("RouterSettings", "model_group_alias", _) if hides(&node) => {
                let reason = "aliases are listed, those that are `hidden` too";
                self.note(path, key.place, Verdict::Approximate, reason, "");
                return Some(node);
            }
            ("RouterSettings", "disable_cooldowns", Some("true" | "True")) => {
                let fix = "set `router_settings.cooldown_time: 0`";
                self.note(path, key.place, Verdict::Manual, "", fix);
                return None;
            }
            _ => {}
        }
        match rules::find(section, &key.text) {
            Some(rule) => self.ruled(path, key.place, rule),
            None if has_key => self.exact(path, key.place),
            None => self.left_out(section, &key.text, path, key.place),
        }
        has_key.then_some(node)
    }

    /// The callbacks that stand for something here stay, each told by itself; here they are in `callbacks` alone.
    fn callbacks(&mut self, key: &Key, path: &str, node: Node) -> Option<Node> {
        let place = node.place;
        let items = match node.value {
            Value::List(items) => items,
            Value::Scalar(_) => vec![node],
            Value::Map(_) => return None,
        };
        let mut kept = Vec::new();
        for item in items {
            let name = text(&item).unwrap_or_default().to_owned();
            let path = format!("{path}.{}", shown(&name));
            let is_kept = matches!(name.as_str(), "prometheus" | "otel" | "opentelemetry");
            match name.as_str() {
                _ if is_kept && key.text != "callbacks" => {
                    let reason =
                        "failures are told as successes are, and both are asked for in `callbacks`";
                    let fix = "put it into `litellm_settings.callbacks`";
                    self.note(path, key.place, Verdict::Manual, reason, fix);
                }
                "prometheus" => {
                    let reason = "/metrics has the most used of LiteLLM's names beside its own";
                    self.note(
                        path,
                        key.place,
                        Verdict::Approximate,
                        reason,
                        "docs/guide/metrics.md",
                    );
                    kept.push(item);
                }
                "otel" | "opentelemetry" => {
                    let reason = "traces go where `telemetry.exporters` or OTEL_EXPORTER_OTLP_ENDPOINT says; \
                                  OTEL_ENDPOINT and OTEL_HEADERS of LiteLLM's are not read";
                    self.note(
                        path,
                        key.place,
                        Verdict::Approximate,
                        reason,
                        "docs/guide/tracing.md",
                    );
                    kept.push(item);
                }
                "langfuse" | "langfuse_otel" | "arize_phoenix" => {
                    let reason = "traces go there by OTLP";
                    let fix = "name its address in `telemetry.exporters`: docs/guide/tracing.md";
                    self.note(path, key.place, Verdict::Manual, reason, fix);
                }
                _ => {
                    let (reason, fix) = (rules::NO_CALLBACKS, rules::SEE_LOGS);
                    self.note(path, key.place, Verdict::Unsupported, reason, fix);
                }
            }
        }
        (!kept.is_empty()).then_some(Node { place, value: Value::List(kept) })
    }

    /// A setting that Tidegate does not have and no rule speaks of.
    fn left_out(&mut self, section: &str, key: &str, path: String, place: Place) {
        if let Some(rule) = rules::find(section, key) {
            return self.ruled(path, place, rule);
        }
        match known::litellm(section, key) {
            Some(hint) => {
                self.note(path, place, Verdict::Unsupported, "there is nothing like it", hint);
            }
            None => match known::home(key) {
                Some(home) => {
                    let fix = format!("put it into `{home}`, if it was meant");
                    let reason = "LiteLLM passes it over here, and so does Tidegate";
                    self.note(path, place, Verdict::Manual, reason, &fix);
                }
                None => {
                    let reason = "neither LiteLLM's documentation nor Tidegate knows the key";
                    let fix =
                        "see whether it is misspelt: LiteLLM passes over what it does not know";
                    self.note(path, place, Verdict::Manual, reason, fix);
                }
            },
        }
    }

    fn servers(&mut self, node: Node) -> Option<Node> {
        let Value::Map(servers) = node.value else { return None };
        let mut kept = Entries::new();
        for (name, server) in servers {
            let path = format!("mcp_servers.{}", shown(&name.text));
            if server.get("spec_path").is_some() {
                let reason = "APIs without MCP are not made into servers; the entry is left out";
                self.note(path, name.place, Verdict::Unsupported, reason, "");
                continue;
            }
            let is_oauth = server.get("auth_type").and_then(text).is_some_and(|kind| {
                !matches!(
                    kind,
                    "none" | "api_key" | "bearer_token" | "basic" | "authorization" | "token"
                )
            });
            let Some(mut section) = self.section("McpServer", &path, server) else { continue };
            if let (true, Value::Map(entries)) = (is_oauth, &mut section.value) {
                entries.retain(|(key, _)| key.text != "auth_type");
                let reason =
                    "the server is asked without a credential: OAuth and signatures are not made";
                let fix = "show a fixed token with auth_type and auth_value, or pass the client's on with \
                           `extra_headers: [authorization]`";
                let place = section.place;
                self.items.retain(|item| item.path != format!("{path}.auth_type"));
                self.note(format!("{path}.auth_type"), place, Verdict::Unsupported, reason, fix);
            }
            kept.push((name, section));
        }
        if !kept.is_empty() {
            let reason = "a key reaches the MCP servers that it is given, and no others";
            let fix = "name them in `mcp_servers` of the keys, or set `allow_all_keys: true` at the server";
            self.note("mcp_servers".to_owned(), node.place, Verdict::Manual, reason, fix);
        }
        Some(Node { place: node.place, value: Value::Map(kept) })
    }

    fn credentials(&mut self, node: Node) -> Option<Node> {
        let Value::List(items) = node.value else { return None };
        let mut kept = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("credential_list[{index}]");
            let Some(mut entry) = self.section("Credential", &path, item) else { continue };
            if let Value::Map(entries) = &mut entry.value
                && let Some(at) =
                    entries.iter().position(|(key, _)| key.text == "credential_values")
            {
                let (key, values) = entries.remove(at);
                let path = format!("{path}.credential_values");
                entries.extend(self.section("CredentialValues", &path, values).map(|it| (key, it)));
            }
            kept.push(entry);
        }
        Some(Node { place: node.place, value: Value::List(kept) })
    }

    /// Loads what was made, with something in the place of every variable, and tells what is wrong with it.
    fn check(&mut self, config: &str) {
        let Ok(folder) = tempfile::tempdir() else { return };
        let path = folder.path().join("config.yaml");
        // What is included is not there.
        let alone: String = config.replace("\ninclude:", "\nx-include:");
        if std::fs::write(&path, alone).is_err() {
            return;
        }
        let options = LoadOptions { strict: true, listen: None };
        let loaded = load(&path, &Something(config), &options);
        for problem in loaded.problems.iter().filter(|problem| problem.is_error()) {
            // Files are where the gateway will run.
            if problem.message.contains("there is no file") {
                continue;
            }
            let reason = match &problem.suggestion {
                Some(close) => format!("{} (did you mean `{close}`?)", problem.message),
                None => problem.message.clone(),
            };
            let path = format!("line {} of the result", problem.line);
            let fix = "mend it there; `tidegate check` tells whether it is";
            self.note(path, Place::default(), Verdict::Manual, &reason, fix);
        }
    }
}

/// An environment in which every variable that a text refers to is set to something of its kind, and no other: what is looked for
/// besides may be missing where the gateway will run.
struct Something<'t>(&'t str);

impl Something<'_> {
    fn refers_to(&self, name: &str) -> bool {
        ["os.environ/", "${"].iter().any(|before| {
            let reference = format!("{before}{name}");
            self.0.match_indices(&reference).any(|(at, found)| {
                let rest = self.0.get(at + found.len()..).unwrap_or_default();
                !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            })
        })
    }
}

impl Environment for Something<'_> {
    fn variable(&self, name: &str) -> Option<OsString> {
        const KINDS: [(&str, &str); 6] = [
            ("DATABASE_URL", "postgres://user:password@host/database"),
            ("URL", "https://host.invalid"),
            ("BASE", "https://host.invalid"),
            ("ENDPOINT", "https://host.invalid"),
            ("PORT", "4000"),
            ("REGION", "region-1"),
        ];
        if !self.refers_to(name) {
            return None;
        }
        let kind = KINDS.iter().find(|(word, _)| name.contains(word));
        let text =
            kind.map_or_else(|| format!("sk-something-{name}"), |(_, text)| (*text).to_owned());
        Some(OsString::from(text))
    }
}

/// Whether Tidegate has a key in a section, by the name of the section's type.
fn has_key(section: &str, key: &str) -> bool {
    const SYNONYMS: [(&str, &str); 7] = [
        ("LitellmParams", "base_url"),
        ("CredentialValues", "base_url"),
        ("McpServer", "authentication_token"),
        ("McpServer", "headers"),
        ("McpServer", "tool_name_to_display_name"),
        ("McpServer", "tool_name_to_description"),
        ("VirtualKey", "key"),
    ];
    SYNONYMS.contains(&(section, key))
        || super::schema::keys(section).iter().any(|known| known == key)
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(scalar) if !scalar.is_null() => Some(scalar.text.as_str()),
        _ => None,
    }
}

/// Whether one of these aliases is not meant to be listed.
fn hides(aliases: &Node) -> bool {
    let Value::Map(entries) = &aliases.value else { return false };
    let is_hidden =
        |alias: &Node| alias.get("hidden").and_then(text).is_some_and(|it| it != "false");
    entries.iter().any(|(_, alias)| is_hidden(alias))
}

/// A key for a path: names are shown, what looks like something else is not.
fn shown(key: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-. /*".contains(c);
    if key.len() <= 64 && key.chars().all(is_name) { key.to_owned() } else { show_key(key) }
}

/// How many there are of each verdict, worst last.
pub fn counts(items: &[Item]) -> BTreeMap<Verdict, usize> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item.verdict).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests;
