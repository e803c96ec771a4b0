//! What stands in the `content` of a message: texts, pictures, sounds, files. Only users show media; what a
//! tool gave of it moves into a message of theirs.

use super::request::Writer;
use super::tree::{Node, Object};
use super::{CHAT, media};
use crate::conversation::{Content, Part, ToolResult};
use crate::ground::fault::Fault;

/// Content on its way: plain texts, and parts that are objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Said<'a>(pub Vec<Node<'a>>);

impl<'a> Said<'a> {
    /// Nothing but plain text.
    pub(super) fn is_text(&self) -> bool {
        self.0.iter().all(|node| matches!(node, Node::Text(_)))
    }

    /// Nothing that can be seen.
    pub(super) fn is_blank(&self) -> bool {
        self.0.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
    }

    /// A text: plain, or a part where something hangs on it that the server takes.
    pub(super) fn text_part(writer: &Writer<'a, '_>, part: &'a Part, text: &'a str) -> Node<'a> {
        let cached = part.cache_control.as_ref().filter(|_| writer.quirks.cache_control);
        let extras = part.extras.of(CHAT);
        if cached.is_none() && (extras.is_empty() || !writer.quirks.text_lists) {
            return Node::text(text);
        }
        let object = Object::typed("text").with("text", Node::text(text));
        hung(object, part, cached.is_some())
    }

    /// A string where all is text, else a list of parts.
    pub(super) fn node(mut self, lists: bool) -> Node<'a> {
        if !self.is_text() || lists && self.0.len() > 1 {
            return Node::List(self.0.into_iter().map(part).collect());
        }
        if self.0.len() == 1 {
            return self.0.pop().unwrap_or(Node::Null);
        }
        let mut joined = String::new();
        for node in &self.0 {
            let Node::Text(text) = node else { continue };
            if !joined.is_empty() {
                joined.push_str("\n\n");
            }
            joined.push_str(text);
        }
        Node::text(joined)
    }
}

/// The content of a user's or a system's turn; results of tools are passed over.
///
/// Errors: media that the format or the server cannot carry.
pub(super) fn read<'a>(
    writer: &mut Writer<'a, '_>,
    parts: impl Iterator<Item = &'a Part>,
    at: usize,
) -> Result<Said<'a>, Fault> {
    let mut said = Said::default();
    for (index, part) in parts.enumerate() {
        if part.cache_control.is_some() && !writer.quirks.cache_control {
            let path = format!("{}[*].cache_control", writer.list());
            writer.losses.add(path, "the server caches by itself, or not at all");
        }
        match &part.content {
            Content::Text { text, .. } if text.is_empty() => {}
            Content::Text { text, .. } | Content::Refusal(text) => {
                said.0.push(Said::text_part(writer, part, text));
            }
            Content::Media(shown) => {
                let object = media::write(writer, shown, at)?;
                let extras = writer.quirks.text_lists;
                said.0.push(match object {
                    Node::Object(object) if extras => {
                        hung(object, part, writer.quirks.cache_control)
                    }
                    other => other,
                });
            }
            Content::Foreign { format, value } if *format == CHAT => said.0.push(Node::raw(value)),
            _ => {
                let path = writer.ask.part_path(at, index);
                writer.losses.add(path, "chat completions have no such part");
            }
        }
    }
    Ok(said)
}

/// What a tool gave: its text, and the media, each set introduced by the call that it belongs to.
///
/// Errors: media that the format or the server cannot carry.
pub(super) fn result<'a>(
    writer: &mut Writer<'a, '_>,
    part: &'a Part,
    result: &'a ToolResult,
    at: usize,
) -> Result<(Said<'a>, Said<'a>), Fault> {
    let is_text = |part: &&Part| part.as_text().is_some();
    let mut text = result.text();
    let media = read(writer, result.parts.iter().filter(|part| !is_text(part)), at)?;
    let name = result.name.as_deref().or_else(|| writer.ask.called(&result.call_id));
    let name = name.unwrap_or("the tool");
    if text.is_empty() && !media.0.is_empty() {
        text = "The result is in the next message.".to_owned();
    }
    if result.is_error && !text.trim_start().to_ascii_lowercase().starts_with("error") {
        text = if text.is_empty() { "Error".to_owned() } else { format!("Error: {text}") };
    }
    let mut shown = Said::default();
    if !media.0.is_empty() {
        shown.0.push(Node::text(format!("What {name} returned:")));
        shown.0.extend(media.0);
    }
    let cached = part.cache_control.as_ref().filter(|_| writer.quirks.cache_control);
    let content = match cached {
        Some(_) => {
            let object = Object::typed("text").with("text", Node::text(text));
            hung(object, part, true)
        }
        None => Node::text(text),
    };
    Ok((Said(vec![content]), shown))
}

/// A result whose call is not in the conversation, in words.
///
/// Errors: as [`result`].
pub(super) fn orphan<'a>(
    writer: &mut Writer<'a, '_>,
    result: &'a ToolResult,
    at: usize,
) -> Result<Said<'a>, Fault> {
    let name = result.name.as_deref().unwrap_or("a tool");
    let mut said = Said(vec![Node::text(format!("What {name} returned earlier:"))]);
    said.0.extend(read(writer, result.parts.iter(), at)?.0);
    Ok(said)
}

/// An object with what hangs on its part.
fn hung<'a>(mut object: Object<'a>, part: &'a Part, cached: bool) -> Node<'a> {
    if let Some(cache_control) = part.cache_control.as_ref().filter(|_| cached) {
        object.put("cache_control", Node::raw(cache_control));
    }
    for (name, value) in part.extras.of(CHAT) {
        object.put_extra(name, value);
    }
    object.node()
}

fn part(node: Node<'_>) -> Node<'_> {
    match node {
        Node::Text(_) => Object::typed("text").with("text", node).node(),
        other => other,
    }
}
