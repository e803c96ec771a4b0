//! Which servers that speak chat completions take what. One row for each provider of the catalogue, and one
//! for servers that only say they are compatible; the facts are from the vendors' documentation and from what
//! their servers were seen to refuse. Nothing here writes a request: it only says how.

mod rows;

use super::provider::model;
use crate::conversation::stand_in::{Abilities, CallIds, IdCharset};
use crate::conversation::{Ask, Effort, Format};
use crate::wire::codec::Target;
use crate::wire::fields::Fields;
use rows::{ROWS, UNKNOWN, UNKNOWN_THINKING};

/// How one provider's dialect differs from OpenAI's.
#[derive(Debug)]
pub(super) struct Quirks {
    /// As in the catalogue; empty for a server that is not known.
    pub name: &'static str,
    /// The hosts by which it is known behind the prefix `openai/` too.
    hosts: &'static [&'static str],
    takes: Takes,
    /// The rules of OpenAI's own models hold (`o3`, `gpt-5`), and custom tools are known.
    pub openai_models: bool,
    /// The role `developer` is known; else such turns are of the role `system`.
    pub developer: bool,
    /// Which fields of messages are taken beside OpenAI's and those it is told apart by.
    pub message_fields: MessageFields,
    /// Messages may have a `name`.
    pub names: bool,
    /// How earlier thoughts go back.
    pub thoughts: Thoughts,
    pub thinking: Thinking,
    /// `tool_choice` may be an object that names a tool.
    pub named_choice: bool,
    /// The word for "some tool must be called".
    pub required: &'static str,
    /// Functions may be `strict`.
    pub strict_tools: bool,
    pub json: JsonAnswers,
    /// Texts of one message may stand in a list; else they are joined.
    pub text_lists: bool,
    /// `content` may be null beside calls.
    pub null_content: bool,
    /// `cache_control` on parts and tools is understood.
    pub cache_control: bool,
    /// Users and assistants must take turns, one system message before them.
    pub alternating: bool,
    /// The most stop sequences.
    pub most_stops: usize,
    /// Files may be given by URL.
    pub file_urls: bool,
    pub videos: bool,
}

#[derive(Clone, Copy, Debug)]
enum Takes {
    AllBut(&'static [&'static str]),
    Only(&'static [&'static str]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageFields {
    /// These, and no other.
    Only(&'static [&'static str]),
    Any,
}

/// Earlier thoughts in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thoughts {
    /// Refused, or of no use.
    Never,
    /// `reasoning_content`, on messages with calls; without it DeepSeek and Kimi answer 400
    /// (<https://api-docs.deepseek.com/guides/thinking_mode#tool-calls>).
    BesideCalls,
    /// `reasoning_content` on every message; the model's template decides.
    Content,
    /// The same, and as `reasoning`, which is what newer vLLM reads
    /// (<https://github.com/vllm-project/vllm/issues/38488>).
    Both,
    /// OpenRouter's `reasoning` and `reasoning_details`
    /// (<https://openrouter.ai/docs/use-cases/reasoning-tokens#preserving-reasoning-blocks>).
    Details,
}

/// How much to think, and how that is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    Never,
    /// `reasoning_effort`, of these words.
    Words(&'static [Effort]),
    /// The same, where the model is known to reason; others refuse the field.
    Capable(&'static [Effort]),
    /// By OpenAI's models.
    OpenAi,
    /// `thinking.type` and `reasoning_effort`.
    DeepSeek,
    /// By the model: gpt-oss takes words, qwen `none` or nothing
    /// (<https://console.groq.com/docs/reasoning>).
    Groq,
    /// By the model (<https://docs.x.ai/docs/guides/reasoning>).
    Xai,
    /// `reasoning`, an object.
    OpenRouter,
    /// `reasoning_effort`; the chat template is told to leave thinking off.
    Template,
}

/// What can be asked of the text of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonAnswers {
    Both,
    /// No `json_object`: a schema of any object is asked for.
    SchemaOnly,
    /// No `json_schema`: the schema goes into the instructions.
    ObjectOnly,
}

