//! Floor 4: the way to a provider and back, one call at a time. Which deployment to call, how often
//! and for whom is decided above; here a call becomes HTTP (or Tidegate's own mock) and the answer
//! becomes a head and a body that can be polled. Nothing here knows of keys of ours, or of clients.

pub mod auth;
pub mod client;
pub mod google;
pub mod mock;
mod pieces;
pub mod sigv4;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body::Body;

/// What a provider is asked for.
#[derive(Debug)]
pub struct Call<'c> {
    pub method: Method,
    /// Path below the base URL, with a query where it has one: `/chat/completions`.
    pub path: Cow<'c, str>,
    /// The path is one of the provider's own format, not one of OpenAI's beside it.
    pub is_native: bool,
    /// The provider's name for the model.
    pub model: &'c str,
    /// `content-type` and the few client headers that may travel.
    pub headers: HeaderMap,
    pub body: Content,
    /// Until the head of the answer has come.
    pub timeout: Duration,
}

/// The body of a call.
#[derive(Debug)]
pub enum Content {
    /// The body in pieces, in order.
    Pieces(Vec<Bytes>),
    /// An upload that is still coming in.
    Flow(reqwest::Body),
}

/// A provider's answer: the head has come, the body may still be coming.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: ReplyBody,
}

/// The body of an answer, frame by frame.
#[derive(Debug)]
pub enum ReplyBody {
    Secure(reqwest::Body),
    Plain(hyper::body::Incoming),
    Local(VecDeque<Bytes>),
}

/// Why there is no answer, or not a whole one. No address and no header is in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection could be made.
    Unreachable,
    /// The connection broke before the answer's head came: most often one from the pool that the
    /// provider was just closing.
    Lost,
    /// The provider did not answer in time.
    Timeout,
    /// The connection broke inside the answer, or the bytes were not HTTP.
    Broken,
    /// The client's own body broke off while it was being passed on.
    ClientBody,
    /// The gateway has no credentials that the provider would take.
    Credentials,
    /// The configuration gives an address or header that no request can be made of.
    Unsendable,
}

impl Failure {
    /// The word in the attempt trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "connect",
            Self::Lost => "lost",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::ClientBody => "client_body",
            Self::Credentials => "credentials",
            Self::Unsendable => "unsendable",
        }
    }
}

impl ReplyBody {
    /// The next bytes; `None` at the proper end.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        match self {
            Self::Local(frames) => Poll::Ready(frames.pop_front().map(Ok)),
            Self::Secure(body) => poll_data(body, context),
            Self::Plain(body) => poll_data(body, context),
        }
    }

    /// The next bytes, awaited.
    pub async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// Whether nothing more will come.
    pub fn is_end(&self) -> bool {
        match self {
            Self::Local(frames) => frames.is_empty(),
            Self::Secure(body) => body.is_end_stream(),
            Self::Plain(body) => body.is_end_stream(),
        }
    }
}

/// The next bytes of a body; trailers say nothing to an OpenAI client.
fn poll_data<B>(body: &mut B, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>>
where
    B: Body<Data = Bytes> + Unpin,
{
    loop {
        return Poll::Ready(match std::task::ready!(Pin::new(&mut *body).poll_frame(context)) {
            None => None,
            Some(Err(_)) => Some(Err(Failure::Broken)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Some(Ok(data)),
                Err(_) => continue,
            },
        });
    }
}
