//! What a model takes, by its name, as Anthropic documents it for each of its models
//! (<https://docs.anthropic.com/en/docs/about-claude/models/overview>,
//! <https://docs.anthropic.com/en/docs/build-with-claude/adaptive-thinking>). Whatever `model_info` says wins. A
//! Claude with an unknown number counts as the newest; a model that is no Claude as a plain one.

use crate::wire::codec::Target;

/// The facts of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The most it answers, in tokens.
    pub max_output: u64,
    /// The operator said so: a client's wish for more is cut.
    pub is_bound: bool,
    /// `temperature`, `top_p` and `top_k` are taken; the newest answer 400 to them (inspect_ai#3721).
    pub sampling: bool,
    /// `temperature` and `top_p` not both.
    pub one_sampling: bool,
    /// `thinking: {type: adaptive}`.
    pub adaptive: bool,
    /// `thinking: {type: enabled, budget_tokens}`.
    pub budget: bool,
    /// `thinking: {type: disabled}`; some always think.
    pub disable: bool,
    /// It thinks unless told not to.
    pub thinks_unasked: bool,
    /// It shows its thoughts only where `display` asks for them.
    pub hides_thoughts: bool,
    /// `output_config.effort`, up to this level.
    pub effort: Levels,
    /// A tool may be forced while it thinks.
    pub forced_while_thinking: bool,
    /// The conversation may end with the beginning of the answer (goose#9281).
    pub prefill: bool,
    /// `output_config.format` and `strict` tools.
    pub structured: bool,
    /// Entries with `role: "system"` among the messages.
    pub mid_system: bool,
}

/// How far `output_config.effort` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Levels {
    None,
    High,
    Max,
    /// `xhigh` between `high` and `max` as well.
    All,
}

impl Facts {
    pub(super) fn of(target: &Target<'_>) -> Self {
        let mut facts = Self::by_name(target.model);
        let fact = |slot: &mut bool, name: &str| {
            if let Some(known) = target.fact(name) {
                *slot = known;
            }
        };
        fact(&mut facts.sampling, "supports_sampling_params");
        fact(&mut facts.adaptive, "supports_adaptive_thinking");
        fact(&mut facts.budget, "supports_legacy_thinking");
        fact(&mut facts.prefill, "supports_assistant_prefill");
        fact(&mut facts.structured, "supports_response_schema");
        if target.fact("supports_reasoning") == Some(false) {
            (facts.adaptive, facts.budget) = (false, false);
        }
        if let Some(most) = target.number("max_output_tokens") {
            (facts.max_output, facts.is_bound) = (most, true);
        }
        // The newer placement of system text is Anthropic's own service only.
        facts.mid_system &= target.provider.name == "anthropic";
        facts
    }

    fn by_name(model: &str) -> Self {
        let Some(claude) = Claude::read(model) else { return PLAIN };
        let version = claude.version;
        let family = claude.family;
        let always_thinks =
            matches!(family, "fable" | "mythos") || (family == "opus" && version >= (5, 5));
        Self {
            max_output: claude.max_output(),
            is_bound: false,
            sampling: version < (4, 7),
            one_sampling: version >= (4, 1),
            adaptive: version >= (4, 6),
            budget: ((3, 7)..(4, 7)).contains(&version),
            disable: !always_thinks,
            thinks_unasked: always_thinks || version >= (5, 0),
            hides_thoughts: version >= (4, 7),
            effort: match version {
                _ if version >= (4, 7) => Levels::All,
                (4, 6) => Levels::Max,
                (4, 5) if family == "opus" => Levels::High,
                _ => Levels::None,
            },
            // Opus 5.5 refuses it again (stdapi.ai#284).
            forced_while_thinking: version >= (4, 8) && !(family == "opus" && version >= (5, 5)),
            prefill: version < (4, 6),
            structured: version >= (4, 5),
            mid_system: version >= (5, 0) || (family == "opus" && version >= (4, 8)),
        }
    }
}

