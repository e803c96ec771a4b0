//! Media in the parts that chat completions have for them: `image_url`, `input_audio`, `file`, and `video_url`
//! of the servers that take films. What no part can carry is refused with words that say what to send.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::request::Writer;
use super::tree::{Node, Object};
use crate::conversation::{Content, Format, Media, MediaKind, Part, Source};
use crate::ground::fault::Fault;
use crate::wire::fields::Fields;

/// Writes one part of a user's message.
///
/// Errors: `InvalidRequest` with what to send instead.
pub(super) fn write<'a>(
    writer: &Writer<'a, '_>,
    media: &'a Media,
    at: usize,
) -> Result<Node<'a>, Fault> {
    let refuse = |why: &str| {
        let path = writer.ask.turn_path(at);
        Err(Fault::invalid(format!("`{path}`: {why}")).with_param(path))
    };
    match (media.kind, &media.source) {
        (_, Source::Text(text)) => Ok(Node::text(text.as_str())),
        (MediaKind::Image, _) => match image(media) {
            Some(node) => Ok(node),
            None => refuse(
                "chat completions take pictures as a URL or as base64, not as the id of a file.",
            ),
        },
        (MediaKind::Audio, Source::Base64 { media_type, data }) => {
            let inner = Object::default()
                .with("data", Node::text(data.as_str()))
                .with("format", Node::text(audio_format(media_type)));
            Ok(Object::typed("input_audio").with("input_audio", inner.node()).node())
        }
        (MediaKind::Audio, _) => refuse("chat completions take sound as base64 only."),
        (MediaKind::Video, Source::Base64 { .. } | Source::Url(_)) if writer.quirks.videos => {
            let url = Object::default().with("url", Node::Text(url(&media.source)));
            Ok(Object::typed("video_url").with("video_url", url.node()).node())
        }
        (MediaKind::Video, _) => refuse("this model's provider takes no video."),
        (MediaKind::Document, Source::Base64 { media_type, data })
            if media_type.starts_with("text/") && !writer.quirks.openai_models =>
        {
            // Every server can read text; hardly one takes it as a file.
            match decoded(data) {
                Some(text) => Ok(Node::text(text)),
                None => Ok(file(media, "file_data", url(&media.source))),
            }
        }
        (MediaKind::Document, Source::Base64 { .. }) => {
            Ok(file(media, "file_data", url(&media.source)))
        }
        (
            MediaKind::Document,
            Source::FileId { format: Format::OpenAiChat | Format::OpenAiResponses, id },
        ) => Ok(file(media, "file_id", id.as_str().into())),
        (MediaKind::Document, Source::Url(link)) if writer.quirks.file_urls => {
            Ok(file(media, "file_data", link.as_str().into()))
        }
        (MediaKind::Document, _) => refuse(
            "chat completions take files as base64 only, not by URL or by the id of another \
             vendor's store. Send its bytes, or its text.",
        ),
    }
}

/// A picture; `None` for one that is known by an id only.
pub(super) fn image(media: &Media) -> Option<Node<'_>> {
    if !matches!(media.source, Source::Base64 { .. } | Source::Url(_)) {
        return None;
    }
    let mut inner = Object::default().with("url", Node::Text(url(&media.source)));
    if let Some(detail) = &media.detail {
        inner.put_text("detail", detail.as_str());
    }
    Some(Object::typed("image_url").with("image_url", inner.node()).node())
}

/// Reads a picture of an answer: OpenRouter's `images`, and parts of a list.
pub(super) fn drawn(raw: &RawValue) -> Option<Part> {
    let mut fields = Fields::of(raw)?;
    let url = match fields.peek("image_url") {
        Some(raw) if raw.get().starts_with('"') => fields.text("image_url"),
        Some(_) => fields.inner("image_url").and_then(|mut inner| inner.text("url")),
        None => fields.text("url"),
    };
    let url = url.filter(|url| !url.is_empty())?;
    let source = match url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        Some((media_type, data)) => {
            Source::Base64 { media_type: media_type.to_owned(), data: data.to_owned() }
        }
        None => Source::Url(url),
    };
    let media = Media { kind: MediaKind::Image, source, name: None, detail: None };
    Some(Part::new(Content::Media(media)))
}

fn file<'a>(media: &'a Media, field: &'static str, value: Cow<'a, str>) -> Node<'a> {
    let mut inner = Object::default();
    match &media.name {
        Some(name) => inner.put_text("filename", name.as_str()),
        // OpenAI wants a name beside bytes.
        None if field == "file_data" => inner.put_text("filename", "document"),
        None => {}
    }
    inner.put(field, Node::Text(value));
    Object::typed("file").with("file", inner.node()).node()
}

fn url(source: &Source) -> Cow<'_, str> {
    match source {
        Source::Base64 { media_type, data } => format!("data:{media_type};base64,{data}").into(),
        Source::Url(url) => url.into(),
        Source::FileId { id, .. } => id.into(),
        Source::Text(text) => text.into(),
    }
}

/// OpenAI knows `wav` and `mp3`; others more, by the name that the media type has.
fn audio_format(media_type: &str) -> &str {
    match media_type.rsplit('/').next().unwrap_or_default() {
        "mpeg" | "mpga" => "mp3",
        "x-wav" | "wave" | "vnd.wave" => "wav",
        other => other,
    }
}

fn decoded(data: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(data).ok()?).ok()
}

/// What spoken bytes are, by how they begin: answers do not say.
pub(super) fn sound_type(data: &str) -> String {
    let known = [
        ("UklGR", "audio/wav"),
        ("SUQz", "audio/mp3"),
        ("//", "audio/mp3"),
        ("ZkxhQ", "audio/flac"),
        ("T2dnU", "audio/ogg"),
    ];
    let found = known.into_iter().find(|(begin, _)| data.starts_with(begin));
    found.map_or("audio/pcm", |(_, media_type)| media_type).to_owned()
}
