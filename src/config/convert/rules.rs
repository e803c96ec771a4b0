//! What becomes of each of LiteLLM's settings. A table and nothing else: how a configuration is converted by it is `mod.rs`. Settings
//! that are in no row here are taken over as they are where Tidegate has the key, and left out where it has not.

use super::Verdict::{self, Approximate, Exact, Manual, Unsupported};

/// What a row says of a setting.
pub(super) struct Rule {
    /// The type of the mapping that it stands in, as `known` calls it.
    pub(super) section: &'static str,
    pub(super) keys: &'static [&'static str],
    pub(super) verdict: Verdict,
    /// Why, or what is different.
    pub(super) reason: &'static str,
    /// What to do; empty where there is nothing.
    pub(super) fix: &'static str,
}

const fn rule(
    section: &'static str,
    keys: &'static [&'static str],
    verdict: Verdict,
    reason: &'static str,
    fix: &'static str,
) -> Rule {
    Rule { section, keys, verdict, reason, fix }
}

/// Finds the row for a setting.
pub(super) fn find(section: &str, key: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.section == section && rule.keys.contains(&key))
}

/// Every row.
#[cfg(test)]
pub(super) fn all() -> &'static [Rule] {
    RULES
}

pub(super) const NO_CALLBACKS: &str =
    "no code of others runs in the gateway, and no logging service is called";
pub(super) const SEE_LOGS: &str =
    "every request is a row in the request log: `tidegate logs`, SQL, Grafana";
const ONE_PROCESS: &str = "one process holds the state that LiteLLM's workers share through Redis";
const NO_TEAMS: &str = "keys are in the file; there are no teams, users or keys in a database";
const NO_GUARDRAILS: &str = "contents are neither checked nor changed";

