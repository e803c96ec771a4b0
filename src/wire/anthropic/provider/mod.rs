//! The half that faces Anthropic, and whoever else serves its format: Google's Vertex AI, and servers for
//! other models that offer it. It writes requests that those models take, and reads what they answer. It knows
//! no client.

mod answer;
mod betas;
mod blocks;
mod facts;
mod pairing;
mod request;
mod schema;
mod settings;
mod stream;
mod thinking;
mod tools;
mod turns;

use crate::conversation::Format;
use crate::wire::codec::ProviderHalf;
use crate::wire::framing::Framing;

/// What speaks Anthropic's messages with providers.
pub const PROVIDER: ProviderHalf = ProviderHalf {
    format: Format::Anthropic,
    framing: Framing::Events,
    request: request::request,
    reply: answer::reply,
    stream: stream::stream,
};

#[cfg(test)]
mod tests;
