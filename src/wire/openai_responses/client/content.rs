//! The content of messages and of tool results: texts, refusals, pictures, files, sounds. Knows nothing of the
//! items around it.

use serde_json::value::RawValue;

use super::super::super::fields::{Fields, as_string, elements, wrong};
use super::super::citation;
use super::FORMAT;
use crate::conversation::{Content, Json, Media, MediaKind, Part, Source};
use crate::ground::fault::Fault;

/// Reads a string, or a list of content parts.
///
/// # Errors
/// `InvalidRequest`: it is neither, or a part is not what its type says.
pub(super) fn read(raw: &RawValue, path: &str) -> Result<Vec<Part>, Fault> {
    match raw.get().as_bytes().first() {
        Some(b'"') => Ok(vec![Part::text(as_string(raw).unwrap_or_default())]),
        Some(b'[') => elements(raw, path)?.into_iter().map(|(path, raw)| part(raw, path)).collect(),
        _ => Err(wrong(path, "a string or a list of content parts")),
    }
}

fn part(raw: &RawValue, path: String) -> Result<Part, Fault> {
    let mut fields = Fields::within(raw, path)?;
    let kind = fields.word("type")?;
    let content = match &*fields.required("type", kind)? {
        // `text` is what people write by hand, and what chat completions call it.
        "input_text" | "output_text" | "text" => text(&mut fields)?,
        "refusal" => {
            let refusal = fields.string("refusal")?;
            Content::Refusal(fields.required("refusal", refusal)?)
        }
        "input_image" | "image_url" => Content::Media(image(&mut fields)?),
        "input_file" => Content::Media(file(&mut fields)?),
        "input_audio" => Content::Media(audio(&mut fields)?),
        "input_video" => Content::Media(video(&mut fields)?),
        _ => {
            let foreign = Content::Foreign { format: FORMAT, value: Json::of_raw(raw) };
            return Ok(Part::new(foreign));
        }
    };
    let mut part = Part::new(content);
    part.cache_control = fields.json("cache_control");
    part.extras = fields.rest(FORMAT);
    Ok(part)
}

fn text(fields: &mut Fields<'_>) -> Result<Content, Fault> {
    let text = fields.string("text")?;
    let text = fields.required("text", text)?;
    let annotations = fields.list("annotations")?.unwrap_or_default();
    let annotations = annotations.into_iter().map(|(_, raw)| citation::read(raw)).collect();
    let logprobs = fields.json("logprobs").filter(|logprobs| logprobs.as_str() != "[]");
    Ok(Content::Text { text, annotations, logprobs })
}

fn image(fields: &mut Fields<'_>) -> Result<Media, Fault> {
    let detail = fields.string("detail")?;
    // Chat completions wrap the address in an object, and so do clients that speak both.
    let wrapped = fields.peek("image_url").is_some_and(|url| url.get().starts_with('{'));
    let (url, detail) = if wrapped {
        let Some(mut object) = fields.object("image_url")? else { return Err(no_image(fields)) };
        (object.string("url")?, detail.or(object.string("detail")?))
    } else {
        (fields.string("image_url")?, detail)
    };
    let source = match (url, fields.string("file_id")?) {
        (Some(url), _) => located(url, &fields.path("image_url"))?,
        (None, Some(id)) => Source::FileId { format: FORMAT, id },
        (None, None) => return Err(no_image(fields)),
    };
    Ok(Media { kind: MediaKind::Image, source, name: None, detail })
}

fn no_image(fields: &Fields<'_>) -> Fault {
    let path = fields.at().to_owned();
    Fault::invalid(format!("`{path}` has no picture: give an `image_url` or a `file_id`."))
        .with_param(path)
}

fn file(fields: &mut Fields<'_>) -> Result<Media, Fault> {
    let name = fields.string("filename")?;
    let detail = fields.string("detail")?;
    let (bytes, url) = (fields.string("file_data")?, fields.string("file_url")?);
    let source = match (bytes, url, fields.string("file_id")?) {
        (Some(bytes), _, _) if bytes.starts_with("data:") => {
            located(bytes, &fields.path("file_data"))?
        }
        (Some(bytes), _, _) => {
            let media_type = media_type_of(name.as_deref().unwrap_or_default()).to_owned();
            Source::Base64 { media_type, data: unbroken(&bytes) }
        }
        (None, Some(url), _) => located(url, &fields.path("file_url"))?,
        (None, None, Some(id)) => Source::FileId { format: FORMAT, id },
        (None, None, None) => {
            let path = fields.at().to_owned();
            let why = "has no file: give `file_data`, a `file_url` or a `file_id`.";
            return Err(Fault::invalid(format!("`{path}` {why}")).with_param(path));
        }
    };
    Ok(Media { kind: MediaKind::Document, source, name, detail })
}

fn audio(fields: &mut Fields<'_>) -> Result<Media, Fault> {
    let inner = fields.object("input_audio")?;
    let mut inner = fields.required("input_audio", inner)?;
    let (bytes, format) = (inner.string("data")?, inner.string("format")?);
    let data = unbroken(&inner.required("data", bytes)?);
    let media_type = format!("audio/{}", inner.required("format", format)?);
    let source = Source::Base64 { media_type, data };
    Ok(Media { kind: MediaKind::Audio, source, name: None, detail: None })
}

fn video(fields: &mut Fields<'_>) -> Result<Media, Fault> {
    let url = fields.string("video_url")?;
    let url = fields.required("video_url", url)?;
    let source = located(url, &fields.path("video_url"))?;
    Ok(Media { kind: MediaKind::Video, source, name: None, detail: None })
}

/// An address, or the bytes themselves where it is a `data:` URL.
fn located(url: String, path: &str) -> Result<Source, Fault> {
    let Some(rest) = url.strip_prefix("data:") else { return Ok(Source::Url(url)) };
    let parted = rest.split_once(',').and_then(|(head, data)| {
        let media_type = head.strip_suffix(";base64")?;
        // Parameters such as `charset` say nothing about a picture.
        Some((media_type.split(';').next().unwrap_or_default(), data))
    });
    let Some((media_type, data)) = parted.filter(|(media_type, _)| media_type.contains('/')) else {
        return Err(wrong(path, "an address, or bytes as `data:image/png;base64,…`"));
    };
    Ok(Source::Base64 { media_type: media_type.to_ascii_lowercase(), data: unbroken(data) })
}

/// Base64 without the line breaks that some encoders put into it.
fn unbroken(data: &str) -> String {
    data.split_ascii_whitespace().collect()
}

fn media_type_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).as_deref() {
        Some("txt" | "md") => "text/plain",
        Some("csv") => "text/csv",
        Some("html" | "htm") => "text/html",
        Some("json") => "application/json",
        // What the API took before it took anything else.
        Some("pdf") | None => "application/pdf",
        Some(_) => "application/octet-stream",
    }
}
