//! The tables of formats: which half faces the clients of an endpoint, which half faces a provider.

use super::codec::{ClientHalf, ProviderHalf, Target};
use super::{anthropic, bedrock, cohere, gemini, ollama, openai_chat, openai_responses};
use crate::conversation::Format;
use crate::conversation::stand_in::{Abilities, CallIds, IdCharset};
use crate::ground::fault::Fault;

pub static CHAT: ClientHalf = openai_chat::client::CLIENT;
pub static COMPLETIONS: ClientHalf = openai_chat::client::COMPLETIONS;
pub static RESPONSES: ClientHalf = openai_responses::client::CLIENT;
pub static COMPACTION: ClientHalf = openai_responses::client::COMPACTION;
pub static MESSAGES: ClientHalf = anthropic::client::CLIENT;
pub static COUNTING: ClientHalf = anthropic::client::COUNTING;

static PROVIDERS: &[ProviderHalf] = &[
    openai_chat::provider::PROVIDER,
    openai_responses::provider::PROVIDER,
    anthropic::provider::PROVIDER,
    gemini::provider::PROVIDER,
    bedrock::provider::PROVIDER,
    ollama::provider::PROVIDER,
    cohere::provider::PROVIDER,
];

/// The half that speaks a format to providers. Every format has one, which a test holds.
pub fn provider(format: Format) -> Option<&'static ProviderHalf> {
    PROVIDERS.iter().find(|half| half.format == format)
}

/// What tools and ids a provider takes as they are; all else is played by what it has.
pub fn abilities(format: Format, target: &Target<'_>) -> Abilities {
    let word = |length| CallIds { length, charset: IdCharset::Word, exact: false };
    match format {
        Format::OpenAiResponses => Abilities::RESPONSES,
        Format::OpenAiChat => openai_chat::quirks::abilities(target),
        // https://docs.anthropic.com/en/api/messages: ^[a-zA-Z0-9_-]+$, names up to 128.
        Format::Anthropic => Abilities {
            hosted: &[Format::Anthropic],
            name_length: 128,
            call_id: word(128),
            ..Abilities::FUNCTIONS
        },
        // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html
        Format::Bedrock => {
            Abilities { hosted: &[Format::Anthropic], call_id: word(64), ..Abilities::FUNCTIONS }
        }
        // Everybody's search is Google's here.
        Format::Gemini => Abilities {
            hosted: &[
                Format::Gemini,
                Format::OpenAiChat,
                Format::OpenAiResponses,
                Format::Anthropic,
            ],
            ..Abilities::FUNCTIONS
        },
        Format::Ollama | Format::Cohere => Abilities::FUNCTIONS,
    }
}

/// The answer to a request for the number of its tokens.
pub fn counted(client: &ClientHalf, tokens: u64) -> Vec<u8> {
    match client.format {
        Format::OpenAiResponses => openai_responses::client::input_tokens(tokens),
        _ => anthropic::client::count_reply(tokens),
    }
}

/// The HTTP status that a failure has for the clients of a half: Anthropic's have one of their own for an
/// overloaded provider.
pub fn status(client: &ClientHalf, fault: &Fault) -> u16 {
    match client.format {
        Format::Anthropic => anthropic::client::status(fault),
        _ => fault.status(),
    }
}
