//! What is different between two configurations, field by field, and what an edit from one to the other does to a running gateway: what
//! is taken over at once, what waits for a restart, which MCP servers are connected to anew. For people: what the gateway itself does
//! with an edit is decided by `diff` and by those who hold the parts.

use serde::Serialize;
use serde_json::{Map, Value};

use super::outline::{Outline, SEAL, Section};

/// All that is different.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    pub changes: Vec<Changed>,
}

/// One entry or setting that came, went or changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// `model_list`, `virtual_keys`, `mcp_servers`, or a section of settings.
    pub part: String,
    pub name: String,
    /// `added`, `removed` or `changed`.
    pub what: &'static str,
    pub fields: Vec<Field>,
    /// What follows from it in a running gateway.
    pub effect: String,
    pub needs_restart: bool,
}

/// One value that changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Field {
    pub path: String,
    /// `null`: it was not there. A secret shows nothing of itself.
    pub old: Value,
    pub new: Value,
}

/// Settings that a running gateway does not take over.
const RESTART: [&str; 5] = ["listen", "admin_listen", "path", "json_logs", "log_file"];

/// Fields of an MCP server that decide the way to it: another value, another connection.
const CONNECTION: [&str; 17] = [
    "transport",
    "url",
    "url_credentials",
    "command",
    "args",
    "env",
    "cwd",
    "static_headers",
    "extra_headers",
    "allowed_hosts",
    "allowed_paths",
    "sharing",
    "restart",
    "protocol_version",
    "max_concurrent_requests",
    "api_keys",
    "allow_all_keys",
];

/// Compares what is in force with what would be.
pub fn compare(old: &Outline, new: &Outline) -> Comparison {
    let mut changes = Vec::new();
    entries("model_list", &old.models, &new.models, &mut changes, model_effect);
    let (old_keys, new_keys) = (named(&old.virtual_keys), named(&new.virtual_keys));
    entries("virtual_keys", &old_keys, &new_keys, &mut changes, key_effect);
    entries("mcp_servers", &old.mcp_servers, &new.mcp_servers, &mut changes, server_effect);
    let sections = new.settings.keys().chain(old.settings.keys());
    let mut seen: Vec<&String> = Vec::new();
    for section in sections {
        if seen.contains(&section) {
            continue;
        }
        seen.push(section);
        let of = |outline: &Outline| -> Section {
            let section = outline.settings.get(section).and_then(Value::as_object);
            section.cloned().unwrap_or_default()
        };
        entries(section, &of(old), &of(new), &mut changes, setting_effect);
    }
    Comparison { changes }
}

impl Comparison {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Secrets that were compared by their seals, and so are known to be alike or not.
    pub fn without_seals(mut self) -> Self {
        for field in self.changes.iter_mut().flat_map(|change| &mut change.fields) {
            blank(&mut field.old);
            blank(&mut field.new);
        }
        self
    }
}

/// Takes the digits out of every seal.
fn blank(value: &mut Value) {
    match value {
        Value::Object(entries) if is_seal(entries) => *value = Value::from("(secret)"),
        Value::Object(entries) => entries.iter_mut().for_each(|(_, value)| blank(value)),
        Value::Array(items) => items.iter_mut().for_each(blank),
        _ => {}
    }
}

pub(super) fn is_seal(entries: &Map<String, Value>) -> bool {
    entries.len() == 1 && entries.contains_key(SEAL)
}

/// Keys under the names that people know them by, with the id behind.
fn named(keys: &Section) -> Section {
    let name = |(id, entry): (&String, &Value)| {
        let alias = entry.get("key_alias").and_then(Value::as_str);
        let name = alias.map_or_else(|| id.clone(), |alias| format!("{alias} ({id})"));
        (name, entry.clone())
    };
    keys.iter().map(name).collect()
}

/// What follows from a change of an entry: in words, and whether it needs a restart. By its name, what happened to it, which of its
/// fields changed, and what it is now.
type Effect = fn(&str, &'static str, &[Field], Option<&Value>) -> (String, bool);

fn entries(part: &str, old: &Section, new: &Section, changes: &mut Vec<Changed>, effect: Effect) {
    let mut add = |name: &str, what, fields: Vec<Field>, entry: Option<&Value>| {
        let (effect, needs_restart) = effect(name, what, &fields, entry);
        let (part, name) = (part.to_owned(), name.to_owned());
        changes.push(Changed { part, name, what, fields, effect, needs_restart });
    };
    for (name, value) in new {
        match old.get(name) {
            None => add(name, "added", scalar(None, Some(value)), Some(value)),
            Some(known) if known != value => {
                let mut fields = Vec::new();
                differences("", known, value, &mut fields);
                add(name, "changed", fields, Some(value));
            }
            Some(_) => {}
        }
    }
    for (name, value) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
        add(name, "removed", scalar(Some(value), None), Some(value));
    }
}

