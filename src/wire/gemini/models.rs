//! What the models of this family take, read off their names: Google says such things on pages for people and
//! nowhere in its API. An operator's `model_info` wins. A Gemini without a version in its name is taken for the
//! newest, so that `gemini-flash-latest` is asked in today's way; a tuned model, whose name says nothing, for a 2.5.

use crate::wire::codec::Target;

/// One model, as far as requests depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Model {
    family: Family,
    /// Major and minor version.
    version: (u32, u32),
    tier: Tier,
    /// Makes pictures or speech, or talks live.
    special: bool,
    /// `model_info` says that it does not think.
    thoughtless: bool,
    /// `model_info` says that it takes no system messages.
    no_system: bool,
    /// `model_info` says that it takes an effort above high.
    above_high: bool,
}

/// How a model is told how much to think (<https://ai.google.dev/gemini-api/docs/thinking>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// It does not think, or cannot be told how much.
    None,
    /// `thinkingBudget`, in tokens; 0 switches it off where `off`.
    Budget { least: u64, most: u64, off: bool },
    /// `thinkingLevel`: low and high always, the others where they are known.
    Level { minimal: bool, medium: bool, above_high: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Gemini,
    Gemma,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Pro,
    Flash,
    Lite,
}

/// What a name without a version means.
const NEWEST: (u32, u32) = (3, 99);

impl Model {
    pub(super) fn of(target: &Target<'_>) -> Self {
        Self {
            thoughtless: target.fact("supports_reasoning") == Some(false),
            no_system: target.fact("supports_system_messages") == Some(false),
            above_high: target.fact("supports_xhigh_reasoning_effort") == Some(true),
            ..Self::named(target.model)
        }
    }

    pub(super) fn named(name: &str) -> Self {
        let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        let has = |word: &str| name.split('-').any(|part| part == word);
        let (family, rest) = match name.strip_prefix("gemma-") {
            Some(rest) => (Family::Gemma, rest),
            None => (Family::Gemini, name.strip_prefix("gemini-").unwrap_or_default()),
        };
        let tier = if has("lite") || has("8b") {
            Tier::Lite
        } else if has("flash") {
            Tier::Flash
        } else {
            Tier::Pro
        };
        let special = ["image", "tts", "live", "audio", "embedding"].into_iter().any(has);
        let version = version(rest).unwrap_or_else(|| fallback(rest));
        Self {
            family,
            version,
            tier,
            special,
            thoughtless: false,
            no_system: false,
            above_high: false,
        }
    }

    fn is_gemini_from(self, major: u32, minor: u32) -> bool {
        self.family == Family::Gemini && self.version >= (major, minor)
    }

    /// Takes JSON Schema as it is, in `parametersJsonSchema` and `responseJsonSchema`; older ones take only the
    /// subset in `parameters` and `responseSchema`.
    pub(super) fn takes_json_schema(self) -> bool {
        self.is_gemini_from(2, 5) || (self.family == Family::Gemma && self.version >= (4, 0))
    }

    /// Refuses calls in the history whose thought signature is lost
    /// (<https://ai.google.dev/gemini-api/docs/thought-signatures>).
    pub(super) fn wants_signatures(self) -> bool {
        self.is_gemini_from(3, 0)
    }

    /// Sees pictures inside of `functionResponse`.
    pub(super) fn sees_results(self) -> bool {
        self.is_gemini_from(3, 0)
    }

    /// Pairs calls and results by their ids, on Vertex AI too.
    pub(super) fn pairs_by_id(self) -> bool {
        self.is_gemini_from(3, 0)
    }

    /// Keeps to a format of the answer while it has functions to call; older ones answer 400: "Function calling
    /// with a response mime type: 'application/json' is unsupported".
    pub(super) fn formats_beside_tools(self) -> bool {
        self.is_gemini_from(3, 0)
    }

    /// Knows `temperature`, `topP` and `topK`, and goes on where a model's turn ends. From 3.6 Flash and
    /// 3.5 Flash-Lite on neither is so
    /// (<https://ai.google.dev/gemini-api/docs/generate-content/whats-new-gemini-3.6>).
    pub(super) fn takes_sampling_and_prefill(self) -> bool {
        let lite = self.tier == Tier::Lite && self.is_gemini_from(3, 5);
        !lite && !self.is_gemini_from(3, 6)
    }

