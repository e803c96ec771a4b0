//! Everything of a request that is not turns or tools: how tokens are drawn, the form of the answer, and
//! what only the model's vendor knows, which goes into `additionalModelRequestFields`.

use serde_json::Value;

use super::model::{Family, Model};
use super::schema;
use super::thinking::Thinking;
use super::types::Object;
use crate::conversation::{Ask, Format, Json, Losses, TextFormat};
use crate::wire::codec::Target;

/// Fields of Converse that a client may send as they are, whatever its format: LiteLLM lets them through too.
const OWN: [&str; 9] = [
    "guardrailConfig",
    "performanceConfig",
    "promptVariables",
    "projectIdentifier",
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "requestMetadata",
    "serviceTier",
    "outputConfig",
];

/// The instruction for answers that must be some JSON object.
pub(super) const JSON_OBJECT: &str =
    "Answer with one valid JSON object and nothing else: no text around it, no code fence.";

/// Whether the form of the answer needs a tool, for want of anything better.
pub(super) fn needs_json_tool<'a>(ask: &'a Ask, model: &Model<'_>) -> Option<&'a TextFormat> {
    match ask.text_format.as_ref()? {
        format @ TextFormat::JsonSchema { schema, .. } => {
            let is_native = model.writes_schemas() && schema::is_strict(schema);
            (!is_native).then_some(format)
        }
        _ => None,
    }
}

/// The fields beside messages, system and tools.
pub(super) fn write(
    ask: &Ask,
    target: &Target<'_>,
    model: &Model<'_>,
    thinking: Thinking,
    mut additional: Object,
    losses: &mut Losses,
) -> Object {
    let (mut rest, mut output) = (Object::default(), Object::default());
    rest.set_object("inferenceConfig", &inference(ask, model, thinking, losses));
    thinking.write(ask, model, &mut additional, &mut output);
    text_format(ask, model, &mut output, losses);
    top_k(ask, model, thinking, &mut additional, losses);
    untaken(ask, target, &mut additional, losses);
    metadata(ask, &mut rest, losses);
    service_tier(ask, &mut rest, losses);
    if model.is_claude() && !ask.sampling.stop.is_empty() {
        // Which of them it was is told only if asked for.
        rest.set("additionalModelResponseFieldPaths", &["/stop_sequence"]);
    }
    extras(ask, target, model, &mut additional, &mut output, &mut rest, losses);
    rest.set_object("outputConfig", &output);
    rest.set_object("additionalModelRequestFields", &additional);
    rest
}

fn inference(ask: &Ask, model: &Model<'_>, thinking: Thinking, losses: &mut Losses) -> Object {
    let mut config = Object::default();
    let sampling = &ask.sampling;
    // Nova 2 wants none of the three where it is to think the most
    // (https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html).
    let alone = matches!(model.family, Family::Nova(_)) && thinking == Thinking::Level("high");
    if alone {
        losses.add_if(ask.max_tokens, "max_tokens", "Nova takes no bound at high effort");
    } else {
        config.set_some("maxTokens", max_tokens(ask, model, thinking).as_ref());
    }
    let thinks = model.is_claude() && thinking.is_on();
    if alone || !model.takes_sampling() {
        losses.add_if(sampling.temperature.as_ref(), "temperature", "the model takes none");
        losses.add_if(sampling.top_p.as_ref(), "top_p", "the model takes none");
    } else {
        let temperature = sampling.temperature.as_ref().map(at_most_one);
        let temperature = temperature.filter(|value| {
            let fits = !thinks || number(value) >= Some(1.0);
            if !fits {
                losses.add("temperature", "Claude takes none while it thinks");
            }
            fits
        });
        let top_p = sampling.top_p.as_ref().filter(|value| {
            let is_second = temperature.is_some() && model.takes_one_of_temperature_and_top_p();
            let fits = !is_second && (!thinks || number(value) >= Some(0.95));
            if !fits {
                losses.add("top_p", "Claude takes none beside a temperature, or while it thinks");
            }
            fits
        });
        config.set_some("temperature", temperature.as_ref());
        config.set_some("topP", top_p);
    }
    let stop: Vec<&str> = sampling.stop.iter().map(String::as_str).collect();
    let (kept, blank): (Vec<&str>, Vec<&str>) =
        stop.into_iter().partition(|stop| !stop.trim().is_empty());
    if !blank.is_empty() {
        losses.add("stop", "blank stop sequences are refused");
    }
    if !kept.is_empty() {
        config.set("stopSequences", &kept);
    }
    config
}

/// With a budget to think, the bound must be above it, and what a model assumes may be below.
fn max_tokens(ask: &Ask, model: &Model<'_>, thinking: Thinking) -> Option<u64> {
    match thinking {
        Thinking::Budget(budget) => {
            let most = model.number("max_output_tokens").unwrap_or(0);
            Some(ask.max_tokens.unwrap_or(most.max(budget.saturating_add(4096))))
        }
        _ => ask.max_tokens,
    }
}

fn number(json: &Json) -> Option<f64> {
    json.read()
}

/// OpenAI's temperatures go up to 2.
fn at_most_one(value: &Json) -> Json {
    if number(value) > Some(1.0) { Json::of(&1) } else { value.clone() }
}

