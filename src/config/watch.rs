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
use tokio::time::Instant;

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
    /// `stirred` was heard, and the files were not read since.
    restless: bool,
    poll: Duration,
    /// Kept between calls, so that a caller who often drops `changed` is polled for all the same.
    next_poll: Option<Instant>,
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
            restless: false,
            poll,
            next_poll: None,
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
            let poll = *self.next_poll.get_or_insert_with(|| Instant::now() + self.poll);
            if !self.must_return && !self.restless {
                tokio::select! {
                    () = self.asked.notified() => self.must_return = true,
                    () = self.stirred.notified() => self.restless = true,
                    () = tokio::time::sleep_until(poll) => {}
                }
            }
            if self.restless {
                self.settle().await;
            }
            let before = self.stamps.clone();
            // Files may be on a slow disk or network: not on the thread that serves requests.
            let looked = tokio::task::spawn_blocking(move || before.look());
            let looked = looked.await;
            self.restless = false;
            self.next_poll = None;
            let Ok(now) = looked else { continue };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Far above what any machine needs, so that a hang fails the test and slowness does not.
    const PATIENCE: Duration = Duration::from_secs(30);
    /// A poll that never comes within a test: what is seen is seen by events.
    const NEVER: Duration = Duration::from_secs(3_600);

    struct Scene {
        directory: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            let scene = Self { directory: tempfile::tempdir().unwrap() };
            scene.write("config.yaml", "one");
            scene
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path(name), text).unwrap();
        }

        fn stamps(&self) -> Stamps {
            let path = self.path("config.yaml");
            Stamps([(path.clone(), stamp(&path))].into())
        }
    }

    async fn must_change(watcher: &mut Watcher) {
        tokio::time::timeout(PATIENCE, watcher.changed()).await.expect("the change was not seen");
    }

    #[tokio::test]
    async fn edits_renames_removal_and_return_are_seen() {
        let scene = Scene::new();
        let mut watcher = Watcher::with_poll(&scene.stamps(), NEVER);
        scene.write("config.yaml", "two");
        must_change(&mut watcher).await;
        // As editors save: a new file, renamed over the old one.
        scene.write("config.yaml.new", "three");
        std::fs::rename(scene.path("config.yaml.new"), scene.path("config.yaml")).unwrap();
        must_change(&mut watcher).await;
        std::fs::remove_file(scene.path("config.yaml")).unwrap();
        must_change(&mut watcher).await;
        assert!(watcher.stamps.0.values().all(Option::is_none));
        scene.write("config.yaml", "three");
        must_change(&mut watcher).await;
        assert_eq!(watcher.stamps, scene.stamps());
    }

    /// `config.yaml` → `..data/config.yaml`, `..data` → a directory that is swapped for another.
    #[cfg(unix)]
    #[tokio::test]
    async fn a_swapped_symlink_is_seen() {
        use std::os::unix::fs::symlink;
        let scene = Scene::new();
        std::fs::remove_file(scene.path("config.yaml")).unwrap();
        for (directory, text) in [("..1", "one"), ("..2", "two"), ("..3", "three")] {
            std::fs::create_dir(scene.path(directory)).unwrap();
            scene.write(&format!("{directory}/config.yaml"), text);
        }
        symlink("..1", scene.path("..data")).unwrap();
        symlink("..data/config.yaml", scene.path("config.yaml")).unwrap();
        let mut watcher = Watcher::with_poll(&scene.stamps(), NEVER);
        for next in ["..2", "..3"] {
            symlink(next, scene.path("..data_tmp")).unwrap();
            std::fs::rename(scene.path("..data_tmp"), scene.path("..data")).unwrap();
            must_change(&mut watcher).await;
            assert_eq!(watcher.stamps, scene.stamps());
        }
    }

    #[tokio::test]
    async fn the_poll_sees_what_no_event_tells() {
        let scene = Scene::new();
        let mut watcher = Watcher::with_poll(&scene.stamps(), Duration::from_millis(10));
        watcher.events = None;
        scene.write("config.yaml", "two");
        must_change(&mut watcher).await;
    }

    #[tokio::test]
    async fn an_edit_between_loading_and_watching_is_seen() {
        let scene = Scene::new();
        let loaded_from = scene.stamps();
        scene.write("config.yaml", "two");
        let mut watcher = Watcher::with_poll(&loaded_from, Duration::from_millis(10));
        must_change(&mut watcher).await;
    }

    #[tokio::test]
    async fn other_files_and_equal_contents_do_not_count() {
        let scene = Scene::new();
        let mut watcher = Watcher::with_poll(&scene.stamps(), NEVER);
        scene.write("tidegate.db-wal", "rows");
        scene.write("config.yaml", "one");
        watcher.stirred.notified().await;
        assert_eq!(watcher.stamps.look(), watcher.stamps);
        // Only the trigger makes it return, and the stamps are the same.
        watcher.trigger().fire();
        must_change(&mut watcher).await;
        assert_eq!(watcher.stamps, scene.stamps());
    }

    #[tokio::test]
    async fn a_reload_may_name_other_sources() {
        let scene = Scene::new();
        let mut watcher = Watcher::with_poll(&Stamps::default(), NEVER);
        watcher.watch(&scene.stamps());
        scene.write("config.yaml", "two");
        must_change(&mut watcher).await;
    }

    #[tokio::test]
    async fn a_dropped_wait_loses_nothing() {
        let scene = Scene::new();
        let mut watcher = Watcher::with_poll(&scene.stamps(), Duration::from_millis(10));
        watcher.trigger().fire();
        // Polled once, and dropped wherever it was.
        let _ = futures_util::FutureExt::now_or_never(watcher.changed());
        must_change(&mut watcher).await;
    }
}
