//! The table: one row for each provider. What a row does not say, it has from the unknown server.

use super::{JsonAnswers, MessageFields, Quirks, Takes, Thinking, Thoughts};
use crate::conversation::Effort;

/// What only OpenAI's own platform knows.
const PLATFORM: &[&str] = &[
    "audio",
    "metadata",
    "modalities",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "verbosity",
    "web_search_options",
];

const LOW_TO_HIGH: &[Effort] = &[Effort::Low, Effort::Medium, Effort::High];
const NONE_TO_HIGH: &[Effort] = &[Effort::None, Effort::Low, Effort::Medium, Effort::High];

/// A server of which nothing is known but that it calls itself compatible.
pub(super) static UNKNOWN: Quirks = Quirks {
    name: "",
    hosts: &[],
    takes: Takes::Only(&[
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "n",
        "presence_penalty",
        "seed",
        "stop",
        "temperature",
        "top_logprobs",
        "top_p",
        "user",
    ]),
    openai_models: false,
    developer: false,
    message_fields: MessageFields::Only(&["prefix", "partial"]),
    names: true,
    thoughts: Thoughts::Never,
    thinking: Thinking::Capable(LOW_TO_HIGH),
    named_choice: true,
    required: "required",
    strict_tools: false,
    json: JsonAnswers::Both,
    text_lists: false,
    null_content: true,
    cache_control: false,
    alternating: false,
    most_stops: 4,
    file_urls: false,
    videos: true,
};

/// The same for servers that want back the thoughts of a tool loop.
pub(super) static UNKNOWN_THINKING: Quirks = Quirks { thoughts: Thoughts::BesideCalls, ..UNKNOWN };

