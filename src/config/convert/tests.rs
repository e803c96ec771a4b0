//! Settings as LiteLLM's own samples have them, and what becomes of each.

use super::*;

/// Converts a text; gives the new one and a line for each setting that is not taken over as it is.
#[track_caller]
fn converted(text: &str) -> (String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("litellm.yaml");
    std::fs::write(&path, text).unwrap();
    let Converted { config, items } = convert(&path).unwrap();
    let told = items.iter().filter(|item| item.verdict != Verdict::Exact);
    let line = |item: &Item| format!("{} {} {}", item.line, item.verdict.as_str(), item.path);
    (config, told.map(line).collect())
}

/// The settings that are not carried over exactly, and the new file but for its first line and what stands for missing keys.
#[track_caller]
fn check(text: &str, expected: &str, report: &[&str]) {
    let (config, told) = converted(text);
    let config = config.split_once('\n').unwrap().1;
    let config = config.strip_suffix(NO_KEYS).unwrap_or(config);
    assert_eq!(config, expected);
    let told: Vec<&String> = told.iter().filter(|line| *line != "0 manual virtual_keys").collect();
    assert_eq!(told, report);
}

#[test]
fn what_both_have_stays_as_it_is() {
    let text = "\
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/chat
      api_base: os.environ/AZURE_API_BASE
      api_version: \"2023-05-15\"
      api_key: os.environ/AZURE_API_KEY
      timeout: 300
      stream_timeout: 60
    model_info:
      id: \"1\"
      mode: chat
  - model_name: \"groq/*\"
    litellm_params:
      model: \"groq/*\"
litellm_settings:
  drop_params: True
  num_retries: 5
  request_timeout: 600
router_settings:
  model_group_alias:
    fast: gpt-4o
  fallbacks:
    - gpt-4o:
        - fast
mcp_servers:
  time:
    transport: sse
    url: http://mcp-time:8686/sse
    allow_all_keys: true
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
";
    check(text, text, &["26 manual mcp_servers"]);
}

#[test]
fn a_production_configuration() {
    check(
        "\
model_list:
- model_name: small
  litellm_params: {model: gpt-3.5-turbo, rpm: 480, temperature: 0.2, max_tokens: 100, tags: [free]}
- model_name: sagemaker
  litellm_params: {model: sagemaker/llama, input_cost_per_second: 0.00042}
- model_name: deep
  litellm_params: {model: deepinfra/meta-llama/Llama-3}
- model_name: house
  litellm_params: {model: unheard/of, api_base: 'http://house:8000/v1'}
- model_name: deaf
litellm_settings:
  callbacks: [prometheus, langfuse, my.handler]
  cache: true
  telemetry: false
  context_window_fallbacks: [{small: [deep]}]
  made_up_setting: 1
router_settings:
  routing_strategy: usage-based-routing-v2
  redis_host: os.environ/REDIS_HOST
  enable_pre_call_checks: true
general_settings:
  master_key: sk-1234
  store_model_in_db: True
  database_url: os.environ/DATABASE_URL
  proxy_batch_write_at: 1
environment_variables: {REDIS_HOST: localhost}
guardrails: []
files_settings:
",
        "\
model_list:
  - model_name: small
    litellm_params:
      model: gpt-3.5-turbo
      rpm: 480
      extra_body:
        temperature: 0.2
        max_tokens: 100
  - model_name: deep
    litellm_params:
      model: openai/meta-llama/Llama-3
      api_base: https://api.deepinfra.com/v1/openai
      api_key: ${DEEPINFRA_API_KEY}
  - model_name: house
    litellm_params:
      model: unheard/of
      api_base: http://house:8000/v1
litellm_settings:
  callbacks:
    - prometheus
general_settings:
  master_key: sk-1234
  database_url: os.environ/DATABASE_URL
",
        &[
            "3 approximate model_list[0].litellm_params.rpm",
            "3 approximate model_list[0].litellm_params.temperature",
            "3 approximate model_list[0].litellm_params.max_tokens",
            "3 unsupported model_list[0].litellm_params.tags",
            "5 unsupported model_list[1].litellm_params.model",
            "9 approximate model_list[3].litellm_params.model",
            "10 manual model_list[4]",
            "12 approximate litellm_settings.callbacks.prometheus",
            "12 manual litellm_settings.callbacks.langfuse",
            "12 unsupported litellm_settings.callbacks.my.handler",
            "13 unsupported litellm_settings.cache",
            "15 manual litellm_settings.context_window_fallbacks",
            "16 manual litellm_settings.made_up_setting",
            "18 approximate router_settings.routing_strategy",
            "20 approximate router_settings.enable_pre_call_checks",
            "22 manual general_settings.master_key",
            "23 manual general_settings.store_model_in_db",
            "24 approximate general_settings.database_url",
            "26 manual environment_variables",
            "27 unsupported guardrails",
        ],
    );
}

