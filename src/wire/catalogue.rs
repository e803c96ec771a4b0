//! The provider catalogue: one row for each prefix that may stand before the `/` of
//! `litellm_params.model`. It says which format the provider speaks, where it lives and how a key is
//! shown to it. Adding an OpenAI-compatible provider is adding a row. Nothing here dials anything.
//!
//! Prefixes and their customary base URLs are LiteLLM's (<https://docs.litellm.ai/docs/providers>).

use crate::conversation::Format;

/// How a provider's key is shown to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `authorization: Bearer KEY`.
    Bearer,
    /// `api-key: KEY`, as Azure OpenAI wants it.
    ApiKeyHeader,
    /// `x-api-key: KEY`, as Anthropic wants it; its OAuth tokens (`sk-ant-oat…`) go as a bearer.
    XApiKey,
    /// `x-goog-api-key: KEY`; the OpenAI-compatible endpoints beside it want a bearer.
    GoogleKey,
    /// An OAuth token of Google's, made from a service account.
    GoogleToken,
    /// Amazon's signature, version 4; a Bedrock API key goes as a bearer.
    Amazon,
}

/// Where the path of an endpoint goes below the base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `{base}/chat/completions`.
    Plain,
    /// `{base}/openai/deployments/{model}/chat/completions?api-version=…`, or `{base}/chat/completions`
    /// when the base already ends in Azure's newer `/openai/v1`.
    Azure,
}

/// One provider.
#[derive(Debug, PartialEq, Eq)]
pub struct Provider {
    /// The name in logs and rows: the first of its prefixes.
    pub name: &'static str,
    /// What may stand before the first `/` of `litellm_params.model`.
    pub prefixes: &'static [&'static str],
    /// What it speaks; the first is what other formats are translated to. None: Tidegate answers itself.
    pub formats: &'static [Format],
    pub auth: Auth,
    pub layout: Layout,
    /// Where the provider lives when `api_base` is absent; `None`: `api_base` is required.
    pub base: Option<&'static str>,
    /// The environment variable LiteLLM reads the key from when `api_key` is absent.
    pub key_variable: Option<&'static str>,
    /// Appended to an `api_base` that has no path of its own (`http://host:8000` → `…/v1`).
    pub base_suffix: &'static str,
    /// Where the endpoints in OpenAI's shape are below the base, where the provider has its own format too.
    pub beside: &'static str,
    /// Whether a chat stream may be asked for usage (`stream_options.include_usage`); the others
    /// refuse the field or send usage unasked.
    pub stream_usage: bool,
}

const CHAT: &[Format] = &[Format::OpenAiChat];
/// Those that also serve `/responses` with all that its clients send.
const CHAT_AND_RESPONSES: &[Format] = &[Format::OpenAiChat, Format::OpenAiResponses];

const fn row(
    prefixes: &'static [&'static str],
    base: Option<&'static str>,
    key_variable: Option<&'static str>,
) -> Provider {
    Provider {
        name: match prefixes.first() {
            Some(name) => name,
            None => "",
        },
        prefixes,
        formats: CHAT,
        auth: Auth::Bearer,
        layout: Layout::Plain,
        base,
        key_variable,
        base_suffix: "/v1",
        beside: "",
        stream_usage: true,
    }
}

