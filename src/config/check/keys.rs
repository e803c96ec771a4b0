//! The master key and `virtual_keys`: who may enter, and what they may use.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::file::keys::VirtualKey;
use super::super::file::settings::{GeneralSettings, LitellmSettings};
use super::super::file::value::At;
use super::super::problem::Place;
use super::super::snapshot::{Key, KeyLimits, Keys, McpServer, Models};
use super::models::AccessGroups;
use super::settings::one_of;
use super::{Checker, Unenforced, place_of};
use crate::ground::names::{Pattern, closest};
use crate::ground::secret::{KeyHash, Secret};

/// How a key is written that is not to stand in the file.
const DIGEST: &str = "sha256:";

/// A key as the file gives it.
pub(super) struct Declared {
    pub(super) hash: KeyHash,
    pub(super) place: Place,
    /// The key itself, where the file holds it and not its digest.
    pub(super) plain: Option<Secret>,
}

/// What the virtual keys' references may name.
pub(super) struct Scope<'s> {
    pub(super) models: &'s Models,
    pub(super) access_groups: &'s AccessGroups,
    pub(super) servers: &'s BTreeMap<String, Arc<McpServer>>,
}

/// What MCP servers may name in their `api_keys`: digests, and keys' names.
#[derive(Default)]
pub(super) struct Names {
    pub(super) hashes: HashMap<KeyHash, Place>,
    pub(super) aliases: HashMap<String, KeyHash>,
}

/// The master key, from either settings section or the environment.
pub(super) fn master(
    litellm: &LitellmSettings,
    general: &GeneralSettings,
    root: Place,
    checker: &mut Checker<'_, '_>,
) -> Option<Declared> {
    let both = (litellm.master_key.as_ref(), general.master_key.as_ref());
    if let Some(given) = one_of("master_key", both, checker) {
        return digest(&given.value, given.place, "master_key", checker);
    }
    let variable = checker.variable("LITELLM_MASTER_KEY", root)?;
    digest(&Secret::new(variable.as_str()), root, "LITELLM_MASTER_KEY", checker)
}

/// Reads a key as typed: itself, or `sha256:` and its digest.
pub(super) fn digest(
    text: &Secret,
    place: Place,
    name: &str,
    checker: &mut Checker<'_, '_>,
) -> Option<Declared> {
    let plain = text.expose();
    if let Some(hex) = plain.strip_prefix(DIGEST) {
        let Some(hash) = KeyHash::from_hex(hex.trim()) else {
            let message = format!("`{name}`: `sha256:` wants 64 hexadecimal digits after it");
            checker.error(place, message);
            return None;
        };
        return Some(Declared { hash, place, plain: None });
    }
    if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("`{name}`: a key is of visible ASCII characters, without blanks");
        checker.error(place, message);
        return None;
    }
    Some(Declared { hash: text.hash(), place, plain: Some(text.clone()) })
}

/// The keys by digest and by name; reports the ones that stand twice.
pub(super) fn declared(
    list: &[At<VirtualKey>],
    master: Option<&Declared>,
    checker: &mut Checker<'_, '_>,
) -> Names {
    let mut names = Names::default();
    for entry in list {
        let Some(text) = &entry.value.api_key else {
            checker.missing(entry, "api_key");
            continue;
        };
        let Some(key) = digest(&text.value, text.place, "api_key", checker) else { continue };
        if master.is_some_and(|master| master.hash == key.hash) {
            checker.error(key.place, "a virtual key that is the master key");
        }
        if let Some(first) = names.hashes.insert(key.hash, key.place) {
            let message = format!("a key that stands twice, first in line {}", first.line);
            checker.error(key.place, message);
        }
        if let Some(alias) = &entry.value.key_alias
            && names.aliases.insert(alias.value.clone(), key.hash).is_some()
        {
            checker.error(alias.place, format!("two keys have the `key_alias` {}", alias.show()));
        }
    }
    names
}

/// Builds the keys. What `declared` reported is passed over here.
pub(super) fn keys(
    list: &[At<VirtualKey>],
    master: Option<&Declared>,
    scope: &Scope<'_>,
    checker: &mut Checker<'_, '_>,
) -> Keys {
    let mut virtual_keys = HashMap::new();
    let mut unenforced = Unenforced::default();
    for entry in list {
        let value = &entry.value;
        unenforced.note(&[
            ("rpm_limit", place_of(value.rpm_limit.as_ref())),
            ("tpm_limit", place_of(value.tpm_limit.as_ref())),
            ("max_parallel_requests", place_of(value.max_parallel_requests.as_ref())),
            ("max_budget", place_of(value.max_budget.as_ref())),
            ("budget_duration", place_of(value.budget_duration.as_ref())),
        ]);
        let key = key(entry, scope, checker);
        if let Some(key) = key {
            virtual_keys.insert(key.hash, Arc::new(key));
        }
    }
    unenforced.report("virtual_keys", checker);
    Keys { master: master.map(|master| master.hash), virtual_keys }
}

