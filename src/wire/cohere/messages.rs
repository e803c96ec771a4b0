//! Turns as Cohere's messages. What a model says before it calls a tool is its `tool_plan`; a result of a tool
//! is a document that the answer may cite (<https://docs.cohere.com/v2/docs/tool-use-overview>).

use serde::Serialize;

use crate::conversation::{
    Ask, Content, Json, Losses, Media, MediaKind, Part, Role, Source, ToolResult, Turn,
};
use crate::ground::fault::Fault;

#[derive(Debug, Default, Serialize)]
pub(super) struct Message<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    tool_plan: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    content: Vec<Block<'a>>,
}

#[derive(Debug, Serialize)]
struct Call<'a> {
    id: &'a str,
    r#type: &'static str,
    function: Called<'a>,
}

#[derive(Debug, Serialize)]
struct Called<'a> {
    name: &'a str,
    arguments: String,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text { text: String },
    Thinking { thinking: String },
    ImageUrl { image_url: Picture<'a> },
    Document { document: Document },
}

#[derive(Debug, Serialize)]
struct Picture<'a> {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Document {
    data: Json,
}

/// The conversation as messages. `thinks`: the model takes its own thoughts back.
///
/// # Errors
/// `InvalidRequest`: a file or a sound, which would have to be left out.
pub(super) fn write<'a>(
    ask: &'a Ask,
    thinks: bool,
    losses: &mut Losses,
) -> Result<Vec<Message<'a>>, Fault> {
    let mut writer = Writer { ask, thinks, losses, messages: Vec::with_capacity(ask.turns.len()) };
    for (at, turn) in ask.turns.iter().enumerate() {
        match turn.role {
            Role::System | Role::Developer => writer.system(&turn.text()),
            Role::User => writer.user(at, turn)?,
            Role::Assistant => writer.assistant(at, turn)?,
        }
    }
    Ok(writer.messages)
}

/// A system message with a text of our own.
pub(super) fn system<'a>(text: String) -> Message<'a> {
    Message { role: "system", content: vec![Block::Text { text }], ..Message::default() }
}

struct Writer<'a, 'l> {
    ask: &'a Ask,
    thinks: bool,
    losses: &'l mut Losses,
    messages: Vec<Message<'a>>,
}

