//! `tidegate config diff`: what an edit changes, before it is saved where a gateway sees it, and what follows from it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::cli::admin::Running;
use crate::cli::{EX_CONFIG, answered, complain, failed, print};
use crate::config::compare::{Changed, Comparison, Field, compare};
use crate::config::outline::{Outline, Seals, outline};
use crate::config::{LoadOptions, ProcessEnvironment, load, show};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Another file, in place of what a running gateway has in force; or the URL of one.
    #[arg(value_name = "FILE|URL")]
    other: Option<PathBuf>,
    #[command(flatten)]
    running: Running,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, arguments: &Arguments, listen: Option<SocketAddr>) -> ExitCode {
    answered(async {
        let url = arguments.other.as_ref().and_then(|other| other.to_str());
        let url = url.filter(|text| text.contains("://"));
        let comparison = match &arguments.other {
            Some(other) if url.is_none() => {
                let seals = Seals::for_now();
                let old = of_file(other, listen, |_| seals.clone())?;
                compare(&old, &of_file(config, listen, |_| seals.clone())?)
            }
            _ => {
                let running = url.map(Running::at).unwrap_or_default();
                let running = running.with_key_of(&arguments.running);
                let running = if url.is_some() { &running } else { &arguments.running };
                let (old, new) = in_force(config, config, running, listen).await?;
                compare(&old, &new)
            }
        };
        let comparison = comparison.without_seals();
        if arguments.json {
            print(&format!("{:#}\n", serde_json::to_value(&comparison).unwrap_or_default()));
        } else {
            print(&text(&comparison));
        }
        Ok(if comparison.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// A file's configuration.
///
/// # Errors
/// It has errors, which were told.
pub(in crate::cli) fn of_file(
    path: &Path,
    listen: Option<SocketAddr>,
    seals: impl Fn(&crate::config::snapshot::Snapshot) -> Seals,
) -> Result<Outline, ExitCode> {
    let options = LoadOptions { listen, ..LoadOptions::default() };
    let loaded = load(path, &ProcessEnvironment, &options);
    let Some(snapshot) = loaded.snapshot else {
        let errors = loaded.problems.iter().filter(|problem| problem.is_error());
        errors.for_each(|problem| complain(&problem.to_string()));
        return Err(ExitCode::from(EX_CONFIG));
    };
    Ok(outline(&snapshot, &seals(&snapshot)))
}

/// What a running gateway has in force, and the file's configuration sealed alike. `served` is the configuration that the gateway was
/// started with: it says where it is.
///
/// # Errors
/// The file has errors, or no gateway answers; both were told.
pub(in crate::cli) async fn in_force(
    served: &Path,
    file: &Path,
    running: &Running,
    listen: Option<SocketAddr>,
) -> Result<(Outline, Outline), ExitCode> {
    let options = LoadOptions { listen, ..LoadOptions::default() };
    // Nobody is asked on behalf of a file that cannot be loaded.
    of_file(file, listen, |_| Seals::Blank)?;
    // Where nothing is served from here, the edit itself knows the gateway's key and address.
    let served = if served.exists() { served } else { file };
    let loaded = [served, file].map(|path| load(path, &ProcessEnvironment, &options).snapshot);
    let snapshots = [0, 1].map(|at| loaded.get(at).and_then(Option::as_ref));
    let found = running.find(served, &snapshots, "/admin/config").await;
    let (asker, answer) = found.map_err(failed)?;
    let old = answer.get("outline").cloned().unwrap_or_default();
    let old: Outline = serde_json::from_value(old).map_err(|_| {
        failed(format!("{} is of another release: it does not tell its settings", asker.shown()))
    })?;
    // The gateway sealed its secrets with the master key that it has in force: the one that was shown to it.
    let seals = Seals::of_master(asker.master());
    let mut new = of_file(file, listen, |_| seals.clone())?;
    // Where a gateway was told to listen by its command line or environment, the file does not know. What was said here says where it is.
    if listen.is_some() || !says_where_to_listen(file) {
        keep_listen(&old, &mut new);
    }
    Ok((old, new))
}

fn says_where_to_listen(file: &Path) -> bool {
    let shown = show::show(file, &ProcessEnvironment, &LoadOptions::default());
    shown.is_ok_and(|shown| {
        shown.settings.iter().any(|setting| {
            let is_listen = setting.path.last() == Some(&show::Step::Key("listen".to_owned()));
            is_listen && setting.origin != "default"
        })
    })
}

/// Takes over the address of the running gateway: it is no part of the edit.
fn keep_listen(old: &Outline, new: &mut Outline) {
    let listen = old.settings.get("general_settings").and_then(|general| general.get("listen"));
    let section = new.settings.get_mut("general_settings").and_then(Value::as_object_mut);
    if let (Some(listen), Some(section)) = (listen, section) {
        let before = section.insert("listen".to_owned(), listen.clone());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(before) = before {
            new.access.exposed.remove(&text(&before));
        }
        if old.access.exposed.contains(&text(listen)) {
            new.access.exposed.insert(text(listen));
        }
    }
}

fn text(comparison: &Comparison) -> String {
    if comparison.is_empty() {
        return "no difference\n".to_owned();
    }
    let mut text = String::new();
    let mut part = "";
    for Changed { part: own, name, what, fields, effect, .. } in &comparison.changes {
        if own != part {
            text.push_str(&format!("{own}:\n"));
            part = own;
        }
        let sign = match *what {
            "added" => '+',
            "removed" => '-',
            _ => '~',
        };
        let alone = fields.first().filter(|field| field.path.is_empty());
        match alone {
            Some(field) => text.push_str(&format!("  {sign} {name}: {}\n", values(field))),
            None => text.push_str(&format!("  {sign} {name}\n")),
        }
        for field in fields.iter().filter(|field| !field.path.is_empty()) {
            text.push_str(&format!("      {}: {}\n", field.path, values(field)));
        }
        text.push_str(&format!("      → {effect}\n"));
    }
    if comparison.changes.iter().any(|change| change.needs_restart) {
        text.push_str("some of it is in force after a restart only\n");
    }
    text
}

fn values(Field { old, new, .. }: &Field) -> String {
    match (old, new) {
        (Value::String(old), Value::String(new)) if old == new => format!("{old} changed"),
        (Value::Null, new) => shown(new),
        (old, Value::Null) => format!("{} → nothing", shown(old)),
        (old, new) => format!("{} → {}", shown(old), shown(new)),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
