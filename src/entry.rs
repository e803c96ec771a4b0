//! One finished request as a value: the row before it is a row. Durations are microseconds.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use uuid::Uuid;

use crate::conversation::usage::Usage;
use crate::ground::trace::{SpanPlace, Trace};
use crate::ground::usd::Usd;

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    #[default]
    Ok,
    /// The provider or the gateway failed.
    Error,
    /// The client went away.
    Cancelled,
    /// Refused because the gateway was full or shutting down.
    Shed,
    /// Refused because of the key or the request itself.
    Denied,
}

/// Where token counts came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsageSource {
    /// The provider said nothing.
    #[default]
    None,
    /// The provider's own figures.
    Provider,
}

/// One try at one deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Attempt {
    pub deployment: String,
    /// The provider's status; absent when it was never reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What went wrong, as a word (`connect`, `timeout`, `status`, …); absent for the try that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    pub duration_us: u64,
    /// In which round of a request with the gateway's tools, counted from 1; absent in the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// Microseconds from the request's beginning to the try's.
    #[serde(skip)]
    pub began_us: u64,
    /// What a span says beside; absent where there is no trace.
    #[serde(skip)]
    pub detail: Option<Box<AttemptDetail>>,
}

/// What a span says of a try, and a row does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptDetail {
    pub span_id: u64,
    /// As the catalogue calls it.
    pub provider: &'static str,
    /// As the provider calls it.
    pub model: String,
    pub group: String,
    /// The host of the provider's address.
    pub address: String,
    pub port: Option<u16>,
    /// Another group was asked for.
    pub is_fallback: bool,
}

/// One time that a model was asked, of several in which the gateway ran tools.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// Empty where none was reached.
    pub deployment: String,
    /// As the provider calls it.
    pub model: String,
    pub status: Status,
    /// Microseconds from the request's beginning to the round's.
    pub began_us: u64,
    /// From the first try to the end of what the model said.
    pub duration_us: u64,
    pub tokens: Usage,
    /// As for the whole request.
    pub cost_usd: Option<Usd>,
    pub price_version: Option<Arc<str>>,
}

/// How a call of a tool ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallStatus {
    Ok,
    /// The tool or its server failed, or the arguments were none that it takes.
    Error,
    /// It took longer than it may.
    Timeout,
    /// The client went away while it ran.
    #[default]
    Cancelled,
    /// The user did not approve it.
    Denied,
    /// A budget was used up before it could be.
    NotRun,
}

/// One call of an MCP server's tool that the gateway made for a model. What was said in it is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// UUID version 7: sorts by time.
    pub id: Uuid,
    /// Microseconds since 1970-01-01 UTC; within the request's time.
    pub started_at_us: i64,
    pub duration_us: u64,
    /// The round whose model called it, from 1; 0 for a call that a user approved before the first.
    pub round: u32,
    /// As the configuration calls it.
    pub server: String,
    /// The server's own name for the tool.
    pub tool: String,
    /// The name under which the model knows it.
    pub function: String,
    pub status: CallStatus,
    /// Of the JSON text that the model wrote.
    pub arguments_bytes: u64,
    /// Of the result as the server sent it; absent where none came.
    pub result_bytes: Option<u64>,
    /// The first half of the arguments' SHA-256.
    pub arguments_digest: [u8; 16],
    /// Where the server answered and the call has a price.
    pub cost_usd: Option<Usd>,
    /// The call's span; 0 where there is no trace.
    pub span_id: u64,
    /// What was said in it, where spans are to hold that: the model's own text, and the server's result.
    pub said: Option<Box<(String, Option<String>)>>,
    /// What was asked of the server, where there is a trace and it was asked.
    pub asked: Option<Box<McpCall>>,
}

/// What a request asks of a model, beside its content; absent is what the client left to the provider.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<f64>,
    pub max_tokens: Option<u64>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub seed: Option<i64>,
    /// Answers wanted.
    pub choices: Option<u64>,
    pub stop: Vec<String>,
}

/// What was said, in the words of OpenTelemetry's conventions: JSON of `gen_ai.input.messages` and its kin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// `gen_ai.system_instructions`; empty: none.
    pub system: String,
    pub input: String,
    pub output: String,
    /// `gen_ai.tool.definitions`; empty: none.
    pub tools: String,
}

/// What spans say of a request, and a row does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Traced {
    pub trace: Trace,
    pub parameters: Parameters,
    /// The provider's id of the answer.
    pub response_id: Option<String>,
    /// The model that answered, in the provider's words.
    pub response_model: Option<String>,
    /// Only where it is to be told.
    pub content: Option<Content>,
    /// Microseconds from the request's beginning until it was known who asks.
    pub admitted_us: Option<u64>,
    /// The same, until it was decided whom to ask.
    pub routed_us: Option<u64>,
    /// The try that went on when the client hung up.
    pub unfinished: Option<Attempt>,
}

impl Traced {
    /// What is known when a trace begins.
    pub fn new(trace: Trace) -> Self {
        Self {
            trace,
            parameters: Parameters::default(),
            response_id: None,
            response_model: None,
            content: None,
            admitted_us: None,
            routed_us: None,
            unfinished: None,
        }
    }
}

/// Who sends a request, as the connection has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub ip: IpAddr,
    /// `1.1` or `2`; absent where the request is no HTTP request of its own.
    pub http_version: Option<&'static str>,
}

impl Client {
    /// The gateway itself.
    pub const HERE: Self = Self { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), http_version: None };
}

/// An HTTP request that is no request to a model: one to `/mcp`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRequest {
    pub trace: Trace,
    /// Microseconds since 1970-01-01 UTC.
    pub started_at_us: i64,
    pub duration_us: u64,
    pub method: String,
    /// As in the router's table.
    pub route: &'static str,
    pub path: String,
    pub status: u16,
    pub client: Client,
    pub key_id: Option<String>,
}

