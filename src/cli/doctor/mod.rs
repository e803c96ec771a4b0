//! `tidegate doctor`: what on this machine stands in the gateway's way, each with the command that mends it. Looks and changes nothing;
//! connects to others only when told to, and never prints a secret.

mod files;
mod machine;
mod network;
mod servers;
mod store;
mod tls;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::admin::Running;
use super::{answered, print};
use crate::config::{LoadOptions, ProcessEnvironment, load};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Connect to providers, MCP servers and the database, too.
    #[arg(long)]
    live: bool,
    /// A gateway behind a proxy, as clients see it: does the proxy pass streams on as they come? Wants the master key.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    #[command(flatten)]
    running: Running,
    /// One JSON object for each finding.
    #[arg(long)]
    json: bool,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// Not looked at, or worth knowing.
    Note,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// What was looked at: `files`, `ports`, …
    about: &'static str,
    text: String,
    /// What to do; a command where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// All that was found so far.
#[derive(Default)]
struct Report(Vec<Finding>);

impl Report {
    fn ok(&mut self, about: &'static str, text: impl Into<String>) {
        self.0.push(Finding { level: Level::Ok, about, text: text.into(), fix: None });
    }

    fn note(&mut self, about: &'static str, text: impl Into<String>) {
        self.0.push(Finding { level: Level::Note, about, text: text.into(), fix: None });
    }

    fn warn(&mut self, about: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        let fix = Some(fix.into());
        self.0.push(Finding { level: Level::Warn, about, text: text.into(), fix });
    }

    fn fail(&mut self, about: &'static str, text: impl Into<String>, fix: impl Into<String>) {
        let fix = Some(fix.into());
        self.0.push(Finding { level: Level::Fail, about, text: text.into(), fix });
    }
}

pub(super) fn run(config: &Path, arguments: &Arguments, listen: Option<SocketAddr>) -> ExitCode {
    answered(async {
        let mut report = Report::default();
        report.ok("version", concat!("tidegate ", env!("CARGO_PKG_VERSION")));
        let options = LoadOptions { listen, ..LoadOptions::default() };
        let loaded = load(config, &ProcessEnvironment, &options);
        let errors = loaded.problems.iter().filter(|problem| problem.is_error()).count();
        let warnings = loaded.problems.len() - errors;
        let path = config.display();
        match (errors, warnings) {
            (0, 0) => report.ok("config", format!("{path} loads")),
            (0, _) => {
                let text = format!("{path} loads, with {warnings} warnings");
                report.warn("config", text, "tidegate check");
            }
            _ => report.fail("config", format!("{path} has {errors} errors"), "tidegate check"),
        }
        files::look(config, &loaded.sources, &mut report);
        machine::look(config, &mut report);
        if let Some(snapshot) = &loaded.snapshot {
            network::ports(snapshot, &arguments.running, config, &mut report).await;
            network::hosts(snapshot, arguments.live, &mut report).await;
            servers::look(snapshot, &mut report);
            store::look(&snapshot.request_log, arguments.live, &mut report).await;
        }
        if let Some(url) = &arguments.proxy {
            network::proxy(url, &arguments.running, config, &mut report).await;
        }
        if !arguments.live {
            report.note("live", "nothing was connected to but this machine; --live does");
        }
        let failed = report.0.iter().any(|finding| finding.level == Level::Fail);
        for finding in &report.0 {
            if arguments.json {
                print(&format!("{}\n", serde_json::to_value(finding).unwrap_or_default()));
            } else {
                print(&line(finding));
            }
        }
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    })
}

fn line(finding: &Finding) -> String {
    let word = match finding.level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Warn => "warn",
        Level::Fail => "FAIL",
    };
    let mut text = format!("{word:<5} {:<10} {}\n", finding.about, finding.text);
    if let Some(fix) = &finding.fix {
        text.push_str(&format!("{:17}→ {fix}\n", ""));
    }
    text
}
