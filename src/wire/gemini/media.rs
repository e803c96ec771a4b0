//! Pictures, sounds, films and documents: inline where the bytes are here, by address where Google fetches them
//! itself (<https://ai.google.dev/gemini-api/docs/file-input-methods>). Nothing here fetches anything.

use std::borrow::Cow;

use super::types::{Blob, FileData, Part};
use crate::conversation::{Extras, Format, Media, MediaKind, Source};
use crate::ground::fault::Fault;

/// Where files are looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Store<'t> {
    /// Vertex AI insists on a media type for every address.
    pub(super) vertex: bool,
    /// The base URL, below which AI Studio keeps uploaded files.
    pub(super) base: &'t str,
}

/// What goes inside of `functionResponse` on models that look there
/// (<https://ai.google.dev/gemini-api/docs/function-calling#multimodal>).
const IN_RESULTS: [&str; 5] =
    ["image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"];

/// The part that carries `media`. LiteLLM's clients say a file's media type in `format`, which `extras` may hold.
///
/// Errors: `InvalidRequest` for a file in another vendor's store.
pub(super) fn part<'a>(
    media: &'a Media,
    extras: &'a Extras,
    path: &str,
    store: Store<'_>,
) -> Result<Part<'a>, Fault> {
    match &media.source {
        Source::Base64 { media_type, data } => {
            let mime_type = spelled(media_type, media.kind);
            let blob = Blob { mime_type, data };
            Ok(Part { inline_data: Some(blob), ..Part::default() })
        }
        Source::Text(text) => Ok(Part::text(text.as_str())),
        Source::Url(url) => Ok(by_address(media, extras, Cow::Borrowed(url), store)),
        Source::FileId { format, id } => match address(*format, id, store) {
            Some(address) => Ok(by_address(media, extras, address, store)),
            None => Err(Fault::invalid(format!(
                "`{path}` names a file of another provider, which Gemini cannot read. Send the file's bytes \
                 (`file_data`), an https:// or gs:// address, or the id of a file uploaded to Gemini."
            ))
            .with_param(path.to_owned())),
        },
    }
}

/// Whether a part may stand inside of `functionResponse`.
pub(super) fn fits_results(part: &Part<'_>) -> bool {
    part.inline_data.as_ref().is_some_and(|blob| IN_RESULTS.contains(&&*blob.mime_type))
}

/// Resource names such as `files/abc` are no addresses, and refused as such.
fn address<'a>(format: Format, id: &'a str, store: Store<'_>) -> Option<Cow<'a, str>> {
    if ["https://", "gs://", "http://"].iter().any(|scheme| id.starts_with(scheme)) {
        return Some(Cow::Borrowed(id));
    }
    let name = id.strip_prefix("files/").or((format == Format::Gemini).then_some(id))?;
    (!store.vertex)
        .then(|| Cow::Owned(format!("{}/files/{name}", store.base.trim_end_matches('/'))))
}

fn by_address<'a>(
    media: &'a Media,
    extras: &'a Extras,
    file_uri: Cow<'a, str>,
    store: Store<'_>,
) -> Part<'a> {
    let said = extras.get("format").and_then(|format| format.read::<String>()).map(Cow::Owned);
    let name = media.name.as_deref().and_then(of_ending);
    let known = said.or_else(|| of_ending(&file_uri).or(name).map(Cow::Borrowed));
    let mime_type = known.or_else(|| store.vertex.then(|| Cow::Borrowed(usual(media.kind))));
    Part { file_data: Some(FileData { mime_type, file_uri }), ..Part::default() }
}

