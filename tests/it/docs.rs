//! The documents say what is so: every configuration in them loads, every command is one, every link
//! leads somewhere, and the README shows what the program prints.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Parser;
use tempfile::TempDir;
use tidegate::config::{LoadOptions, load};
use tidegate::ground::fault::Kind;

use crate::support::gateway::command;

/// What fragments may refer to: they are loaded with this beside them.
const BESIDE: &str = "\
general_settings: {master_key: sk-master-0123456789abcdefghij}
model_list:
- {model_name: gpt, litellm_params: {model: mock}}
- {model_name: claude, litellm_params: {model: mock}}
- {model_name: local, litellm_params: {model: mock}}
";

/// Files that examples name.
const NAMED: [(&str, &str); 3] = [
    ("models.yaml", "model_list: [{model_name: m, litellm_params: {model: mock}}]\n"),
    ("keys.yaml", "virtual_keys: [{api_key: sk-0123456789-0123456789, models: ['*']}]\n"),
    ("secrets/openai_api_key", "sk-secret\n"),
];

/// A fenced block: where it begins, what stands behind its fence, its text.
pub(crate) struct Block {
    pub(crate) place: String,
    pub(crate) kind: String,
    pub(crate) text: String,
    /// The comment on the line above it.
    pub(crate) note: Option<String>,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every page: its path below the repository, and its text.
pub(crate) fn pages() -> Vec<(PathBuf, String)> {
    let mut paths = files(&root().join("docs"), "md");
    paths.push(root().join("README.md"));
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

pub(crate) fn blocks(path: &Path, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut above = "";
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(kind), None) => {
                let name = path.strip_prefix(root()).unwrap().display();
                let place = format!("{name}:{}", number + 1);
                let note = above.trim().strip_prefix("<!--").and_then(|it| it.strip_suffix("-->"));
                let note = note.map(|note| note.trim().to_owned());
                open = Some(Block { place, kind: kind.to_owned(), text: String::new(), note });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
        above = line;
    }
    assert!(open.is_none(), "{}: a block without an end", path.display());
    blocks
}

fn all_blocks() -> Vec<Block> {
    pages().iter().flat_map(|(path, text)| blocks(path, text)).collect()
}

/// A value of its own for every variable that the text wants.
fn environment(text: &str) -> BTreeMap<String, String> {
    let starts = text.split("${").skip(1).chain(text.split("os.environ/").skip(1));
    let name = |rest: &str| -> String {
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let value = |name: &str| match name {
        "DATABASE_URL" => "postgresql://user:password@host/database".to_owned(),
        "AZURE_API_BASE" => "https://example.openai.azure.com".to_owned(),
        _ => format!("sk-for-{}-0123456789", name.to_lowercase()),
    };
    let names = starts.filter(|rest| !rest.starts_with("file:")).map(name);
    // `${NAME:-default}` shows its default.
    names
        .filter(|name| !name.is_empty() && !text.contains(&format!("${{{name}:-")))
        .map(|name| (name.clone(), value(&name)))
        .collect()
}

/// Loads a text as a configuration, unknown keys being errors; `beside` is included with it.
#[track_caller]
fn loads(place: &str, text: &str, beside: Option<&str>) {
    let directory = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for (name, text) in NAMED {
        write(name, text);
    }
    let include = beside.map_or("", |_| "\ninclude: beside.yaml\n");
    write("beside.yaml", beside.unwrap_or("{}"));
    write("config.yaml", &format!("{text}{include}"));
    let options = LoadOptions { strict: true, listen: None };
    let loaded = load(&directory.path().join("config.yaml"), &environment(text), &options);
    let errors: Vec<String> = loaded
        .problems
        .iter()
        .filter(|problem| problem.is_error())
        .map(ToString::to_string)
        .collect();
    assert!(errors.is_empty() && loaded.snapshot.is_some(), "{place}:\n{errors:#?}\n{text}");
}

#[test]
fn every_configuration_in_the_documents_loads() {
    let mut seen = 0;
    for Block { place, kind, text, .. } in all_blocks() {
        match kind.as_str() {
            "yaml" => loads(&place, &text, None),
            "yaml fragment" => loads(&place, &text, Some(BESIDE)),
            // Another program's file: it must be YAML.
            "yaml compose" => {
                let file: serde_json::Value = serde_yaml::from_str(&text).unwrap();
                assert!(file["services"].is_object(), "{place}");
            }
            "json" => drop(serde_json::from_str::<serde_json::Value>(&text).expect(&place)),
            other => {
                let known = ["sh", "sql", "text", "toml", "python", "mermaid"];
                assert!(known.contains(&other), "{place}: what kind of block is `{other}`?");
                continue;
            }
        }
        seen += 1;
    }
    assert!(seen >= 10, "{seen} blocks");
}

#[test]
fn every_shipped_configuration_loads() {
    let found = files(&root().join("config"), "yaml");
    assert!(!found.is_empty());
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let place = path.display().to_string();
        loads(&place, &text, None);
    }
}

/// Lines of shell blocks that call the program, as words; what a shell would do further is left out.
fn calls() -> Vec<(String, Vec<String>)> {
    let mut calls = Vec::new();
    for block in all_blocks().into_iter().filter(|block| block.kind == "sh") {
        for line in block.text.lines().filter(|line| line.starts_with("tidegate")) {
            let line = line.split(" #").next().unwrap();
            let words = line.split_whitespace().map(|word| word.replace('\'', ""));
            calls.push((block.place.clone(), words.collect()));
        }
    }
    calls
}

#[test]
fn every_call_in_the_documents_is_understood() {
    let calls = calls();
    assert!(calls.len() >= 8, "{calls:?}");
    for (place, words) in calls {
        if let Err(error) = tidegate::cli::Cli::try_parse_from(&words) {
            panic!("{place}: {words:?}\n{error}");
        }
    }
}

/// Headings as GitHub makes anchors of them.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let anchor = |heading: &str| -> String {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut seen = 0;
    for (path, text) in pages() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link}", path.display());
            if !anchor.is_empty() {
                let headings = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(headings.contains(anchor), "{}: {link}: {headings:?}", path.display());
            }
        }
    }
    assert!(seen >= 20, "{seen} links");
}