/// One request of an MCP client, answered.
#[derive(Clone, Debug, PartialEq)]
pub struct McpRequest {
    /// Where its parent is another program's, its link is the HTTP request that brought it.
    pub trace: Trace,
    pub is_parent_remote: bool,
    /// Microseconds since 1970-01-01 UTC.
    pub started_at_us: i64,
    pub duration_us: u64,
    /// `tools/call`
    pub method: String,
    /// The tool or prompt, as the client calls it.
    pub target: Option<String>,
    /// The JSON-RPC id, as JSON.
    pub id: String,
    /// The code of a JSON-RPC error.
    pub error_code: Option<i64>,
    /// The tool itself failed.
    pub is_tool_error: bool,
    pub was_cancelled: bool,
    /// The revision that the client speaks.
    pub revision: &'static str,
    pub session_id: Option<String>,
    pub key_id: Option<String>,
    /// What was asked of servers for it, up to a bound.
    pub calls: Vec<McpCall>,
}

/// One request that the gateway made of an MCP server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpCall {
    pub span_id: u64,
    /// Microseconds since 1970-01-01 UTC.
    pub started_at_us: i64,
    pub duration_us: u64,
    pub method: String,
    /// As the configuration calls it.
    pub server: String,
    /// The tool or prompt, as the server calls it.
    pub target: Option<String>,
    pub error_code: Option<i64>,
    /// The server could not be reached, or did not answer.
    pub is_unanswered: bool,
    pub is_tool_error: bool,
    pub was_cancelled: bool,
    pub way: McpWay,
}

/// The way to an MCP server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpWay {
    /// The server is a child, spoken with by pipes.
    pub is_pipe: bool,
    pub address: Option<String>,
    pub port: Option<u16>,
    /// The revision that the server speaks; empty where it was not reached.
    pub revision: &'static str,
}

/// One thing of a request that its provider's format could not carry.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Loss {
    pub path: String,
    pub why: String,
}

/// What was said, kept only with `store_prompts_in_spend_logs: true`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// The client's body, cut at the store's bound.
    pub request: Vec<u8>,
    pub request_truncated: bool,
    /// The answer as it went out, cut at the store's bound.
    pub response: Vec<u8>,
    pub response_truncated: bool,
}

/// One request, from the door to its last byte.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// UUID version 7: sorts by time.
    pub request_id: Uuid,
    /// Microseconds since 1970-01-01 UTC.
    pub started_at_us: i64,
    pub duration_us: u64,
    /// Waiting for the provider, all attempts, to the end of the answer.
    pub upstream_us: Option<u64>,
    /// To the first byte that left for the client.
    pub ttfb_us: Option<u64>,
    /// To the first event with content in a stream.
    pub ttft_us: Option<u64>,
    /// `duration_us` less the provider's share, up to the first byte.
    pub overhead_us: Option<u64>,
    /// The route, as in the router's table: `/v1/chat/completions`.
    pub surface: &'static str,
    /// `chat`, `text_completion`, `embeddings`, …: OpenTelemetry's `gen_ai.operation.name` where it has one.
    pub operation: &'static str,
    pub stream: bool,
    pub status: Status,
    pub http_status: u16,
    pub error_type: Option<String>,
    pub error_message: Option<String>,
    pub finish_reason: Option<String>,
    pub client_closed: bool,
    pub key_id: Option<String>,
    pub key_alias: Option<String>,
    pub user_id: Option<String>,
    pub team_id: Option<String>,
    pub end_user: Option<String>,
    pub session_id: Option<String>,
    pub tags: Vec<String>,
    pub model_requested: String,
    pub model_group: Option<String>,
    pub deployment: Option<String>,
    pub provider: Option<&'static str>,
    pub model_upstream: Option<String>,
    pub api_base: Option<String>,
    /// `verbatim`, `hub`, `mock` or `count`.
    pub lane: &'static str,
    /// What did not reach the provider.
    pub losses: Vec<Loss>,
    /// Of all rounds.
    pub attempts: Vec<Attempt>,
    /// How often a model was asked, where the gateway's tools were in the request; empty where they were not.
    pub rounds: Vec<Round>,
    /// How many calls of the gateway's tools there were, run or not.
    pub tool_calls: u64,
    /// The calls one by one, up to a bound.
    pub tool_call_logs: Vec<ToolCall>,
    /// The group that was asked for, when another one answered.
    pub fallback_from: Option<String>,
    pub tokens: Usage,
    pub usage_source: UsageSource,
    /// Of the model, in all rounds, and of the tools. `None` where something that was used has no price, or nothing is known of what
    /// was used: never zero for unknown.
    pub cost_usd: Option<Usd>,
    /// Which prices were used: a table's version, `config`, or `provider` where the provider said the cost itself.
    pub price_version: Option<Arc<str>>,
    pub client_ip: Option<IpAddr>,
    pub http_version: Option<&'static str>,
    pub user_agent: Option<String>,
    /// The provider's `x-request-id`.
    pub upstream_request_id: Option<String>,
    pub config_generation: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub payload: Option<Payload>,
    /// Absent: there are no traces.
    pub traced: Option<Box<Traced>>,
}

impl Entry {
    /// The request's span, where it is part of a trace.
    pub fn place(&self) -> Option<SpanPlace> {
        self.traced.as_ref().map(|traced| traced.trace.place)
    }
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Shed => "shed",
            Self::Denied => "denied",
        }
    }
}

impl CallStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Denied => "denied",
            Self::NotRun => "not_run",
        }
    }
}

impl UsageSource {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Provider => "provider",
        }
    }
}
