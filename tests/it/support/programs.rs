//! Programs in other languages: the interpreters and packages that `tests/run` puts into `tests/.cache`, and how one of
//! them is run to its end. `TIDEGATE_TEST_SDKS=required` makes a missing one an error; without it, a test leaves itself out.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file or folder of `tests/`.
pub(crate) fn tests(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// A file of `tests/.cache`, or `None` where it may be missing.
pub(crate) fn cached(name: &str) -> Option<PathBuf> {
    let path = tests(".cache").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("TIDEGATE_TEST_SDKS").is_none_or(|value| value != "required"),
        "{} is missing: run tests/run",
        path.display()
    );
    None
}

/// A program of Debian's packages: on the PATH or where only root has it on its own, or `None` where it may be missing.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    assert!(
        found.is_some()
            || std::env::var_os("TIDEGATE_TEST_SDKS").is_none_or(|value| value != "required"),
        "{name} is missing: run tests/run"
    );
    found
}

/// A program of Prometheus: where `tests/run` puts it, or on the PATH, or `None` where it may be missing.
pub(crate) fn prometheus(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|it| it.is_file());
    found.or_else(|| cached(&format!("prometheus/usr/bin/{name}")))
}

/// Runs a program to its end (it has a watchdog of its own); shows what it said if it fails.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command) {
    let said = command.output().map(|output| {
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    });
    assert!(matches!(said, Ok((true, _))), "{}", said.map_or_else(|e| e.to_string(), |it| it.1));
}