/// A setting that came or went is told with its value; an entry is told by its name.
fn scalar(old: Option<&Value>, new: Option<&Value>) -> Vec<Field> {
    let is_entry = |value: &Value| {
        value.as_object().is_some_and(|entries| !is_seal(entries))
            || value.as_array().is_some_and(|items| items.iter().any(Value::is_object))
    };
    if old.is_some_and(is_entry) || new.is_some_and(is_entry) {
        return Vec::new();
    }
    let value = |value: Option<&Value>| value.cloned().unwrap_or_default();
    vec![Field { path: String::new(), old: value(old), new: value(new) }]
}

/// The leaves in which two values are different. Lists of entries with an `id` are compared by it.
fn differences(path: &str, old: &Value, new: &Value, fields: &mut Vec<Field>) {
    if old == new {
        return;
    }
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (old, new) {
        (Value::Object(old), Value::Object(new)) if !is_seal(old) && !is_seal(new) => {
            for (name, value) in new {
                differences(&below(name), old.get(name).unwrap_or(&Value::Null), value, fields);
            }
            for (name, value) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
                differences(&below(name), value, &Value::Null, fields);
            }
        }
        (Value::Array(old), Value::Array(new)) if have_ids(old) && have_ids(new) => {
            for (old, new) in paired(old, new) {
                let id = new.or(old).and_then(id).unwrap_or_default();
                let (old, new) = (old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null));
                differences(&below(id), old, new, fields);
            }
        }
        _ => fields.push(Field { path: path.to_owned(), old: old.clone(), new: new.clone() }),
    }
}

fn id(entry: &Value) -> Option<&str> {
    entry.get("id").and_then(Value::as_str)
}

fn have_ids(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(|item| id(item).is_some())
}

/// Entries of two lists that are the same one: by their ids, and those that are left in their order. What a provider's key is part of
/// is an id too.
fn paired<'v>(old: &'v [Value], new: &'v [Value]) -> Vec<(Option<&'v Value>, Option<&'v Value>)> {
    let known = |list: &[Value], item: &Value| list.iter().any(|other| id(other) == id(item));
    let mut left = old.iter().filter(|item| !known(new, item));
    let mut pairs = Vec::new();
    for item in new {
        let same = old.iter().find(|other| id(other) == id(item));
        pairs.push((same.or_else(|| left.next()), Some(item)));
    }
    pairs.extend(left.map(|item| (Some(item), None)));
    pairs
}

fn model_effect(
    _: &str,
    what: &'static str,
    fields: &[Field],
    _: Option<&Value>,
) -> (String, bool) {
    let is_another = |field: &Field| {
        let whole = field.old.is_null() || field.new.is_null();
        field.path.ends_with(".id") || (whole && !field.path.contains('.'))
    };
    let effect = match what {
        "added" => "can be asked for at once",
        "removed" => "new requests get 404; those in progress finish",
        _ if fields.iter().any(is_another) => {
            "new requests go to the deployments that are now listed; those that did not change keep their health"
        }
        _ => "new requests use it; the deployments keep their health",
    };
    (effect.to_owned(), false)
}

fn key_effect(_: &str, what: &'static str, _: &[Field], _: Option<&Value>) -> (String, bool) {
    let effect = match what {
        "added" => "lets in at once",
        "removed" => "new requests get 401, its MCP sessions end; requests in progress finish",
        _ => "holds for new requests",
    };
    (effect.to_owned(), false)
}

fn server_effect(
    _: &str,
    what: &'static str,
    fields: &[Field],
    entry: Option<&Value>,
) -> (String, bool) {
    let is =
        |entry: &Value, word: &str| entry.get("transport").and_then(Value::as_str) == Some(word);
    let is_child = entry.is_some_and(|entry| is(entry, "stdio"));
    let top = |field: &Field| field.path.split('.').next().unwrap_or_default().to_owned();
    let sampling = |field: &Field| {
        // Whether there is one is told to the server when it is connected to.
        field.path == "sampling_model" && (field.old.is_null() || field.new.is_null())
    };
    let reconnects =
        fields.iter().any(|field| CONNECTION.contains(&top(field).as_str()) || sampling(field));
    let access = |field: &Field| matches!(top(field).as_str(), "api_keys" | "allow_all_keys");
    let effect = match (what, is_child) {
        ("added", true) => "its child process is started when it is first needed",
        ("added", false) => "connected to when it is first needed",
        ("removed", true) => "its child process ends; calls in progress fail",
        ("removed", false) => "its connections end; calls in progress fail",
        (_, _) if fields.iter().all(access) => {
            "holds for new requests; connections that belong to a key that lost it end"
        }
        (_, true) if reconnects => "its child process is started anew",
        (_, false) if reconnects => "connected to anew",
        _ => "holds for new requests; its connections stay",
    };
    (effect.to_owned(), false)
}

fn setting_effect(name: &str, _: &'static str, _: &[Field], _: Option<&Value>) -> (String, bool) {
    if RESTART.contains(&name) {
        return ("in force after a restart only".to_owned(), true);
    }
    let effect = match name {
        "database_url" => "rows that wait go to the new database",
        "retention" => "older rows are deleted at once",
        "reader_role" => "may read the request log at once; the role before keeps its right",
        "master_key" => "holds for new requests",
        "disable_spend_logs" | "store_prompts_in_spend_logs" => {
            "holds for requests that end from now on"
        }
        "log_level" => "the log changes at once",
        _ => "holds for new requests",
    };
    (effect.to_owned(), false)
}

