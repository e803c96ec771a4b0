//! What of the file system a child with `allowed_paths` may reach, held by the kernel (Landlock) for it and all its
//! descendants. <https://docs.kernel.org/userspace-api/landlock.html>
//!
//! Read, write and run: below `allowed_paths`, and in a directory for temporary files that the child has for itself.
//! Read and run only: the system's programs and libraries, what the program and its interpreter are installed with,
//! `cwd`, files that stand in `args` or `env`. A runner of packages (npx, uvx, …) has its own caches too. All else
//! cannot be opened, listed, made or removed, the gateway's memory and environment among it; programs gain no
//! privileges (no sudo). Not held: the network, sockets, `stat`, `chmod`; nothing at all without a supervisor.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::snapshot::McpCommand;

/// Programs and libraries, and what these look up. Of `/etc`, only what is no secret: configurations stand there too.
#[cfg(target_os = "linux")]
const SYSTEM: [&str; 45] = [
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr",
    "/nix/store",
    "/snap",
    "/proc",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/gitconfig",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/machine-id",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/shells",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/run/NetworkManager/resolv.conf",
    "/etc/pki/tls/openssl.cnf",
];

#[cfg(target_os = "linux")]
const DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Below the home directory: read by tools that fail where they may not.
const HOME: [&str; 2] = [".gitconfig", ".config/git/config"];

/// A runner of packages: what it runs them with, and what it writes and reads below the home directory.
struct Runner {
    names: &'static [&'static str],
    runs: &'static [&'static str],
    caches: &'static [&'static str],
    reads: &'static [&'static str],
}

const RUNNERS: [Runner; 5] = [
    Runner {
        names: &["npx", "npm"],
        runs: &["node"],
        caches: &[".npm", ".cache/node-gyp"],
        reads: &[".npmrc"],
    },
    Runner {
        names: &["pnpm", "pnpx"],
        runs: &["node"],
        caches: &[".cache/pnpm", ".local/share/pnpm", ".local/state/pnpm"],
        reads: &[".npmrc", ".config/pnpm"],
    },
    Runner {
        names: &["uvx", "uv"],
        runs: &["uv", "python3", "python"],
        caches: &[".cache/uv", ".local/share/uv"],
        reads: &[".config/uv"],
    },
    Runner {
        names: &["bunx", "bun"],
        runs: &["bun", "node"],
        caches: &[".bun"],
        reads: &[".npmrc", ".bunfig.toml"],
    },
    Runner { names: &["deno"], runs: &[], caches: &[".cache/deno", ".deno"], reads: &[] },
];

/// What one child may reach beyond the system's own programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sandbox {
    pub(super) read: Vec<PathBuf>,
    pub(super) write: Vec<PathBuf>,
    /// Written too, and made where they are missing, as their owner would.
    pub(super) caches: Vec<PathBuf>,
    /// It gets a directory for temporary files that is its own.
    pub(super) temporary: bool,
}

/// How much of it the kernel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Held {
    Whole,
    /// An older kernel knows fewer operations.
    Partly,
    Nothing,
}

impl Sandbox {
    /// `program`: its whole path. `path`: where it and its like are looked for.
    pub(super) fn new(
        program: &Path,
        command: &McpCommand,
        allowed: &[PathBuf],
        path: &OsStr,
        home: Option<&Path>,
    ) -> Self {
        let runner = runner(program);
        let mut programs = vec![program.to_owned()];
        programs.extend(interpreter(program, path));
        let runs = runner.map(|runner| runner.runs).unwrap_or_default();
        programs.extend(runs.iter().filter_map(|name| look_up(name, path)));
        let mut read = Vec::new();
        for program in programs {
            let target = program.canonicalize().ok();
            let places = [Some(program), target].into_iter().flatten();
            read.extend(places.map(|program| installation(&program, home)));
        }
        let directory = command.cwd.as_deref().unwrap_or(Path::new(""));
        read.extend(command.cwd.clone());
        let named = command.args.iter().chain(command.env.values());
        let named = named.map(|text| directory.join(text.expose()));
        read.extend(named.filter(|path| path.is_file()));
        let mut caches = Vec::new();
        if let Some(home) = home {
            read.extend(HOME.map(|file| home.join(file)));
            if let Some(runner) = runner {
                caches.extend(runner.caches.iter().map(|path| home.join(path)));
                read.extend(runner.reads.iter().map(|path| home.join(path)));
            }
        }
        read.sort();
        read.dedup();
        Self { read, write: allowed.to_vec(), caches, temporary: false }
    }

