//! Sampling, the shape of the answer, and the other settings of a request.

use super::super::types::{Node, Object};
use super::facts::Facts;
use super::schema;
use super::thinking::Plan;
use crate::conversation::{Ask, Format, Json, Losses, TextFormat};
use crate::ground::fault::Fault;

/// How the answer is bound to a shape.
pub(super) enum Shape {
    Free,
    /// `output_config.format`.
    Format(Json),
    /// A tool that takes the schema stands in.
    Tool(Json),
    /// Only words ask for it.
    Words(String),
}

/// How the model can be bound to what the client asks for.
pub(super) fn shape(ask: &Ask, facts: &Facts, losses: &mut Losses) -> Shape {
    match &ask.text_format {
        None => Shape::Free,
        Some(TextFormat::JsonObject) => {
            let words = "Answer with one valid JSON object and nothing else: no fences, no words.";
            Shape::Words(words.to_owned())
        }
        Some(TextFormat::JsonSchema { schema, .. }) if facts.structured => {
            let is_own = ask.format == Format::Anthropic;
            let schema = if is_own { schema.clone() } else { schema::held(schema) };
            Shape::Format(Object::of("json_schema").with("schema", schema).json())
        }
        Some(TextFormat::JsonSchema { schema, .. }) if schema::is_object(schema) => {
            Shape::Tool(schema.clone())
        }
        Some(TextFormat::JsonSchema { schema, .. }) => Shape::Words(format!(
            "Answer with JSON and nothing else, by this JSON Schema:\n{}",
            schema.as_str()
        )),
        Some(TextFormat::Foreign { format: Format::Anthropic, value }) => {
            Shape::Format(value.clone())
        }
        Some(TextFormat::Foreign { .. }) => {
            losses.add("response_format", "Anthropic has no such format");
            Shape::Free
        }
    }
}

/// Only one answer can be asked for.
pub(super) fn check(ask: &Ask) -> Result<(), Fault> {
    match ask.sampling.n {
        Some(n) if n > 1 => Err(Fault::invalid(
            "`n` must be 1: Anthropic's models give one answer. Send the request again for another.",
        )
        .with_param("n")),
        _ => Ok(()),
    }
}

/// Writes what bears on sampling.
pub(super) fn sampling<'a>(
    mut body: Object<'a>,
    ask: &'a Ask,
    facts: &Facts,
    plan: &Plan,
    losses: &mut Losses,
) -> Object<'a> {
    let wish = &ask.sampling;
    let bound = plan.binds_sampling();
    let why = if facts.sampling { "not while the model thinks" } else { "not for this model" };
    let temperature = wish.temperature.as_ref().filter(|_| facts.sampling && !bound);
    let top_k = wish.top_k.as_ref().filter(|_| facts.sampling && !bound);
    // While it thinks, between 0.95 and 1.
    let fits = |top_p: &&Json| !bound || top_p.read::<f64>().is_some_and(|p| p >= 0.95);
    let mut top_p = wish.top_p.as_ref().filter(|_| facts.sampling).filter(fits);
    for (value, sent, name) in [
        (&wish.temperature, temperature.is_some(), "temperature"),
        (&wish.top_p, top_p.is_some(), "top_p"),
        (&wish.top_k, top_k.is_some(), "top_k"),
    ] {
        if value.is_some() && !sent {
            losses.add(name, why);
        }
    }
    if facts.one_sampling && temperature.is_some() && top_p.take().is_some() {
        losses.add("top_p", "this model takes either temperature or top_p");
    }
    if let Some(temperature) = temperature {
        body.push("temperature", warmth(temperature, losses));
    }
    body = body.some("top_p", top_p).some("top_k", top_k);
    // Blank ones are a 400 (litellm#3286).
    let stop: Vec<&String> = wish.stop.iter().filter(|stop| !stop.trim().is_empty()).collect();
    if stop.len() < wish.stop.len() {
        losses.add("stop", "Anthropic takes no blank stop sequences");
    }
    let stop: Vec<Node<'a>> = stop.into_iter().map(|stop| stop.as_str().into()).collect();
    body.some("stop_sequences", (!stop.is_empty()).then_some(stop))
}

/// Tells what Anthropic has nothing for.
pub(super) fn tell_losses(ask: &Ask, losses: &mut Losses) {
    let wish = &ask.sampling;
    for (name, is_there) in [
        ("min_p", wish.min_p.is_some()),
        ("seed", wish.seed.is_some()),
        ("presence_penalty", wish.presence_penalty.is_some()),
        ("frequency_penalty", wish.frequency_penalty.is_some()),
        ("logit_bias", wish.logit_bias.is_some()),
        ("logprobs", wish.logprobs == Some(true)),
        ("top_logprobs", wish.top_logprobs.is_some()),
        ("verbosity", ask.verbosity.is_some()),
        ("metadata", ask.metadata.is_some()),
    ] {
        if is_there {
            losses.add(name, "Anthropic has no such parameter");
        }
    }
}

/// `metadata.user_id`; Anthropic refuses what looks like an address or a telephone number.
pub(super) fn user<'a>(ask: &'a Ask, losses: &mut Losses) -> Option<&'a str> {
    let user = ask.user.as_deref()?;
    let is_own = ask.format == Format::Anthropic;
    let is_phone =
        user.len() >= 7 && user.chars().all(|c| c.is_ascii_digit() || "+-() .".contains(c));
    if !is_own && (user.contains('@') || is_phone) {
        losses.add("user", "Anthropic refuses addresses and telephone numbers here");
        return None;
    }
    Some(user)
}

/// `service_tier` in Anthropic's words.
pub(super) fn tier(ask: &Ask, losses: &mut Losses) -> Option<&'static str> {
    match ask.service_tier.as_deref() {
        None => None,
        Some("auto") => Some("auto"),
        Some("default") => Some("standard_only"),
        Some(_) => {
            losses.add("service_tier", "Anthropic has `auto` and `default` only");
            None
        }
    }
}

/// OpenAI's temperatures go up to 2, Anthropic's to 1.
fn warmth<'a>(temperature: &'a Json, losses: &mut Losses) -> Node<'a> {
    if temperature.read::<f64>().is_some_and(|value| value > 1.0) {
        losses.add("temperature", "Anthropic takes up to 1, which is sent");
        return Node::Number(1);
    }
    temperature.into()
}
