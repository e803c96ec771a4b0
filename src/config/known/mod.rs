//! Keys that LiteLLM knows and Tidegate does not honour, by the section they stand in: naming one is
//! no typing error, and not something to pass over in silence either. Taken from LiteLLM's sources
//! (1.77, 1.109 and 1.110) and <https://docs.litellm.ai/docs/proxy/config_settings>.

mod access;
mod models;
mod settings;

use crate::prices::component::{self, Key};

/// Whether LiteLLM knows the key there; the text says what to do instead, where there is something.
pub(super) fn litellm(section: &str, key: &str) -> Option<&'static str> {
    let keys = TABLE.iter().find(|(name, _)| *name == section).map(|(_, keys)| *keys)?;
    if keys.contains(&key) {
        let hint = HINTS.iter().find(|(name, _)| *name == key).map(|(_, hint)| *hint);
        return Some(hint.unwrap_or_default());
    }
    if section == "LitellmParams" && component::key(key) == Some(Key::Unused) {
        return Some("nothing is computed from this price yet");
    }
    if section == "LitellmParams" && models::REQUEST_FIELDS.contains(&key) {
        return Some("put it into `extra_body` to send it with every request");
    }
    (section == "LitellmSettings" && key.starts_with("prometheus_")).then_some("")
}

/// The section that a key belongs in, for keys that are often put elsewhere.
pub(super) fn home(key: &str) -> Option<&'static str> {
    HOMES.iter().find(|(_, keys)| keys.contains(&key)).map(|(home, _)| *home)
}

/// How the file calls a section, for messages; nothing for the file itself.
pub(super) fn label(section: &str) -> Option<&'static str> {
    LABELS.iter().find(|(name, _)| *name == section).map(|(_, label)| *label)
}

const LABELS: &[(&str, &str)] = &[
    ("ModelEntry", "model_list"),
    ("LitellmParams", "litellm_params"),
    ("ModelInfo", "model_info"),
    ("Credential", "credential_list"),
    ("CredentialValues", "credential_values"),
    ("LitellmSettings", "litellm_settings"),
    ("GeneralSettings", "general_settings"),
    ("RouterSettings", "router_settings"),
    ("RequestLog", "request_log"),
    ("Telemetry", "telemetry"),
    ("Exporter", "telemetry.exporters"),
    ("VirtualKey", "virtual_keys"),
    ("McpServer", "mcp_servers"),
    ("Restart", "restart"),
];

const HOMES: &[(&str, &[&str])] = &[
    (
        "general_settings",
        &["master_key", "database_url", "listen", "admin_listen", "detailed_debug"],
    ),
    ("litellm_settings", &["json_logs", "mcp_aliases", "request_timeout", "default_fallbacks"]),
    (
        "router_settings",
        &["model_group_alias", "routing_strategy", "cooldown_time", "fallbacks", "num_retries"],
    ),
    (
        "litellm_params",
        &["model", "api_base", "api_key", "api_version", "extra_headers", "extra_body", "weight"],
    ),
    ("virtual_keys", &["key_alias", "max_budget", "budget_duration", "rpm_limit", "tpm_limit"]),
    ("request_log", &["retention"]),
];

const HINTS: &[(&str, &str)] = &[
    ("environment_variables", "set the variables in the environment of the process"),
    (
        "allow_elicitation",
        "what a server asks goes to the client that caused it, where that can answer",
    ),
    (
        "allow_sampling",
        "what a server asks goes to the client that caused it, or to the entry's `sampling_model`",
    ),
    ("spec_version", "the revision is negotiated; `protocol_version` fixes it"),
    ("allowed_fails", "a deployment is passed over after one failure, while its group has others"),
    ("no_docs", "there is no documentation page to switch off"),
    ("store_model_in_db", "models come from this file alone, which is reloaded when it changes"),
    ("redis_host", "Tidegate is one process and keeps its state in it"),
    ("redis_password", "Tidegate is one process and keeps its state in it"),
    ("redis_port", "Tidegate is one process and keeps its state in it"),
    ("redis_url", "Tidegate is one process and keeps its state in it"),
];

const TABLE: &[(&str, &[&str])] = &[
    ("File", settings::FILE),
    ("ModelEntry", models::MODEL_ENTRY),
    ("LitellmParams", models::LITELLM_PARAMS),
    ("Credential", models::CREDENTIAL),
    ("CredentialValues", models::CREDENTIAL_VALUES),
    ("LitellmSettings", settings::LITELLM_SETTINGS),
    ("GeneralSettings", settings::GENERAL_SETTINGS),
    ("RouterSettings", settings::ROUTER_SETTINGS),
    ("VirtualKey", access::VIRTUAL_KEY),
    ("McpServer", access::MCP_SERVER),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn litellm_keys_are_known_where_they_belong() {
        assert_eq!(litellm("LitellmSettings", "cache"), Some(""));
        assert_eq!(litellm("RouterSettings", "cache"), None);
        assert!(
            litellm("LitellmParams", "temperature").is_some_and(|hint| hint.contains("extra_body"))
        );
        assert_eq!(litellm("LitellmSettings", "prometheus_initialize_budget_metrics"), Some(""));
        assert_eq!(home("master_key"), Some("general_settings"));
    }
}
