//! Pictures, sounds and files as chat clients send them: data URLs, plain URLs, bare base64, ids in a file
//! store. Nothing is fetched or decoded here; the base64 text goes on as it came, without line breaks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::CHAT;
use crate::conversation::{Content, Media, MediaKind, Part, Source};
use crate::ground::fault::Fault;
use crate::wire::fields::{Fields, as_string};

/// A part `{"type":"image_url","image_url":{"url","detail"}}`, or with the bare URL as some clients have it,
/// or a Responses `input_image`.
pub(super) fn image(fields: &mut Fields<'_>) -> Result<Part, Fault> {
    let mut detail = fields.string("detail")?;
    if let Some(id) = fields.string("file_id")? {
        return Ok(media(MediaKind::Image, file_id(id), None, detail));
    }
    let (url, path, hint) = linked(fields, "image_url", &mut detail)?;
    let source = source(&url, hint.as_deref(), &path)?;
    Ok(media(MediaKind::Image, source, None, detail))
}

/// A part with a URL in an object of its own name: vLLM's `audio_url` and `video_url`
/// (<https://docs.vllm.ai/en/latest/features/multimodal_inputs.html>).
pub(super) fn linked_media(
    fields: &mut Fields<'_>,
    name: &str,
    kind: MediaKind,
) -> Result<Part, Fault> {
    let (url, path, hint) = linked(fields, name, &mut None)?;
    Ok(media(kind, source(&url, hint.as_deref(), &path)?, None, None))
}

/// A part `{"type":"input_audio","input_audio":{"data","format"}}`.
pub(super) fn input_audio(fields: &mut Fields<'_>) -> Result<Part, Fault> {
    let inner = fields.object("input_audio")?;
    let mut inner = fields.required("input_audio", inner)?;
    let data = inner.string("data")?;
    let data = inner.required("data", data)?;
    let format = inner.string("format")?;
    if data.starts_with("data:") {
        let source = source(&data, None, &inner.path("data"))?;
        return Ok(media(MediaKind::Audio, source, None, None));
    }
    let format = inner.required("format", format)?;
    let source = Source::Base64 { media_type: format!("audio/{format}"), data: unbroken(data) };
    Ok(media(MediaKind::Audio, source, None, None))
}

/// A part `{"type":"file","file":{"file_data","filename"} or {"file_id"}}`. LiteLLM's `format` names the media
/// type, and its `file_id` may be a URL.
pub(super) fn file(fields: &mut Fields<'_>) -> Result<Part, Fault> {
    let inner = fields.object("file")?;
    let mut inner = fields.required("file", inner)?;
    let name = inner.string("filename")?;
    let format = inner.string("format")?;
    let (data, id) = (inner.string("file_data")?, inner.string("file_id")?);
    let source = match (data, id) {
        (Some(data), _) if is_url(&data) => {
            source(&data, format.as_deref(), &inner.path("file_data"))?
        }
        (Some(data), _) => {
            let media_type = format.unwrap_or_else(|| type_of_name(name.as_deref()).to_owned());
            Source::Base64 { media_type, data: unbroken(data) }
        }
        (None, Some(id)) if is_url(&id) => source(&id, format.as_deref(), &inner.path("file_id"))?,
        (None, Some(id)) => file_id(id),
        (None, None) => {
            let path = inner.at().to_owned();
            let why = format!(
                "`{path}` needs `file_data` (a data URL such as \
                 `data:application/pdf;base64,…`) or `file_id`."
            );
            return Err(Fault::invalid(why).with_param(path));
        }
    };
    Ok(media(kind_of(&source), source, name, None))
}

/// A part `{"type":"document","source":{…},"title"}` in Anthropic's words, which LiteLLM takes in chat too.
pub(super) fn document(fields: &mut Fields<'_>) -> Result<Part, Fault> {
    let name = fields.string("title")?;
    let inner = fields.object("source")?;
    let mut inner = fields.required("source", inner)?;
    let media_type = inner.string("media_type")?;
    let (data, url, kind) = (inner.string("data")?, inner.string("url")?, inner.word("type")?);
    let source = match (kind.as_deref(), data, url) {
        (Some("text"), Some(text), _) => Source::Text(text),
        (_, Some(data), _) => {
            let media_type = media_type.unwrap_or_else(|| "application/pdf".to_owned());
            Source::Base64 { media_type, data: unbroken(data) }
        }
        (_, None, Some(url)) => source(&url, media_type.as_deref(), &inner.path("url"))?,
        (_, None, None) => return Err(inner.wrong("data", "base64 or text, or `url` a URL")),
    };
    Ok(media(MediaKind::Document, source, name, None))
}

