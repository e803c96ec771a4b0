//! What is wrong with a configuration, and where. Every stage adds its findings to one list, so that
//! an operator sees all of them at once. A finding never holds a value that came from the
//! environment or from a secret file, nor one that stands under a secret-bearing key.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// More findings than this are not kept: nobody reads them, and the first ones cause the rest.
const MOST_FINDINGS: usize = 500;

/// Where something stands: an index into the list of sources, and a line and column counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: u16,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// How bad a problem is. An error keeps the file from loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// One problem as the operator sees it. `Display` gives
/// `file:line:column: severity: text (did you mean `x`?)`; `Serialize` gives the same as fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub file: PathBuf,
    pub line: u32,
    pub column: u32,
    pub severity: Severity,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// A problem whose file is still a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) place: Place,
    pub(super) severity: Severity,
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

/// The list that every stage writes to.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    dropped: usize,
    errors: bool,
}

impl Problem {
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, severity, message, suggestion } = self;
        write!(f, "{}:{line}:{column}: {severity}: {message}", file.display())?;
        match suggestion {
            Some(word) => write!(f, " (did you mean `{word}`?)"),
            None => Ok(()),
        }
    }
}

impl Findings {
    pub(super) fn error(&mut self, place: Place, message: impl Into<String>) {
        self.add(place, Severity::Error, message.into(), None);
    }

    pub(super) fn warning(&mut self, place: Place, message: impl Into<String>) {
        self.add(place, Severity::Warning, message.into(), None);
    }

    pub(super) fn add(
        &mut self,
        place: Place,
        severity: Severity,
        message: String,
        suggestion: Option<String>,
    ) {
        self.errors |= severity == Severity::Error;
        let finding = Finding { place, severity, message, suggestion };
        if self.list.len() >= MOST_FINDINGS {
            // The last place is kept for an error: a flood of warnings must not hide why a file
            // was refused.
            self.dropped += 1;
            if finding.severity == Severity::Error
                && let Some(last) = self.list.iter_mut().rfind(|f| f.severity != Severity::Error)
            {
                *last = finding;
            }
            return;
        }
        self.list.push(finding);
    }

    pub(super) fn extend(&mut self, findings: Vec<Finding>) {
        for Finding { place, severity, message, suggestion } in findings {
            self.add(place, severity, message, suggestion);
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors
    }

    /// Puts the findings in the order of their places and names their files.
    pub(super) fn into_problems(mut self, files: &[PathBuf]) -> Vec<Problem> {
        if self.dropped > 0 {
            let place = self.list.last().map(|finding| finding.place).unwrap_or_default();
            let message = format!("{} more problems are not shown", self.dropped);
            self.list.push(Finding {
                place,
                severity: Severity::Warning,
                message,
                suggestion: None,
            });
        }
        self.list.sort_by_key(|finding| finding.place);
        let mut problems: Vec<Problem> = self
            .list
            .into_iter()
            .map(|Finding { place, severity, message, suggestion }| Problem {
                file: files.get(usize::from(place.file)).cloned().unwrap_or_default(),
                line: place.line.max(1),
                column: place.column.max(1),
                severity,
                message,
                suggestion,
            })
            .collect();
        problems.dedup();
        problems
    }
}

/// A name from the file, safe to print: short, of plain characters, and not a key by its look.
/// Operators do paste keys into the wrong place; a log must not keep them.
pub(super) fn show(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:*@+ ".contains(c);
    let secret = name.starts_with("sk-") || name.starts_with("sha256:");
    if name.is_empty() || name.len() > 96 || secret || !name.chars().all(plain) {
        return "(not shown)".to_owned();
    }
    format!("`{name}`")
}

/// A key of a mapping, safe to print: a mangled file makes keys out of secrets, and what has no digit
/// is hardly one.
pub(super) fn show_key(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphabetic() || "_-.".contains(c);
    if key.len() > 48 || !key.chars().all(plain) {
        return "(not shown)".to_owned();
    }
    show(key)
}

/// A path, as it is written in messages.
pub(super) fn show_path(path: &Path) -> String {
    format!("`{}`", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_print_as_compilers_do() {
        let mut findings = Findings::default();
        let place = Place { file: 0, line: 7, column: 3 };
        let suggestion = Some("model_list".to_owned());
        findings.add(place, Severity::Error, "unknown key `model_lst`".to_owned(), suggestion);
        findings.warning(Place { line: 2, ..place }, "earlier");
        let problems = findings.into_problems(&[PathBuf::from("config/config.yaml")]);
        let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(
            lines,
            [
                "config/config.yaml:2:3: warning: earlier",
                "config/config.yaml:7:3: error: unknown key `model_lst` (did you mean `model_list`?)",
            ]
        );
    }

    #[test]
    fn a_flood_is_cut_and_errors_survive_it() {
        let mut findings = Findings::default();
        for line in 0..5_000 {
            findings.warning(Place { file: 0, line, column: 1 }, "again");
        }
        findings.error(Place { file: 0, line: 9_000, column: 1 }, "the one that matters");
        assert!(findings.has_errors());
        let problems = findings.into_problems(&[]);
        assert!(problems.len() <= MOST_FINDINGS + 1);
        assert!(problems.iter().any(Problem::is_error));
    }
}
