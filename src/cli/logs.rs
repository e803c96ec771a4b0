//! `tidegate logs`: reading the request log, whichever store holds it.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::complain;
use crate::config::{LoadOptions, ProcessEnvironment, load};
use crate::journal::query::{self, LogQuery};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the latest rows, oldest first.
    Query(Filter),
    /// The same, and with --follow every new row as it comes.
    Tail {
        #[command(flatten)]
        filter: Filter,
        /// Go on until interrupted.
        #[arg(short, long)]
        follow: bool,
    },
}

#[derive(Debug, Args)]
struct Filter {
    /// Rows since then: 15m, 1h, 2d, or an RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// ok, error, cancelled, shed or denied; or an HTTP status.
    #[arg(long)]
    status: Option<String>,
    /// A key's alias or id.
    #[arg(long)]
    key: Option<String>,
    /// A model as it was asked for.
    #[arg(long)]
    model: Option<String>,
    /// How many rows at the most.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Only what did not end well.
    #[arg(long)]
    errors: bool,
    /// One JSON object for each row.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, arguments: Arguments) -> ExitCode {
    let (filter, follow) = match arguments.command {
        Command::Query(filter) => (filter, false),
        Command::Tail { filter, follow } => (filter, follow),
    };
    let outcome = filter.query().and_then(|query| read(config, &query, follow));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

impl Filter {
    fn query(self) -> Result<LogQuery, String> {
        let since =
            self.since.map(|text| query::parse_since(&text, Timestamp::now())).transpose()?;
        Ok(LogQuery {
            since,
            status: self.status,
            key: self.key,
            model: self.model,
            limit: self.limit,
            errors: self.errors,
            json: self.json,
        })
    }
}

fn read(config: &Path, query: &LogQuery, follow: bool) -> Result<(), String> {
    let loaded = load(config, &ProcessEnvironment, &LoadOptions::default());
    let Some(snapshot) = loaded.snapshot else {
        return Err(format!("{} has errors; run `tidegate check`", config.display()));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let settings = &snapshot.request_log;
    let mut out = std::io::stdout();
    runtime.block_on(async {
        if follow {
            return query::follow(settings, query, &mut out)
                .await
                .map_err(|error| error.to_string());
        }
        let notice =
            query::run(settings, query, &mut out).await.map_err(|error| error.to_string())?;
        if let Some(notice) = notice {
            complain(&notice);
        }
        Ok(())
    })
}
