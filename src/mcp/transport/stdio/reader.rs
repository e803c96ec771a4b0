//! A child's output: one message a line, bounded, and read no faster than the messages are taken. Lines that are no
//! message are passed over: servers and their wrappers greet on standard output.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::de::IgnoredAny;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::Incoming;
use super::super::pieces::Pieces;

/// From here on a line is kept apart from what is read.
const LONG: usize = 64 * 1024;
/// What is read at once.
const PIECE: usize = 16 * 1024;
/// A line up to this is copied, so that it does not hold the piece it came in for as long as it lives.
const COPIED: usize = 4 * 1024;
/// When the child is gone, all it wrote is in the pipe; whoever still holds that is waited for no longer than this.
const SILENCE: Duration = Duration::from_millis(300);
/// Lines that are no messages are told of once in this time.
const TELL_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Reader {
    pub(super) server: String,
    /// The longest line.
    pub(super) limit: usize,
    pub(super) incoming: mpsc::Sender<Incoming>,
    /// Nobody wants a message any more: the rest is read and thrown away, so that the child can end.
    pub(super) stop: CancellationToken,
    /// The child has ended.
    pub(super) gone: CancellationToken,
}

/// Why reading came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The output was closed, or cannot be read.
    Closed,
    TooLong,
    /// The receiver of the messages is gone.
    Unheard,
}

/// Lines that were no messages.
#[derive(Default)]
struct Ignored {
    count: u64,
    told: Option<Instant>,
}

impl Reader {
    pub(super) async fn read(self, mut output: impl AsyncRead + Unpin) -> End {
        let mut buffer = BytesMut::with_capacity(PIECE);
        // The beginning of a long line.
        let mut begun = Pieces::default();
        // Up to here there is no line break.
        let mut searched = 0;
        let mut ignored = Ignored::default();
        loop {
            while let Some(at) = buffer.get(searched..).and_then(|new| memchr::memchr(b'\n', new)) {
                let line = searched + at;
                searched = 0;
                if begun.len() + line > self.limit {
                    return End::TooLong;
                }
                let mut line = buffer.split_to(line + 1);
                if !begun.is_empty() {
                    begun.extend(&line);
                    line = begun.take();
                }
                let Some(text) = message(line) else {
                    ignored.count(&self.server);
                    continue;
                };
                if text.is_empty() {
                    continue;
                }
                let message = Incoming::Message { of: None, text };
                let taken = tokio::select! {
                    biased;
                    taken = self.incoming.send(message) => taken.is_ok(),
                    () = self.stop.cancelled() => return discard(output).await,
                };
                if !taken {
                    return End::Unheard;
                }
            }
            searched = buffer.len();
            if begun.len() + searched > self.limit {
                return End::TooLong;
            }
            if searched > LONG {
                begun.extend(&buffer);
                buffer.clear();
                searched = 0;
            }
            buffer.reserve(PIECE);
            let read = tokio::select! {
                biased;
                () = self.stop.cancelled() => return discard(output).await,
                () = self.incoming.closed() => return End::Unheard,
                read = output.read_buf(&mut buffer) => read,
                () = silence(&self.gone) => Ok(0),
            };
            if !read.is_ok_and(|count| count > 0) {
                // A last line without its end is no message.
                return End::Closed;
            }
        }
    }
}

impl Ignored {
    fn count(&mut self, server: &str) {
        self.count += 1;
        let now = Instant::now();
        if self.told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY) {
            self.told = Some(now);
            let lines = std::mem::take(&mut self.count);
            tracing::warn!(server, lines, "an MCP server wrote what is no message, ignored");
        }
    }
}

/// The line without the space around it, where it can be a message; an empty one stays empty.
fn message(line: BytesMut) -> Option<Bytes> {
    let line = if line.len() <= COPIED { Bytes::copy_from_slice(&line) } else { line.freeze() };
    let text = line.slice_ref(line.trim_ascii());
    let can_be = match (text.first(), text.last()) {
        (None, _) => true,
        (Some(b'{'), Some(b'}')) => true,
        // A batch, or a line of a log: `[INFO] ready [1]`.
        (Some(b'['), Some(b']')) => serde_json::from_slice::<Vec<IgnoredAny>>(&text).is_ok(),
        _ => false,
    };
    can_be.then_some(text)
}

async fn silence(gone: &CancellationToken) {
    gone.cancelled().await;
    tokio::time::sleep(SILENCE).await;
}

async fn discard(mut output: impl AsyncRead + Unpin) -> End {
    let _until_closed = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    End::Closed
}
