//! A whole answer: a stream of one chunk, folded.

use bytes::Bytes;

use super::stream::Decoder;
use crate::conversation::{Event, Fold, Reply};
use crate::ground::fault::Fault;
use crate::wire::codec::{Decode, Frame, ReplyContext, garbage};
use crate::wire::framing::{Frames, Framing};

/// Reads an answer.
///
/// Errors: `UpstreamGarbage` for what is no answer; the provider's own error in a body with status 200.
pub(super) fn read(body: &[u8], context: &mut ReplyContext) -> Result<Reply, Fault> {
    let text = body.trim_ascii_start();
    let mut events = Vec::new();
    let mut decoder = if text.starts_with(b"data:") || text.starts_with(b": ") {
        // Some servers stream whether asked or not.
        let mut decoder = Decoder::new(std::mem::take(context));
        let mut frames = Frames::new(Framing::Events);
        let pushed = frames.push(Bytes::copy_from_slice(body), |frame| {
            decoder.frame(frame, &mut events);
        });
        pushed.map_err(|unreadable| garbage(unreadable.0))?;
        frames.end(|frame| decoder.frame(frame, &mut events));
        decoder
    } else if text.is_empty() {
        return Err(garbage("The provider's answer is empty."));
    } else {
        let mut decoder = Decoder::of_whole(std::mem::take(context));
        decoder.frame(Frame { name: "", data: text }, &mut events);
        decoder
    };
    decoder.end(&mut events);
    *context = decoder.into_context();
    fold(events)
}

fn fold(events: Vec<Event>) -> Result<Reply, Fault> {
    let mut fold = Fold::default();
    events.into_iter().for_each(|event| fold.push(event));
    fold.finish()
}
