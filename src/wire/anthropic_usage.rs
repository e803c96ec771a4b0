//! Reading Anthropic's accounts out of answers and stream events that pass through: usage, stop reason, model
//! (<https://docs.anthropic.com/en/api/messages-streaming>). What cannot be read is left out and never
//! disturbs the answer itself.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::openai_usage::{ServerTools, lenient};
use crate::conversation::Usage;
use crate::conversation::usage::{Service, Tier};
use crate::ground::fault::Fault;

/// One event of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MessageEvent<'t> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Option<Cow<'t, str>>,
    /// Of `message_start`.
    #[serde(deserialize_with = "lenient")]
    pub(super) message: Option<MessageAccount>,
    /// Of `message_delta`.
    #[serde(deserialize_with = "lenient")]
    pub(super) delta: Option<MessageAccount>,
    /// Of `error`; what stands in front of a provider may leave out the type.
    pub(super) error: Option<Value>,
    #[serde(flatten)]
    pub(super) account: MessageAccount,
}

/// What is accounted for of a message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MessageAccount {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) stop_reason: Option<String>,
    pub(super) usage: Option<MessageUsage>,
}

/// Anthropic's counts: its input excludes what was read from or written to a cache.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MessageUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    cache_creation: Option<Lifetimes>,
    #[serde(deserialize_with = "lenient")]
    output_tokens_details: Option<OutputDetails>,
    #[serde(deserialize_with = "lenient")]
    server_tool_use: Option<ServerTools>,
    #[serde(deserialize_with = "word", rename = "service_tier")]
    tier: Option<Tier>,
    #[serde(deserialize_with = "is_fast", rename = "speed")]
    is_fast: bool,
    #[serde(deserialize_with = "is_us_only", rename = "inference_geo")]
    is_us_only: bool,
}

/// How long what was written to the cache is kept.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Lifetimes {
    #[serde(deserialize_with = "lenient")]
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    #[serde(deserialize_with = "lenient")]
    thinking_tokens: Option<u64>,
}

fn word<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Tier>, D::Error> {
    Ok(lenient::<D, String>(from)?.as_deref().and_then(Tier::read))
}

fn is_fast<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(lenient::<D, String>(from)?.as_deref() == Some("fast"))
}

fn is_us_only<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(lenient::<D, String>(from)?.as_deref() == Some("us"))
}

impl MessageUsage {
    /// Later counts replace earlier ones.
    pub(super) fn learn(&mut self, other: &Self) {
        self.input_tokens = other.input_tokens.or(self.input_tokens);
        self.output_tokens = other.output_tokens.or(self.output_tokens);
        self.cache_read_input_tokens =
            other.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens =
            other.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_creation = other.cache_creation.or(self.cache_creation);
        self.output_tokens_details = other.output_tokens_details.or(self.output_tokens_details);
        self.server_tool_use = other.server_tool_use.or(self.server_tool_use);
        self.tier = other.tier.or(self.tier);
        self.is_fast |= other.is_fast;
        self.is_us_only |= other.is_us_only;
    }

    pub(super) fn read(&self) -> Usage {
        let cached = [self.cache_read_input_tokens, self.cache_creation_input_tokens];
        let cached = cached.into_iter().flatten().fold(0, u64::saturating_add);
        Usage {
            input: self.input_tokens.map(|input| input.saturating_add(cached)),
            output: self.output_tokens,
            cache_read: self.cache_read_input_tokens,
            cache_write: self.cache_creation_input_tokens,
            cache_write_hour: self.cache_creation.and_then(|it| it.ephemeral_1h_input_tokens),
            reasoning: self.output_tokens_details.and_then(|details| details.thinking_tokens),
            searches: self.server_tool_use.and_then(|tools| tools.web_search_requests),
            service: Service {
                tier: self.tier,
                is_fast: self.is_fast,
                is_us_only: self.is_us_only,
            },
            ..Usage::default()
        }
    }
}

/// The data of an `error` event.
pub(super) fn error(fault: &Fault) -> Value {
    json!({ "type": "error", "error": { "type": "api_error", "message": fault.message } })
}
