//! What the kernel says of this process, under the names that Prometheus' own libraries give it. Where there is no `/proc`
//! nothing is said.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use rustix::process::{Resource, getrlimit};

use crate::ground::series::{counter, gauge};

/// Writes what is known.
///
/// # Errors
/// The page refuses.
pub fn encode(page: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
    if let Some(stat) = read("stat").as_deref().and_then(Stat::read) {
        let ticks = rustix::param::clock_ticks_per_second().max(1) as f64;
        let resident = stat.resident_pages.saturating_mul(rustix::param::page_size() as u64);
        counter(page, "process_cpu_seconds", "Processor time used", stat.ticks as f64 / ticks)?;
        gauge(page, "process_resident_memory_bytes", "Memory in use", resident)?;
        gauge(page, "process_virtual_memory_bytes", "Address space in use", stat.virtual_bytes)?;
        gauge(page, "process_threads", "Threads", stat.threads)?;
        let booted = std::fs::read_to_string("/proc/stat").ok();
        if let Some(booted) = booted.as_deref().and_then(boot_time) {
            let started = booted as f64 + stat.started_ticks as f64 / ticks;
            let help = "Start of the process, in seconds since 1970";
            gauge(page, "process_start_time_seconds", help, started)?;
        }
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the directory itself.
        let open = files.count().saturating_sub(1) as u64;
        gauge(page, "process_open_fds", "Open files", open)?;
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        gauge(page, "process_max_fds", "Most open files", most)?;
    }
    Ok(())
}

/// Of `proc(5)`'s `/proc/pid/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    /// User and system time.
    ticks: u64,
    threads: u64,
    /// After boot.
    started_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn read(text: &str) -> Option<Self> {
        // The name of the program, in brackets, may hold brackets and spaces.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // `proc(5)` counts from 1, and two stand before what is left.
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        Some(Self {
            ticks: field(14)?.saturating_add(field(15)?),
            threads: field(20)?,
            started_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_moves_no_field() {
        let text =
            "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 0 0 20 0 9 0 500 4096 3 18446744073709551615";
        let expected = Stat {
            ticks: 23,
            threads: 9,
            started_ticks: 500,
            virtual_bytes: 4096,
            resident_pages: 3,
        };
        assert_eq!(Stat::read(text), Some(expected));
        assert_eq!(Stat::read("7 (a"), None);
        assert_eq!(boot_time("cpu 1\nbtime 12\n"), Some(12));
    }
}
