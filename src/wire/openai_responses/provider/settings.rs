//! How to answer: sampling, limits, the form of the text, reasoning, and the labels of a request. It knows
//! which of them models that reason refuse, by what the operator says of a model or else by its name.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::super::super::codec::Target;
use super::super::super::fields::Fields;
use super::super::object::Object;
use super::FORMAT;
use crate::conversation::{Ask, Content, Effort, Format, Json, Losses, Part, Reasoned, TextFormat};

/// Whether the model reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reasoner {
    Yes,
    No,
    Unknown,
}

const ENCRYPTED: &str = "reasoning.encrypted_content";
const LOGPROBS: &str = "message.output_text.logprobs";

/// OpenAI refuses less.
const LEAST_TOKENS: u64 = 16;

impl Reasoner {
    pub(super) fn of(ask: &Ask, target: &Target<'_>) -> Self {
        if let Some(fact) = target.fact("supports_reasoning") {
            return if fact { Self::Yes } else { Self::No };
        }
        let name = target.model.rsplit('/').next().unwrap_or_default();
        let starts = |names: &[&str]| names.iter().any(|start| name.starts_with(start));
        if starts(&["gpt-3.5", "gpt-4", "chatgpt-"]) || name.contains("-chat") {
            return Self::No;
        }
        if starts(&["o1", "o3", "o4", "gpt-5", "gpt-6", "gpt-oss", "codex-"]) {
            return Self::Yes;
        }
        let sealed = |part: &Part| match &part.content {
            Content::Reasoning(reasoning) => {
                reasoning.seal.as_ref().is_some_and(|seal| seal.format == FORMAT)
            }
            _ => false,
        };
        // What has been reasoned before is worth asking for again.
        if ask.turns.iter().flat_map(|turn| &turn.parts).any(sealed) {
            return Self::Yes;
        }
        Self::Unknown
    }
}

/// Most tokens of the answer. Chat and messages may ask for fewer than OpenAI's responses grant.
pub(super) fn max_tokens(ask: &Ask) -> Option<u64> {
    let most = ask.max_tokens?;
    Some(if ask.format == FORMAT { most } else { most.max(LEAST_TOKENS) })
}

/// How tokens are drawn, and what has no place here.
pub(super) fn with_sampling(
    mut body: Object,
    ask: &Ask,
    target: &Target<'_>,
    reasoner: Reasoner,
    losses: &mut Losses,
) -> Object {
    let sampling = &ask.sampling;
    // Its own clients are told by the provider itself.
    let refused = reasoner == Reasoner::Yes
        && ask.format != FORMAT
        && target.fact("supports_sampling_params") != Some(true);
    for (name, value) in [("temperature", &sampling.temperature), ("top_p", &sampling.top_p)] {
        match value {
            Some(_) if refused && !target.allows(name) => {
                losses.add(name, "models that reason take no other than their own");
            }
            value => body = body.with_some(name, value.as_ref()),
        }
    }
    body = body.with_some("top_logprobs", sampling.top_logprobs);
    let more = [
        ("presence_penalty", &sampling.presence_penalty),
        ("frequency_penalty", &sampling.frequency_penalty),
        ("top_k", &sampling.top_k),
        ("min_p", &sampling.min_p),
        ("seed", &sampling.seed),
        ("logit_bias", &sampling.logit_bias),
    ];
    for (name, value) in more {
        // Open Responses has the penalties; the others only what the operator knows of.
        let own = ask.format == FORMAT && name.ends_with("_penalty");
        match value {
            Some(value) if own || target.allows(name) => body.put(name, value.clone()),
            Some(_) => losses.add(name, NO_FIELD),
            None => {}
        }
    }
    if !sampling.stop.is_empty() {
        if target.allows("stop") {
            body = body.with("stop", &sampling.stop);
        } else {
            let name = if ask.format == Format::Anthropic { "stop_sequences" } else { "stop" };
            losses.add(name, NO_FIELD);
        }
    }
    if sampling.n.is_some_and(|n| n > 1) {
        losses.add("n", "OpenAI's responses give one answer each");
    }
    body
}

const NO_FIELD: &str = "OpenAI's responses have no such field";

/// What the text must be.
pub(super) fn text(ask: &Ask, losses: &mut Losses) -> Option<Object> {
    let format = match &ask.text_format {
        None => None,
        Some(TextFormat::JsonObject) => Some(Object::of_type("json_object").into_json()),
        Some(TextFormat::JsonSchema { name, description, schema, strict }) => {
            let object = Object::of_type("json_schema").with("name", name);
            let object = object.with_some("description", description.as_ref());
            let object = object.with("schema", schema);
            Some(object.with_some("strict", *strict).into_json())
        }
        Some(TextFormat::Foreign { format, value }) if *format == FORMAT => Some(value.clone()),
        Some(TextFormat::Foreign { .. }) => {
            losses.add("response_format", "OpenAI's responses know no such format");
            None
        }
    };
    let object = Object::default().with_some("format", format);
    let object = object.with_some("verbosity", ask.verbosity.as_ref());
    merged(object, ask, "text")
}

