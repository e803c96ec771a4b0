//! How a child is started: which program, in which directory, with what environment, and what to say where that does
//! not work. No shell has a part in it, and of the gateway's own environment only a few names are handed on.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child as Process, Command};

use super::super::{Failure, FailureKind};
use super::sandbox::Sandbox;
use super::supervisor::{self, Orders};
use crate::config::snapshot::{McpCommand, McpServer};
use crate::config::{ProcessEnvironment, inherited};

/// Where programs are looked for when neither the entry nor the gateway has a PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A child that can be started.
pub(super) struct Launch<'c> {
    command: &'c McpCommand,
    /// With its whole path.
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
    sandbox: Option<Sandbox>,
}

impl<'c> Launch<'c> {
    /// Finds the program and the directory.
    ///
    /// # Errors
    /// They do not exist, or are not what they should be.
    pub(super) fn prepare(server: &McpServer, command: &'c McpCommand) -> Result<Self, Failure> {
        let environment = environment(command);
        if let Some(cwd) = &command.cwd
            && !cwd.is_dir()
        {
            let what = if cwd.exists() { "is not a directory" } else { "does not exist" };
            return Err(unreachable(format!("`cwd: {}` {what}", cwd.display())));
        }
        let path = variable(&environment, "PATH").unwrap_or(OsStr::new(DEFAULT_PATH));
        let program = find(&command.program, path, command.cwd.as_deref())?;
        let sandbox = (!server.allowed_paths.is_empty()).then(|| {
            for path in server.allowed_paths.iter().filter(|path| !path.exists()) {
                let (server, path) = (server.display_name(), path.display());
                tracing::warn!(server, %path, "one of an MCP server's `allowed_paths` does not exist");
            }
            let home = variable(&environment, "HOME").map(Path::new);
            let mut sandbox = Sandbox::new(&program, command, &server.allowed_paths, path, home);
            sandbox.temporary = !command.env.contains_key("TMPDIR");
            sandbox
        });
        Ok(Self { command, program, environment, sandbox })
    }

    /// Starts it, by a supervisor where there is one, in a process group of its own.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn spawn(
        self,
        supervisor: Option<&Path>,
        grace: Duration,
    ) -> Result<Process, Failure> {
        let mut start = match supervisor {
            Some(supervisor) => {
                let orders = Orders::new(grace, self.sandbox)
                    .to_argument()
                    .ok_or_else(|| unreachable("a path of the sandbox is not UTF-8".to_owned()))?;
                let mut start = Command::new(supervisor);
                start.arg0(supervisor::NAME).args([supervisor::SUPERVISE, &orders]);
                start.arg(&self.program);
                start
            }
            None => Command::new(&self.program),
        };
        start
            .args(self.command.args.iter().map(|argument| argument.expose()))
            .env_clear()
            .envs(self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(cwd) = &self.command.cwd {
            start.current_dir(cwd);
        }
        start.spawn().map_err(|error| {
            let program = &self.command.program;
            unreachable(match error.kind() {
                ErrorKind::ArgumentListTooLong => {
                    format!("`{program}` cannot be started: its arguments and `env` are too long")
                }
                _ => format!("`{program}` cannot be started: {error}"),
            })
        })
    }
}

/// What the child has for its environment: a few names of the gateway's own, and the entry's `env` over them.
fn environment(command: &McpCommand) -> Vec<(OsString, OsString)> {
    let mut environment: Vec<(OsString, OsString)> = inherited(&ProcessEnvironment)
        .into_iter()
        .filter(|(name, _)| !command.env.contains_key(*name))
        .map(|(name, value)| (name.into(), value))
        .collect();
    let own = command.env.iter();
    environment.extend(own.map(|(name, value)| (name.into(), value.expose().into())));
    environment
}

fn variable<'e>(environment: &'e [(OsString, OsString)], name: &str) -> Option<&'e OsStr> {
    let found = environment.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
}

/// The program's whole path: one with a slash is meant from the child's directory, another is looked for in PATH.
fn find(program: &str, path: &OsStr, cwd: Option<&Path>) -> Result<PathBuf, Failure> {
    let from = cwd.unwrap_or(Path::new(""));
    let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    if program.contains('/') {
        let found = whole(from.join(program));
        return match judge(&found) {
            Ok(()) => Ok(found),
            Err(why) => Err(unreachable(format!("`{program}` {why}{}", hint(program)))),
        };
    }
    let mut refused = None;
    for directory in std::env::split_paths(path) {
        let candidate = whole(from.join(directory).join(program));
        match judge(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(why) if candidate.is_file() => {
                refused.get_or_insert(format!("`{}` {why}", candidate.display()));
            }
            Err(_) => {}
        }
    }
    Err(unreachable(refused.unwrap_or_else(|| {
        let path = path.to_string_lossy();
        format!(
            "`{program}` was not found in PATH ({path}): install it, or give its whole path as \
             `command`{}",
            hint(program)
        )
    })))
}

fn judge(program: &Path) -> Result<(), String> {
    let facts = program.metadata().map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => "does not exist".to_owned(),
        _ => format!("cannot be looked at: {error}"),
    })?;
    if facts.is_dir() {
        return Err("is a directory, not a program".to_owned());
    }
    if facts.permissions().mode() & 0o111 == 0 {
        return Err("is not executable: `chmod +x` it, or give its interpreter as `command` and \
                    the file in `args`"
            .to_owned());
    }
    Ok(())
}

/// What is often meant by a program that does not exist.
fn hint(program: &str) -> &'static str {
    if program.trim().contains(' ') {
        "; no shell reads `command`: its arguments stand in `args`"
    } else if program.starts_with('~') {
        "; no shell reads `command`: write out `~`"
    } else {
        ""
    }
}

fn unreachable(text: String) -> Failure {
    Failure::new(FailureKind::Unreachable, text)
}
