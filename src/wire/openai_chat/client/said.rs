//! The shapes of an answer: a message, whole or a piece of it, and what stands around it. Field for field
//! what the official SDKs' models hold, then what grew beside them. Whole and streamed answers are written
//! with the same shapes, so they cannot drift apart.

use std::borrow::Cow;

use serde::Serialize;

use super::reasoning::ThinkingBlock;
use crate::conversation::{
    Annotation, CallKind, Content, Finish, Format, Head, Json, Media, Part, Seal, Source, ToolCall,
    Usage,
};
use crate::wire::codec::Stamp;

use super::CHAT;

/// A `chat.completion` or one of its chunks.
#[derive(Debug, Serialize)]
pub(super) struct Answer<'a, C> {
    pub id: String,
    pub object: &'static str,
    pub created: i64,
    pub model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<&'a str>,
    pub choices: Vec<C>,
    /// `Some(None)` is written as null: what chunks have before the one with usage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Counts>>,
}

/// An assistant's message, or a piece of it. What is `Some(None)` is written as null.
#[derive(Debug, Default, Serialize)]
pub(super) struct Said<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Option<Cow<'a, str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Option<Cow<'a, str>>>,
    /// Both names, as clients read the one or the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thinking_blocks: Vec<ThinkingBlock>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasoning_details: Vec<Json>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Json>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<Json>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<Call<'a>>,
    /// What the gateway did itself, as LiteLLM tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_specific_fields: Option<Json>,
    /// The older form, for clients that sent `functions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<Function<'a>>,
}

/// A call, or a piece of one.
#[derive(Debug, Default, Serialize)]
pub(super) struct Call<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<Function<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<Custom<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Json>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Function<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<&'a str>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Custom<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<&'a str>,
}

/// A picture in an answer, in the form of LiteLLM and OpenRouter, which Open WebUI reads
/// (<https://docs.litellm.ai/docs/completion/image_generation_chat>). A data URL in the text itself is shown
/// by Open WebUI as the letters that it is made of.
#[derive(Debug, Serialize)]
pub(super) struct Image {
    index: usize,
    #[serde(rename = "type")]
    kind: &'static str,
    image_url: ImageUrl,
}

#[derive(Debug, Serialize)]
struct ImageUrl {
    url: String,
}

/// `usage`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Counts {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<InputDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct InputDetails {
    cached_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct OutputDetails {
    reasoning_tokens: u64,
}

impl<'a, C> Answer<'a, C> {
    /// An answer without choices yet.
    pub(super) fn new(kind: (&str, &'static str), stamp: &'a Stamp, head: &'a Head) -> Self {
        let (prefix, object) = kind;
        Self {
            id: format!("{prefix}-{}", stamp.id),
            object,
            created: stamp.created,
            model: &stamp.model,
            service_tier: head.service_tier.as_deref(),
            system_fingerprint: head.system_fingerprint.as_deref(),
            choices: Vec::new(),
            usage: None,
        }
    }
}

impl<'a> Said<'a> {
    pub(super) fn reasoned(text: impl Into<Cow<'a, str>>) -> Self {
        let text = Some(text.into());
        Self { reasoning_content: text.clone(), reasoning: text, ..Self::default() }
    }
}

impl<'a> Call<'a> {
    /// The whole call; a function without arguments has `{}`.
    pub(super) fn whole(call: &'a ToolCall) -> Self {
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
        let text = if call.kind == CallKind::Custom { &*call.arguments } else { arguments };
        Self { id: Some(&call.id), ..Self::piece(call.kind, Some(&call.name), text) }
            .typed(call.kind)
            .sealed(call.seal.as_ref())
    }

    /// A piece of a call's arguments, with the name in the first.
    pub(super) fn piece(kind: CallKind, name: Option<&'a str>, text: &'a str) -> Self {
        if kind == CallKind::Custom {
            return Self { custom: Some(Custom { name, input: Some(text) }), ..Self::default() };
        }
        Self { function: Some(Function { name, arguments: Some(text) }), ..Self::default() }
    }

    pub(super) fn typed(self, kind: CallKind) -> Self {
        let kind = if kind == CallKind::Custom { "custom" } else { "function" };
        Self { kind: Some(kind), ..self }
    }

