//! References replaced by what they stand for: variables of the environment and files that hold a
//! secret. The only reader of the environment, and with `include` the only reader of files. What a
//! reference stood for is marked as hidden, so that no later message can print it.
//!
//! Forms, anywhere in any string, in lists too (LiteLLM resolves only whole strings, and not in
//! lists): `${NAME}`, `${NAME:-default}`, `${file:PATH}`, `os.environ/NAME`; `$${` is a literal `${`.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::node::{Node, Scalar, Value};
use super::problem::{Findings, Place, show_path};
use super::watch::Stamps;

/// More files than this are not read: includes and secret files together.
const MOST_SOURCES: usize = 1_000;
const MOST_SECRET_BYTES: usize = 64 * 1024;
/// What one scalar may grow to when its references are replaced.
const MOST_TEXT_BYTES: usize = 1024 * 1024;
/// Defaults may hold references of their own, this deep.
const MOST_DEFAULTS: usize = 8;
const ENVIRON: &str = "os.environ/";

/// What a child process may see of the gateway's own environment: where things are, who and in which language. Nothing
/// that could hold a secret, so no proxies either.
const INHERITED: [&str; 15] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TZ",
    "TMPDIR",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_COLLATE",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NUMERIC",
    "LC_TIME",
];

/// Where variables come from: the process, or a map in tests.
pub trait Environment {
    /// The variable's value, or `None` when it is not set.
    fn variable(&self, name: &str) -> Option<OsString>;
}

/// The environment that the process was started with.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }
}

impl Environment for BTreeMap<String, String> {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.get(name).map(OsString::from)
    }
}

/// The variables that a child process inherits.
pub fn inherited(environment: &dyn Environment) -> Vec<(&'static str, OsString)> {
    let held = |name| environment.variable(name).map(|value| (name, value));
    INHERITED.into_iter().filter_map(held).collect()
}

/// Everything that a configuration was made from, and the hash over it.
pub(super) struct Origins<'e> {
    environment: &'e dyn Environment,
    /// Files in the order they were named, the ones that could not be read too: their coming is
    /// what the watcher waits for.
    files: Vec<PathBuf>,
    contents: Sha256,
    stamps: Stamps,
    /// Every variable that was asked for, with a digest of what it held.
    variables: BTreeMap<String, [u8; 32]>,
}

impl<'e> Origins<'e> {
    pub(super) fn new(environment: &'e dyn Environment) -> Self {
        Self {
            environment,
            files: Vec::new(),
            contents: Sha256::new(),
            stamps: Stamps::default(),
            variables: BTreeMap::new(),
        }
    }

    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What every file held.
    pub(super) fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// SHA-256 over the files' contents and the variables' values, in hex.
    pub(super) fn hash(&self) -> String {
        let mut digest = self.contents.clone();
        for (name, value) in &self.variables {
            digest.update(name.as_bytes());
            digest.update([0]);
            digest.update(value);
        }
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A variable, if it is set to something. Set to nothing counts as not set, as compose files
    /// pass on variables that nobody has set in that way.
    ///
    /// # Errors
    /// The value is not UTF-8. The message does not hold it.
    pub(super) fn variable(&mut self, name: &str) -> Result<Option<Zeroizing<String>>, String> {
        let value = self.environment.variable(name);
        let digest = match &value {
            Some(value) => Sha256::digest(value.as_encoded_bytes()),
            None => Sha256::digest(b""),
        };
        self.variables.insert(name.to_owned(), digest.into());
        match value.map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) => {
                Ok(Some(value).filter(|value| !value.is_empty()).map(Zeroizing::new))
            }
            Some(Err(_)) => Err(format!("the variable `{name}` does not hold UTF-8")),
        }
    }

    /// Adds a file to the sources and reads it. Gives its number too.
    ///
    /// # Errors
    /// Why it cannot be read, without its content.
    pub(super) fn read(
        &mut self,
        path: &Path,
        most: usize,
    ) -> (u16, Result<Zeroizing<Vec<u8>>, String>) {
        let known = self.files.iter().position(|file| file == path);
        let number = known.unwrap_or(self.files.len());
        if known.is_none() {
            if number >= MOST_SOURCES {
                return (0, Err(format!("more than {MOST_SOURCES} files")));
            }
            self.files.push(path.to_owned());
        }
        let outcome = read_bounded(path, most);
        let stamp = outcome.as_ref().ok().map(|bytes| Sha256::digest(bytes.as_slice()).into());
        self.stamps.0.insert(path.to_owned(), stamp);
        match &outcome {
            Ok(bytes) => {
                self.contents.update(bytes.len().to_le_bytes());
                self.contents.update(bytes.as_slice());
            }
            Err(_) => self.contents.update(b"unreadable"),
        }
        (u16::try_from(number).unwrap_or(u16::MAX), outcome)
    }
}

pub(super) fn read_bounded(path: &Path, most: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    let explain = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file {}", show_path(path)),
        _ => format!("{} cannot be read: {error}", show_path(path)),
    };
    let file = std::fs::File::open(path).map_err(explain)?;
    if file.metadata().map_err(explain)?.is_dir() {
        return Err(format!("{} is a directory", show_path(path)));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes).map_err(explain)?;
    if bytes.len() > most {
        return Err(format!("{} is larger than {} KiB", show_path(path), most >> 10));
    }
    Ok(bytes)
}

