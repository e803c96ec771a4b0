//! The lock file on disk: `mcp.lock`, which holds what was accepted of tools.

use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::wire::mcp::lock::Lock;

/// Reads the lock file; one that is not there is empty.
///
/// # Errors
/// It cannot be read, or is none; in words, with its path.
pub fn read(path: &Path) -> Result<Lock, String> {
    let say = |error: String| format!("{}: {error}", path.display());
    match std::fs::read_to_string(path) {
        Ok(text) => Lock::read(&text).map_err(say),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Lock::default()),
        Err(error) => Err(say(error.to_string())),
    }
}

/// Writes the lock file: whole, or not at all.
///
/// # Errors
/// It cannot be written; in words, with its path.
pub fn write(path: &Path, lock: &Lock) -> Result<(), String> {
    let say = |error: std::io::Error| format!("{}: {error}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(say)?;
    file.write_all(lock.write().as_bytes()).map_err(say)?;
    file.persist(path).map_err(|error| say(error.error))?;
    Ok(())
}
