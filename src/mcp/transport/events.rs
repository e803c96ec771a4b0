//! Reading a stream of server-sent events one by one, wherever the network cut it: name, data, id and the pause before
//! a reconnection. One event is bounded; comments and unknown fields are passed over without being kept. What the data
//! means is not known here. <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;

use super::pieces::Pieces;

/// The longest name of an event and the longest id that are kept.
const MAX_WORD: usize = 1024;

/// One event. A server may also send an id or a pause alone: then there is no data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Empty: `message`.
    pub(super) name: String,
    /// Never empty.
    pub(super) data: Option<Bytes>,
    /// The id that this event sets, fit for the header `Last-Event-ID`.
    pub(super) id: Option<HeaderValue>,
    /// How long to wait before the next connection.
    pub(super) retry: Option<Duration>,
}

/// An event is longer than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Event {
    pub(super) fn is_message(&self) -> bool {
        matches!(self.name.as_str(), "" | "message")
    }
}

/// Cuts bytes into events.
#[derive(Debug)]
pub(super) struct Parser {
    max: usize,
    is_begun: bool,
    /// The last line ended with a CR: an LF that follows belongs to it.
    after_cr: bool,
    /// The beginning of a line whose end has not come yet.
    line: Pieces,
    /// The rest of the line under the cursor is of no interest.
    skip: bool,
    /// The `data:` lines so far, with an LF between them.
    data: Option<Pieces>,
    event: Event,
    ready: VecDeque<Event>,
}

impl Parser {
    /// `max`: the most bytes that one event may have.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            is_begun: false,
            after_cr: false,
            line: Pieces::default(),
            skip: false,
            data: None,
            event: Event::default(),
            ready: VecDeque::new(),
        }
    }

    /// The next event that is whole.
    pub(super) fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`TooLong`]: the stream cannot be read on. Events that were whole before are still there.
    pub(super) fn push(&mut self, mut chunk: &[u8]) -> Result<(), TooLong> {
        while !chunk.is_empty() {
            if std::mem::take(&mut self.after_cr)
                && let Some(rest) = chunk.strip_prefix(b"\n")
            {
                chunk = rest;
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', chunk) else {
                return self.keep(chunk);
            };
            let (head, tail) = chunk.split_at_checked(end).unwrap_or((chunk, &[]));
            self.keep(head)?;
            self.after_cr = tail.first() == Some(&b'\r');
            chunk = tail.get(1..).unwrap_or_default();
            self.end_line();
        }
        Ok(())
    }

    /// Puts a piece of a line to what is there of it.
    fn keep(&mut self, piece: &[u8]) -> Result<(), TooLong> {
        if self.skip {
            return Ok(());
        }
        self.line.extend(piece);
        if self.line.first() == Some(&b':') {
            // A comment, of any length.
            self.line.clear();
            self.skip = true;
            return Ok(());
        }
        if self.line.len() + self.data.as_ref().map_or(0, Pieces::len) > self.max {
            self.line.clear();
            self.data = None;
            return Err(TooLong);
        }
        Ok(())
    }

    fn end_line(&mut self) {
        let mut line = self.line.take();
        if std::mem::take(&mut self.skip) {
            self.is_begun = true;
            return;
        }
        if !std::mem::replace(&mut self.is_begun, true) && line.starts_with(b"\xEF\xBB\xBF") {
            let _mark = line.split_to(3);
        }
        if line.is_empty() {
            return self.end_event();
        }
        let colon = memchr::memchr(b':', &line).unwrap_or(line.len());
        let name = line.split_to(colon);
        if line.starts_with(b":") {
            let after = if line.get(1) == Some(&b' ') { 2 } else { 1 };
            let _colon = line.split_to(after);
        }
        self.field(&name, line);
    }

    fn field(&mut self, name: &[u8], value: BytesMut) {
        match name {
            b"data" => match &mut self.data {
                // One line of data, which is the rule, is not copied.
                None => self.data = Some(Pieces::of(value)),
                Some(data) => {
                    data.extend(b"\n");
                    data.extend(&value);
                }
            },
            b"event" if value.len() <= MAX_WORD => {
                self.event.name = String::from_utf8_lossy(&value).into_owned();
            }
            b"id" if value.len() <= MAX_WORD => {
                self.event.id = HeaderValue::from_bytes(&value).ok().filter(|id| !id.is_empty());
            }
            b"retry" => {
                let digits = std::str::from_utf8(&value).ok();
                let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                if let Some(milliseconds) = digits.and_then(|text| text.parse().ok()) {
                    self.event.retry = Some(Duration::from_millis(milliseconds));
                }
            }
            _ => {}
        }
    }

    fn end_event(&mut self) {
        let mut event = std::mem::take(&mut self.event);
        let data = self.data.take().filter(|data| !data.is_empty());
        event.data = data.map(|mut data| data.take().freeze());
        if event.data.is_some() || event.id.is_some() || event.retry.is_some() {
            self.ready.push_back(event);
        }
    }
}