#[cfg(test)]
mod tests {
    use super::super::outline::{Seals, outline};
    use super::super::{LoadOptions, ProcessEnvironment, load};
    use super::*;

    const BASE: &str = "\
general_settings: {listen: '127.0.0.1:4000', database_url: 'postgres://u:canary-one@h/d'}
model_list:
- {model_name: a, litellm_params: {model: openai/up, api_key: sk-canary-1}}
- {model_name: b, litellm_params: {model: mock}}
mcp_servers:
  db: {url: 'http://127.0.0.1:1/mcp'}
  fs: {command: /bin/fs}
virtual_keys:
- {api_key: sk-one-0123456789-0123456789, key_alias: one, models: [a]}
";

    fn told(text: &str, seals: &Seals) -> Outline {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        std::fs::write(&path, text).unwrap();
        let loaded = load(&path, &ProcessEnvironment, &LoadOptions::default());
        let problems = loaded.problems;
        outline(&loaded.snapshot.unwrap_or_else(|| panic!("{problems:?}")), seals)
    }

    /// The lines of an edit of the base: what, where, which fields, what follows.
    #[track_caller]
    fn check(from: &str, to: &str, expected: &[&str]) {
        assert!(BASE.contains(from), "{from}");
        let seals = Seals::for_now();
        let old = told(BASE, &seals);
        let new = told(&BASE.replacen(from, to, 1), &seals);
        let comparison = compare(&old, &new).without_seals();
        assert!(!format!("{comparison:?}").contains("canary"));
        let lines: Vec<String> = comparison
            .changes
            .iter()
            .map(|change| {
                let fields = change.fields.iter();
                let fields: Vec<String> = fields
                    .map(|field| format!("{} {}→{}", field.path, field.old, field.new))
                    .collect();
                let Changed { part, name, what, effect, .. } = change;
                format!("{part} {name} {what} [{}] {effect}", fields.join(", "))
            })
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn an_edit_is_told_by_field_and_effect() {
        check("models: [a]", "models: [a] ", &[]);
        check(
            "general_settings: {",
            "general_settings: {detailed_debug: true, ",
            &["general_settings log_level changed [ \"info\"→\"debug\"] the log changes at once"],
        );
        check(
            "models: [a]",
            "models: [b]",
            &[
                "virtual_keys one (ce43116aa89f) changed [models [\"a\"]→[\"b\"]] holds for new requests",
            ],
        );
        check(
            "url: 'http://127.0.0.1:1/mcp'",
            "url: 'http://127.0.0.1:2/mcp'",
            &[
                "mcp_servers db changed [url \"http://127.0.0.1:1/mcp\"→\"http://127.0.0.1:2/mcp\"] connected to anew",
            ],
        );
        check(
            "command: /bin/fs",
            "command: /bin/fs, args: [canary]",
            &[
                "mcp_servers fs changed [args null→[\"(secret)\"]] its child process is started anew",
            ],
        );
        check(
            "command: /bin/fs",
            "command: /bin/fs, timeout: 5",
            &[
                "mcp_servers fs changed [timeout 300→5] holds for new requests; its connections stay",
            ],
        );
        check(
            "127.0.0.1:4000",
            "127.0.0.1:4001",
            &[
                "general_settings listen changed [ \"127.0.0.1:4000\"→\"127.0.0.1:4001\"] in force after a restart only",
            ],
        );
        check(
            "canary-one",
            "canary-two",
            &[
                "general_settings database_url changed [ \"(secret)\"→\"(secret)\"] rows that wait go to the new database",
            ],
        );
        check(
            "- {model_name: b, litellm_params: {model: mock}}\n",
            "",
            &["model_list b removed [] new requests get 404; those in progress finish"],
        );
        check(
            "  fs: {command: /bin/fs}\n",
            "  fs: {command: /bin/fs}\n  x: {command: /bin/x}\n",
            &["mcp_servers x added [] its child process is started when it is first needed"],
        );
    }

    /// A secret that changed is seen to have, and not what it was or is.
    #[test]
    fn a_providers_key_is_compared_and_not_shown() {
        let seals = Seals::for_now();
        let (old, new) =
            (told(BASE, &seals), told(&BASE.replacen("sk-canary-1", "sk-canary-2", 1), &seals));
        let changes = compare(&old, &new).without_seals().changes;
        let change = &changes[0];
        assert!(change.fields.iter().any(|field| field.path.ends_with("litellm_params.api_key")));
        assert!(!format!("{change:?}").contains("canary"));
        // Where there is no master key, nothing of secrets is told, and nothing can be compared.
        let blank = Seals::of_master(None);
        let text = serde_json::to_string(&told(BASE, &blank)).unwrap();
        assert!(!text.contains("canary"), "{text}");
    }
}