/// Replaces every reference in the tree. `directory` is where the declaring file stands. Every
/// reference that stands for nothing is reported, each at its scalar's place, and its scalar is left
/// out of the tree; the places of what lost a part that way are added to `damaged`.
pub(super) fn resolve(
    node: &mut Node,
    directory: &Path,
    origins: &mut Origins<'_>,
    findings: &mut Findings,
    damaged: &mut HashSet<Place>,
) {
    let whole = Resolver { directory, origins, findings, damaged }.node(node);
    if !whole {
        // Only a file that is one scalar: it is refused for that anyway.
        node.value = Value::Map(Vec::new());
    }
}

struct Resolver<'x, 'e> {
    directory: &'x Path,
    origins: &'x mut Origins<'e>,
    findings: &'x mut Findings,
    damaged: &'x mut HashSet<Place>,
}

impl Resolver<'_, '_> {
    /// Whether the node may stay.
    fn node(&mut self, node: &mut Node) -> bool {
        let place = node.place;
        let before = self.damaged.len();
        let mut lost = false;
        match &mut node.value {
            Value::Scalar(scalar) => {
                let mut expansion = Expansion {
                    directory: self.directory,
                    origins: self.origins,
                    findings: self.findings,
                    place,
                    found: false,
                    failed: false,
                    references: Vec::new(),
                };
                expansion.replace(scalar);
                return !expansion.failed;
            }
            Value::List(items) => items.retain_mut(|item| {
                let stays = self.node(item);
                lost |= !stays;
                stays
            }),
            Value::Map(entries) => entries.retain_mut(|(_, node)| {
                let stays = self.node(node);
                lost |= !stays;
                stays
            }),
        }
        if lost || self.damaged.len() > before {
            self.damaged.insert(place);
        }
        true
    }
}

/// The replacing of references in one scalar.
struct Expansion<'x, 'e> {
    directory: &'x Path,
    origins: &'x mut Origins<'e>,
    findings: &'x mut Findings,
    place: Place,
    /// Whether anything was replaced.
    found: bool,
    failed: bool,
    references: Vec<String>,
}

impl Expansion<'_, '_> {
    fn replace(&mut self, scalar: &mut Scalar) {
        if !scalar.text.contains("${") && !scalar.text.contains(ENVIRON) {
            return;
        }
        let text = self.text(&scalar.text, 0);
        // A literal `${` alone changes the text but hides nothing.
        scalar.hidden |= self.found;
        scalar.plain |= self.found;
        scalar.text = text;
        scalar.references = std::mem::take(&mut self.references);
    }

    fn text(&mut self, text: &str, depth: usize) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(text.len()));
        let mut rest = text;
        while let Some(at) = rest.find(['$', 'o']) {
            let (before, tail) = rest.split_at(at);
            out.push_str(before);
            rest = if let Some(tail) = tail.strip_prefix("$${") {
                out.push_str("${");
                tail
            } else if let Some(inner) = tail.strip_prefix("${") {
                let Some(end) = closing_brace(inner) else {
                    self.error("`${` without its `}` (a literal `${` is written `$${`)");
                    return out;
                };
                let (inner, tail) = inner.split_at(end);
                let value = self.reference(inner, depth);
                out.push_str(&value);
                tail.get(1..).unwrap_or_default()
            } else if let Some(name) = environ_name(tail, out.chars().last()) {
                let value = self.variable(name, None, depth);
                out.push_str(&value);
                tail.get(ENVIRON.len() + name.len()..).unwrap_or_default()
            } else {
                let mut characters = tail.chars();
                out.extend(characters.next());
                characters.as_str()
            };
            if out.len() > MOST_TEXT_BYTES {
                self.error("a text of more than 1 MiB, after its references are replaced");
                return Zeroizing::default();
            }
        }
        out.push_str(rest);
        out
    }

    /// What stands between `${` and `}`.
    fn reference(&mut self, inner: &str, depth: usize) -> Zeroizing<String> {
        if let Some(path) = inner.strip_prefix("file:") {
            let path = self.text(path, depth + 1);
            return self.file(path.trim());
        }
        match inner.split_once(":-") {
            Some((name, default)) => self.variable(name, Some(default), depth),
            None => self.variable(inner, None, depth),
        }
    }

    fn variable(&mut self, name: &str, default: Option<&str>, depth: usize) -> Zeroizing<String> {
        self.found = true;
        if !is_name(name) {
            // The text is not printed: it may be a key that somebody put into the braces.
            self.error(
                "a reference that holds no variable's name (letters, digits and `_`; \
                 write `${NAME}`, `${NAME:-default}` or `${file:PATH}`, and `$${` for a literal `${`)",
            );
            return Zeroizing::default();
        }
        self.references.push(format!("${{{name}}}"));
        match (self.origins.variable(name), default) {
            (Ok(Some(value)), _) => return value,
            (Ok(None), Some(_)) if depth >= MOST_DEFAULTS => {
                self.error("defaults within defaults, too deep");
            }
            (Ok(None), Some(default)) => return self.text(default, depth + 1),
            (Ok(None), None) => {
                self.error(&format!("the variable `{name}` is not set, or set to nothing"));
            }
            (Err(message), _) => self.error(&message),
        }
        Zeroizing::default()
    }

    fn file(&mut self, path: &str) -> Zeroizing<String> {
        self.found = true;
        if path.is_empty() {
            self.error("`${file:}` without a path");
            return Zeroizing::default();
        }
        self.references.push(format!("${{file:{path}}}"));
        let path = self.directory.join(path);
        let (_, outcome) = self.origins.read(&path, MOST_SECRET_BYTES);
        let text = outcome.and_then(|bytes| match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(_) => Err(format!("{} does not hold UTF-8", show_path(&path))),
        });
        match text {
            Ok(text) if text.is_empty() => self.error(&format!("{} is empty", show_path(&path))),
            Ok(text) => return text,
            Err(message) => self.error(&message),
        }
        Zeroizing::default()
    }

    fn error(&mut self, message: &str) {
        self.failed = true;
        self.findings.error(self.place, message);
    }
}