pub(super) static ROWS: &[Quirks] = &[
    Quirks {
        name: "openai",
        hosts: &["api.openai.com"],
        takes: Takes::AllBut(&["min_p", "top_k"]),
        openai_models: true,
        developer: true,
        message_fields: MessageFields::Only(&["audio"]),
        thinking: Thinking::OpenAi,
        strict_tools: true,
        text_lists: true,
        videos: false,
        ..UNKNOWN
    },
    Quirks {
        name: "azure",
        hosts: &["openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com"],
        takes: Takes::AllBut(&["min_p", "safety_identifier", "top_k", "web_search_options"]),
        openai_models: true,
        message_fields: MessageFields::Only(&["audio"]),
        thinking: Thinking::OpenAi,
        strict_tools: true,
        text_lists: true,
        videos: false,
        ..UNKNOWN
    },
    // Fields it does not know are passed over (https://docs.vllm.ai/en/latest/serving/openai_compatible_server/).
    Quirks {
        name: "hosted_vllm",
        takes: Takes::AllBut(PLATFORM),
        message_fields: MessageFields::Any,
        thoughts: Thoughts::Both,
        thinking: Thinking::Template,
        most_stops: usize::MAX,
        ..UNKNOWN
    },
    // `tool_choice` must be a word, `json_object` is refused
    // (https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/670).
    Quirks {
        name: "lm_studio",
        takes: Takes::Only(&[
            "frequency_penalty",
            "logit_bias",
            "min_p",
            "presence_penalty",
            "seed",
            "stop",
            "temperature",
            "top_k",
            "top_p",
        ]),
        named_choice: false,
        json: JsonAnswers::SchemaOnly,
        null_content: false,
        most_stops: usize::MAX,
        ..UNKNOWN
    },
    // https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
    Quirks {
        name: "llamafile",
        takes: Takes::AllBut(PLATFORM),
        message_fields: MessageFields::Any,
        thoughts: Thoughts::Content,
        thinking: Thinking::Template,
        named_choice: false,
        null_content: false,
        alternating: true,
        most_stops: usize::MAX,
        ..UNKNOWN
    },
    // https://docs.ollama.com/api/openai-compatibility
    Quirks {
        name: "ollama",
        takes: Takes::Only(&[
            "frequency_penalty",
            "logprobs",
            "presence_penalty",
            "seed",
            "stop",
            "temperature",
            "top_logprobs",
            "top_p",
        ]),
        thinking: Thinking::Capable(NONE_TO_HIGH),
        null_content: false,
        most_stops: usize::MAX,
        ..UNKNOWN
    },
    // https://api-docs.deepseek.com/api/create-chat-completion
    Quirks {
        name: "deepseek",
        hosts: &["api.deepseek.com"],
        takes: Takes::Only(&[
            "frequency_penalty",
            "logprobs",
            "presence_penalty",
            "stop",
            "temperature",
            "top_logprobs",
            "top_p",
        ]),
        message_fields: MessageFields::Only(&["prefix"]),
        thoughts: Thoughts::BesideCalls,
        thinking: Thinking::DeepSeek,
        json: JsonAnswers::ObjectOnly,
        most_stops: 16,
        videos: false,
        ..UNKNOWN
    },
    // Refuses what it does not know, on messages too (https://console.groq.com/docs/openai).
    Quirks {
        name: "groq",
        hosts: &["api.groq.com"],
        takes: Takes::Only(&[
            "frequency_penalty",
            "parallel_tool_calls",
            "presence_penalty",
            "seed",
            "service_tier",
            "stop",
            "temperature",
            "top_p",
            "user",
        ]),
        message_fields: MessageFields::Only(&[]),
        names: false,
        thinking: Thinking::Groq,
        videos: false,
        ..UNKNOWN
    },
    // Extra fields are a 422 (https://docs.mistral.ai/api/endpoint/chat).
    Quirks {
        name: "mistral",
        hosts: &["api.mistral.ai"],
        takes: Takes::Only(&[
            "frequency_penalty",
            "metadata",
            "n",
            "parallel_tool_calls",
            "prediction",
            "presence_penalty",
            "seed",
            "stop",
            "temperature",
            "top_p",
        ]),
        message_fields: MessageFields::Only(&["prefix"]),
        names: false,
        thinking: Thinking::Capable(&[Effort::None, Effort::High]),
        required: "any",
        strict_tools: true,
        most_stops: usize::MAX,
        videos: false,
        ..UNKNOWN
    },
    // It leaves out by itself what a model lacks (https://openrouter.ai/docs/api-reference/parameters).
    Quirks {
        name: "openrouter",
        hosts: &["openrouter.ai"],
        takes: Takes::AllBut(&["store"]),
        developer: true,
        message_fields: MessageFields::Any,
        thoughts: Thoughts::Details,
        thinking: Thinking::OpenRouter,
        strict_tools: true,
        text_lists: true,
        cache_control: true,
        file_urls: true,
        ..UNKNOWN
    },
    // https://docs.together.ai/reference/chat-completions-1
    Quirks {
        name: "together_ai",
        hosts: &["api.together.xyz", "api.together.ai"],
        takes: Takes::Only(&[
            "frequency_penalty",
            "logit_bias",
            "logprobs",
            "min_p",
            "n",
            "parallel_tool_calls",
            "presence_penalty",
            "seed",
            "stop",
            "temperature",
            "top_k",
            "top_p",
        ]),
        most_stops: usize::MAX,
        ..UNKNOWN
    },
    // https://docs.fireworks.ai/api-reference/post-chatcompletions
    Quirks {
        name: "fireworks_ai",
        hosts: &["api.fireworks.ai"],
        takes: Takes::Only(&[
            "frequency_penalty",
            "logit_bias",
            "logprobs",
            "min_p",
            "n",
            "parallel_tool_calls",
            "prediction",
            "presence_penalty",
            "seed",
            "stop",
            "temperature",
            "top_k",
            "top_logprobs",
            "top_p",
            "user",
        ]),
        thoughts: Thoughts::Content,
        ..UNKNOWN
    },
    // Reasoning models refuse more (https://docs.x.ai/docs/guides/reasoning); see `refuses`.
    Quirks {
        name: "xai",
        hosts: &["api.x.ai"],
        takes: Takes::Only(&[
            "frequency_penalty",
            "logprobs",
            "n",
            "parallel_tool_calls",
            "presence_penalty",
            "seed",
            "stop",
            "temperature",
            "top_logprobs",
            "top_p",
            "user",
        ]),
        thinking: Thinking::Xai,
        videos: false,
        ..UNKNOWN
    },
    // https://docs.perplexity.ai/api-reference/chat-completions-post
    Quirks {
        name: "perplexity",
        hosts: &["api.perplexity.ai"],
        takes: Takes::Only(&[
            "frequency_penalty",
            "presence_penalty",
            "temperature",
            "top_k",
            "top_p",
            "web_search_options",
        ]),
        message_fields: MessageFields::Only(&[]),
        names: false,
        json: JsonAnswers::SchemaOnly,
        alternating: true,
        ..UNKNOWN
    },
    // https://docs.nvidia.com/nim/large-language-models/latest/api-reference.html
    Quirks {
        name: "nvidia_nim",
        hosts: &["integrate.api.nvidia.com"],
        takes: Takes::Only(&[
            "frequency_penalty",
            "n",
            "parallel_tool_calls",
            "presence_penalty",
            "seed",
            "stop",
            "temperature",
            "top_p",
        ]),
        message_fields: MessageFields::Only(&[]),
        ..UNKNOWN
    },
    // https://inference-docs.cerebras.ai/resources/openai
    Quirks {
        name: "cerebras",
        hosts: &["api.cerebras.ai"],
        takes: Takes::Only(&[
            "logprobs",
            "parallel_tool_calls",
            "seed",
            "stop",
            "temperature",
            "top_logprobs",
            "top_p",
            "user",
        ]),
        message_fields: MessageFields::Only(&[]),
        names: false,
        strict_tools: true,
        ..UNKNOWN
    },
    // https://huggingface.co/docs/inference-providers/tasks/chat-completion
    Quirks {
        name: "huggingface",
        hosts: &["router.huggingface.co"],
        takes: Takes::Only(&[
            "frequency_penalty",
            "logit_bias",
            "logprobs",
            "presence_penalty",
            "seed",
            "stop",
            "temperature",
            "top_logprobs",
            "top_p",
        ]),
        null_content: false,
        ..UNKNOWN
    },
    // https://docs.anthropic.com/en/api/openai-sdk
    Quirks {
        name: "anthropic",
        hosts: &["api.anthropic.com"],
        takes: Takes::Only(&["parallel_tool_calls", "stop", "temperature", "top_p", "user"]),
        thinking: Thinking::Never,
        cache_control: true,
        most_stops: usize::MAX,
        ..UNKNOWN
    },
    // Unknown names are a 400 (https://ai.google.dev/gemini-api/docs/openai).
    Quirks {
        name: "gemini",
        hosts: &["generativelanguage.googleapis.com", "aiplatform.googleapis.com"],
        takes: Takes::Only(&["n", "stop", "temperature", "top_p"]),
        message_fields: MessageFields::Only(&["extra_content"]),
        thinking: Thinking::Words(NONE_TO_HIGH),
        ..UNKNOWN
    },
];
