//! What is known of the models behind Bedrock, each of which takes a part of Converse only. The vendor is in
//! the model's name; of an application inference profile, whose name says nothing, LiteLLM's `base_model` in
//! `model_info` may tell it. What `model_info` says (`supports_…`) wins over what is known here.

use serde_json::{Map, Value};

use crate::conversation::Format;
use crate::wire::codec::Target;

/// Whose model it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Anthropic's, with major and minor version.
    Claude(u32, u32),
    /// Amazon's, with its generation.
    Nova(u32),
    Mistral,
    OpenAi,
    /// Another vendor's model, or one of the above that none of these rules is for.
    Other,
    /// The name does not say: an inference profile's, a custom model's.
    Unknown,
}

/// One model, as far as requests depend on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model<'t> {
    pub(super) family: Family,
    is_opus: bool,
    is_open_weight: bool,
    info: Option<&'t Map<String, Value>>,
}

impl<'t> Model<'t> {
    pub(super) fn of(target: &Target<'t>) -> Self {
        let base = target.info.get("base_model").and_then(Value::as_str);
        let name = base.unwrap_or(target.model);
        Self { info: Some(target.info), ..Model::named(name) }
    }

    pub(super) fn named(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let is_open_weight = CONSTRAINED.iter().any(|word| name.contains(word));
        let is_opus = name.contains("opus");
        Self { family: family(&name), is_opus, is_open_weight, info: None }
    }

    pub(super) fn is_claude(&self) -> bool {
        matches!(self.family, Family::Claude(..))
    }

    pub(super) fn is_open_weight(&self) -> bool {
        self.is_open_weight
    }

    /// Claude at this version or above.
    fn claude_from(&self, major: u32, minor: u32) -> bool {
        matches!(self.family, Family::Claude(a, b) if (a, b) >= (major, minor))
    }

    fn fact(&self, name: &str, known: bool) -> bool {
        let said = self.info.and_then(|info| info.get(name)).and_then(Value::as_bool);
        said.unwrap_or(known)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.info?.get(name)?.as_u64()
    }

    /// Whose seals on reasoning it issues: Claude's are the same here as at Anthropic.
    pub(super) fn seals(&self) -> Format {
        if self.is_claude() { Format::Anthropic } else { Format::Bedrock }
    }

    pub(super) fn takes_seals_of(&self, format: Format) -> bool {
        match format {
            Format::Bedrock => true,
            Format::Anthropic => self.is_claude() || self.family == Family::Unknown,
            _ => false,
        }
    }

    /// <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>.
    pub(super) fn caches(&self) -> bool {
        let known = matches!(self.family, Family::Claude(..) | Family::Nova(_) | Family::Unknown);
        self.fact("supports_prompt_caching", known)
    }

    /// Nova caches system and messages only.
    pub(super) fn caches_tools(&self) -> bool {
        self.caches() && !matches!(self.family, Family::Nova(_))
    }

    /// Older models have no place for instructions but the user's turn.
    pub(super) fn takes_system(&self) -> bool {
        self.fact("supports_system_messages", true)
    }

    /// `toolResult.status` is for Claude and Nova only.
    pub(super) fn takes_status(&self) -> bool {
        matches!(self.family, Family::Claude(..) | Family::Nova(_) | Family::Unknown)
    }

    /// `toolChoice.any`.
    pub(super) fn takes_any(&self) -> bool {
        let known = self.family != Family::Other && self.family != Family::OpenAi;
        self.fact("supports_tool_choice", known)
    }

    /// `toolChoice.tool`.
    pub(super) fn takes_named(&self) -> bool {
        self.takes_any() && self.family != Family::Mistral
    }

    /// Whether a last turn of the assistant is continued. Claude refuses it from 4.6 on.
    pub(super) fn takes_prefill(&self) -> bool {
        let known = match self.family {
            Family::Claude(..) => !self.claude_from(4, 6),
            Family::Nova(_) | Family::Unknown => true,
            _ => false,
        };
        self.fact("supports_assistant_prefill", known)
    }

    /// temperature, top_p and top_k: Claude refuses them from 4.7 on.
    pub(super) fn takes_sampling(&self) -> bool {
        self.fact("supports_sampling_params", !self.claude_from(4, 7))
    }

    /// Claude from 4.1 on takes temperature or top_p, not both.
    pub(super) fn takes_one_of_temperature_and_top_p(&self) -> bool {
        self.claude_from(4, 1)
    }

