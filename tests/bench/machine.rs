//! What the kernel says: CPU time and memory of a process tree, and the machine's own description.
//! It must not know what is being measured.

use std::fs;
use std::process::Command;
use std::time::Duration;

/// Linux reports process times in hundredths of a second on every architecture (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// A process and its children, as they were when the value was made.
pub(crate) struct Tree(Vec<u32>);

impl Tree {
    pub(crate) fn of(root: u32) -> Self {
        let mut found = vec![root];
        let parents: Vec<(u32, u32)> = all_processes();
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            next += 1;
        }
        Self(found)
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> Duration {
        let ticks: u32 = self.0.iter().filter_map(|pid| ticks(*pid)).sum();
        TICK * ticks
    }

    /// The sum of `VmRSS` (or another such field of `/proc/PID/status`), in MiB.
    pub(crate) fn memory(&self, field: &str) -> f64 {
        let kib: f64 = self.0.iter().filter_map(|pid| status(*pid, field)).sum();
        kib / 1024.0
    }
}

/// The fields of `/proc/PID/stat` after the program's name, which may itself hold spaces.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn ticks(pid: u32) -> Option<u32> {
    let fields = stat(pid)?;
    let field = |index: usize| fields.get(index).and_then(|text| text.parse::<u32>().ok());
    Some(field(11)? + field(12)?)
}

fn status(pid: u32, field: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Every process with its parent.
fn all_processes() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?.get(1)?.parse().ok()?))).collect()
}

/// One line about the machine: cores, CPU, memory, kernel.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let memory: f64 = field("/proc/meminfo", "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .map_or(0.0, |kib: f64| kib / 1024.0 / 1024.0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    format!(
        "{cores} cores ({}), {memory:.0} GiB, {}, Linux {}",
        field("/proc/cpuinfo", "model name"),
        system.unwrap_or("unknown system").trim_matches('"'),
        kernel.trim()
    )
}

/// The first line that a program prints about its version, on either stream.
pub(crate) fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}
