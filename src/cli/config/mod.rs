//! `tidegate config`: what is in force and where it comes from, what an edit changes, and configurations of LiteLLM made ours.

mod convert;
mod diff;
mod show;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};

pub(super) use diff::{in_force, of_file};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every setting in force under the file, defaults filled in, with the place that it comes from. Without secrets.
    Show(show::Arguments),
    /// What is different between the file and a running gateway, or another file, and what follows: exit 1 if anything is.
    Diff(diff::Arguments),
    /// Make a Tidegate configuration of LiteLLM's, and tell what becomes of every setting: exit 1 if any needs a hand.
    Convert(convert::Arguments),
}

pub(super) fn run(config: &Path, arguments: &Arguments, listen: Option<SocketAddr>) -> ExitCode {
    match &arguments.command {
        Command::Show(arguments) => show::run(config, arguments, listen),
        Command::Diff(arguments) => diff::run(config, arguments, listen),
        Command::Convert(arguments) => convert::run(arguments),
    }
}
