//! The cheapest honest HTTP/1.1 client: requests are rendered once, replies are only counted to
//! their end. The load generator shares the cores with what it measures, so every cycle saved here
//! is a cycle not charged to a target. It must not know targets or clocks.

use std::sync::Arc;

use memchr::memmem;

use crate::Outcome;

/// A whole request as it goes over the wire.
pub(crate) type Rendered = Arc<[u8]>;

/// The most of a body's beginning that is kept for the caller to look into.
const KEPT: usize = 1024;

/// Renders a `POST` with a JSON body.
pub(crate) fn post(path: &str, host: &str, key: &str, body: &str) -> Rendered {
    let headers = format!(
        "host: {host}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\naccept: */*\r\n"
    );
    request("POST", path, &headers, body)
}

/// Renders a request; each of the headers with its line's end.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> Rendered {
    let head =
        format!("{method} {path} HTTP/1.1\r\n{headers}content-length: {}\r\n\r\n", body.len());
    Arc::from([head.as_bytes(), body.as_bytes()].concat())
}

/// A chat request of at least `size` bytes in several messages, in the key order of the Python SDK
/// (`messages` before `model`), with the escapes and accents that real prompts have.
pub(crate) fn chat_body(model: &str, size: usize, streamed: bool) -> String {
    const TURN: &str = "Summarise the following: \\\"the tide — l'été —\\nturns twice a day\\\"; \
        then list three harbours, their depth in metres, and why a small boat would wait there. ";
    let mut messages = String::from(
        "{\"role\":\"system\",\"content\":\"You are brief.\"},{\"role\":\"user\",\"content\":\"Hello.\"}",
    );
    while messages.len() < size {
        let turns = TURN.repeat((1 + (size - messages.len()) / TURN.len()).min(12));
        messages.push_str(&format!(",{{\"role\":\"user\",\"content\":\"{turns}\"}}"));
    }
    let stream = if streamed { ",\"stream\":true" } else { "" };
    format!("{{\"messages\":[{messages}],\"model\":\"{model}\",\"temperature\":0.7{stream}}}")
}

/// Follows one reply to its end. Fed with whatever the socket gave, in order.
pub(crate) struct Reply {
    head: Vec<u8>,
    framing: Framing,
    /// The first bytes of the body, at most [`KEPT`] of them.
    start: Vec<u8>,
    /// The last bytes fed, enough to recognise the end of a chunked body.
    tail: [u8; 5],
    /// Body bytes seen, framing included.
    pub(crate) length: usize,
}

#[derive(Clone, Copy)]
enum Framing {
    Head,
    Length(usize),
    Chunked,
}

impl Reply {
    pub(crate) fn new() -> Self {
        Self {
            head: Vec::with_capacity(1024),
            framing: Framing::Head,
            start: Vec::with_capacity(KEPT),
            tail: [0; 5],
            length: 0,
        }
    }

    /// Readies the value for the next reply on the same connection, keeping its memory.
    pub(crate) fn clear(&mut self) {
        self.head.clear();
        self.start.clear();
        self.framing = Framing::Head;
        self.tail = [0; 5];
        self.length = 0;
    }

    /// The first bytes of the body as they came, chunk sizes included.
    pub(crate) fn start(&self) -> &[u8] {
        &self.start
    }

    /// Takes the next bytes; true once the reply is whole. Any status but one of success is an error.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Outcome<bool> {
        if !matches!(self.framing, Framing::Head) {
            return Ok(self.body(bytes));
        }
        self.head.extend_from_slice(bytes);
        let Some(end) = memmem::find(&self.head, b"\r\n\r\n") else {
            return Ok(false);
        };
        let mut head = std::mem::take(&mut self.head);
        let (fields, rest) = head.split_at(end + 4);
        self.framing = framing(fields)?;
        let done = self.body(rest);
        head.clear();
        self.head = head;
        Ok(done)
    }

    fn body(&mut self, bytes: &[u8]) -> bool {
        self.length += bytes.len();
        let room = KEPT - self.start.len();
        self.start.extend(bytes.iter().take(room));
        match self.framing {
            Framing::Head => false,
            Framing::Length(length) => self.length >= length,
            Framing::Chunked => {
                self.remember(bytes);
                // Bodies of this upstream hold no CRLF, so these bytes can only be the last chunk.
                self.tail == *b"0\r\n\r\n"
            }
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        let fresh = bytes.len().min(5);
        self.tail.copy_within(fresh.., 0);
        for (slot, byte) in self.tail.iter_mut().rev().zip(bytes.iter().rev()) {
            *slot = *byte;
        }
    }
}

/// Status and framing of a reply's head.
fn framing(head: &[u8]) -> Outcome<Framing> {
    let text = std::str::from_utf8(head)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    if !status.starts_with('2') {
        return Err(format!("the target answered {status}").into());
    }
    for line in lines {
        if let Some((name, value)) = line.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                return Ok(Framing::Length(value.trim().parse()?));
            }
            if name.eq_ignore_ascii_case("transfer-encoding") {
                return Ok(Framing::Chunked);
            }
        }
    }
    Err("a reply without length".into())
}
