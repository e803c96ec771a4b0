//! Messages that wait for their turn. Those of one lane, which is what a message's `stream_id` names, are answered
//! one after the other, as each may go on from the one before; lanes do not wait for one another. Bounded in number
//! and bytes: what is too much is refused, and says so.

use std::collections::{HashSet, VecDeque};

use http::HeaderMap;
use serde_json::json;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::answer;
use crate::conversation::Json;
use crate::wire::fields::Fields;

const MOST_WAITING: usize = 64;
/// A lane's name comes back with every event.
const MAX_NAME: usize = 256;

/// What a message names its lane; `None` where it names none.
pub(super) type Lane = Option<Json>;

/// The messages that wait, in the order they came.
pub(super) struct Lanes {
    waiting: VecDeque<(Lane, Utf8Bytes)>,
    /// The lanes in which an answer is on its way.
    busy: HashSet<Option<String>>,
    bytes: usize,
    most_bytes: usize,
}

impl Lanes {
    /// `most_bytes` of all messages that wait.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { waiting: VecDeque::new(), busy: HashSet::new(), bytes: 0, most_bytes }
    }

    /// Takes a message.
    ///
    /// # Errors
    /// Too much waits already, or the lane has no proper name: what to say to the client.
    pub(super) fn push(&mut self, text: Utf8Bytes) -> Result<(), Message> {
        let lane = Fields::read(&text).and_then(|mut fields| fields.json("stream_id"));
        if lane.as_ref().is_some_and(|lane| !is_name(lane)) {
            let error = json!({
                "type": "invalid_request_error", "code": null, "param": "stream_id",
                "message": "`stream_id` must be a string of at most 256 bytes.",
            });
            return Err(answer::error(400, error, &HeaderMap::new(), None));
        }
        let bytes = self.bytes + text.len();
        if self.waiting.len() >= MOST_WAITING || bytes > self.most_bytes {
            let error = json!({
                "type": "rate_limit_error", "code": "too_many_messages", "param": null,
                "message": "Too many messages wait on this connection. Wait for an answer before you send more.",
            });
            return Err(answer::error(429, error, &HeaderMap::new(), lane.as_ref()));
        }
        self.bytes = bytes;
        self.waiting.push_back((lane, text));
        Ok(())
    }

    /// The first message whose lane is free; from now on the lane is not.
    pub(super) fn next(&mut self) -> Option<(Lane, Utf8Bytes)> {
        let is_free = |(lane, _): &(Lane, Utf8Bytes)| !self.busy.contains(&key(lane));
        let at = self.waiting.iter().position(is_free)?;
        let (lane, text) = self.waiting.remove(at)?;
        self.bytes -= text.len();
        self.busy.insert(key(&lane));
        Some((lane, text))
    }

    /// The answer in a lane has ended.
    pub(super) fn free(&mut self, lane: &Lane) {
        self.busy.remove(&key(lane));
    }
}

fn is_name(lane: &Json) -> bool {
    lane.read::<String>().is_some_and(|name| name.len() <= MAX_NAME)
}

fn key(lane: &Lane) -> Option<String> {
    lane.as_ref().map(|lane| lane.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(lane: &str, number: usize) -> Utf8Bytes {
        format!("{{\"stream_id\":{lane},\"n\":{number}}}").into()
    }

    #[test]
    fn a_lane_keeps_its_order_and_holds_up_no_other() {
        let mut lanes = Lanes::new(1024);
        for (lane, number) in [("\"a\"", 0), ("\"a\"", 1), ("\"b\"", 2), ("null", 3), ("null", 4)] {
            lanes.push(message(lane, number)).expect("room");
        }
        let mut next = || lanes.next().map(|(lane, text)| (lane, text.to_string()));
        let (a, first) = next().expect("a message");
        assert_eq!(first, message("\"a\"", 0).as_str());
        assert_eq!(next().expect("a message").1, message("\"b\"", 2).as_str());
        assert_eq!(next().expect("a message").1, message("null", 3).as_str());
        assert!(next().is_none());
        lanes.free(&a);
        assert_eq!(lanes.next().expect("a message").1.as_str(), message("\"a\"", 1).as_str());
        lanes.free(&None);
        assert_eq!(lanes.next().expect("a message").1.as_str(), message("null", 4).as_str());
        assert_eq!(lanes.bytes, 0);
    }

    #[test]
    fn too_much_is_refused_in_its_lane() {
        let mut lanes = Lanes::new(64);
        lanes.push(message("\"a\"", 0)).expect("room");
        let long = format!("{{\"stream_id\":\"a\",\"x\":\"{}\"}}", "y".repeat(64));
        let refusal = lanes.push(long.into()).expect_err("too long");
        let text = refusal.to_text().expect("text");
        assert!(text.contains("\"stream_id\":\"a\"") && text.contains("429"), "{text}");
        for number in 0..MOST_WAITING {
            let _full = lanes.push(message("\"1\"", number));
        }
        assert!(lanes.bytes <= 64);
        let long = format!("\"{}\"", "x".repeat(MAX_NAME + 1));
        for name in ["1", "{}", &long] {
            assert!(Lanes::new(1024).push(message(name, 0)).is_err(), "{name}");
        }
    }
}
