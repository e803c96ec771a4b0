//! A request at work: a task of its own, whose messages go into a stream, and which ends when it is answered or
//! cancelled. The stream outlives the client's connection, and so does the work.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ask::{Ask, Asker, MAX_WAITING, Out};
use super::dispatch;
use super::line::Place;
use super::sessions::Slot;
use super::stream::{Ends, Stream};
use crate::mcp::Mcp;
use crate::wire::mcp::error::{INTERNAL_ERROR, RpcError};
use crate::wire::mcp::message::{Id, Notification, Request, answer};

pub(super) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What answers requests, and hears notifications.
#[derive(Clone, Copy)]
pub(super) struct Behind {
    pub(super) answer: fn(Arc<Mcp>, Ask) -> Work,
    pub(super) notified: fn(Arc<Mcp>, Asker, Notification) -> Work,
}

/// One request to be worked on.
pub(super) struct Job {
    pub(super) mcp: Arc<Mcp>,
    pub(super) behind: Behind,
    pub(super) request: Request,
    pub(super) asker: Asker,
    /// Where its messages go.
    pub(super) stream: Arc<Stream>,
    /// The stream ends with its requests.
    pub(super) ends: Option<Arc<Ends>>,
    /// Rings when nobody wants the answer any more.
    pub(super) token: CancellationToken,
    /// In the era of sessions.
    pub(super) place: Option<Place>,
    pub(super) slot: Slot,
}

impl Behind {
    pub(super) fn dispatch() -> Self {
        Self {
            answer: |mcp, ask| Box::pin(async move { dispatch::answer_request(&mcp, ask).await }),
            notified: |mcp, asker, notification| {
                Box::pin(async move { dispatch::notified(&mcp, asker, notification).await })
            },
        }
    }
}

impl Job {
    /// Begins.
    pub(super) fn start(self) {
        let handle = self.mcp.handle().clone();
        handle.spawn(async move {
            let Self { mcp, behind, request, asker, stream, ends, token, place, slot } = self;
            let (outbox, waiting) = mpsc::channel(MAX_WAITING);
            let id = request.id.clone();
            let work = (behind.answer)(mcp, Ask { request, asker, outbox });
            let done = CancellationToken::new();
            let working = async {
                work.await;
                done.cancel();
            };
            let delivering = async {
                deliver(waiting, &stream, &done, &id, place).await;
                drop(ends);
            };
            let both = async { tokio::join!(working, delivering) };
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                _ = both => {}
            }
            drop(slot);
        });
    }
}

/// Hands messages on until the answer has come.
async fn deliver(
    mut waiting: mpsc::Receiver<Out>,
    stream: &Stream,
    done: &CancellationToken,
    id: &Id,
    place: Option<Place>,
) {
    loop {
        let out = tokio::select! {
            biased;
            out = waiting.recv() => out,
            // Somebody may still hold the outbox; all that is to come is in it already.
            () = done.cancelled() => waiting.try_recv().ok(),
        };
        let text = match out {
            Some(Out::Message(text)) => {
                stream.push(text, false).await;
                continue;
            }
            Some(Out::Answer(text)) => text,
            None => {
                tracing::error!(?id, "a request was left without an answer");
                let error = RpcError::new(INTERNAL_ERROR, "The gateway found no answer.");
                answer(Some(id), &Err(error))
            }
        };
        // The id is free before the client can know that it is.
        drop(place);
        stream.push(text, true).await;
        return;
    }
}

/// A notification is heard, in a task of its own.
pub(super) fn notify(
    behind: Behind,
    mcp: &Arc<Mcp>,
    asker: Asker,
    notification: Notification,
    slot: Slot,
) {
    let ended = asker.session.as_ref().map(|session| session.ended.clone()).unwrap_or_default();
    let hearing = (behind.notified)(mcp.clone(), asker, notification);
    mcp.handle().spawn(async move {
        tokio::select! {
            biased;
            () = ended.cancelled() => {}
            () = hearing => {}
        }
        drop(slot);
    });
}
