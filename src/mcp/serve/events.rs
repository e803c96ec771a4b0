//! A stream as server-sent events: what the HTTP side polls and sends. A silent one is kept alive with comments; when
//! the client goes away this is dropped, and with it what was tied to it.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::line::Open;
use super::stream::{Event, Reader};

/// A longer text is sent as it lies in memory, not copied between its frame.
const MAX_COPIED: usize = 16 * 1024;
/// How long a client whose connection broke waits before it comes back.
const RETRY: &str = "1000";

/// One event stream on its way to a client.
pub struct EventStream {
    reader: Reader,
    manner: Manner,
    ready: VecDeque<Bytes>,
    is_over: bool,
    silence: Pin<Box<Sleep>>,
    until: Pin<Box<WaitForCancellationFutureOwned>>,
    _tied: Tied,
}

/// How a stream is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Events have ids, by which the client can come back.
    pub ids: bool,
    /// The first event has an id and nothing else: so a client can come back before there was a message. Clients before
    /// 2025-11-25 take it for a broken message.
    pub primed: bool,
    /// Every event says that it is a `message`: the older transport.
    pub named: bool,
    /// Silence after which a comment is sent.
    pub ping_interval: Duration,
}

/// What lives as long as an event stream.
#[derive(Default)]
pub struct Tied {
    /// The request is cancelled when its client goes away.
    pub cancels: Option<DropGuard>,
    /// The session is not idle.
    pub open: Option<Open>,
    /// Something of the transport's own.
    pub ends: Option<Box<dyn Send>>,
}

impl EventStream {
    /// What `read` holds already, and then what the reader reads, until `until`.
    pub fn new(
        read: Vec<Event>,
        reader: Reader,
        manner: Manner,
        until: CancellationToken,
        tied: Tied,
    ) -> Self {
        let mut stream = Self {
            manner,
            ready: VecDeque::new(),
            is_over: false,
            silence: Box::pin(tokio::time::sleep(manner.ping_interval)),
            until: Box::pin(until.cancelled_owned()),
            reader,
            _tied: tied,
        };
        if manner.primed {
            let number = read.first().map_or(stream.reader.position(), |first| first.number - 1);
            stream.ready.push_back(stream.priming(number));
        } else {
            // Proxies tell the client of the answer when its first byte has come.
            stream.ready.push_back(Bytes::from_static(b":\n\n"));
        }
        for event in read {
            stream.take(&event);
        }
        stream
    }

    /// Puts an event of the transport's own before all others.
    pub fn begin_with(&mut self, name: &str, data: &str) {
        self.ready.push_front(Bytes::from(format!("event: {name}\ndata: {data}\n\n")));
    }

    /// The next bytes; `None` at the end.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(bytes));
            }
            if self.is_over || self.until.as_mut().poll(context).is_ready() {
                self.is_over = true;
                return Poll::Ready(None);
            }
            match self.reader.poll_next(context) {
                Poll::Ready(Some(event)) => {
                    self.take(&event);
                    self.listen_again();
                }
                Poll::Ready(None) => self.is_over = true,
                Poll::Pending => {
                    std::task::ready!(self.silence.as_mut().poll(context));
                    self.listen_again();
                    self.ready.push_back(Bytes::from_static(b": ping\n\n"));
                }
            }
        }
    }

    fn listen_again(&mut self) {
        let next = Instant::now() + self.manner.ping_interval;
        self.silence.as_mut().reset(next);
    }

    fn take(&mut self, event: &Event) {
        let mut head = String::new();
        if self.manner.ids {
            head = format!("id: {}_{}\n", self.reader.stream().number, event.number);
        }
        if self.manner.named {
            head.push_str("event: message\n");
        }
        head.push_str("data: ");
        let text = one_line_each(&event.text);
        if text.len() > MAX_COPIED {
            self.ready.extend([Bytes::from(head), text, Bytes::from_static(b"\n\n")]);
            return;
        }
        let mut whole = head.into_bytes();
        whole.extend_from_slice(&text);
        whole.extend_from_slice(b"\n\n");
        self.ready.push_back(Bytes::from(whole));
    }

    fn priming(&self, number: u64) -> Bytes {
        let stream = self.reader.stream().number;
        Bytes::from(format!("id: {stream}_{number}\nretry: {RETRY}\ndata: \n\n"))
    }
}

