//! Tells when the sources of a configuration changed: by events of the file system, by looking every
//! few seconds where events do not come (network file systems, single-file bind mounts), and when
//! asked. Says only *that* they changed; what that means is `reload`'s affair.
//!
//! Directories are watched and not files: editors replace a file by renaming another over it, and
//! Kubernetes swaps a symbolic link, after which a watch on the file would see nothing. Whether
//! something changed is decided by contents, so that other files in the same directory, Tidegate's
//! own among them, never count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::load::MOST_BYTES;
use super::resolve::read_bounded;

/// How long the file system must be quiet before the files are read: a save is several events.
const QUIET: Duration = Duration::from_millis(200);
/// A directory that is never quiet is looked at all the same, after this many quiet times.
const MOST_QUIETS: u32 = 5;
/// How often the files are read without any event.
const POLL: Duration = Duration::from_secs(3);
/// Symbolic links that are followed from one source.
const MOST_LINKS: usize = 16;

/// What each source held when it was read: SHA-256, or nothing for one that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps(pub(super) BTreeMap<PathBuf, Option<[u8; 32]>>);

/// Watches the sources of the configuration in force.
pub struct Watcher {
    /// What the configuration in force was made from.
    stamps: Stamps,
    directories: BTreeSet<PathBuf>,
    /// `None` where the system gives no events: then only the poll sees changes.
    events: Option<RecommendedWatcher>,
    stirred: Arc<Notify>,
    asked: Arc<Notify>,
    /// `asked` was heard, and `changed` has not returned since.
    must_return: bool,
    poll: Duration,
}

/// Makes `Watcher::changed` return although nothing changed: for SIGHUP and administrators.
#[derive(Clone, Debug)]
pub struct Trigger(Arc<Notify>);

impl Trigger {
    /// Asks for one more return of `changed`; asking again before it returned adds nothing.
    pub fn fire(&self) {
        self.0.notify_one();
    }
}

impl Watcher {
    /// Begins to watch. `stamps` is what the configuration in force was loaded from, so that an edit
    /// made between that loading and this call is seen as well.
    ///
    /// Where the system gives no events, only the poll works and a line in the log says so.
    pub fn start(stamps: &Stamps) -> Self {
        Self::with_poll(stamps, POLL)
    }

    fn with_poll(stamps: &Stamps, poll: Duration) -> Self {
        let stirred = Arc::new(Notify::new());
        let bell = stirred.clone();
        let events = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the files makes events too: heeding those would never end.
            if event.is_ok_and(|event| event.kind.is_access()) {
                return;
            }
            bell.notify_one();
        });
        let events = events
            .inspect_err(|error| {
                tracing::warn!(%error, "no file system events: the configuration is polled");
            })
            .ok();
        let mut watcher = Self {
            stamps: stamps.clone(),
            directories: BTreeSet::new(),
            events,
            stirred,
            asked: Arc::new(Notify::new()),
            must_return: false,
            poll,
        };
        watcher.aim();
        watcher
    }

    /// The handle by which others ask for a reload.
    pub fn trigger(&self) -> Trigger {
        Trigger(self.asked.clone())
    }

    /// Watches other sources from now on: what a reload was made from, failed ones too.
    pub fn watch(&mut self, stamps: &Stamps) {
        self.stamps = stamps.clone();
        self.aim();
    }

    /// Waits until the contents of the sources differ from what they were, or until asked. A file
    /// that goes or comes back counts. May be dropped at any time without losing a change.
    pub async fn changed(&mut self) {
        loop {
            tokio::select! {
                () = self.asked.notified() => self.must_return = true,
                () = self.stirred.notified() => self.settle().await,
                () = tokio::time::sleep(self.poll) => {}
            }
            let before = self.stamps.clone();
            // Files may be on a slow disk or network: not on the thread that serves requests.
            let looked = tokio::task::spawn_blocking(move || before.look());
            let Ok(now) = looked.await else { continue };
            let differs = now != self.stamps;
            if differs || self.must_return {
                self.must_return = false;
                self.stamps = now;
                self.aim();
                return;
            }
        }
    }

    /// Waits until no event came for a while.
    async fn settle(&self) {
        for _ in 0..MOST_QUIETS {
            if tokio::time::timeout(QUIET, self.stirred.notified()).await.is_err() {
                return;
            }
        }
    }

    /// Watches the directories in which the sources, and what they link to, now are.
    fn aim(&mut self) {
        let directories: BTreeSet<PathBuf> =
            self.stamps.0.keys().flat_map(|path| directories(path)).collect();
        if let Some(events) = &mut self.events {
            for gone in self.directories.difference(&directories) {
                // It may have been removed, and its watch with it.
                let _ = events.unwatch(gone);
            }
            for directory in &directories {
                // Again for known ones: a directory that was replaced has lost its watch.
                if let Err(error) = events.watch(directory, RecursiveMode::NonRecursive) {
                    let directory = directory.display();
                    tracing::debug!(%directory, %error, "directory is polled, not watched");
                }
            }
        }
        self.directories = directories;
    }
}

impl Stamps {
    /// Reads the same files anew.
    fn look(&self) -> Self {
        Self(self.0.keys().map(|path| (path.clone(), stamp(path))).collect())
    }
}

fn stamp(path: &Path) -> Option<[u8; 32]> {
    read_bounded(path, MOST_BYTES).ok().map(|bytes| Sha256::digest(bytes.as_slice()).into())
}

/// The directory of a path as it was typed, and those of everything it links to.
fn directories(path: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        directories.push(parent.clone());
        match std::fs::read_link(&path) {
            Ok(target) => path = parent.join(target),
            Err(_) => break,
        }
    }
    directories.extend(directories.last().and_then(|last| last.canonicalize().ok()));
    directories
}
