//! A request body in pieces: what the client sent, with a few words replaced, without a copy of all the
//! rest. Its length is known, so it goes out with a content-length.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

/// Up to this size one buffer is cheaper than a list.
const SMALL: usize = 16 * 1024;

/// The body of a request, for the HTTP client.
pub(super) fn body(pieces: Vec<Bytes>) -> reqwest::Body {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    if let [whole] = pieces.as_slice() {
        return whole.clone().into();
    }
    if length <= SMALL {
        let mut whole = BytesMut::with_capacity(length);
        pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        return whole.freeze().into();
    }
    reqwest::Body::wrap(Pieces { rest: pieces.into_iter(), length: length as u64 })
}

struct Pieces {
    rest: std::vec::IntoIter<Bytes>,
    length: u64,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.rest.next();
        if let Some(piece) = &next {
            self.length -= piece.len() as u64;
        }
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
