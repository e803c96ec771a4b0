//! What of the file system a child with `allowed_paths` may reach, held by the kernel (Landlock) for it and all its
//! descendants. <https://docs.kernel.org/userspace-api/landlock.html>
//!
//! Read, write and run: below `allowed_paths`, and in a directory for temporary files that the child has for itself.
//! Read and run only: the system's programs and libraries, the place the program is installed at, `cwd`, files that
//! are arguments. A runner of packages (npx, uvx, …) has its own caches too. All else cannot be opened, listed, made
//! or removed, the gateway's memory and environment among it. Not held: the network, sockets, `stat`, `chmod`.

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

/// Runners of packages: what they write below the home directory, and what they read.
const RUNNERS: [(&[&str], &[&str], &[&str]); 5] = [
    (&["npx", "npm"], &[".npm", ".cache/node-gyp"], &[".npmrc"]),
    (
        &["pnpm", "pnpx"],
        &[".cache/pnpm", ".local/share/pnpm", ".local/state/pnpm"],
        &[".npmrc", ".config/pnpm"],
    ),
    (&["uvx", "uv"], &[".cache/uv", ".local/share/uv"], &[".config/uv"]),
    (&["bunx", "bun"], &[".bun"], &[".npmrc", ".bunfig.toml"]),
    (&["deno"], &[".cache/deno", ".deno"], &[]),
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
    /// `program`: its whole path.
    pub(super) fn new(
        program: &Path,
        command: &McpCommand,
        allowed: &[PathBuf],
        home: Option<&Path>,
    ) -> Self {
        let mut read = Vec::new();
        let target = program.canonicalize().ok();
        for file in [Some(program), target.as_deref()].into_iter().flatten() {
            read.push(installation(file, home));
        }
        let directory = command.cwd.as_deref().unwrap_or(Path::new(""));
        read.extend(command.cwd.clone());
        let arguments = command.args.iter().map(|argument| directory.join(argument.expose()));
        read.extend(arguments.filter(|path| path.is_file()));
        let mut caches = Vec::new();
        if let Some(home) = home {
            read.extend(HOME.map(|file| home.join(file)));
            let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            for (_, written, read_only) in RUNNERS.iter().filter(|row| row.0.contains(&name)) {
                caches.extend(written.iter().map(|path| home.join(path)));
                read.extend(read_only.iter().map(|path| home.join(path)));
            }
        }
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
        // The newest set of operations on files that this was written for; older kernels hold what they know of it.
        let all = AccessFs::from_all(ABI::V5);
        let read = AccessFs::from_read(ABI::V5);
        let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
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
    fn a_runner_of_packages_has_its_caches_and_arguments_that_are_files_are_read() {
        let command = McpCommand {
            args: ["-y", "/etc/passwd", "/etc"].map(Secret::new).into(),
            cwd: Some("/usr".into()),
            ..McpCommand::default()
        };
        let allowed = [PathBuf::from("/data")];
        let home = Path::new("/home/me");
        let sandbox = Sandbox::new(Path::new("/opt/bin/npx"), &command, &allowed, Some(home));
        assert_eq!(sandbox.write, allowed);
        assert!(sandbox.caches.contains(&home.join(".npm")), "{sandbox:?}");
        for path in ["/opt", "/usr", "/etc/passwd", "/home/me/.npmrc"] {
            assert!(sandbox.read.contains(&path.into()), "{path} in {sandbox:?}");
        }
        assert!(!sandbox.read.contains(&"/etc".into()));
        let other = Sandbox::new(Path::new("/opt/bin/tool"), &command, &allowed, Some(home));
        assert_eq!(other.caches, [PathBuf::new(); 0]);
    }
}
