//! How to answer: `generationConfig` and the fields beside it
//! (<https://ai.google.dev/api/generate-content#generationconfig>). What LiteLLM's and Google's own
//! OpenAI-compatible clients send under Gemini's names is taken from the extras, whatever format they came in.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::models::{Model, Thinking};
use super::schema;
use super::types::Object;
use crate::conversation::{Ask, Effort, Format, Json, Losses, Reasoned, TextFormat};
use crate::wire::codec::Target;
use crate::wire::fields::Fields;

/// Gemini's own fields, as clients spell them, and where they go: `true` is beside `generationConfig`.
const KNOWN: [(&str, &str, bool); 10] = [
    ("safetySettings", "safety_settings", true),
    ("cachedContent", "cached_content", true),
    ("labels", "labels", true),
    ("thinkingConfig", "thinking_config", false),
    ("responseModalities", "response_modalities", false),
    ("mediaResolution", "media_resolution", false),
    ("speechConfig", "speech_config", false),
    ("imageConfig", "image_config", false),
    ("audioTimestamp", "audio_timestamp", false),
    ("routingConfig", "routing_config", false),
];

/// Extras that are read elsewhere, so that they are no losses.
const READ: [&str; 5] = ["extra_body", "google", "modalities", "audio", "web_search_options"];

/// Of more, the rest are dropped.
const MOST_STOPS: usize = 5;

/// Writes `generationConfig` and what stands beside it into `body`. `functions`: there are some to call.
pub(super) fn write(
    ask: &Ask,
    target: &Target<'_>,
    model: Model,
    functions: bool,
    body: &mut Object,
    losses: &mut Losses,
) {
    let mut config = Object::default();
    if let Some(most) = ask.max_tokens {
        config.set("maxOutputTokens", &most);
    }
    sampling(ask, model, &mut config, losses);
    format(ask, model, functions, &mut config, losses);
    if let Some(reasoned) = &ask.reasoning {
        thinking(reasoned, model, &mut config, losses);
    }
    extras(ask, target, body, &mut config, losses);
    beside(ask, target, body, losses);
    if !config.is_empty() {
        body.set("generationConfig", &config);
    }
}

/// What the text must be, in words, where the model cannot be bound to it.
pub(super) fn format_in_words(ask: &Ask, model: Model, functions: bool) -> Option<String> {
    if model.formats_beside_tools() || !functions {
        return None;
    }
    match ask.text_format.as_ref()? {
        TextFormat::JsonObject => {
            Some("When you answer with text, answer with one JSON object and nothing else.".into())
        }
        TextFormat::JsonSchema { schema, .. } => Some(format!(
            "When you answer with text, answer with JSON of this JSON Schema and nothing else:\n{}",
            schema.as_str()
        )),
        TextFormat::Foreign { .. } => None,
    }
}

fn sampling(ask: &Ask, model: Model, config: &mut Object, losses: &mut Losses) {
    let sampling = &ask.sampling;
    let drawn = [
        ("temperature", "temperature", &sampling.temperature),
        ("topP", "top_p", &sampling.top_p),
        ("topK", "top_k", &sampling.top_k),
    ];
    for (name, path, value) in drawn {
        match value {
            Some(value) if model.takes_sampling_and_prefill() => config.put(name, value.clone()),
            Some(_) => losses.add(path, "this model draws tokens in its own way"),
            None => {}
        }
    }
    let penalties = [
        ("presencePenalty", &sampling.presence_penalty),
        ("frequencyPenalty", &sampling.frequency_penalty),
    ];
    for (name, value) in penalties {
        // Some models refuse any penalty, also one that changes nothing.
        let value = value.as_ref().filter(|value| value.read() != Some(0.0));
        config.put_some(name, value.cloned());
    }
    match &sampling.seed {
        Some(seed) if seed.read::<i32>().is_some() => config.put("seed", seed.clone()),
        Some(_) => losses.add("seed", "Gemini takes seeds of 32 bits"),
        None => {}
    }
    stops(&sampling.stop, config, losses);
    if let Some(count) = sampling.n.filter(|count| *count > 1) {
        config.set("candidateCount", &count);
    }
    if sampling.logprobs == Some(true) {
        config.set("responseLogprobs", &true);
        if let Some(top) = sampling.top_logprobs.filter(|top| *top > 0) {
            config.set("logprobs", &top);
        }
    }
    losses.add_if(sampling.min_p.as_ref(), "min_p", "Gemini has no min_p");
    losses.add_if(sampling.logit_bias.as_ref(), "logit_bias", "Gemini has no logit_bias");
}

