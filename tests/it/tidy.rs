//! The rules of the house that a machine can hold: floors, and what every file must say of itself.

use std::path::{Path, PathBuf};

/// Every room and its floor. A file imports its own room and lower floors only.
const FLOORS: [(&str, u8); 17] = [
    ("ground", 0),
    ("conversation", 1),
    ("entry", 2),
    ("prices", 2),
    ("wire", 2),
    ("config", 3),
    ("provider", 4),
    ("journal", 4),
    ("mcp", 4),
    ("telemetry", 4),
    ("gateway", 5),
    ("http", 6),
    ("reload", 7),
    ("app", 7),
    ("service", 7),
    ("cli", 7),
    ("lib", 7),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn house() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    sources(&root).into_iter().map(read).collect()
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// The rooms that a text imports from: what stands behind `crate::`.
fn imports(text: &str) -> Vec<&str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
        .collect()
}

#[test]
fn a_file_knows_only_its_own_room_and_lower_floors() {
    let mut wrong = Vec::new();
    for (name, text) in house() {
        let room = name.split('/').next().unwrap().trim_end_matches(".rs");
        let Some(own) = floor(room) else {
            assert!(room == "main", "{name}: give the room a floor in tests/it/tidy.rs");
            continue;
        };
        for import in imports(&text) {
            let allowed =
                import == room || floor(import).is_some_and(|other| other < own) || own == 7;
            if !allowed && floor(import).is_some() {
                wrong.push(format!("{name} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_lower_floors_know_no_machine() {
    let forbidden =
        ["tokio", "reqwest", "std::env", "std::fs", "std::time::SystemTime", "Instant::now"];
    for (name, text) in house() {
        let room = name.split('/').next().unwrap();
        if floor(room).is_some_and(|floor| floor <= 2) {
            let code = text.split("#[cfg(test)]").next().unwrap();
            let code: String =
                code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            for word in forbidden {
                assert!(!code.contains(word), "{name} uses {word}");
            }
        }
    }
}

#[test]
fn some_things_are_done_in_one_place_only() {
    let places = |word: &str| -> Vec<String> {
        let uses = |text: &str| {
            let code = text.split("#[cfg(test)]").next().unwrap();
            code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word))
        };
        house().into_iter().filter(|(_, text)| uses(text)).map(|(name, _)| name).collect()
    };
    assert_eq!(places("serde_yaml::"), ["config/load.rs"]);
    assert_eq!(places("std::env::var"), ["config/resolve.rs"]);
    for file in places("rusqlite::").into_iter().chain(places("tokio_postgres::")) {
        assert!(file.starts_with("journal/"), "SQL lives under journal/, not in {file}");
    }
}

#[test]
fn every_file_says_why_it_exists() {
    for (name, text) in house() {
        let lines = text.lines().take_while(|line| line.starts_with("//!")).count();
        assert!((1..=12).contains(&lines), "{name} opens with {lines} lines of //!");
    }
}

#[test]
fn no_file_grows_out_of_its_room() {
    // Tests may stand in files of their own.
    let is_test = |name: &str| name.split(['/', '.']).any(|part| part == "tests");
    for (name, text) in house().into_iter().filter(|(name, _)| !is_test(name)) {
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap().lines().count();
        assert!(code <= 500, "{name} has {code} lines without its tests; make it a folder");
    }
}
