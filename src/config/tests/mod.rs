//! Whole configurations in, problems and snapshots out. What single stages do is tested beside them. Here is
//! what both halves use.

mod dialect;
mod problems;
mod servers;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{LoadOptions, Loaded, Problem, load};

const CANARY: &str = "sk-canary-5f1d7c0e9b3a4826";

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    // A provider's absent key is a warning of its own, which most tests are not about.
    own.chain([("OPENAI_API_KEY".to_owned(), CANARY.to_owned())]).collect()
}

/// A directory with files in it; the first is the configuration.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn load(&self, variables: &[(&str, &str)], options: &LoadOptions) -> Loaded {
        load(&self.path("config.yaml"), &environment(variables), options)
    }
}

fn load_text(text: impl AsRef<[u8]>) -> Loaded {
    let files = Files::new(&[("config.yaml", text.as_ref())]);
    files.load(&[("SECRET", CANARY), ("NUMBER", "600")], &LoadOptions::default())
}

/// Problems without their directory, one a line.
fn lines(problems: &[Problem]) -> Vec<String> {
    let line = |problem: &Problem| {
        let directory = problem.file.parent().map(|path| format!("{}/", path.display()));
        problem.to_string().replace(&directory.unwrap_or_default(), "")
    };
    problems.iter().map(line).collect()
}

/// Loads a text and compares every problem, written `line:column: severity: text`.
#[track_caller]
fn check(text: impl AsRef<[u8]>, expected: &[&str]) {
    let loaded = load_text(text.as_ref());
    let found: Vec<String> = lines(&loaded.problems)
        .iter()
        .map(|line| line.strip_prefix("config.yaml:").unwrap_or(line).to_owned())
        .collect();
    assert_eq!(found, expected, "\n{}", String::from_utf8_lossy(text.as_ref()));
    assert_eq!(loaded.snapshot.is_none(), loaded.problems.iter().any(Problem::is_error));
}

/// A configuration with nothing to complain of, with `text` added.
fn plus(text: &str) -> String {
    format!(
        "model_list: [{{model_name: mock, litellm_params: {{model: mock-response}}}}]\n\
         general_settings: {{master_key: \"{CANARY}\"}}\n{text}"
    )
}
