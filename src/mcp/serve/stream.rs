//! One stream of messages to a client: numbered, read by one reader at a time, and kept for a while, so that a client
//! whose connection broke goes on where it was. Nothing here knows HTTP or what a message says.
//! <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery>

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::ask::Out;

/// Events that one stream keeps.
const MAX_EVENTS: usize = 1024;
/// Bytes that one stream keeps; a single event may be longer.
const MAX_BYTES: usize = 1024 * 1024;
/// Bytes that all streams keep together: over it, only what is on its way.
const MAX_BYTES_OF_ALL: usize = 256 * 1024 * 1024;
/// How long a stream can be resumed after its end.
const KEPT: Duration = Duration::from_secs(60);

/// One stream.
pub struct Stream {
    /// Unique within its session, and the beginning of its events' ids.
    pub number: u64,
    /// Whether what was read is kept.
    keeps: bool,
    budget: Arc<Budget>,
    state: Mutex<State>,
    /// Rings when the reader has gone on, or away.
    moved: Notify,
}

/// One message on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counted from 1.
    pub number: u64,
    pub text: Bytes,
    pub is_answer: bool,
}

/// Reads a stream; dropping it leaves the stream to the next.
pub struct Reader {
    stream: Arc<Stream>,
    turn: u64,
    after: u64,
}

/// Bytes that all streams keep.
#[derive(Default)]
pub struct Budget(AtomicUsize);

/// Ends a stream when the last of those who write to it is gone.
pub struct Ends(pub Arc<Stream>);

#[derive(Default)]
struct State {
    /// In order, without gaps.
    ring: VecDeque<Event>,
    bytes: usize,
    written: u64,
    /// The last event that the reader has.
    read: u64,
    /// Whose turn it is to read; `None`: nobody reads.
    reader: Option<u64>,
    turns: u64,
    /// Where messages come from, beside `push`: they are fetched only when somebody reads.
    source: Option<mpsc::Receiver<Out>>,
    waker: Option<Waker>,
    ended: Option<Instant>,
}

impl Stream {
    /// A stream that is written with [`push`](Self::push).
    pub fn new(number: u64, keeps: bool, budget: Arc<Budget>) -> Arc<Self> {
        Self::with(number, keeps, budget, None)
    }

    /// A stream of what comes through a queue.
    pub fn of(
        number: u64,
        keeps: bool,
        budget: Arc<Budget>,
        source: mpsc::Receiver<Out>,
    ) -> Arc<Self> {
        Self::with(number, keeps, budget, Some(source))
    }

    fn with(
        number: u64,
        keeps: bool,
        budget: Arc<Budget>,
        source: Option<mpsc::Receiver<Out>>,
    ) -> Arc<Self> {
        let state = Mutex::new(State { source, ..State::default() });
        Arc::new(Self { number, keeps, budget, state, moved: Notify::new() })
    }

    /// Writes a message. Waits while the stream is full of what its reader has not read yet; without a reader the oldest
    /// give way.
    pub async fn push(&self, text: String, is_answer: bool) {
        let text = Bytes::from(text);
        loop {
            let moved = self.moved.notified();
            {
                let mut state = self.state();
                if state.ended.is_some() {
                    return;
                }
                if state.make_room(text.len(), &self.budget) {
                    state.append(text, is_answer, &self.budget);
                    state.wake();
                    return;
                }
            }
            moved.await;
        }
    }

    /// Nothing more will come.
    pub fn end(&self) {
        let mut state = self.state();
        if state.ended.is_none() {
            state.ended = Some(Instant::now());
            state.wake();
            drop(state);
            self.moved.notify_waiters();
        }
    }

    /// Reads what comes after an event. Whoever read before reads no more.
    pub fn read_after(self: &Arc<Self>, after: u64) -> Reader {
        let mut state = self.state();
        state.wake();
        state.turns += 1;
        let turn = state.turns;
        state.reader = Some(turn);
        let after = after.min(state.written);
        state.read = after;
        drop(state);
        self.moved.notify_waiters();
        Reader { stream: self.clone(), turn, after }
    }

