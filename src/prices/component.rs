//! What a price is of: the units that providers charge for, and LiteLLM's names for them. A name such as
//! `input_cost_per_token_above_200k_tokens_priority` is a unit, a size of the prompt from which it holds, and a class of service.
//! Knows no model.

use crate::conversation::usage::Tier;
use crate::ground::usd::Usd;

/// A unit that is charged for, or a factor on all that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    Input,
    Output,
    CacheRead,
    /// A token of sound that is read from a cache.
    CacheReadAudio,
    CacheWrite,
    /// A token kept in a cache for an hour.
    CacheWriteHour,
    Reasoning,
    AudioInput,
    AudioOutput,
    /// A token of a picture.
    ImageTokenInput,
    ImageTokenOutput,
    /// A second of sound that is read.
    Second,
    /// The same, as LiteLLM has it for transcriptions.
    SecondOutput,
    /// A character that is spoken.
    Character,
    /// A picture that is made.
    Image,
    /// A unit of a reranking.
    Query,
    /// Each request, whatever is in it.
    Request,
    SearchLow,
    SearchMedium,
    SearchHigh,
    /// An answer that was searched for, however often.
    SearchedAnswer,
    /// Anthropic's `speed: fast`.
    Fast,
    /// Anthropic's `inference_geo: us`.
    UsOnly,
    /// OpenAI's hosts for a region.
    HostEu,
    HostUs,
    HostGov,
    /// Google's locations other than `global`.
    Location,
}

/// When a price holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rate {
    #[default]
    Standard,
    Tier(Tier),
    /// At the hours that the entry says.
    OffPeak,
}

/// Where a price stands in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    pub component: Component,
    /// Tokens of the prompt above which it holds; 0: from the first.
    pub above: u32,
    pub rate: Rate,
}

/// One price: US dollars for one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    pub slot: Slot,
    pub usd: Usd,
}

/// Component, LiteLLM's name, the name in a table. Names that hold another one come first.
const NAMES: &[(Component, &str, &str)] = &[
    (Component::Input, "input_cost_per_token", "in"),
    (Component::Output, "output_cost_per_token", "out"),
    (Component::CacheRead, "cache_read_input_token_cost", "read"),
    (Component::CacheReadAudio, "cache_read_input_audio_token_cost", "read-audio"),
    (Component::CacheWrite, "cache_creation_input_token_cost", "write"),
    (Component::CacheWriteHour, "cache_creation_input_token_cost_above_1hr", "hour"),
    (Component::Reasoning, "output_cost_per_reasoning_token", "think"),
    (Component::AudioInput, "input_cost_per_audio_token", "audio-in"),
    (Component::AudioOutput, "output_cost_per_audio_token", "audio-out"),
    (Component::ImageTokenInput, "input_cost_per_image_token", "image-in"),
    (Component::ImageTokenOutput, "output_cost_per_image_token", "image-out"),
    (Component::Second, "input_cost_per_second", "second"),
    (Component::SecondOutput, "output_cost_per_second", "second-out"),
    (Component::Character, "input_cost_per_character", "character"),
    (Component::Image, "output_cost_per_image", "image"),
    (Component::Query, "input_cost_per_query", "query"),
    (Component::Request, "input_cost_per_request", "request"),
    (Component::SearchLow, "search_context_size_low", "search-low"),
    (Component::SearchMedium, "search_context_size_medium", "search"),
    (Component::SearchHigh, "search_context_size_high", "search-high"),
    (Component::SearchedAnswer, "search_context_size_per_prompt", "search-once"),
    (Component::Fast, "fast", "fast*"),
    (Component::UsOnly, "us", "us*"),
    (Component::HostEu, "regional_processing_uplift_multiplier_eu", "host-eu*"),
    (Component::HostUs, "regional_processing_uplift_multiplier_us", "host-us*"),
    (Component::HostGov, "fedramp_uplift_multiplier", "host-gov*"),
    (Component::Location, "regional_endpoint_uplift_multiplier", "location*"),
];

const TIERS: &[(Tier, &str)] = &[
    (Tier::Batch, "batches"),
    (Tier::Flex, "flex"),
    (Tier::Balanced, "balanced"),
    (Tier::Priority, "priority"),
    (Tier::Ultrafast, "ultrafast"),
];

/// Names of LiteLLM's that hold other prices within them.
pub(super) const SEARCH: &str = "search_context_cost_per_query";
pub(super) const BANDS: &str = "tiered_pricing";
pub(super) const OFF_PEAK: &str = "off_peak_pricing";
pub(super) const FACTORS: &str = "provider_specific_entry";

