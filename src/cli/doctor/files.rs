//! Who may read and write the configuration and the files with secrets.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Report;
use crate::config::show;
use crate::config::{LoadOptions, ProcessEnvironment};

const ABOUT: &str = "files";

pub(super) fn look(config: &Path, sources: &[PathBuf], report: &mut Report) {
    let shown = show::show(config, &ProcessEnvironment, &LoadOptions::default());
    let with_secrets: BTreeSet<PathBuf> =
        shown.map(|shown| shown.files_with_secrets).unwrap_or_default().into_iter().collect();
    let mut folders = BTreeSet::new();
    let mut fine = 0;
    for path in sources {
        let Ok(file) = std::fs::metadata(path) else { continue };
        let mode = file.mode() & 0o777;
        let shown = path.display();
        let before = report.0.len();
        if mode & 0o002 != 0 {
            let text =
                format!("{shown} can be written by everybody on this machine (mode {mode:03o})");
            report.fail(ABOUT, text, format!("chmod o-w {}", quoted(path)));
        }
        let is_yaml =
            path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let is_lock = path.extension().is_some_and(|extension| extension == "lock");
        // What is no configuration is read for what is in it: a secret.
        let holds_secrets = with_secrets.contains(path) || !(is_yaml || is_lock || path == config);
        if holds_secrets && mode & 0o004 != 0 {
            let text =
                format!("{shown} holds secrets and can be read by everybody (mode {mode:03o})");
            let plain = if mode & 0o040 != 0 { "o=" } else { "600" };
            report.fail(ABOUT, text, format!("chmod {plain} {}", quoted(path)));
        } else if holds_secrets && mode & 0o020 != 0 {
            let text =
                format!("{shown} holds secrets and can be written by its group (mode {mode:03o})");
            report.warn(ABOUT, text, format!("chmod g-w {}", quoted(path)));
        }
        if report.0.len() == before {
            fine += 1;
        }
        folders.extend(path.parent().map(|folder| {
            if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
        }));
    }
    for folder in folders {
        let Ok(found) = std::fs::metadata(&folder) else { continue };
        // The sticky bit keeps others from replacing a file.
        let mode = found.mode() & 0o1777;
        if mode & 0o002 != 0 && mode & 0o1000 == 0 {
            let text = format!(
                "{} can be written by everybody, who can so replace the configuration (mode {mode:03o})",
                folder.display()
            );
            report.fail(ABOUT, text, format!("chmod o-w {}", quoted(&folder)));
        }
    }
    if fine > 0 {
        report.ok(ABOUT, format!("{fine} of {} files have fitting permissions", sources.len()));
    }
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
