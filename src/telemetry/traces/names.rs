//! Names of attributes, one table for each version of the conventions that name them. OpenTelemetry's own crate marks all of
//! those for generative AI as moved, so they stand here.
//! <https://github.com/open-telemetry/semantic-conventions-genai>, <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>

use crate::config::telemetry::Semconv;

/// What two versions name differently.
#[derive(Debug)]
pub(super) struct Version {
    /// Of the instrumentation scope; the unreleased head has none yet.
    pub(super) schema_url: Option<&'static str>,
    /// Tokens written to a cache: one name, or both.
    pub(super) cache_write_tokens: &'static [&'static str],
    /// `top_k` is a whole number.
    pub(super) top_k_is_int: bool,
}

const SCHEMA_1_42: &str = "https://opentelemetry.io/schemas/gen-ai/1.42.0";
const CACHE_CREATION: &str = "gen_ai.usage.cache_creation.input_tokens";
const CACHE_WRITE: &str = "gen_ai.usage.cache_write.input_tokens";

static V1_42: Version = Version {
    schema_url: Some(SCHEMA_1_42),
    cache_write_tokens: &[CACHE_CREATION],
    top_k_is_int: false,
};
static LATEST: Version =
    Version { schema_url: None, cache_write_tokens: &[CACHE_WRITE], top_k_is_int: true };
static BOTH: Version = Version {
    schema_url: Some(SCHEMA_1_42),
    cache_write_tokens: &[CACHE_CREATION, CACHE_WRITE],
    top_k_is_int: false,
};

pub(super) fn version(semconv: Semconv) -> &'static Version {
    match semconv {
        Semconv::V1_42 => &V1_42,
        Semconv::Latest => &LATEST,
        Semconv::Both => &BOTH,
    }
}

/// A provider's name in the conventions; one that they have no word for keeps its own.
pub(super) fn provider(name: &'static str) -> &'static str {
    match name {
        "azure" => "azure.ai.openai",
        "bedrock" => "aws.bedrock",
        "gemini" => "gcp.gemini",
        "vertex_ai" => "gcp.vertex_ai",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        "hosted_vllm" => "vllm",
        other => other,
    }
}

pub(super) const OPERATION: &str = "gen_ai.operation.name";
pub(super) const PROVIDER: &str = "gen_ai.provider.name";
pub(super) const CONVERSATION: &str = "gen_ai.conversation.id";
pub(super) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(super) const REQUEST_STREAM: &str = "gen_ai.request.stream";
pub(super) const TEMPERATURE: &str = "gen_ai.request.temperature";
pub(super) const TOP_P: &str = "gen_ai.request.top_p";
pub(super) const TOP_K: &str = "gen_ai.request.top_k";
pub(super) const MAX_TOKENS: &str = "gen_ai.request.max_tokens";
pub(super) const FREQUENCY_PENALTY: &str = "gen_ai.request.frequency_penalty";
pub(super) const PRESENCE_PENALTY: &str = "gen_ai.request.presence_penalty";
pub(super) const SEED: &str = "gen_ai.request.seed";
pub(super) const CHOICES: &str = "gen_ai.request.choice.count";
pub(super) const STOP: &str = "gen_ai.request.stop_sequences";
pub(super) const RESPONSE_ID: &str = "gen_ai.response.id";
pub(super) const RESPONSE_MODEL: &str = "gen_ai.response.model";
pub(super) const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
pub(super) const FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
pub(super) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub(super) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
pub(super) const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
pub(super) const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";
pub(super) const SYSTEM_INSTRUCTIONS: &str = "gen_ai.system_instructions";
pub(super) const INPUT_MESSAGES: &str = "gen_ai.input.messages";
pub(super) const OUTPUT_MESSAGES: &str = "gen_ai.output.messages";
pub(super) const TOOL_DEFINITIONS: &str = "gen_ai.tool.definitions";
pub(super) const TOOL_NAME: &str = "gen_ai.tool.name";
pub(super) const TOOL_TYPE: &str = "gen_ai.tool.type";
pub(super) const TOOL_CALL_ID: &str = "gen_ai.tool.call.id";
pub(super) const TOOL_ARGUMENTS: &str = "gen_ai.tool.call.arguments";
pub(super) const TOOL_RESULT: &str = "gen_ai.tool.call.result";
pub(super) const PROMPT_NAME: &str = "gen_ai.prompt.name";
/// The event that holds what was said.
pub(super) const DETAILS: &str = "gen_ai.client.inference.operation.details";

pub(super) const MCP_METHOD: &str = "mcp.method.name";
pub(super) const MCP_VERSION: &str = "mcp.protocol.version";
pub(super) const MCP_SESSION: &str = "mcp.session.id";
pub(super) const JSONRPC_ID: &str = "jsonrpc.request.id";
pub(super) const RPC_STATUS: &str = "rpc.response.status_code";
pub(super) const TRANSPORT: &str = "network.transport";

pub(super) const HTTP_METHOD: &str = "http.request.method";
pub(super) const HTTP_ROUTE: &str = "http.route";
pub(super) const HTTP_STATUS: &str = "http.response.status_code";
pub(super) const URL_PATH: &str = "url.path";
pub(super) const URL_SCHEME: &str = "url.scheme";
pub(super) const PROTOCOL_VERSION: &str = "network.protocol.version";
pub(super) const CLIENT_ADDRESS: &str = "client.address";
pub(super) const USER_AGENT: &str = "user_agent.original";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const USER_ID: &str = "user.id";
pub(super) const SESSION_ID: &str = "session.id";
