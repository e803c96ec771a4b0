//! `model_list` and `credential_list`, as typed. Prices are not typed one by one: there are too many, and `prices` knows them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::value::{At, Length, OnLoss};
use crate::ground::secret::Secret;

/// One deployment of a model. Deployments with the same `model_name` form a group.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct ModelEntry {
    /// The name that clients ask for (required). A `*` stands for any text, as in `openai/*`; of
    /// several names that fit a request, the most specific is meant.
    pub(in crate::config) model_name: Option<At<String>>,
    /// Where requests go, and how (required).
    pub(in crate::config) litellm_params: Option<At<LitellmParams>>,
    /// What is known of the model. Shown to clients; any key is allowed.
    pub(in crate::config) model_info: Option<At<ModelInfo>>,
}

/// Where a deployment's requests go, and how.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct LitellmParams {
    /// `provider/model` (required): the prefix picks the provider, the rest is the provider's name
    /// for the model, in which a `*` takes what the `*` of `model_name` stood for. `mock-response`
    /// answers by itself, without a provider.
    pub(in crate::config) model: Option<At<String>>,
    /// The provider's prefix, where `model` does not carry it.
    pub(in crate::config) custom_llm_provider: Option<At<String>>,
    /// The provider's key. Default: the variable that LiteLLM reads for the provider, such as
    /// `OPENAI_API_KEY`; a provider without a key is asked without one.
    pub(in crate::config) api_key: Option<At<Secret>>,
    /// The provider's base URL, below which the endpoints are. Default: the provider's own. One
    /// without a path gets the provider's customary one, such as `/v1`.
    #[serde(alias = "base_url")]
    pub(in crate::config) api_base: Option<At<String>>,
    /// The `api-version` of an Azure OpenAI deployment.
    pub(in crate::config) api_version: Option<At<String>>,
    /// The `openai-organization` header.
    pub(in crate::config) organization: Option<At<String>>,
    /// An entry of `credential_list`, for what is not said here.
    pub(in crate::config) litellm_credential_name: Option<At<String>>,
    /// Speak chat completions to this deployment also where its provider has responses. Default: false.
    pub(in crate::config) use_chat_completions_api: Option<bool>,
    /// `false`: a parameter that the provider does not take is an error. Default: it is left out and
    /// reported (LiteLLM: an error).
    pub(in crate::config) drop_params: Option<bool>,
    /// Parameters that are never sent: names, or paths such as `tools[*].function.strict`.
    pub(in crate::config) additional_drop_params: Option<Vec<At<String>>>,
    /// Parameters that are sent as they are, though the provider is not known to take them.
    pub(in crate::config) allowed_openai_params: Option<Vec<At<String>>>,
    /// `false`: what the provider would refuse is not mended first. Default: true (LiteLLM: false).
    pub(in crate::config) modify_params: Option<bool>,
    /// Put the model's thoughts into the text, between `<think>` and `</think>`. Default: false.
    pub(in crate::config) merge_reasoning_content_in_choices: Option<bool>,
    /// What happens to a request of which the provider's format cannot carry all: `report` it in the
    /// header `x-tidegate-loss` and in the row, or `refuse` it. Default: `litellm_settings.on_loss`.
    pub(in crate::config) on_loss: Option<At<OnLoss>>,
    /// Google's project, for `vertex_ai`. Default: the variable `VERTEXAI_PROJECT`.
    pub(in crate::config) vertex_project: Option<At<String>>,
    /// Google's location, for `vertex_ai`. Default: the variable `VERTEXAI_LOCATION`, else
    /// `us-central1`.
    pub(in crate::config) vertex_location: Option<At<String>>,
    /// The JSON of a service account, or the path of a file with it. Default: the file that the
    /// variable `GOOGLE_APPLICATION_CREDENTIALS` names.
    pub(in crate::config) vertex_credentials: Option<At<Secret>>,
    /// Amazon's region, for `bedrock`. Default: the variable `AWS_REGION_NAME`, else `AWS_REGION`.
    pub(in crate::config) aws_region_name: Option<At<String>>,
    /// Default: the variable `AWS_ACCESS_KEY_ID`.
    pub(in crate::config) aws_access_key_id: Option<At<Secret>>,
    /// Default: the variable `AWS_SECRET_ACCESS_KEY`.
    pub(in crate::config) aws_secret_access_key: Option<At<Secret>>,
    /// Default: the variable `AWS_SESSION_TOKEN`.
    pub(in crate::config) aws_session_token: Option<At<Secret>>,
    /// Another address of Bedrock, as `api_base`.
    pub(in crate::config) aws_bedrock_runtime_endpoint: Option<At<String>>,
    /// Headers sent with every request, over the gateway's own.
    pub(in crate::config) extra_headers: Option<BTreeMap<String, At<Secret>>>,
    /// Fields added to every JSON body, over the client's own.
    pub(in crate::config) extra_body: Option<Map<String, Value>>,
    /// Share of the group's requests, relative to the others'. Default: `rpm`, else `tpm`, else
    /// equal shares; a deployment without the number gets the mean of those that have it.
    pub(in crate::config) weight: Option<At<f64>>,
    /// Deployments with a lower number are tried first. Default: 0.
    pub(in crate::config) order: Option<i64>,
    /// Requests a minute that the deployment can take. A share, not enforced yet.
    pub(in crate::config) rpm: Option<At<u64>>,
    /// Tokens a minute that the deployment can take. A share, not enforced yet.
    pub(in crate::config) tpm: Option<At<u64>>,
    /// Requests at one time. Not enforced yet.
    pub(in crate::config) max_parallel_requests: Option<At<u64>>,
    /// US dollars in one `budget_duration`. Not enforced yet.
    pub(in crate::config) max_budget: Option<At<f64>>,
    /// The period of `max_budget`. Not enforced yet.
    pub(in crate::config) budget_duration: Option<At<Length>>,
    /// How long an answer may take. Default: `router_settings.timeout`.
    pub(in crate::config) timeout: Option<At<Length>>,
    /// How long the beginning of a streamed answer may take. Default: `timeout`.
    pub(in crate::config) stream_timeout: Option<At<Length>>,
    /// Answers with this text at once, without a provider; the name of a LiteLLM exception, such as
    /// `litellm.RateLimitError`, answers with that error.
    pub(in crate::config) mock_response: Option<String>,
    /// All keys that are prices.
    #[serde(rename = "$prices")]
    #[schemars(flatten, with = "PriceKeys")]
    pub(in crate::config) prices: BTreeMap<String, At<Value>>,
}

