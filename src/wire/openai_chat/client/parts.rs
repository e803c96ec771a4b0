//! The content of one message: a string, a list of parts, or null. A part of a kind that nobody knows is
//! carried whole, for a server that speaks this format and knows it.

use serde_json::value::RawValue;

use super::{CHAT, media, reasoning};
use crate::conversation::{Content, Extras, Json, MediaKind, Part};
use crate::ground::fault::Fault;
use crate::wire::fields::{Fields, as_string, elements, wrong};

/// The parts of `content`; `None` where it is null or absent. The empty string has no parts.
///
/// Errors: neither a string nor a list; a part that lacks what its type needs.
pub(super) fn content(fields: &mut Fields<'_>) -> Result<Option<Vec<Part>>, Fault> {
    let Some(raw) = fields.take("content") else { return Ok(None) };
    let path = fields.path("content");
    if let Some(text) = as_string(raw) {
        let part = Some(text).filter(|text| !text.is_empty()).map(Part::text);
        return Ok(Some(part.into_iter().collect()));
    }
    let list = elements(raw, &path).map_err(|_| wrong(&path, "a string or a list of parts"))?;
    list.into_iter().map(|(path, raw)| part(raw, path)).collect::<Result<_, _>>().map(Some)
}

fn part(raw: &RawValue, path: String) -> Result<Part, Fault> {
    let mut fields = Fields::within(raw, path)?;
    let kind = fields.word("type")?;
    let kind = fields.required("type", kind)?;
    let cache_control = fields.json("cache_control");
    let part = match &*kind {
        // `input_text` and its kin are the Responses words, which hand-written requests mix in.
        "text" | "input_text" | "output_text" => {
            let text = fields.string("text")?;
            let _ = (fields.take("annotations"), fields.take("logprobs"));
            Part::text(fields.required("text", text)?)
        }
        "refusal" => {
            let text = fields.string("refusal")?;
            Part::new(Content::Refusal(fields.required("refusal", text)?))
        }
        "image_url" | "input_image" => media::image(&mut fields)?,
        "audio_url" => media::linked_media(&mut fields, "audio_url", MediaKind::Audio)?,
        "video_url" => media::linked_media(&mut fields, "video_url", MediaKind::Video)?,
        "input_audio" => media::input_audio(&mut fields)?,
        "file" => media::file(&mut fields)?,
        "document" => media::document(&mut fields)?,
        "thinking" => reasoning::thinking(&mut fields),
        "redacted_thinking" => reasoning::redacted(&mut fields),
        _ => {
            let content = Content::Foreign { format: CHAT, value: Json::of_raw(raw) };
            return Ok(Part { cache_control, extras: Extras::default(), content });
        }
    };
    Ok(Part { cache_control, extras: fields.rest(CHAT), ..part })
}
