//! The content of messages and results: texts, pictures, files, sounds. It knows nothing of the items around it.
//! Parts: <https://platform.openai.com/docs/api-reference/responses/create#responses-create-input>.

use super::super::citation;
use super::super::object::Object;
use super::FORMAT;
use crate::conversation::{Content, Format, Json, Media, MediaKind, Part, Source};
use crate::ground::fault::Fault;

/// A part of what a user, a system or a tool says; `None` for what belongs elsewhere.
///
/// # Errors
/// `InvalidRequest`: a picture, sound or file that the format has no way to carry.
pub(super) fn input_part(part: &Part, path: &str) -> Result<Option<Json>, Fault> {
    let object = match &part.content {
        Content::Text { text, .. } | Content::Refusal(text) => {
            Object::of_type("input_text").with("text", text)
        }
        Content::Media(media) => input_media(media, path)?,
        Content::Foreign { format, value } if *format == FORMAT => return Ok(Some(value.clone())),
        _ => return Ok(None),
    };
    let object = object.with_extras(&part.extras, FORMAT, &[]);
    Ok(Some(object.into_json()))
}

/// A text or a refusal as the model's own words; `None` for anything else.
pub(super) fn output_part(part: &Part) -> Option<Object> {
    match &part.content {
        Content::Text { text, annotations, logprobs } => {
            let annotations: Vec<Json> = annotations.iter().filter_map(citation::write).collect();
            let object = Object::of_type("output_text").with("text", text);
            Some(object.with("annotations", annotations).with_some("logprobs", logprobs.as_ref()))
        }
        Content::Refusal(text) => Some(Object::of_type("refusal").with("refusal", text)),
        _ => None,
    }
}

fn input_media(media: &Media, path: &str) -> Result<Object, Fault> {
    match media.kind {
        MediaKind::Image => image(media, path),
        MediaKind::Document => file(media, path),
        MediaKind::Audio => audio(media, path),
        // Servers of models that see videos take them, OpenAI does not and says so.
        MediaKind::Video => match &media.source {
            Source::Base64 { media_type, data } => {
                Ok(Object::of_type("input_video").with("video_url", inline(media_type, data)))
            }
            Source::Url(url) => Ok(Object::of_type("input_video").with("video_url", url)),
            _ => Err(unknown_file(path)),
        },
    }
}

fn image(media: &Media, path: &str) -> Result<Object, Fault> {
    let object = Object::of_type("input_image");
    let object = match &media.source {
        Source::Base64 { media_type, data } => object.with("image_url", inline(media_type, data)),
        Source::Url(url) => object.with("image_url", url),
        Source::FileId { format, id } if is_own_store(*format) => object.with("file_id", id),
        _ => return Err(unknown_file(path)),
    };
    Ok(object.with_some("detail", media.detail.as_ref()))
}

fn file(media: &Media, path: &str) -> Result<Object, Fault> {
    let object = Object::of_type("input_file");
    Ok(match &media.source {
        Source::Base64 { media_type, data } => {
            let name = media.name.clone().unwrap_or_else(|| file_name(media_type));
            object.with("filename", name).with("file_data", inline(media_type, data))
        }
        Source::Url(url) => object.with_some("filename", media.name.as_ref()).with("file_url", url),
        Source::FileId { format, id } if is_own_store(*format) => object.with("file_id", id),
        Source::Text(text) => Object::of_type("input_text").with("text", titled(media, text)),
        Source::FileId { .. } => return Err(unknown_file(path)),
    }
    .with_some("detail", media.detail.as_ref()))
}

fn audio(media: &Media, path: &str) -> Result<Object, Fault> {
    let Source::Base64 { media_type, data } = &media.source else {
        let why = "this provider takes sounds as base64 only: send the bytes themselves.";
        return Err(Fault::invalid(format!("`{path}`: {why}")).with_param(path.to_owned()));
    };
    let format = match media_type.strip_prefix("audio/").unwrap_or(media_type) {
        "mpeg" | "mp3" => "mp3",
        "wav" | "x-wav" | "wave" => "wav",
        other => other,
    };
    let sound = Object::default().with("data", data).with("format", format);
    Ok(Object::of_type("input_audio").with("input_audio", sound))
}

/// A document that is text: under its name, where it has one.
fn titled(media: &Media, text: &str) -> String {
    match &media.name {
        Some(name) => format!("{name}:\n\n{text}"),
        None => text.to_owned(),
    }
}

fn inline(media_type: &str, data: &str) -> String {
    format!("data:{media_type};base64,{data}")
}

/// OpenAI refuses bytes without a name, and tells the kind of file by it.
fn file_name(media_type: &str) -> String {
    let extension = match media_type {
        "application/pdf" => "pdf",
        "text/plain" => "txt",
        "text/csv" => "csv",
        "text/html" => "html",
        "text/markdown" => "md",
        "application/json" => "json",
        _ => "bin",
    };
    format!("file.{extension}")
}

/// OpenAI has one store of files for both of its formats.
fn is_own_store(format: Format) -> bool {
    matches!(format, Format::OpenAiResponses | Format::OpenAiChat)
}

fn unknown_file(path: &str) -> Fault {
    let why =
        "this file's id belongs to another provider. Send its bytes as base64, or an address.";
    Fault::invalid(format!("`{path}`: {why}")).with_param(path.to_owned())
}
