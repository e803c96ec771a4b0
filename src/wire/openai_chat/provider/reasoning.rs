//! How much to think, said as each server wants to hear it; and the thoughts of earlier turns, for those that
//! want them back.

use super::super::quirks::{Thinking, Thoughts};
use super::CHAT;
use super::request::Writer;
use super::tree::{Node, Object};
use crate::conversation::{Content, Effort, Json, Part, Reasoned};
use crate::ground::fault::Fault;

/// Writes what the request says of thinking.
///
/// Errors: the server has no such thing, and that is not to be dropped.
pub(super) fn write<'a>(writer: &mut Writer<'a, '_>, body: &mut Object<'a>) -> Result<(), Fault> {
    let Some(reasoned) = &writer.ask.reasoning else { return Ok(()) };
    let wanted = wanted(reasoned);
    match writer.quirks.thinking {
        Thinking::OpenRouter => {
            body.put("reasoning", openrouter(reasoned).node());
            return Ok(());
        }
        Thinking::DeepSeek => return deepseek(reasoned, wanted, body),
        Thinking::Template if wanted == Some(Effort::None) => {
            // Each template has its own word for it, and passes over what it does not know
            // (https://docs.vllm.ai/en/latest/features/reasoning_outputs/).
            let words = ["enable_thinking", "thinking"];
            let mut switches = Object::default();
            for word in words {
                switches.put(word, Node::Flag(false));
            }
            let asked = writer.ask.extras.of(CHAT);
            if !asked.iter().any(|(name, _)| name == "chat_template_kwargs") {
                body.put("chat_template_kwargs", switches.node());
            }
            return Ok(());
        }
        _ => {}
    }
    let Some(wanted) = wanted else { return Ok(()) };
    let words = words(writer);
    let allowed = writer.target.allows("reasoning_effort");
    let effort = if allowed { Some(wanted) } else { nearest(wanted, words) };
    let Some(effort) = effort else { return writer.lacks("reasoning_effort") };
    writer.effort = Some(effort);
    body.put_text("reasoning_effort", effort.as_str());
    Ok(())
}

/// The thoughts of an assistant's turns, as fields of its message.
pub(super) fn history<'a>(
    writer: &mut Writer<'a, '_>,
    parts: &[&'a Part],
    message: &mut Object<'a>,
) {
    let thoughts = parts.iter().filter_map(|part| match &part.content {
        Content::Reasoning(reasoning) => Some(reasoning),
        _ => None,
    });
    let mut text = String::new();
    let mut details = Vec::new();
    for reasoning in thoughts.clone() {
        for piece in reasoning.summary.iter().chain([&reasoning.text]) {
            if !text.is_empty() && !piece.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str(piece);
        }
        let own = reasoning.seal.as_ref().filter(|seal| seal.format == CHAT);
        details.extend(own.and_then(|seal| Json::parse(&*seal.data)));
    }
    let calls = parts.iter().any(|part| part.as_call().is_some());
    match writer.quirks.thoughts {
        Thoughts::Never => {
            if thoughts.clone().next().is_some() {
                let why = format!("{} does not take thoughts back", writer.quirks.shown());
                let path = format!("{}[*].reasoning", writer.list());
                writer.losses.add(path, why);
            }
        }
        Thoughts::BesideCalls if calls => {
            // An empty one is taken where the thoughts were lost on the way.
            let off = writer.ask.reasoning.as_ref().and_then(wanted) == Some(Effort::None);
            if !(text.is_empty() && off) {
                message.put_text("reasoning_content", text);
            }
        }
        Thoughts::BesideCalls => {}
        Thoughts::Content | Thoughts::Both if text.is_empty() => {}
        Thoughts::Content => message.put_text("reasoning_content", text),
        Thoughts::Both => {
            message.put_text("reasoning", text.clone());
            message.put_text("reasoning_content", text);
        }
        Thoughts::Details => {
            let lists = details.iter().filter_map(Json::read::<Vec<_>>);
            let all: Vec<Node<'a>> = lists.flatten().map(Node::made).collect();
            if !all.is_empty() {
                message.put("reasoning_details", Node::List(all));
            } else if !text.is_empty() {
                message.put_text("reasoning", text);
            }
        }
    }
}

