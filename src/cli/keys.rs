//! `tidegate keys new`: a key that is shown once, and the entry that lets it in.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{failed, print};
use crate::config::keys;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key. It is printed once; the configuration gets its digest only.
    New {
        /// A name for people and for the log.
        #[arg(long)]
        alias: Option<String>,
        /// Models the key may use, as names or patterns, separated by commas.
        #[arg(long, value_delimiter = ',')]
        models: Vec<String>,
    },
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let Command::New { alias, models } = &arguments.command;
    let key = match keys::new_key() {
        Ok(key) => key,
        Err(error) => {
            return failed(format!("the system gives no random bytes: {error}"));
        }
    };
    print(&format!(
        "# The key itself; it is not stored anywhere and is not shown again:\n{}\n\n\
         # Its entry for the configuration:\n{}",
        key.expose(),
        keys::entry(&key, alias.as_deref(), models),
    ));
    ExitCode::SUCCESS
}
