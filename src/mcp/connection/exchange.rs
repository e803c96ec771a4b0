//! One request to a server and what comes of it, in order: what the server says on the way, then the end. Dropped before
//! the end, it cancels the request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};

use super::Connection;
use crate::mcp::transport::{Failure, FailureKind};
use crate::wire::mcp::message::{Id, Notification, Outcome, Request};

/// What comes of a request.
#[derive(Debug)]
pub enum Event {
    /// About the request: progress, with the client's own token, or a log message.
    Notification(Notification),
    /// The server asks the client something; `Connection::respond` answers.
    Request {
        request: Request,
        /// It came on this request's own stream; else another request of the same client may have caused it.
        is_its_own: bool,
    },
    /// The answer. Nothing comes after it.
    Answer(Outcome),
    /// There will be none. Nothing comes after it.
    Lost(Failure),
}

/// A question that may be any request's on the connection: until it is answered, none of them is taken for silent.
pub struct OpenQuestion(Arc<Connection>);

/// A request in progress.
pub struct Exchange {
    connection: Arc<Connection>,
    id: Id,
    notes: mpsc::Receiver<Event>,
    outcome: oneshot::Receiver<Result<Outcome, Failure>>,
    is_over: bool,
}

impl Exchange {
    pub(super) fn new(
        connection: Arc<Connection>,
        id: Id,
        notes: mpsc::Receiver<Event>,
        outcome: oneshot::Receiver<Result<Outcome, Failure>>,
    ) -> Self {
        Self { connection, id, notes, outcome, is_over: false }
    }

    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The request waits for its client to come again, or does not any more: meanwhile nothing is attributed to it that
    /// does not name it.
    pub fn park(&self, is_parked: bool) {
        if let Some(running) = self.connection.state().running.get_mut(&self.id) {
            running.is_parked = is_parked;
        }
    }

    /// A question that may be another request's begins to be open.
    pub fn ask_for_another(&self) -> OpenQuestion {
        self.connection.open_questions.fetch_add(1, Ordering::Relaxed);
        OpenQuestion(self.connection.clone())
    }

    /// The next thing that comes. Safe to be dropped while it waits.
    pub async fn next(&mut self) -> Event {
        // What was said before the end is told before it; with the end, no more can be said.
        if let Some(note) = self.notes.recv().await {
            return note;
        }
        let ended = (&mut self.outcome).await;
        self.is_over = true;
        match ended {
            Ok(Ok(outcome)) => Event::Answer(outcome),
            Ok(Err(failure)) => Event::Lost(failure),
            Err(_) => Event::Lost(Failure::new(FailureKind::Closed, "the connection was closed")),
        }
    }

    /// Waits for the end and passes over what comes before. Requests of the server are left without an answer, so this
    /// is for what the gateway asks itself.
    pub async fn end(mut self) -> Result<Outcome, Failure> {
        loop {
            match self.next().await {
                Event::Answer(outcome) => return Ok(outcome),
                Event::Lost(failure) => return Err(failure),
                Event::Notification(_) | Event::Request { .. } => {}
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_over {
            self.connection.cancel(&self.id);
        }
    }
}

impl Drop for OpenQuestion {
    fn drop(&mut self) {
        self.0.open_questions.fetch_sub(1, Ordering::Relaxed);
    }
}