impl<'a> Writer<'a, '_> {
    fn system(&mut self, text: &str) {
        if !text.trim().is_empty() {
            self.messages.push(system(text.to_owned()));
        }
    }

    /// Results come first, each a message; what else there is makes one message after them.
    fn user(&mut self, at: usize, turn: &'a Turn) -> Result<(), Fault> {
        let mut content = Vec::new();
        for (place, part) in turn.parts.iter().enumerate() {
            let path = self.ask.part_path(at, place);
            match &part.content {
                Content::Text { text, .. } | Content::Refusal(text) => say(&mut content, text),
                Content::Media(media) => content.push(show(&path, media)?),
                Content::ToolResult(result) => self.result(&path, result, &mut content)?,
                Content::Served(_) | Content::Foreign { .. } => self.lose(path),
                Content::Reasoning(_) | Content::ToolCall(_) => {}
            }
        }
        self.push(Message { role: "user", content, ..Message::default() });
        Ok(())
    }

    fn result(
        &mut self,
        path: &str,
        result: &'a ToolResult,
        around: &mut Vec<Block<'a>>,
    ) -> Result<(), Fault> {
        let mut content = Vec::new();
        for part in &result.parts {
            match &part.content {
                Content::Text { text, .. } | Content::Refusal(text) => {
                    content.push(document(text, result.is_error));
                }
                Content::Foreign { value, .. } => {
                    content.push(document(value.as_str(), result.is_error));
                }
                // Results hold text only: a picture goes into the user's message after them.
                Content::Media(media) if media.kind == MediaKind::Image => {
                    let name = result.name.as_deref().or_else(|| self.ask.called(&result.call_id));
                    let name = name.unwrap_or("the tool");
                    say(around, &format!("(A picture that {name} returned:)"));
                    around.push(show(path, media)?);
                }
                Content::Media(media) => content.push(match &media.source {
                    Source::Text(text) => document(text, result.is_error),
                    _ => show(path, media)?,
                }),
                _ => {}
            }
        }
        if content.is_empty() {
            content.push(document("", result.is_error));
        }
        let tool_call_id = Some(&*result.call_id);
        let message = Message { role: "tool", tool_call_id, content, ..Message::default() };
        let at = self.messages.iter().rposition(Message::is_of_calls);
        self.messages.insert(at.map_or(self.messages.len(), |at| at + 1), message);
        Ok(())
    }

    fn assistant(&mut self, at: usize, turn: &'a Turn) -> Result<(), Fault> {
        let mut message = Message { role: "assistant", ..Message::default() };
        let calls = turn.parts.iter().filter_map(Part::as_call);
        message.tool_calls.extend(calls.map(|call| Call {
            id: &call.id,
            r#type: "function",
            function: Called { name: &call.name, arguments: call.object().as_str().to_owned() },
        }));
        // Models without thinking plan their calls in words, and have no other text beside calls.
        let plans = !message.tool_calls.is_empty() && !self.thinks;
        for (place, part) in turn.parts.iter().enumerate() {
            match &part.content {
                Content::Text { text, .. } | Content::Refusal(text) if plans => {
                    join(&mut message.tool_plan, text);
                }
                Content::Text { text, .. } | Content::Refusal(text) => {
                    say(&mut message.content, text);
                }
                Content::Reasoning(reasoning) => {
                    let thoughts = match reasoning.text.as_str() {
                        "" => reasoning.summary.join("\n"),
                        text => text.to_owned(),
                    };
                    if plans {
                        join(&mut message.tool_plan, &thoughts);
                    } else if self.thinks && !thoughts.is_empty() {
                        message.content.push(Block::Thinking { thinking: thoughts });
                    }
                }
                Content::Media(_) | Content::Served(_) | Content::Foreign { .. } => {
                    self.lose(self.ask.part_path(at, place));
                }
                Content::ToolCall(_) | Content::ToolResult(_) => {}
            }
        }
        self.push(message);
        Ok(())
    }

    fn push(&mut self, message: Message<'a>) {
        if !message.content.is_empty() || !message.tool_calls.is_empty() {
            self.messages.push(message);
        }
    }

    fn lose(&mut self, path: String) {
        self.losses.add(path, "Cohere has no such part of a message");
    }
}

impl Message<'_> {
    /// Calls or results: what a further result belongs behind, whatever a client put between.
    fn is_of_calls(&self) -> bool {
        self.tool_call_id.is_some() || !self.tool_calls.is_empty()
    }
}

fn say(content: &mut Vec<Block<'_>>, text: &str) {
    if !text.is_empty() {
        content.push(Block::Text { text: text.to_owned() });
    }
}

fn show<'a>(path: &str, media: &'a Media) -> Result<Block<'a>, Fault> {
    let url = match (media.kind, &media.source) {
        (_, Source::Text(text)) => return Ok(Block::Text { text: text.clone() }),
        (MediaKind::Image, Source::Base64 { media_type, data }) => {
            format!("data:{media_type};base64,{data}")
        }
        (MediaKind::Image, Source::Url(url)) => url.clone(),
        (MediaKind::Image, Source::FileId { .. }) => {
            let what = format!(
                "`{path}` is a picture in another provider's file store. Send it to Cohere as a data URL."
            );
            return Err(Fault::invalid(what).with_param(path.to_owned()));
        }
        (kind, _) => {
            let what = match kind {
                MediaKind::Audio => "sound",
                MediaKind::Video => "video",
                MediaKind::Image | MediaKind::Document => "files",
            };
            let what =
                format!("`{path}`: Cohere's chat takes no {what}. Send the content as text.");
            return Err(Fault::invalid(what).with_param(path.to_owned()));
        }
    };
    let detail =
        media.detail.as_deref().filter(|detail| matches!(*detail, "auto" | "low" | "high"));
    Ok(Block::ImageUrl { image_url: Picture { url, detail } })
}

/// A tool's answer as a document: an object as it is, anything else under a name.
fn document(text: &str, is_error: bool) -> Block<'static> {
    let name = if is_error { "error" } else { "output" };
    let object = Json::parse(text.trim()).filter(|json| json.is_object() && !is_error);
    let data = object.unwrap_or_else(|| Json::of(&serde_json::json!({ name: text })));
    Block::Document { document: Document { data } }
}

fn join(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push('\n');
    }
    text.push_str(more);
}
