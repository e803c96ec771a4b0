//! Every reader of the wire, fed with mutations of the recorded bodies: what the fuzz targets do for hours,
//! for a moment and on any toolchain. `FUZZ_ROUNDS` and `FUZZ_SEED` make it longer and other.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../../fuzz/drive.rs"]
#[expect(unreachable_pub, reason = "public to the fuzz targets, which are crates of their own")]
mod drive;

use super::{order, pairs};

/// A target and the bytes to begin with.
type Seed = (&'static str, fn(&[u8]), Vec<u8>);
/// A target by its name.
type Named = (&'static str, fn(&[u8]));

/// What takes the place of a value.
const VALUES: [&str; 14] = [
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    "18446744073709551616",
    "\"\"",
    "\"\\u0000\"",
    "{}",
    "[]",
    "[[]]",
    "{\"type\":\"text\"}",
    "\"tidegate1.e30\"",
    "[{}]",
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|ending| ending != "golden" && ending != "md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The recorded bodies, each with the bytes in front that tell a target what it is.
fn seeds() -> Vec<Seed> {
    let formats =
        ["openai_chat", "openai_responses", "anthropic", "gemini", "bedrock", "ollama", "cohere"];
    let clients = ["openai_chat", "openai_completions", "openai_responses", "anthropic"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut seeds: Vec<Seed> = Vec::new();
    for path in files(&root) {
        let text = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let mut parts = text.split('/');
        let (kind, folder) = (parts.next().unwrap(), parts.next().unwrap());
        let body = fs::read(&path).unwrap();
        let with = |front: &[u8]| [front, body.as_slice()].concat();
        let number =
            |names: &[&str]| names.iter().position(|name| *name == folder).map(|at| at as u8);
        match (kind, number(&formats), number(&clients)) {
            ("answers", Some(format), _) if text.ends_with(".json") => {
                seeds.push(("reply", drive::reply, with(&[format])));
                for kind in 0..6 {
                    seeds.push(("others", drive::others, with(&[kind])));
                }
            }
            ("answers", Some(format), _) => {
                seeds.push(("stream", drive::stream, with(&[format, 7])));
            }
            ("requests", _, Some(client)) => {
                seeds.push(("request", drive::request, with(&[client])));
                seeds.push(("others", drive::others, with(&[3])));
            }
            _ => {}
        }
    }
    assert!(seeds.len() > 100);
    seeds
}

/// Inputs that once did harm.
fn regressions() -> Vec<Seed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/regressions");
    let targets: [Named; 4] = [
        ("stream", drive::stream),
        ("reply", drive::reply),
        ("request", drive::request),
        ("others", drive::others),
    ];
    let mut seeds = Vec::new();
    for (name, target) in targets {
        let folder = root.join(name);
        for path in folder.is_dir().then(|| files(&folder)).into_iter().flatten() {
            seeds.push((name, target, fs::read(path).unwrap()));
        }
    }
    seeds
}

fn mutate(body: &mut Vec<u8>, other: &[u8], random: &mut fastrand::Rng) {
    let range = |random: &mut fastrand::Rng, length: usize| {
        let from = random.usize(..=length);
        from..(from + random.usize(..64)).min(length)
    };
    let place = range(random, body.len());
    match random.u8(..9) {
        0 => body.truncate(place.start),
        1 => drop(body.drain(place)),
        2 => {
            let piece = body[place.clone()].to_vec();
            body.splice(place.end..place.end, piece);
        }
        3 => {
            let piece = other[range(random, other.len())].to_vec();
            body.splice(place, piece);
        }
        4 if !body.is_empty() => {
            let at = random.usize(..body.len());
            body[at] = random.u8(..);
        }
        _ => {
            // Another value in the place of one: what most often meets a reader unprepared.
            let colons: Vec<usize> = body
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == b':')
                .map(|(at, _)| at)
                .collect();
            let Some(at) = random.choice(&colons) else { return };
            let rest = &body[at + 1..];
            let end = rest.iter().position(|byte| b",}]\n".contains(byte)).unwrap_or(rest.len());
            let value = random.choice(VALUES).unwrap();
            body.splice(at + 1..at + 1 + end, value.bytes());
        }
    }
}

fn run((name, target, input): &Seed, wrong: &mut Vec<String>) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        wrong.push(format!("{name}: {}", input.escape_ascii()));
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

#[test]
fn hostile_bytes_do_no_harm() {
    let mut wrong = Vec::new();
    let seeds = seeds();
    seeds.iter().chain(&regressions()).for_each(|seed| run(seed, &mut wrong));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let mut random = fastrand::Rng::with_seed(number("FUZZ_SEED").unwrap_or(1));
    for _ in 0..number("FUZZ_ROUNDS").unwrap_or(2000) {
        let (name, target, mut body) = random.choice(&seeds).unwrap().clone();
        for _ in 0..random.u8(1..6) {
            let other = &random.choice(&seeds).unwrap().2;
            mutate(&mut body, other, &mut random);
        }
        run(&(name, target, body), &mut wrong);
        if wrong.len() > 5 {
            break;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
