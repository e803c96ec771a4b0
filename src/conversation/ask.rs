//! What a client asks a model: the turns so far, the tools, and how to answer.

use super::{Extras, Format, Json, Part};

/// One request, whatever format it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The format it came in, for what only that format knows.
    pub format: Format,
    /// In order, system turns among them where the client put them.
    pub turns: Vec<Turn>,
    pub tools: Vec<Tool>,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    /// Most tokens of the answer, reasoning included.
    pub max_tokens: Option<u64>,
    pub sampling: Sampling,
    /// What the text of the answer must be.
    pub text_format: Option<TextFormat>,
    pub reasoning: Option<Reasoned>,
    /// OpenAI's `verbosity`: `low`, `medium`, `high`.
    pub verbosity: Option<String>,
    /// The end user: OpenAI's `safety_identifier` or `user`, Anthropic's `metadata.user_id`.
    pub user: Option<String>,
    /// OpenAI's `metadata`: an object of strings.
    pub metadata: Option<Json>,
    /// `auto`, `default`, `flex`, `priority`, … in OpenAI's words; Anthropic's `standard_only` is `default`.
    pub service_tier: Option<String>,
    pub stream: bool,
    /// Top-level fields with no place above. They ride along for their own format.
    pub extras: Extras,
}

/// One turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    pub role: Role,
    pub parts: Vec<Part>,
    /// OpenAI's `name` of a participant.
    pub name: Option<String>,
    /// Fields of the message itself that its format alone knows.
    pub extras: Extras,
}

/// Who speaks. Results of tools are parts of a user's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    /// OpenAI's newer name for system; kept apart so that it comes back out.
    Developer,
    User,
    Assistant,
}

/// How tokens are drawn. Numbers keep their spelling.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    pub temperature: Option<Json>,
    pub top_p: Option<Json>,
    pub top_k: Option<Json>,
    pub min_p: Option<Json>,
    pub seed: Option<Json>,
    pub presence_penalty: Option<Json>,
    pub frequency_penalty: Option<Json>,
    pub stop: Vec<String>,
    /// Answers wanted; absent is one.
    pub n: Option<u64>,
    pub logit_bias: Option<Json>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<u64>,
}

/// What the answer's text must be.
#[derive(Clone, Debug, PartialEq)]
pub enum TextFormat {
    /// Any JSON object.
    JsonObject,
    JsonSchema {
        name: String,
        description: Option<String>,
        schema: Json,
        strict: Option<bool>,
    },
    /// A kind that only its format knows (a grammar).
    Foreign {
        format: Format,
        value: Json,
    },
}

/// How much to think, and what to show of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reasoned {
    pub effort: Option<Effort>,
    /// Anthropic's and Gemini's budget, in tokens.
    pub budget_tokens: Option<u64>,
    /// Anthropic's `adaptive`: the model decides.
    pub adaptive: bool,
    /// Thinking is switched off in so many words.
    pub disabled: bool,
    /// OpenAI's `summary`: `auto`, `concise`, `detailed`.
    pub summary: Option<String>,
    /// Anthropic's `display`, Gemini's `includeThoughts`: `Some(false)` hides the thoughts.
    pub show: Option<bool>,
}

/// OpenAI's `reasoning_effort`, with the words of all vendors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

/// One tool the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    pub name: String,
    /// The namespace it is in (Codex sends `namespace` tools that hold functions).
    pub namespace: Option<String>,
    pub description: Option<String>,
    pub kind: ToolKind,
    pub cache_control: Option<Json>,
    pub extras: Extras,
}

/// What the tool takes.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolKind {
    /// JSON arguments. `schema` is the JSON Schema object; absent: no arguments.
    Function { schema: Option<Json>, strict: Option<bool> },
    /// Free text, perhaps bound by a grammar: OpenAI's `custom` tools. `format` is their `format` object.
    Custom { format: Option<Json> },
    /// OpenAI's `local_shell` (or `shell`): a tool the client runs, with a fixed shape.
    LocalShell { value: Json },
    /// OpenAI's `apply_patch` as a tool type of its own.
    ApplyPatch { value: Json },
    /// OpenAI's `tool_search` that the client runs; the whole tool object.
    ToolSearch { value: Json },
    /// A tool the provider runs itself: `web_search`, `code_interpreter`, `mcp`, …; the whole tool object.
    Hosted { format: Format, value: Json },
}