/// The table. OpenAI comes first: it is also what a model without a known prefix means.
pub static PROVIDERS: &[Provider] = &[
    Provider {
        formats: CHAT_AND_RESPONSES,
        ..row(
            &["openai", "text-completion-openai", "custom_openai"],
            Some("https://api.openai.com/v1"),
            Some("OPENAI_API_KEY"),
        )
    },
    Provider {
        formats: CHAT_AND_RESPONSES,
        auth: Auth::ApiKeyHeader,
        layout: Layout::Azure,
        base_suffix: "",
        ..row(&["azure"], None, Some("AZURE_API_KEY"))
    },
    Provider {
        formats: &[Format::Anthropic],
        auth: Auth::XApiKey,
        base_suffix: "",
        // https://docs.anthropic.com/en/api/openai-sdk
        beside: "/v1",
        ..row(&["anthropic"], Some("https://api.anthropic.com"), Some("ANTHROPIC_API_KEY"))
    },
    Provider {
        formats: &[Format::Gemini],
        auth: Auth::GoogleKey,
        base_suffix: "/v1beta",
        // https://ai.google.dev/gemini-api/docs/openai
        beside: "/openai",
        ..row(
            &["gemini"],
            Some("https://generativelanguage.googleapis.com/v1beta"),
            Some("GEMINI_API_KEY"),
        )
    },
    Provider {
        formats: &[Format::Gemini],
        auth: Auth::GoogleToken,
        base_suffix: "",
        ..row(&["vertex_ai", "vertex_ai_beta"], None, None)
    },
    Provider {
        formats: &[Format::Bedrock],
        auth: Auth::Amazon,
        base_suffix: "",
        ..row(&["bedrock", "bedrock_converse"], None, Some("AWS_BEARER_TOKEN_BEDROCK"))
    },
    Provider {
        formats: &[Format::Ollama],
        base_suffix: "",
        beside: "/v1",
        ..row(&["ollama", "ollama_chat"], Some("http://127.0.0.1:11434"), Some("OLLAMA_API_KEY"))
    },
    Provider {
        formats: &[Format::Cohere],
        base_suffix: "",
        // https://docs.cohere.com/docs/compatibility-api
        beside: "/compatibility/v1",
        ..row(&["cohere", "cohere_chat"], Some("https://api.cohere.com"), Some("COHERE_API_KEY"))
    },
    row(&["hosted_vllm", "vllm"], None, Some("HOSTED_VLLM_API_KEY")),
    row(&["lm_studio"], Some("http://127.0.0.1:1234/v1"), Some("LM_STUDIO_API_KEY")),
    row(&["llamafile", "llama.cpp", "llama_cpp"], Some("http://127.0.0.1:8080/v1"), None),
    row(&["deepseek"], Some("https://api.deepseek.com/v1"), Some("DEEPSEEK_API_KEY")),
    row(&["groq"], Some("https://api.groq.com/openai/v1"), Some("GROQ_API_KEY")),
    Provider {
        stream_usage: false,
        ..row(&["mistral"], Some("https://api.mistral.ai/v1"), Some("MISTRAL_API_KEY"))
    },
    row(&["openrouter"], Some("https://openrouter.ai/api/v1"), Some("OPENROUTER_API_KEY")),
    row(&["together_ai"], Some("https://api.together.xyz/v1"), Some("TOGETHERAI_API_KEY")),
    row(
        &["fireworks_ai"],
        Some("https://api.fireworks.ai/inference/v1"),
        Some("FIREWORKS_AI_API_KEY"),
    ),
    row(&["xai"], Some("https://api.x.ai/v1"), Some("XAI_API_KEY")),
    Provider {
        base_suffix: "",
        stream_usage: false,
        ..row(&["perplexity"], Some("https://api.perplexity.ai"), Some("PERPLEXITYAI_API_KEY"))
    },
    row(&["nvidia_nim"], Some("https://integrate.api.nvidia.com/v1"), Some("NVIDIA_NIM_API_KEY")),
    row(&["cerebras"], Some("https://api.cerebras.ai/v1"), Some("CEREBRAS_API_KEY")),
    row(&["huggingface"], Some("https://router.huggingface.co/v1"), Some("HUGGINGFACE_API_KEY")),
    Provider { formats: &[], ..row(&["mock-response", "mock"], Some("mock:"), None) },
];

impl Provider {
    /// Whether Tidegate answers for it.
    pub fn is_mock(&self) -> bool {
        self.formats.is_empty()
    }
}

