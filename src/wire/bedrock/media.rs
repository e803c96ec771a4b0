//! Pictures, sounds, films and documents as Converse takes them: bytes with the format named in Amazon's
//! words, or a place in S3. Nothing is fetched here, so an address on the web is refused with what to send.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::types::{Block, Document, Media as Bytes, Source as From};
use crate::conversation::{Json, Media, MediaKind, Part, Source};
use crate::ground::fault::Fault;

/// The names of a request's documents, which must differ: "Messages can't contain duplicate document names"
/// (<https://github.com/maximhq/bifrost/issues/7003>).
#[derive(Debug, Default)]
pub(super) struct Names(Vec<String>);

/// One medium as a block. `path` is where it stands in the client's request.
///
/// # Errors
/// `InvalidRequest`: a kind of file or a source that Converse does not take.
pub(super) fn block<'a>(
    part: &'a Part,
    media: &'a Media,
    path: &str,
    names: &mut Names,
) -> Result<Block<'a>, Fault> {
    let source = source(media, path)?;
    let known = match media.kind {
        MediaKind::Image => IMAGES,
        MediaKind::Video => VIDEOS,
        MediaKind::Audio => SOUNDS,
        MediaKind::Document => return document(part, media, source, path, names),
    };
    let format = format(media, known).ok_or_else(|| untaken(media, known, path))?;
    let bytes = Bytes { format, source };
    Ok(match media.kind {
        MediaKind::Video => Block::Video(bytes),
        MediaKind::Audio => Block::Audio(bytes),
        MediaKind::Image | MediaKind::Document => Block::Image(bytes),
    })
}

fn document<'a>(
    part: &'a Part,
    media: &'a Media,
    source: From<'a>,
    path: &str,
    names: &mut Names,
) -> Result<Block<'a>, Fault> {
    let citations = part.extras.get("citations");
    let (format, source) = match source {
        // Citations of plain text want it as text: as bytes it is taken for a broken PDF
        // (https://github.com/boto/boto3/issues/4726). Without citations only bytes are sure to be taken.
        From::Text(text) if !citations.is_some_and(is_enabled) => {
            ("txt", From::Bytes(STANDARD.encode(text).into()))
        }
        From::Text(_) => ("txt", source),
        _ => (format(media, DOCUMENTS).ok_or_else(|| untaken(media, DOCUMENTS, path))?, source),
    };
    let name = names.unique(media.name.as_deref().unwrap_or_default());
    let context = part.extras.get("context");
    Ok(Block::Document(Document { format, name, source, context, citations }))
}

fn is_enabled(citations: &Json) -> bool {
    citations.to_value().get("enabled").and_then(serde_json::Value::as_bool) == Some(true)
}

fn source<'a>(media: &'a Media, path: &str) -> Result<From<'a>, Fault> {
    let fault = |message: String| Err(Fault::invalid(message).with_param(path.to_owned()));
    match &media.source {
        Source::Base64 { data, .. } => Ok(From::Bytes(Cow::Borrowed(data))),
        Source::Text(text) => Ok(From::Text(text)),
        Source::Url(url) if url.starts_with("s3://") => Ok(From::S3Location { uri: url }),
        Source::Url(_) => fault(format!(
            "`{path}` is an address, and Amazon Bedrock fetches nothing but `s3://` addresses. Send the \
             file itself as a data URL: `data:image/png;base64,…`."
        )),
        Source::FileId { .. } => fault(format!(
            "`{path}` is the id of an uploaded file, and Amazon Bedrock keeps no files. Send the file \
             itself in base64."
        )),
    }
}

/// Media types and endings of file names, and Amazon's word for both.
type Known = &'static [(&'static str, &'static str, &'static str)];

const IMAGES: Known = &[
    ("image/png", "png", "png"),
    ("image/jpeg", "jpeg", "jpeg"),
    ("image/jpg", "jpg", "jpeg"),
    ("image/gif", "gif", "gif"),
    ("image/webp", "webp", "webp"),
];

