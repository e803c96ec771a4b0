//! The command line: one file for each subcommand, this one for what they share. Exit codes: 0 done, 1
//! problems found or a failure, 2 a call that makes no sense, 78 a configuration that cannot be served.

mod admin;
mod audit;
pub mod banner;
mod chat;
mod check;
mod completion;
mod config;
mod doctor;
mod healthcheck;
mod keys;
pub mod log;
mod logs;
mod man;
mod mcp;
mod plan;
mod prices;
mod schema;
mod serve;
mod status;
mod usage;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::{Args, Parser, Subcommand};

use crate::config::snapshot::Snapshot;
use crate::config::{LoadOptions, ProcessEnvironment, load};

/// Exit code of `sysexits.h` for a configuration that cannot be used: systemd can be told not to
/// restart on it.
const EX_CONFIG: u8 = 78;

/// One gate for every model and every tool: an OpenAI-compatible gateway driven by one YAML file.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, args_conflicts_with_subcommands = false)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    serve: serve::Arguments,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What every subcommand understands.
#[derive(Clone, Debug, Args)]
struct Common {
    /// The configuration file.
    #[arg(
        short,
        long,
        global = true,
        env = "TIDEGATE_CONFIG",
        value_name = "PATH",
        default_value = "config/config.yaml"
    )]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (what happens without a subcommand, too).
    Serve(serve::Arguments),
    /// Check the configuration: every problem at once, with line and column.
    Check(check::Arguments),
    /// What is in force and where it comes from; what an edit changes; configurations of LiteLLM made ours.
    Config(config::Arguments),
    /// Who gains and who loses what by an edit, before it goes live: exit 2 if anybody gains.
    Plan(plan::Arguments),
    /// How a running gateway is: its configuration, models, MCP servers, request log. Exit 1 if something is wrong.
    Status(status::Arguments),
    /// What on this machine stands in the gateway's way, and how to mend it: exit 1 if something does.
    Doctor(doctor::Arguments),
    /// Try a model: ask it something, and print its answer as it comes.
    Chat(chat::Arguments),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Make virtual keys.
    Keys(keys::Arguments),
    /// Read the request log, write it out, read it in.
    Logs(logs::Arguments),
    /// Requests, tokens and money, by day, key, model and the like.
    Usage(usage::Arguments),
    /// What was done to the gateway: starts, stops, edits, acts of the operator.
    Audit(audit::Arguments),
    /// Try the MCP servers of the configuration: list them and their tools, call one, pin what they offer.
    Mcp(mcp::Arguments),
    /// What models cost: look it up, make a table of a public price file, compare two.
    Prices(prices::Arguments),
    /// Ask a running gateway whether it is ready: exit 0 if so (for containers).
    Healthcheck(healthcheck::Arguments),
    /// Print a completion script for a shell.
    Completion(completion::Arguments),
    /// Print the manual page, or write those of all commands into a folder.
    Man(man::Arguments),
}

impl Cli {
    /// Runs what was asked for.
    pub fn run(self) -> ExitCode {
        let code = self.dispatch();
        match UNPRINTED.get() {
            Some(error) if code == ExitCode::SUCCESS => {
                failed(format!("not all of it could be printed: {error}"))
            }
            _ => code,
        }
    }

    fn dispatch(self) -> ExitCode {
        let config = self.common.config;
        match self.command {
            None => serve::run(config, self.serve),
            Some(Command::Serve(arguments)) => serve::run(config, arguments.or(self.serve)),
            Some(Command::Check(arguments)) => {
                check::run(&config, &arguments, self.serve.address())
            }
            Some(Command::Config(arguments)) => {
                config::run(&config, &arguments, self.serve.address())
            }
            Some(Command::Plan(arguments)) => plan::run(&config, &arguments, self.serve.address()),
            Some(Command::Status(arguments)) => {
                status::run(&config, &arguments, self.serve.address())
            }
            Some(Command::Doctor(arguments)) => {
                doctor::run(&config, &arguments, self.serve.address())
            }
            Some(Command::Chat(arguments)) => chat::run(&config, &arguments),
            Some(Command::Schema) => schema::run(),
            Some(Command::Keys(arguments)) => keys::run(&arguments),
            Some(Command::Logs(arguments)) => logs::run(&config, arguments),
            Some(Command::Usage(arguments)) => usage::run(&config, &arguments),
            Some(Command::Audit(arguments)) => audit::run(&config, &arguments),
            Some(Command::Mcp(arguments)) => mcp::run(&config, &arguments),
            Some(Command::Prices(arguments)) => prices::run(&config, &arguments),
            Some(Command::Healthcheck(arguments)) => {
                healthcheck::run(&config, &arguments, self.serve.address())
            }
            Some(Command::Completion(arguments)) => completion::run(&arguments),
            Some(Command::Man(arguments)) => man::run(&arguments),
        }
    }
}

/// This program is also what stands between the gateway and an MCP server that is its child. Asked for by a first argument
/// that is no subcommand, since nobody types it, and what stands in a server's environment must not be read as options.
pub fn supervise_if_asked() -> Option<ExitCode> {
    crate::mcp::transport::stdio::supervisor::run_if_asked(std::env::args_os())
}

/// Why something could not be printed.
static UNPRINTED: OnceLock<io::Error> = OnceLock::new();

/// Prints to standard output. Nobody listening is no failure of ours; a full disk is one, and told at the end.
fn print(text: &str) {
    use io::Write;
    let mut out = io::stdout();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = printed
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _told_before = UNPRINTED.set(error);
    }
}

/// Tells what went wrong, on standard error.
fn complain(text: &str) {
    use io::Write;
    let _nobody_listens = writeln!(io::stderr(), "tidegate: {text}");
}

/// The same, for a command that ends with it.
fn failed(error: impl fmt::Display) -> ExitCode {
    complain(&error.to_string());
    ExitCode::FAILURE
}

/// The configuration, for a command that cannot do without.
///
/// # Errors
/// It has errors, which were told.
fn configured(config: &Path) -> Result<Snapshot, ExitCode> {
    let loaded = load(config, &ProcessEnvironment, &LoadOptions::default());
    if loaded.snapshot.is_none() {
        for problem in loaded.problems.iter().filter(|problem| problem.is_error()) {
            complain(&problem.to_string());
        }
    }
    loaded.snapshot.ok_or(ExitCode::from(EX_CONFIG))
}

/// Does a command's work on this thread. Its error is told, where there is one that it has not printed itself.
fn done(work: impl Future<Output = Result<(), Option<String>>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(|error| Some(error.to_string()));
    match done.and_then(|runtime| runtime.block_on(work)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(told) => {
            told.iter().for_each(|text| complain(text));
            ExitCode::FAILURE
        }
    }
}

/// The same for work that has an answer with exit codes of its own; what went wrong was told.
fn answered(work: impl Future<Output = Result<ExitCode, ExitCode>>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work).unwrap_or_else(|code| code),
        Err(error) => failed(error),
    }
}

/// Where a gateway that serves this configuration listens.
fn listen_address(config: &Path) -> Option<SocketAddr> {
    load(config, &ProcessEnvironment, &LoadOptions::default())
        .snapshot
        .map(|snapshot| snapshot.listen)
}
