//! The half that faces providers.

use crate::conversation::{Fold, Format, Reply};
use crate::ground::fault::Fault;
use crate::wire::codec::{Decode, Frame, ProviderHalf, ReplyContext};
use crate::wire::framing::Framing;

use super::request;
use super::stream::Lines;

/// Ollama's chat.
pub const PROVIDER: ProviderHalf = ProviderHalf {
    format: Format::Ollama,
    framing: Framing::Lines,
    request: request::write,
    reply,
    stream: |context| Box::new(Lines::new(context)),
};

/// A whole answer is a stream of one line, so it is read as one.
fn reply(body: &[u8], context: &mut ReplyContext) -> Result<Reply, Fault> {
    let mut lines = Lines::new(std::mem::take(context));
    let mut events = Vec::new();
    lines.frame(Frame { name: "", data: body }, &mut events);
    lines.end(&mut events);
    *context = lines.into_context();
    let mut fold = Fold::default();
    events.into_iter().for_each(|event| fold.push(event));
    let mut reply = fold.finish()?;
    if reply.choices.is_empty() {
        reply.choices.push(Default::default());
    }
    Ok(reply)
}
