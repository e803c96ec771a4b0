//! What a model answers, whole.

use super::{Part, Usage};

/// One answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    pub head: Head,
    /// At least one; more where `n` asked for more.
    pub choices: Vec<Choice>,
    pub usage: Option<Usage>,
}

/// What is said of an answer as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The provider's own id.
    pub id: Option<String>,
    /// The provider's own name for the model.
    pub model: Option<String>,
    /// Seconds since 1970.
    pub created: Option<i64>,
    pub system_fingerprint: Option<String>,
    /// In OpenAI's words, as [`super::Ask::service_tier`].
    pub service_tier: Option<String>,
}

/// One of the answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// In order: reasoning, texts, refusals, calls, media.
    pub parts: Vec<Part>,
    /// Absent: the answer broke off.
    pub finish: Option<Finish>,
}

/// Why the model stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It had said all.
    Stop,
    /// It met one of the stop sequences, where the provider says so, and which.
    StopSequence(Option<String>),
    /// It ran out of tokens it was given.
    Length,
    /// The context window is full.
    ContextWindow,
    /// It calls tools and waits for their results.
    ToolCalls,
    /// Something was withheld; the provider's explanation, where there is one.
    Filtered(Option<String>),
    /// A long turn is to be continued (Anthropic's `pause_turn`).
    Pause,
    /// The model made a mistake that ended the answer (Gemini's `MALFORMED_FUNCTION_CALL`): its word for it.
    Fault(String),
}

impl Finish {
    /// A provider that says `stop` beside calls of tools means the calls.
    pub fn with_calls(self, has_calls: bool) -> Self {
        match self {
            Self::Stop if has_calls => Self::ToolCalls,
            Self::ToolCalls if !has_calls => Self::Stop,
            other => other,
        }
    }
}

impl Choice {
    pub fn has_calls(&self) -> bool {
        self.parts.iter().any(|part| part.as_call().is_some())
    }
}
