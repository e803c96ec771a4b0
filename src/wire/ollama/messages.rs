//! Turns as Ollama's messages. Texts of a message are one string, its pictures a list of bare base64, and
//! each result of a tool is a message of its own (<https://docs.ollama.com/capabilities/tool-calling>).

use serde::Serialize;

use crate::conversation::{
    Ask, Content, Json, Losses, Media, MediaKind, Part, Role, Source, ToolResult, Turn,
};
use crate::ground::fault::Fault;

#[derive(Debug, Default, Serialize)]
pub(super) struct Message<'a> {
    role: &'static str,
    content: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    thinking: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Call<'a> {
    id: &'a str,
    r#type: &'static str,
    function: Called<'a>,
}

#[derive(Debug, Serialize)]
struct Called<'a> {
    index: usize,
    name: &'a str,
    /// An object here, not a text.
    arguments: Json,
}

/// The conversation as messages.
///
/// # Errors
/// `InvalidRequest`: a picture by its address, or a file, which would have to be left out.
pub(super) fn write<'a>(ask: &'a Ask, losses: &mut Losses) -> Result<Vec<Message<'a>>, Fault> {
    let mut writer = Writer { ask, losses, messages: Vec::with_capacity(ask.turns.len()) };
    for (at, turn) in ask.turns.iter().enumerate() {
        writer.turn(at, turn)?;
    }
    let mut messages = writer.messages;
    if messages.is_empty() {
        // No messages at all would only load the model.
        messages.push(Message { role: "user", ..Message::default() });
    }
    Ok(messages)
}

struct Writer<'a, 'l> {
    ask: &'a Ask,
    losses: &'l mut Losses,
    messages: Vec<Message<'a>>,
}

impl<'a> Writer<'a, '_> {
    fn turn(&mut self, at: usize, turn: &'a Turn) -> Result<(), Fault> {
        let role = match turn.role {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let mut message = Message { role, ..Message::default() };
        for (place, part) in turn.parts.iter().enumerate() {
            self.part(&self.ask.part_path(at, place), part, &mut message)?;
        }
        if !message.is_empty() {
            self.messages.push(message);
        }
        Ok(())
    }

    fn part(&mut self, path: &str, part: &'a Part, message: &mut Message<'a>) -> Result<(), Fault> {
        match &part.content {
            Content::Text { text, .. } | Content::Refusal(text) => message.say(text),
            Content::Media(media) => message.show(path, media)?,
            Content::Reasoning(reasoning) => {
                // What came as OpenAI's summary was told to that client as such, and is all it gives back.
                let thoughts = match reasoning.text.as_str() {
                    "" => &reasoning.summary.join("\n"),
                    text => text,
                };
                join(&mut message.thinking, thoughts);
            }
            Content::ToolCall(call) => {
                let index = message.tool_calls.len();
                let function = Called { index, name: &call.name, arguments: call.object() };
                message.tool_calls.push(Call { id: &call.id, r#type: "function", function });
            }
            Content::ToolResult(result) => self.result(path, result, message)?,
            Content::Served(_) | Content::Foreign { .. } => {
                self.losses.add(path.to_owned(), "Ollama has no such part of a message");
            }
        }
        Ok(())
    }

    /// A result goes out before the message it stands in, so results come first; pictures in it go into that
    /// message, because templates show the pictures of users only.
    fn result(
        &mut self,
        path: &str,
        result: &'a ToolResult,
        around: &mut Message<'a>,
    ) -> Result<(), Fault> {
        let name = result.name.as_deref().or_else(|| self.ask.called(&result.call_id));
        let mut message = Message {
            role: "tool",
            tool_name: name,
            tool_call_id: Some(&result.call_id),
            ..Message::default()
        };
        let pictures = around.images.len();
        for part in &result.parts {
            match &part.content {
                Content::Media(media) if media.kind == MediaKind::Image => {
                    around.show(path, media)?;
                }
                Content::Media(media) => message.show(path, media)?,
                Content::Text { text, .. } | Content::Refusal(text) => message.say(text),
                Content::Foreign { value, .. } => message.say(value.as_str()),
                _ => {}
            }
        }
        if around.images.len() > pictures {
            let name = name.unwrap_or("the tool");
            around.say(&format!("(A picture that {name} returned.)"));
        }
        if result.is_error && !message.content.to_ascii_lowercase().starts_with("error") {
            message.content.insert_str(0, "Error: ");
        }
        let at = self.messages.iter().rposition(Message::is_of_calls);
        self.messages.insert(at.map_or(self.messages.len(), |at| at + 1), message);
        Ok(())
    }
}

impl<'a> Message<'a> {
    fn is_empty(&self) -> bool {
        self.content.is_empty()
            && self.thinking.is_empty()
            && self.images.is_empty()
            && self.tool_calls.is_empty()
    }

    /// Calls or results: what a further result belongs behind, whatever a client put between.
    fn is_of_calls(&self) -> bool {
        self.tool_call_id.is_some() || !self.tool_calls.is_empty()
    }

    fn say(&mut self, text: &str) {
        join(&mut self.content, text);
    }

    fn show(&mut self, path: &str, media: &'a Media) -> Result<(), Fault> {
        let refuse = |what: String| Err(Fault::invalid(what).with_param(path.to_owned()));
        match (media.kind, &media.source) {
            (_, Source::Text(text)) => self.say(text),
            (MediaKind::Image, Source::Base64 { data, .. }) => self.images.push(data),
            (MediaKind::Image, Source::Url(url)) => {
                let inline = url.strip_prefix("data:").and_then(|url| url.split_once(";base64,"));
                match inline {
                    Some((_, data)) => self.images.push(data),
                    None => {
                        return refuse(format!(
                            "`{path}` is a picture by its address, which Ollama does not fetch. Send it as \
                             a data URL: `data:image/png;base64,…`."
                        ));
                    }
                }
            }
            (MediaKind::Image, Source::FileId { .. }) => {
                return refuse(format!(
                    "`{path}` is a picture in another provider's file store. Send it to Ollama as a data \
                     URL: `data:image/png;base64,…`."
                ));
            }
            (kind, _) => {
                let what = match kind {
                    MediaKind::Audio => "sound",
                    MediaKind::Video => "video",
                    MediaKind::Image | MediaKind::Document => "files",
                };
                return refuse(format!(
                    "`{path}`: Ollama takes no {what}. Send the content as text, or as pictures."
                ));
            }
        }
        Ok(())
    }
}

fn join(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push('\n');
    }
    text.push_str(more);
}