/// Prices that LiteLLM knows and nothing here computes with.
const UNUSED: &[&str] = &[
    "annotation_cost_per_page",
    "cache_creation_input_audio_token_cost",
    "cache_creation_input_token_cost_above_12hr",
    "cache_read_input_image_token_cost",
    "citation_cost_per_token",
    "code_interpreter_cost_per_session",
    "computer_use_input_cost_per_1k_tokens",
    "computer_use_output_cost_per_1k_tokens",
    "cost_per_second",
    "explicit_cache_read_input_token_cost",
    "file_search_cost_per_1k_calls",
    "file_search_cost_per_gb_per_day",
    "google_maps_grounding_cost_per_query",
    "guardrail_cost_per_unit",
    "input_cost_per_audio_per_second",
    "input_cost_per_image",
    "input_cost_per_pixel",
    "input_cost_per_text_message",
    "input_cost_per_token_cache_hit",
    "input_cost_per_video_per_second",
    "input_cost_per_video_token",
    "input_dbu_cost_per_token",
    "ocr_cost_per_credit",
    "ocr_cost_per_page",
    "output_cost_per_character",
    "output_cost_per_pixel",
    "output_cost_per_video_per_second",
    "output_cost_per_video_token",
    "output_dbu_cost_per_token",
    "vector_store_cost_per_gb_per_day",
];

/// What a key of LiteLLM's is, if it has to do with prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Price(Slot),
    /// Prices within it.
    Nested,
    /// A price that is not computed with.
    Unused,
    /// It looks like a price and is none that anybody knows.
    Unknown,
}

/// Reads a key; `None` where it is not about prices.
pub fn key(name: &str) -> Option<Key> {
    if [SEARCH, BANDS, OFF_PEAK].contains(&name) {
        return Some(Key::Nested);
    }
    let slot = slot(name).filter(|slot| !is_within_others(slot.component));
    if let Some(slot) = slot {
        return Some(Key::Price(slot));
    }
    let (base, ..) = parts(name);
    // Some carry a size or a time behind it: `output_cost_per_second_720p`, `output_cost_per_image_1K`.
    let known = |known: &&str| {
        base.strip_prefix(*known).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    let sized = ["output_cost_per_second_", "output_cost_per_image_"];
    if UNUSED.iter().any(known) || sized.iter().any(|prefix| name.starts_with(prefix)) {
        return Some(Key::Unused);
    }
    let looks_like_one =
        name.contains("cost_per") || name.ends_with("_cost") || name.contains("_cost_");
    looks_like_one.then_some(Key::Unknown)
}

/// Names for suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    let all = NAMES.iter().filter(|(component, ..)| !is_within_others(*component));
    all.map(|(_, name, _)| *name).chain([SEARCH, BANDS, OFF_PEAK])
}

/// Reads LiteLLM's name of one price, those within other keys too.
pub(super) fn slot(name: &str) -> Option<Slot> {
    let (base, above, tier) = parts(name);
    let (component, ..) = NAMES.iter().find(|(_, known, _)| *known == base)?;
    Some(Slot { component: *component, above, rate: tier.map_or(Rate::Standard, Rate::Tier) })
}

/// The unit, the size and the class of service in a name, in either order.
fn parts(name: &str) -> (&str, u32, Option<Tier>) {
    let (name, behind) = without_tier(name);
    let (name, above) = without_size(name);
    let (name, before) = without_tier(name);
    (name, above, behind.or(before))
}

fn without_tier(name: &str) -> (&str, Option<Tier>) {
    let found = TIERS
        .iter()
        .find_map(|(tier, word)| Some((name.strip_suffix(word)?.strip_suffix('_')?, Some(*tier))));
    found.unwrap_or((name, None))
}

/// `…_above_200k_tokens`.
fn without_size(name: &str) -> (&str, u32) {
    let found = name.rsplit_once("_above_").and_then(|(base, size)| {
        let size = size.strip_suffix("_tokens")?;
        let (number, unit) = size.strip_suffix('k').map_or((size, 1), |number| (number, 1000));
        Some((base, number.parse::<u32>().ok()?.checked_mul(unit)?))
    });
    found.unwrap_or((name, 0))
}

