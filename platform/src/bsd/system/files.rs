//! Reports changes of files and directories, by kqueue(2).

use kqueue::{EventFilter, FilterFlag, Watcher};
use mio::Interest;
use mio::unix::SourceFd;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

/// Reports that something happened to files or directories.
pub struct FileWatch {
    watcher: Watcher,
    paths: Vec<PathBuf>,
}

impl FileWatch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// Those of `kqueue(2)`.
    pub fn new() -> io::Result<FileWatch> {
        Ok(FileWatch { watcher: Watcher::new()?, paths: Vec::new() })
    }

    /// Watches exactly these paths from now on; missing ones are skipped.
    ///
    /// # Errors
    /// Those of `kevent(2)`.
    pub fn set_paths(&mut self, paths: &[PathBuf]) -> io::Result<()> {
        for path in self.paths.drain(..) {
            // Fails if the file was deleted, which has ended its watch.
            let _ = self.watcher.remove_filename(&path, EventFilter::EVFILT_VNODE);
        }
        let flags = FilterFlag::NOTE_WRITE
            | FilterFlag::NOTE_EXTEND
            | FilterFlag::NOTE_ATTRIB
            | FilterFlag::NOTE_DELETE
            | FilterFlag::NOTE_RENAME
            | FilterFlag::NOTE_REVOKE;
        for path in paths {
            if self.watcher.add_filename(path, EventFilter::EVFILT_VNODE, flags).is_ok() {
                self.paths.push(path.clone());
            }
        }
        if self.paths.is_empty() { Ok(()) } else { self.watcher.watch() }
    }

    /// Whether anything happened since the last call; never blocks.
    pub fn take_changed(&mut self) -> io::Result<bool> {
        /// The kernel merges the events of a file, so more than this are rare.
        const MAX_EVENTS: usize = 256;
        let next = || self.watcher.poll(Some(Duration::ZERO));
        Ok(std::iter::from_fn(next).take(MAX_EVENTS).count() > 0)
    }
}

impl fmt::Debug for FileWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWatch").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl_source!(FileWatch, |watch| SourceFd(&watch.watcher.as_raw_fd()), Interest::READABLE);
