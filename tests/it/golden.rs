//! The golden matrix: what every request of a client becomes for every kind of provider, and what every
//! answer of a provider becomes for every kind of client. Inputs lie in `tests/golden`, the expected output
//! beside each as `CASE.golden`, with the input at its head, so that one page shows both.
//!
//! `GOLDEN=bless` writes the outputs anew; the change is then read and judged by eye, line by line, against
//! the vendors' documents.

mod answers;
mod difference;
mod errors;
mod pretty;
mod requests;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use difference::difference;

/// One input and what it is expected to become.
struct Page {
    /// Where the expectation lies.
    path: PathBuf,
    text: String,
}

#[test]
fn requests_are_written_as_each_provider_wants_them() {
    compare(requests::pages());
}

#[test]
fn answers_are_told_as_each_client_wants_them() {
    compare(answers::pages());
}

#[test]
fn errors_are_told_as_each_client_wants_them() {
    compare(errors::pages());
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_that_run_inside_answers_are_told_as_each_client_wants_them() {
    compare(tools::pages().await);
}

/// Compares all pages, or writes them anew, and tells every difference.
#[track_caller]
fn compare(pages: Vec<Page>) {
    assert!(!pages.is_empty(), "no inputs");
    let bless = std::env::var_os("GOLDEN").is_some_and(|value| value == "bless");
    let mut wrong = String::new();
    for Page { path, text } in pages {
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if expected == text {
            continue;
        }
        if bless {
            fs::write(&path, text).unwrap();
        } else {
            let lines = difference(&expected, &text);
            wrong.push_str(&format!("\n{}\n{lines}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "not as expected (GOLDEN=bless writes it anew):\n{wrong}");
}

/// The inputs of one kind, with the name of their folder, in order.
fn inputs(kind: &str, extensions: &[&str]) -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(kind);
    let mut found = Vec::new();
    for folder in fs::read_dir(root).unwrap() {
        let folder = folder.unwrap();
        if !folder.file_type().unwrap().is_dir() {
            continue;
        }
        let name = folder.file_name().into_string().unwrap();
        let kind = format!("{kind}/{name}");
        found.extend(files(&kind, extensions).into_iter().map(|path| (name.clone(), path)));
    }
    found.sort();
    found
}

/// The files of one folder with these endings, in order.
fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let mut found: Vec<PathBuf> =
        fs::read_dir(root).unwrap().map(|file| file.unwrap().path()).collect();
    found.retain(|path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| extensions.contains(&extension))
    });
    found.sort();
    found
}

/// `requests/openai_chat/plain.json`.
fn title(kind: &str, folder: &str, path: &Path) -> String {
    format!("{kind}/{folder}/{}", path.file_name().unwrap().to_str().unwrap())
}
