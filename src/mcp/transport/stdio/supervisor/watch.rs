//! What a supervisor does: waits for its server's end, for the gateway's, and for what the gateway asks by signals
//! (SIGTERM: end it; SIGQUIT: at once), and reaps and kills until it has no child left.

use std::ffi::OsString;
use std::io;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitIdOptions, WaitOptions, getpid, getppid, kill_process, kill_process_group,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{BECOME, LEFTOVER_GRACE, NOT_STARTED, Orders, Outcome, own_program, told};

/// How long a server has to end by itself when the gateway is gone, which it sees by its closed input.
const ORPHAN_GRACE: Duration = Duration::from_millis(500);
/// How often the dying are looked at.
const PULSE: Duration = Duration::from_millis(20);
/// How often the gateway is looked at, where the system cannot tell of its end.
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn supervise(orders: Orders, program: OsString, arguments: Vec<OsString>) -> Outcome {
    #[cfg(target_os = "linux")]
    {
        let _cosmetic = rustix::thread::set_name(c"mcp-supervisor");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let run = async {
        let temporary = match &orders.sandbox {
            Some(sandbox) if sandbox.temporary => Some(
                tempfile::TempDir::with_prefix("tidegate-mcp-")
                    .map_err(|error| format!("no directory for temporary files: {error}"))?,
            ),
            _ => None,
        };
        let mut supervisor = Supervisor::start(orders, &program, &arguments, temporary.as_ref())?;
        Ok(ExitCode::from(supervisor.run().await))
    };
    runtime.map_err(told)?.block_on(run)
}

/// How far the end has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    /// The gateway is gone, and the server has not ended yet.
    Orphaned,
    Terminated,
    Killed,
}

struct Supervisor {
    orders: Orders,
    /// The server, until it is reaped.
    leader: Option<Pid>,
    status: u8,
    stage: Stage,
    /// When the next stage comes.
    next: Option<Instant>,
    signals: Signals,
    gateway: oneshot::Receiver<()>,
}

struct Signals {
    child: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
}

impl Supervisor {
    fn start(
        orders: Orders,
        program: &OsString,
        arguments: &[OsString],
        temporary: Option<&tempfile::TempDir>,
    ) -> Result<Self, String> {
        // Before there is a server, so that no signal is lost.
        let signals = Signals {
            child: signal(SignalKind::child()).map_err(told)?,
            terminate: signal(SignalKind::terminate()).map_err(told)?,
            quit: signal(SignalKind::quit()).map_err(told)?,
        };
        let gateway = watch_gateway()?;
        if !orders.parent_lives() {
            return Err("the gateway is gone".to_owned());
        }
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(Some(getpid())).map_err(told)?;
        let mut sandbox = orders.sandbox.clone();
        let mut start = Command::new(own_program().ok_or("its own program is not to be found")?);
        if let (Some(sandbox), Some(temporary)) = (&mut sandbox, temporary) {
            sandbox.write.push(temporary.path().to_owned());
            start.env("TMPDIR", temporary.path());
        }
        let parent = std::process::id();
        let inner = Orders { parent, sandbox, ..orders };
        let text = inner.to_argument().ok_or("a path is not UTF-8")?;
        let child = start.args([BECOME, &text]).arg(program).args(arguments).spawn();
        let child = child.map_err(|error| format!("it cannot start itself: {error}"))?;
        let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // The pipes are the server's alone: only then does the gateway see when it closes them.
        let_go().map_err(told)?;
        Ok(Self {
            orders: Orders { parent, ..inner },
            leader,
            status: NOT_STARTED,
            stage: Stage::Running,
            next: None,
            signals,
            gateway,
        })
    }

    /// Returns the server's status when nothing is left of it.
    async fn run(&mut self) -> u8 {
        while self.reap() {
            let next = self.next;
            tokio::select! {
                _ = self.signals.child.recv() => {}
                _ = self.signals.terminate.recv() => self.advance(Stage::Terminated),
                _ = self.signals.quit.recv() => self.advance(Stage::Killed),
                _ = &mut self.gateway, if self.stage == Stage::Running => {
                    self.advance(Stage::Orphaned);
                }
                () = sleep_until(next) => self.advance(match self.stage {
                    Stage::Running | Stage::Orphaned => Stage::Terminated,
                    Stage::Terminated | Stage::Killed => Stage::Killed,
                }),
            }
        }
        self.status
    }

