//! The answer on its way to the client. Bytes go out as they come in; a tap looks at each event and
//! changes nothing; a silent stream is kept alive with comments; one that breaks off ends with an error
//! in the client's format, never as if complete. When the client goes away this is dropped, and with it
//! the connection to the provider.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::outgoing::CutOff;
use super::record::Record;
use super::responses::Keeper;
use super::translation::Translation;
use crate::conversation::{Event, Reply};
use crate::ground::fault::{Fault, Kind};
use crate::provider::ReplyBody;
use crate::wire::codec::broke_off;
use crate::wire::sse::Cutter;
use crate::wire::tap::Tap;

/// How long a provider that has sent its last event may take to end the stream.
const LINGER: Duration = Duration::from_millis(500);
/// How much of a large reply's end is kept to find its usage in.
const TAIL: usize = 8 * 1024;

/// An answer that flows.
pub struct Relay {
    rest: ReplyBody,
    /// Where events come from that were read elsewhere.
    heard: Option<mpsc::Receiver<Event>>,
    shape: Shape,
    tap: Tap,
    ready: VecDeque<Bytes>,
    /// Nothing more will come; what is ready is the last.
    ended: bool,
    broke_off: bool,
    /// The row is as good as written.
    closed: bool,
    /// Bytes still owed, where the length was announced.
    owed: Option<u64>,
    silence: Silence,
    /// What wants the answer once it is complete.
    keeper: Option<Box<Keeper>>,
    record: Record,
}

/// What the bytes are.
enum Shape {
    Events {
        cutter: Cutter,
        strip_usage: bool,
    },
    /// Events in another format than the provider's.
    Translated(Box<Translation>),
    /// Anything else, with the last bytes kept where they may hold usage.
    Bytes {
        tail: Option<Vec<u8>>,
    },
}

/// What flows.
pub(super) enum Flow {
    Events,
    /// Events that become other events.
    Translated(Box<Translation>),
    /// Events that a loop of tools tells, which become the client's.
    Told(Box<Translation>, mpsc::Receiver<Event>),
    /// A reply too large to be held, whose end may hold usage.
    Json,
    Bytes,
}

impl Flow {
    pub(super) fn is_events(&self) -> bool {
        matches!(self, Self::Events | Self::Translated(_) | Self::Told(..))
    }
}

/// How a relay is to behave.
pub(super) struct Manner {
    pub(super) flow: Flow,
    /// The usage chunk was our wish, not the client's: take it out again.
    pub(super) strip_usage: bool,
    pub(super) length: Option<u64>,
    pub(super) ping_interval: Duration,
    /// Longest silence of the provider.
    pub(super) idle: Duration,
}

struct Silence {
    timer: Option<Pin<Box<Sleep>>>,
    ping_interval: Duration,
    idle: Duration,
    heard: Instant,
    pinged: Instant,
}

impl Relay {
    pub(super) fn new(
        first: VecDeque<Bytes>,
        rest: ReplyBody,
        manner: Manner,
        tap: Tap,
        keeper: Option<Box<Keeper>>,
        record: Record,
    ) -> Self {
        let mut heard = None;
        let shape = match manner.flow {
            Flow::Events => {
                Shape::Events { cutter: Cutter::default(), strip_usage: manner.strip_usage }
            }
            Flow::Translated(translation) => Shape::Translated(translation),
            Flow::Told(translation, events) => {
                heard = Some(events);
                Shape::Translated(translation)
            }
            Flow::Json => Shape::Bytes { tail: Some(Vec::new()) },
            Flow::Bytes => Shape::Bytes { tail: None },
        };
        let now = Instant::now();
        let silence = Silence {
            timer: None,
            ping_interval: manner.ping_interval,
            idle: manner.idle,
            heard: now,
            pinged: now,
        };
        let mut relay = Self {
            rest,
            heard,
            shape,
            tap,
            ready: VecDeque::new(),
            ended: false,
            broke_off: false,
            closed: false,
            owed: manner.length,
            silence,
            keeper,
            record,
        };
        for bytes in first {
            relay.take(bytes);
        }
        if let Shape::Translated(translation) = &mut relay.shape {
            relay.ready.extend(translation.take());
            if relay.tap.has_content {
                relay.record.note_content();
            }
        }
        relay
    }

