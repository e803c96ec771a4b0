//! Providers that LiteLLM knows under a prefix of their own and that speak OpenAI's format: here they are `openai/` with an address.
//! A table and nothing else. From LiteLLM's sources (1.77, `get_llm_provider_logic.py` and the providers' `transformation.py`; the newer
//! ones from `openai_like/providers.json`).

/// A provider: its prefix, its base URL, and the variable that LiteLLM reads its key from.
pub(super) type Row = (&'static str, &'static str, &'static str);

pub(super) const OPENAI_LIKE: &[Row] = &[
    ("aihubmix", "https://aihubmix.com/v1", "AIHUBMIX_API_KEY"),
    ("aiml", "https://api.aimlapi.com/v1", "AIML_API_KEY"),
    ("baseten", "https://inference.baseten.co/v1", "BASETEN_API_KEY"),
    ("chutes", "https://llm.chutes.ai/v1", "CHUTES_API_KEY"),
    ("codestral", "https://codestral.mistral.ai/v1", "CODESTRAL_API_KEY"),
    ("compactifai", "https://api.compactif.ai/v1", "COMPACTIFAI_API_KEY"),
    ("dashscope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    ("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    ("empower", "https://app.empower.dev/api/v1", "EMPOWER_API_KEY"),
    ("featherless_ai", "https://api.featherless.ai/v1", "FEATHERLESS_API_KEY"),
    ("friendliai", "https://api.friendli.ai/serverless/v1", "FRIENDLIAI_API_KEY"),
    ("galadriel", "https://api.galadriel.com/v1", "GALADRIEL_API_KEY"),
    ("github", "https://models.inference.ai.azure.com", "GITHUB_API_KEY"),
    ("gmi", "https://api.gmi-serving.com/v1", "GMI_API_KEY"),
    ("helicone", "https://ai-gateway.helicone.ai", "HELICONE_API_KEY"),
    ("hyperbolic", "https://api.hyperbolic.xyz/v1", "HYPERBOLIC_API_KEY"),
    ("jina_ai", "https://api.jina.ai/v1", "JINA_AI_API_KEY"),
    ("lambda_ai", "https://api.lambda.ai/v1", "LAMBDA_API_KEY"),
    ("meta_llama", "https://api.llama.com/compat/v1", "LLAMA_API_KEY"),
    ("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    ("morph", "https://api.morphllm.com/v1", "MORPH_API_KEY"),
    ("nano-gpt", "https://nano-gpt.com/api/v1", "NANOGPT_API_KEY"),
    ("nebius", "https://api.studio.nebius.ai/v1", "NEBIUS_API_KEY"),
    ("novita", "https://api.novita.ai/v3/openai", "NOVITA_API_KEY"),
    ("poe", "https://api.poe.com/v1", "POE_API_KEY"),
    ("publicai", "https://api.publicai.co/v1", "PUBLICAI_API_KEY"),
    ("sambanova", "https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    ("scaleway", "https://api.scaleway.ai/v1", "SCW_SECRET_KEY"),
    ("synthetic", "https://api.synthetic.new/openai/v1", "SYNTHETIC_API_KEY"),
    ("v0", "https://api.v0.dev/v1", "V0_API_KEY"),
    ("veniceai", "https://api.venice.ai/api/v1", "VENICE_AI_API_KEY"),
    ("vercel_ai_gateway", "https://ai-gateway.vercel.sh/v1", "VERCEL_AI_GATEWAY_API_KEY"),
    ("volcengine", "https://ark.cn-beijing.volces.com/api/v3", "VOLCENGINE_API_KEY"),
];

/// Prefixes of servers that speak OpenAI's format wherever `api_base` says they are.
pub(super) const WITH_OWN_BASE: &[&str] =
    &["aiohttp_openai", "databricks", "infinity", "litellm_proxy", "openai_like", "xinference"];

/// Prefixes that LiteLLM speaks to in formats that are not known here, whatever address is given.
pub(super) const WITH_OWN_FORMAT: &[&str] = &[
    "aleph_alpha",
    "bytez",
    "clarifai",
    "cloudflare",
    "elevenlabs",
    "fal_ai",
    "gigachat",
    "langgraph",
    "nlp_cloud",
    "oci",
    "oobabooga",
    "petals",
    "predibase",
    "recraft",
    "replicate",
    "sagemaker",
    "sagemaker_chat",
    "snowflake",
    "stability",
    "triton",
    "voyage",
    "watsonx",
    "watsonx_text",
];