/// The stream and the event that an id of ours names.
pub fn read_id(id: &str) -> Option<(u64, u64)> {
    let (stream, event) = id.split_once('_')?;
    Some((stream.parse().ok()?, event.parse().ok()?))
}

/// A text with line ends, which in JSON are spaces, as the data lines of one event.
fn one_line_each(text: &Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', text).is_none() {
        return text.clone();
    }
    let lines = text.split(|byte| matches!(byte, b'\n' | b'\r'));
    let mut whole = Vec::with_capacity(text.len() + 64);
    for (at, line) in lines.enumerate() {
        if at > 0 {
            whole.extend_from_slice(b"\ndata: ");
        }
        whole.extend_from_slice(line);
    }
    Bytes::from(whole)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use super::*;
    use crate::mcp::serve::stream::Stream;

    async fn written(manner: Manner, texts: &[&str]) -> String {
        let stream = Stream::new(7, true, Arc::default());
        for text in texts {
            stream.push((*text).into(), false).await;
        }
        stream.end();
        let mut reader = stream.read_after(0);
        let first = reader.next().await.into_iter().collect();
        let manner = Manner { ping_interval: Duration::from_secs(60), ..manner };
        let token = CancellationToken::new();
        let mut events = EventStream::new(first, reader, manner, token, Tied::default());
        let mut all = Vec::new();
        while let Some(bytes) = poll_fn(|context| events.poll_next(context)).await {
            all.extend_from_slice(&bytes);
        }
        String::from_utf8(all).expect("text")
    }

    #[tokio::test]
    async fn messages_become_events() {
        let plain = written(Manner::default(), &["{}", "{\n \"a\":\r\n1}"]).await;
        assert_eq!(plain, ":\n\ndata: {}\n\ndata: {\ndata:  \"a\":\ndata: \ndata: 1}\n\n");
        let manner = Manner { ids: true, primed: true, ..Manner::default() };
        let resumable = written(manner, &["{}"]).await;
        assert_eq!(resumable, "id: 7_0\nretry: 1000\ndata: \n\nid: 7_1\ndata: {}\n\n");
        let older = written(Manner { named: true, ..Manner::default() }, &["{}"]).await;
        assert_eq!(older, ":\n\nevent: message\ndata: {}\n\n");
        let long = format!("\"{}\"", "x".repeat(MAX_COPIED));
        assert!(written(Manner::default(), &[&long]).await.ends_with(&format!("data: {long}\n\n")));
    }

    #[tokio::test]
    async fn a_silent_stream_is_kept_alive_and_ends_when_told() {
        let stream = Stream::new(0, true, Arc::default());
        let manner = Manner { ping_interval: Duration::from_millis(1), ..Manner::default() };
        let token = CancellationToken::new();
        let reader = stream.read_after(0);
        let mut events =
            EventStream::new(Vec::new(), reader, manner, token.clone(), Tied::default());
        for expected in [":\n\n", ": ping\n\n", ": ping\n\n"] {
            let bytes = poll_fn(|context| events.poll_next(context)).await;
            assert_eq!(bytes, Some(Bytes::from(expected)));
        }
        token.cancel();
        while let Some(bytes) = poll_fn(|context| events.poll_next(context)).await {
            assert_eq!(bytes, ": ping\n\n");
        }
    }

    #[test]
    fn ids_are_read_again() {
        assert_eq!(read_id("7_12"), Some((7, 12)));
        for other in ["", "7", "7_", "_1", "a_1", "7_1_2", "-1_1"] {
            assert_eq!(read_id(other), None, "{other}");
        }
    }
}