/// Where the `}` stands that closes a `${` already passed, counting the ones opened in between.
fn closing_brace(inner: &str) -> Option<usize> {
    let mut open = 0usize;
    let mut previous = ' ';
    for (at, character) in inner.char_indices() {
        match character {
            '{' if previous == '$' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
        previous = character;
    }
    None
}

/// The name after `os.environ/`, when that is what begins here and not the middle of a word.
fn environ_name(text: &str, before: Option<char>) -> Option<&str> {
    let within_word = |c: char| c.is_alphanumeric() || "_./-".contains(c);
    if before.is_some_and(within_word) {
        return None;
    }
    let rest = text.strip_prefix(ENVIRON)?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    rest.get(..end)
}

fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && name.len() <= 256 && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resolves one scalar in an environment of `A=alpha`, `N=600`, `EMPTY=`.
    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let variables = [("A", "alpha"), ("N", "600"), ("EMPTY", ""), ("CANARY", "${A}")];
        let environment: BTreeMap<String, String> =
            variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut origins = Origins::new(&environment);
        let mut findings = Findings::default();
        let value = Value::Scalar(Scalar::new(text, false));
        let mut node = Node { place: Place::default(), value };
        let mut damaged = HashSet::new();
        let directory = Path::new("/nowhere");
        resolve(&mut node, directory, &mut origins, &mut findings, &mut damaged);
        let problems = findings.into_problems(&[]);
        match expected {
            Ok(expected) => {
                assert_eq!(problems, []);
                let Value::Scalar(scalar) = node.value else { unreachable!() };
                assert_eq!(scalar.text.as_str(), expected, "{text}");
            }
            Err(expected) => {
                let messages: Vec<_> = problems.into_iter().map(|p| p.message).collect();
                assert!(messages.join("; ").contains(expected), "{text}: {messages:?}");
            }
        }
    }

    #[test]
    fn a_child_inherits_no_more_than_it_needs() {
        let environment: BTreeMap<String, String> =
            [("PATH", "/bin"), ("LC_ALL", "C"), ("OPENAI_API_KEY", "sk-canary")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let inherited = inherited(&environment);
        assert_eq!(inherited, [("PATH", "/bin".into()), ("LC_ALL", "C".into())]);
    }

    #[test]
    fn references_are_replaced_anywhere() {
        check("${A}", Ok("alpha"));
        check("x-${A}-${N}", Ok("x-alpha-600"));
        check("os.environ/A", Ok("alpha"));
        check("Bearer os.environ/A", Ok("Bearer alpha"));
        check("${NONE:-default}", Ok("default"));
        check("${NONE:-}", Ok(""));
        check("${EMPTY:-default}", Ok("default"));
        check("${NONE:-${A}/${NONE:-b}}", Ok("alpha/b"));
        check("${NONE:-http://host:1}", Ok("http://host:1"));
    }

    #[test]
    fn what_is_no_reference_stays() {
        check("$A costs $5", Ok("$A costs $5"));
        check("$${A}", Ok("${A}"));
        check("https://host/os.environ/A", Ok("https://host/os.environ/A"));
        check("ö os $ o", Ok("ö os $ o"));
        // A value is never read again for references.
        check("${CANARY}", Ok("${A}"));
    }

    #[test]
    fn what_stands_for_nothing_is_an_error() {
        check("${NONE}", Err("the variable `NONE` is not set"));
        check("${EMPTY}", Err("the variable `EMPTY` is not set"));
        check("os.environ/NONE", Err("the variable `NONE` is not set"));
        check("os.environ/", Err("holds no variable's name"));
        check("${NONE} ${GONE}", Err("nothing; the variable `GONE` is not set"));
        check("${A", Err("without its `}`"));
        check("${sk-canary}", Err("holds no variable's name"));
        check("${file:missing}", Err("there is no file `/nowhere/missing`"));
        check("${file:}", Err("without a path"));
    }
}
