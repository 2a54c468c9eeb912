//! Changes of files, by kqueue.

use kqueue::{EventFilter, FilterFlag, Watcher};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event::Source};
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

/// Tells that something happened to files or directories; a mio source.
pub struct FileWatch {
    watcher: Watcher,
    paths: Vec<PathBuf>,
}

impl FileWatch {
    /// Watches nothing so far.
    ///
    /// # Errors
    /// Those of `kqueue(2)`.
    pub fn new() -> io::Result<FileWatch> {
        Ok(FileWatch { watcher: Watcher::new()?, paths: Vec::new() })
    }

    /// From now on exactly these, files and directories; what does not exist is passed over.
    ///
    /// # Errors
    /// Those of `kevent(2)`.
    pub fn set_paths(&mut self, paths: &[PathBuf]) -> io::Result<()> {
        for path in self.paths.drain(..) {
            // What is gone is watched no more in any case.
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

    /// Did anything happen since the last call? Never waits.
    ///
    /// # Errors
    /// None here.
    pub fn take_changed(&mut self) -> io::Result<bool> {
        /// More than one for each file is rare: the kernel merges them.
        const MOST_EVENTS: usize = 256;
        let next = || self.watcher.poll(Some(Duration::ZERO));
        Ok(std::iter::from_fn(next).take(MOST_EVENTS).count() > 0)
    }
}

impl fmt::Debug for FileWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWatch").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Source for FileWatch {
    fn register(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        SourceFd(&self.watcher.as_raw_fd()).register(registry, token, Interest::READABLE)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        SourceFd(&self.watcher.as_raw_fd()).reregister(registry, token, Interest::READABLE)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.watcher.as_raw_fd()).deregister(registry)
    }
}
