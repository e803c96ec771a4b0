//! Floor 1: what a conversation is, whatever format carries it. A client's half of a format reads its
//! request into an [`Ask`]; a provider's half writes it out again in its own words, and reads the answer
//! into a [`Reply`] or, streamed, into [`Event`]s. So each format is written twice, and not once for each
//! pair. Nothing here knows how any format spells anything: only which ones there are.

mod ask;
pub mod estimate;
mod event;
mod json;
mod loss;
mod part;
pub mod repair;
mod reply;
pub mod served;
pub mod stand_in;
pub mod think;
pub mod usage;

pub use ask::{
    Ask, CallKind, Effort, Reasoned, Role, Sampling, TextFormat, Tool, ToolChoice, ToolKind, Turn,
};
pub use event::{Delta, Event, Fold};
pub use json::Json;
pub use loss::{Loss, Losses};
pub use part::{
    Annotation, Content, Media, MediaKind, Part, Reasoning, Seal, Source, ToolCall, ToolResult,
};
pub use reply::{Choice, Finish, Head, Reply};
pub use usage::Usage;

/// The formats that carry a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// OpenAI's chat completions, which most servers speak; also the legacy completions.
    OpenAiChat,
    /// OpenAI's responses.
    OpenAiResponses,
    /// Anthropic's messages.
    Anthropic,
    /// Google's generateContent.
    Gemini,
    /// Amazon Bedrock's Converse.
    Bedrock,
    /// Ollama's own /api/chat.
    Ollama,
    /// Cohere's chat, version 2.
    Cohere,
}

impl Format {
    /// The word in rows, headers and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai_chat",
            Self::OpenAiResponses => "openai_responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Bedrock => "bedrock",
            Self::Ollama => "ollama",
            Self::Cohere => "cohere",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::OpenAiChat,
            Self::OpenAiResponses,
            Self::Anthropic,
            Self::Gemini,
            Self::Bedrock,
            Self::Ollama,
            Self::Cohere,
        ];
        all.into_iter().find(|format| format.as_str() == word)
    }
}

/// Fields that have no place of their own here, with the format they came in: written out again for that
/// format, and a loss for any other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extras(Option<Box<Tagged>>);

type Tagged = (Format, Vec<(String, Json)>);

impl Extras {
    pub fn new(format: Format, fields: Vec<(String, Json)>) -> Self {
        Self((!fields.is_empty()).then(|| Box::new((format, fields))))
    }

    /// The fields, where they came in this format; else none.
    pub fn of(&self, format: Format) -> &[(String, Json)] {
        match &self.0 {
            Some(kept) if kept.0 == format => &kept.1,
            _ => &[],
        }
    }

    /// The fields that another format than `format` brought: what is lost when this is written in it.
    pub fn foreign_to(&self, format: Format) -> impl Iterator<Item = &str> {
        let kept = self.0.as_deref().filter(|kept| kept.0 != format);
        kept.into_iter().flat_map(|kept| kept.1.iter().map(|(name, _)| name.as_str()))
    }

    /// One field by name, whatever format brought it.
    pub fn get(&self, name: &str) -> Option<&Json> {
        let kept = self.0.as_deref()?;
        kept.1.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// Takes a field out, whatever format brought it.
    pub fn take(&mut self, name: &str) -> Option<Json> {
        let kept = self.0.as_deref_mut()?;
        let at = kept.1.iter().position(|(field, _)| field == name)?;
        let (_, value) = kept.1.remove(at);
        if kept.1.is_empty() {
            self.0 = None;
        }
        Some(value)
    }

    /// Gives a field that is there another value.
    pub fn replace(&mut self, name: &str, value: Json) {
        let fields = self.0.as_deref_mut().into_iter().flat_map(|kept| &mut kept.1);
        if let Some((_, old)) = fields.into_iter().find(|(field, _)| field == name) {
            *old = value;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}