fn is_within_others(component: Component) -> bool {
    use Component::{Fast, SearchHigh, SearchLow, SearchMedium, SearchedAnswer, UsOnly};
    matches!(component, Fast | UsOnly | SearchLow | SearchMedium | SearchHigh | SearchedAnswer)
}

impl Price {
    /// Under LiteLLM's name, for people to read.
    pub(super) fn told(self) -> (String, Usd) {
        (self.slot.name(), self.usd)
    }
}

impl Slot {
    pub(super) fn of(component: Component) -> Self {
        Self { component, above: 0, rate: Rate::Standard }
    }

    /// LiteLLM's name of it: `input_cost_per_token_above_200000_tokens_priority`.
    fn name(self) -> String {
        let name = NAMES.iter().find(|(component, ..)| *component == self.component);
        let above = match self.above {
            0 => String::new(),
            above => format!("_above_{above}_tokens"),
        };
        let rate = match self.rate {
            Rate::Standard => String::new(),
            Rate::OffPeak => "_off_peak".to_owned(),
            Rate::Tier(tier) => {
                let word = TIERS.iter().find(|(it, _)| *it == tier);
                format!("_{}", word.map_or("standard", |it| it.1))
            }
        };
        format!("{}{above}{rate}", name.map_or("?", |it| it.1))
    }

    /// `in+200000/priority`: how tables write it.
    pub(super) fn write(self, out: &mut String) {
        let name = NAMES.iter().find(|(component, ..)| *component == self.component);
        out.push_str(name.map_or("?", |(_, _, short)| *short));
        if self.above > 0 {
            out.push('+');
            out.push_str(&self.above.to_string());
        }
        let rate = match self.rate {
            Rate::Standard => return,
            Rate::OffPeak => "off-peak",
            Rate::Tier(tier) => {
                TIERS.iter().find(|(it, _)| *it == tier).map_or("standard", |it| it.1)
            }
        };
        out.push('/');
        out.push_str(rate);
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let (text, rate) = match text.split_once('/') {
            None => (text, Rate::Standard),
            Some((text, "off-peak")) => (text, Rate::OffPeak),
            Some((text, word)) => {
                (text, Rate::Tier(TIERS.iter().find(|(_, tier)| *tier == word)?.0))
            }
        };
        let (short, above) = match text.split_once('+') {
            None => (text, 0),
            Some((short, above)) => (short, above.parse().ok()?),
        };
        let (component, ..) = NAMES.iter().find(|(_, _, known)| *known == short)?;
        Some(Self { component: *component, above, rate })
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_unit_a_size_and_a_class() {
        let check = |name: &str, component, above, rate| {
            assert_eq!(key(name), Some(Key::Price(Slot { component, above, rate })), "{name}");
        };
        let tier = Rate::Tier;
        check("input_cost_per_token", Component::Input, 0, Rate::Standard);
        check("output_cost_per_token_batches", Component::Output, 0, tier(Tier::Batch));
        check(
            "cache_read_input_token_cost_above_272k_tokens_priority",
            Component::CacheRead,
            272_000,
            tier(Tier::Priority),
        );
        check(
            "input_cost_per_token_priority_above_200k_tokens",
            Component::Input,
            200_000,
            tier(Tier::Priority),
        );
        check(
            "cache_creation_input_token_cost_above_1hr_above_200k_tokens",
            Component::CacheWriteHour,
            200_000,
            Rate::Standard,
        );
        assert_eq!(key("tiered_pricing"), Some(Key::Nested));
        assert_eq!(key("input_cost_per_pixel"), Some(Key::Unused));
        assert_eq!(key("output_cost_per_second_720p"), Some(Key::Unused));
        assert_eq!(key("cache_creation_input_token_cost_above_12hr_flex"), Some(Key::Unused));
        assert_eq!(key("input_cost_per_tokens"), Some(Key::Unknown));
        assert_eq!(key("input_token_cost"), Some(Key::Unknown));
        for other in ["mode", "max_tokens", "fast", "us", "supports_vision", "cost_center"] {
            assert_eq!(key(other), None, "{other}");
        }
    }

    #[test]
    fn a_slot_is_read_as_it_is_written() {
        for (component, ..) in NAMES {
            for rate in [Rate::Standard, Rate::OffPeak, Rate::Tier(Tier::Flex)] {
                let slot = Slot { component: *component, above: 128_000, rate };
                assert_eq!(Slot::read(&slot.to_string()), Some(slot));
            }
        }
        assert_eq!(Slot::read("nothing"), None);
    }
}