const RULES: &[Rule] = &[
    // The top of the file.
    rule(
        "File",
        &["environment_variables"],
        Manual,
        "variables come from the environment of the process alone",
        "set these variables where the process is started (compose `environment:`, systemd `Environment=`)",
    ),
    rule("File", &["guardrails", "policies", "policy_attachments"], Unsupported, NO_GUARDRAILS, ""),
    rule("File", &["callback_settings"], Unsupported, NO_CALLBACKS, SEE_LOGS),
    rule(
        "File",
        &["files_settings", "finetune_settings", "assistant_settings"],
        Unsupported,
        "files, batches, fine-tuning and assistants are not served",
        "ask the provider directly",
    ),
    rule(
        "File",
        &["default_vertex_config"],
        Manual,
        "each entry says its own project and location",
        "put vertex_project, vertex_location and vertex_credentials into the entries, or into a credential_list",
    ),
    rule(
        "File",
        &[
            "mcp_tools",
            "search_tools",
            "sandbox_tools",
            "vector_store_registry",
            "agents",
            "prompts",
        ],
        Unsupported,
        "the gateway has no such tools of its own",
        "run them as MCP servers and list those in `mcp_servers`",
    ),
    // litellm_settings.
    rule(
        "LitellmSettings",
        &["success_callback", "failure_callback", "service_callback", "audit_log_callbacks"],
        Unsupported,
        NO_CALLBACKS,
        SEE_LOGS,
    ),
    rule(
        "LitellmSettings",
        &["cache", "cache_params"],
        Unsupported,
        "answers are not cached",
        "providers' own prompt caches work as before",
    ),
    rule(
        "LitellmSettings",
        &["context_window_fallbacks", "content_policy_fallbacks"],
        Manual,
        "there is one list of fallbacks, tried when a model fails, whatever the reason",
        "add the models to `router_settings.fallbacks`, if they may answer then too",
    ),
    rule(
        "LitellmSettings",
        &["turn_off_message_logging", "redact_user_api_key_info", "redact_messages_in_exceptions"],
        Exact,
        "so it is always: prompts are kept only with `store_prompts_in_spend_logs`, and keys never",
        "",
    ),
    rule("LitellmSettings", &["telemetry"], Exact, "nothing is sent to anybody", ""),
    rule(
        "LitellmSettings",
        &["store_audit_logs"],
        Exact,
        "the audit log is always kept: `tidegate audit`",
        "",
    ),
    rule(
        "LitellmSettings",
        &["allowed_fails"],
        Approximate,
        "a deployment is passed over after one failure, while its group has others",
        "",
    ),
    rule(
        "LitellmSettings",
        &["max_budget", "budget_duration", "budget_reset_time", "max_end_user_budget"],
        Unsupported,
        "there is no budget for the whole gateway",
        "",
    ),
    rule(
        "LitellmSettings",
        &[
            "default_team_settings",
            "default_team_params",
            "default_internal_user_params",
            "max_internal_user_budget",
            "default_key_generate_params",
            "upperbound_key_generate_params",
            "key_generation_settings",
        ],
        Unsupported,
        NO_TEAMS,
        "list each key in `virtual_keys`",
    ),
    rule(
        "LitellmSettings",
        &["ssl_verify", "ssl_certificate"],
        Unsupported,
        "certificates of providers are always checked against the system's authorities",
        "add a private authority to the system's",
    ),
    rule(
        "LitellmSettings",
        &["custom_provider_map", "post_call_rules"],
        Unsupported,
        NO_CALLBACKS,
        "",
    ),
    rule(
        "LitellmSettings",
        &["mcp_semantic_tool_filter", "mcp_tool_search"],
        Approximate,
        "too many tools can be searched by words instead of being listed",
        "set `general_settings.tool_token_budget`",
    ),
    // general_settings.
    rule(
        "GeneralSettings",
        &["database_url"],
        Approximate,
        "request rows go there, into a schema `tidegate` of their own; the keys in LiteLLM's tables are not read",
        "take the keys over: docs/guide/migrate-from-litellm.md",
    ),
    rule(
        "GeneralSettings",
        &["store_model_in_db", "supported_db_objects", "proxy_config_reload_interval_seconds"],
        Manual,
        "models come from this file alone, which is reloaded when it changes",
        "write models that were added in the UI into `model_list`",
    ),
    rule(
        "GeneralSettings",
        &[
            "custom_auth",
            "custom_key_generate",
            "custom_sso",
            "enable_jwt_auth",
            "litellm_jwtauth",
            "enable_oauth2_auth",
        ],
        Unsupported,
        "clients show a virtual key, or the master key",
        "list keys in `virtual_keys`",
    ),
    rule(
        "GeneralSettings",
        &[
            "allow_requests_on_db_unavailable",
            "user_api_key_cache_ttl",
            "user_api_key_cache_max_size",
            "disable_adding_master_key_hash_to_db",
        ],
        Exact,
        "keys are in memory: no database is asked for them",
        "",
    ),
    rule(
        "GeneralSettings",
        &[
            "alerting",
            "alerting_args",
            "alerting_threshold",
            "alert_types",
            "alert_to_webhook_url",
            "send_to_slack",
        ],
        Unsupported,
        "the gateway sends no alerts",
        "alert on /metrics: rules for Prometheus are in `dashboards/`",
    ),
    rule(
        "GeneralSettings",
        &[
            "background_health_checks",
            "health_check_interval",
            "health_check_details",
            "enable_health_check_routing",
            "health_check_concurrency",
            "use_shared_health_check",
        ],
        Approximate,
        "models are not asked for their health, which would cost tokens: it is seen from requests",
        "",
    ),
    rule(
        "GeneralSettings",
        &["proxy_batch_write_at", "proxy_batch_polling_interval", "max_batch_size"],
        Exact,
        "rows are written within 20 ms, in groups",
        "",
    ),
    rule(
        "GeneralSettings",
        &[
            "database_connection_pool_limit",
            "database_connection_pool_timeout",
            "database_connection_timeout",
        ],
        Exact,
        "the process uses at most two connections",
        "",
    ),
    rule(
        "GeneralSettings",
        &[
            "disable_prisma_schema_update",
            "use_spend_logs_partitioning",
            "maximum_spend_logs_retention_interval",
            "maximum_spend_logs_cleanup_cron",
        ],
        Approximate,
        "the tables are partitioned by month, and old rows are deleted hourly, by the gateway itself",
        "",
    ),
    rule(
        "GeneralSettings",
        &[
            "proxy_budget_rescheduler_min_time",
            "proxy_budget_rescheduler_max_time",
            "disable_reset_budget",
        ],
        Unsupported,
        "budgets are not enforced yet",
        "",
    ),
    rule(
        "GeneralSettings",
        &["pass_through_endpoints"],
        Unsupported,
        "requests are not passed on to addresses of other kinds",
        "`/v1/rerank` and the other endpoints of models are served: list the model in `model_list`",
    ),
    rule(
        "GeneralSettings",
        &[
            "allowed_ips",
            "use_x_forwarded_for",
            "public_routes",
            "admin_only_routes",
            "allowed_routes",
        ],
        Unsupported,
        "addresses of clients decide nothing",
        "restrict them in the proxy in front, or by `listen` and `admin_listen`",
    ),
    rule(
        "GeneralSettings",
        &[
            "key_management_system",
            "key_management_settings",
            "use_google_kms",
            "google_kms",
            "use_azure_key_vault",
        ],
        Manual,
        "secrets come from variables and files",
        "have your secret manager write files, and refer to them as `${file:PATH}`",
    ),
    rule(
        "GeneralSettings",
        &[
            "forward_client_headers_to_llm_api",
            "forward_llm_provider_auth_headers",
            "forward_openai_org_id",
        ],
        Unsupported,
        "no headers of clients go to providers",
        "put fixed ones into `extra_headers` of an entry",
    ),
    rule(
        "GeneralSettings",
        &["max_parallel_requests", "max_in_flight_requests_per_worker"],
        Approximate,
        "there is one bound for the process",
        "set `general_settings.global_max_parallel_requests`",
    ),
    rule(
        "GeneralSettings",
        &["require_key_mcp_access_defined", "mcp_require_explicit_server_scope"],
        Exact,
        "so it is always: a key uses the MCP servers that it is given, and no others",
        "",
    ),
    rule(
        "GeneralSettings",
        &["infer_model_from_keys", "completion_model", "moderation_model"],
        Unsupported,
        "models are those of `model_list`, and requests name one",
        "",
    ),
    rule(
        "GeneralSettings",
        &["coordination_redis", "use_redis_transaction_buffer"],
        Exact,
        ONE_PROCESS,
        "",
    ),
    // router_settings.
    rule(
        "RouterSettings",
        &[
            "redis_host",
            "redis_port",
            "redis_password",
            "redis_url",
            "redis_db",
            "cache_kwargs",
            "client_ttl",
        ],
        Exact,
        ONE_PROCESS,
        "",
    ),
    rule(
        "RouterSettings",
        &["enable_pre_call_checks", "optional_pre_call_checks"],
        Approximate,
        "a request that is too long for a model is refused by its provider, and then the fallbacks are tried",
        "list larger models in `fallbacks`",
    ),
    rule(
        "RouterSettings",
        &["retry_policy", "model_group_retry_policy", "retry_after"],
        Approximate,
        "failures that may pass are tried again `num_retries` times, with growing pauses; others are not",
        "",
    ),
    rule(
        "RouterSettings",
        &["allowed_fails", "allowed_fails_policy"],
        Approximate,
        "a deployment is passed over after one failure, while its group has others",
        "",
    ),
    rule(
        "RouterSettings",
        &["context_window_fallbacks", "content_policy_fallbacks"],
        Manual,
        "there is one list of fallbacks, tried when a model fails, whatever the reason",
        "add the models to `router_settings.fallbacks`, if they may answer then too",
    ),
    rule(
        "RouterSettings",
        &["provider_budget_config", "enable_tag_filtering", "routing_strategy_args"],
        Unsupported,
        "deployments are chosen by `order` and `weight`",
        "",
    ),
    rule(
        "RouterSettings",
        &["set_verbose", "debug_level"],
        Approximate,
        "",
        "use `general_settings.detailed_debug`",
    ),
    // model_list.
    rule(
        "ModelEntry",
        &["rpm", "tpm"],
        Approximate,
        "LiteLLM passes it over here, and so does Tidegate",
        "put it into `litellm_params` if it was meant",
    ),
    rule(
        "LitellmParams",
        &[
            "s3_bucket_name",
            "s3_region_name",
            "s3_access_key_id",
            "s3_secret_access_key",
            "aws_batch_role_arn",
        ],
        Unsupported,
        "batches are not served",
        "ask the provider directly",
    ),
    rule(
        "LitellmParams",
        &["rpm", "tpm"],
        Approximate,
        "the deployment's share of the group's requests, as in LiteLLM; not a limit yet",
        "",
    ),
    rule(
        "LitellmParams",
        &["max_parallel_requests", "max_budget", "budget_duration"],
        Approximate,
        "read and checked, and not enforced yet",
        "",
    ),
    rule(
        "LitellmParams",
        &["num_retries", "max_retries", "retry_policy", "cooldown_time", "fallbacks"],
        Approximate,
        "it holds for all models alike",
        "set it in `router_settings`",
    ),
    rule("LitellmParams", &["headers"], Manual, "", "move it to `extra_headers`"),
    rule(
        "LitellmParams",
        &[
            "azure_ad_token",
            "tenant_id",
            "client_id",
            "client_secret",
            "azure_username",
            "azure_password",
        ],
        Unsupported,
        "Azure is shown an `api_key`",
        "make one for the resource",
    ),
    rule(
        "LitellmParams",
        &[
            "aws_profile_name",
            "aws_role_name",
            "aws_session_name",
            "aws_web_identity_token",
            "aws_sts_endpoint",
        ],
        Unsupported,
        "roles are not assumed",
        "give aws_access_key_id and aws_secret_access_key, or a Bedrock API key as `api_key`",
    ),
    rule(
        "LitellmParams",
        &["cache_control_injection_points"],
        Unsupported,
        "requests are marked for the provider's cache by clients",
        "",
    ),
    rule("LitellmParams", &["mock_timeout"], Unsupported, "a test aid of LiteLLM's", ""),
    rule(
        "LitellmParams",
        &["configurable_clientside_auth_params"],
        Unsupported,
        "where requests go and what they show is decided by this file alone",
        "",
    ),
    rule(
        "LitellmParams",
        &["tags", "tag_regex", "region_name"],
        Unsupported,
        "deployments are chosen by `order` and `weight`",
        "give them model names of their own",
    ),
    rule(
        "LitellmParams",
        &["use_in_pass_through", "use_litellm_proxy"],
        Unsupported,
        "there are no pass-through endpoints",
        "",
    ),
    // mcp_servers.
    rule(
        "McpServer",
        &[
            "oauth2_flow",
            "client_id",
            "client_secret",
            "scopes",
            "authorization_url",
            "token_url",
            "registration_url",
            "issuer",
            "token_exchange_endpoint",
            "token_exchange_profile",
            "audience",
            "dcr_bridge",
            "delegate_auth_to_upstream",
            "oauth_passthrough",
        ],
        Unsupported,
        "servers that want OAuth cannot be reached",
        "show a fixed token with auth_type and auth_value, or pass the client's on with `extra_headers: [authorization]`",
    ),
    rule(
        "McpServer",
        &["allow_sampling", "allow_elicitation"],
        Exact,
        "what a server asks goes to the client that caused it",
        "`sampling_model` lets a model of this file answer",
    ),
    rule(
        "McpServer",
        &["available_on_public_internet"],
        Unsupported,
        "addresses of clients decide nothing",
        "decide by key: `mcp_servers` of the key, or `api_keys` of the server",
    ),
    rule(
        "McpServer",
        &["pinned_tools"],
        Approximate,
        "tools are pinned by their definitions, all of a server or none",
        "set `pin: enforce` and run `tidegate mcp pin`",
    ),
    rule("McpServer", &["spec_version"], Exact, "the revision is negotiated", ""),
    rule(
        "McpServer",
        &["spec_path"],
        Unsupported,
        "APIs without MCP are not made into servers",
        "",
    ),
    rule("McpServer", &["env_vars"], Unsupported, "variables of users are not known", "use `env`"),
    rule("McpServer", &["rpm"], Unsupported, "calls are bounded by `max_concurrent_requests`", ""),
];