fn stops(stop: &[String], config: &mut Object, losses: &mut Losses) {
    let mut stops: Vec<&String> = stop.iter().filter(|stop| !stop.is_empty()).collect();
    if stops.len() > MOST_STOPS {
        losses.add("stop", "Gemini takes five stop sequences");
        stops.truncate(MOST_STOPS);
    }
    if !stops.is_empty() {
        config.set("stopSequences", &stops);
    }
}

fn format(ask: &Ask, model: Model, functions: bool, config: &mut Object, losses: &mut Losses) {
    let Some(format) = &ask.text_format else { return };
    if functions && !model.formats_beside_tools() {
        let why = "this model is asked in words: it cannot be bound while it has functions to call";
        return losses.add("response_format", why);
    }
    match format {
        TextFormat::JsonObject => config.set("responseMimeType", &"application/json"),
        TextFormat::JsonSchema { schema, .. } => {
            config.set("responseMimeType", &"application/json");
            if model.takes_json_schema() {
                config.put("responseJsonSchema", schema.clone());
            } else {
                config.put("responseSchema", schema::response(schema));
            }
        }
        TextFormat::Foreign { .. } => losses.add("response_format", "Gemini has no format like it"),
    }
}

fn thinking(reasoned: &Reasoned, model: Model, config: &mut Object, losses: &mut Losses) {
    let off = reasoned.disabled
        || reasoned.effort == Some(Effort::None)
        || reasoned.budget_tokens == Some(0);
    let mut thinking = Object::default();
    match model.thinking() {
        Thinking::None => {
            if !off {
                losses.add("reasoning_effort", "this model cannot be told how much to think");
            }
            return;
        }
        Thinking::Budget { least, most, off: can_stop } => {
            if off && !can_stop {
                losses.add("reasoning_effort", "this model always thinks; it is given the least");
            }
            if let Some(budget) = budget(reasoned, off, can_stop, least, most) {
                thinking.set("thinkingBudget", &budget);
            }
        }
        Thinking::Level { minimal, medium, above_high } => {
            let effort = match reasoned.budget_tokens {
                _ if off => Some(Effort::None),
                Some(tokens) if reasoned.effort.is_none() => Some(Effort::of_budget(tokens)),
                _ => reasoned.effort,
            };
            let level = effort.map(|effort| match effort {
                Effort::None | Effort::Minimal if minimal => "minimal",
                Effort::None | Effort::Minimal | Effort::Low => "low",
                Effort::Medium if medium => "medium",
                Effort::XHigh | Effort::Max if above_high => "xhigh",
                _ => "high",
            });
            if let Some(level) = level {
                thinking.set("thinkingLevel", &level);
            }
        }
    }
    if !off && reasoned.show != Some(false) {
        thinking.set("includeThoughts", &true);
    }
    if !thinking.is_empty() {
        config.set("thinkingConfig", &thinking);
    }
}

/// -1 leaves it to the model.
fn budget(reasoned: &Reasoned, off: bool, can_stop: bool, least: u64, most: u64) -> Option<i64> {
    let wanted = match (reasoned.budget_tokens, reasoned.effort) {
        _ if off => return Some(if can_stop { 0 } else { i64::try_from(least).unwrap_or(0) }),
        (Some(tokens), _) => tokens,
        (None, Some(effort)) => effort.budget_tokens(),
        (None, None) if reasoned.adaptive => return Some(-1),
        (None, None) => return None,
    };
    i64::try_from(wanted.clamp(least, most)).ok()
}

