//! The edit corridor, told in order: something changed → load → check → compare → build → one swap →
//! the rest follows in the background. Before the swap any error keeps the last good configuration; the
//! swap itself cannot fail; nothing slow stands before it. Start-up is the same path without an old side.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tracing::field::Empty;

use crate::config::snapshot::Snapshot;
use crate::config::watch::{Stamps, Watcher};
use crate::config::{self, LoadOptions, Loaded, ProcessEnvironment};
use crate::gateway::{Gate, Live};
use crate::http::status::{ReloadError, ReloadStatus, Status};
use crate::journal::Journal;
use crate::mcp::Mcp;
use crate::telemetry::traces::Traces;
use crate::telemetry::traces::work::WORK;

/// What an edit goes through, and what it changes.
pub struct Corridor {
    pub path: PathBuf,
    pub options: LoadOptions,
    pub gate: Arc<Gate>,
    pub status: Arc<Status>,
    pub journal: Arc<Journal>,
    pub mcp: Arc<Mcp>,
    pub traces: Arc<Traces>,
    /// A name for this process, in what is told of it.
    pub instance: String,
    /// Rung by SIGHUP and by the operator's request.
    pub asked: Arc<Notify>,
}

impl Corridor {
    /// Follows edits until `stop`.
    pub async fn follow(self, stamps: Stamps, stop: CancellationToken) {
        let mut watcher = Watcher::start(&stamps);
        loop {
            tokio::select! {
                () = watcher.changed() => {}
                () = self.asked.notified() => {}
                () = stop.cancelled() => return,
            }
            let stamps = self.pass().instrument(tracing::info_span!(
                target: WORK,
                "config.reload",
                generation = Empty,
                outcome = Empty,
            ));
            let stamps = stamps.await;
            watcher.watch(&stamps);
        }
    }

    /// One edit, from the file to the swap. Gives what every source held: what to watch from now on.
    async fn pass(&self) -> Stamps {
        let Some(loaded) = load(self.path.clone(), self.options).await else {
            return Stamps::default();
        };
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        let Some(snapshot) = loaded.snapshot else {
            self.keep_last_good(problems);
            return loaded.stamps;
        };
        let old = self.gate.live();
        if snapshot.hash == old.snapshot.hash {
            self.note(|status| status.last_error = None);
            tracing::debug!("the configuration is unchanged");
            return loaded.stamps;
        }
        if snapshot.keys.is_open() && !old.snapshot.keys.is_open() {
            let file = self.path.display();
            self.keep_last_good(vec![format!(
                "{file}:1:1: error: the edit removes the last key, which would open the gateway to \
                 everyone; keep a key, or restart if that is meant"
            )]);
            return loaded.stamps;
        }
        self.warn_of_what_needs_a_restart(&old.snapshot, &snapshot);
        let diff = config::diff(&old.snapshot, &snapshot).to_string();
        let live = Arc::new(Live::build(snapshot, Some(&old)));
        tracing::info_span!(target: WORK, "mcp.reconcile")
            .in_scope(|| self.mcp.reconcile(&live.snapshot));
        self.gate.swap(live.clone());
        self.mcp.announce(&live.snapshot);
        crate::cli::log::adjust(&live.snapshot.diagnostics);
        if let Err(error) = self.traces.retarget(&live.snapshot.telemetry, &self.instance) {
            tracing::warn!(%error, "traces go where they went");
        }
        crate::cli::log::tell_work(&self.traces);
        self.note(|status| {
            status.reloads += 1;
            status.last_error = None;
            status.warnings.clone_from(&problems);
        });
        for problem in &problems {
            tracing::warn!("{problem}");
        }
        tracing::Span::current().record("generation", live.generation).record("outcome", "loaded");
        tracing::info!(generation = live.generation, %diff, "configuration reloaded");
        if let Err(error) = self.journal.retarget(&live.snapshot.request_log) {
            tracing::warn!(%error, "the request log keeps its file until a restart");
        }
        loaded.stamps
    }

    fn keep_last_good(&self, problems: Vec<String>) {
        for problem in &problems {
            tracing::error!("{problem}");
        }
        let generation = self.gate.live().generation;
        tracing::Span::current().record("outcome", "refused");
        tracing::error!(generation, "the edit was refused; the last good configuration stays");
        self.note(|status| {
            status.failures += 1;
            status.last_error =
                Some(ReloadError { at: Timestamp::now(), problems: problems.clone() });
        });
    }

    fn note(&self, change: impl Fn(&mut ReloadStatus)) {
        self.status.reload.rcu(|status| {
            let mut status = ReloadStatus::clone(status);
            change(&mut status);
            status
        });
    }

    fn warn_of_what_needs_a_restart(&self, old: &Snapshot, new: &Snapshot) {
        if old.listen != new.listen || old.admin_listen != new.admin_listen {
            tracing::warn!("listen and admin_listen change with the next restart only");
        }
        if old.diagnostics.json_logs != new.diagnostics.json_logs {
            tracing::warn!("json_logs changes with the next restart only");
        }
    }
}

/// Loads the configuration without holding up the requests of this thread.
pub async fn load(path: PathBuf, options: LoadOptions) -> Option<Loaded> {
    let work = move || config::load(&path, &ProcessEnvironment, &options);
    match tokio::task::spawn_blocking(work).await {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            tracing::error!(%error, "loading the configuration failed");
            None
        }
    }
}
