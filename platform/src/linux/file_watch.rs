//! Reports changes of files and directories, by inotify(7).

use inotify::{Inotify, WatchDescriptor, WatchMask};
use mio::Interest;
use mio::unix::SourceFd;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Room for a few dozen events.
const BUFFER_SIZE: usize = 4096;
/// Maximum number of reads per call: files that change constantly are reported again later.
const MAX_READS: usize = 64;

/// Watches files and directories, and reports that something happened, but not what. Setting the paths walks them,
/// which may hang on dead storage: call it only in a thread that may hang.
#[derive(Debug)]
pub struct FileWatch {
    inotify: Inotify,
    watched: Vec<WatchDescriptor>,
}

impl FileWatch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// `EMFILE`: too many inotify instances of the user (`fs.inotify.max_user_instances`) or descriptors of the process.
    pub fn new() -> io::Result<FileWatch> {
        Ok(FileWatch { inotify: Inotify::init()?, watched: Vec::new() })
    }

    /// Watches exactly these paths from now on; missing ones are skipped.
    ///
    /// # Errors
    /// `ENOSPC`: too many watches of the user (`fs.inotify.max_user_watches`). The other paths are watched.
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
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => result = Err(error),
            }
        }
        // Removed last: an old and a new path may name the same file, which has one watch.
        for old in std::mem::replace(&mut self.watched, watched) {
            if !self.watched.contains(&old) {
                let _ = self.inotify.watches().remove(old); // fails if the file was deleted, and its watch with it
            }
        }
        result
    }

    /// Whether anything happened since the last call; never blocks.
    ///
    /// # Errors
    /// Those of `read(2)`.
    pub fn take_changed(&mut self) -> io::Result<bool> {
        let mut buffer = [0; BUFFER_SIZE];
        for round in 0..MAX_READS {
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

impl_source!(FileWatch, |watch| SourceFd(&watch.inotify.as_raw_fd()), Interest::READABLE);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_changes_of_the_watched_paths_are_reported() {
        let directory = std::env::temp_dir().join(format!("file-watch-{}", std::process::id()));
        fs::create_dir_all(directory.join("sub")).unwrap();
        let file = directory.join("file");
        fs::write(&file, "1").unwrap();
        let mut watch = FileWatch::new().unwrap();
        let paths = [directory.clone(), file.clone(), "/no/such/file".into(), file.join("below")];
        watch.set_paths(&paths).unwrap();
        assert!(!watch.take_changed().unwrap());
        fs::write(&file, "2").unwrap();
        assert!(watch.take_changed().unwrap());
        assert!(!watch.take_changed().unwrap());
        fs::write(directory.join("new"), "").unwrap();
        fs::rename(directory.join("new"), &file).unwrap();
        assert!(watch.take_changed().unwrap(), "an editor that renames");
        watch.set_paths(&[directory.join("sub")]).unwrap();
        watch.take_changed().unwrap(); // the removed watch of the replaced file is reported
        fs::write(&file, "3").unwrap();
        assert!(!watch.take_changed().unwrap());
        fs::write(directory.join("sub/file"), "").unwrap();
        assert!(watch.take_changed().unwrap());
        fs::remove_dir_all(directory).unwrap();
    }
}