/// Which kind of tool a call or a result belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CallKind {
    #[default]
    Function,
    Custom,
    LocalShell,
    ApplyPatch,
    ToolSearch,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ToolChoice {
    Auto,
    None,
    /// Any tool, but one.
    Required,
    Named {
        name: String,
        namespace: Option<String>,
        kind: CallKind,
    },
    /// Only these may be called; `required`: one of them must.
    Allowed {
        names: Vec<String>,
        required: bool,
    },
    /// A choice only its format knows.
    Foreign {
        format: Format,
        value: Json,
    },
}

impl Ask {
    /// An empty request that came in a format.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            turns: Vec::new(),
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            max_tokens: None,
            sampling: Sampling::default(),
            text_format: None,
            reasoning: None,
            verbosity: None,
            user: None,
            metadata: None,
            service_tier: None,
            stream: false,
            extras: Extras::default(),
        }
    }

    /// The name of the tool that a call's id belongs to.
    pub fn called(&self, call_id: &str) -> Option<&str> {
        let parts = self.turns.iter().flat_map(|turn| &turn.parts);
        parts.filter_map(Part::as_call).find(|call| call.id == call_id).map(|call| &*call.name)
    }

    /// Where a turn stands in the client's own words, as near as turns tell: `messages[2]`, `input[0]`. A system
    /// prompt beside the messages is not counted among them.
    pub fn turn_path(&self, at: usize) -> String {
        let (list, apart) = match self.format {
            Format::OpenAiResponses => ("input", Some("instructions")),
            Format::Anthropic => ("messages", Some("system")),
            _ => ("messages", None),
        };
        let begins_apart = self.turns.first().is_some_and(|turn| turn.role == Role::System);
        match (apart.filter(|_| begins_apart), at.checked_sub(1)) {
            (None, _) => format!("{list}[{at}]"),
            (Some(apart), None) => apart.to_owned(),
            (Some(_), Some(at)) => format!("{list}[{at}]"),
        }
    }

    /// The same for one part of a turn: `messages[2].content[0]`.
    pub fn part_path(&self, turn: usize, part: usize) -> String {
        format!("{}.content[{part}]", self.turn_path(turn))
    }

    /// Whether any turn holds a call or a result.
    pub fn has_tool_history(&self) -> bool {
        let mut parts = self.turns.iter().flat_map(|turn| &turn.parts);
        parts.any(|part| part.as_call().is_some() || part.as_result().is_some())
    }
}

impl Turn {
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        Self { role, parts, name: None, extras: Extras::default() }
    }

    /// System or developer.
    pub fn is_system(&self) -> bool {
        matches!(self.role, Role::System | Role::Developer)
    }

    /// All texts, joined by line breaks.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.parts.iter().filter_map(Part::as_text).collect();
        texts.join("\n")
    }
}

impl Effort {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::None,
            Self::Minimal,
            Self::Low,
            Self::Medium,
            Self::High,
            Self::XHigh,
            Self::Max,
        ];
        all.into_iter().find(|effort| effort.as_str() == word)
    }

    /// A budget in tokens for models that want one: LiteLLM's numbers for low to high.
    pub fn budget_tokens(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal | Self::Low => 1024,
            Self::Medium => 2048,
            Self::High => 4096,
            Self::XHigh => 8192,
            Self::Max => 16_384,
        }
    }

    /// The effort that a budget in tokens comes to: below 2048 low, below 8192 medium.
    pub fn of_budget(tokens: u64) -> Self {
        match tokens {
            0 => Self::None,
            1..2048 => Self::Low,
            2048..8192 => Self::Medium,
            _ => Self::High,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_as_the_client_counts() {
        let path = |format, first| {
            let turns = [first, Role::User].map(|role| Turn::new(role, Vec::new()));
            let ask = Ask { turns: turns.into(), ..Ask::new(format) };
            (ask.turn_path(0), ask.part_path(1, 2))
        };
        let told = |turn: &str, part: &str| (turn.to_owned(), part.to_owned());
        let chat = told("messages[0]", "messages[1].content[2]");
        assert_eq!(path(Format::OpenAiChat, Role::System), chat);
        assert_eq!(path(Format::Anthropic, Role::User), chat);
        let messages = told("system", "messages[0].content[2]");
        assert_eq!(path(Format::Anthropic, Role::System), messages);
        let responses = told("instructions", "input[0].content[2]");
        assert_eq!(path(Format::OpenAiResponses, Role::System), responses);
        let developer = told("input[0]", "input[1].content[2]");
        assert_eq!(path(Format::OpenAiResponses, Role::Developer), developer);
    }
}