    /// Goes on to a stage, never back. The last one is gone on to again and again: each that dies may leave children,
    /// which are only then this process's own.
    fn advance(&mut self, stage: Stage) {
        if stage < self.stage || (stage == self.stage && stage != Stage::Killed) {
            return;
        }
        self.stage = stage;
        let pause = match stage {
            Stage::Running => return,
            Stage::Orphaned => ORPHAN_GRACE,
            Stage::Terminated if self.leader.is_none() => LEFTOVER_GRACE,
            Stage::Terminated => Duration::from_millis(self.orders.grace_milliseconds),
            Stage::Killed => PULSE,
        };
        self.next = Some(Instant::now() + pause);
        match stage {
            Stage::Running | Stage::Orphaned => {}
            Stage::Terminated => self.signal(Signal::TERM),
            Stage::Killed => self.signal(Signal::KILL),
        }
    }

    /// To the server's group and to all children. Numbers of children cannot have been given to others, as nobody else
    /// reaps them; nor that of the group, while its leader is not reaped.
    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // There is no group yet, if it has not come to that.
            let _group = kill_process_group(leader, signal);
            let _itself = kill_process(leader, signal);
        }
        for child in children().into_iter().filter(|child| Some(*child) != self.leader) {
            let _gone = kill_process(child, signal);
        }
    }

    /// Reaps what has ended, adopted orphans too. `false`: there are no children left.
    fn reap(&mut self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if let Some(leader) = self.leader
            && let Ok(Some(_)) = rustix::process::waitid(rustix::process::WaitId::Pid(leader), look)
        {
            // The last moment at which its number is surely that of its group; and for all where orphans are not adopted.
            let at_once = self.stage == Stage::Killed || !cfg!(target_os = "linux");
            let signal = if at_once { Signal::KILL } else { Signal::TERM };
            let _group = kill_process_group(leader, signal);
        }
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if Some(pid) == self.leader => {
                    self.leader = None;
                    let signal = status.terminating_signal().map(|signal| 128 + signal);
                    let code = status.exit_status().or(signal);
                    self.status = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255);
                    // Those that stay behind have less time than it would have had itself.
                    if self.stage <= Stage::Terminated {
                        self.stage = Stage::Running;
                        self.advance(Stage::Terminated);
                    }
                }
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// Told when the process that started this one has ended, or has let it be adopted. Not by a death signal: that comes when
/// the thread has ended that started this one. A thread waits, as the runtime has no safe way to wait for a process that is
/// no child.
fn watch_gateway() -> Result<oneshot::Receiver<()>, String> {
    let parent = getppid();
    let (gone, told_of) = oneshot::channel();
    let wait = move || {
        #[cfg(target_os = "linux")]
        wait_for(parent);
        // Where the system has no handles for processes, it is looked at now and then.
        while getppid() == parent {
            std::thread::sleep(LOOK);
        }
        let _over = gone.send(());
    };
    std::thread::Builder::new().stack_size(64 * 1024).spawn(wait).map_err(told)?;
    Ok(told_of)
}

/// Returns when the process has ended, or cannot be waited for.
#[cfg(target_os = "linux")]
fn wait_for(process: Option<Pid>) {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{PidfdFlags, pidfd_open};
    let Some(Ok(handle)) = process.map(|process| pidfd_open(process, PidfdFlags::empty())) else {
        return;
    };
    // If it ended before the handle was made, the handle is another's; but then the parent is another, too.
    if getppid() == process {
        let mut handles = [PollFd::new(&handle, PollFlags::IN)];
        while let Err(rustix::io::Errno::INTR) = poll(&mut handles, None) {}
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Every process whose parent is this one. Empty where the system does not show them.
fn children() -> Vec<Pid> {
    let own = getpid();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw).filter(|process| parent(*process) == Some(own)).collect()
}

fn parent(process: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).ok()?;
    // `12 (name) S 1 …`: the name may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    Pid::from_raw(rest.split_ascii_whitespace().nth(1)?.parse().ok()?)
}

/// Closes the three standard streams, by putting nothing in their place.
fn let_go() -> io::Result<()> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