/// The media type that the ending of a path or of a file's name stands for.
fn of_ending(address: &str) -> Option<&'static str> {
    let path = address.split(['?', '#']).next()?;
    let host = path.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    if host.is_some_and(|host| host == "youtu.be" || host.ends_with("youtube.com")) {
        return Some("video/mp4");
    }
    let file = path.rsplit('/').next()?;
    let (_, ending) = file.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "md" => "text/md",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "xml" => "text/xml",
        "json" => "application/json",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "ogg" => "audio/ogg",
        "flac" => "audio/flac",
        "aac" => "audio/aac",
        "aiff" => "audio/aiff",
        "m4a" => "audio/m4a",
        "mp4" => "video/mp4",
        "mpeg" | "mpg" => "video/mpeg",
        "mov" => "video/mov",
        "webm" => "video/webm",
        "avi" => "video/avi",
        "wmv" => "video/wmv",
        "3gp" | "3gpp" => "video/3gpp",
        _ => return None,
    })
}

/// Google's spelling of a media type.
fn spelled(media_type: &str, kind: MediaKind) -> Cow<'_, str> {
    match media_type.split(';').next().unwrap_or_default().trim() {
        "" | "application/octet-stream" => Cow::Borrowed(usual(kind)),
        "image/jpg" => Cow::Borrowed("image/jpeg"),
        "audio/mpeg" => Cow::Borrowed("audio/mp3"),
        "audio/x-wav" | "audio/wave" => Cow::Borrowed("audio/wav"),
        other => Cow::Borrowed(other),
    }
}

fn usual(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "image/jpeg",
        MediaKind::Audio => "audio/mp3",
        MediaKind::Video => "video/mp4",
        MediaKind::Document => "application/pdf",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: MediaKind, source: Source, vertex: bool, expected: &str) {
        let media = Media { kind, source, name: None, detail: None };
        let store = Store { vertex, base: "https://generativelanguage.googleapis.com/v1beta" };
        let extras = Extras::default();
        let part = part(&media, &extras, "messages[0].content[0]", store);
        let told = match part {
            Ok(part) => serde_json::to_string(&part).expect("prints"),
            Err(fault) => fault.param.expect("a path").into_owned(),
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn every_source_has_its_part() {
        let base64 = |media_type: &str| Source::Base64 {
            media_type: media_type.into(),
            data: "AAAA".into(),
        };
        let url = |url: &str| Source::Url(url.into());
        let file = |format, id: &str| Source::FileId { format, id: id.into() };
        use MediaKind::{Audio, Document, Image, Video};
        check(
            Image,
            base64("image/jpg"),
            false,
            r#"{"inlineData":{"mimeType":"image/jpeg","data":"AAAA"}}"#,
        );
        check(
            Audio,
            base64("audio/mpeg"),
            false,
            r#"{"inlineData":{"mimeType":"audio/mp3","data":"AAAA"}}"#,
        );
        check(
            Document,
            base64(""),
            false,
            r#"{"inlineData":{"mimeType":"application/pdf","data":"AAAA"}}"#,
        );
        check(
            Image,
            url("https://x.org/a.PNG?w=1"),
            false,
            r#"{"fileData":{"mimeType":"image/png","fileUri":"https://x.org/a.PNG?w=1"}}"#,
        );
        check(
            Image,
            url("https://x.org/a"),
            false,
            r#"{"fileData":{"fileUri":"https://x.org/a"}}"#,
        );
        check(
            Image,
            url("https://x.org/a"),
            true,
            r#"{"fileData":{"mimeType":"image/jpeg","fileUri":"https://x.org/a"}}"#,
        );
        check(
            Video,
            url("https://www.youtube.com/watch?v=9"),
            false,
            r#"{"fileData":{"mimeType":"video/mp4","fileUri":"https://www.youtube.com/watch?v=9"}}"#,
        );
        check(
            Document,
            file(Format::OpenAiChat, "gs://b/o.pdf"),
            true,
            r#"{"fileData":{"mimeType":"application/pdf","fileUri":"gs://b/o.pdf"}}"#,
        );
        check(
            Document,
            file(Format::Gemini, "files/abc"),
            false,
            r#"{"fileData":{"fileUri":"https://generativelanguage.googleapis.com/v1beta/files/abc"}}"#,
        );
        check(Document, file(Format::OpenAiChat, "file-123"), false, "messages[0].content[0]");
        check(Document, Source::Text("plain".into()), false, r#"{"text":"plain"}"#);
    }
}
