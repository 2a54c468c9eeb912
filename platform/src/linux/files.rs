//! Tells that files or directories changed, by inotify(7).

use inotify::{Inotify, WatchDescriptor, WatchMask};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event::Source};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Room for events: some dozens at once. What does not fit is read in the next round.
const BUFFER: usize = 4096;
/// Rounds of reading in one go: who changes files without end is looked at again later.
const MAX_ROUNDS: usize = 64;

/// A watch over files and directories, which tells that something happened, not what. Setting it walks paths, which
/// may hang where they lie on dead storage: it belongs in a thread that may.
#[derive(Debug)]
pub struct FileWatch {
    inotify: Inotify,
    watched: Vec<WatchDescriptor>,
}

impl FileWatch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// `EMFILE`: the user has too many inotify instances (`fs.inotify.max_user_instances`), or the process too many
    /// descriptors.
    pub fn new() -> io::Result<FileWatch> {
        Ok(FileWatch { inotify: Inotify::init()?, watched: Vec::new() })
    }

    /// From now on watches exactly these. What does not exist is passed over.
    ///
    /// # Errors
    /// `ENOSPC`: the user has too many watches (`fs.inotify.max_user_watches`). What could be watched is.
    pub fn set_paths(&mut self, paths: &[PathBuf]) -> io::Result<()> {
        let mask = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE
            | WatchMask::MOVE_SELF
            | WatchMask::CLOSE_WRITE
            | WatchMask::MODIFY
            | WatchMask::ATTRIB;
        let mut result = Ok(());
        let mut watched = Vec::with_capacity(paths.len());
        for path in paths {
            match self.inotify.watches().add(path, mask) {
                Ok(watch) => watched.push(watch),
                Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    result = Err(error);
                }
                Err(_) => {}
            }
        }
        // Only now: two paths, or the old and the new, may be one file, which has one watch.
        for old in std::mem::replace(&mut self.watched, watched) {
            if !self.watched.contains(&old) {
                let _ = self.inotify.watches().remove(old); // a file that is gone took its watch with it
            }
        }
        result
    }

    /// Has anything happened since this was last asked? Never waits.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn take_changed(&mut self) -> io::Result<bool> {
        let mut buffer = [0; BUFFER];
        for round in 0..MAX_ROUNDS {
            match self.inotify.read_events(&mut buffer).map(Iterator::count) {
                Ok(0) => return Ok(round > 0),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(round > 0),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Source for FileWatch {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.inotify.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.inotify.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.inotify.as_raw_fd()).deregister(registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn changes_are_told_and_what_is_no_longer_watched_is_not() {
        let directory = std::env::temp_dir().join(format!("file-watch-{}", std::process::id()));
        fs::create_dir_all(directory.join("sub")).unwrap();
        let file = directory.join("file");
        fs::write(&file, "1").unwrap();
        let mut watch = FileWatch::new().unwrap();
        watch
            .set_paths(&[directory.clone(), file.clone(), "/no/such/file".into(), file.join("below")])
            .unwrap();
        assert!(!watch.take_changed().unwrap());
        fs::write(&file, "2").unwrap();
        assert!(watch.take_changed().unwrap());
        assert!(!watch.take_changed().unwrap());
        fs::write(directory.join("new"), "").unwrap();
        fs::rename(directory.join("new"), &file).unwrap();
        assert!(watch.take_changed().unwrap(), "an editor that renames");
        watch.set_paths(&[directory.join("sub")]).unwrap();
        watch.take_changed().unwrap(); // the watch over the file that was replaced says so
        fs::write(&file, "3").unwrap();
        assert!(!watch.take_changed().unwrap());
        fs::write(directory.join("sub/file"), "").unwrap();
        assert!(watch.take_changed().unwrap());
        fs::remove_dir_all(directory).unwrap();
    }
}
