//! Reading Anthropic's accounts out of answers and stream events that pass through: usage, stop reason, model
//! (<https://docs.anthropic.com/en/api/messages-streaming>). What cannot be read is left out and never
//! disturbs the answer itself.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use super::openai_usage::lenient;
use crate::conversation::Usage;
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
    /// Of `error`.
    #[serde(deserialize_with = "lenient")]
    pub(super) error: Option<MessageError>,
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

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MessageError {
    pub(super) message: Option<String>,
}

/// Anthropic's counts: its input excludes what was read from or written to a cache.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MessageUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
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
    }

    pub(super) fn read(&self) -> Usage {
        let cached = [self.cache_read_input_tokens, self.cache_creation_input_tokens];
        let cached = cached.into_iter().flatten().fold(0, u64::saturating_add);
        Usage {
            input: self.input_tokens.map(|input| input.saturating_add(cached)),
            output: self.output_tokens,
            cache_read: self.cache_read_input_tokens,
            cache_write: self.cache_creation_input_tokens,
            reasoning: None,
        }
    }
}

/// The data of an `error` event.
pub(super) fn error(fault: &Fault) -> Value {
    json!({ "type": "error", "error": { "type": "api_error", "message": fault.message } })
}
