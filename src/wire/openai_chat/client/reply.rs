//! A whole answer as a `chat.completion`. Text parts become one text; reasoning goes before it, calls after
//! it, as the message has one place for each.

use serde::Serialize;

use super::reasoning;
use super::request::LEGACY;
use super::said::{self, Answer, Call, Counts, Image, Said};
use super::served;
use crate::conversation::{Choice, Content, Finish, Json, MediaKind, Part, Reply};
use crate::wire::codec::{Echo, Stamp};

#[derive(Debug, Serialize)]
struct Whole<'a> {
    index: usize,
    message: Said<'a>,
    logprobs: Option<Logprobs>,
    finish_reason: &'static str,
}

/// `logprobs` of a choice.
#[derive(Debug, Serialize)]
pub(super) struct Logprobs {
    pub content: Vec<Json>,
    pub refusal: Option<Vec<Json>>,
}

/// Writes an answer.
pub(super) fn write(reply: &Reply, echo: &Echo, stamp: &Stamp) -> Vec<u8> {
    let legacy = echo.get(LEGACY).is_some();
    let mut answer = Answer::new(("chatcmpl", "chat.completion"), stamp, &reply.head);
    answer.usage = reply.usage.as_ref().map(|usage| Some(Counts::new(usage)));
    let choices = reply.choices.iter().enumerate();
    answer.choices = choices.map(|(index, choice)| whole(index, choice, legacy, stamp)).collect();
    serde_json::to_vec(&answer).unwrap_or_default()
}

fn whole<'a>(index: usize, choice: &'a Choice, legacy: bool, stamp: &Stamp) -> Whole<'a> {
    let has_calls = choice.has_calls();
    Whole {
        index,
        message: message(choice, legacy, stamp),
        logprobs: logprobs(&choice.parts),
        // An answer that broke off was cut short, and this is the one word that says so.
        finish_reason: choice
            .finish
            .as_ref()
            .map_or("length", |finish| said::finish_reason(finish, has_calls, legacy)),
    }
}

fn message<'a>(choice: &'a Choice, legacy: bool, stamp: &Stamp) -> Said<'a> {
    let parts = &choice.parts;
    let text: String = parts.iter().filter_map(Part::as_text).collect();
    let sealed = reasoning::sealed(parts.iter());
    let thoughts = reasoning::text(parts.iter());
    let reasoned = if thoughts.is_empty() { Said::default() } else { Said::reasoned(thoughts) };
    let mut message = Said {
        role: Some("assistant"),
        content: Some(None),
        refusal: Some(refusal(choice).map(Into::into)),
        thinking_blocks: sealed.thinking_blocks,
        reasoning_details: sealed.reasoning_details,
        annotations: annotations(parts),
        provider_specific_fields: served::fields(parts.iter()),
        ..reasoned
    };
    for part in parts {
        match &part.content {
            Content::ToolCall(call) => message.tool_calls.push(Call::whole(call)),
            Content::Media(media) if media.kind == MediaKind::Image => {
                message.images.extend(Image::new(message.images.len(), media));
            }
            Content::Media(media) if media.kind == MediaKind::Audio && message.audio.is_none() => {
                message.audio = said::audio(part, media, stamp);
            }
            _ => {}
        }
    }
    if legacy {
        message.function_call = message.tool_calls.drain(..).find_map(|call| call.function);
    }
    let silent = text.is_empty() && parts.iter().any(said::speaks_otherwise);
    message.content = Some((!silent).then_some(text.into()));
    message
}

/// What the model said instead of an answer, or why the provider withheld one.
fn refusal(choice: &Choice) -> Option<String> {
    let refused = choice.parts.iter().filter_map(|part| match &part.content {
        Content::Refusal(text) => Some(&**text),
        _ => None,
    });
    let refused: String = refused.collect();
    let withheld = match &choice.finish {
        Some(Finish::Filtered(why)) => why.clone(),
        _ => None,
    };
    Some(refused).filter(|text| !text.is_empty()).or(withheld)
}

fn annotations(parts: &[Part]) -> Vec<Json> {
    let mut offset = 0;
    let mut all = Vec::new();
    for part in parts {
        let Content::Text { text, annotations, .. } = &part.content else { continue };
        let entries = annotations.iter();
        all.extend(entries.filter_map(|entry| said::annotation(entry, offset, None)));
        offset += text.chars().count() as u64;
    }
    all
}

fn logprobs(parts: &[Part]) -> Option<Logprobs> {
    let lists = parts.iter().filter_map(|part| match &part.content {
        Content::Text { logprobs, .. } => logprobs.as_ref()?.read::<Vec<Json>>(),
        _ => None,
    });
    let content: Vec<Json> = lists.flatten().collect();
    (!content.is_empty()).then_some(Logprobs { content, refusal: None })
}
