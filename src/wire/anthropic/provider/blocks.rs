//! One part of a turn as Anthropic's content blocks. What Anthropic would refuse is left out and told, and
//! what an answer would be wrong without is a fault.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::types::{self, Node, OWN_BLOCK, Object};
use crate::conversation::{
    Annotation, Ask, Content, Extras, Format, Json, Losses, Media, MediaKind, Part, Reasoning,
    Source, ToolResult,
};
use crate::ground::fault::Fault;
use crate::wire::fields::Fields;

/// A block to be written.
#[derive(Clone, Debug)]
pub(super) enum Block<'a> {
    Made(Object<'a>),
    /// One of Anthropic's own, as it came.
    Raw(&'a Json),
}

/// What writing a part needs to know of where it stands.
pub(super) struct Place<'p> {
    pub ask: &'p Ask,
    pub path: String,
    pub in_answer: bool,
}

impl<'a> Block<'a> {
    pub(super) fn is(&self, kind: &str) -> bool {
        self.text("type") == Some(kind)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self {
            Self::Made(object) => object.text(name),
            Self::Raw(_) => None,
        }
    }

    pub(super) fn object_mut(&mut self) -> Option<&mut Object<'a>> {
        match self {
            Self::Made(object) => Some(object),
            Self::Raw(_) => None,
        }
    }
}

impl<'a> From<Block<'a>> for Node<'a> {
    fn from(block: Block<'a>) -> Self {
        match block {
            Block::Made(object) => object.into(),
            Block::Raw(json) => json.into(),
        }
    }
}

/// The blocks that a part becomes: mostly one.
///
/// # Errors
/// `InvalidRequest`: it holds what Anthropic cannot take, and an answer would be wrong without it.
pub(super) fn blocks<'a>(
    part: &'a Part,
    place: &Place<'a>,
    losses: &mut Losses,
) -> Result<Vec<Block<'a>>, Fault> {
    if let [(name, own)] = part.extras.of(Format::Anthropic)
        && name == OWN_BLOCK
    {
        return Ok(vec![Block::Raw(own)]);
    }
    let object = match &part.content {
        Content::Text { text, annotations, .. } => cited(text, annotations),
        // A refusal is history, and Anthropic has no block for it.
        Content::Refusal(text) => cited(text, &[]),
        Content::Media(_) if place.in_answer => {
            losses.add(place.path.clone(), "Anthropic takes no pictures or sounds from a model");
            None
        }
        Content::Media(media) => Some(medium(media, &part.extras, &place.path)?),
        Content::Reasoning(reasoning) => {
            let block = thinking(reasoning);
            if block.is_none() {
                losses
                    .add(place.path.clone(), "only reasoning that Anthropic signed returns to it");
            }
            block
        }
        Content::ToolCall(call) => Some(
            Object::of("tool_use")
                .with("id", types::legal_id(&call.id))
                .with("name", call.name.as_str())
                .with("input", call.object()),
        ),
        // Its call was dropped from the history: Anthropic refuses it as a result, not as words.
        Content::ToolResult(result) if place.ask.called(&result.call_id).is_none() => {
            return inner(result, place, losses);
        }
        Content::ToolResult(result) => Some(tool_result(result, place, losses)?),
        Content::Foreign { format: Format::Anthropic, value } => {
            return Ok(vec![Block::Raw(value)]);
        }
        Content::Served(_) | Content::Foreign { .. } => {
            losses.add(place.path.clone(), "only its own format has this block");
            None
        }
    };
    let Some(object) = object else { return Ok(Vec::new()) };
    // Thinking blocks take no cache control.
    let is_thought = matches!(part.content, Content::Reasoning(_));
    let cache_control = part.cache_control.as_ref().filter(|_| !is_thought);
    let object = object.some("cache_control", cache_control).extras(&part.extras);
    Ok(vec![Block::Made(object)])
}

/// A text block; none for a blank text, which Anthropic refuses (litellm#7169).
fn cited<'a>(text: &'a str, annotations: &'a [Annotation]) -> Option<Object<'a>> {
    if text.trim().is_empty() {
        return None;
    }
    let own = annotations.iter().filter_map(|annotation| match annotation {
        Annotation::Foreign { format: Format::Anthropic, value } => Some(value),
        _ => None,
    });
    // One that this gateway made up for another provider's citation proves nothing.
    let proven = own.filter(|value| {
        let index = Fields::of(value.as_raw()).and_then(|mut all| all.text("encrypted_index"));
        index.as_deref() != Some("")
    });
    let citations: Vec<Node<'_>> = proven.map(Node::from).collect();
    let citations = (!citations.is_empty()).then_some(citations);
    Some(Object::of("text").with("text", text).some("citations", citations))
}