/// A model that speaks the format and is no Claude.
const PLAIN: Facts = Facts {
    max_output: 8192,
    is_bound: false,
    sampling: true,
    one_sampling: false,
    adaptive: false,
    budget: true,
    disable: true,
    thinks_unasked: false,
    hides_thoughts: false,
    effort: Levels::None,
    forced_while_thinking: true,
    prefill: true,
    structured: false,
    mid_system: false,
};

/// A Claude's name, taken apart: `claude-3-5-sonnet-20241022`, `claude-opus-4.1`, `claude-sonnet-4@20250514`.
struct Claude {
    family: &'static str,
    version: (u64, u64),
}

impl Claude {
    fn read(model: &str) -> Option<Self> {
        const FAMILIES: [&str; 6] = ["opus", "sonnet", "haiku", "fable", "mythos", "instant"];
        let name = model.to_ascii_lowercase();
        let (_, name) = name.split_once("claude")?;
        let words: Vec<&str> = name.split(['-', '.', '@', ':', '_', '/']).collect();
        let known = |family: &&'static str| words.contains(family);
        let family = FAMILIES.into_iter().find(known).unwrap_or_default();
        // Dates have more digits.
        let number = |word: &&str| word.parse::<u64>().ok().filter(|_| word.len() <= 2);
        let first = words.iter().position(|word| number(word).is_some());
        let major = first.and_then(|at| number(&words.get(at)?));
        let minor = first.and_then(|at| number(&words.get(at + 1)?));
        let version = match (major, family) {
            (Some(major), _) => (major, minor.unwrap_or_default()),
            (None, "instant") => (1, 0),
            (None, _) => (99, 0),
        };
        Some(Self { family, version })
    }

    fn max_output(&self) -> u64 {
        match (self.version, self.family) {
            ((0..=2, _), _) | ((3, 0..=4), _) => 4096,
            ((3, 5 | 6), _) => 8192,
            ((4, 0..=1), "opus") => 32_000,
            ((4, 6), "opus") => 128_000,
            ((3, _) | (4, 0..=6), _) => 64_000,
            _ => 128_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(model: &str, family: &str, version: (u64, u64), max_output: u64) {
        let claude = Claude::read(model).expect("a Claude");
        assert_eq!((claude.family, claude.version), (family, version), "{model}");
        assert_eq!(claude.max_output(), max_output, "{model}");
    }

    #[test]
    fn names_are_taken_apart() {
        check("claude-3-5-sonnet-20241022", "sonnet", (3, 5), 8192);
        check("claude-3-haiku-20240307", "haiku", (3, 0), 4096);
        check("claude-sonnet-4-20250514", "sonnet", (4, 0), 64_000);
        check("claude-opus-4-1@20250805", "opus", (4, 1), 32_000);
        check("anthropic/claude-opus-4.5", "opus", (4, 5), 64_000);
        check("claude-opus-4-7", "opus", (4, 7), 128_000);
        check("claude-fable-5-1", "fable", (5, 1), 128_000);
        check("claude-mythos-preview", "mythos", (99, 0), 128_000);
        check("claude-2.1", "", (2, 1), 4096);
        check("claude-instant-1.2", "instant", (1, 2), 4096);
        assert!(Claude::read("deepseek-chat").is_none());
    }

    #[test]
    fn newer_models_take_other_things() {
        let old = Facts::by_name("claude-sonnet-4-5");
        assert!(old.sampling && old.budget && !old.adaptive && old.prefill && old.structured);
        let middle = Facts::by_name("claude-opus-4-6");
        assert!(middle.sampling && middle.budget && middle.adaptive && !middle.prefill);
        let new = Facts::by_name("claude-opus-4-8");
        assert!(!new.sampling && !new.budget && new.adaptive && new.disable && new.mid_system);
        let always = Facts::by_name("claude-opus-5-5");
        assert!(!always.disable && !always.forced_while_thinking && always.thinks_unasked);
    }
}