/// Fields under Gemini's names, and OpenAI's for pictures and speech.
fn extras(
    ask: &Ask,
    target: &Target<'_>,
    body: &mut Object,
    config: &mut Object,
    losses: &mut Losses,
) {
    if let Some(modalities) = ask.extras.get("modalities").and_then(Json::read::<Vec<String>>) {
        let upper: Vec<String> = modalities.iter().map(|word| word.to_ascii_uppercase()).collect();
        config.set("responseModalities", &upper);
    }
    let voice = ask.extras.get("audio").map(Json::to_value);
    if let Some(voice) = voice.as_ref().and_then(|audio| audio.get("voice")?.as_str()) {
        let voice = json!({ "prebuiltVoiceConfig": { "voiceName": voice } });
        config.set("speechConfig", &json!({ "voiceConfig": voice }));
    }
    for (name, snake, is_beside) in KNOWN {
        if let Some(value) = named(ask, name, snake) {
            let place = if is_beside { &mut *body } else { &mut *config };
            place.put(name, value);
        }
    }
    let is_read = |name: &str| {
        READ.contains(&name)
            || KNOWN.iter().any(|(camel, snake, _)| *camel == name || *snake == name)
    };
    for (name, value) in ask.extras.of(Format::Gemini).iter().filter(|(name, _)| !is_read(name)) {
        body.put(name.clone(), value.clone());
    }
    for name in ask.extras.foreign_to(Format::Gemini).filter(|name| !is_read(name)) {
        match ask.extras.get(name).filter(|_| target.allows(name)) {
            Some(value) => body.put(name.to_owned(), value.clone()),
            None => losses.add(name.to_owned(), "Gemini does not know it"),
        }
    }
}

/// A field under one of its spellings: at the top, or where Google's OpenAI-compatible API has it, in
/// `extra_body.google` (<https://ai.google.dev/gemini-api/docs/openai#extra-body>).
fn named(ask: &Ask, name: &str, snake: &str) -> Option<Json> {
    let top = ask.extras.get(name).or_else(|| ask.extras.get(snake));
    top.cloned().or_else(|| {
        let within = |json: &Json| {
            let mut google = Fields::of(json.as_raw())?;
            google.json(snake).or_else(|| google.json(name))
        };
        let google = ask.extras.get("google").and_then(within);
        google.or_else(|| {
            let body = Fields::read(ask.extras.get("extra_body")?.as_str())?.json("google");
            body.as_ref().and_then(within)
        })
    })
}

fn beside(ask: &Ask, target: &Target<'_>, body: &mut Object, losses: &mut Losses) {
    match ask.service_tier.as_deref() {
        None | Some("auto") => {}
        Some("default") => body.set("serviceTier", &"standard"),
        Some(tier @ ("flex" | "priority")) => body.set("serviceTier", &tier),
        Some(_) => losses.add("service_tier", "Gemini has standard, flex and priority"),
    }
    let labels = ask.metadata.as_ref().filter(|_| target.provider.name == "vertex_ai");
    match labels.and_then(as_labels) {
        Some(labels) => body.set("labels", &labels),
        None => losses.add_if(ask.metadata.as_ref(), "metadata", "Gemini has no place for it"),
    }
    losses.add_if(ask.user.as_ref(), "user", "Gemini has no end users");
    losses.add_if(ask.verbosity.as_ref(), "verbosity", "Gemini has no verbosity");
}

/// Metadata as Vertex AI's labels, where all of it fits their bounds
/// (<https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/add-labels-to-api-calls>).
fn as_labels(metadata: &Json) -> Option<BTreeMap<String, String>> {
    let labels: BTreeMap<String, Value> = metadata.read()?;
    let fits = |text: &str| {
        text.chars().count() <= 63
            && text.chars().all(|c| {
                c == '_' || c == '-' || c.is_numeric() || (c.is_alphabetic() && !c.is_uppercase())
            })
    };
    let label = |(name, value): (String, Value)| {
        let value = value.as_str()?.to_owned();
        let begins = name.starts_with(|c: char| c.is_alphabetic());
        (begins && fits(&name) && fits(&value)).then_some((name, value))
    };
    let labels: Option<BTreeMap<_, _>> = labels.into_iter().map(label).collect();
    labels.filter(|labels| !labels.is_empty() && labels.len() <= 64)
}

#[cfg(test)]
mod tests;
