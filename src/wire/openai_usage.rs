//! Reading OpenAI's accounts out of answers and stream events: usage, finish reason, model. Every
//! field is optional and every type lenient, because every compatible server has its own idea; what
//! cannot be read is left out and never disturbs the answer itself.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use crate::conversation::usage::{Service, Tier, Usage};
use crate::ground::usd::Usd;

/// The parts of an answer, or of one stream event, that are accounted for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Account<'t> {
    #[serde(rename = "type", borrow)]
    pub event: Option<Cow<'t, str>>,
    #[serde(deserialize_with = "lenient")]
    pub id: Option<String>,
    #[serde(borrow)]
    pub model: Option<Cow<'t, str>>,
    #[serde(deserialize_with = "lenient")]
    pub usage: Option<RawUsage>,
    /// Groq's place for usage in a stream's last chunk.
    #[serde(deserialize_with = "lenient")]
    pub x_groq: Option<Groq>,
    #[serde(deserialize_with = "lenient")]
    pub choices: Option<Vec<Choice>>,
    pub error: Option<Value>,
    /// The response object of a Responses event.
    #[serde(deserialize_with = "lenient")]
    pub response: Option<Map<String, Value>>,
    #[serde(deserialize_with = "lenient")]
    pub sequence_number: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub status: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub service_tier: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Groq {
    #[serde(deserialize_with = "lenient")]
    usage: Option<RawUsage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice {
    #[serde(deserialize_with = "lenient")]
    pub finish_reason: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub delta: Option<Map<String, Value>>,
    #[serde(deserialize_with = "lenient")]
    pub text: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawUsage {
    #[serde(deserialize_with = "count")]
    prompt_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    completion_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    prompt_tokens_details: Option<Details>,
    #[serde(deserialize_with = "lenient")]
    completion_tokens_details: Option<Details>,
    // Fields of their own and no aliases: some servers say both, and to serde that is one field twice.
    #[serde(deserialize_with = "count")]
    input_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    output_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    input_tokens_details: Option<Details>,
    #[serde(deserialize_with = "lenient")]
    output_tokens_details: Option<Details>,
    /// Of transcriptions.
    #[serde(deserialize_with = "lenient")]
    input_token_details: Option<Details>,
    /// DeepSeek's name for cached input.
    #[serde(deserialize_with = "count")]
    prompt_cache_hit_tokens: Option<u64>,
    /// Moonshot's.
    #[serde(deserialize_with = "count")]
    cached_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    total_tokens: Option<u64>,
    /// Of a transcription that is counted in time.
    #[serde(deserialize_with = "lenient")]
    seconds: Option<f64>,
    #[serde(deserialize_with = "lenient")]
    service_tier: Option<String>,
    /// OpenRouter's, in US dollars; Perplexity's is an object.
    #[serde(deserialize_with = "lenient")]
    cost: Option<Value>,
    /// OpenRouter's: the provider was asked with a key of one's own, and `cost` is what OpenRouter itself takes.
    #[serde(deserialize_with = "lenient")]
    is_byok: Option<bool>,
    #[serde(deserialize_with = "lenient")]
    cost_details: Option<CostDetails>,
    /// xAI's, of which a dollar has ten thousand million (https://docs.x.ai/developers/rest-api-reference).
    #[serde(deserialize_with = "lenient")]
    cost_in_usd_ticks: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    server_side_tool_usage_details: Option<ServerTools>,
    /// As Anthropic's, by servers that stand before it.
    #[serde(deserialize_with = "lenient")]
    server_tool_use: Option<ServerTools>,
}

/// How often a provider used its own tools.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct ServerTools {
    #[serde(alias = "web_search_calls", deserialize_with = "count")]
    web_search_requests: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CostDetails {
    #[serde(deserialize_with = "lenient")]
    upstream_inference_cost: Option<Number>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    #[serde(deserialize_with = "count")]
    cached_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    cache_write_tokens: Option<u64>,
    /// LiteLLM's name for the same, where it stands before the provider; it says both.
    #[serde(deserialize_with = "count")]
    cache_creation_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    cache_creation_token_details: Option<Lifetimes>,
    #[serde(deserialize_with = "count")]
    reasoning_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    audio_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    image_tokens: Option<u64>,
}

/// How long what was written to a cache is kept.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lifetimes {
    #[serde(deserialize_with = "count")]
    ephemeral_1h_input_tokens: Option<u64>,
}

/// What a response's list of items says of searches.
#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type", default, deserialize_with = "lenient")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    action: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    #[serde(rename = "type", default, deserialize_with = "lenient")]
    kind: Option<String>,
}

