//! What leaves for a client, whatever made it: bytes that are all there, an answer that flows, or events of another part of
//! the gateway. Nothing here knows what any of them says.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::relay::Relay;

/// What leaves for the client.
pub enum Outgoing {
    Whole(Bytes),
    Relay(Box<Relay>),
    /// Another stream, which knows its own end.
    Events(Box<dyn Events>),
}

/// Bytes that come one after another and break off only with the connection.
pub trait Events: Send {
    /// The next bytes; `None` at the end.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>>;
}

/// The connection to the client must be cut: the answer cannot be completed and has no way to say so.
#[derive(Clone, Copy, Debug)]
pub struct CutOff;

impl std::fmt::Display for CutOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the provider's answer broke off")
    }
}

impl std::error::Error for CutOff {}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Relay(relay) => Pin::new(&mut **relay).poll_frame(context),
            Self::Events(events) => {
                events.poll_next(context).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Relay(relay) => relay.is_end_stream(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Relay(relay) => relay.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}