#[test]
fn every_page_of_the_guide_is_found_from_the_readme() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for page in files(&root().join("docs/guide"), "md") {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(readme.contains(&format!("(docs/guide/{name})")), "{name}");
    }
}

#[test]
fn the_readme_opens_with_two_commands() {
    let path = root().join("README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let first = blocks(&path, &text).into_iter().next().unwrap();
    let commands: Vec<&str> =
        first.text.lines().map(|line| line.split('#').next().unwrap().trim()).collect();
    assert_eq!(commands, ["cargo run --release", "tests/run"]);
    let before = text.lines().take_while(|line| !line.starts_with("```")).count();
    assert!(before <= 3, "something stands before the commands");
    let mode = std::fs::metadata(root().join("tests/run")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111);
}

#[test]
fn the_readme_shows_what_is_printed() {
    let directory = TempDir::new().unwrap();
    let config = root().join("config/config.yaml");
    let mut child = command(directory.path())
        .args(["--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut banner = String::new();
    for line in lines.take(4) {
        banner.push_str(&line);
        banner.push('\n');
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let address = banner.lines().next().unwrap().rsplit("http://").next().unwrap();
    let banner = banner.replace(address, "127.0.0.1:4000");
    let path = root().join("README.md");
    let shown = blocks(&path, &std::fs::read_to_string(&path).unwrap());
    assert!(shown.iter().any(|block| block.text == banner), "the README does not show\n{banner}");
}

/// Every failure that the gateway answers with is explained, with its status.
#[test]
fn every_error_is_in_the_table() {
    let text = std::fs::read_to_string(root().join("docs/guide/errors.md")).unwrap();
    let kinds = [
        Kind::InvalidRequest,
        Kind::Unsupported,
        Kind::InvalidKey,
        Kind::ExpiredKey,
        Kind::BlockedKey,
        Kind::ModelDenied,
        Kind::RouteDenied,
        Kind::ModelNotFound,
        Kind::RouteNotFound,
        Kind::MethodNotAllowed,
        Kind::RequestTimeout,
        Kind::TooLarge,
        Kind::UnsupportedMedia,
        Kind::Overloaded,
        Kind::Draining,
        Kind::Unreachable,
        Kind::UpstreamTimeout,
        Kind::UpstreamGarbage,
        Kind::ClientClosed,
        Kind::Bug,
    ];
    for row in kinds.map(Kind::row) {
        let code = row.code.map_or("none".to_owned(), |code| format!("`{code}`"));
        let line = format!("| {} | {code} | `{}` |", row.status, row.class);
        assert!(text.contains(&line), "not in errors.md: {line}");
    }
    for status in [401, 403, 404, 429] {
        let row = Kind::Upstream(status).row();
        let code = row.code.map_or("none".to_owned(), |code| format!("`{code}`"));
        let line = format!("| {status} | `{}` | {code} |", row.class);
        assert!(text.contains(&line), "not in errors.md: {line}");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let reasons = std::fs::read_to_string(root().join("docs/decisions/dependencies.md")).unwrap();
    let rows: Vec<&str> = reasons.lines().filter_map(|line| line.strip_prefix("| ")).collect();
    let names = |row: &&str| -> Vec<String> {
        let cell = row.split(" |").next().unwrap().replace(['(', ')', ','], " ");
        cell.split_whitespace().map(str::to_owned).collect()
    };
    let explained: BTreeSet<String> = rows.iter().flat_map(names).collect();
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]")
            && let Some((name, _)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            assert!(
                explained.contains(name),
                "{name} has no line in docs/decisions/dependencies.md"
            );
        }
    }
}
