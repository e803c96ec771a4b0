//! A log file of bounded size: at 10 MiB it becomes `.1`, what was `.1` becomes `.2`, and the fifth is the last.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const MAX_BYTES: u64 = 10 * 1024 * 1024;
/// Files beside the one that is written.
const KEPT: u32 = 5;

/// An open file, and how large it is.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    most: u64,
}

impl RotatingFile {
    /// Opens the file, behind what is in it.
    ///
    /// # Errors
    /// It, or its directory, cannot be made.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::open_within(path, MAX_BYTES)
    }

    fn open_within(path: &Path, most: u64) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let file = append(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, most })
    }

    /// # Errors
    /// The file system refuses; the next line is tried anew.
    pub(super) fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let length = text.len() as u64;
        if self.bytes > 0 && self.bytes + length > self.most {
            // A file that cannot be moved grows on: better than no log.
            let _grows = self.rotate();
        }
        self.file.write_all(text)?;
        self.bytes += length;
        Ok(())
    }

    /// Another program has moved the file.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        self.bytes = self.file.metadata()?.len();
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            let from = self.numbered(number);
            if from.exists() {
                std::fs::rename(from, self.numbered(number + 1))?;
            }
        }
        std::fs::rename(&self.path, self.numbered(1))?;
        self.reopen()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn append(path: &Path) -> io::Result<File> {
    // Lines tell of keys' names and of addresses: nobody else's.
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_bounded_in_size_and_number() {
        let folder = tempfile::TempDir::new().expect("a directory");
        let path = folder.path().join("logs/tidegate.log");
        let mut file = RotatingFile::open_within(&path, 10).expect("open");
        for number in 10..20 {
            file.write(format!("{number} lines\n").as_bytes()).expect("written");
        }
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(read(&path), "19 lines\n");
        assert_eq!(read(&file.numbered(1)), "18 lines\n");
        assert_eq!(read(&file.numbered(5)), "14 lines\n");
        assert!(!file.numbered(6).exists());
        // As logrotate does.
        std::fs::rename(&path, folder.path().join("moved")).expect("moved");
        file.reopen().expect("open");
        file.write(b"new\n").expect("written");
        assert_eq!(read(&path), "new\n");
        drop(file);
        assert_eq!(RotatingFile::open(&path).expect("open").bytes, 4, "goes on behind it");
    }
}
