//! `tidegate check`: every problem of the configuration at once, before it can hurt.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::print;
use crate::config::{self, LoadOptions, ProcessEnvironment};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print the problems as JSON.
    #[arg(long)]
    json: bool,
    /// Take keys that nobody knows for errors.
    #[arg(long)]
    strict: bool,
}

/// `listen` is where `serve` would listen, called the same way: a weak key is worse on some addresses.
pub(super) fn run(path: &Path, arguments: &Arguments, listen: Option<SocketAddr>) -> ExitCode {
    let options = LoadOptions { strict: arguments.strict, listen };
    let loaded = config::load(path, &ProcessEnvironment, &options);
    let has_errors = loaded.problems.iter().any(|problem| problem.is_error());
    if arguments.json {
        let problems = serde_json::json!({ "ok": !has_errors, "problems": loaded.problems });
        print(&format!("{problems:#}\n"));
    } else {
        for problem in &loaded.problems {
            print(&format!("{problem}\n"));
        }
        if let Some(snapshot) = &loaded.snapshot {
            print(&format!(
                "{}: ok: {} models, {} keys, {} MCP servers\n",
                path.display(),
                snapshot.models.groups.len() + snapshot.models.wildcards.len(),
                snapshot.keys.virtual_keys.len(),
                snapshot.mcp_servers.len(),
            ));
        }
    }
    if has_errors { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
