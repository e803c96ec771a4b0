//! A whole answer as Anthropic's clients read it, and the pieces of it that a stream has too: the message
//! around the blocks, the stop reason, the counts.

use super::super::types::{self, Node, Object};
use super::served;
use crate::conversation::{
    Annotation, Choice, Content, Finish, Format, Head, Media, Part, Reasoning, Reply, Source,
    ToolCall, Usage,
};
use crate::wire::codec::{Echo, Stamp};
use crate::wire::seal;

/// Writes an answer. Of several choices the first is it: this format has no more.
pub(super) fn reply(reply: &Reply, _echo: &Echo, stamp: &Stamp) -> Vec<u8> {
    let none = Choice::default();
    let choice = reply.choices.first().unwrap_or(&none);
    let blocks = choice.parts.iter().flat_map(blocks).collect::<Vec<Node<'_>>>();
    let refused = choice.parts.iter().any(|part| matches!(part.content, Content::Refusal(_)));
    let message = message(stamp, blocks);
    let message = stop(message, choice.finish.as_ref(), refused);
    let usage = usage(reply.usage.unwrap_or_default());
    message.with("usage", tier(usage, &reply.head)).bytes()
}

/// What stands before the content of every message.
pub(super) fn message<'a>(stamp: &'a Stamp, content: Vec<Node<'a>>) -> Object<'a> {
    Object::default()
        .with("id", format!("msg_{}", stamp.id))
        .with("type", "message")
        .with("role", "assistant")
        .with("model", stamp.model.as_str())
        .with("content", content)
}

/// Adds `stop_reason`, `stop_sequence` and, where there is something to say, `stop_details`.
pub(super) fn stop<'a>(to: Object<'a>, finish: Option<&'a Finish>, refused: bool) -> Object<'a> {
    let reason = match finish {
        Some(Finish::Stop) if refused => Some("refusal"),
        Some(Finish::Stop | Finish::Fault(_)) => Some("end_turn"),
        Some(Finish::StopSequence(_)) => Some("stop_sequence"),
        Some(Finish::Length) => Some("max_tokens"),
        Some(Finish::ContextWindow) => Some("model_context_window_exceeded"),
        Some(Finish::ToolCalls) => Some("tool_use"),
        Some(Finish::Filtered(_)) => Some("refusal"),
        Some(Finish::Pause) => Some("pause_turn"),
        None => None,
    };
    let sequence = match finish {
        Some(Finish::StopSequence(Some(sequence))) => Node::from(sequence.as_str()),
        _ => Node::Null,
    };
    let to = to.with("stop_reason", reason.map_or(Node::Null, Node::from));
    let to = to.with("stop_sequence", sequence);
    match finish {
        Some(Finish::Filtered(why)) => {
            let why = why.as_deref().map_or(Node::Null, Node::from);
            let details = Object::of("refusal").with("category", Node::Null);
            to.with("stop_details", details.with("explanation", why))
        }
        _ => to,
    }
}

/// Anthropic's counts, whose input is without what was cached.
pub(super) fn usage<'a>(usage: Usage) -> Object<'a> {
    let read = usage.cache_read.unwrap_or_default();
    let write = usage.cache_write.unwrap_or_default();
    let fresh = usage.input.unwrap_or_default().saturating_sub(read).saturating_sub(write);
    let thought = usage.reasoning.map(|tokens| Object::default().with("thinking_tokens", tokens));
    Object::default()
        .with("input_tokens", fresh)
        .with("cache_creation_input_tokens", write)
        .with("cache_read_input_tokens", read)
        .with("output_tokens", usage.output.unwrap_or_default())
        .some("output_tokens_details", thought)
}

/// Adds the service tier, in Anthropic's words.
pub(super) fn tier<'a>(usage: Object<'a>, head: &Head) -> Object<'a> {
    let tier = match head.service_tier.as_deref() {
        Some("default") => Some("standard"),
        Some("priority") => Some("priority"),
        Some("batch") => Some("batch"),
        _ => None,
    };
    usage.some("service_tier", tier)
}

