//! Floor 3: the edit corridor's values. A file becomes a located tree (`load`, `include`), has its
//! references replaced (`resolve`), is given types (`decode`, `file`), is checked whole (`check`) and
//! ends as a `Snapshot`. Nothing here knows of requests, providers' answers or databases.

pub mod access;
mod check;
pub mod compare;
pub mod convert;
mod decode;
mod diff;
mod file;
mod include;
pub mod keys;
mod known;
mod load;
mod node;
pub mod outline;
mod problem;
mod resolve;
mod schema;
pub mod show;
pub mod snapshot;
pub mod telemetry;
pub mod watch;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use diff::{Change, Diff, diff};
pub use problem::{Problem, Severity};
pub use resolve::{Environment, ProcessEnvironment, inherited};
pub use schema::{reference, schema};
use snapshot::Snapshot;

/// How a configuration is loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// A key that nobody knows is an error, not a warning.
    pub strict: bool,
    /// The command line's address, which wins over the file's and decides how weak keys are judged.
    pub listen: Option<SocketAddr>,
}

/// What came of loading a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// `None` when any problem is an error.
    pub snapshot: Option<Snapshot>,
    /// Every problem, in the order of their places.
    pub problems: Vec<Problem>,
    /// Every file that was read or should have been: known in failure too, so that a watcher sees
    /// the fix.
    pub sources: Vec<PathBuf>,
    /// What every source held: what `watch::Watcher` compares with.
    pub stamps: watch::Stamps,
}

/// Loads a configuration: reads the file and all it names, and checks everything.
///
/// Reads files and `environment` only; the same content gives the same snapshot. Every problem is
/// reported, not only the first.
pub fn load(path: &Path, environment: &dyn Environment, options: &LoadOptions) -> Loaded {
    load_with_tree(path, environment, options).0
}

/// The same, and the tree that the snapshot was made from: where every value stands.
fn load_with_tree(
    path: &Path,
    environment: &dyn Environment,
    options: &LoadOptions,
) -> (Loaded, Option<node::Node>) {
    let mut findings = problem::Findings::default();
    let mut origins = resolve::Origins::new(environment);
    let mut damaged = HashSet::new();
    let root = include::read(path, &mut origins, &mut findings, &mut damaged);
    let snapshot = root.as_ref().map(|root| {
        let file: file::File = decode::decode(root, options.strict, &mut findings, &mut damaged);
        let folder = path.parent().unwrap_or(Path::new(""));
        check::check(file, root, options.listen, folder, &damaged, &mut findings, &mut origins)
    });
    let sources = origins.files().to_vec();
    let snapshot = snapshot.filter(|_| !findings.has_errors()).map(|snapshot| Snapshot {
        hash: origins.hash(),
        sources: sources.clone(),
        ..snapshot
    });
    let loaded = Loaded {
        snapshot,
        problems: findings.into_problems(&sources),
        sources,
        stamps: origins.stamps().clone(),
    };
    (loaded, root)
}