/// What is known of a model. Any other key is kept and shown to clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct ModelInfo {
    /// The deployment's name in rows and headers. Default: a digest of what identifies it.
    pub(in crate::config) id: Option<At<String>>,
    /// The model whose prices it has, where `model` is a name of one's own, as with Azure: `azure/gpt-4o`.
    pub(in crate::config) base_model: Option<At<String>>,
    /// Names that a virtual key's `models` may use for all models that carry them.
    pub(in crate::config) access_groups: Option<Vec<At<String>>>,
    /// All keys that are prices.
    #[serde(rename = "$prices")]
    #[schemars(flatten, with = "PriceKeys")]
    pub(in crate::config) prices: BTreeMap<String, At<Value>>,
    /// Everything, as JSON.
    #[serde(rename = "$whole")]
    #[schemars(skip)]
    pub(in crate::config) whole: Map<String, Value>,
}

/// Prices in US dollars, as numbers or as texts; each has a meaning of its own, and 0 is a price. Beside these, all of LiteLLM's
/// price keys with a size or a class of service are taken: `…_above_200k_tokens`, `…_flex`, `…_priority`, `…_batches`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "the keys of the schema; they are read as they come")]
pub(in crate::config) struct PriceKeys {
    /// US dollars for one token of a request. An entry that has this, or the next, uses none of the built-in prices.
    input_cost_per_token: Option<Amount>,
    /// US dollars for one token of an answer.
    output_cost_per_token: Option<Amount>,
    /// US dollars for one token that the provider read from its cache. Default: `input_cost_per_token`.
    cache_read_input_token_cost: Option<Amount>,
    /// US dollars for one token that it wrote to its cache. Default: `input_cost_per_token`.
    cache_creation_input_token_cost: Option<Amount>,
    /// The same, for what is kept for an hour. Default: `cache_creation_input_token_cost`.
    cache_creation_input_token_cost_above_1hr: Option<Amount>,
    /// US dollars for one token of reasoning. Default: `output_cost_per_token`.
    output_cost_per_reasoning_token: Option<Amount>,
    /// US dollars for one token of sound in a request. Default: `input_cost_per_token`.
    input_cost_per_audio_token: Option<Amount>,
    /// US dollars for one token of sound in an answer. Default: `output_cost_per_token`.
    output_cost_per_audio_token: Option<Amount>,
    /// US dollars for one token of a picture in a request. Default: `input_cost_per_token`.
    input_cost_per_image_token: Option<Amount>,
    /// US dollars for one token of a picture in an answer. Default: `output_cost_per_token`.
    output_cost_per_image_token: Option<Amount>,
    /// US dollars for one picture that is made.
    output_cost_per_image: Option<Amount>,
    /// US dollars for one second of sound that is transcribed.
    input_cost_per_second: Option<Amount>,
    /// The same, and before it.
    output_cost_per_second: Option<Amount>,
    /// US dollars for one character that is spoken.
    input_cost_per_character: Option<Amount>,
    /// US dollars for one unit of a reranking.
    input_cost_per_query: Option<Amount>,
    /// US dollars for each request, beside all else.
    input_cost_per_request: Option<Amount>,
    /// US dollars for one search of the web: `search_context_size_low`, `…_medium` and `…_high`.
    search_context_cost_per_query: Option<BTreeMap<String, Amount>>,
    /// Prices by the size of the prompt, with a `range` each.
    tiered_pricing: Option<Vec<Map<String, Value>>>,
    /// Prices at some hours: `windows` with `hours_utc` and `weekdays`.
    off_peak_pricing: Option<Map<String, Value>>,
}

