//! MCP servers that are child processes: whether they could be started.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Report;
use crate::cli::admin::variable;
use crate::config::snapshot::{McpTransport, Snapshot};

const ABOUT: &str = "mcp";

pub(super) fn look(snapshot: &Snapshot, report: &mut Report) {
    let path = variable("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for server in snapshot.mcp_servers.values() {
        let McpTransport::Stdio(command) = &server.transport else { continue };
        let name = server.display_name();
        let program = Path::new(&command.program);
        let found = if command.program.contains('/') {
            let base = command.cwd.as_deref().unwrap_or(Path::new(""));
            Some(base.join(program)).filter(|path| is_executable(path))
        } else {
            folders.iter().map(|folder| folder.join(program)).find(|path| is_executable(path))
        };
        match found {
            Some(path) => report.ok(ABOUT, format!("{name}: {}", path.display())),
            None => {
                let text = format!("{name}: there is no program `{}`", command.program);
                let fix = if command.program.contains('/') {
                    "correct `command`, or chmod +x the file"
                } else {
                    "install it, write its whole path into `command`, or add its folder to PATH"
                };
                report.fail(ABOUT, text, fix);
            }
        }
        let folders = command.cwd.iter().chain(&server.allowed_paths);
        for folder in folders.filter(|folder| !folder.is_dir()) {
            let text = format!("{name}: there is no folder {}", folder.display());
            report.fail(ABOUT, text, format!("mkdir -p {}", super::files::quoted(folder)));
        }
    }
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
