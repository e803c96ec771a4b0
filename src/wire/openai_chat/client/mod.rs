//! The half of OpenAI's chat completions that faces clients, and that of the legacy completions: what comes
//! from the OpenAI SDKs, Open WebUI and everything that was ever pointed at `/v1/chat/completions`. It accepts
//! what those send, also what this gateway or LiteLLM added to an answer and a client sends back, and answers
//! what the official SDKs read. It knows no provider: which model answers, and how, is not its matter.

mod completions;
mod media;
mod messages;
mod parts;
mod reasoning;
mod reply;
mod request;
mod said;
mod served;
mod stream;
mod tools;

use crate::conversation::Format;
use crate::wire::codec::ClientHalf;
use crate::wire::openai_error;

/// `/v1/chat/completions`.
pub const CLIENT: ClientHalf = ClientHalf {
    format: Format::OpenAiChat,
    request: request::read,
    reply: |reply, echo, stamp| Ok(reply::write(reply, echo, stamp)),
    stream: stream::begin,
    error: openai_error::body,
};

/// The legacy `/v1/completions`.
pub const COMPLETIONS: ClientHalf = ClientHalf {
    format: Format::OpenAiChat,
    request: completions::read,
    reply: |reply, echo, stamp| Ok(completions::write(reply, echo, stamp)),
    stream: completions::begin,
    error: openai_error::body,
};

/// The format whose words these files speak.
const CHAT: Format = Format::OpenAiChat;

#[cfg(test)]
mod tests;
