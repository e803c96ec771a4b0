//! What a turn is made of. Every part has a place for what only its own format knows, so that it comes
//! back out where the conversation goes on in that format.

use super::served::Served;
use super::{Extras, Format, Json};

/// One part of a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub content: Content,
    /// Anthropic's `cache_control`, which Bedrock and some OpenAI-compatible servers have too.
    pub cache_control: Option<Json>,
    pub extras: Extras,
}

/// What the part says.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    Text {
        text: String,
        annotations: Vec<Annotation>,
        /// Log probabilities of this text, as OpenAI's `content` list of them.
        logprobs: Option<Json>,
    },
    /// The model declines, in words of its own for that.
    Refusal(String),
    Media(Media),
    Reasoning(Reasoning),
    ToolCall(ToolCall),
    ToolResult(ToolResult),
    /// What the gateway did itself; no provider's half gets to see it.
    Served(Box<Served>),
    /// A block that only one format has (a hosted tool's call, a compaction): opaque, carried whole, written
    /// out again for that format only.
    Foreign {
        format: Format,
        value: Json,
    },
}

/// A picture, a sound, a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    pub kind: MediaKind,
    pub source: Source,
    /// A file's name.
    pub name: Option<String>,
    /// OpenAI's `detail` of a picture: `low`, `high`, `auto`, `original`.
    pub detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    Image,
    Audio,
    Video,
    /// A PDF or another file.
    Document,
}

/// Where the bytes are.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// `data` is base64 without line breaks; `media_type` such as `image/png`.
    Base64 {
        media_type: String,
        data: String,
    },
    Url(String),
    /// An id in a provider's file store: means something to that format only.
    FileId {
        format: Format,
        id: String,
    },
    /// A document as plain text.
    Text(String),
}

/// What the model thought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reasoning {
    /// The thoughts themselves, where the provider shows them.
    pub text: String,
    /// Summaries of them, as OpenAI gives them.
    pub summary: Vec<String>,
    /// What proves them to the one who thought them.
    pub seal: Option<Seal>,
    /// Anthropic's `redacted_thinking`: the seal is all there is.
    pub redacted: bool,
    /// The item's id in its format.
    pub id: Option<String>,
}

/// An opaque text that a provider wants back unchanged: a thinking signature, encrypted reasoning, a thought
/// signature. It returns only to the format that issued it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    pub format: Format,
    pub data: String,
}

/// The model calls a tool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolCall {
    /// Pairs the call with its result.
    pub id: String,
    /// The item's own id, where the format has two (`fc_…` beside `call_…`).
    pub item_id: Option<String>,
    pub name: String,
    /// The namespace the tool is in (Codex's `namespace` tools).
    pub namespace: Option<String>,
    pub kind: super::CallKind,
    /// A function's arguments as JSON text, exactly as the model wrote them (it may be broken JSON); a custom
    /// tool's input as plain text.
    pub arguments: String,
    /// Gemini's thought signature on a call.
    pub seal: Option<Seal>,
}

/// What a tool answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolResult {
    pub call_id: String,
    /// The tool's name, where the format says it; else it is found by the call's id.
    pub name: Option<String>,
    pub kind: super::CallKind,
    /// Texts, pictures, files.
    pub parts: Vec<Part>,
    pub is_error: bool,
}

/// A citation.
#[derive(Clone, Debug, PartialEq)]
pub enum Annotation {
    /// OpenAI's `url_citation`. Indices count characters of the text.
    Url { url: String, title: Option<String>, start: Option<u64>, end: Option<u64> },
    /// Any other kind, as its format has it.
    Foreign { format: Format, value: Json },
}

impl Part {
    pub fn new(content: Content) -> Self {
        Self { content, cache_control: None, extras: Extras::default() }
    }

    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Content::Text { text: text.into(), annotations: Vec::new(), logprobs: None })
    }

    pub fn reasoning(reasoning: Reasoning) -> Self {
        Self::new(Content::Reasoning(reasoning))
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    pub fn as_call(&self) -> Option<&ToolCall> {
        match &self.content {
            Content::ToolCall(call) => Some(call),
            _ => None,
        }
    }

    /// The id of the item that it is in, in formats whose items have one.
    pub fn item_id(&self) -> Option<String> {
        match &self.content {
            Content::Reasoning(reasoning) => reasoning.id.clone(),
            Content::ToolCall(call) => call.item_id.clone(),
            _ => self.extras.get("id").and_then(Json::read),
        }
    }

    pub fn as_result(&self) -> Option<&ToolResult> {
        match &self.content {
            Content::ToolResult(result) => Some(result),
            _ => None,
        }
    }
}

impl ToolCall {
    /// The arguments as one JSON object. No arguments are `{}`; what is broken, or no object, is wrapped as
    /// `{"arguments": "…"}` rather than refused: it is history, and nobody can mend it any more.
    pub fn object(&self) -> Json {
        let text = self.arguments.trim();
        if text.is_empty() {
            return Json::empty_object();
        }
        match Json::parse(text) {
            Some(json) if json.is_object() => json,
            _ => Json::of(&serde_json::json!({ "arguments": self.arguments })),
        }
    }
}

impl ToolResult {
    /// All texts, joined by line breaks.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.parts.iter().filter_map(Part::as_text).collect();
        texts.join("\n")
    }
}
