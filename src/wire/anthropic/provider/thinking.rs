//! Whether and how the model thinks. Older models take a budget, newer ones decide for themselves and take an
//! effort; some always think. What the conversation does not allow is switched off and told
//! (<https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking>).

use super::super::types::Object;
use super::facts::{Facts, Levels};
use crate::conversation::{Ask, Effort, Format, Losses};

/// The least that a budget may be.
const LEAST_BUDGET: u64 = 1024;

/// How the model is to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As the model does by itself.
    Unsaid,
    Off,
    Adaptive,
    Budget(u64),
}

/// What is asked of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub mode: Mode,
    pub effort: Option<&'static str>,
    pub display: Option<&'static str>,
    pub max_tokens: u64,
    /// A tool cannot be forced, as the model always thinks.
    pub choice_is_free: bool,
    /// The client's own `thinking` object does not fit any more.
    pub overruled: bool,
}

/// What of the conversation bears on it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Circumstances {
    pub tool_is_forced: bool,
    pub lost_thoughts: bool,
    pub prefilled: bool,
}

/// Settles it.
pub(super) fn plan(
    ask: &Ask,
    facts: &Facts,
    circumstances: Circumstances,
    losses: &mut Losses,
) -> Plan {
    let (mode, effort) = wanted(ask, facts, losses);
    let mut plan = Plan {
        mode,
        effort: None,
        display: None,
        max_tokens: most_tokens(ask, facts, losses),
        choice_is_free: false,
        overruled: false,
    };
    if let Some(why) = obstacle(&plan, facts, circumstances) {
        if facts.disable {
            plan.stop(facts, ask, why, losses);
        } else if circumstances.tool_is_forced {
            plan.choice_is_free = true;
            losses.add("tool_choice", "this model always thinks, and then no tool can be forced");
        }
    }
    fit_budget(&mut plan, ask, facts, losses);
    plan.effort = effort.and_then(|effort| fit_effort(effort, plan.mode, facts));
    if effort.is_some() && plan.effort.is_none() && matches!(plan.mode, Mode::Unsaid) {
        losses.add(path(ask), "this model takes no effort");
    }
    plan.display = display(ask, facts, plan.mode);
    plan
}

impl Plan {
    fn thinks(&self) -> bool {
        matches!(self.mode, Mode::Adaptive | Mode::Budget(_))
    }

    fn stop(&mut self, facts: &Facts, ask: &Ask, why: &'static str, losses: &mut Losses) {
        if self.thinks() {
            losses.add(path(ask), why);
        }
        self.overruled = true;
        self.mode = if facts.thinks_unasked { Mode::Off } else { Mode::Unsaid };
    }

    /// Whether sampling is bound, as it is while the model thinks.
    pub(super) fn binds_sampling(&self) -> bool {
        self.thinks()
    }

    /// The `thinking` object.
    pub(super) fn write<'a>(&self) -> Option<Object<'a>> {
        let object = match self.mode {
            Mode::Unsaid => return None,
            Mode::Off => return Some(Object::of("disabled")),
            Mode::Adaptive => Object::of("adaptive"),
            Mode::Budget(tokens) => Object::of("enabled").with("budget_tokens", tokens),
        };
        Some(object.some("display", self.display))
    }
}

/// `max_tokens` is mandatory: without a wish it is all that the model can do.
fn most_tokens(ask: &Ask, facts: &Facts, losses: &mut Losses) -> u64 {
    match ask.max_tokens {
        Some(wish) if facts.is_bound && wish > facts.max_output => {
            losses.add("max_tokens", "the model answers with fewer tokens; its most are asked for");
            facts.max_output
        }
        Some(wish) => wish,
        None => facts.max_output,
    }
}

/// Where the wish is told of: the client's own field.
fn path(ask: &Ask) -> &'static str {
    match ask.format {
        Format::Anthropic => "thinking",
        Format::OpenAiResponses => "reasoning",
        _ => "reasoning_effort",
    }
}