fn text_format(ask: &Ask, model: &Model<'_>, output: &mut Object, losses: &mut Losses) {
    match &ask.text_format {
        Some(TextFormat::JsonSchema { name, description, schema, .. })
            if needs_json_tool(ask, model).is_none() =>
        {
            let mut definition = Object::default();
            definition.set("schema", &schema.as_str());
            definition.set("name", name);
            definition.set_some("description", description.as_ref());
            let structure = serde_json::json!({ "jsonSchema": definition });
            let format = serde_json::json!({ "type": "json_schema", "structure": structure });
            output.set("textFormat", &format);
        }
        Some(TextFormat::Foreign { .. }) => {
            losses.add("response_format", "Bedrock has no such form of answers");
        }
        _ => {}
    }
}

/// Converse has no `top_k`; its vendors spell it as they like.
fn top_k(
    ask: &Ask,
    model: &Model<'_>,
    thinking: Thinking,
    additional: &mut Object,
    losses: &mut Losses,
) {
    let Some(top_k) = &ask.sampling.top_k else { return };
    match model.family {
        Family::Claude(..) if thinking.is_on() || !model.takes_sampling() => {
            losses.add("top_k", "Claude takes none while it thinks, and none from 4.7 on");
        }
        Family::Nova(_) => {
            let mut inference = Object::default();
            inference.set("topK", top_k);
            additional.set("inferenceConfig", &inference);
        }
        Family::OpenAi => losses.add("top_k", "the model takes none"),
        _ => additional.set("top_k", top_k),
    }
}

/// What Converse has no place for: sent only where the configuration says that the model takes it.
fn untaken(ask: &Ask, target: &Target<'_>, additional: &mut Object, losses: &mut Losses) {
    let sampling = &ask.sampling;
    let several = sampling.n.filter(|n| *n > 1);
    let of = |value: Option<u64>| value.map(|value| Json::of(&value));
    let user = ask.user.as_ref().map(Json::of);
    let verbosity = ask.verbosity.as_ref().map(Json::of);
    let logprobs = sampling.logprobs.filter(|wanted| *wanted).map(|wanted| Json::of(&wanted));
    let fields = [
        ("n", of(several)),
        ("min_p", sampling.min_p.clone()),
        ("seed", sampling.seed.clone()),
        ("presence_penalty", sampling.presence_penalty.clone()),
        ("frequency_penalty", sampling.frequency_penalty.clone()),
        ("logit_bias", sampling.logit_bias.clone()),
        ("logprobs", logprobs),
        ("top_logprobs", of(sampling.top_logprobs)),
        ("user", user),
        ("verbosity", verbosity),
    ];
    for (name, value) in fields {
        match value {
            Some(value) if target.allows(name) => additional.set(name, &value),
            value => losses.add_if(value, name, "Bedrock has no such parameter"),
        }
    }
}

/// At most 16 texts, of plain characters
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>).
fn metadata(ask: &Ask, rest: &mut Object, losses: &mut Losses) {
    let Some(metadata) = &ask.metadata else { return };
    let Value::Object(members) = metadata.to_value() else { return };
    let count = members.len();
    let mut kept = Object::default();
    let fitting = members.iter().filter_map(|(name, value)| {
        let value = value.as_str()?;
        (!name.is_empty() && is_plain(name) && is_plain(value)).then_some((name, value))
    });
    let mut written = 0;
    for (name, value) in fitting.take(16) {
        kept.set(name.clone(), &value);
        written += 1;
    }
    if written < count {
        losses.add("metadata", "Bedrock takes 16 plain texts of at most 256 characters");
    }
    rest.set_object("requestMetadata", &kept);
}

fn is_plain(text: &str) -> bool {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c);
    text.len() <= 256 && text.chars().all(plain)
}

fn service_tier(ask: &Ask, rest: &mut Object, losses: &mut Losses) {
    match ask.service_tier.as_deref() {
        // What goes without saying is understood by models without tiers too.
        None | Some("auto" | "default") => {}
        Some(tier @ ("priority" | "flex" | "reserved")) => {
            rest.set("serviceTier", &serde_json::json!({ "type": tier }));
        }
        Some(_) => losses.add("service_tier", "Bedrock has no such tier"),
    }
}

/// Fields that only the client's own format knows, and some of them Bedrock too.
fn extras(
    ask: &Ask,
    target: &Target<'_>,
    model: &Model<'_>,
    additional: &mut Object,
    output: &mut Object,
    rest: &mut Object,
    losses: &mut Losses,
) {
    let names = ask.extras.foreign_to(Format::Bedrock);
    let own = ask.extras.of(Format::Bedrock).iter().map(|(name, _)| name.as_str());
    for name in names.chain(own) {
        let Some(value) = ask.extras.get(name) else { continue };
        match name {
            "additionalModelRequestFields" if additional.merge(value) => {}
            "outputConfig" if output.merge(value) => {}
            "anthropic_beta" if model.is_claude() => {
                additional.set("anthropic_beta", &betas(value))
            }
            _ if OWN.contains(&name) => rest.set(name.to_owned(), value),
            _ if target.allows(name) => additional.set(name.to_owned(), value),
            _ => losses.add(name.to_owned(), "Bedrock has no such parameter"),
        }
    }
}

/// A list of beta names, or the header's form: one text with commas.
fn betas(value: &Json) -> Json {
    match value.to_value() {
        Value::String(text) => {
            let names: Vec<&str> =
                text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            Json::of(&names)
        }
        _ => value.clone(),
    }
}
