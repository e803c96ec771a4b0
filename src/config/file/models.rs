//! `model_list` and `credential_list`, as typed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::value::{At, Length};
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
    /// US dollars for one token of a request.
    pub(in crate::config) input_cost_per_token: Option<At<f64>>,
    /// US dollars for one token of an answer.
    pub(in crate::config) output_cost_per_token: Option<At<f64>>,
    /// US dollars for one token that the provider read from its cache.
    pub(in crate::config) cache_read_input_token_cost: Option<At<f64>>,
}

/// What is known of a model. Any other key is kept and shown to clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::config) struct ModelInfo {
    /// The deployment's name in rows and headers. Default: a digest of what identifies it.
    pub(in crate::config) id: Option<At<String>>,
    /// Names that a virtual key's `models` may use for all models that carry them.
    pub(in crate::config) access_groups: Option<Vec<At<String>>>,
    /// US dollars for one token of a request.
    pub(in crate::config) input_cost_per_token: Option<At<f64>>,
    /// US dollars for one token of an answer.
    pub(in crate::config) output_cost_per_token: Option<At<f64>>,
    /// US dollars for one token that the provider read from its cache.
    pub(in crate::config) cache_read_input_token_cost: Option<At<f64>>,
    /// Everything, as JSON.
    #[serde(rename = "$whole")]
    #[schemars(skip)]
    pub(in crate::config) whole: Map<String, Value>,
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
}
