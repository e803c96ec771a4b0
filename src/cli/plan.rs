//! `tidegate plan`: who gains and who loses what by an edit, before it goes live.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::admin::Running;
use super::config::{in_force, of_file};
use super::{answered, print};
use crate::config::access::{Plan, Shift};
use crate::config::outline::Seals;

/// Exit code for an edit by which somebody gains something.
const WIDENS: u8 = 2;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The edited file; by default that of --config.
    file: Option<PathBuf>,
    /// What it is compared with: a file, or the URL of a running gateway. By default the gateway that serves the configuration.
    #[arg(long, value_name = "FILE|URL")]
    against: Option<String>,
    /// A file with the gateway's master key. By default it is the configuration's, or LITELLM_MASTER_KEY.
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, arguments: &Arguments, listen: Option<SocketAddr>) -> ExitCode {
    let file = arguments.file.as_deref().unwrap_or(config);
    answered(async {
        let url = arguments.against.as_deref().filter(|text| text.contains("://"));
        let (old, new) = match (&arguments.against, url) {
            (Some(other), None) => {
                let seals = Seals::for_now();
                let sealed = |_: &_| seals.clone();
                (of_file(Path::new(other), listen, sealed)?, of_file(file, listen, sealed)?)
            }
            (_, url) => {
                let running = url.map(Running::at).unwrap_or_default();
                let running = running.with_key_file(arguments.master_key_file.clone());
                in_force(config, file, &running, listen).await?
            }
        };
        let plan = Plan::of(&old.access, &new.access, Timestamp::now());
        if arguments.json {
            let mut told = serde_json::to_value(&plan).unwrap_or_default();
            if let Some(told) = told.as_object_mut() {
                told.insert("widens".to_owned(), plan.widens().into());
            }
            print(&format!("{told:#}\n"));
        } else {
            print(&text(&plan));
        }
        Ok(if plan.widens() { ExitCode::from(WIDENS) } else { ExitCode::SUCCESS })
    })
}

fn text(plan: &Plan) -> String {
    if plan.is_empty() {
        return "nobody gains or loses anything\n".to_owned();
    }
    let mut text = String::new();
    if plan.gateway != Shift::default() {
        text.push_str("the gateway\n");
        tell(&plan.gateway, &mut text);
    }
    for key in &plan.keys {
        text.push_str(&format!("key {} ({}), {}\n", key.name, key.id, key.what));
        tell(&key.shift, &mut text);
    }
    let verdict = if plan.widens() { "access widens" } else { "access does not widen" };
    text.push_str(&format!("{verdict}\n"));
    text
}

fn tell(shift: &Shift, text: &mut String) {
    shift.gains.iter().for_each(|gain| text.push_str(&format!("  + {gain}\n")));
    shift.loses.iter().for_each(|loss| text.push_str(&format!("  - {loss}\n")));
}