fn key(entry: &At<VirtualKey>, scope: &Scope<'_>, checker: &mut Checker<'_, '_>) -> Option<Key> {
    let value = &entry.value;
    let models = models(entry, scope, checker);
    let mcp_servers = value.mcp_servers.as_ref().map(|names| servers(names, scope, checker));
    let mut aliases = BTreeMap::new();
    for (alias, target) in value.aliases.iter().flatten() {
        super::routing::must_exist(target, scope.models, checker);
        aliases.insert(alias.clone(), target.value.clone());
    }
    checker.not_negative("max_budget", value.max_budget.as_ref());
    if let Some(period) = value.budget_duration.as_ref().filter(|period| period.value.0.is_zero()) {
        checker.error(period.place, "`budget_duration` must be above zero");
    }
    let text = value.api_key.as_ref()?;
    // Reported by `declared` already.
    let hash = match text.value.expose().strip_prefix(DIGEST) {
        Some(hex) => KeyHash::from_hex(hex.trim())?,
        None => text.value.hash(),
    };
    Some(Key {
        hash,
        id: hash.id(),
        alias: value.key_alias.as_ref().map(|alias| alias.value.clone()),
        models,
        mcp_servers,
        aliases,
        expires: value.expires.as_ref().map(|expires| expires.value.0),
        blocked: value.blocked.unwrap_or_default(),
        user_id: value.user_id.clone(),
        team_id: value.team_id.clone(),
        tags: value.tags.clone().unwrap_or_default(),
        default_tools: value.default_tools.unwrap_or_default(),
        tool_limits: super::settings::tool_limits(
            value.max_tool_rounds.as_ref(),
            value.max_tool_calls.as_ref(),
            value.max_tool_seconds.as_ref(),
            value.max_tool_tokens.as_ref(),
            value.tool_token_budget.as_ref(),
            checker,
        ),
        limits: KeyLimits {
            rpm_limit: value.rpm_limit.as_ref().map(|limit| limit.value),
            tpm_limit: value.tpm_limit.as_ref().map(|limit| limit.value),
            max_parallel_requests: value.max_parallel_requests.as_ref().map(|limit| limit.value),
            max_budget: value.max_budget.as_ref().map(|budget| budget.value),
            budget_duration: value.budget_duration.as_ref().map(|period| period.value.0),
        },
    })
}

/// The models a key may use, with access groups replaced by their members.
fn models(
    entry: &At<VirtualKey>,
    scope: &Scope<'_>,
    checker: &mut Checker<'_, '_>,
) -> Vec<Pattern> {
    let Some(names) = &entry.value.models else {
        if entry.value.mcp_servers.is_none() && !checker.damaged.contains(&entry.place) {
            let message = "a key without `models` may use none (write `models: [\"*\"]` for all)";
            checker.warning(entry.place, message);
        }
        return Vec::new();
    };
    let mut patterns = Vec::new();
    for name in names {
        match name.value.as_str() {
            "all-proxy-models" => patterns.push(Pattern::new("*")),
            "no-default-models" => {}
            "all-team-models" => {
                let message =
                    "LiteLLM's `all-team-models` is not honoured by Tidegate: there are no teams";
                checker.warning(name.place, message);
            }
            text => match scope.access_groups.get(text) {
                Some(members) => patterns.extend(members.iter().map(Pattern::new)),
                None => {
                    let pattern = Pattern::new(text);
                    may_name_a_model(name, &pattern, entry, scope, checker);
                    patterns.push(pattern);
                }
            },
        }
    }
    patterns
}

fn may_name_a_model(
    name: &At<String>,
    pattern: &Pattern,
    entry: &At<VirtualKey>,
    scope: &Scope<'_>,
    checker: &mut Checker<'_, '_>,
) {
    let Scope { models, access_groups, .. } = scope;
    let own_alias = entry.value.aliases.as_ref().is_some_and(|own| own.contains_key(&name.value));
    if pattern.is_wild() {
        // A wildcard group may answer to any name that fits both.
        let any =
            models.names().any(|model| pattern.matches(model)) || !models.wildcards.is_empty();
        let faulty = checker.models_unknown || !checker.faulty_models.is_empty();
        if !any && !faulty && pattern.as_str() != "*" && !models.is_empty() {
            checker.warning(name.place, format!("{} fits no model in `model_list`", name.show()));
        }
    } else if !checker.model_exists(&name.value, models) && !own_alias {
        let known = models.names().chain(access_groups.keys().map(String::as_str));
        checker.dangling(name, "neither a model in `model_list` nor an access group", known);
    }
}

/// The MCP servers a key may use, by name, alias or access group; LiteLLM's words for all and none are understood.
fn servers(names: &[At<String>], scope: &Scope<'_>, checker: &mut Checker<'_, '_>) -> Vec<String> {
    let is_none = |name: &&At<String>| name.value == "no_mcp_servers";
    for name in names.iter().filter(|name| !is_none(name)) {
        let answers = |server: &Arc<McpServer>| server.answers_to(&name.value);
        let wild = is_word_for_all(&name.value);
        if !wild && !scope.servers.values().any(answers) {
            let known: Vec<&str> = scope
                .servers
                .values()
                .flat_map(|server| {
                    let others = server.aliases.iter().chain(&server.access_groups);
                    others.map(String::as_str).chain([server.name.as_str()])
                })
                .collect();
            let suggestion = closest(&name.value, known);
            let what = "neither an MCP server in `mcp_servers` nor an alias or access group of one";
            checker.dangling(name, what, suggestion);
        }
    }
    let meant = names.iter().filter(|name| !is_none(name)).map(|name| &name.value);
    meant.map(|name| if is_word_for_all(name) { "*".to_owned() } else { name.clone() }).collect()
}

fn is_word_for_all(name: &str) -> bool {
    matches!(name, "*" | "all-proxy-mcpservers")
}
