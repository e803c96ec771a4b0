//! A streamed answer: each event is a `GenerateContentResponse` of its own, and there is no last event but the one
//! that says why the model stopped; usage may come after it.

use super::answer::Answer;
use super::reply::chunks;
use crate::conversation::Event;
use crate::wire::codec::{Decode, Frame, ReplyContext, broke_off, garbage};

pub(super) fn begin(context: ReplyContext) -> Box<dyn Decode> {
    Box::new(Stream { answer: Answer::new(context.ids), ended: false })
}

struct Stream {
    answer: Answer,
    ended: bool,
}

impl Decode for Stream {
    fn frame(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) {
        let data = frame.data.trim_ascii();
        // Proxies end streams of every format in OpenAI's way.
        if self.ended || self.answer.failed || data.is_empty() || data == b"[DONE]" {
            return;
        }
        let Some(chunks) = chunks(data) else {
            self.answer.failed = true;
            return out.push(Event::Fail(garbage("The provider's stream holds what is not JSON.")));
        };
        for chunk in chunks {
            if !self.answer.failed {
                self.answer.chunk(chunk, out);
            }
        }
    }

    fn end(&mut self, out: &mut Vec<Event>) {
        if self.ended || self.answer.failed {
            return;
        }
        self.ended = true;
        if self.answer.is_complete() {
            self.answer.end(out);
        } else {
            out.push(Event::Fail(broke_off()));
        }
    }

    /// There is no last frame: older models put a finish reason on every one, so only the end of the
    /// connection is the end.
    fn is_terminated(&self) -> bool {
        self.answer.failed || self.ended
    }
}

#[cfg(test)]
mod tests;
