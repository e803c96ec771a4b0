//! An `Ask` as the body of `POST /api/chat` (<https://docs.ollama.com/api/chat>). Knobs of sampling go
//! into `options`; there is no word for `tool_choice`, so it is kept by what is offered.

use serde::Serialize;

use super::messages::{self, Message};
use crate::conversation::{Ask, Effort, Json, Losses, Reasoned, TextFormat};
use crate::ground::fault::Fault;
use crate::wire::codec::{Outbound, Target};
use crate::wire::lacking::{self, Choice, Function, Knob};
use crate::wire::members::Members;

/// Members of `options` that come from clients and from the configuration under their own names, as
/// LiteLLM passes them on (<https://docs.ollama.com/modelfile#valid-parameters-and-values>).
const OPTIONS: &[&str] = &[
    "f16_kv",
    "low_vram",
    "main_gpu",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "num_batch",
    "num_ctx",
    "num_gpu",
    "num_gqa",
    "num_keep",
    "num_predict",
    "num_thread",
    "numa",
    "penalize_newline",
    "repeat_last_n",
    "repeat_penalty",
    "tfs_z",
    "typical_p",
    "use_mlock",
    "use_mmap",
];

/// The same beside `options`.
const BESIDE: &[&str] = &["keep_alive", "shift", "think", "truncate"];

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u64>,
    // Always said: absent means true here.
    stream: bool,
    #[serde(skip_serializing_if = "Members::is_empty")]
    options: Members,
    #[serde(flatten)]
    beside: Members,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

/// Writes a request.
///
/// # Errors
/// `InvalidRequest`: see [`messages::write`]; a tool chosen that is not there.
pub(super) fn write(
    ask: &Ask,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Result<Outbound, Fault> {
    lacking::knobs(ask, losses);
    let mut beside = Members::default();
    beside.set("think", think(ask, target, losses));
    let mut options = options(ask, target);
    extras(ask, target, &mut options, &mut beside, losses);
    let body = Body {
        model: target.model,
        messages: messages::write(ask, losses)?,
        tools: tools(ask, losses)?,
        format: format(ask, losses),
        logprobs: ask.sampling.logprobs,
        top_logprobs: ask.sampling.top_logprobs,
        stream: target.stream,
        options,
        beside,
    };
    let body = serde_json::to_vec(&body).map_err(|_| Fault::bug("a request that has no JSON"))?;
    Ok(Outbound { path: "/api/chat".into(), body, ..Outbound::default() })
}

fn tools<'a>(ask: &'a Ask, losses: &mut Losses) -> Result<Vec<Tool<'a>>, Fault> {
    let offer = lacking::offer(ask, losses)?;
    match offer.choice {
        Choice::Free => {}
        Choice::Must => {
            losses.add(
                "tool_choice",
                "Ollama cannot make a model call a tool; it may answer in text",
            );
        }
        Choice::Never => return Ok(Vec::new()),
    }
    let tool = |function| Tool { r#type: "function", function };
    Ok(offer.functions.into_iter().map(tool).collect())
}

fn format(ask: &Ask, losses: &mut Losses) -> Option<Json> {
    match ask.text_format.as_ref()? {
        TextFormat::JsonObject => Some(Json::of(&"json")),
        TextFormat::JsonSchema { schema, .. } => Some(schema.clone()),
        TextFormat::Foreign { .. } => {
            let path = lacking::place(ask.format, Knob::TextFormat);
            losses.add(path, "Ollama holds answers to JSON and JSON Schema only");
            None
        }
    }
}

/// `think` is said only where the client asked: a model that cannot think answers 400 to it, and one that can
/// does so unasked (<https://docs.ollama.com/capabilities/thinking>). So Anthropic's `adaptive`, which Claude
/// Code sends to every model, is best left to the model.
fn think(ask: &Ask, target: &Target<'_>, losses: &mut Losses) -> Option<Json> {
    let reasoned = ask.reasoning.as_ref()?;
    let path = lacking::place(ask.format, Knob::Reasoning);
    let can = target.fact("supports_reasoning");
    let effort = effort(reasoned);
    if can == Some(false) {
        let asked = effort.is_some_and(|effort| effort != Effort::None) || reasoned.adaptive;
        losses.add_if(asked.then_some(()), path, "the model does not think");
        return None;
    }
    // This family takes levels only, and cannot be kept from thinking.
    if target.model.contains("gpt-oss") {
        let level = match effort? {
            Effort::None => {
                losses.add(path, "gpt-oss always thinks; it is asked to think little");
                "low"
            }
            Effort::Minimal | Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High | Effort::XHigh | Effort::Max => "high",
        };
        return Some(Json::of(&level));
    }
    match effort {
        Some(Effort::None) => Some(Json::of(&false)),
        _ if reasoned.adaptive => can.map(|can| Json::of(&can)),
        effort => effort.map(|_| Json::of(&true)),
    }
}

fn effort(reasoned: &Reasoned) -> Option<Effort> {
    if reasoned.disabled {
        return Some(Effort::None);
    }
    reasoned.effort.or_else(|| reasoned.budget_tokens.map(Effort::of_budget))
}

fn options(ask: &Ask, target: &Target<'_>) -> Members {
    let sampling = &ask.sampling;
    let mut options = Members::default();
    options.set("num_ctx", target.number("num_ctx").map(|number| Json::of(&number)));
    options.set("num_predict", ask.max_tokens.map(|number| Json::of(&number)));
    let named = [
        ("temperature", &sampling.temperature),
        ("top_p", &sampling.top_p),
        ("top_k", &sampling.top_k),
        ("min_p", &sampling.min_p),
        ("seed", &sampling.seed),
        ("presence_penalty", &sampling.presence_penalty),
        ("frequency_penalty", &sampling.frequency_penalty),
    ];
    for (name, value) in named {
        options.set(name, value.clone());
    }
    // A list here, never a bare string.
    let stop: Vec<&String> = sampling.stop.iter().filter(|stop| !stop.is_empty()).collect();
    options.set("stop", (!stop.is_empty()).then(|| Json::of(&stop)));
    options
}

/// Ollama's own parameters, whichever format they rode in on.
fn extras(
    ask: &Ask,
    target: &Target<'_>,
    options: &mut Members,
    beside: &mut Members,
    losses: &mut Losses,
) {
    for name in ask.extras.foreign_to(crate::conversation::Format::Ollama) {
        let Some(value) = ask.extras.get(name) else { continue };
        if OPTIONS.contains(&name) {
            options.set(name, value.clone());
        } else if BESIDE.contains(&name) || target.allows(name) {
            beside.set(name, value.clone());
        } else if name == "options" && value.is_object() {
            for (name, value) in value.read::<Named>().unwrap_or_default() {
                options.set(&name, value);
            }
        } else {
            losses.add(name.to_owned(), "Ollama has no such parameter");
        }
    }
}

type Named = std::collections::BTreeMap<String, Json>;
