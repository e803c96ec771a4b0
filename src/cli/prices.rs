//! `tidegate prices`: what a model costs, a table made of a public price file, and what a newer file says otherwise. Reads and
//! writes the files that it is told of, and fetches nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{complain, configured, failed, print};
use crate::config::snapshot::Deployment;
use crate::prices::changes::Changes;
use crate::prices::table::MAX_BYTES;
use crate::prices::{About, Book, Prices, Table, book};

/// Changes that are told one by one.
const MAX_TOLD: usize = 40;
/// Tables with this ending are packed.
const PACKED: &str = "z";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a model costs: one of the configuration, `provider/model`, or a provider's name for one. Without a model: where the
    /// built-in prices come from.
    Show {
        model: Option<String>,
        /// Look it up in this file first.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Make a table of LiteLLM's price file, or of models.dev's api.json.
    Import {
        file: PathBuf,
        /// Where it goes: packed where the name ends in `.z`. Default: standard output.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The day that the prices are of, as `2026-11-26`.
        #[arg(long, default_value = "")]
        date: String,
        /// Where they are from.
        #[arg(long, default_value = "")]
        source: String,
        /// A file with the notice that goes with them.
        #[arg(long, value_name = "FILE")]
        licence: Option<PathBuf>,
    },
    /// Bring a table for `pricing_file` up to date, and tell what changes. A price that changes more than fivefold is refused.
    Update {
        /// LiteLLM's price file, models.dev's api.json, or a table.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// The table: compared with what is there, or else with the built-in prices, then replaced. Absent: nothing is written.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Write it whatever changes.
        #[arg(long)]
        force: bool,
    },
}

pub(super) fn run(config: &Path, arguments: &Arguments) -> ExitCode {
    let done = match &arguments.command {
        Command::Show { model: None, .. } => {
            print(&about(book::built_in()));
            Ok(())
        }
        Command::Show { model: Some(model), file } => show(config, model, file.as_deref()),
        Command::Import { file, output, date, source, licence } => {
            import(file, output.as_deref(), date, source, licence.as_deref())
        }
        Command::Update { from, output, force } => update(from, output.as_deref(), *force),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => failed(text),
    }
}

fn show(config: &Path, model: &str, file: Option<&Path>) -> Result<(), String> {
    let mut shown = String::new();
    if config.exists()
        && file.is_none()
        && let Some(found) =
            configured(config).ok().and_then(|snapshot| snapshot.models.find(model))
    {
        for deployment in &found.group.deployments {
            let captured: Vec<&str> = found.captured.iter().map(String::as_str).collect();
            shown.push_str(&of_deployment(deployment, &deployment.model.fill(&captured)));
        }
    } else {
        let table = file.map(|file| table(file, About::default())).transpose()?;
        let prices = Book::new(table).find_named(None, model).ok_or_else(|| {
            format!("no price of {model:?} is known; write it as `provider/model`")
        })?;
        shown = described(model, &prices);
    }
    print(&shown);
    Ok(())
}

fn of_deployment(deployment: &Deployment, model: &str) -> String {
    let name = format!("{}/{model} ({})", deployment.provider.name, deployment.id);
    match deployment.prices.of(model, None) {
        Some(prices) => described(&name, &prices),
        None => format!("{name}: not known; rows have no cost\n"),
    }
}

fn described(name: &str, prices: &Prices) -> String {
    let mut text = format!("{name}: US dollars for a unit, from {}\n", prices.version);
    for price in &prices.list {
        text.push_str(&format!("  {:<24} {}\n", price.slot, price.usd));
    }
    text
}

fn about(table: &Table) -> String {
    let About { version, date, source, licence } = &table.about;
    let mut text = format!(
        "version: {version}\ndate:    {date}\nsource:  {source}\nmodels:  {}\n",
        table.len()
    );
    for line in licence {
        text.push_str(&format!("licence: {line}\n"));
    }
    text
}

fn import(
    file: &Path,
    output: Option<&Path>,
    date: &str,
    source: &str,
    licence: Option<&Path>,
) -> Result<(), String> {
    let licence = match licence {
        Some(path) => {
            let bytes = read(path)?;
            String::from_utf8_lossy(&bytes).lines().map(|line| line.trim().to_owned()).collect()
        }
        None => Vec::new(),
    };
    let is_day = date.is_empty() || date.parse::<jiff::civil::Date>().is_ok();
    if !is_day {
        return Err(format!("{date:?} is no day; write it as 2026-11-26"));
    }
    let about =
        About { date: date.to_owned(), source: source.to_owned(), licence, ..About::default() };
    let table = table(file, about)?;
    tell_left_out(&table);
    match output {
        None => print(table.text()),
        Some(output) => {
            write(output, &table)?;
            print(&format!(
                "{}: {} models, {}\n",
                output.display(),
                table.len(),
                table.about.version
            ));
        }
    }
    Ok(())
}

fn update(from: &Path, output: Option<&Path>, force: bool) -> Result<(), String> {
    let new = table(from, About { source: from.display().to_string(), ..About::default() })?;
    tell_left_out(&new);
    let old = output.filter(|path| path.exists()).map(|path| table(path, About::default()));
    let old = old.transpose()?;
    let old = old.as_ref().unwrap_or(book::built_in());
    let changes = Changes::between(old, &new);
    print(&format!(
        "{} -> {}: {} models added, {} removed, {} prices changed\n",
        old.about.version,
        new.about.version,
        changes.added.len(),
        changes.removed.len(),
        changes.changed.len(),
    ));
    tell("+", changes.added.iter());
    tell("-", changes.removed.iter());
    tell(" ", changes.changed.iter());
    let jumps = changes.jumps().count();
    if jumps > 0 {
        print(&format!("{jumps} of them more than fivefold:\n"));
        tell("!", changes.jumps());
    }
    let loses_most = changes.loses_most(old);
    if (jumps > 0 || loses_most) && !force {
        let why = if loses_most { "most models would be gone" } else { "prices jump" };
        return Err(format!("nothing is written, since {why}; look at them, then use --force"));
    }
    match output {
        Some(output) => write(output, &new),
        None => Ok(()),
    }
}

fn tell<T: std::fmt::Display>(mark: &str, lines: impl Iterator<Item = T>) {
    let mut left = 0;
    for (index, line) in lines.enumerate() {
        if index < MAX_TOLD {
            print(&format!("{mark} {line}\n"));
        } else {
            left += 1;
        }
    }
    if left > 0 {
        print(&format!("{mark} and {left} more\n"));
    }
}

fn tell_left_out(table: &Table) {
    if let Some(text) = table.left_out() {
        complain(&text);
    }
}

fn table(path: &Path, about: About) -> Result<Table, String> {
    Table::read(&read(path)?, about).map_err(|error| format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    use io::Read;
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let most = MAX_BYTES as u64 + 1;
        std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| format!("{}: {error}", path.display()))?;
    if bytes.len() > MAX_BYTES {
        return Err(format!("{}: larger than {} MiB", path.display(), MAX_BYTES >> 20));
    }
    Ok(bytes)
}

/// Replaces the file at once: a gateway that reads it meanwhile sees the old or the new one.
fn write(path: &Path, table: &Table) -> Result<(), String> {
    let is_packed = path.extension().is_some_and(|ending| ending == PACKED);
    let bytes = if is_packed { table.packed() } else { table.text().as_bytes().to_vec() };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let replace = || -> io::Result<()> {
        use io::Write;
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        file.persist(path).map(drop).map_err(|error| error.error)
    };
    replace().map_err(|error| format!("{}: {error}", path.display()))
}
