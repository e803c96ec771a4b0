//! Looks after one child: notices how it ends, ends it where that is wanted, makes sure that nothing of its group is
//! left, and says why it is over.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::os::unix::process::ExitStatusExt;
use tokio::process::Child as Process;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::{Failure, FailureKind};
use super::reader;
use super::standard_error::Said;
use super::supervisor::LEFTOVER_GRACE;
use super::{Pid as Number, Told};

/// A child whose pipes are closed is about to exit, most often.
const EXIT_FOLLOWS: Duration = Duration::from_millis(500);
/// How long a dead child's last words may take.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How long killed processes may take to vanish.
const VANISHING: Duration = Duration::from_secs(2);

/// All that looking after a child needs.
pub(super) struct Keeper {
    pub(super) name: String,
    pub(super) process: Process,
    pub(super) group: Group,
    pub(super) reader: JoinHandle<reader::End>,
    /// Whether it was the child that ended the writing.
    pub(super) writer: JoinHandle<bool>,
    pub(super) standard_error: JoinHandle<()>,
    pub(super) said: Said,
    pub(super) told: Arc<Told>,
    pub(super) grace: Duration,
    /// To be ended; cancelled here too, when it is over.
    pub(super) stop: CancellationToken,
    /// Told to the reader: the child has ended.
    pub(super) gone: CancellationToken,
}

/// The processes of a child, to be signalled together. Dropped before they are gone, it has them killed.
pub(super) struct Group {
    leader: Option<Pid>,
    /// The leader is a supervisor, which does the killing.
    supervised: bool,
}

/// What was noticed first.
enum Event {
    Stop,
    Exit(Option<ExitStatus>),
    OutputEnd(reader::End),
    InputEnd,
}

impl Keeper {
    /// Returns when the child and its group are gone.
    pub(super) async fn keep(mut self) -> Failure {
        let event = tokio::select! {
            biased;
            () = self.stop.cancelled() => Event::Stop,
            // All that was written is read before the exit is looked at; but the pipes may outlive it.
            end = &mut self.reader => Event::OutputEnd(end.unwrap_or(reader::End::Closed)),
            () = deaf(&mut self.writer) => Event::InputEnd,
            status = self.process.wait() => Event::Exit(status.ok()),
        };
        let failure = match event {
            Event::Stop | Event::OutputEnd(reader::End::Unheard) => {
                self.close().await;
                Failure::new(FailureKind::Closed, format!("`{}` was closed", self.name))
            }
            Event::OutputEnd(reader::End::TooLong) => {
                self.group.kill();
                self.close().await;
                let why = format!("`{}` wrote a line that is too long", self.name);
                Failure::new(FailureKind::Garbage, why)
            }
            Event::OutputEnd(reader::End::Closed) => self.silent("output").await,
            Event::InputEnd => self.silent("input").await,
            Event::Exit(status) => self.exited(status).await,
        };
        let _first = self.told.over.set(failure.clone());
        self.stop.cancel();
        self.reader.abort();
        self.standard_error.abort();
        failure
    }

    /// It has closed a pipe: without both there is no server.
    async fn silent(&mut self, what: &str) -> Failure {
        match timeout(EXIT_FOLLOWS, self.process.wait()).await {
            Ok(status) => self.exited(status.ok()).await,
            Err(_) => {
                self.close().await;
                let why = format!("`{}` closed its standard {what}", self.name);
                Failure::new(FailureKind::Lost, self.with_last_words(why).await)
            }
        }
    }

    async fn exited(&mut self, status: Option<ExitStatus>) -> Failure {
        self.group.end(&self.told, status);
        self.gone.cancel();
        // What it wrote before it ended still counts.
        if !self.reader.is_finished() {
            tokio::select! {
                _end = &mut self.reader => {}
                () = self.stop.cancelled() => {}
            }
        }
        let how = match status.map(|status| (status.code(), status.signal())) {
            // How shells and the supervisor tell of a signal.
            Some((Some(code @ 129..=192), _)) => format!("was ended by signal {}", code - 128),
            Some((Some(code), _)) => format!("exited with status {code}"),
            Some((None, Some(signal))) => format!("was ended by signal {signal}"),
            _ => "ended".to_owned(),
        };
        let text = self.with_last_words(format!("`{}` {how}", self.name)).await;
        // Without a word from what was to become the server, there never was one.
        let begun = self.told.pid.get().is_some();
        Failure::new(if begun { FailureKind::Lost } else { FailureKind::Unreachable }, text)
    }

    async fn with_last_words(&mut self, why: String) -> String {
        if !self.standard_error.is_finished() {
            let _silent = timeout(LAST_WORDS, &mut self.standard_error).await;
        }
        match self.said.last() {
            Some(last) => format!("{why}: {last}"),
            None => why,
        }
    }

    /// Input closed, SIGTERM, SIGKILL, each after a while.
    async fn close(&mut self) {
        self.stop.cancel();
        let mut ended = timeout(self.grace, self.process.wait()).await;
        if ended.is_err() {
            self.group.terminate();
            // A supervisor goes on to SIGKILL by itself.
            let longer = if self.group.supervised { LEFTOVER_GRACE } else { Duration::ZERO };
            ended = timeout(self.grace + longer, self.process.wait()).await;
        }
        if ended.is_err() {
            self.group.kill();
            ended = timeout(VANISHING, self.process.wait()).await;
        }
        match ended {
            Ok(status) => self.group.end(&self.told, status.ok()),
            Err(_) => tracing::error!(server = self.name, "an MCP server cannot be killed"),
        }
    }
}

/// Whether the child stopped reading; does not return for any other end of the writing.
async fn deaf(writer: &mut JoinHandle<bool>) {
    if !matches!(writer.await, Ok(true)) {
        std::future::pending().await
    }
}

impl Group {
    pub(super) fn new(leader: Number, supervised: bool) -> Self {
        Self { leader: pid(leader), supervised }
    }

    /// Asks politely.
    fn terminate(&self) {
        self.signal(Signal::TERM, Signal::TERM);
    }

    /// Kills at once.
    fn kill(&self) {
        self.signal(Signal::QUIT, Signal::KILL);
    }

    /// The leader has ended: so does the rest. A supervisor leaves nothing behind, unless it was killed itself; then
    /// the server's own group is all that is known.
    fn end(&mut self, told: &Told, status: Option<ExitStatus>) {
        let leader = self.leader.take();
        let group = if !self.supervised {
            leader
        } else if status.is_none_or(|status| status.code().is_none()) {
            told.pid.get().copied().and_then(pid)
        } else {
            None
        };
        // No other group can have this number yet: numbers are given out in turn.
        if let Some(group) = group {
            complain(kill_process_group(group, Signal::KILL));
        }
    }

    fn signal(&self, supervisor: Signal, group: Signal) {
        let Some(leader) = self.leader else { return };
        complain(if self.supervised {
            kill_process(leader, supervisor)
        } else {
            kill_process_group(leader, group)
        });
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody is left to wait: a supervisor ends its server politely by itself.
        self.signal(Signal::TERM, Signal::KILL);
    }
}

fn pid(number: Number) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

fn complain(outcome: Result<(), Errno>) {
    if let Err(error) = outcome
        && error != Errno::SRCH
    {
        tracing::warn!(%error, "an MCP server's processes cannot be signalled");
    }
}