/// A price: a number, or a text with one.
pub(in crate::config) struct Amount;

impl JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["number", "string"], "minimum": 0 })
    }
}

/// A credential that several deployments share.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct Credential {
    /// The name that `litellm_credential_name` gives (required).
    pub(in crate::config) credential_name: Option<At<String>>,
    /// What it stands for.
    pub(in crate::config) credential_values: Option<CredentialValues>,
}

/// What a credential stands for: used where an entry does not say it itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct CredentialValues {
    /// As in `litellm_params`.
    pub(in crate::config) api_key: Option<At<Secret>>,
    /// As in `litellm_params`.
    #[serde(alias = "base_url")]
    pub(in crate::config) api_base: Option<At<String>>,
    /// As in `litellm_params`.
    pub(in crate::config) api_version: Option<At<String>>,
    /// As in `litellm_params`.
    pub(in crate::config) organization: Option<At<String>>,
    /// As in `litellm_params`.
    pub(in crate::config) vertex_project: Option<At<String>>,
    /// As in `litellm_params`.
    pub(in crate::config) vertex_location: Option<At<String>>,
    /// As in `litellm_params`.
    pub(in crate::config) vertex_credentials: Option<At<Secret>>,
    /// As in `litellm_params`.
    pub(in crate::config) aws_region_name: Option<At<String>>,
    /// As in `litellm_params`.
    pub(in crate::config) aws_access_key_id: Option<At<Secret>>,
    /// As in `litellm_params`.
    pub(in crate::config) aws_secret_access_key: Option<At<Secret>>,
    /// As in `litellm_params`.
    pub(in crate::config) aws_session_token: Option<At<Secret>>,
}