/// Each of LiteLLM's lists of callbacks is told by its entries.
#[test]
fn callbacks_are_told_one_by_one() {
    check(
        "\
litellm_settings:
  success_callback: [langfuse, prometheus, s3]
  failure_callback: otel
  callbacks: [otel]
general_settings:
  otel: true
",
        "\
litellm_settings:
  callbacks:
    - otel
",
        &[
            "2 manual litellm_settings.success_callback.langfuse",
            "2 manual litellm_settings.success_callback.prometheus",
            "2 unsupported litellm_settings.success_callback.s3",
            "3 manual litellm_settings.failure_callback.otel",
            "4 approximate litellm_settings.callbacks.otel",
            "6 manual general_settings.otel",
        ],
    );
}

/// LiteLLM knows some providers by a model's name alone, and says more than a name in some.
#[test]
fn names_are_understood_as_litellm_does() {
    check(
        "\
model_list:
- {model_name: a, litellm_params: {model: claude-3-haiku-20240307}}
- {model_name: b, litellm_params: {model: 'anthropic.claude-3-sonnet-20240229-v1:0', aws_region_name: eu-west-1}}
- {model_name: c, litellm_params: {model: gemini-2.5-pro, vertex_project: p}}
- {model_name: d, litellm_params: {model: bedrock/us-west-2/amazon.nova-pro, api_key: os.environ/AWS}}
- {model_name: e, litellm_params: {model: bedrock/invoke/amazon.nova-pro, aws_region_name: us-east-1}}
- {model_name: f, litellm_params: {model: azure/o_series/mine, api_base: 'https://h', api_version: 2025-01-01-preview}}
- {model_name: g, litellm_params: {model: gpt-4o}}
",
        "\
model_list:
  - model_name: a
    litellm_params:
      model: anthropic/claude-3-haiku-20240307
  - model_name: b
    litellm_params:
      model: bedrock/anthropic.claude-3-sonnet-20240229-v1:0
      aws_region_name: eu-west-1
  - model_name: c
    litellm_params:
      model: vertex_ai/gemini-2.5-pro
      vertex_project: p
  - model_name: d
    litellm_params:
      model: bedrock/amazon.nova-pro
      api_key: os.environ/AWS
      aws_region_name: us-west-2
  - model_name: e
    litellm_params:
      model: bedrock/amazon.nova-pro
      aws_region_name: us-east-1
  - model_name: f
    litellm_params:
      model: azure/mine
      api_base: https://h
      api_version: 2025-01-01-preview
  - model_name: g
    litellm_params:
      model: gpt-4o
",
        &[
            "3 approximate model_list[1].litellm_params.aws_access_key_id",
            "4 approximate model_list[2].litellm_params.vertex_credentials",
            "6 approximate model_list[4].litellm_params.model",
        ],
    );
}

/// An address does not make a format: what is spoken to otherwise is left out and told.
#[test]
fn formats_of_their_own_are_left_out() {
    check(
        "\
model_list:
- {model_name: a, litellm_params: {model: azure_ai/claude-opus-4-8, api_base: os.environ/AZURE_BASE}}
- {model_name: b, litellm_params: {model: azure_ai/grok-4, api_base: os.environ/AZURE_BASE}}
- {model_name: c, litellm_params: {model: watsonx/granite, api_base: os.environ/WATSONX_URL}}
- {model_name: d, litellm_params: {model: vertex_ai/meta/llama-4, vertex_project: p}}
- {model_name: e, litellm_params: {model: auto_router/adaptive_router}}
- {model_name: f, litellm_params: {model: databricks/dbrx, api_base: 'https://h/serving-endpoints'}}
- {model_name: g, litellm_params: {model: azure/mine, api_base: 'https://h'}}
",
        "\
model_list:
  - model_name: f
    litellm_params:
      model: openai/dbrx
      api_base: https://h/serving-endpoints
  - model_name: g
    litellm_params:
      model: azure/mine
      api_base: https://h
",
        &[
            "2 unsupported model_list[0].litellm_params.model",
            "3 unsupported model_list[1].litellm_params.model",
            "4 unsupported model_list[2].litellm_params.model",
            "5 unsupported model_list[3].litellm_params.model",
            "6 unsupported model_list[4].litellm_params.model",
            "8 manual model_list[6].litellm_params.api_version",
        ],
    );
}