    /// The number of the last event that was written.
    pub fn written(&self) -> u64 {
        self.state().written
    }

    /// When it ended, if it has and nobody reads it.
    pub fn ended(&self) -> Option<Instant> {
        let state = self.state();
        state.ended.filter(|_| state.reader.is_none())
    }

    /// It has ended so long ago that nobody will ask for it.
    pub fn is_over(&self, now: Instant) -> bool {
        self.ended().is_some_and(|ended| now.saturating_duration_since(ended) > KEPT)
    }

    /// The bytes that it keeps.
    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, text: Bytes, is_answer: bool, budget: &Budget) {
        self.written += 1;
        self.bytes += text.len();
        budget.0.fetch_add(text.len(), Ordering::Relaxed);
        self.ring.push_back(Event { number: self.written, text, is_answer });
    }

    /// Drops the oldest events until one of `more` bytes has room; `false` where the oldest is still to be read.
    fn make_room(&mut self, more: usize, budget: &Budget) -> bool {
        let is_full = |state: &Self| {
            state.ring.len() >= MAX_EVENTS || state.bytes.saturating_add(more) > MAX_BYTES
        };
        while is_full(self) && !self.ring.is_empty() {
            if !self.drop_oldest(budget) {
                return false;
            }
        }
        while budget.is_over() && self.drop_oldest(budget) {}
        true
    }

    /// Drops the oldest event, unless somebody reads and has not read it.
    fn drop_oldest(&mut self, budget: &Budget) -> bool {
        let is_free = |event: &&Event| self.reader.is_none() || event.number <= self.read;
        if self.ring.front().filter(is_free).is_none() {
            return false;
        }
        if let Some(event) = self.ring.pop_front() {
            self.bytes -= event.text.len();
            budget.0.fetch_sub(event.text.len(), Ordering::Relaxed);
        }
        true
    }

    /// The first event behind a number, or behind what was dropped.
    fn after(&self, number: u64) -> Option<Event> {
        let first = self.ring.front()?.number;
        let at = usize::try_from((number + 1).saturating_sub(first)).ok()?;
        self.ring.get(at).cloned()
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Reader {
    /// The next message; `None` when there will be none, or somebody else reads now.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same, to be polled.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let stream = &*self.stream;
        let mut state = stream.state();
        if state.reader != Some(self.turn) {
            return Poll::Ready(None);
        }
        loop {
            if let Some(event) = state.after(self.after) {
                self.after = event.number;
                state.read = event.number;
                while !stream.keeps && state.drop_oldest(&stream.budget) {}
                drop(state);
                stream.moved.notify_waiters();
                return Poll::Ready(Some(event));
            }
            if state.ended.is_some() {
                return Poll::Ready(None);
            }
            let Some(source) = &mut state.source else { break };
            match source.poll_recv(context) {
                Poll::Ready(Some(out)) => {
                    let (text, is_answer) = match out {
                        Out::Message(text) => (text, false),
                        Out::Answer(text) => (text, true),
                    };
                    // All has been read, so there is room, or can be.
                    state.make_room(text.len(), &stream.budget);
                    state.append(Bytes::from(text), is_answer, &stream.budget);
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// The last event that was read.
    pub fn position(&self) -> u64 {
        self.after
    }

    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.stream.state();
        if state.reader == Some(self.turn) {
            state.reader = None;
            state.waker = None;
            drop(state);
            self.stream.moved.notify_waiters();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let bytes = self.state().bytes;
        self.budget.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Budget {
    fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MAX_BYTES_OF_ALL
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn stream(keeps: bool) -> Arc<Stream> {
        Stream::new(3, keeps, Arc::default())
    }

    async fn rest(reader: &mut Reader) -> Vec<u64> {
        let mut seen = Vec::new();
        while let Some(event) = reader.next().await {
            seen.push(event.number);
        }
        seen
    }

    #[tokio::test]
    async fn a_client_that_comes_back_gets_what_it_missed() {
        let stream = stream(true);
        let mut reader = stream.read_after(0);
        stream.push("a".into(), false).await;
        assert_eq!(reader.next().await.map(|event| event.number), Some(1));
        drop(reader);
        stream.push("b".into(), false).await;
        stream.push("c".into(), true).await;
        stream.end();
        assert_eq!(rest(&mut stream.read_after(1)).await, [2, 3]);
        assert_eq!(rest(&mut stream.read_after(0)).await, [1, 2, 3]);
        assert_eq!(rest(&mut stream.read_after(9)).await, [0; 0]);
    }

    #[tokio::test]
    async fn a_second_reader_takes_over_from_the_first() {
        let stream = stream(true);
        let mut first = stream.read_after(0);
        let mut second = stream.read_after(0);
        stream.push("a".into(), false).await;
        assert_eq!(first.next().await, None);
        drop(first);
        assert_eq!(second.next().await.map(|event| event.number), Some(1));
        assert!(second.next().now_or_never().is_none(), "it waits");
    }

    #[tokio::test]
    async fn without_a_reader_the_oldest_give_way() {
        let stream = stream(true);
        for _ in 0..MAX_EVENTS + 10 {
            stream.push("x".into(), false).await;
        }
        stream.push("y".repeat(2 * MAX_BYTES), false).await;
        stream.end();
        let last = u64::try_from(MAX_EVENTS + 11).unwrap();
        assert_eq!(rest(&mut stream.read_after(1)).await, [last], "one is kept, however long");
    }

    #[tokio::test]
    async fn a_slow_reader_holds_the_writer_back_until_it_reads_or_leaves() {
        let stream = stream(true);
        let mut reader = stream.read_after(0);
        for _ in 0..MAX_EVENTS {
            stream.push("x".into(), false).await;
        }
        let mut push = std::pin::pin!(stream.push("y".into(), false));
        assert!(push.as_mut().now_or_never().is_none());
        reader.next().await.expect("the first");
        push.await;
        let mut push = std::pin::pin!(stream.push("z".into(), false));
        assert!(push.as_mut().now_or_never().is_none());
        drop(reader);
        push.await;
    }

    #[tokio::test]
    async fn what_is_not_kept_is_forgotten_when_read() {
        let budget = Arc::new(Budget::default());
        let stream = Stream::new(1, false, budget.clone());
        let mut reader = stream.read_after(0);
        stream.push("abc".into(), false).await;
        assert_eq!(budget.0.load(Ordering::Relaxed), 3);
        reader.next().await.expect("it");
        assert_eq!((stream.bytes(), budget.0.load(Ordering::Relaxed)), (0, 0));
        stream.push("abc".into(), false).await;
        drop((reader, stream));
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_queue_is_read_only_while_somebody_reads() {
        let (sender, receiver) = mpsc::channel(4);
        let stream = Stream::of(0, true, Arc::default(), receiver);
        for text in ["a", "b"] {
            sender.send(Out::Message(text.into())).await.expect("room");
        }
        assert_eq!(stream.written(), 0);
        let mut reader = stream.read_after(0);
        assert_eq!(reader.next().await.map(|event| event.text), Some(Bytes::from("a")));
        drop(reader);
        let mut again = stream.read_after(0);
        assert_eq!(again.next().await.map(|event| event.text), Some(Bytes::from("a")));
        assert_eq!(again.next().await.map(|event| event.text), Some(Bytes::from("b")));
        drop(sender);
        assert_eq!(again.next().await, None);
    }

    #[test]
    fn an_ended_stream_is_kept_a_while() {
        let stream = stream(true);
        let later = Instant::now() + KEPT + Duration::from_secs(5);
        assert!(!stream.is_over(later));
        stream.end();
        let reader = stream.read_after(0);
        assert!(!stream.is_over(later), "somebody reads");
        drop(reader);
        assert!(stream.is_over(later));
        assert!(!stream.is_over(Instant::now()));
    }
}