/// The events of one answer.
#[derive(Debug)]
pub(super) struct Events {
    response: reqwest::Response,
    parser: Parser,
    failed: bool,
}

/// Why there are no more events.
#[derive(Debug)]
pub(super) enum Ended {
    /// The server ended the stream.
    Properly,
    /// The connection broke.
    Broken,
    TooLong,
}

impl Events {
    pub(super) fn new(response: reqwest::Response, max: usize) -> Self {
        Self { response, parser: Parser::new(max), failed: false }
    }

    /// Waits for the next event. What comes of an event after the end of its stream is none.
    pub(super) async fn next(&mut self) -> Result<Event, Ended> {
        loop {
            if let Some(event) = self.parser.next() {
                return Ok(event);
            }
            if self.failed {
                return Err(Ended::TooLong);
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.failed = self.parser.push(&chunk).is_err(),
                Ok(None) => return Err(Ended::Properly),
                Err(_) => return Err(Ended::Broken),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&[u8]]) -> Vec<String> {
        let mut parser = Parser::new(1024);
        for chunk in chunks {
            parser.push(chunk).expect("short");
        }
        std::iter::from_fn(|| parser.next())
            .map(|Event { name, data, id, retry }| {
                let data = data.map(|data| String::from_utf8_lossy(&data).into_owned());
                let id = id.map(|id| id.to_str().expect("text").to_owned());
                format!("{name}|{}|{id:?}|{retry:?}", data.unwrap_or_else(|| "-".into()))
            })
            .collect()
    }

    /// The same however the network cuts it.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let bytes = text.as_bytes();
        assert_eq!(read(&[bytes]), expected, "{text:?}");
        for at in 0..=bytes.len() {
            assert_eq!(read(&[&bytes[..at], &bytes[at..]]), expected, "{text:?} cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), expected, "{text:?} byte by byte");
    }

    #[test]
    fn fields_are_read_with_every_kind_of_line_end() {
        let one = r#"message|{"a":"é"}|Some("7")|Some(1.5s)"#;
        for end in ["\n", "\r\n", "\r"] {
            let text = ["event: message", "id:7", "retry: 1500", "data: {\"a\":\"é\"}", "", ""];
            check(&text.join(end), &[one]);
        }
        check("\u{FEFF}data: a\n\n", &["|a|None|None"]);
        check("data: a\r\r\ndata: b\n\r\n", &["|a|None|None", "|b|None|None"]);
        check("data:  a\ndata:b\ndata\ndata:\n\n", &["| a\nb\n\n|None|None"]);
    }

    #[test]
    fn what_has_no_data_still_primes_and_tells_the_pause() {
        check("id: 0\ndata: \n\n", &[r#"|-|Some("0")|None"#]);
        check("retry: 20\n\n", &["|-|None|Some(20ms)"]);
        check("id\n\n", &[]);
        check("event: endpoint\n\n", &[]);
    }

    #[test]
    fn comments_unknown_fields_and_bad_values_are_passed_over() {
        check(
            ": ping\n\n:\n\nfoo: x\ndatabase: y\nretry: -1\nretry: 1s\nid: a\u{1}b\ndata: z\n\n",
            &["|z|None|None"],
        );
        check("data: unfinished\n", &[]);
    }

    #[test]
    fn an_event_has_a_bound_and_a_comment_has_none() {
        let mut parser = Parser::new(100);
        for _ in 0..1000 {
            parser.push(b"x".repeat(50).as_slice()).ok();
        }
        assert!(parser.line.len() <= 100);
        let mut parser = Parser::new(100);
        assert_eq!(parser.push(b"data: a\n\ndata: "), Ok(()));
        assert_eq!(parser.push(&b"x".repeat(100)), Err(TooLong));
        assert_eq!(parser.next().and_then(|event| event.data), Some(Bytes::from_static(b"a")));
        let mut parser = Parser::new(100);
        assert_eq!(parser.push(&b"data:\n".repeat(101)), Err(TooLong));
        let mut parser = Parser::new(100);
        parser.push(b":").expect("short");
        for _ in 0..1000 {
            assert_eq!(parser.push(b"comment"), Ok(()));
        }
        parser.push(b"\nevent: x\nid: 1\n\n").expect("short");
        assert_eq!(parser.next().map(|event| event.name), Some("x".into()));
        let mut parser = Parser::new(1 << 20);
        parser.push(&[b"id: ", &b"x".repeat(MAX_WORD + 1)[..], b"\ndata: a\n\n"].concat()).ok();
        assert_eq!(parser.next().map(|event| event.id), Some(None));
    }
}