/// Fields of OpenAI's that some servers refuse. What is not in this list was meant for a server that knows it,
/// and is sent.
const FIELDS: [&str; 25] = [
    "audio",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "metadata",
    "min_p",
    "modalities",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "temperature",
    "top_k",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

/// The row for a target. What stands behind `openai/` with a base of its own is known by its host, or not at
/// all.
pub(super) fn of(target: &Target<'_>) -> &'static Quirks {
    known(target).unwrap_or_else(|| {
        let is_openai = target.provider.name == "openai";
        unknown(target.model, if is_openai { host(target.base) } else { "" })
    })
}

/// The row of a server that has one.
fn known(target: &Target<'_>) -> Option<&'static Quirks> {
    let name = target.provider.name;
    if name != "openai" {
        return ROWS.iter().find(|row| row.name == name);
    }
    let host = host(target.base);
    let is = |known: &&str| {
        host.strip_suffix(known)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.') || rest.ends_with('-'))
    };
    ROWS.iter().find(|row| row.hosts.iter().any(is))
}

/// What tools and ids a server takes as they are.
pub fn abilities(target: &Target<'_>) -> Abilities {
    let quirks = of(target);
    let call_id = if is_mistral(quirks, target.model) {
        CallIds { length: 9, charset: IdCharset::Alphanumeric, exact: true }
    } else {
        Abilities::FUNCTIONS.call_id
    };
    let hosted: &[Format] = if quirks.openai_models { &[Format::OpenAiChat] } else { &[] };
    Abilities { custom_tools: quirks.openai_models, hosted, call_id, ..Abilities::FUNCTIONS }
}

/// Whether a body of chat completions holds something that the server refuses and a translation would mend:
/// then it must not pass as it is. A server that is not known is trusted to take what its client sends.
pub fn wants_mending(target: &Target<'_>, body: &[u8]) -> bool {
    let Some(quirks) = known(target) else { return false };
    let Some(fields) = Fields::of_bytes(body) else { return false };
    let is_openai = quirks.openai_models && model::Model::of(target) != model::Model::Plain;
    let refuses = |name: &str| {
        let usual = FIELDS.contains(&name) && !quirks.takes_any(name);
        usual
            || is_openai && REASONING_MODELS_REFUSE.contains(&name)
            || name == "stream_options" && !target.provider.stream_usage
            || name == "tool_choice" && quirks.required != "required"
    };
    if fields.iter().any(|(name, value)| value.get() != "null" && refuses(name)) {
        return true;
    }
    let holds = |mark: &&str| memchr::memmem::find(body, mark.as_bytes()).is_some();
    let strict = quirks.message_fields != MessageFields::Any;
    strict && STRAY.iter().any(holds)
        || !quirks.developer && holds(&"\"developer\"")
        || is_mistral(quirks, target.model) && holds(&"\"tool_call_id\"")
        || quirks.thoughts == Thoughts::BesideCalls && holds(&"\"tool_call_id\"")
}

/// What OpenAI's reasoning models refuse, or take by another name.
const REASONING_MODELS_REFUSE: [&str; 9] = [
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "presence_penalty",
    "stop",
    "temperature",
    "top_logprobs",
    "top_p",
];

/// Fields of messages that answers have and strict servers do not take back, and those of other vendors.
const STRAY: [&str; 5] = [
    "\"reasoning_content\"",
    "\"reasoning_details\"",
    "\"annotations\"",
    "\"cache_control\"",
    "\"refusal\"",
];

/// The host of a base URL, which has been parsed before: this is asked several times for each request.
fn host(base: &str) -> &str {
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    // A port, but not the groups of an IPv6 address.
    if host.starts_with('[') { host } else { host.split(':').next().unwrap_or_default() }
}

fn unknown(model: &str, host: &str) -> &'static Quirks {
    let thinks = ["deepseek", "kimi", "moonshot", "minimax", "mimo"];
    let model = model.to_ascii_lowercase();
    if thinks.iter().any(|name| model.contains(name) || host.contains(name)) {
        return &UNKNOWN_THINKING;
    }
    &UNKNOWN
}

impl Quirks {
    /// Whether the provider takes a field. A client that speaks chat completions itself knows what an unknown
    /// server takes, better than any table.
    pub(super) fn takes(&self, field: &str, ask: &Ask) -> bool {
        if self.name.is_empty() && ask.format == Format::OpenAiChat {
            return true;
        }
        self.takes_any(field)
    }

    /// The same, whoever asks.
    fn takes_any(&self, field: &str) -> bool {
        match self.takes {
            Takes::AllBut(refused) => !refused.contains(&field),
            Takes::Only(taken) => !FIELDS.contains(&field) || taken.contains(&field),
        }
    }

    /// What the provider is called in messages.
    pub(super) fn shown(&self) -> &'static str {
        if self.name.is_empty() { "an OpenAI-compatible server" } else { self.name }
    }
}

/// Mistral's tokenizer wants ids of exactly nine letters or digits, and an assistant between a tool's result
/// and a user, wherever the model runs
/// (<https://github.com/NousResearch/hermes-agent/issues/20154>).
pub(super) fn is_mistral(quirks: &Quirks, model: &str) -> bool {
    let names = ["mistral", "mixtral", "ministral", "devstral", "magistral", "codestral"];
    let model = model.to_ascii_lowercase();
    quirks.name == "mistral"
        || !quirks.openai_models && names.iter().any(|name| model.contains(name))
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::wire::catalogue;
    use crate::wire::codec::Options;

    #[test]
    fn hosts_are_found_in_addresses() {
        let known = [
            ("https://api.openai.com/v1", "api.openai.com"),
            ("https://api.openai.com", "api.openai.com"),
            ("http://user:secret@eu.api.openai.com:8443/v1?x=/", "eu.api.openai.com"),
            ("http://[::1]:8000/v1", "[::1]:8000"),
            ("", ""),
        ];
        for (base, expected) in known {
            assert_eq!(host(base), expected, "{base}");
        }
    }

    #[test]
    fn what_a_server_would_refuse_is_mended() {
        let mended = |model: &str, base: &str, body: &str| {
            let (provider, model) = catalogue::find(model, true).expect("a provider");
            let (info, options) = (Map::new(), Options::default());
            let base = if base.is_empty() { provider.base.unwrap_or_default() } else { base };
            let target =
                Target { model, provider, base, info: &info, options: &options, stream: false };
            wants_mending(&target, body.as_bytes())
        };
        let warm = r#"{"temperature":0.5}"#;
        let short = r#"{"max_tokens":5}"#;
        // OpenAI's reasoning models, at OpenAI.
        for model in ["openai/gpt-5.1", "openai/o3", "o4-mini"] {
            assert!(mended(model, "", warm) && mended(model, "", short), "{model}");
            assert!(!mended(model, "", r#"{"temperature":null,"max_completion_tokens":5}"#));
            assert!(!mended(model, "http://10.0.0.1:8000/v1", warm), "not at somebody else's");
        }
        for model in ["openai/gpt-4.1", "openai/gpt-5-chat-latest"] {
            assert!(!mended(model, "", warm) && !mended(model, "", short), "{model}");
        }
        let echoed = r#"{"messages":[{"role":"assistant","reasoning_content":"hm"}]}"#;
        assert!(mended("openai/gpt-4.1", "", echoed) && mended("groq/m", "", echoed));
        assert!(!mended("hosted_vllm/m", "http://h/v1", echoed), "vLLM reads it");
        assert!(mended("groq/m", "", r#"{"store":false}"#));
        assert!(!mended("groq/m", "", warm) && !mended("groq/m", "", "no JSON"));
    }

    #[track_caller]
    fn check(model: &str, base: &str, expected: &str) {
        let (provider, model) = catalogue::find(model, true).expect("a provider");
        let (info, options) = (Map::new(), Options::default());
        let base = if base.is_empty() { provider.base.unwrap_or_default() } else { base };
        let target =
            Target { model, provider, base, info: &info, options: &options, stream: false };
        assert_eq!(of(&target).name, expected, "{model} at {base}");
    }

    #[test]
    fn servers_are_known_by_name_or_by_host() {
        check("gpt-5", "", "openai");
        check("openai/gpt-5", "https://eu.api.openai.com/v1", "openai");
        check("openai/gpt-5", "http://10.0.0.1:8000/v1", "");
        check("openai/x", "https://api.groq.com/openai/v1", "groq");
        check("openai/x", "https://my.openai.azure.com/openai/v1", "azure");
        check("openai/x", "https://notapi.groq.com.evil/v1", "");
        check("openai/x", "https://europe-west1-aiplatform.googleapis.com/v1", "gemini");
        check("mistral/m", "http://localhost/v1", "mistral");
        check("llama_cpp/m", "", "llamafile");
    }

    #[test]
    fn every_row_of_the_catalogue_that_speaks_openai_has_quirks() {
        let missing: Vec<_> = catalogue::PROVIDERS
            .iter()
            .filter(|provider| provider.formats.contains(&Format::OpenAiChat))
            .filter(|provider| !ROWS.iter().any(|row| row.name == provider.name))
            .map(|provider| provider.name)
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
        for row in ROWS {
            let (Takes::AllBut(list) | Takes::Only(list)) = row.takes;
            assert!(list.iter().all(|field| FIELDS.contains(field)), "{}", row.name);
        }
    }
}