    /// Bytes of the provider.
    fn take(&mut self, bytes: Bytes) {
        match &mut self.shape {
            Shape::Bytes { tail } => {
                if let Some(tail) = tail {
                    keep_tail(tail, &bytes);
                }
                self.record.note_content();
                self.ready.push_back(bytes);
            }
            Shape::Translated(translation) => {
                let had_content = self.tap.has_content;
                let read = translation.push(bytes, &mut self.tap);
                self.ready.extend(translation.take());
                let failed = translation.failed().cloned();
                if self.tap.has_content && !had_content {
                    self.record.note_content();
                }
                if let Some(fault) = failed.or(read.err()) {
                    self.break_off(&fault);
                }
            }
            Shape::Events { cutter, strip_usage } => {
                let tap = &mut self.tap;
                let had_content = tap.has_content;
                let strip = *strip_usage;
                let whole = cutter.push(bytes, |event| !(tap.event(event).usage_only && strip));
                let has_failed = tap.error.is_some();
                match whole {
                    Ok(events) if has_failed => {
                        let record = &self.record;
                        self.ready.extend(events.into_iter().map(|it| record.struck(it)));
                    }
                    Ok(events) => self.ready.extend(events),
                    Err(_too_long) => self.break_off(&Fault::new(
                        Kind::UpstreamGarbage,
                        "The provider sent one event of more than 16 MiB.",
                    )),
                }
                if self.tap.has_content && !had_content {
                    self.record.note_content();
                }
                // Before the last event leaves: the client may go on from it at once.
                if self.tap.is_terminated() && self.tap.error.is_none() {
                    self.keep(None);
                }
            }
        }
    }

    /// An event that was read elsewhere.
    fn hear(&mut self, event: Event) {
        let Shape::Translated(translation) = &mut self.shape else { return };
        let had_content = self.tap.has_content;
        translation.hear([event], &mut self.tap);
        self.ready.extend(translation.take());
        let failed = translation.failed().cloned();
        if self.tap.has_content && !had_content {
            self.record.note_content();
        }
        if let Some(fault) = failed {
            self.heard = None;
            self.break_off(&fault);
        }
    }

    fn keep(&mut self, reply: Option<&Reply>) {
        if let Some(keeper) = self.keeper.take() {
            keeper.keep(self.tap.response_id.as_deref(), reply);
        }
    }

    /// The provider closed the stream properly.
    fn finish(&mut self) {
        match &mut self.shape {
            Shape::Translated(translation) => {
                translation.end(&mut self.tap);
                self.ready.extend(translation.take());
                let (failed, reply) = (translation.failed().cloned(), translation.kept());
                match failed {
                    Some(fault) => self.break_off(&fault),
                    None => {
                        self.keep(reply.as_ref());
                        self.ended = true;
                    }
                }
            }
            Shape::Bytes { tail } => {
                if let Some(tail) = tail {
                    self.tap.tail(tail);
                }
                if self.owed.is_some_and(|owed| owed > 0) {
                    self.break_off(&broke_off());
                    return;
                }
                self.ended = true;
            }
            Shape::Events { cutter, strip_usage } => {
                // An event without its blank line: whole if the stream is.
                let mut rest = cutter.remainder();
                let mut keep = true;
                if !rest.is_empty() {
                    keep = !(self.tap.event(&rest).usage_only && *strip_usage);
                }
                if self.tap.error.is_some() {
                    rest = self.record.struck(rest);
                }
                if !self.tap.is_complete() {
                    self.break_off(&broke_off());
                    return;
                }
                if keep && !rest.is_empty() {
                    self.ready.push_back(rest);
                    self.ready.push_back(Bytes::from_static(b"\n\n"));
                }
                self.ready.extend(self.tap.missing_end());
                self.ended = true;
            }
        }
    }

