//! What comes first decides the shape of the answer: JSON where it is the answer itself, else an event stream. Clients
//! read JSON of any length, and some refuse long events.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Accept;
use crate::mcp::serve::ask::Out;
use crate::mcp::serve::stream::{Event, Reader};

/// How long a proxy surely waits for an answer's first byte.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came first.
pub(super) enum First {
    /// The answer.
    Answer(Bytes),
    /// All answers of a batch, and nothing between them.
    Answers(Vec<Event>),
    /// Something else, or nothing for a while.
    Events(Vec<Event>, Reader),
    /// The end.
    Nothing,
}

/// Waits for what decides. Messages for a client that reads no events go `elsewhere`, where there is such a place.
pub(super) async fn first(
    mut reader: Reader,
    accept: Accept,
    is_batch: bool,
    elsewhere: Option<&mpsc::Sender<Out>>,
) -> First {
    let mut read = Vec::new();
    let patience = tokio::time::sleep(PATIENCE);
    let mut patience = std::pin::pin!(patience);
    loop {
        let event = tokio::select! {
            biased;
            event = reader.next() => event,
            () = &mut patience, if accept.events => return First::Events(read, reader),
        };
        match event {
            Some(event) if event.is_answer && accept.json => {
                if !is_batch {
                    return First::Answer(event.text);
                }
                read.push(event);
            }
            Some(event) if accept.events => {
                read.push(event);
                return First::Events(read, reader);
            }
            Some(event) => {
                let text = String::from_utf8(event.text.into()).unwrap_or_default();
                let _dropped_if_full = elsewhere.map(|place| place.try_send(Out::Message(text)));
            }
            None if read.is_empty() => return First::Nothing,
            None => return First::Answers(read),
        }
    }
}

/// The answers of a batch as one list.
pub(super) fn list(answers: &[Event]) -> Bytes {
    let mut text = Vec::from(b"[");
    for (at, answer) in answers.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&answer.text);
    }
    text.push(b']');
    Bytes::from(text)
}
