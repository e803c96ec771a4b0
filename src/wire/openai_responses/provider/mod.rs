//! The half of OpenAI's responses that faces providers: OpenAI itself, Azure, and the many servers that have
//! `/responses` too. It writes an `Ask` as input items, with every kind of tool as it is, and reads answers,
//! whole or streamed, also of servers that leave out events, ids or indexes. It keeps nothing between requests
//! and asks the provider to keep nothing either (`store: false`), so reasoning travels encrypted.
//!
//! What only this format knows stands in `Extras` as its client half leaves it there; see that half.
//!
//! <https://platform.openai.com/docs/api-reference/responses/create>,
//! <https://platform.openai.com/docs/api-reference/responses-streaming>

mod content;
mod error;
mod input;
mod output;
mod reply;
mod request;
mod settings;
mod stream;
mod tools;

#[cfg(test)]
mod tests;

use super::super::codec::ProviderHalf;
use super::super::framing::Framing;
use crate::conversation::Format;

/// What this half of the format is.
pub const PROVIDER: ProviderHalf = ProviderHalf {
    format: FORMAT,
    framing: Framing::Events,
    request: request::write,
    reply: reply::read,
    stream: stream::begin,
};

const FORMAT: Format = Format::OpenAiResponses;
