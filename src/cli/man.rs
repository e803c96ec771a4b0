//! `tidegate man`: manual pages, made of what the command line says of itself.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::{Cli, failed, print};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Write a page for each command here, as `tidegate-logs-query.1`.
    #[arg(long, value_name = "PATH")]
    directory: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let outcome = match &arguments.directory {
        Some(directory) => clap_mangen::generate_to(Cli::command(), directory),
        None => {
            let mut page = Vec::new();
            let outcome = Man::new(Cli::command()).render(&mut page);
            print(&String::from_utf8_lossy(&page));
            outcome
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error),
    }
}
