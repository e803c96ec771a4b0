//! Cutting a provider's stream into frames, whatever the network did: server-sent events, lines of JSON, or
//! Amazon's binary events. What a decoder sees depends on the bytes only, never on where they were cut.

use bytes::{Bytes, BytesMut};

use super::bedrock::event_stream;
use super::codec::Frame;
use super::sse::{self, Cutter, MAX_EVENT};

/// How a format's streams are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Events,
    /// One JSON value a line (Ollama).
    Lines,
    /// `application/vnd.amazon.eventstream`.
    Amazon,
}

/// The stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable(pub &'static str);

/// A stream being cut.
#[derive(Debug)]
pub enum Frames {
    Events(Cutter),
    Lines(BytesMut),
    Amazon(event_stream::Messages),
}

impl Frames {
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Events => Self::Events(Cutter::default()),
            Framing::Lines => Self::Lines(BytesMut::new()),
            Framing::Amazon => Self::Amazon(event_stream::Messages::default()),
        }
    }

    /// Takes the next bytes and shows each frame that is now whole.
    ///
    /// # Errors
    /// A frame is longer than 16 MiB, or damaged.
    pub fn push(
        &mut self,
        bytes: Bytes,
        mut each: impl FnMut(Frame<'_>),
    ) -> Result<(), Unreadable> {
        match self {
            Self::Events(cutter) => {
                let shown = cutter.push(bytes, |event| {
                    show_event(event, &mut each);
                    false
                });
                shown.map(drop).map_err(|_| TOO_LONG)
            }
            Self::Lines(partial) => {
                let start = partial.len();
                partial.extend_from_slice(&bytes);
                let mut from = start;
                while let Some(end) = memchr::memchr(b'\n', partial.get(from..).unwrap_or_default())
                {
                    let line = partial.split_to(from + end + 1);
                    show_line(&line, &mut each);
                    from = 0;
                }
                if partial.len() > MAX_EVENT { Err(TOO_LONG) } else { Ok(()) }
            }
            Self::Amazon(messages) => messages.push(bytes, each),
        }
    }

    /// The stream ended: shows a last frame that has no end of its own.
    pub fn end(&mut self, mut each: impl FnMut(Frame<'_>)) {
        match self {
            Self::Events(cutter) => {
                let rest = cutter.remainder();
                if !rest.is_empty() {
                    show_event(&rest, &mut each);
                }
            }
            Self::Lines(partial) => show_line(&partial.split(), &mut each),
            // Every message has an end of its own: what is left is the beginning of one that never came.
            Self::Amazon(_) => {}
        }
    }
}

const TOO_LONG: Unreadable = Unreadable("The provider sent one event of more than 16 MiB.");

fn show_event(event: &[u8], each: &mut impl FnMut(Frame<'_>)) {
    // An empty event says nothing; some servers send one to be heard.
    if let Some(data) = sse::data(event).filter(|data| !data.trim_ascii().is_empty()) {
        let name = sse::name(event);
        each(Frame { name: &name, data: &data });
    }
}

fn show_line(line: &[u8], each: &mut impl FnMut(Frame<'_>)) {
    let data = line.trim_ascii();
    if !data.is_empty() {
        each(Frame { name: "", data });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_event_says_nothing() {
        let (mut frames, mut seen) = (Frames::new(Framing::Events), Vec::new());
        let text = Bytes::from_static(b"data:\n\n: c\n\nid: 1\ndata: \n\ndata: {}\n\n");
        let pushed = frames.push(text, |frame| seen.push(frame.data.to_vec()));
        assert_eq!((pushed, seen), (Ok(()), vec![b"{}".to_vec()]));
    }
}