    /// The answer cannot be completed: say so where the format has a way, else cut the connection.
    fn break_off(&mut self, fault: &Fault) {
        self.record.note_broken(fault);
        match &mut self.shape {
            Shape::Events { .. } => self.ready.push_back(self.tap.broken(fault)),
            Shape::Translated(translation) => {
                translation.fail(fault);
                self.ready.extend(translation.take());
            }
            Shape::Bytes { .. } => {}
        }
        self.ended = true;
        self.broke_off = true;
        self.rest = ReplyBody::Local(VecDeque::new());
    }

    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(heard) = &mut self.heard {
            return match heard.poll_recv(context) {
                Poll::Ready(Some(event)) => {
                    self.silence.heard = Instant::now();
                    self.hear(event);
                    Poll::Ready(())
                }
                Poll::Ready(None) => {
                    self.finish();
                    Poll::Ready(())
                }
                Poll::Pending => self.poll_silence(context),
            };
        }
        match self.rest.poll_next(context) {
            Poll::Ready(Some(Ok(bytes))) => {
                self.silence.heard = Instant::now();
                self.take(bytes);
                Poll::Ready(())
            }
            // Behind the last event, how the connection ends says nothing of the answer.
            Poll::Ready(Some(Err(_))) if self.is_terminated() => {
                self.finish();
                Poll::Ready(())
            }
            Poll::Ready(Some(Err(_))) => {
                self.break_off(&broke_off());
                Poll::Ready(())
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(())
            }
            Poll::Pending => self.poll_silence(context),
        }
    }

    /// Nothing has come. The timer is only moved when it fires, so that it costs nothing per chunk.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let terminated = self.is_terminated();
        let silence = &mut self.silence;
        loop {
            let next_ping = silence.heard.max(silence.pinged) + silence.ping_interval;
            // Behind the last event there is nothing to wait for but the end of the connection, which is
            // worth a moment, as it can be used again.
            let idle = if terminated { LINGER.min(silence.idle) } else { silence.idle };
            let end = silence.heard + idle;
            let pings = !matches!(self.shape, Shape::Bytes { .. }) && !terminated;
            let due = if pings { next_ping.min(end) } else { end };
            let at = tokio::time::Instant::from_std(due);
            let timer = silence.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if timer.deadline() > at {
                timer.as_mut().reset(at);
            }
            std::task::ready!(timer.as_mut().poll(context));
            let now = Instant::now();
            if now >= end && terminated {
                self.finish();
                return Poll::Ready(());
            }
            if now >= end {
                self.break_off(&Fault::new(
                    Kind::UpstreamTimeout,
                    "The provider fell silent in the middle of its answer.",
                ));
                return Poll::Ready(());
            }
            silence.timer = None;
            if now < due {
                continue;
            }
            silence.pinged = now;
            match &mut self.shape {
                Shape::Events { cutter, .. } if cutter.is_between_events() => {
                    self.ready.push_back(self.tap.ping());
                }
                Shape::Translated(translation) => {
                    translation.ping();
                    self.ready.extend(translation.take());
                }
                Shape::Events { .. } | Shape::Bytes { .. } => {}
            }
            if !self.ready.is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let relay = &mut *self;
        loop {
            if let Some(bytes) = relay.ready.pop_front() {
                relay.sent(&bytes);
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if relay.ended {
                relay.close();
                return Poll::Ready(if relay.must_cut() { Some(Err(CutOff)) } else { None });
            }
            std::task::ready!(relay.poll_source(context));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.closed && !self.must_cut()
    }

    fn size_hint(&self) -> SizeHint {
        self.owed.map(SizeHint::with_exact).unwrap_or_default()
    }
}

impl Relay {
    /// Bytes leave for the client. After the last ones the row is written at once: with an announced
    /// length, or a known end, nobody asks again.
    fn sent(&mut self, bytes: &Bytes) {
        self.record.note_sent(bytes);
        if let Some(owed) = &mut self.owed {
            *owed = owed.saturating_sub(bytes.len() as u64);
        }
        let no_more = self.owed == Some(0) || (self.heard.is_none() && self.rest.is_end());
        if self.ready.is_empty() && !self.ended && no_more {
            self.finish();
        }
        if self.ready.is_empty() && self.ended && !self.must_cut() {
            self.close();
        }
    }

    /// The stream's own last event has passed.
    fn is_terminated(&self) -> bool {
        match &self.shape {
            Shape::Translated(translation) => translation.is_terminated(),
            Shape::Events { .. } | Shape::Bytes { .. } => self.tap.is_terminated(),
        }
    }

    /// The answer is broken and its format has no way to say so.
    fn must_cut(&self) -> bool {
        self.broke_off && matches!(self.shape, Shape::Bytes { .. })
    }

    fn close(&mut self) {
        if !self.closed {
            self.closed = true;
            self.record.note_tap(&self.tap);
            self.record.end();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The client went away: what was received is still accounted for.
        if !self.closed {
            self.record.note_tap(&self.tap);
        }
    }
}

fn keep_tail(tail: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() >= TAIL {
        tail.clear();
        tail.extend_from_slice(bytes.get(bytes.len() - TAIL..).unwrap_or_default());
        return;
    }
    let over = (tail.len() + bytes.len()).saturating_sub(TAIL);
    tail.drain(..over);
    tail.extend_from_slice(bytes);
}
