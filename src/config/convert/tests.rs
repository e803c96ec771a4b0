//! LiteLLM's own samples, in short, and what becomes of each setting.

use super::*;

/// Converts a text; gives the new one and a line for each setting that is not taken over as it is.
#[track_caller]
fn converted(text: &str) -> (String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("litellm.yaml");
    std::fs::write(&path, text).unwrap();
    let Converted { config, items } = convert(&path).unwrap();
    let told = items.iter().filter(|item| item.verdict != Verdict::Exact);
    let line = |item: &Item| format!("{}:{} {}", item.line, item.verdict.as_str(), item.path);
    (config, told.map(line).collect())
}
