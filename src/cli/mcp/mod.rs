//! `tidegate mcp`: the MCP servers of a configuration, tried from the shell. A connection is made as the gateway would make
//! it, and closed at the end; a running gateway is not asked and not disturbed.

mod call;
mod list;
mod pins;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::HeaderMap;
use tokio::runtime::Handle;

use super::{configured, done, print};
use crate::config::snapshot::Snapshot;
use crate::mcp::Mcp;
use crate::mcp::serve::ask::{Asker, Scope};

/// How long servers may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every server: how it is reached, whether it answers and how fast, what it has.
    List {
        /// One JSON object for each server.
        #[arg(long)]
        json: bool,
    },
    /// The tools of a server, with their parameters.
    Tools {
        /// A name or an alias.
        server: String,
        /// The definitions as the server sent them, one a line.
        #[arg(long)]
        json: bool,
    },
    /// Call a tool and print what it says.
    Call {
        /// A name or an alias.
        server: String,
        /// The server's own name for the tool.
        tool: String,
        /// The arguments: a JSON object; `-` reads it from standard input.
        #[arg(default_value = "{}")]
        arguments: String,
        /// The whole result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Try every server, or the named ones: exit 1 if one does not answer.
    Test {
        /// Names or aliases; default: all.
        servers: Vec<String>,
    },
    /// How the tools of servers differ from what was pinned: exit 1 if any does.
    Diff {
        /// Names or aliases; default: all that have `pin: warn` or `enforce`.
        servers: Vec<String>,
    },
    /// Accept what servers offer now, and write it into mcp.lock.
    Pin {
        /// Names or aliases; default: all that have `pin: warn` or `enforce`.
        servers: Vec<String>,
        /// Only this tool of the one server that is named.
        #[arg(long)]
        tool: Option<String>,
    },
}

/// What went wrong, in words; or, where it was printed already, nothing.
type Failed = Option<String>;

pub(super) fn run(config: &Path, arguments: &Arguments) -> ExitCode {
    match configured(config) {
        Ok(snapshot) => done(tried(Arc::new(snapshot), &arguments.command)),
        Err(code) => code,
    }
}

async fn tried(snapshot: Arc<Snapshot>, command: &Command) -> Result<(), Failed> {
    let mcp = Mcp::new(Handle::current());
    mcp.reconcile(&snapshot);
    let bench = Bench { mcp: mcp.clone(), snapshot };
    let done = match command {
        Command::List { json } => list::list(&bench, *json).await,
        Command::Test { servers } => list::test(&bench, servers).await,
        Command::Tools { server, json } => call::tools(&bench, server, *json).await,
        Command::Call { server, tool, arguments, json } => {
            call::call(&bench, server, tool, arguments, *json).await
        }
        Command::Diff { servers } => pins::diff(&bench, servers).await,
        Command::Pin { servers, tool } => pins::pin(&bench, servers, tool.as_deref()).await,
    };
    mcp.close(PATIENCE).await;
    done
}

/// What every subcommand has at hand.
struct Bench {
    mcp: Arc<Mcp>,
    snapshot: Arc<Snapshot>,
}

impl Bench {
    /// The operator, who sees every server: those that are named, or all.
    fn asker(&self, servers: &[String]) -> Asker {
        let scope = Scope { path: servers.to_vec(), ..Scope::default() };
        Asker::plain(self.snapshot.clone(), None, scope, Arc::new(HeaderMap::new()))
    }

    /// The operator, who looks at one server.
    fn single(&self, server: &str) -> Asker {
        let scope = Scope { single: Some(server.to_owned()), ..Scope::default() };
        Asker::plain(self.snapshot.clone(), None, scope, Arc::new(HeaderMap::new()))
    }

    /// What to say of a name that is none.
    fn unknown(&self, name: &str) -> String {
        let names = self.snapshot.mcp_servers.values();
        let known = names.flat_map(|server| server.aliases.iter().chain([&server.name]));
        match crate::ground::names::closest(name, known.map(String::as_str)) {
            Some(close) => format!("there is no MCP server `{name}`; did you mean `{close}`?"),
            None => format!("there is no MCP server `{name}` in `mcp_servers`"),
        }
    }
}
