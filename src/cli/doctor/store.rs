//! The request log: the file, the disk below it, and the database.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Report;
use super::files::quoted;
use crate::config::snapshot::RequestLog;
use crate::journal::examine;

const MIB: u64 = 1024 * 1024;
/// Less free space than this is little.
const FREE_MIB: u64 = 1024;
/// Rows that wait: more are a sign that the database has been away.
const MANY_WAITING: u64 = 10_000;
/// Seconds between the clocks.
const CLOCK: f64 = 2.0;

pub(super) async fn look(settings: &RequestLog, live: bool, report: &mut Report) {
    if settings.disabled {
        report.note("spool", "no rows are written: `disable_spend_logs`");
    } else {
        file(settings, report);
        disk(&settings.path, report);
    }
    if live {
        database(settings, report).await;
    }
}

fn file(settings: &RequestLog, report: &mut Report) {
    let shown = settings.path.display();
    let Some(state) = examine::file(&settings.path) else {
        return report.note("spool", format!("{shown} is not there yet"));
    };
    if let Some(error) = &state.error {
        let fix = "see who owns it; the gateway moves a damaged file aside at its next start";
        return report.fail("spool", format!("{shown} cannot be read: {error}"), fix);
    }
    let rows = state.rows.unwrap_or(0);
    let size = state.bytes / MIB;
    let (taken, known) = state.schema;
    if examine::is_foreign(taken, known) {
        let text = format!(
            "{shown} was written by a newer release (schema {taken}, this one knows {known})"
        );
        report.fail("spool", text, "run that release, or set another `request_log.path`");
    }
    if state.dead_letters > 0 {
        let text = format!(
            "{} rows were refused by PostgreSQL and are kept in {shown}",
            state.dead_letters
        );
        let fix = format!(
            "sqlite3 -readonly {} 'SELECT reason, entry FROM dead_letters'",
            quoted(&settings.path)
        );
        report.warn("spool", text, fix);
    }
    let waits = settings.database_url.is_some();
    let oldest =
        state.oldest.map(|oldest| format!(", the oldest of {oldest:.0}")).unwrap_or_default();
    let text = format!("{shown}: {rows} rows in {size} MiB{oldest}");
    if waits && rows > MANY_WAITING {
        report.warn("spool", format!("{text}, waiting for PostgreSQL"), "tidegate doctor --live");
    } else {
        report.ok("spool", text);
    }
    if let Ok(found) = std::fs::metadata(&settings.path) {
        let mode = found.mode() & 0o777;
        if mode & 0o004 != 0 && settings.store_prompts {
            let text = format!(
                "{shown} holds what was said and can be read by everybody (mode {mode:03o})"
            );
            report.fail("files", text, format!("chmod o= {}", quoted(&settings.path)));
        }
    }
}

fn disk(path: &Path, report: &mut Report) {
    // The nearest folder that is there: the others are made at the start.
    let folder = path.ancestors().skip(1).find(|folder| folder.is_dir());
    let folder = folder.unwrap_or(Path::new("."));
    let Ok(space) = rustix::fs::statvfs(folder) else { return };
    let free = space.f_bavail.saturating_mul(space.f_frsize) / MIB;
    let text = format!("{free} MiB free below {}", folder.display());
    if free < FREE_MIB {
        report.warn(
            "disk",
            text,
            "make room: on a full disk rows wait in memory, and then are lost",
        );
    } else {
        report.ok("disk", text);
    }
    let is_writable = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok();
    if !is_writable {
        let text = format!("{} cannot be written by this user", folder.display());
        report.fail("spool", text, format!("chown $(id -u) {}", quoted(folder)));
    }
}

async fn database(settings: &RequestLog, report: &mut Report) {
    let about = "database";
    let state = match examine::server(settings).await {
        Ok(None) => return report.note(about, "there is none: the SQLite file is the store"),
        Ok(Some(state)) => state,
        Err(error) => {
            let fix = "see `database_url`, the server, and who may log in (pg_hba.conf)";
            return report.fail(about, error.to_string(), fix);
        }
    };
    let (there, known) = state.schema;
    report.ok(about, format!("PostgreSQL {}, schema step {there} of {known}", state.version));
    if examine::is_foreign(there, known) {
        let text = format!(
            "a newer release has changed the schema (step {there}, this one knows {known})"
        );
        report.fail(about, text, "run that release");
    }
    for lacking in &state.lacking {
        let fix = "GRANT CREATE ON DATABASE …, or have the schema's owner grant it";
        report.fail(about, format!("the role lacks a right: {lacking}"), fix);
    }
    if there > 0 && !state.missing_partitions.is_empty() {
        let text = format!("partitions are missing: {}", state.missing_partitions.join(", "));
        report.warn(about, text, "the gateway makes them at its start and hourly; see its log");
    }
    if state.clock_ahead.abs() > CLOCK {
        let text =
            format!("the database's clock is {:+.1} s from this machine's", state.clock_ahead);
        report.warn("clock", text, "set both by NTP");
    }
}