impl Account<'_> {
    /// Usage, wherever this provider puts it.
    pub(super) fn usage(&self) -> Option<Usage> {
        let mut usage = self.counts()?;
        let response = self.response.as_ref();
        let tier = response.and_then(|response| response.get("service_tier")?.as_str());
        let tier = tier.or(self.service_tier.as_deref()).and_then(Tier::read);
        usage.service.tier = tier.or(usage.service.tier);
        let output = response.and_then(|response| response.get("output")?.as_array());
        let is_one = |item: &&Value| is_search(kind(item), item.get("action").and_then(kind));
        let searches = output.into_iter().flatten().filter(is_one).count() as u64;
        usage.searches = usage.searches.or((searches > 0).then_some(searches));
        Some(usage)
    }

    fn counts(&self) -> Option<Usage> {
        if let Some(raw) = &self.usage {
            return Some(raw.read());
        }
        if let Some(raw) = self.x_groq.as_ref().and_then(|groq| groq.usage.as_ref()) {
            return Some(raw.read());
        }
        let usage = self.response.as_ref()?.get("usage")?.to_string();
        let raw: RawUsage = serde_json::from_str(&usage).ok()?;
        Some(raw.read()).filter(|usage| !usage.is_empty())
    }

    pub(super) fn finish_reason(&self) -> Option<&str> {
        self.choices.iter().flatten().find_map(|choice| choice.finish_reason.as_deref())
    }

    /// A chunk that exists only to carry usage: what a client that did not ask for it must not see.
    pub(super) fn is_usage_only(&self) -> bool {
        self.usage.is_some() && self.choices.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether something of the answer itself is in this event, not just a role or a frame.
    pub(super) fn has_content(&self) -> bool {
        if let Some(event) = &self.event {
            return event.ends_with(".delta");
        }
        self.choices.iter().flatten().any(|choice| {
            let delta = choice.delta.iter().flatten().any(|(name, value)| {
                let empty = match value {
                    Value::Null => true,
                    Value::String(text) => text.is_empty(),
                    Value::Array(items) => items.is_empty(),
                    _ => false,
                };
                name != "role" && !empty
            });
            delta || choice.text.as_ref().is_some_and(|text| !text.is_empty())
        })
    }
}

