//! `tidegate config convert`: LiteLLM's file in, ours out, and a report of every setting.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::{EX_CONFIG, complain, failed, print};
use crate::config::convert::{self, Converted, Item, Verdict};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// LiteLLM's configuration.
    file: PathBuf,
    /// Where to write the new one; by default it is printed, and the report goes to standard error.
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Tell the settings that do the same, too.
    #[arg(long)]
    all: bool,
    /// The report, with the new configuration in it, as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let converted = match convert::convert(&arguments.file) {
        Ok(converted) => converted,
        Err(problems) => {
            problems.iter().for_each(|problem| complain(&problem.to_string()));
            return ExitCode::from(EX_CONFIG);
        }
    };
    if let Some(path) = &arguments.output
        && let Err(error) = write_new(path, &converted.config)
    {
        return failed(format!("{}: {error}", path.display()));
    }
    if arguments.json {
        print(&format!("{:#}\n", serde_json::to_value(&converted).unwrap_or_default()));
    } else {
        let report = report(arguments, &converted);
        if arguments.output.is_none() {
            print(&converted.config);
            report.lines().for_each(to_standard_error);
        } else {
            print(&report);
        }
    }
    let needs_a_hand = |item: &Item| item.verdict >= Verdict::Manual;
    if converted.items.iter().any(needs_a_hand) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Writes a file that is not there yet, readable by its owner alone: keys may stand in it.
fn write_new(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn to_standard_error(line: &str) {
    use std::io::Write;
    let _nobody_listens = writeln!(std::io::stderr(), "{line}");
}

fn report(arguments: &Arguments, converted: &Converted) -> String {
    let mut text = String::new();
    let file = arguments.file.display();
    for Item { path, line, verdict, reason, fix } in &converted.items {
        if *verdict == Verdict::Exact && !arguments.all {
            continue;
        }
        let place = if *line > 0 { format!("{file}:{line}: ") } else { format!("{file}: ") };
        text.push_str(&format!("{place}{}: {path}\n", verdict.as_str()));
        for said in [reason, fix].into_iter().filter(|said| !said.is_empty()) {
            text.push_str(&format!("    {said}\n"));
        }
    }
    let counts = convert::counts(&converted.items);
    let all = [Verdict::Exact, Verdict::Approximate, Verdict::Manual, Verdict::Unsupported];
    let counts = all.map(|verdict| {
        format!("{} {}", counts.get(&verdict).copied().unwrap_or(0), verdict.as_str())
    });
    text.push_str(&format!("{} settings: {}\n", converted.items.len(), counts.join(", ")));
    if let Some(path) = &arguments.output {
        text.push_str(&format!("written to {}\n", path.display()));
    }
    text
}
