//! An `Ask` as the body of `POST /v2/chat` (<https://docs.cohere.com/reference/chat>).

use serde::Serialize;

use super::messages::{self, Message};
use crate::conversation::{Ask, Effort, Format, Json, Losses, TextFormat};
use crate::ground::fault::Fault;
use crate::wire::codec::{Outbound, Target};
use crate::wire::lacking::{self, Choice, Function, Knob};
use crate::wire::members::Members;

/// Parameters of Cohere's own that clients and the configuration say under their names.
const OWN: &[&str] = &[
    "citation_options",
    "documents",
    "k",
    "p",
    "priority",
    "safety_mode",
    "strict_tools",
    "thinking",
];

/// More stop sequences are a 400.
const MOST_STOPS: usize = 5;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    stream: bool,
    #[serde(flatten)]
    knobs: Members,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<&'a Json>,
}

#[derive(Serialize)]
struct Thinking {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_budget: Option<u64>,
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
    let mut messages = messages::write(ask, thinks(target), losses)?;
    let (tools, tool_choice) = tools(ask, losses)?;
    let mut response_format = response_format(ask, losses);
    // Cohere refuses the two together, so the format becomes a request in words.
    if !tools.is_empty()
        && let Some(format) = response_format.take()
    {
        let path = lacking::place(ask.format, Knob::TextFormat);
        losses.add(path, "Cohere has no format beside tools; it is asked for in words");
        messages.insert(0, messages::system(in_words(&format)));
    }
    let knobs = knobs(ask, target, losses);
    let body = Body {
        model: target.model,
        messages,
        tools,
        tool_choice,
        response_format,
        stream: target.stream,
        knobs,
    };
    let body = serde_json::to_vec(&body).map_err(|_| Fault::bug("a request that has no JSON"))?;
    Ok(Outbound { path: "/v2/chat".into(), body, ..Outbound::default() })
}

/// Whether the model has thinking to switch, and takes its thoughts back
/// (<https://docs.cohere.com/docs/reasoning>); `model_info` knows better than the name.
fn thinks(target: &Target<'_>) -> bool {
    let by_name = || ["reasoning", "command-a-plus"].iter().any(|word| target.model.contains(word));
    target.fact("supports_reasoning").unwrap_or_else(by_name)
}