/// The effort that is asked for, in one word; none where the model is to decide.
pub(super) fn wanted(reasoned: &Reasoned) -> Option<Effort> {
    if reasoned.disabled {
        return Some(Effort::None);
    }
    reasoned.effort.or_else(|| reasoned.budget_tokens.map(Effort::of_budget))
}

/// The words that the target takes.
fn words(writer: &Writer<'_, '_>) -> &'static [Effort] {
    const LOW_TO_HIGH: &[Effort] = &[Effort::Low, Effort::Medium, Effort::High];
    let model = writer.target.model.to_ascii_lowercase();
    let has = |name: &str| model.contains(name);
    let reasons = writer.target.fact("supports_reasoning");
    match writer.quirks.thinking {
        Thinking::OpenAi => writer.model.efforts(),
        Thinking::Words(words) => words,
        Thinking::Capable(words) => {
            // Who speaks chat completions to an unknown server asks for what that server takes.
            let knows = writer.quirks.name.is_empty() && writer.ask.format == CHAT;
            let capable = reasons.unwrap_or(knows || has("gpt-oss") || has("magistral"));
            if capable { words } else { &[] }
        }
        Thinking::Groq if has("gpt-oss") => LOW_TO_HIGH,
        Thinking::Groq if has("qwen") => &[Effort::None],
        Thinking::Xai if has("grok-3-mini") => &[Effort::Low, Effort::High],
        Thinking::Xai if has("grok-4.3") || reasons == Some(true) => {
            &[Effort::None, Effort::Low, Effort::Medium, Effort::High]
        }
        Thinking::Template => LOW_TO_HIGH,
        _ => &[],
    }
}

/// The word that comes closest: itself, else the next lower one that still thinks, else the lowest.
fn nearest(wanted: Effort, words: &[Effort]) -> Option<Effort> {
    if words == [Effort::None] {
        // It can only be switched off.
        return (wanted == Effort::None).then_some(wanted);
    }
    let lower = words
        .iter()
        .rev()
        .find(|word| **word <= wanted && (**word != Effort::None || wanted == Effort::None));
    let thinks = words.iter().find(|word| wanted == Effort::None || **word != Effort::None);
    lower.or(thinks).copied()
}

fn deepseek(
    reasoned: &Reasoned,
    wanted: Option<Effort>,
    body: &mut Object<'_>,
) -> Result<(), Fault> {
    let off = wanted == Some(Effort::None);
    let on = reasoned.adaptive || wanted.is_some();
    if off || on {
        body.put("thinking", Object::typed(if off { "disabled" } else { "enabled" }).node());
    }
    if let Some(effort) = wanted.filter(|_| !off) {
        body.put_text("reasoning_effort", effort.as_str());
    }
    Ok(())
}

/// <https://openrouter.ai/docs/use-cases/reasoning-tokens>
fn openrouter<'a>(reasoned: &Reasoned) -> Object<'a> {
    let mut object = Object::default();
    if reasoned.disabled {
        object.put_text("effort", Effort::None.as_str());
    } else if let Some(effort) = reasoned.effort {
        // `max` is not among its words.
        object.put_text("effort", effort.min(Effort::XHigh).as_str());
    } else if let Some(budget) = reasoned.budget_tokens {
        object.put("max_tokens", Node::Count(budget));
    } else {
        object.put("enabled", Node::Flag(true));
    }
    if reasoned.show == Some(false) {
        object.put("exclude", Node::Flag(true));
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_taken() {
        use Effort::{High, Low, Max, Medium, Minimal, None, XHigh};
        let cases: [(Effort, &[Effort], Option<Effort>); 8] = [
            (Max, &[Low, Medium, High], Some(High)),
            (Minimal, &[Low, Medium, High], Some(Low)),
            (None, &[Low, High], Some(Low)),
            (None, &[None, Low], Some(None)),
            (Minimal, &[None, Low], Some(Low)),
            (XHigh, &[None, Low, XHigh], Some(XHigh)),
            (Low, &[None], Option::None),
            (Low, &[], Option::None),
        ];
        for (wanted, words, expected) in cases {
            assert_eq!(nearest(wanted, words), expected, "{wanted:?} {words:?}");
        }
    }
}
