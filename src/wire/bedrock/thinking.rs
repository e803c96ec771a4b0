//! How much the model is to think, in the words of its vendor: Converse itself has none, but for the effort.
//! What cannot be had is a loss, never a request that would be refused.

use super::model::{Family, Model};
use super::types::Object;
use crate::conversation::{Ask, Effort, Format, Losses, Reasoned};

/// What is asked of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Thinking {
    Off,
    /// Claude decides how much; the effort guides it.
    Adaptive {
        effort: Option<Effort>,
    },
    /// Claude before 4.7: so many tokens.
    Budget(u64),
    /// Nova 2 and OpenAI's models: low, medium or high.
    Level(&'static str),
}

/// What kept thinking from being had.
pub(super) struct Hindrances {
    /// The thoughts before the calls that were just answered are lost.
    pub(super) lost: bool,
    /// The answer's form is made sure of by a tool that must be called.
    pub(super) forced: bool,
}

/// Anthropic's least budget.
const LEAST_BUDGET: u64 = 1024;

/// Decides.
pub(super) fn decide(
    ask: &Ask,
    model: &Model<'_>,
    hindrances: &Hindrances,
    losses: &mut Losses,
) -> Thinking {
    let Some(asked) = &ask.reasoning else { return Thinking::Off };
    let wants = asked.adaptive || asked.budget_tokens.is_some_and(|budget| budget > 0);
    let wants = wants || asked.effort.is_some_and(|effort| effort != Effort::None);
    if asked.disabled || !wants {
        return Thinking::Off;
    }
    let thinking = match model.family {
        Family::Nova(2) | Family::OpenAi => Thinking::Level(level(effort(asked))),
        _ if model.thinks_by_budget()
            && !(model.thinks_adaptively() && asked.budget_tokens.is_none()) =>
        {
            budget(ask, asked, losses)
        }
        _ if model.thinks_adaptively() => Thinking::Adaptive { effort: Some(effort(asked)) },
        _ => {
            losses.add("reasoning", "it is not known how this model is made to think on Bedrock");
            Thinking::Off
        }
    };
    if thinking == Thinking::Off || !model.is_claude() {
        return thinking;
    }
    if hindrances.forced {
        losses.add("reasoning", "Claude does not think where a tool must be called");
        return Thinking::Off;
    }
    if hindrances.lost && matches!(thinking, Thinking::Budget(_)) {
        losses.add("reasoning", "the thoughts before the last tool calls are not in the history");
        return Thinking::Off;
    }
    thinking
}

impl Thinking {
    pub(super) fn is_on(self) -> bool {
        self != Self::Off
    }

    /// Writes what was decided.
    pub(super) fn write(
        self,
        ask: &Ask,
        model: &Model<'_>,
        additional: &mut Object,
        output: &mut Object,
    ) {
        match self {
            Self::Off => {}
            Self::Budget(tokens) => {
                let thinking = serde_json::json!({ "type": "enabled", "budget_tokens": tokens });
                additional.set("thinking", &thinking);
            }
            Self::Adaptive { effort } => {
                let mut thinking = Object::default();
                thinking.set("type", &"adaptive");
                thinking.set_some("display", display(ask, model).as_ref());
                additional.set("thinking", &thinking);
                output.set_some("effort", effort.map(|effort| word(effort, model)).as_ref());
            }
            Self::Level(level) if matches!(model.family, Family::Nova(_)) => {
                let config = serde_json::json!({ "type": "enabled", "maxReasoningEffort": level });
                additional.set("reasoningConfig", &config);
            }
            Self::Level(level) if model.is_open_weight() => {
                additional.set("reasoning_effort", &level);
            }
            // OpenAI's own models want it as in their Responses.
            Self::Level(level) => {
                additional.set("reasoning", &serde_json::json!({ "effort": level }));
            }
        }
    }
}

fn effort(asked: &Reasoned) -> Effort {
    let by_budget = || asked.budget_tokens.map(Effort::of_budget);
    asked.effort.filter(|effort| *effort != Effort::None).or_else(by_budget).unwrap_or(Effort::High)
}

fn level(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::XHigh | Effort::Max => "high",
    }
}

/// Claude's word for an effort: the next lower one that the model has.
fn word(effort: Effort, model: &Model<'_>) -> &'static str {
    match effort {
        Effort::Max if model.takes_effort("max") => "max",
        Effort::XHigh | Effort::Max if model.takes_effort("xhigh") => "xhigh",
        other => level(other),
    }
}

/// A budget of at least 1024 tokens that leaves something of `max_tokens` for the answer.
fn budget(ask: &Ask, asked: &Reasoned, losses: &mut Losses) -> Thinking {
    let by_effort = || effort(asked).budget_tokens();
    let budget = asked.budget_tokens.filter(|budget| *budget > 0).unwrap_or_else(by_effort);
    let budget = budget.max(LEAST_BUDGET);
    match ask.max_tokens {
        Some(most) if most <= LEAST_BUDGET => {
            losses.add("reasoning", "Claude needs more than 1024 max_tokens to think");
            Thinking::Off
        }
        Some(most) if budget >= most => Thinking::Budget((most / 2).max(LEAST_BUDGET)),
        _ => Thinking::Budget(budget),
    }
}

/// Claude from 4.7 on shows its thoughts only where that is asked for; clients of other formats than
/// Anthropic's have no way to ask, and were shown them before.
fn display(ask: &Ask, model: &Model<'_>) -> Option<&'static str> {
    let show = ask.reasoning.as_ref().and_then(|asked| asked.show);
    match show {
        Some(true) => Some("summarized"),
        Some(false) => Some("omitted"),
        None if ask.format == Format::Anthropic || model.thinks_by_budget() => None,
        None => Some("summarized"),
    }
}
