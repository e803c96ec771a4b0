//! What the system allows and how it tells of edits: open files, the clock, the file system below the configuration.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;
use rustix::process::{Resource, getrlimit};

use super::Report;

/// Fewer open files than this are few for a server.
const FILES: u64 = 4_096;
/// File systems from which no events come when another machine, or the host, writes.
const SILENT: [&str; 11] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "virtiofs",
    "fuse",
    "fakeowner",
    "vboxsf",
    "prl_fs",
    "drvfs",
];
/// When this was written: a clock that shows an earlier time is wrong.
const BUILT_AFTER: &str = "2026-01-01T00:00:00Z";

pub(super) fn look(config: &Path, report: &mut Report) {
    open_files(report);
    clock(config, report);
    events(config, report);
}

fn open_files(report: &mut Report) {
    let limit = getrlimit(Resource::Nofile);
    let shown = |limit: Option<u64>| limit.map_or("no limit".to_owned(), |limit| limit.to_string());
    let (current, most) = (shown(limit.current), shown(limit.maximum));
    if limit.maximum.is_some_and(|most| most < FILES) {
        let text = format!(
            "{most} open files at the most: enough for {} connections of clients",
            limit.maximum.unwrap_or(0).saturating_sub(64) / 2
        );
        let fix =
            "ulimit -Hn 65536, or LimitNOFILE=65536 (systemd), ulimits.nofile: 65536 (compose)";
        report.warn("ulimit", text, fix);
    } else {
        report.ok("ulimit", format!("open files: {current}, can be raised to {most}"));
    }
}

fn clock(config: &Path, report: &mut Report) {
    let now = Timestamp::now();
    let fix = "set the clock: timedatectl set-ntp true";
    let too_early = BUILT_AFTER.parse::<Timestamp>().is_ok_and(|built| now < built);
    let edited = std::fs::metadata(config).ok().and_then(|file| file.modified().ok());
    let edited = edited.and_then(|time| Timestamp::try_from(time).ok());
    let ahead = edited.filter(|edited| edited.as_second() > now.as_second() + 60);
    if too_early {
        report.fail("clock", format!("it shows {now:.0}"), fix);
    } else if let Some(edited) = ahead {
        let text = format!("it shows {now:.0}, and the configuration was written at {edited:.0}");
        report.warn("clock", text, fix);
    } else {
        report.ok("clock", format!("{now:.0}"));
    }
}

/// Whether edits are seen by events, or by the look every few seconds.
fn events(config: &Path, report: &mut Report) {
    let Ok(path) = config.canonicalize() else { return };
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below = mount_of(&mounts, folder);
    let polled = "edits are seen by the look every 3 seconds";
    // A file that is mounted by itself has another file system, or its own line among the mounts.
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    let is_mounted_alone = mount_of(&mounts, &path)
        .is_some_and(|(point, _)| Path::new(&point) == path)
        || device(&path) != device(folder);
    let watches = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok();
    let instances = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").ok();
    let few = [watches, instances]
        .into_iter()
        .flatten()
        .any(|text| text.trim().parse::<u64>().is_ok_and(|number| number < 16));
    match below {
        _ if is_mounted_alone => {
            let text =
                format!("{} is mounted as a single file: no events come, {polled}", path.display());
            report.note("events", text);
        }
        Some((_, kind))
            if SILENT.iter().any(|silent| kind == *silent || kind.starts_with("fuse.")) =>
        {
            let text = format!("{} is on {kind}: no events may come, {polled}", folder.display());
            report.note("events", text);
        }
        _ if few => report.warn(
            "events",
            format!("inotify allows this user hardly any watches; {polled}"),
            "sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=65536",
        ),
        Some((_, kind)) => report.ok("events", format!("{} is on {kind}", folder.display())),
        None => {}
    }
}

/// The mount that a path is on, from `/proc/self/mountinfo`: its point and its kind.
fn mount_of(mounts: &str, path: &Path) -> Option<(String, String)> {
    let mut found: Option<(String, String)> = None;
    for line in mounts.lines() {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?.replace("\\040", " ");
        let kind = after.split(' ').next()?.to_owned();
        let is_longer = found.as_ref().is_none_or(|(known, _)| point.len() >= known.len());
        if path.starts_with(&point) && is_longer {
            found = Some((point, kind));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_counts() {
        let mounts = "\
22 1 0:20 / / rw - overlay overlay rw
23 22 0:21 / /etc/tidegate rw - nfs4 host:/x rw
24 23 0:22 / /etc/tidegate/config.yaml rw - ext4 /dev/sda rw
25 22 0:23 / /with\\040blank rw - 9p host rw
";
        let kind = |path: &str| mount_of(mounts, Path::new(path)).unwrap().1;
        assert_eq!(kind("/etc/passwd"), "overlay");
        assert_eq!(kind("/etc/tidegate/keys.yaml"), "nfs4");
        assert_eq!(kind("/etc/tidegate/config.yaml"), "ext4");
        assert_eq!(kind("/with blank/x"), "9p");
    }
}