/// How much to think, and whether to show it.
pub(super) fn reasoning(
    ask: &Ask,
    target: &Target<'_>,
    reasoner: Reasoner,
    losses: &mut Losses,
) -> Option<Object> {
    let Some(reasoned) = &ask.reasoning else { return merged(Object::default(), ask, "reasoning") };
    if reasoner == Reasoner::No && ask.format != FORMAT {
        if wants_thought(reasoned) {
            losses.add("reasoning_effort", "this model does not reason");
        }
        return None;
    }
    let object = Object::default().with_some("effort", effort(ask, reasoned, target, losses));
    let object = object.with_some("summary", summary(reasoned));
    merged(object, ask, "reasoning")
}

fn wants_thought(reasoned: &Reasoned) -> bool {
    reasoned.effort.is_some_and(|effort| effort != Effort::None)
        || reasoned.budget_tokens.is_some()
        || reasoned.adaptive
}

fn effort(
    ask: &Ask,
    reasoned: &Reasoned,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Option<&'static str> {
    // Without a word for it, `disabled` is the model's own least: not every model takes `none`.
    let wanted = reasoned
        .effort
        .or_else(|| reasoned.budget_tokens.filter(|_| !reasoned.disabled).map(Effort::of_budget))?;
    if matches!(ask.format, Format::OpenAiChat | Format::OpenAiResponses) {
        return Some(wanted.as_str());
    }
    // Other vendors' highest words, where the model is not known to have them.
    let has = |word: &str| target.fact(&format!("supports_{word}_reasoning_effort")) == Some(true);
    let given = match wanted {
        Effort::Max if has("max") => Effort::Max,
        Effort::Max | Effort::XHigh if has("xhigh") => Effort::XHigh,
        Effort::Max | Effort::XHigh => Effort::High,
        other => other,
    };
    if given != wanted {
        losses.add("effort", "the model is not known to think harder than this");
    }
    Some(given.as_str())
}

/// Thoughts are shown as summaries only, and only to organisations that OpenAI has verified: so they are
/// asked for where the client wants to see them, and not by default.
fn summary(reasoned: &Reasoned) -> Option<&str> {
    if let Some(summary) = &reasoned.summary {
        return Some(summary);
    }
    let shown = match reasoned.show {
        Some(show) => show,
        // Anthropic's clients that set a budget expect to see what it was spent on.
        None => reasoned.budget_tokens.is_some() && !reasoned.disabled,
    };
    shown.then_some("auto")
}

/// With what its own client's half has left of the object of that name.
fn merged(mut object: Object, ask: &Ask, name: &str) -> Option<Object> {
    let kept = ask.extras.of(FORMAT).iter().find(|(field, _)| field == name);
    let kept = kept.and_then(|(_, kept)| Fields::of(kept.as_raw())).unwrap_or_default();
    for (name, value) in kept.iter() {
        if !object.has(name) {
            object.put(name.to_owned(), Json::of_raw(value));
        }
    }
    (!object.is_empty()).then_some(object)
}

/// What the answer shall hold besides. Models that do not reason refuse to be asked for their reasoning.
pub(super) fn include(ask: &Ask, reasoner: Reasoner) -> Option<Vec<String>> {
    let asked = ask.extras.of(FORMAT).iter().find(|(name, _)| name == "include");
    let mut include: Vec<String> = asked.and_then(|(_, asked)| asked.read()).unwrap_or_default();
    let mut want = |name: &str| {
        if !include.iter().any(|known| known == name) {
            include.push(name.to_owned());
        }
    };
    let thinks = ask.reasoning.as_ref().is_some_and(wants_thought);
    if reasoner == Reasoner::Yes || (reasoner == Reasoner::Unknown && thinks) {
        want(ENCRYPTED);
    }
    if ask.sampling.logprobs == Some(true) {
        want(LOGPROBS);
    }
    (!include.is_empty()).then_some(include)
}

/// Whom and what the request is for.
pub(super) fn with_labels(body: Object, ask: &Ask, target: &Target<'_>) -> Object {
    let body = body.with_some("metadata", ask.metadata.as_ref());
    let body = body.with_some("service_tier", ask.service_tier.as_ref());
    // OpenAI gives `user` up for the longer name, which other servers do not know yet.
    let knows = matches!(target.provider.name, "openai" | "azure");
    let name = if knows { "safety_identifier" } else { "user" };
    body.with_some(name, ask.user.as_deref().map(bounded))
}

/// At most 64 characters: OpenAI refuses more (axonhub#1669), and Claude Code's are about 150.
fn bounded(user: &str) -> impl Serialize {
    if user.chars().count() <= 64 {
        return user.to_owned();
    }
    let digest = Sha256::digest(user.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
