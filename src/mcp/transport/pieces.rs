//! A text that comes bit by bit and may be long: kept in pieces until it is whole. So one without end costs no more memory
//! than its bound, where a growing buffer would cost a multiple of it, and a long one is copied once.

use bytes::BytesMut;

/// Up to this a text is one piece.
const PIECE: usize = 256 * 1024;

#[derive(Debug, Default)]
pub(super) struct Pieces {
    full: Vec<BytesMut>,
    last: BytesMut,
    /// Bytes in the full ones.
    length: usize,
}

impl Pieces {
    /// Begins with a text, which is not copied.
    pub(super) fn of(text: BytesMut) -> Self {
        Self { length: text.len(), full: vec![text], last: BytesMut::new() }
    }

    pub(super) fn extend(&mut self, mut text: &[u8]) {
        while !text.is_empty() {
            if self.last.len() >= PIECE {
                self.length += self.last.len();
                self.full.push(std::mem::take(&mut self.last));
            }
            let room = PIECE - self.last.len();
            let (head, tail) = text.split_at_checked(room).unwrap_or((text, &[]));
            self.last.extend_from_slice(head);
            text = tail;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.length + self.last.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn first(&self) -> Option<&u8> {
        self.full.first().unwrap_or(&self.last).first()
    }

    /// The whole text; nothing is left.
    pub(super) fn take(&mut self) -> BytesMut {
        if self.full.is_empty() {
            return self.last.split();
        }
        let length = std::mem::take(&mut self.length);
        if self.last.is_empty() && self.full.len() == 1 {
            return self.full.pop().unwrap_or_default();
        }
        let mut text = BytesMut::with_capacity(length + self.last.len());
        for piece in self.full.drain(..) {
            text.extend_from_slice(&piece);
        }
        text.extend_from_slice(&std::mem::take(&mut self.last));
        text
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.full = Vec::new();
        self.length = 0;
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_out_as_it_went_in() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let text: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            for step in [1000, PIECE, 2 * PIECE] {
                let mut pieces = Pieces::default();
                text.chunks(step).for_each(|piece| pieces.extend(piece));
                assert_eq!((pieces.len(), pieces.first()), (length, text.first()));
                assert_eq!(pieces.take(), text);
                assert!(pieces.is_empty());
            }
        }
    }
}
