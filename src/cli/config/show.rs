//! `tidegate config show`: the configuration in force as YAML, with each value's origin behind it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::cli::{EX_CONFIG, complain, print};
use crate::config::show::{Setting, Step};
use crate::config::{LoadOptions, ProcessEnvironment, show};

/// Columns before the origins.
const WIDTH: usize = 56;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// One JSON object, with a path, a value and an origin for each setting.
    #[arg(long)]
    json: bool,
    /// Only what the file or the environment says, without defaults.
    #[arg(long)]
    no_defaults: bool,
    /// Only paths that begin with this, such as `router_settings`.
    section: Option<String>,
}

pub(super) fn run(config: &Path, arguments: &Arguments, listen: Option<SocketAddr>) -> ExitCode {
    let options = LoadOptions { listen, ..LoadOptions::default() };
    let mut shown = match show::show(config, &ProcessEnvironment, &options) {
        Ok(shown) => shown,
        Err(problems) => {
            let errors = problems.iter().filter(|problem| problem.is_error());
            errors.for_each(|problem| complain(&problem.to_string()));
            return ExitCode::from(EX_CONFIG);
        }
    };
    shown.settings.retain(|setting| {
        let is_default = setting.origin.starts_with("default");
        let path = dotted(&setting.path);
        let is_wanted = arguments.section.as_deref().is_none_or(|section| {
            path.strip_prefix(section)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        });
        is_wanted && !(arguments.no_defaults && is_default)
    });
    if arguments.json {
        print(&format!("{:#}\n", serde_json::to_value(&shown).unwrap_or_default()));
    } else {
        print(&yaml(&shown.settings));
    }
    ExitCode::SUCCESS
}

fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.push_str(&format!(".{key}")),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// The settings as a document: what two of them share of their paths stands once.
fn yaml(settings: &[Setting]) -> String {
    let mut text = String::new();
    let mut before: &[Step] = &[];
    for Setting { path, value, origin } in settings {
        let shared = path.iter().zip(before).take_while(|(one, other)| one == other).count();
        let mut line = String::new();
        for (depth, step) in path.iter().enumerate().skip(shared) {
            match step {
                // The dash stands where the list's key does, and its entry's keys one step further in.
                Step::Index(_) => {
                    line = format!("{}- ", "  ".repeat(levels(path, depth).saturating_sub(1)))
                }
                Step::Key(key) => {
                    if line.is_empty() {
                        line = "  ".repeat(levels(path, depth));
                    }
                    line.push_str(&format!("{}:", bare(key)));
                    if depth + 1 < path.len() {
                        text.push_str(&format!("{line}\n"));
                        line.clear();
                    }
                }
            }
        }
        let line = format!("{line} {}", flow(value));
        text.push_str(&format!("{line:<WIDTH$}  # {origin}\n"));
        before = path;
    }
    text
}

/// How far in a step stands: a number takes no step of its own.
fn levels(path: &[Step], depth: usize) -> usize {
    let before = path.iter().take(depth);
    depth - before.filter(|step| matches!(step, Step::Index(_))).count()
}

fn bare(text: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if !text.is_empty() && text.chars().all(is_bare) {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

/// A value on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if text.starts_with('(') => text.clone(),
        Value::String(text) => {
            let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
            let is_word =
                matches!(text.as_str(), "true" | "false" | "null" | "yes" | "no" | "on" | "off");
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@".contains(c);
            let fits =
                begins_well && !is_word && !text.ends_with(':') && text.chars().all(is_plain);
            if fits { text.clone() } else { value.to_string() }
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::Object(entries) => {
            let entries =
                entries.iter().map(|(key, value)| format!("{}: {}", bare(key), flow(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    }
}