const VIDEOS: Known = &[
    ("video/mp4", "mp4", "mp4"),
    ("video/webm", "webm", "webm"),
    ("video/quicktime", "mov", "mov"),
    ("video/x-matroska", "mkv", "mkv"),
    ("video/x-flv", "flv", "flv"),
    ("video/mpeg", "mpeg", "mpeg"),
    ("video/mpg", "mpg", "mpg"),
    ("video/x-ms-wmv", "wmv", "wmv"),
    ("video/3gpp", "3gp", "three_gp"),
];

const SOUNDS: Known = &[
    ("audio/mpeg", "mp3", "mp3"),
    ("audio/mp3", "mp3", "mp3"),
    ("audio/wav", "wav", "wav"),
    ("audio/x-wav", "wav", "wav"),
    ("audio/wave", "wav", "wav"),
    ("audio/opus", "opus", "opus"),
    ("audio/aac", "aac", "aac"),
    ("audio/flac", "flac", "flac"),
    ("audio/ogg", "ogg", "ogg"),
    ("audio/mp4", "m4a", "m4a"),
    ("audio/webm", "webm", "webm"),
    ("audio/pcm", "pcm", "pcm"),
    ("audio/l16", "pcm", "pcm"),
];

const DOCUMENTS: Known = &[
    ("application/pdf", "pdf", "pdf"),
    ("text/plain", "txt", "txt"),
    ("text/markdown", "md", "md"),
    ("text/html", "html", "html"),
    ("text/csv", "csv", "csv"),
    ("application/msword", "doc", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx", "docx"),
    ("application/vnd.ms-excel", "xls", "xls"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx", "xlsx"),
    // No words of their own, and text all the same.
    ("application/json", "json", "txt"),
    ("application/xml", "xml", "txt"),
    ("text/xml", "xml", "txt"),
    ("application/yaml", "yaml", "txt"),
];

/// Amazon's word for the format: by media type, else by the ending of the name or address.
fn format(media: &Media, known: Known) -> Option<&'static str> {
    if let Source::Base64 { media_type, .. } = &media.source {
        let bare = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let found = known.iter().find(|(media_type, ..)| *media_type == bare);
        if let Some((.., word)) = found {
            return Some(word);
        }
    }
    let address = match &media.source {
        Source::Url(url) => Some(url.as_str()),
        _ => None,
    };
    let (_, ending) = address.or(media.name.as_deref())?.rsplit_once('.')?;
    let found = known.iter().find(|(_, known, _)| known.eq_ignore_ascii_case(ending));
    found.map(|(.., word)| *word)
}

fn untaken(media: &Media, known: Known, path: &str) -> Fault {
    let mut words: Vec<&str> = known.iter().map(|(.., word)| *word).collect();
    words.sort_unstable();
    words.dedup();
    let words = words.join(", ");
    let message = match &media.source {
        Source::Base64 { media_type, .. } => format!(
            "`{path}` is of the type `{media_type}`, and Amazon Bedrock takes {words} here. Convert it."
        ),
        _ => format!(
            "`{path}` does not say its format. Let its name end in one that Amazon Bedrock takes: {words}."
        ),
    };
    Fault::invalid(message).with_param(path.to_owned())
}

impl Names {
    /// Bedrock's rules (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html>):
    /// letters, digits, single spaces, hyphens, parentheses and square brackets, at most 200.
    fn unique(&mut self, name: &str) -> String {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '(' | ')' | '[' | ']');
        let plain: String = stem.chars().map(|c| if allowed(c) { c } else { ' ' }).collect();
        let words: Vec<&str> = plain.split_ascii_whitespace().collect();
        let mut name = words.join(" ");
        name.truncate(190);
        if name.is_empty() {
            "document".clone_into(&mut name);
        }
        let (base, mut number) = (name.trim_end().to_owned(), 1_u32);
        name.clone_from(&base);
        while self.0.contains(&name) {
            number = number.saturating_add(1);
            name = format!("{base} {number}");
        }
        self.0.push(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_documents_are_plain_and_differ() {
        let mut names = Names::default();
        assert_eq!(names.unique("John's  report_v2.final.pdf"), "John s report v2 final");
        assert_eq!(names.unique("分기.pdf"), "document");
        assert_eq!(names.unique(""), "document 2");
        assert_eq!(names.unique("a (1) [x]-y.txt"), "a (1) [x]-y");
        assert!(names.unique(&"x ".repeat(300)).len() <= 200);
    }
}