/// What the client wishes, as far as the model can do it.
fn wanted(ask: &Ask, facts: &Facts, losses: &mut Losses) -> (Mode, Option<Effort>) {
    let Some(wish) = &ask.reasoning else { return (Mode::Unsaid, None) };
    if wish.disabled || wish.effort == Some(Effort::None) {
        return match () {
            () if !facts.disable => {
                losses.add(path(ask), "this model always thinks");
                (Mode::Unsaid, Some(Effort::Low))
            }
            () if wish.disabled || facts.thinks_unasked => {
                (Mode::Off, wish.effort.filter(|effort| *effort != Effort::None))
            }
            () => (Mode::Unsaid, None),
        };
    }
    let only_shown = wish.summary.is_some() || wish.show == Some(true);
    let asks_effort = wish.effort.is_some() && ask.format != Format::Anthropic;
    let can_think = facts.adaptive || facts.budget;
    match wish.budget_tokens {
        Some(tokens) if facts.budget => (Mode::Budget(tokens), wish.effort),
        Some(tokens) if facts.adaptive => {
            (Mode::Adaptive, wish.effort.or(Some(Effort::of_budget(tokens))))
        }
        None if facts.adaptive && (wish.adaptive || asks_effort || only_shown) => {
            (Mode::Adaptive, wish.effort)
        }
        None if facts.budget && (wish.adaptive || asks_effort) => {
            let effort = wish.effort.unwrap_or(Effort::High);
            (Mode::Budget(effort.budget_tokens()), None)
        }
        // In Anthropic's own words, an effort alone is no wish to think.
        None if can_think => (Mode::Unsaid, wish.effort),
        _ => {
            losses.add(path(ask), "this model does not think");
            (Mode::Unsaid, None)
        }
    }
}

fn obstacle(plan: &Plan, facts: &Facts, circumstances: Circumstances) -> Option<&'static str> {
    let thinks = plan.thinks() || (plan.mode == Mode::Unsaid && facts.thinks_unasked);
    let has_budget = matches!(plan.mode, Mode::Budget(_));
    if thinks && circumstances.tool_is_forced && !facts.forced_while_thinking {
        Some("a tool is forced, and then this model cannot think")
    } else if has_budget && circumstances.lost_thoughts {
        // Anthropic: "Expected `thinking` or `redacted_thinking`, but found `tool_use`".
        Some("the signed thoughts before the last call of a tool are lost")
    } else if has_budget && circumstances.prefilled {
        Some("the answer's beginning is given")
    } else {
        None
    }
}

/// A budget is at least 1024 and less than `max_tokens`, which is raised for it.
fn fit_budget(plan: &mut Plan, ask: &Ask, facts: &Facts, losses: &mut Losses) {
    let Mode::Budget(wished) = plan.mode else { return };
    let budget = wished.max(LEAST_BUDGET);
    if budget >= plan.max_tokens {
        let most = facts.max_output.max(plan.max_tokens);
        plan.max_tokens = plan.max_tokens.saturating_add(budget).min(most);
    }
    let budget = budget.min(plan.max_tokens.saturating_sub(1));
    if budget < LEAST_BUDGET {
        plan.stop(facts, ask, "there are too few tokens to think", losses);
    } else {
        plan.mode = Mode::Budget(budget);
    }
}

fn fit_effort(effort: Effort, mode: Mode, facts: &Facts) -> Option<&'static str> {
    if facts.effort == Levels::None {
        return None;
    }
    // With thoughts switched off, Opus 5 takes no more than high.
    let most = if mode == Mode::Off { Levels::High } else { facts.effort };
    Some(match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::XHigh if most == Levels::All => "xhigh",
        Effort::Max if most >= Levels::Max => "max",
        Effort::High | Effort::XHigh | Effort::Max => "high",
    })
}

/// Newer models keep their thoughts to themselves unless asked. A client that is not Anthropic's has no other
/// way to ask, and expects to see them.
fn display(ask: &Ask, facts: &Facts, mode: Mode) -> Option<&'static str> {
    let wish = ask.reasoning.as_ref()?;
    let is_own = ask.format == Format::Anthropic;
    // Older models may not know the field; a client of Anthropic's knows what it sends.
    if !matches!(mode, Mode::Adaptive | Mode::Budget(_)) || !(is_own || facts.adaptive) {
        return None;
    }
    match wish.show {
        Some(true) => Some("summarized"),
        Some(false) => Some("omitted"),
        None if facts.hides_thoughts && !is_own => Some("summarized"),
        None => None,
    }
}
