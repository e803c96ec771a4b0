//! What an answer used, in one convention for every format: OpenAI's, in which the input includes what was
//! read from a cache and what was written to one, and the output includes reasoning.

use crate::ground::usd::Usd;

/// Tokens of one answer, and the other units that providers charge for; `None` where the provider said nothing, never a guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub cache_read: Option<u64>,
    /// Of `cache_read`, what is sound.
    pub cache_read_audio: Option<u64>,
    pub cache_write: Option<u64>,
    /// Of `cache_write`, what is kept for an hour.
    pub cache_write_hour: Option<u64>,
    pub reasoning: Option<u64>,
    /// Of `input`.
    pub audio_input: Option<u64>,
    /// Of `output`.
    pub audio_output: Option<u64>,
    /// Of `input`.
    pub image_input: Option<u64>,
    /// Of `output`.
    pub image_output: Option<u64>,
    /// Searches of the web that the provider made.
    pub searches: Option<u64>,
    /// Units of a reranking.
    pub queries: Option<u64>,
    /// Pictures that were made.
    pub images: Option<u64>,
    /// Thousandths of a second of sound that was read.
    pub audio_milliseconds: Option<u64>,
    /// Characters that were spoken.
    pub characters: Option<u64>,
    /// What it cost, where the provider says so.
    pub stated_cost: Option<Usd>,
    /// How the request was served.
    pub service: Service,
}

/// How a provider served a request, where that has a price of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `None`: the provider said nothing.
    pub tier: Option<Tier>,
    /// Anthropic's `speed: fast`.
    pub is_fast: bool,
    /// Anthropic's `inference_geo: us`.
    pub is_us_only: bool,
}

/// A class of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tier {
    #[default]
    Standard,
    Flex,
    Balanced,
    Priority,
    Ultrafast,
    Batch,
}

impl Tier {
    /// Reads a provider's word: OpenAI's and Anthropic's `service_tier`, Google's `trafficType`. `None` for one that says nothing of
    /// the price, such as `auto`.
    pub fn read(word: &str) -> Option<Self> {
        // https://developers.openai.com/api/docs/pricing, https://docs.anthropic.com/en/api/service-tiers,
        // https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse#TrafficType
        Some(match word.to_ascii_lowercase().as_str() {
            "default" | "standard" | "on_demand" => Self::Standard,
            "flex" | "on_demand_flex" => Self::Flex,
            "balanced" => Self::Balanced,
            "priority" | "fast" | "on_demand_priority" => Self::Priority,
            "ultrafast" => Self::Ultrafast,
            "batch" => Self::Batch,
            _ => return None,
        })
    }
}

impl Usage {
    pub fn is_empty(&self) -> bool {
        Self { service: Service::default(), ..*self } == Self::default()
    }

    /// Input and output together.
    pub fn total(&self) -> u64 {
        self.input.unwrap_or_default().saturating_add(self.output.unwrap_or_default())
    }

    /// Counts of two answers together; one that neither knows stays unknown.
    pub fn plus(mut self, other: Self) -> Self {
        for (count, more) in self.counts().into_iter().zip(other.values()) {
            *count = match (*count, more) {
                (None, None) => None,
                (one, two) => Some(one.unwrap_or_default().saturating_add(two.unwrap_or_default())),
            };
        }
        self.stated_cost = match (self.stated_cost, other.stated_cost) {
            (Some(one), Some(two)) => Some(one.plus(two)),
            (one, two) => one.or(two),
        };
        self.service.learn(other.service);
        self
    }

    /// Takes over every count that `other` knows.
    pub fn learn(&mut self, other: Self) {
        for (count, newer) in self.counts().into_iter().zip(other.values()) {
            *count = newer.or(*count);
        }
        self.stated_cost = other.stated_cost.or(self.stated_cost);
        self.service.learn(other.service);
    }

    fn counts(&mut self) -> [&mut Option<u64>; 16] {
        [
            &mut self.input,
            &mut self.output,
            &mut self.cache_read,
            &mut self.cache_read_audio,
            &mut self.cache_write,
            &mut self.cache_write_hour,
            &mut self.reasoning,
            &mut self.audio_input,
            &mut self.audio_output,
            &mut self.image_input,
            &mut self.image_output,
            &mut self.searches,
            &mut self.queries,
            &mut self.images,
            &mut self.audio_milliseconds,
            &mut self.characters,
        ]
    }

    fn values(mut self) -> [Option<u64>; 16] {
        self.counts().map(|count| *count)
    }
}

impl Service {
    fn learn(&mut self, other: Self) {
        self.tier = other.tier.or(self.tier);
        self.is_fast |= other.is_fast;
        self.is_us_only |= other.is_us_only;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_what_nobody_knows_stays_unknown() {
        let one = Usage { input: Some(1), searches: Some(2), ..Usage::default() };
        let service = Service { tier: Some(Tier::Flex), ..Service::default() };
        let two = Usage { input: Some(3), output: Some(4), service, ..Usage::default() };
        let both = one.plus(two);
        let expected = Usage { input: Some(4), output: Some(4), searches: Some(2), service, ..one };
        assert_eq!(both, expected);
        let mut learned = one;
        learned.learn(two);
        assert_eq!(learned, Usage { input: Some(3), ..expected });
        assert!(Usage { service, ..Usage::default() }.is_empty());
        assert_eq!(Tier::read("ON_DEMAND_PRIORITY"), Some(Tier::Priority));
        assert_eq!(Tier::read("auto"), None);
    }
}
