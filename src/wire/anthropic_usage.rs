//! Reading Anthropic's accounts out of answers and stream events that pass through: usage, stop reason, model
//! (<https://docs.anthropic.com/en/api/messages-streaming>). What cannot be read is left out and never
//! disturbs the answer itself.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::fields::Fields;
use super::openai_usage::lenient;
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
    #[serde(borrow, deserialize_with = "lenient")]
    pub(super) message: Option<MessageAccount<'t>>,
    /// Of `message_delta`.
    #[serde(borrow, deserialize_with = "lenient")]
    pub(super) delta: Option<MessageAccount<'t>>,
    /// Of `message_delta`, too.
    #[serde(borrow)]
    pub(super) usage: Option<&'t RawValue>,
    /// Of `error`; what stands in front of a provider may leave out the type.
    pub(super) error: Option<Value>,
}

/// What is accounted for of a message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MessageAccount<'t> {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) stop_reason: Option<String>,
    #[serde(borrow)]
    pub(super) usage: Option<&'t RawValue>,
}

/// Anthropic's counts, as they come in pieces over a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::wire) struct Counts {
    fresh: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_hour: Option<u64>,
    reasoning: Option<u64>,
    searches: Option<u64>,
    service: Service,
}

impl Counts {
    /// Takes over what a `usage` object says.
    pub(in crate::wire) fn learn(&mut self, mut usage: Fields<'_>) {
        let mut by_lifetime = usage.inner("cache_creation").unwrap_or_default();
        let short = by_lifetime.whole("ephemeral_5m_input_tokens");
        let hour = by_lifetime.whole("ephemeral_1h_input_tokens");
        let created = usage.whole("cache_creation_input_tokens").or_else(|| {
            let either = short.or(hour);
            either.map(|_| short.unwrap_or_default().saturating_add(hour.unwrap_or_default()))
        });
        self.cache_write_hour = hour.or(self.cache_write_hour);
        let tools = usage.inner("server_tool_use");
        let searches = tools.and_then(|mut tools| tools.whole("web_search_requests"));
        self.searches = searches.or(self.searches);
        let tier = usage.text("service_tier").as_deref().and_then(Tier::read);
        self.service.tier = tier.or(self.service.tier);
        self.service.is_fast |= usage.text("speed").as_deref() == Some("fast");
        self.service.is_us_only |= usage.text("inference_geo").as_deref() == Some("us");
        let thought = usage.inner("output_tokens_details");
        self.fresh = usage.whole("input_tokens").or(self.fresh);
        self.output = usage.whole("output_tokens").or(self.output);
        self.cache_read = usage.whole("cache_read_input_tokens").or(self.cache_read);
        self.cache_write = created.or(self.cache_write);
        self.reasoning =
            thought.and_then(|mut details| details.whole("thinking_tokens")).or(self.reasoning);
    }

    /// The same in the convention of [`Usage`], where the input includes what was cached.
    pub(in crate::wire) fn usage(&self) -> Usage {
        let cached = [self.cache_read, self.cache_write];
        let cached = cached.into_iter().flatten().fold(0, u64::saturating_add);
        Usage {
            input: self.fresh.map(|fresh| fresh.saturating_add(cached)),
            output: self.output,
            cache_read: self.cache_read,
            cache_write: self.cache_write,
            cache_write_hour: self.cache_write_hour,
            reasoning: self.reasoning,
            searches: self.searches,
            service: self.service,
            ..Usage::default()
        }
    }
}

/// The data of an `error` event.
pub(super) fn error(fault: &Fault) -> Value {
    json!({ "type": "error", "error": { "type": "api_error", "message": fault.message } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_input_is_input() {
        let mut counts = Counts::default();
        let text = r#"{"input_tokens":3,"cache_read_input_tokens":10,"cache_creation":{"ephemeral_1h_input_tokens":5}}"#;
        counts.learn(Fields::read(text).expect("an object"));
        counts.learn(Fields::read(r#"{"output_tokens":7}"#).expect("an object"));
        let usage = counts.usage();
        assert_eq!((usage.input, usage.output, usage.cache_write), (Some(18), Some(7), Some(5)));
        assert_eq!(usage.cache_write_hour, Some(5));
    }
}
