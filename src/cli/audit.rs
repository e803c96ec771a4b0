//! `tidegate audit`: what was done to the gateway, and whether that record is whole.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{answered, configured, failed, print};
use crate::journal::audit::{Entry, read, verify};
use crate::journal::query::parse_since;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Entries since then: 24h, 30d, or an RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// How many entries at the most, the newest.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Only these acts: start, stop, reload, reload_request, pins, migrate.
    #[arg(long, value_delimiter = ',')]
    action: Vec<String>,
    /// One JSON object for each entry.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check that no entry was changed or taken out: exit 1 if one was.
    Verify {
        /// A hash that was noted before: it must still be there.
        #[arg(long, value_name = "HASH")]
        expect: Option<String>,
    },
}

pub(super) fn run(config: &Path, arguments: &Arguments) -> ExitCode {
    let snapshot = match configured(config) {
        Ok(snapshot) => snapshot,
        Err(code) => return code,
    };
    answered(async {
        let since = arguments.since.as_deref();
        let since =
            since.map(|text| parse_since(text, Timestamp::now())).transpose().map_err(failed)?;
        let stores = read::stores(&snapshot.request_log, since).await;
        let stores = stores.map_err(failed)?;
        if let Some(Command::Verify { expect }) = &arguments.command {
            return Ok(verified(&stores, expect.as_deref()));
        }
        let mut entries = stores.merged();
        entries.retain(|entry| {
            arguments.action.is_empty() || arguments.action.contains(&entry.action)
        });
        let from = entries.len().saturating_sub(arguments.limit);
        for entry in entries.iter().skip(from) {
            if arguments.json {
                print(&format!("{}\n", serde_json::to_value(entry).unwrap_or_default()));
            } else {
                print(&line(entry));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn verified(stores: &read::Stores, expect: Option<&str>) -> ExitCode {
    let mut findings = verify(&stores.file, stores.server.as_deref());
    let all = || stores.file.iter().chain(stores.server.iter().flatten());
    if let Some(hash) = expect
        && !all().any(|entry| entry.hash == hash)
    {
        findings
            .push(format!("no entry has the hash {hash}: the log lost its end since it was noted"));
    }
    for finding in &findings {
        print(&format!("{finding}\n"));
    }
    if !findings.is_empty() {
        return ExitCode::FAILURE;
    }
    let count = |entries: &[Entry]| match entries.len() {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    };
    let mut text = format!("the file: {}, whole\n", count(&stores.file));
    if let Some(server) = &stores.server {
        text.push_str(&format!("PostgreSQL: {}, whole\n", count(server)));
    }
    if let Some(last) = all().max_by_key(|entry| (entry.at, entry.seq)) {
        text.push_str(&format!("last: {} {}\n", last.seq, last.hash));
    }
    print(&text);
    ExitCode::SUCCESS
}

fn line(entry: &Entry) -> String {
    let time = Timestamp::from_microsecond(entry.at).map(|time| format!("{time:.0}"));
    let plain = crate::ground::names::shown;
    let mut text = format!(
        "{} {:<14} {:<7} {} ({}, {})",
        time.unwrap_or_default(),
        entry.action,
        entry.outcome,
        plain(&entry.object),
        entry.actor,
        entry.source,
    );
    if let Some(after) = told(entry) {
        text.push_str(&format!(": {after}"));
    }
    text.push('\n');
    text
}

/// What an entry says happened, in short.
fn told(entry: &Entry) -> Option<String> {
    let after: serde_json::Value = serde_json::from_str(entry.after.as_deref()?).ok()?;
    let plain = |text: String| crate::ground::names::shown(&text);
    if let Some(changes) = after.get("changes") {
        let mut parts = Vec::new();
        for part in ["models", "keys", "mcp_servers"] {
            for (word, sign) in [("added", '+'), ("removed", '-'), ("changed", '~')] {
                let names = changes.get(part).and_then(|part| part.get(word)?.as_array());
                for name in names.into_iter().flatten().filter_map(|name| name.as_str()) {
                    parts.push(format!("{sign}{part}/{}", plain(name.to_owned())));
                }
            }
        }
        let settings = changes.get("settings").and_then(|settings| settings.as_array());
        for name in settings.into_iter().flatten().filter_map(|name| name.as_str()) {
            parts.push(format!("~{name}"));
        }
        let generation = after.get("generation").map(ToString::to_string).unwrap_or_default();
        return Some(format!("generation {generation} {}", parts.join(" ")).trim().to_owned());
    }
    if let Some(problems) = after.get("problems").and_then(|problems| problems.as_array()) {
        let problems: Vec<&str> = problems.iter().filter_map(|problem| problem.as_str()).collect();
        return Some(problems.join("; "));
    }
    Some(after.to_string())
}