/// What LiteLLM does by itself, keys in the wrong place, and servers that are none.
#[test]
fn what_has_no_counterpart_is_told() {
    check(
        "\
model_list:
- {model_name: '*', litellm_params: {model: '*'}}
- {model_name: a, litellm_params: {model: gpt-4o, base_model: gpt-4o}, model_info: {supported_environments: [staging]}}
litellm_settings: {cooldown_time: 30, websearch_interception_params: {}}
router_settings: {model_group_alias: {b: {model: a, hidden: true}}}
general_settings: {user_header_name: X-OpenWebUI-User-Id}
mcp_servers:
  petstore: {url: 'https://h', spec_path: petstore.json}
",
        "\
model_list:
  - model_name: \"*\"
    litellm_params:
      model: \"*\"
  - model_name: a
    litellm_params:
      model: gpt-4o
    model_info:
      supported_environments:
        - staging
router_settings:
  model_group_alias:
    b:
      model: a
      hidden: true
",
        &[
            "2 manual model_list[0].litellm_params.model",
            "3 manual model_list[1].litellm_params.base_model",
            "3 manual model_list[1].model_info.supported_environments",
            "4 manual litellm_settings.cooldown_time",
            "4 unsupported litellm_settings.websearch_interception_params",
            "5 approximate router_settings.model_group_alias",
            "6 approximate general_settings.user_header_name",
            "8 unsupported mcp_servers.petstore",
        ],
    );
}

/// Variables that the file does not name may be missing where the gateway will run; files that it names are there.
#[test]
fn what_only_the_environment_says_is_told() {
    let text = "\
model_list:
- {model_name: a, litellm_params: {model: bedrock/amazon.nova-pro, api_key: os.environ/AWS}}
- {model_name: b, litellm_params: {model: vertex_ai/gemini-2.5-pro, vertex_credentials: os.environ/VERTEX_FILE}}
- {model_name: c, litellm_params: {model: vertex_ai/gemini-2.5-pro, vertex_project: os.environ/MY_PROJECT}}
";
    let (_, told) = converted(text);
    let result: Vec<_> = told.iter().filter(|line| line.contains("of the result")).collect();
    assert_eq!(
        result,
        ["0 manual line 5 of the result", "0 manual line 9 of the result"],
        "{told:?}"
    );
}

#[test]
fn servers_that_want_oauth_are_told() {
    check(
        "\
model_list: [{model_name: m, litellm_params: {model: gpt-4o}}]
mcp_servers:
  github: {url: 'https://h/mcp', auth_type: oauth2, client_id: os.environ/ID, token_url: 'https://h/t'}
  files: {command: npx, args: [-y, server], env: {A: os.environ/A}}
",
        "\
model_list:
  - model_name: m
    litellm_params:
      model: gpt-4o
mcp_servers:
  github:
    url: https://h/mcp
  files:
    command: npx
    args:
      - \"-y\"
      - server
    env:
      A: os.environ/A
",
        &[
            "3 unsupported mcp_servers.github.client_id",
            "3 unsupported mcp_servers.github.token_url",
            "3 unsupported mcp_servers.github.auth_type",
            "2 manual mcp_servers",
        ],
    );
}

/// What does not load is told with its place in the result, and nothing of what stands in a key is repeated.
#[test]
fn what_comes_out_is_checked() {
    let (_, told) = converted(
        "\
model_list: [{model_name: m, litellm_params: {model: gpt-4o, timeout: soon, api_key: sk-canary}}]
router_settings: {fallbacks: [{m: [gone]}]}
",
    );
    assert!(told.iter().any(|line| line.starts_with("0 manual line 6 of the result")), "{told:?}");
    assert!(told.len() >= 3, "{told:?}");
    assert!(!told.join("\n").contains("canary"));
}

#[test]
fn what_is_no_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("litellm.yaml");
    for text in ["", "- a\n", "a: [", "\u{0}"] {
        std::fs::write(&path, text).unwrap();
        assert!(convert(&path).is_err(), "{text:?}");
    }
    assert!(convert(&folder.path().join("gone.yaml")).is_err());
}

/// Each row of the table speaks of keys that Tidegate has, or that LiteLLM is known to have: a row that no file can reach is an error.
#[test]
fn every_rule_can_be_reached() {
    for rule in rules::all() {
        for key in rule.keys {
            let known = has_key(rule.section, key) || known::litellm(rule.section, key).is_some();
            let misplaced = rule.section == "ModelEntry";
            assert!(known || misplaced, "{}.{key}", rule.section);
        }
    }
}
