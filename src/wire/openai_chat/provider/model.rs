//! What OpenAI's own models take, known by their names: the reasoning models refuse most of what steers
//! sampling (<https://platform.openai.com/docs/guides/latest-model>,
//! <https://learn.microsoft.com/azure/ai-services/openai/how-to/reasoning>).

use crate::conversation::Effort;
use crate::wire::codec::Target;

/// A model, as far as the rules go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wire::openai_chat) enum Model {
    /// `o1`, `o3-mini`, `o4-mini`.
    O,
    /// `gpt-5` and later.
    Gpt { version: (u32, u32), variant: Variant },
    /// Everything before, and what is not OpenAI's.
    Plain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wire::openai_chat) enum Variant {
    Usual,
    Codex,
    Pro,
}

impl Model {
    /// The model behind a target. An Azure deployment has any name; `model_info.base_model` says what it is.
    pub(in crate::wire::openai_chat) fn of(target: &Target<'_>) -> Self {
        let base = target.info.get("base_model").and_then(|name| name.as_str());
        let model = match Self::named(base.unwrap_or(target.model)) {
            Self::Plain => Self::named(target.model),
            known => known,
        };
        match target.fact("supports_reasoning") {
            Some(false) => Self::Plain,
            _ => model,
        }
    }

    fn named(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let name = name.rsplit('/').next().unwrap_or_default();
        let name = name.strip_prefix("ft:").unwrap_or(name);
        if let Some(rest) = name.strip_prefix('o')
            && rest.starts_with(|c: char| c.is_ascii_digit())
        {
            return Self::O;
        }
        let Some(rest) = name.strip_prefix("gpt-") else { return Self::Plain };
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, variant) = rest.split_at_checked(end).unwrap_or_default();
        let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
        let version = (major.parse().unwrap_or(0), minor.parse().unwrap_or(0));
        // The chat variants do not reason: https://platform.openai.com/docs/models/gpt-5-chat-latest.
        if version.0 < 5 || variant.contains("chat") {
            return Self::Plain;
        }
        let variant = match variant {
            _ if variant.contains("codex") => Variant::Codex,
            _ if variant.contains("pro") => Variant::Pro,
            _ => Variant::Usual,
        };
        Self::Gpt { version, variant }
    }

    pub(super) fn reasons(self) -> bool {
        self != Self::Plain
    }

    /// The words of `reasoning_effort` that it takes; none where it takes none.
    pub(super) fn efforts(self) -> &'static [Effort] {
        use Effort::{High, Low, Medium, Minimal, None, XHigh};
        match self {
            Self::Plain => &[],
            Self::O => &[Low, Medium, High],
            Self::Gpt { version, variant: Variant::Pro } if version < (5, 2) => &[High],
            Self::Gpt { variant: Variant::Pro, .. } => &[Medium, High, XHigh],
            Self::Gpt { version, variant: Variant::Codex } if version < (5, 1) => {
                &[Low, Medium, High]
            }
            Self::Gpt { variant: Variant::Codex, .. } => &[Low, Medium, High, XHigh],
            Self::Gpt { version: (5, 0), .. } => &[Minimal, Low, Medium, High],
            Self::Gpt { version: (5, 1), .. } => &[None, Low, Medium, High],
            Self::Gpt { .. } => &[None, Low, Medium, High, XHigh],
        }
    }

    /// Whether it answers a field with 400. `effort` is what is asked for: without thinking, the newer models
    /// sample as others do, and from 5.1 to 5.4 that is what they do unasked.
    pub(super) fn refuses(self, field: &str, effort: Option<Effort>) -> bool {
        let samples = match (self, effort) {
            (Self::Gpt { version, variant: Variant::Usual }, Some(Effort::None)) => {
                version >= (5, 1)
            }
            (Self::Gpt { version, variant: Variant::Usual }, None) => {
                ((5, 1)..=(5, 4)).contains(&version)
            }
            _ => false,
        };
        match field {
            // https://platform.openai.com/docs/guides/latest-model#verbosity
            _ if !self.reasons() => field == "verbosity",
            "temperature" | "top_p" | "logprobs" | "top_logprobs" => !samples,
            "frequency_penalty" | "presence_penalty" | "logit_bias" | "stop" => true,
            "parallel_tool_calls" | "verbosity" => self == Self::O,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_known_by_name() {
        let gpt = |major, minor, variant| Model::Gpt { version: (major, minor), variant };
        let cases = [
            ("o3-mini", Model::O),
            ("openai/o1", Model::O),
            ("gpt-4o", Model::Plain),
            ("gpt-4.1", Model::Plain),
            ("gpt-5", gpt(5, 0, Variant::Usual)),
            ("gpt-5-mini-2025-08-07", gpt(5, 0, Variant::Usual)),
            ("gpt-5.1-codex-max", gpt(5, 1, Variant::Codex)),
            ("gpt-5.2-pro", gpt(5, 2, Variant::Pro)),
            ("gpt-5-chat-latest", Model::Plain),
            ("gpt-oss-120b", Model::Plain),
            ("omni-moderation", Model::Plain),
            ("ft:gpt-5:org::x", gpt(5, 0, Variant::Usual)),
            ("", Model::Plain),
        ];
        for (name, expected) in cases {
            assert_eq!(Model::named(name), expected, "{name}");
        }
    }

    #[test]
    fn models_that_think_do_not_sample() {
        assert!(Model::named("o3").refuses("temperature", None));
        assert!(Model::named("gpt-5").refuses("temperature", None));
        assert!(!Model::named("gpt-5.2").refuses("temperature", None));
        assert!(Model::named("gpt-5.2").refuses("temperature", Some(Effort::Low)));
        assert!(Model::named("gpt-5.2").refuses("presence_penalty", None));
        assert!(!Model::named("gpt-4o").refuses("stop", None));
        assert!(Model::named("gpt-4o").refuses("verbosity", None));
    }
}
