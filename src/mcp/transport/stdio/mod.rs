//! A server that is a child process: one JSON-RPC message a line, in and out, and what it says on standard error goes
//! to the log. One child's life, from its start until nothing of it is left; when to start another is the pool's matter.
//! `supervisor` stands between the gateway and the server, so that nothing of it outlives the gateway.
//! <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#stdio>

mod keeper;
mod launch;
mod reader;
mod sandbox;
mod standard_error;
mod struck;
pub mod supervisor;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Failure, FailureKind, Incoming, MAX_MESSAGE, Outgoing, Pid};
use crate::config::snapshot::{McpCommand, McpServer};
use keeper::{Group, Keeper};
use writer::Write;

/// How long a child may take to end after its input is closed, and again after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// A running child. Dropping it ends the child as [`Child::close`] does, in the background.
pub struct Child {
    name: String,
    writes: mpsc::Sender<Write>,
    told: Arc<Told>,
    stop: CancellationToken,
    ended: CancellationToken,
}

/// What is learnt of a child while it lives.
#[derive(Default)]
struct Told {
    pid: OnceLock<Pid>,
    /// Why it is over.
    over: OnceLock<Failure>,
}

/// What bounds a child.
#[derive(Clone, Copy)]
struct Limits {
    /// The longest line that is read.
    message: usize,
    grace: Duration,
}

impl Child {
    /// Starts the server. What it writes comes by `incoming`, last of all [`Incoming::Closed`], which is sent however
    /// the child ends. Must be called within a runtime, in which the child is then looked after.
    ///
    /// # Errors
    /// The program or its directory does not exist, or cannot be started.
    pub fn start(
        server: &McpServer,
        command: &McpCommand,
        incoming: mpsc::Sender<Incoming>,
    ) -> Result<Self, Failure> {
        let limits = Limits { message: MAX_MESSAGE, grace: GRACE };
        Self::start_within(limits, server, command, incoming)
    }

    fn start_within(
        limits: Limits,
        server: &McpServer,
        command: &McpCommand,
        incoming: mpsc::Sender<Incoming>,
    ) -> Result<Self, Failure> {
        let name = server.display_name().to_owned();
        let supervisor = supervisor::program();
        let launch = launch::Launch::prepare(server, command)?;
        let mut process = launch.spawn(supervisor, limits.grace)?;
        let (Some(pid), Some(stdin), Some(stdout), Some(stderr)) =
            (process.id(), process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            // Just started, and everything is piped.
            return Err(Failure::new(FailureKind::Unreachable, "the child has no pipes"));
        };
        let told = Arc::new(Told::default());
        if supervisor.is_none() {
            let _first = told.pid.set(pid);
        }
        let (stop, gone, ended) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let said = standard_error::Said::new(name.clone(), struck::secrets(command));
        let (writes, waiting) = mpsc::channel(1);
        let keeper = Keeper {
            group: Group::new(pid, supervisor.is_some()),
            reader: tokio::spawn(
                reader::Reader {
                    server: name.clone(),
                    limit: limits.message,
                    incoming: incoming.clone(),
                    stop: stop.clone(),
                    gone: gone.clone(),
                }
                .read(stdout),
            ),
            writer: tokio::spawn(writer::write(stdin, waiting, name.clone(), stop.clone())),
            standard_error: tokio::spawn(
                said.clone().drain(stderr, supervisor.is_some().then(|| told.clone())),
            ),
            name: name.clone(),
            process,
            said,
            told: told.clone(),
            grace: limits.grace,
            stop: stop.clone(),
            gone,
        };
        // If the runtime ends before the child does, nobody is to wait for it any more.
        let guard = ended.clone().drop_guard();
        tokio::spawn(async move {
            let failure = keeper.keep().await;
            drop(guard);
            let _nobody_listens = incoming.send(Incoming::Closed(failure)).await;
        });
        Ok(Self { name, writes, told, stop, ended })
    }

    /// Writes a message to the child's input; returns when all of it is written. At most one message waits here, each
    /// further one with its sender; one whose sender gave up before it was begun is not written.
    ///
    /// # Errors
    /// `Unreachable` where nothing of it was written, `Lost` where a part was.
    pub async fn send(&self, message: Outgoing) -> Result<(), Failure> {
        let (done, outcome) = oneshot::channel();
        if self.writes.send(Write { text: message.text, done }).await.is_err() {
            return Err(self.gone());
        }
        outcome.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// The server's own process, not its supervisor's; `None` in the first moment, until that has told.
    pub fn pid(&self) -> Option<Pid> {
        self.told.pid.get().copied()
    }

    /// Closes the child's input, and sends SIGTERM and then SIGKILL to all its processes where that is not enough.
    /// Returns when nothing is left of it: within [`GRACE`] for a server that ends by itself, else within a few times
    /// that.
    pub async fn close(&self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }

    /// Why a message was not written at all.
    fn gone(&self) -> Failure {
        let text = self.told.over.get().map(|over| over.text.clone());
        let text = text.unwrap_or_else(|| format!("`{}` is ending", self.name));
        Failure::new(FailureKind::Unreachable, text)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
