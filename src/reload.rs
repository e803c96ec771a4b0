//! The edit corridor, told in order: something changed → load → check → compare → build → one swap →
//! the rest follows in the background. Before the swap any error keeps the last good configuration; the
//! swap itself cannot fail; nothing slow stands before it. Start-up is the same path without an old side.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tracing::field::Empty;

use crate::config::snapshot::Snapshot;
use crate::config::watch::{Stamps, Watcher};
use crate::config::{self, Diff, LoadOptions, Loaded, ProcessEnvironment};
use crate::gateway::{Gate, Live};
use crate::http::status::{ReloadError, ReloadStatus, Status};
use crate::journal::Journal;
use crate::journal::audit::{Act, Source};
use crate::mcp::Mcp;
use crate::service::Service;
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
    pub service: Arc<Service>,
    pub traces: Arc<Traces>,
    /// A name for this process, in what is told of it.
    pub instance: String,
    /// Rung by the operator's request.
    pub asked: Arc<Notify>,
    /// Rung by SIGHUP.
    pub signalled: Arc<Notify>,
}

impl Corridor {
    /// Follows edits until `stop`.
    pub async fn follow(self, stamps: Stamps, stop: CancellationToken) {
        let mut watcher = Watcher::start(&stamps);
        loop {
            let source = tokio::select! {
                () = watcher.changed() => Source::File,
                () = self.asked.notified() => Source::AdminApi,
                () = self.signalled.notified() => Source::Signal,
                () = stop.cancelled() => return,
            };
            self.service.reloading();
            let pass = self.pass(source).instrument(tracing::info_span!(
                target: WORK,
                "config.reload",
                generation = Empty,
                outcome = Empty,
            ));
            let stamps = pass.await;
            self.service.ready(&self.state());
            watcher.watch(&stamps);
        }
    }

    /// What is in force, in one line, and what became of the latest edit.
    pub fn state(&self) -> String {
        let live = self.gate.live();
        let (snapshot, generation) = (&live.snapshot, live.generation);
        let reload = self.status.reload.load();
        if let Some(problem) = reload.last_error.as_ref().and_then(|error| error.problems.first()) {
            return format!("generation {generation} stays; the edit was refused: {problem}");
        }
        format!(
            "generation {generation}: {} models, {} keys, {} MCP servers",
            snapshot.models.groups.len() + snapshot.models.wildcards.len(),
            snapshot.keys.virtual_keys.len(),
            snapshot.mcp_servers.len(),
        )
    }

    /// One edit, from the file to the swap. Gives what every source held: what to watch from now on.
    async fn pass(&self, source: Source) -> Stamps {
        let Some(loaded) = load(self.path.clone(), self.options).await else {
            return Stamps::default();
        };
        // Why comes first: `state` has room for one.
        let (errors, warnings): (Vec<_>, Vec<_>) =
            loaded.problems.iter().partition(|problem| problem.is_error());
        let problems: Vec<String> =
            errors.into_iter().chain(warnings).map(ToString::to_string).collect();
        let Some(snapshot) = loaded.snapshot else {
            self.keep_last_good(problems, source);
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
            let problem = format!(
                "{file}:1:1: error: the edit removes the last key, which would open the gateway to \
                 everyone; keep a key, or restart if that is meant"
            );
            self.keep_last_good(vec![problem], source);
            return loaded.stamps;
        }
        self.warn_of_what_needs_a_restart(&old.snapshot, &snapshot);
        let diff = config::diff(&old.snapshot, &snapshot);
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
        self.audit_reload(source, &old, &live, &diff);
        if let Err(error) = self.journal.retarget(&live.snapshot.request_log) {
            tracing::warn!(%error, "the request log keeps its file until a restart");
        }
        loaded.stamps
    }

    /// Writes down what came of an edit: what it changed, by name, and the pins it accepted.
    fn audit_reload(&self, source: Source, old: &Live, new: &Live, diff: &Diff) {
        let told =
            |live: &Live| json!({ "generation": live.generation, "hash": live.snapshot.hash });
        let mut after = told(new);
        let changes = serde_json::to_value(diff).unwrap_or_default();
        if let Some(after) = after.as_object_mut() {
            after.insert("changes".to_owned(), changes);
        }
        self.journal.audit(Act {
            before: Some(told(old)),
            after: Some(after),
            config_sha256: Some(new.snapshot.hash.clone()),
            ..Act::new("reload", source, self.path.display().to_string())
        });
        let (before, after) = (&old.snapshot.mcp, &new.snapshot.mcp);
        let pins = after.lock.changes(&before.lock);
        if !pins.is_empty() {
            self.journal.audit(Act {
                after: Some(json!(pins)),
                config_sha256: Some(new.snapshot.hash.clone()),
                ..Act::new("pins", source, after.lock_file.display().to_string())
            });
        }
    }

    fn keep_last_good(&self, problems: Vec<String>, source: Source) {
        for problem in &problems {
            tracing::error!("{problem}");
        }
        let live = self.gate.live();
        let generation = live.generation;
        tracing::Span::current().record("outcome", "refused");
        tracing::error!(generation, "the edit was refused; the last good configuration stays");
        self.journal.audit(Act {
            outcome: "refused",
            after: Some(json!({ "problems": problems })),
            config_sha256: Some(live.snapshot.hash.clone()),
            ..Act::new("reload", source, self.path.display().to_string())
        });
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
        if old.diagnostics.json_logs != new.diagnostics.json_logs
            || old.diagnostics.log_file != new.diagnostics.log_file
        {
            tracing::warn!("json_logs and log_file change with the next restart only");
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