/// What a URL stands for: the bytes where they are in it, else the place.
///
/// Errors: a data URL that cannot be read.
pub(super) fn source(url: &str, hint: Option<&str>, path: &str) -> Result<Source, Fault> {
    if !url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        return Ok(match sniffed(url) {
            // The bare base64 of a picture, as Ollama's clients are used to send it.
            Some(media_type) if !url.contains("://") => {
                Source::Base64 { media_type: media_type.to_owned(), data: unbroken(url.to_owned()) }
            }
            _ => Source::Url(url.to_owned()),
        });
    }
    let unreadable = || {
        let why = format!(
            "`{path}` is a data URL that cannot be read. Send `data:TYPE;base64,DATA`, such as \
             `data:image/png;base64,iVBORw0…`."
        );
        Fault::invalid(why).with_param(path.to_owned())
    };
    let (head, data) = url.split_once(',').ok_or_else(unreadable)?;
    let mut words = head.get(5..).unwrap_or_default().split(';').map(str::trim);
    let said = words.next().filter(|said| said.contains('/'));
    let data = if words.any(|word| word.eq_ignore_ascii_case("base64")) {
        unbroken(data.to_owned())
    } else {
        STANDARD.encode(percent_decoded(data))
    };
    if data.is_empty() || !data.bytes().all(is_base64) {
        return Err(unreadable());
    }
    let media_type = said.or(hint).or_else(|| sniffed(&data)).unwrap_or("application/octet-stream");
    Ok(Source::Base64 { media_type: media_type.to_ascii_lowercase(), data })
}

fn media(kind: MediaKind, source: Source, name: Option<String>, detail: Option<String>) -> Part {
    Part::new(Content::Media(Media { kind, source, name, detail }))
}

fn file_id(id: String) -> Source {
    Source::FileId { format: CHAT, id }
}

/// The URL in a member that is a string or an object with `url`, its path, and the media type that LiteLLM's
/// `format` names.
fn linked(
    fields: &mut Fields<'_>,
    name: &str,
    detail: &mut Option<String>,
) -> Result<(String, String, Option<String>), Fault> {
    let raw = fields.take(name);
    let raw = fields.required(name, raw)?;
    if let Some(url) = as_string(raw) {
        return Ok((url, fields.path(name), None));
    }
    let mut inner = Fields::within(raw, fields.path(name))
        .map_err(|_| fields.wrong(name, "an object with `url`"))?;
    let url = inner.string("url")?;
    let url = inner.required("url", url)?;
    *detail = inner.string("detail")?.or(detail.take());
    let hint = inner.string("format")?;
    Ok((url, inner.path("url"), hint))
}

fn is_url(text: &str) -> bool {
    text.starts_with("data:") || text.get(..16).unwrap_or(text).contains("://")
}

fn kind_of(source: &Source) -> MediaKind {
    let Source::Base64 { media_type, .. } = source else { return MediaKind::Document };
    match media_type.split('/').next() {
        Some("image") => MediaKind::Image,
        Some("audio") => MediaKind::Audio,
        Some("video") => MediaKind::Video,
        _ => MediaKind::Document,
    }
}

/// The media type that the name of a file says; a PDF is what OpenAI takes.
fn type_of_name(name: Option<&str>) -> &'static str {
    let ending = name.and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
    match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("txt" | "log") => "text/plain",
        Some("md") => "text/markdown",
        Some("csv") => "text/csv",
        Some("html" | "htm") => "text/html",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        Some("wav") => "audio/wav",
        Some("mp3") => "audio/mp3",
        Some("mp4") => "video/mp4",
        _ => "application/pdf",
    }
}

/// What the first bytes of base64 say.
fn sniffed(data: &str) -> Option<&'static str> {
    let known = [
        ("iVBORw0KGgo", "image/png"),
        ("/9j/", "image/jpeg"),
        ("R0lGOD", "image/gif"),
        ("UklGR", "image/webp"),
        ("JVBERi0", "application/pdf"),
    ];
    known.into_iter().find(|(start, _)| data.starts_with(start)).map(|(_, media_type)| media_type)
}

fn unbroken(data: String) -> String {
    if data.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return data.split_ascii_whitespace().collect();
    }
    data
}

/// Either alphabet: some clients take the one for URLs.
fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, media_type: &str, data: &str) {
        let expected = Source::Base64 { media_type: media_type.into(), data: data.into() };
        assert_eq!(source(url, None, "x").expect("readable"), expected, "{url}");
    }

    #[test]
    fn data_urls_are_taken_apart() {
        check("data:image/png;base64,iVBORw0KGgo=", "image/png", "iVBORw0KGgo=");
        check("DATA:Image/PNG;charset=utf-8;base64,iVBO\r\n Rw0=", "image/png", "iVBORw0=");
        check("data:;base64,/9j/4AA", "image/jpeg", "/9j/4AA");
        check("data:image/svg+xml,%3Csvg%2F%3E", "image/svg+xml", "PHN2Zy8+");
        check("R0lGODlhAQABAA==", "image/gif", "R0lGODlhAQABAA==");
        let url = Source::Url("https://x/é.png".into());
        assert_eq!(source("https://x/é.png", None, "x").expect("a URL"), url);
        for broken in ["data:", "data:image/png;base64", "data:image/png;base64,", "data:,<>%zé"] {
            let read = source(broken, None, "messages[0]");
            let told = matches!(&read, Err(fault) if fault.param.as_deref() == Some("messages[0]"));
            assert!(told || broken.ends_with('é'), "{broken}: {read:?}");
        }
    }
}
