//! The main file and the files that its `include:` names, read into one tree: lists are appended,
//! mappings merged, and two different values for one key are an error, not a silent choice (LiteLLM
//! lets the included file win). Knows `include` and no other key.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::load::{MOST_BYTES, parse};
use super::node::{Key, Node, Value};
use super::problem::{Findings, Place, show_key, show_path};
use super::resolve::{Origins, resolve};

/// Files that include files that include files…
const MOST_INCLUDES_DEEP: usize = 16;

/// Reads a file and everything it includes, with every reference replaced. `None` when the file
/// itself cannot be read; the findings say why. What lost a part is added to `damaged`.
pub(super) fn read(
    path: &Path,
    origins: &mut Origins<'_>,
    findings: &mut Findings,
    damaged: &mut HashSet<Place>,
) -> Option<Node> {
    let mut reader = Reader { origins, findings, damaged, seen: Vec::new() };
    reader.file(path, None, 0)
}

struct Reader<'r, 'e> {
    origins: &'r mut Origins<'e>,
    findings: &'r mut Findings,
    damaged: &'r mut HashSet<Place>,
    /// Canonical paths of the files read so far.
    seen: Vec<PathBuf>,
}

impl Reader<'_, '_> {
    /// `from` is the place of the `include` that named the file.
    fn file(&mut self, path: &Path, from: Option<Place>, depth: usize) -> Option<Node> {
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if self.seen.contains(&canonical) {
            let message = format!("{} is included more than once, or by itself", show_path(path));
            self.findings.error(from.unwrap_or_default(), message);
            return None;
        }
        self.seen.push(canonical);
        let (file, outcome) = self.origins.read(path, MOST_BYTES);
        let start = Place { file, line: 1, column: 1 };
        let bytes = match outcome {
            Ok(bytes) => bytes,
            Err(message) => {
                self.findings.error(from.unwrap_or(start), message);
                return None;
            }
        };
        let mut node = parse(&bytes, file, self.findings)?;
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        resolve(&mut node, &directory, self.origins, self.findings, self.damaged);
        let Value::Map(entries) = &mut node.value else {
            let message = format!("a configuration is a mapping of keys, not {}", node.kind());
            self.findings.error(start, message);
            return None;
        };
        let include = entries.iter().position(|(key, _)| key.text == "include");
        let Some(include) = include.map(|index| entries.remove(index).1) else {
            return Some(node);
        };
        for (place, name) in self.names(include) {
            if depth >= MOST_INCLUDES_DEEP {
                self.findings.error(place, "includes within includes, too deep");
                break;
            }
            if let Some(included) = self.file(&directory.join(name), Some(place), depth + 1) {
                self.merge(&mut node, included);
            }
        }
        Some(node)
    }

    /// One path, or a list of them.
    fn names(&mut self, include: Node) -> Vec<(Place, String)> {
        let place = include.place;
        let items = match include.value {
            Value::List(items) => items,
            _ => vec![include],
        };
        let mut names = Vec::new();
        for item in items {
            match item.value {
                Value::Scalar(scalar) if !scalar.text.is_empty() => {
                    names.push((item.place, scalar.text.as_str().to_owned()));
                }
                Value::Scalar(_) => {}
                _ => self.findings.error(place, "`include`: expected a list of paths"),
            }
        }
        names
    }

    fn merge(&mut self, into: &mut Node, from: Node) {
        match (&mut into.value, from.value) {
            (Value::Map(entries), Value::Map(added)) => {
                for (key, node) in added {
                    match entries.iter_mut().find(|(own, _)| own.text == key.text) {
                        None => entries.push((key, node)),
                        Some((own, value)) => self.merge_entry(own, value, &key, node),
                    }
                }
            }
            (Value::List(items), Value::List(added)) => items.extend(added),
            _ => {}
        }
    }

    fn merge_entry(&mut self, own: &Key, value: &mut Node, key: &Key, node: Node) {
        let same_shape = matches!(
            (&value.value, &node.value),
            (Value::Map(_), Value::Map(_)) | (Value::List(_), Value::List(_))
        );
        if value.is_null() {
            *value = node;
        } else if same_shape {
            self.merge(value, node);
        } else if !node.is_null() && value.fingerprint() != node.fingerprint() {
            let file = self.origins.files().get(usize::from(own.place.file));
            let message = format!(
                "{} has another value in {}, line {}",
                show_key(&key.text),
                file.map(|file| show_path(file)).unwrap_or_default(),
                own.place.line
            );
            self.findings.error(key.place, message);
        }
    }
}
