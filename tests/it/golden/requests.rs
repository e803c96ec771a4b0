//! Requests of clients, written for providers as the gateway's hub lane writes them: results paired with
//! their calls, stand-ins for what the provider lacks, then the provider's own half.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};
use tidegate::conversation::{Ask, Format, Losses, repair, stand_in};
use tidegate::ground::fault::Fault;
use tidegate::wire::codec::{ClientHalf, Options, Outbound, Target};
use tidegate::wire::{catalogue, formats};

use super::{Page, difference, inputs, pretty, title};

/// A provider and a model that requests are written for.
struct Goal {
    format: Format,
    model: &'static str,
    /// Another goal of the same format: only what differs from the first is shown.
    is_variant: bool,
}

const fn goal(format: Format, model: &'static str) -> Goal {
    Goal { format, model, is_variant: false }
}

const fn variant(format: Format, model: &'static str) -> Goal {
    Goal { format, model, is_variant: true }
}

/// Variants stand directly behind the goal they are compared with.
const GOALS: &[Goal] = &[
    goal(Format::OpenAiChat, "openai/gpt-5.1"),
    variant(Format::OpenAiChat, "openai/gpt-4.1"),
    variant(Format::OpenAiChat, "mistral/mistral-large-latest"),
    variant(Format::OpenAiChat, "groq/openai/gpt-oss-120b"),
    variant(Format::OpenAiChat, "deepseek/deepseek-chat"),
    variant(Format::OpenAiChat, "hosted_vllm/qwen3"),
    variant(Format::OpenAiChat, "openrouter/anthropic/claude-sonnet-4.5"),
    goal(Format::OpenAiResponses, "openai/gpt-5.1"),
    variant(Format::OpenAiResponses, "openai/gpt-4.1"),
    goal(Format::Anthropic, "anthropic/claude-sonnet-4-5"),
    variant(Format::Anthropic, "anthropic/claude-opus-4-8"),
    goal(Format::Gemini, "gemini/gemini-3-pro-preview"),
    variant(Format::Gemini, "gemini/gemini-2.5-flash"),
    variant(Format::Gemini, "vertex_ai/gemini-2.5-flash"),
    goal(Format::Bedrock, "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"),
    variant(Format::Bedrock, "bedrock/amazon.nova-pro-v1:0"),
    goal(Format::Ollama, "ollama/qwen3:8b"),
    goal(Format::Cohere, "cohere/command-a-03-2025"),
];

pub(super) fn pages() -> Vec<Page> {
    let inputs = inputs("requests", &["json"]);
    inputs.iter().map(|(folder, path)| page(folder, path)).collect()
}

fn client(folder: &str) -> &'static ClientHalf {
    match folder {
        "openai_chat" => &formats::CHAT,
        "openai_completions" => &formats::COMPLETIONS,
        "openai_responses" => &formats::RESPONSES,
        "anthropic" => &formats::MESSAGES,
        other => panic!("no client speaks {other}"),
    }
}

fn page(folder: &str, path: &Path) -> Page {
    let body = fs::read(path).unwrap();
    let input = String::from_utf8_lossy(&body).into_owned();
    let mut text = format!("# {}\n\n{}\n", title("requests", folder, path), pretty::json(&input));
    match (client(folder).request)(&body) {
        Err(fault) => text.push_str(&format!("\n{}", refused(&fault))),
        Ok((ask, _)) => {
            let mut first = String::new();
            let mut model = "";
            for goal in GOALS {
                let written = written(&ask, goal);
                text.push_str(&format!("\n## {} · {}", goal.format.as_str(), goal.model));
                if !goal.is_variant {
                    text.push_str(&format!("\n\n{written}"));
                    (first, model) = (written, name(goal));
                    continue;
                }
                let renamed = first.replace(model, name(goal));
                let renamed =
                    renamed.replace(&model.replace(':', "%3A"), &name(goal).replace(':', "%3A"));
                let changes = difference(&renamed, &written);
                if changes.is_empty() {
                    text.push_str(" · the same\n");
                } else {
                    text.push_str(&format!(" · what differs\n\n{changes}"));
                }
            }
        }
    }
    Page { path: path.with_extension("golden"), text }
}

/// The model without its provider.
fn name(goal: &Goal) -> &'static str {
    goal.model.split_once('/').unwrap().1
}

fn refused(fault: &Fault) -> String {
    let param = fault.param.as_deref().map(|param| format!(" at `{param}`")).unwrap_or_default();
    format!("refused: {}{param}: {}\n", fault.status(), fault.message)
}

fn written(ask: &Ask, goal: &Goal) -> String {
    let mut losses = Losses::default();
    let mut text = match write(ask.clone(), goal, &mut losses) {
        Err(fault) => refused(&fault),
        Ok(outbound) => {
            let mut text = format!("POST {}\n", outbound.path);
            for (name, value) in &outbound.headers {
                text.push_str(&format!("{name}: {value}\n"));
            }
            if let Some(tool) = &outbound.json_tool {
                text.push_str(&format!("the answer is the call of: {tool}\n"));
            }
            let body = String::from_utf8(outbound.body).unwrap();
            format!("{text}{}\n", pretty::json(&body))
        }
    };
    for loss in losses.iter() {
        text.push_str(&format!("lost `{}`: {}\n", loss.path, loss.why));
    }
    text
}

fn write(mut ask: Ask, goal: &Goal, losses: &mut Losses) -> Result<Outbound, Fault> {
    let half = formats::provider(goal.format).unwrap();
    let (provider, model) = catalogue::find(goal.model, false).unwrap();
    let (info, options): (Map<String, Value>, Options) = (Map::new(), Options::default());
    let base = provider.base.unwrap_or("http://127.0.0.1:8000/v1");
    let (info, options, stream) = (&info, &options, ask.stream);
    let target = Target { model, provider, base, info, options, stream };
    repair::pair_results(&mut ask);
    stand_in::stand_in(&mut ask, &formats::abilities(goal.format, &target), losses);
    (half.request)(&ask, &target, losses)
}