    /// Claude's `thinking.type: adaptive`.
    pub(super) fn thinks_adaptively(&self) -> bool {
        self.fact("supports_adaptive_thinking", self.claude_from(4, 6))
    }

    /// Claude's `thinking.type: enabled` with a budget, which 4.7 and later refuse.
    pub(super) fn thinks_by_budget(&self) -> bool {
        let known = self.claude_from(3, 7) && !self.claude_from(4, 7);
        self.fact("supports_legacy_thinking", known)
    }

    /// `max` is Opus' before 4.7, `xhigh` came with it.
    pub(super) fn takes_effort(&self, word: &str) -> bool {
        match word {
            "xhigh" => self.claude_from(4, 7),
            "max" => self.is_opus || self.claude_from(4, 7),
            _ => true,
        }
    }

    /// `outputConfig.textFormat` and strict tools
    /// (<https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html>).
    pub(super) fn writes_schemas(&self) -> bool {
        let known = self.claude_from(4, 5) || self.is_open_weight;
        self.fact("supports_native_structured_output", known)
    }
}

/// Words in the names of models with open weights whose answers Bedrock constrains.
const CONSTRAINED: [&str; 9] = [
    "qwen3",
    "deepseek.v3",
    "gpt-oss",
    "gemma-3",
    "nemotron",
    "minimax-m2",
    "kimi-k2",
    "ministral",
    "magistral",
];

/// The vendor that a name or ARN in lower case speaks of.
fn family(name: &str) -> Family {
    let has = |word| name.contains(word);
    if let Some((_, rest)) = name.split_once("claude") {
        let (major, minor) = version(rest);
        return Family::Claude(major, minor);
    }
    if let Some((_, rest)) = name.split_once("nova-") {
        return Family::Nova(if rest.starts_with("2-") { 2 } else { 1 });
    }
    if has("mistral.") || has("mistral-") {
        return Family::Mistral;
    }
    if has("openai.") || has("gpt-oss") {
        return Family::OpenAi;
    }
    let says_nothing = has("inference-profile/") && !has(".");
    let own = ["provisioned-model/", "custom-model", "prompt-router/", "prompt/", "endpoint/"];
    if says_nothing || own.into_iter().any(has) || !has(".") {
        return Family::Unknown;
    }
    Family::Other
}

/// Of `-3-7-sonnet-20250219-v1:0`, `-sonnet-4-5-20250929-v1:0`, `-opus-5`, `-v2:1`, `-mythos-preview`.
fn version(name: &str) -> (u32, u32) {
    let words = name.split(['-', '.', ':', '@']).skip_while(|word| word.is_empty());
    let words = words.take_while(|word| !is_release(word));
    let number = |word: &str| word.parse().ok().filter(|_| word.len() <= 2);
    let mut numbers = words.map(number).skip_while(Option::is_none);
    let Some(Some(major)) = numbers.next() else {
        // The models before 3 have their number in the release (`v2`); of those after them only this one
        // has none.
        return if name.contains("mythos") { (5, 0) } else { (2, 0) };
    };
    (major, numbers.next().flatten().unwrap_or(0))
}

/// `v1`, `v2`: the release of a model's card on Bedrock.
fn is_release(word: &str) -> bool {
    word.strip_prefix('v').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Family) {
        assert_eq!(Model::named(name).family, expected, "{name}");
    }

    #[test]
    fn the_name_says_whose_model_it_is() {
        check("anthropic.claude-3-7-sonnet-20250219-v1:0", Family::Claude(3, 7));
        check("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Family::Claude(4, 5));
        check("anthropic.claude-opus-4-20250514-v1:0", Family::Claude(4, 0));
        check("global.anthropic.claude-opus-4-6-v1", Family::Claude(4, 6));
        check("anthropic.claude-opus-5", Family::Claude(5, 0));
        check("anthropic.claude-mythos-preview", Family::Claude(5, 0));
        check("anthropic.claude-v2:1", Family::Claude(2, 0));
        check("anthropic.claude-instant-v1", Family::Claude(2, 0));
        check("us.amazon.nova-2-lite-v1:0", Family::Nova(2));
        check("amazon.nova-pro-v1:0", Family::Nova(1));
        check("openai.gpt-oss-120b-1:0", Family::OpenAi);
        check("mistral.mistral-large-2407-v1:0", Family::Mistral);
        check("us.meta.llama3-3-70b-instruct-v1:0", Family::Other);
        check(
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-7",
            Family::Claude(4, 7),
        );
        let profile = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3";
        check(profile, Family::Unknown);
    }
}