impl RawUsage {
    pub(super) fn read(&self) -> Usage {
        let input = [&self.input_tokens_details, &self.input_token_details];
        let input = input.into_iter().fold(&self.prompt_tokens_details, |one, other| match one {
            Some(_) => one,
            None => other,
        });
        let input = input.as_ref();
        let output = self.completion_tokens_details.as_ref();
        let output = output.or(self.output_tokens_details.as_ref());
        let said = self.completion_tokens.or(self.output_tokens);
        let whole = self.total_tokens.filter(|_| said.is_none());
        let written = input.and_then(|it| it.cache_write_tokens.or(it.cache_creation_tokens));
        let lifetimes = input.and_then(|details| details.cache_creation_token_details.as_ref());
        let mut usage = Usage {
            // Rerankers say the sum alone.
            input: self.prompt_tokens.or(self.input_tokens).or(whole),
            output: said,
            cache_read: input
                .and_then(|details| details.cached_tokens)
                .or(self.prompt_cache_hit_tokens)
                .or(self.cached_tokens),
            cache_write: written,
            cache_write_hour: lifetimes.and_then(|kept| kept.ephemeral_1h_input_tokens),
            reasoning: output.and_then(|details| details.reasoning_tokens),
            audio_input: input.and_then(|details| details.audio_tokens),
            audio_output: output.and_then(|details| details.audio_tokens),
            image_input: input.and_then(|details| details.image_tokens),
            image_output: output.and_then(|details| details.image_tokens),
            audio_milliseconds: self.seconds.and_then(milliseconds),
            searches: [&self.server_tool_use, &self.server_side_tool_usage_details]
                .into_iter()
                .find_map(|tools| tools.as_ref()?.web_search_requests),
            stated_cost: self.stated_cost(),
            service: Service {
                tier: self.service_tier.as_deref().and_then(Tier::read),
                ..Service::default()
            },
            ..Usage::default()
        };
        // xAI counts reasoning beside the output, which the total gives away
        // (https://docs.x.ai/docs/guides/reasoning).
        let reasoning = usage.reasoning.unwrap_or_default();
        let all = usage.total().saturating_add(reasoning);
        if reasoning > 0 && self.total_tokens == Some(all) {
            usage.output = usage.output.map(|output| output.saturating_add(reasoning));
        }
        usage
    }

    fn stated_cost(&self) -> Option<Usd> {
        let ticks = self.cost_in_usd_ticks.map(|ticks| Usd::scaled(&ticks.to_string(), -10));
        let cost = self.cost.as_ref();
        let number = || cost?.get("total_cost").or(cost)?.as_number();
        let said = ticks.or_else(|| number().map(|number| number.to_string().parse()))?.ok()?;
        if self.is_byok != Some(true) {
            return Some(said);
        }
        // https://openrouter.ai/docs/use-cases/usage-accounting: what the provider itself charges comes on top.
        let upstream = self.cost_details.as_ref()?.upstream_inference_cost.as_ref()?;
        Some(said.plus(upstream.to_string().parse().ok()?))
    }
}

/// How many searches of the web are charged for in a response's list of items: a page that is opened or searched through is none
/// (<https://developers.openai.com/api/docs/guides/tools-web-search>).
pub(super) fn searches(items: &[u8]) -> u64 {
    // In valid JSON these bytes can only be a string of their own.
    if memchr::memmem::find(items, b"\"web_search_call\"").is_none() {
        return 0;
    }
    let items: Vec<Item> = serde_json::from_slice(items).unwrap_or_default();
    let is_one = |item: &&Item| {
        let action = item.action.as_ref().and_then(|action| action.kind.as_deref());
        is_search(item.kind.as_deref(), action)
    };
    items.iter().filter(is_one).count() as u64
}

fn kind(value: &Value) -> Option<&str> {
    value.get("type").and_then(Value::as_str)
}

/// Whether an item of this type, and its action of that, is charged for as a search.
fn is_search(kind: Option<&str>, action: Option<&str>) -> bool {
    kind == Some("web_search_call") && action.is_none_or(|it| it == "search")
}

/// Seconds in thousandths, rounded; `None` for what is no length of time.
pub(super) fn milliseconds(seconds: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within its bounds"
    )]
    (0.0..1e9).contains(&seconds).then(|| (seconds * 1000.0).round() as u64)
}

/// A count, also where it is written as `10.0`; `None` for anything else.
fn count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let raw = <&RawValue>::deserialize(from)?.get();
    Ok(serde_json::from_str(raw).ok().or_else(|| {
        let number: f64 = serde_json::from_str(raw).ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number within its bounds"
        )]
        ((0.0..9e15).contains(&number) && number.fract() == 0.0).then_some(number as u64)
    }))
}

/// The value where it has the wanted type; `None` where it is null or something else. The raw text is
/// looked at first, as the alternative would be to build a tree of whatever else it may be.
pub(super) fn lenient<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let raw = <&RawValue>::deserialize(from)?;
    Ok(serde_json::from_str(raw.get()).ok())
}
