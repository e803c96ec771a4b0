//! The beginning of an upload, held until the model is known: in memory while it is short, in an
//! unnamed temporary file when the client put its file before the model.

use std::collections::VecDeque;
use std::io::SeekFrom;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use crate::ground::fault::Fault;

const MAX_IN_MEMORY: u64 = 1024 * 1024;
const PIECE: usize = 64 * 1024;

/// Bytes in the order they came.
#[derive(Debug, Default)]
pub(super) struct Held {
    memory: VecDeque<Bytes>,
    spilled: Option<File>,
    length: u64,
}

impl Held {
    /// # Errors
    /// The temporary file could not be written.
    pub(super) async fn push(&mut self, bytes: Bytes) -> Result<(), Fault> {
        self.length += bytes.len() as u64;
        if self.spilled.is_none() && self.length <= MAX_IN_MEMORY {
            self.memory.push_back(bytes);
            return Ok(());
        }
        self.spill(bytes).await.map_err(|error| {
            tracing::error!(%error, "an upload could not be held in a temporary file");
            Fault::bug("an upload could not be held in a temporary file")
        })
    }

    async fn spill(&mut self, bytes: Bytes) -> std::io::Result<()> {
        let mut file = match self.spilled.take() {
            Some(file) => file,
            None => File::from_std(tempfile::tempfile()?),
        };
        for part in self.memory.drain(..) {
            file.write_all(&part).await?;
        }
        file.write_all(&bytes).await?;
        self.spilled = Some(file);
        Ok(())
    }

    /// Ends the writing: from here on the bytes are read, with `at` replaced by `text`.
    ///
    /// # Errors
    /// The temporary file could not be read.
    pub(super) async fn replay(mut self, at: Range<u64>, text: &str) -> std::io::Result<Replay> {
        if let Some(file) = &mut self.spilled {
            file.flush().await?;
            file.seek(SeekFrom::Start(0)).await?;
        }
        Ok(Replay { memory: self.memory, file: self.spilled, at, text: text.to_owned(), offset: 0 })
    }
}

/// Held bytes on their way out.
#[derive(Debug)]
pub(super) struct Replay {
    memory: VecDeque<Bytes>,
    file: Option<File>,
    at: Range<u64>,
    text: String,
    offset: u64,
}

impl Replay {
    /// The next bytes; `None` when all are out.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        let piece = match &mut self.file {
            None => self.memory.pop_front(),
            Some(file) => {
                let mut piece = BytesMut::with_capacity(PIECE);
                let count = file.read_buf(&mut piece).await?;
                (count > 0).then(|| piece.freeze())
            }
        };
        Ok(piece.map(|piece| self.splice(piece)))
    }

    /// Replaces the part of the range that lies in this piece; the text goes where the range begins.
    fn splice(&mut self, piece: Bytes) -> Bytes {
        let start = self.offset;
        let end = start + piece.len() as u64;
        self.offset = end;
        if self.at.end <= start || self.at.start >= end {
            return piece;
        }
        let index = |offset: u64| usize::try_from(offset - start).unwrap_or(piece.len());
        let from = index(self.at.start.max(start));
        let to = index(self.at.end.min(end));
        let mut out = BytesMut::with_capacity(piece.len() + self.text.len());
        out.extend_from_slice(piece.get(..from).unwrap_or_default());
        if self.at.start >= start {
            out.extend_from_slice(self.text.as_bytes());
        }
        out.extend_from_slice(piece.get(to..).unwrap_or_default());
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn replayed(parts: &[&[u8]], at: Range<u64>, text: &str) -> Vec<u8> {
        let mut held = Held::default();
        for part in parts {
            held.push(Bytes::copy_from_slice(part)).await.expect("held");
        }
        let mut replay = held.replay(at, text).await.expect("replay");
        let mut out = Vec::new();
        while let Some(piece) = replay.next().await.expect("piece") {
            out.extend_from_slice(&piece);
        }
        out
    }

    #[tokio::test]
    async fn the_range_is_replaced_wherever_pieces_are_cut() {
        for cut in 0..=10 {
            let (left, right) = b"ab[model]c".split_at(cut);
            assert_eq!(replayed(&[left, right], 2..9, "X").await, b"abXc", "cut at {cut}");
        }
        assert_eq!(replayed(&[b"abc"], 3..3, "X").await, b"abc");
    }

    #[tokio::test]
    async fn long_beginnings_go_to_a_file_and_come_back_whole() {
        let big = vec![7u8; 3 * 1024 * 1024];
        let out = replayed(
            &[b"ab", &big, b"model", b"z"],
            2 + big.len() as u64..7 + big.len() as u64,
            "m2",
        )
        .await;
        assert_eq!(out.len(), big.len() + 5);
        assert!(out.ends_with(b"\x07m2z"));
    }
}
