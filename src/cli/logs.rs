//! `tidegate logs`: reading the request log, whichever store holds it.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::usage::span;
use super::{complain, configured, done, failed};
use crate::config::snapshot::Snapshot;
use crate::journal::export::{self, Format};
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
    /// Write every row of a span of time to standard output, oldest first.
    Export(Export),
    /// Read JSON lines of an export, from a file or standard input, into the configured store. Rows that are there stay.
    Import {
        /// The file; `-` is standard input.
        #[arg(default_value = "-")]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Export {
    /// Requests that began then or later: 24h, 30d, or an RFC 3339 time. Default: all.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Requests that began before: as --since. Default: now.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// One JSON object a line, or CSV.
    #[arg(long, value_enum, default_value_t = As::Jsonl)]
    format: As,
    /// With stored bodies and calls of tools, for `logs import`; JSON lines only.
    #[arg(long)]
    complete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum As {
    Jsonl,
    Csv,
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
        Command::Export(export) => return written_out(config, &export),
        Command::Import { file } => return read_in(config, &file),
    };
    let query = match filter.query() {
        Ok(query) => query,
        Err(error) => return failed(error),
    };
    let snapshot = match configured(config) {
        Ok(snapshot) => snapshot,
        Err(code) => return code,
    };
    match read(&snapshot, &query, follow) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error),
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

fn read(snapshot: &Snapshot, query: &LogQuery, follow: bool) -> Result<(), String> {
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

fn written_out(config: &Path, arguments: &Export) -> ExitCode {
    let snapshot = match configured(config) {
        Ok(snapshot) => snapshot,
        Err(code) => return code,
    };
    done(async {
        let since = arguments.since.as_deref().unwrap_or("1970-01-01T00:00:00Z");
        let span = span(since, arguments.until.as_deref()).map_err(Some)?;
        let format = match arguments.format {
            As::Jsonl => Format::JsonLines,
            As::Csv => Format::Csv,
        };
        if arguments.complete && format == Format::Csv {
            return Err(Some("--complete is for JSON lines: a line of CSV is one row".to_owned()));
        }
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let settings = &snapshot.request_log;
        let rows = export::export(settings, span, format, arguments.complete, &mut out).await;
        rows.map(drop).map_err(|error| Some(error.to_string()))
    })
}

fn read_in(config: &Path, file: &Path) -> ExitCode {
    let snapshot = match configured(config) {
        Ok(snapshot) => snapshot,
        Err(code) => return code,
    };
    done(async {
        let settings = &snapshot.request_log;
        let lines = if file == Path::new("-") {
            export::import(settings, std::io::stdin().lock()).await
        } else {
            let opened = std::fs::File::open(file);
            let opened = opened.map_err(|error| Some(format!("{}: {error}", file.display())))?;
            export::import(settings, BufReader::new(opened)).await
        };
        let lines = lines.map_err(|error| Some(error.to_string()))?;
        complain(&format!("{lines} rows read in"));
        Ok(())
    })
}
