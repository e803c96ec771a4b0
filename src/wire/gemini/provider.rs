//! The half that faces providers: which function of this folder does what.

use super::{reply, request, stream};
use crate::conversation::Format;
use crate::wire::codec::ProviderHalf;
use crate::wire::framing::Framing;

/// Gemini, on AI Studio and on Vertex AI.
pub const PROVIDER: ProviderHalf = ProviderHalf {
    format: Format::Gemini,
    framing: Framing::Events,
    request: request::write,
    reply: reply::read,
    stream: stream::begin,
};
