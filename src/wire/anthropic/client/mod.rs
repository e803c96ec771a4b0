//! The half that faces clients: Claude Code and Anthropic's own libraries. It reads their requests, and writes
//! answers, streams, errors, token counts and model lists the way Anthropic does. It knows no provider.

mod blocks;
mod error;
mod models;
mod reply;
mod served;
mod request;
mod settings;
mod stream;
mod tools;

use crate::conversation::Format;
use crate::wire::codec::{ClientHalf, Echo};

pub use error::status;
pub use models::{model_entry, model_list};
pub use request::{count_reply, count_request};

/// What speaks Anthropic's messages with clients.
pub const CLIENT: ClientHalf = ClientHalf {
    format: Format::Anthropic,
    request: request::request,
    reply: |reply, echo, stamp| Ok(reply::reply(reply, echo, stamp)),
    stream: stream::stream,
    error: error::error,
};

/// The same for counting a request's tokens, which needs no `max_tokens`.
pub const COUNTING: ClientHalf =
    ClientHalf { request: |body| Ok((request::count_request(body)?, Echo::default())), ..CLIENT };

#[cfg(test)]
mod tests;
