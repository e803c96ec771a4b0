//! The half that faces providers.

use super::{reply, request, stream};
use crate::conversation::Format;
use crate::wire::codec::ProviderHalf;
use crate::wire::framing::Framing;

/// Cohere's chat, version 2.
pub const PROVIDER: ProviderHalf = ProviderHalf {
    format: Format::Cohere,
    framing: Framing::Events,
    request: request::write,
    reply: reply::read,
    stream: |context| Box::new(stream::Events::new(context)),
};
