//! A child's input: one message after the other, each whole or not at all as far as it is ours to decide. A task of its
//! own, since a sender that gives up halfway would leave half a line.

use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::super::{Failure, FailureKind};

/// One message to be written.
pub(super) struct Write {
    pub(super) text: String,
    /// Told what became of it; not told at all where it was not begun.
    pub(super) done: oneshot::Sender<Result<(), Failure>>,
}

/// Writes until the child reads no more (`true`), or it is time to stop; then the input is closed.
pub(super) async fn write(
    mut stdin: ChildStdin,
    mut waiting: mpsc::Receiver<Write>,
    server: String,
    stop: CancellationToken,
) -> bool {
    loop {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            next = waiting.recv() => next,
        };
        let Some(Write { text, done }) = next else { return false };
        if done.is_closed() {
            continue;
        }
        let line = line(text);
        let mut written = 0;
        let outcome = tokio::select! {
            biased;
            outcome = write_all(&mut stdin, &line, &mut written) => Some(outcome),
            () = stop.cancelled() => None,
        };
        let why = match &outcome {
            Some(Ok(())) => {
                let _gave_up = done.send(Ok(()));
                continue;
            }
            Some(Err(error)) => format!("`{server}` does not read its input any more: {error}"),
            None => format!("`{server}` was closed while it was written to"),
        };
        let kind = if written == 0 { FailureKind::Unreachable } else { FailureKind::Lost };
        let _gave_up = done.send(Err(Failure::new(kind, why)));
        return outcome.is_some();
    }
}

/// A line break inside would make two messages of one. In JSON it can stand between tokens only, where a space says the
/// same.
fn line(text: String) -> Vec<u8> {
    let mut line = text.into_bytes();
    if let Some(first) = memchr::memchr2(b'\n', b'\r', &line) {
        for byte in line.iter_mut().skip(first).filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    line
}

async fn write_all(
    stdin: &mut ChildStdin,
    mut rest: &[u8],
    written: &mut usize,
) -> std::io::Result<()> {
    while !rest.is_empty() {
        let count = stdin.write(rest).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        *written += count;
        rest = rest.get(count..).unwrap_or_default();
    }
    Ok(())
}