/// Splits `provider/model` and finds the row. A name without a known prefix is a model of `openai`
/// only when it has no `/` at all or when an `api_base` says where to send it, as in LiteLLM;
/// `None` means the prefix is not in the table.
pub fn find(model: &str, has_api_base: bool) -> Option<(&'static Provider, &str)> {
    let by_prefix =
        |prefix: &str| PROVIDERS.iter().find(|provider| provider.prefixes.contains(&prefix));
    if let Some((prefix, rest)) = model.split_once('/') {
        if let Some(provider) = by_prefix(prefix) {
            return Some((provider, rest));
        }
        return has_api_base.then(|| PROVIDERS.first().map(|openai| (openai, model))).flatten();
    }
    match by_prefix(model) {
        Some(provider) if provider.is_mock() => Some((provider, model)),
        _ => PROVIDERS.first().map(|openai| (openai, model)),
    }
}

/// The provider whose model a name without a prefix is, where its beginning tells it and it is not OpenAI's. LiteLLM goes by lists of
/// all names (`get_llm_provider_logic.py`).
pub fn by_name(model: &str) -> Option<&'static str> {
    const BEGINNINGS: &[(&str, &str)] = &[
        ("claude-", "anthropic"),
        ("gemini-", "vertex_ai"),
        ("textembedding-gecko", "vertex_ai"),
        ("text-multilingual-embedding-", "vertex_ai"),
        ("command-", "cohere"),
        ("embed-", "cohere"),
        ("rerank-", "cohere"),
    ];
    // https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
    const AREAS: &[&str] = &["us", "us-gov", "eu", "apac", "jp", "au", "ca", "global"];
    const VENDORS: &[&str] =
        &["ai21", "amazon", "anthropic", "cohere", "deepseek", "meta", "mistral", "openai", "qwen"];
    let mut pieces = model.split('.');
    let first = pieces.next()?;
    let vendor = if AREAS.contains(&first) { pieces.next() } else { Some(first) };
    if pieces.next().is_some() && vendor.is_some_and(|vendor| VENDORS.contains(&vendor)) {
        return Some("bedrock");
    }
    let found = BEGINNINGS.iter().find(|(beginning, _)| model.starts_with(beginning));
    found.map(|(_, provider)| *provider)
}

/// Every prefix, for suggestions and documents.
pub fn prefixes() -> impl Iterator<Item = &'static str> {
    PROVIDERS.iter().flat_map(|provider| provider.prefixes.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(model: &str, has_api_base: bool, expected: Option<(&str, &str)>) {
        let found = find(model, has_api_base).map(|(provider, model)| (provider.name, model));
        assert_eq!(found, expected, "{model}");
    }

    #[test]
    fn prefixes_pick_the_row() {
        check("openai/gpt-5", false, Some(("openai", "gpt-5")));
        check("gpt-5", false, Some(("openai", "gpt-5")));
        check("openrouter/meta/llama-3", false, Some(("openrouter", "meta/llama-3")));
        check("ollama_chat/qwen3:8b", false, Some(("ollama", "qwen3:8b")));
        check("mock-response", false, Some(("mock-response", "mock-response")));
        check("meta-llama/Llama-3", true, Some(("openai", "meta-llama/Llama-3")));
        check("meta-llama/Llama-3", false, None);
    }

    #[test]
    fn names_tell_their_provider() {
        let check =
            |model: &str, expected: Option<&str>| assert_eq!(by_name(model), expected, "{model}");
        check("claude-3-haiku-20240307", Some("anthropic"));
        check("gemini-2.5-pro", Some("vertex_ai"));
        check("anthropic.claude-3-sonnet-20240229-v1:0", Some("bedrock"));
        check("us.amazon.nova-pro-v1:0", Some("bedrock"));
        check("command-r-plus", Some("cohere"));
        for model in
            ["gpt-4.1", "gpt-3.5-turbo", "o3", "text-embedding-3-small", "us", "qwen2.5", "house"]
        {
            check(model, None);
        }
    }

    #[test]
    fn no_prefix_stands_twice() {
        let mut all: Vec<_> = prefixes().collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