    /// Confines this process, which must have one thread, and all that come of it. For good.
    ///
    /// # Errors
    /// The kernel has Landlock, but it cannot be used.
    #[cfg(target_os = "linux")]
    pub(super) fn enter(&self) -> Result<Held, String> {
        use landlock::{
            ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
            path_beneath_rules,
        };
        use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
        // The newest set of operations on files that this was written for; older kernels hold what they know of it.
        let all = AccessFs::from_all(ABI::V5);
        let read = AccessFs::from_read(ABI::V5);
        let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
        // With these, root reads the memory of processes outside, and with it the gateway's environment.
        for capability in [CapabilitySet::PERFMON, CapabilitySet::SYS_ADMIN] {
            // Who may not drop it does not have it.
            let _not_root = remove_capability_from_bounding_set(capability);
        }
        for cache in &self.caches {
            // Where that fails, the runner says what it misses.
            let _may_exist = std::fs::create_dir_all(cache);
        }
        let status = Ruleset::default()
            .handle_access(all)
            .and_then(Ruleset::create)
            .and_then(|rules| rules.add_rules(path_beneath_rules(SYSTEM, read)))
            .and_then(|rules| rules.add_rules(path_beneath_rules(&self.read, read)))
            .and_then(|rules| rules.add_rules(path_beneath_rules(DEVICES, device)))
            .and_then(|rules| rules.add_rules(path_beneath_rules(&self.write, all)))
            .and_then(|rules| rules.add_rules(path_beneath_rules(&self.caches, all)))
            .and_then(|rules| rules.restrict_self())
            .map_err(|error| error.to_string())?;
        Ok(match status.ruleset {
            RulesetStatus::FullyEnforced => Held::Whole,
            RulesetStatus::PartiallyEnforced => Held::Partly,
            RulesetStatus::NotEnforced => Held::Nothing,
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn enter(&self) -> Result<Held, String> {
        Ok(Held::Nothing)
    }
}

/// Whether a program runs a package that is its first argument.
pub(super) fn is_runner(program: &Path) -> bool {
    runner(program).is_some()
}

fn runner(program: &Path) -> Option<&'static Runner> {
    let name = program.file_name()?.to_str()?;
    RUNNERS.iter().find(|runner| runner.names.contains(&name))
}

/// What a script names in its first line: `#!/usr/bin/python3`, `#!/usr/bin/env node`.
fn interpreter(program: &Path, path: &OsStr) -> Option<PathBuf> {
    let mut start = Vec::new();
    std::fs::File::open(program).ok()?.take(256).read_to_end(&mut start).ok()?;
    let line = String::from_utf8_lossy(start.strip_prefix(b"#!")?).into_owned();
    let mut words = line.lines().next()?.split_ascii_whitespace();
    let first = Path::new(words.next()?);
    if first.file_name()? == "env" {
        return look_up(words.find(|word| !word.starts_with('-'))?, path);
    }
    Some(first.to_owned())
}

fn look_up(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|place| place.join(name)).find(|program| program.is_file())
}

/// What belongs to a program: of `…/bin/program` what stands beside `bin`, else its directory. Where that would be the
/// home directory or what it lies in, less.
fn installation(program: &Path, home: Option<&Path>) -> PathBuf {
    let too_much = |path: &Path| {
        path.parent().is_none()
            || home.is_some_and(|home| home.starts_with(path) || path == home.join(".local"))
    };
    let Some(directory) = program.parent() else { return program.to_owned() };
    let is_bin = directory.file_name().is_some_and(|name| name == "bin" || name == "shims");
    let above = directory.parent().filter(|above| is_bin && !too_much(above));
    match above {
        Some(above) => above.to_owned(),
        None if too_much(directory) => program.to_owned(),
        None => directory.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::secret::Secret;

    #[track_caller]
    fn check(program: &str, expected: &str) {
        let home = Path::new("/home/me");
        assert_eq!(installation(Path::new(program), Some(home)), Path::new(expected));
    }

    #[test]
    fn a_program_may_read_what_it_is_installed_with() {
        check("/usr/bin/node", "/usr");
        check("/srv/app/.venv/bin/python", "/srv/app/.venv");
        check("/home/me/.pyenv/shims/python3", "/home/me/.pyenv");
        check("/srv/app/run", "/srv/app");
    }

    #[test]
    fn a_program_in_the_home_directory_does_not_open_it() {
        check("/home/me/bin/tool", "/home/me/bin");
        check("/home/me/tool", "/home/me/tool");
        check("/home/me/.local/bin/uvx", "/home/me/.local/bin");
        check("/bin/sh", "/bin");
        check("/home/bin/tool", "/home/bin");
        check("/tool", "/tool");
    }

    #[test]
    fn a_script_may_read_its_interpreter() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        let check = |line: &str, expected: Option<&str>| {
            std::fs::write(&script, line).unwrap();
            let found = interpreter(&script, OsStr::new("/nowhere:/bin"));
            assert_eq!(found.as_deref(), expected.map(Path::new), "{line}");
        };
        check("#!/opt/venv/bin/python -I\nprint(1)", Some("/opt/venv/bin/python"));
        check("#! /usr/bin/env -S sh -e\n", Some("/bin/sh"));
        check("#!/usr/bin/env nothing-here\n", None);
        check("\u{7f}ELF", None);
    }

    #[test]
    fn a_runner_of_packages_has_its_caches_and_arguments_that_are_files_are_read() {
        let command = McpCommand {
            args: ["-y", "/etc/passwd", "/etc"].map(Secret::new).into(),
            cwd: Some("/usr".into()),
            ..McpCommand::default()
        };
        let allowed = [PathBuf::from("/data")];
        let home = Path::new("/home/me");
        let new = |program| {
            Sandbox::new(Path::new(program), &command, &allowed, OsStr::new(""), Some(home))
        };
        let sandbox = new("/opt/bin/npx");
        assert_eq!(sandbox.write, allowed);
        assert!(sandbox.caches.contains(&home.join(".npm")), "{sandbox:?}");
        for path in ["/opt", "/usr", "/etc/passwd", "/home/me/.npmrc"] {
            assert!(sandbox.read.contains(&path.into()), "{path} in {sandbox:?}");
        }
        assert!(!sandbox.read.contains(&"/etc".into()));
        let other = new("/opt/bin/tool");
        assert!(other.caches.is_empty(), "{other:?}");
    }
}
