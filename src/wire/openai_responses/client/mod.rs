//! The half of OpenAI's responses that faces clients, Codex CLI above all. A request's items become turns and
//! tools; an answer becomes items again, whole or as the ladder of events. It keeps no state between requests:
//! what `previous_response_id` and `item_reference` point to is put into the request before it comes here.
//!
//! What only this format knows rides in `Extras`, and its provider half finds it there:
//! - of an assistant's message (`id`, `status`, `phase`, …): on each of its parts; parts in a row with the same
//!   `id` are one message. Of any other message: on the turn.
//! - of a call, a result, a thought (`status`, `caller`, …): on the part; ids have places of their own there.
//! - `namespace_description` on a tool: the description of the namespace that it stood in.
//! - what is left of `text` and `reasoning`: under these names at the top, to be merged.
//! - a call's arguments are the `arguments` of a function, the `input` of a custom tool, the `action` of a shell, the
//!   `operation` of a patch; a result that is neither text nor content (`tools`, a shell's output) is one text of JSON.

mod compact;
mod content;
mod events;
mod items;
mod listing;
mod output;
mod reply;
mod served;
mod request;
mod stream;
mod tools;

#[cfg(test)]
mod tests;

use super::super::codec::ClientHalf;
use super::super::openai_error;
use crate::conversation::Format;

pub use listing::{input_items, input_tokens, missing_call, no_call};
pub use output::{answer_of, output_items};
pub use reply::{failure, response_object};

/// What this half of the format is.
pub const CLIENT: ClientHalf = ClientHalf {
    format: FORMAT,
    request: request::read,
    reply: |reply, echo, stamp| Ok(reply::write(reply, echo, stamp)),
    stream: stream::begin,
    error: openai_error::body,
};

/// `POST /v1/responses/compact`: the same, but what the model writes is a summary of the conversation.
pub const COMPACTION: ClientHalf =
    ClientHalf { request: compact::compaction_ask, reply: compact::compaction_reply, ..CLIENT };

const FORMAT: Format = Format::OpenAiResponses;
