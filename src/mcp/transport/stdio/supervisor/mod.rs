//! The process between the gateway and a server, which is this program once more (`cli` hands its arguments here). It
//! is there because the gateway may be killed at any moment, and because what a server starts may leave its group: it
//! adopts every orphan among the server's descendants, waits for the gateway's end, and goes only when nothing of the
//! server is left. The pipes lead past it, from the gateway to the server. Knows of the protocol nothing at all.

mod watch;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::getppid;
use serde::{Deserialize, Serialize};

use super::sandbox::{Held, Sandbox};
use watch::supervise;

/// The first argument that asks for a supervisor.
pub const SUPERVISE: &str = "__mcp-supervise";
/// The first argument that asks for what becomes the server.
const BECOME: &str = "__mcp-become";
/// How a supervisor is listed among the processes. Not by the gateway's name: what kills that by name must leave
/// supervisors alive to clean up.
pub(super) const NAME: &str = "mcp-supervisor";
/// The status of a supervisor whose server could not be started.
const NOT_STARTED: u8 = 126;
/// How long processes that outlive their server have to end after SIGTERM.
pub(super) const LEFTOVER_GRACE: Duration = Duration::from_millis(500);

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// What a supervisor is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    /// Who must stay alive.
    parent: u32,
    grace_milliseconds: u64,
    sandbox: Option<Sandbox>,
}

/// What the server's process tells of itself just before it becomes the server: the first line on standard error, which
/// nothing of the server's can precede.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) pid: super::Pid,
    /// `None`: no sandbox is wanted.
    sandbox: Option<Held>,
}

/// Says which program is a supervisor when it is started with [`SUPERVISE`]: the gateway's own. Without one, children
/// are started directly, without a sandbox, and outlive a gateway that is killed. Only the first call counts.
pub fn use_program(program: PathBuf) {
    let _first = PROGRAM.set(program);
}

pub(super) fn program() -> Option<&'static Path> {
    PROGRAM.get().map(PathBuf::as_path)
}

/// Runs what the arguments (the program's own name among them) ask for, if that is a supervisor or what becomes a
/// server. Else nothing happens, and this program is from now on the one that supervises.
pub fn run_if_asked(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    let run = match arguments.next() {
        Some(asked) if asked == SUPERVISE => supervise,
        Some(asked) if asked == BECOME => become_server,
        _ => {
            use_program(own_program()?);
            return None;
        }
    };
    let orders = arguments.next().and_then(|orders| orders.into_string().ok());
    let orders = orders.and_then(|orders| serde_json::from_str(&orders).ok());
    let (Some(orders), Some(program)) = (orders, arguments.next()) else {
        complain("this is how the gateway starts MCP servers, and nothing to be called by hand");
        return Some(ExitCode::from(2));
    };
    let outcome = run(orders, program, arguments.collect());
    Some(outcome.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::from(NOT_STARTED)
    }))
}

impl Orders {
    /// From this process to its supervisor.
    pub(super) fn new(grace: Duration, sandbox: Option<Sandbox>) -> Self {
        let grace_milliseconds = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        Self { parent: std::process::id(), grace_milliseconds, sandbox }
    }

    /// `None`: a path is not UTF-8.
    pub(super) fn to_argument(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    fn parent_lives(&self) -> bool {
        let parent = getppid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
        parent == Some(self.parent)
    }
}

impl Report {
    /// `None`: that is no report.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// Says where the sandbox is less than it should be.
    pub(super) fn warn(&self, server: &str) {
        match self.sandbox {
            Some(Held::Nothing) => tracing::warn!(
                server,
                "`allowed_paths` of an MCP server are not enforced: the kernel has no Landlock"
            ),
            Some(Held::Partly) => tracing::warn!(
                server,
                "`allowed_paths` of an MCP server are enforced in part: the kernel's Landlock is old"
            ),
            Some(Held::Whole) | None => {}
        }
    }
}

/// The name under which this very program can be started, also after its file was replaced.
fn own_program() -> Option<PathBuf> {
    let link = Path::new("/proc/self/exe");
    if link.exists() { Some(link.to_owned()) } else { std::env::current_exe().ok() }
}

type Outcome = Result<ExitCode, String>;

/// The second stage: a process of its own session that dies with its supervisor, confined, and then the server.
fn become_server(orders: Orders, program: OsString, arguments: Vec<OsString>) -> Outcome {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(told)?;
    if !orders.parent_lives() {
        return Err("the supervisor is gone".to_owned());
    }
    // Without a terminal: a server that asks for a password there would hang.
    rustix::process::setsid().map_err(told)?;
    let sandbox = orders.sandbox.map(|sandbox| sandbox.enter()).transpose();
    let sandbox =
        sandbox.map_err(|error| format!("`allowed_paths` cannot be enforced: {error}"))?;
    let report = Report { pid: std::process::id(), sandbox };
    let line = serde_json::to_string(&report).map_err(told)? + "\n";
    io::stderr().write_all(line.as_bytes()).map_err(told)?;
    let error = Command::new(&program).args(arguments).exec();
    Err(format!("{} cannot be started: {error}", program.display()))
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn complain(text: &str) {
    let _nobody_listens = writeln!(io::stderr(), "tidegate: {text}");
}