fn tools<'a>(
    ask: &'a Ask,
    losses: &mut Losses,
) -> Result<(Vec<Tool<'a>>, Option<&'static str>), Fault> {
    let offer = lacking::offer(ask, losses)?;
    if offer.functions.is_empty() {
        if offer.choice == Choice::Must {
            losses.add("tool_choice", "no tool is left that could be called");
        }
        return Ok((Vec::new(), None));
    }
    let tool = |function| Tool { r#type: "function", function };
    let choice = match offer.choice {
        Choice::Free => None,
        Choice::Must => Some("REQUIRED"),
        Choice::Never => Some("NONE"),
    };
    Ok((offer.functions.into_iter().map(tool).collect(), choice))
}

fn response_format<'a>(ask: &'a Ask, losses: &mut Losses) -> Option<ResponseFormat<'a>> {
    let json_schema = match ask.text_format.as_ref()? {
        TextFormat::JsonObject => None,
        TextFormat::JsonSchema { schema, .. } => Some(schema),
        TextFormat::Foreign { .. } => {
            let path = lacking::place(ask.format, Knob::TextFormat);
            losses.add(path, "Cohere holds answers to JSON and JSON Schema only");
            return None;
        }
    };
    Some(ResponseFormat { r#type: "json_object", json_schema })
}

fn in_words(format: &ResponseFormat<'_>) -> String {
    const BARE: &str = "Your final answer must be one JSON object and nothing else";
    match format.json_schema {
        Some(schema) => format!("{BARE}. It must match this JSON Schema: {}", schema.as_str()),
        None => format!("{BARE}."),
    }
}

fn knobs(ask: &Ask, target: &Target<'_>, losses: &mut Losses) -> Members {
    const NO: &str = "Cohere has no such parameter";
    let sampling = &ask.sampling;
    let mut knobs = Members::default();
    knobs.set("max_tokens", ask.max_tokens.map(|number| Json::of(&number)));
    let bounded = [
        ("temperature", "temperature", &sampling.temperature, 0.0, 1.0),
        ("top_p", "p", &sampling.top_p, 0.01, 0.99),
        ("presence_penalty", "presence_penalty", &sampling.presence_penalty, 0.0, 1.0),
        ("frequency_penalty", "frequency_penalty", &sampling.frequency_penalty, 0.0, 1.0),
    ];
    for (name, own, value, least, most) in bounded {
        knobs.set(own, within(name, value.as_ref(), least, most, losses));
    }
    knobs.set("k", top_k(ask, losses));
    knobs.set("seed", seed(ask, losses));
    losses.add_if(sampling.min_p.as_ref(), "min_p", NO);
    losses.add_if(sampling.top_logprobs.filter(|count| *count > 0), "top_logprobs", NO);
    knobs.set("logprobs", sampling.logprobs.map(|wanted| Json::of(&wanted)));
    knobs.set("stop_sequences", stops(ask, losses));
    knobs.set("thinking", thinking(ask, target, losses));
    for name in ask.extras.foreign_to(Format::Cohere) {
        if OWN.contains(&name) || target.allows(name) {
            knobs.set(name, ask.extras.get(name).cloned());
        } else {
            losses.add(name.to_owned(), NO);
        }
    }
    for (name, value) in ask.extras.of(Format::Cohere) {
        knobs.set(name, value.clone());
    }
    knobs
}

/// A number kept within what Cohere takes: OpenAI's ranges are wider, and outside of its own it answers 400.
fn within(
    name: &'static str,
    value: Option<&Json>,
    least: f64,
    most: f64,
    losses: &mut Losses,
) -> Option<Json> {
    let value = value?;
    let number = value.read::<f64>()?;
    if (least..=most).contains(&number) {
        return Some(value.clone());
    }
    losses.add(name, format!("Cohere takes {least} to {most}"));
    Some(Json::of(&number.clamp(least, most)))
}

/// 0 to 500; what servers take for "all" (-1) is absent here.
fn top_k(ask: &Ask, losses: &mut Losses) -> Option<Json> {
    let number = ask.sampling.top_k.as_ref()?.read::<i64>()?;
    if number > 500 {
        losses.add("top_k", "Cohere takes 0 to 500");
    }
    (number >= 0).then(|| Json::of(&number.min(500)))
}

fn seed(ask: &Ask, losses: &mut Losses) -> Option<Json> {
    let seed = ask.sampling.seed.as_ref()?;
    if seed.read::<u64>().is_none() {
        losses.add("seed", "Cohere takes whole numbers from 0 up");
        return None;
    }
    Some(seed.clone())
}

fn stops(ask: &Ask, losses: &mut Losses) -> Option<Json> {
    let stops: Vec<&String> = ask.sampling.stop.iter().filter(|stop| !stop.is_empty()).collect();
    if stops.len() > MOST_STOPS {
        losses.add(lacking::place(ask.format, Knob::Stop), "Cohere takes 5 stop sequences");
    }
    let kept = stops.get(..MOST_STOPS.min(stops.len()))?;
    (!kept.is_empty()).then(|| Json::of(&kept))
}

/// On or off, with a budget where the client has one or wants little.
fn thinking(ask: &Ask, target: &Target<'_>, losses: &mut Losses) -> Option<Json> {
    let reasoned = ask.reasoning.as_ref()?;
    let effort = reasoned.effort;
    let budget = reasoned.budget_tokens;
    let off = reasoned.disabled || effort == Some(Effort::None) || budget == Some(0);
    let on = !off && (effort.is_some() || budget.is_some() || reasoned.adaptive);
    if !thinks(target) {
        let path = lacking::place(ask.format, Knob::Reasoning);
        losses.add_if(on.then_some(()), path, "the model does not think");
        return None;
    }
    if off {
        return Some(Json::of(&Thinking { r#type: "disabled", token_budget: None }));
    }
    let little = effort.filter(|effort| *effort < Effort::High).map(Effort::budget_tokens);
    on.then(|| Json::of(&Thinking { r#type: "enabled", token_budget: budget.or(little) }))
}
