//! The half that faces providers: writes a request in the dialect of the server it goes to, and reads what
//! any of them answers. Which server takes what is in `super::quirks`; what an answer means is here. A whole
//! answer is read as a stream of one chunk, so that both mean the same.

mod assistant;
mod calls;
mod chunk;
mod content;
mod details;
mod finish;
mod media;
mod messages;
pub(super) mod model;
mod reasoning;
mod reply;
mod request;
mod stream;
mod tools;
mod tree;
mod voice;

use crate::conversation::Format;
use crate::wire::codec::ProviderHalf;
use crate::wire::framing::Framing;

const CHAT: Format = Format::OpenAiChat;

/// Chat completions, as providers speak them.
pub const PROVIDER: ProviderHalf = ProviderHalf {
    format: CHAT,
    framing: Framing::Events,
    request: request::write,
    reply: reply::read,
    stream: |context| Box::new(stream::Decoder::new(context)),
};

#[cfg(test)]
mod tests;