/// A citation; one that Anthropic itself gave is nothing new where `seen` has its URL.
pub(super) fn citation<'a>(annotation: &'a Annotation, seen: &mut Vec<String>) -> Option<Node<'a>> {
    seen.extend(types::cited_url(annotation));
    match annotation {
        Annotation::Foreign { format: Format::Anthropic, value } => Some(value.into()),
        Annotation::Foreign { .. } => None,
        Annotation::Url { url, .. } if seen.contains(url) => None,
        Annotation::Url { url, title, .. } => {
            let citation = Object::of("web_search_result_location")
                .with("url", url.as_str())
                .with("title", title.as_deref().map_or(Node::Null, Node::from))
                .with("cited_text", "")
                .with("encrypted_index", "");
            Some(citation.into())
        }
    }
}

/// The signature of a thinking block, empty where nothing proves it.
pub(super) fn signature(reasoning: &Reasoning) -> String {
    seal::wrap(reasoning, Format::Anthropic).unwrap_or_default()
}

/// The signature that carries the seal of a call: Gemini wants it back with the call, and this format has no
/// place for it but a thinking block of its own. The call's id tells where it belongs.
pub(super) fn call_signature(call: &ToolCall) -> Option<String> {
    let seal = call.seal.clone()?;
    let text = types::legal_id(&call.id).into_owned();
    let carried = Reasoning { text, seal: Some(seal), redacted: true, ..Reasoning::default() };
    seal::wrap(&carried, Format::Anthropic)
}

/// All that a reasoning part has to say.
fn thoughts(reasoning: &Reasoning) -> String {
    let texts = reasoning.summary.iter().chain([&reasoning.text]);
    let texts: Vec<&str> = texts.map(String::as_str).filter(|text| !text.is_empty()).collect();
    texts.join("\n\n")
}

/// A picture or a sound that a model made: this format can only tell of it.
pub(super) fn media_note(media: &Media) -> String {
    match &media.source {
        Source::Url(url) => format!("![]({url})"),
        Source::Text(text) => text.clone(),
        Source::Base64 { media_type, .. } => {
            format!("[The model answered with {media_type} content, which cannot be shown here.]")
        }
        Source::FileId { id, .. } => format!("[The model answered with the file `{id}`.]"),
    }
}

fn blocks(part: &Part) -> Vec<Node<'_>> {
    let extras = &part.extras;
    match &part.content {
        Content::Text { text, annotations, .. } => {
            let mut seen = Vec::new();
            let cited = annotations.iter().filter_map(|each| citation(each, &mut seen));
            let cited: Vec<Node<'_>> = cited.collect();
            if text.is_empty() && cited.is_empty() {
                return Vec::new();
            }
            let cited = (!cited.is_empty()).then_some(cited);
            let block = Object::of("text").with("text", text.as_str()).some("citations", cited);
            vec![block.extras(extras).into()]
        }
        Content::Refusal(text) if text.is_empty() => Vec::new(),
        Content::Refusal(text) => vec![Object::of("text").with("text", text.as_str()).into()],
        Content::Media(media) => vec![Object::of("text").with("text", media_note(media)).into()],
        Content::Reasoning(reasoning) => thinking(reasoning).map(Node::from).into_iter().collect(),
        Content::ToolCall(call) => {
            let sealed = call_signature(call).map(|signature| {
                Object::of("thinking").with("thinking", "").with("signature", signature)
            });
            let block = Object::of("tool_use")
                .with("id", types::legal_id(&call.id))
                .with("name", call.name.as_str())
                .with("input", call.object())
                .extras(extras);
            sealed.into_iter().chain([block]).map(Node::from).collect()
        }
        Content::Served(served) => served::blocks(served).into_iter().map(Node::from).collect(),
        Content::Foreign { format: Format::Anthropic, value } => vec![value.into()],
        Content::ToolResult(_) | Content::Foreign { .. } => Vec::new(),
    }
}

fn thinking(reasoning: &Reasoning) -> Option<Object<'_>> {
    let signature = signature(reasoning);
    if reasoning.redacted {
        let sealed = !signature.is_empty();
        return sealed.then(|| Object::of("redacted_thinking").with("data", signature));
    }
    let text = thoughts(reasoning);
    if text.is_empty() && signature.is_empty() {
        return None;
    }
    Some(Object::of("thinking").with("thinking", text).with("signature", signature))
}