    /// Gemini's thought signature, where Google's own compatible endpoint has it
    /// (<https://ai.google.dev/gemini-api/docs/thought-signatures>).
    pub(super) fn sealed(self, seal: Option<&Seal>) -> Self {
        let seal = seal.filter(|seal| seal.format == Format::Gemini);
        let extra_content = seal
            .map(|seal| serde_json::json!({ "google": { "thought_signature": seal.data } }).into());
        Self { extra_content, ..self }
    }
}

impl Image {
    /// The picture as the `index`th of an answer; `None` for one whose bytes are elsewhere.
    pub(super) fn new(index: usize, media: &Media) -> Option<Self> {
        let url = match &media.source {
            Source::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
            Source::Url(url) => url.clone(),
            Source::FileId { .. } | Source::Text(_) => return None,
        };
        Some(Self { index, kind: "image_url", image_url: ImageUrl { url } })
    }
}

impl Counts {
    pub(super) fn new(usage: &Usage) -> Self {
        let has_input = usage.cache_read.is_some() || usage.cache_write.is_some();
        let input = InputDetails {
            cached_tokens: usage.cache_read.unwrap_or_default(),
            cache_write_tokens: usage.cache_write,
        };
        Self {
            prompt_tokens: usage.input.unwrap_or_default(),
            completion_tokens: usage.output.unwrap_or_default(),
            total_tokens: usage.total(),
            prompt_tokens_details: has_input.then_some(input),
            completion_tokens_details: usage
                .reasoning
                .map(|reasoning_tokens| OutputDetails { reasoning_tokens }),
        }
    }
}

/// `message.audio`. It cannot be had again by its id, so it has expired when it comes; what an OpenAI server
/// said of it stands.
pub(super) fn audio(part: &Part, media: &Media, stamp: &Stamp) -> Option<Json> {
    let Source::Base64 { data, .. } = &media.source else { return None };
    let said = |name: &str| {
        part.extras
            .of(CHAT)
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.to_value())
    };
    let audio = serde_json::json!({
        "id": said("id").unwrap_or_else(|| format!("audio_{}", stamp.id).into()),
        "data": data,
        "expires_at": said("expires_at").unwrap_or_else(|| stamp.created.into()),
        "transcript": said("transcript").unwrap_or_else(|| "".into()),
    });
    Some(audio.into())
}

/// An entry of `annotations`: `offset` characters stand before the text that it speaks of. In a stream it has
/// an index, without which the SDKs' accumulators fail.
pub(super) fn annotation(from: &Annotation, offset: u64, index: Option<usize>) -> Option<Json> {
    let mut entry = match from {
        Annotation::Url { url, title, start, end } => serde_json::json!({
            "type": "url_citation",
            "url_citation": {
                "url": url,
                "title": title.as_deref().unwrap_or_default(),
                "start_index": start.map_or(0, |start| start.saturating_add(offset)),
                "end_index": end.map_or(0, |end| end.saturating_add(offset)),
            },
        }),
        Annotation::Foreign { format, value } if *format == CHAT => value.to_value(),
        Annotation::Foreign { .. } => return None,
    };
    if let (Some(index), Some(entry)) = (index, entry.as_object_mut()) {
        entry.insert("index".to_owned(), index.into());
    }
    Some(entry.into())
}

/// `finish_reason`: one of OpenAI's words and never a new one, which the SDKs' models refuse.
pub(super) fn finish_reason(finish: &Finish, has_calls: bool, legacy: bool) -> &'static str {
    match finish {
        Finish::Length | Finish::ContextWindow => "length",
        Finish::Filtered(_) => "content_filter",
        _ if has_calls && legacy => "function_call",
        _ if has_calls => "tool_calls",
        _ => "stop",
    }
}

/// Whether anything stands in the text of a message beside these parts: then `content` is null, not empty.
pub(super) fn speaks_otherwise(part: &Part) -> bool {
    !matches!(
        part.content,
        Content::Text { .. } | Content::Reasoning(_) | Content::Served(_) | Content::Foreign { .. }
    )
}