fn thinking(reasoning: &Reasoning) -> Option<Object<'_>> {
    let seal = reasoning.seal.as_ref().filter(|seal| seal.format == Format::Anthropic)?;
    if reasoning.redacted {
        return Some(Object::of("redacted_thinking").with("data", seal.data.as_str()));
    }
    let block = Object::of("thinking").with("thinking", reasoning.text.as_str());
    Some(block.with("signature", seal.data.as_str()))
}

fn tool_result<'a>(
    result: &'a ToolResult,
    place: &Place<'a>,
    losses: &mut Losses,
) -> Result<Object<'a>, Fault> {
    let inner = inner(result, place, losses)?;
    let inner: Vec<Node<'_>> = inner.into_iter().map(Node::from).collect();
    let block = Object::of("tool_result").with("tool_use_id", types::legal_id(&result.call_id));
    let block = block.some("content", (!inner.is_empty()).then_some(inner));
    Ok(block.some("is_error", result.is_error.then_some(true)))
}

fn inner<'a>(
    result: &'a ToolResult,
    place: &Place<'a>,
    losses: &mut Losses,
) -> Result<Vec<Block<'a>>, Fault> {
    let mut all = Vec::new();
    for (at, part) in result.parts.iter().enumerate() {
        // A result within a result is nothing that any format has.
        if matches!(part.content, Content::ToolResult(_)) {
            continue;
        }
        let path = format!("{}.content[{at}]", place.path);
        let inner = Place { ask: place.ask, path, in_answer: false };
        all.extend(blocks(part, &inner, losses)?);
    }
    Ok(all)
}

fn medium<'a>(media: &'a Media, extras: &'a Extras, path: &str) -> Result<Object<'a>, Fault> {
    let wrong =
        |what: &str| Fault::invalid(format!("`{path}`: {what}")).with_param(path.to_owned());
    let block = match media.kind {
        MediaKind::Image => Object::of("image"),
        MediaKind::Document => Object::of("document"),
        MediaKind::Audio | MediaKind::Video => {
            return Err(wrong(
                "Anthropic's models take no audio or video. Send a transcript as text, or choose another model.",
            ));
        }
    };
    let title = media.name.as_deref().filter(|_| media.kind == MediaKind::Document);
    let block = block.some("title", title);
    // A document in chunks brings its own source, which is more than the text that others see.
    if extras.of(Format::Anthropic).iter().any(|(name, _)| name == "source") {
        return Ok(block);
    }
    let source = match (&media.source, media.kind) {
        (Source::Base64 { media_type, data }, kind) => bytes(media_type, data, kind, &wrong)?,
        (Source::Url(url), kind) => match data_url(url) {
            Some((media_type, data)) => bytes(media_type, data, kind, &wrong)?,
            None => Object::of("url").with("url", url.as_str()),
        },
        (Source::FileId { format: Format::Anthropic, id }, _) => {
            Object::of("file").with("file_id", id.as_str())
        }
        (Source::FileId { .. }, _) => {
            return Err(wrong(
                "the file is in another provider's store. Send its content as base64 instead.",
            ));
        }
        (Source::Text(text), _) => plain(text.as_str()),
    };
    Ok(block.with("source", source))
}

fn bytes<'a>(
    media_type: &'a str,
    data: &'a str,
    kind: MediaKind,
    wrong: &impl Fn(&str) -> Fault,
) -> Result<Object<'a>, Fault> {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let media_type =
        match (kind, essence) {
            (MediaKind::Image, "image/jpeg" | "image/png" | "image/gif" | "image/webp")
            | (MediaKind::Document, "application/pdf") => essence,
            (MediaKind::Image, "image/jpg") => "image/jpeg",
            (MediaKind::Image, _) => {
                return Err(wrong("Anthropic takes JPEG, PNG, GIF and WebP images. Convert it."));
            }
            _ => return text_file(data).map(plain).ok_or_else(|| {
                wrong("Anthropic takes PDF and plain text documents. Convert it, or send its text.")
            }),
        };
    Ok(Object::of("base64").with("media_type", media_type).with("data", data))
}

fn plain<'a>(text: impl Into<Node<'a>>) -> Object<'a> {
    Object::of("text").with("media_type", "text/plain").with("data", text)
}

/// The text of a file that is one, whatever its type is called.
fn text_file(data: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(data).ok()?).ok()?;
    (!text.contains('\0')).then_some(text)
}

fn data_url(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("data:")?.split_once(";base64,")
}