    /// Gemma 3 answers 400: "Developer instruction is not enabled".
    pub(super) fn takes_system(self) -> bool {
        let refuses = self.family == Family::Gemma && self.version < (4, 0);
        !self.no_system && !refuses
    }

    pub(super) fn thinking(self) -> Thinking {
        if self.thoughtless || self.family == Family::Gemma || self.special {
            return Thinking::None;
        }
        if self.is_gemini_from(3, 0) {
            let pro = self.tier == Tier::Pro;
            return Thinking::Level {
                // 3.7 Flash and 3.8 Flash answer 400 to it, as Pro does.
                minimal: self.tier == Tier::Lite
                    || (self.tier == Tier::Flash && self.version < (3, 7)),
                medium: !pro || self.version >= (3, 1),
                above_high: self.above_high,
            };
        }
        if !self.is_gemini_from(2, 5) {
            return Thinking::None;
        }
        match self.tier {
            Tier::Pro => Thinking::Budget { least: 128, most: 32_768, off: false },
            Tier::Flash => Thinking::Budget { least: 1, most: 24_576, off: true },
            Tier::Lite => Thinking::Budget { least: 512, most: 24_576, off: true },
        }
    }
}

/// `2.5-flash` is 2.5, `3-pro-preview` 3.0.
fn version(rest: &str) -> Option<(u32, u32)> {
    let word = rest.split('-').next()?;
    let (major, minor) = word.split_once('.').unwrap_or((word, "0"));
    let minor = minor.trim_end_matches(|c: char| !c.is_ascii_digit());
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn fallback(rest: &str) -> (u32, u32) {
    // Experiments of 2024, and the robots' own count of versions; a tuned model has no name to read.
    match rest.split('-').next() {
        Some("exp" | "pro") if !rest.ends_with("latest") => (2, 0),
        Some("robotics" | "") | None => (2, 5),
        _ => NEWEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_how_thinking_is_asked_for() {
        let check = |name: &str, thinking: Thinking| {
            assert_eq!(Model::named(name).thinking(), thinking, "{name}");
        };
        let level = |minimal, medium| Thinking::Level { minimal, medium, above_high: false };
        check("gemini-1.5-pro-002", Thinking::None);
        check("gemini-2.0-flash", Thinking::None);
        check("gemini-2.5-pro", Thinking::Budget { least: 128, most: 32_768, off: false });
        check("gemini-2.5-flash", Thinking::Budget { least: 1, most: 24_576, off: true });
        check("gemini-2.5-flash-lite", Thinking::Budget { least: 512, most: 24_576, off: true });
        check("gemini-2.5-flash-image", Thinking::None);
        check("gemini-3-pro-preview", level(false, false));
        check("gemini-3.1-pro-preview", level(false, true));
        check("models/gemini-3-flash-preview", level(true, true));
        check("gemini-3.8-flash", level(false, true));
        check("gemini-3.5-flash-lite", level(true, true));
        check("gemini-flash-latest", level(false, true));
        check("gemma-3-27b-it", Thinking::None);
        check("1234567890", Thinking::Budget { least: 128, most: 32_768, off: false });
    }

    #[test]
    fn names_tell_what_is_refused() {
        assert!(!Model::named("gemini-2.0-flash").takes_json_schema());
        assert!(Model::named("gemini-2.5-flash").takes_json_schema());
        assert!(!Model::named("gemma-3-27b-it").takes_json_schema());
        assert!(!Model::named("gemma-3-27b-it").takes_system());
        assert!(Model::named("gemini-3.5-flash").takes_sampling_and_prefill());
        assert!(!Model::named("gemini-3.5-flash-lite").takes_sampling_and_prefill());
        assert!(!Model::named("gemini-3.8-flash").takes_sampling_and_prefill());
        assert!(Model::named("publishers/google/models/gemini-3-pro").wants_signatures());
        assert!(!Model::named("gemini-exp-1206").wants_signatures());
    }
}
