//! Changes of files, detected by comparing their metadata in intervals.

use crate::portable::interval_timer::IntervalTimer;
use mio::Interest;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The maximum delay after an operator has saved a file.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Inode, size and time of the last change.
type Fingerprint = Option<(u64, u64, i64, i64)>;

/// Reports that something happened to files or directories.
#[derive(Debug)]
pub struct FileWatch {
    paths: Arc<Mutex<Vec<(PathBuf, Fingerprint)>>>,
    timer: IntervalTimer,
}

impl FileWatch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new() -> io::Result<FileWatch> {
        let paths = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&paths);
        Ok(FileWatch { paths, timer: IntervalTimer::start(CHECK_INTERVAL, move || has_changed(&shared))? })
    }

    /// Watches exactly these paths from now on; missing ones are reported when they are created.
    ///
    /// # Errors
    /// None.
    pub fn set_paths(&mut self, paths: &[PathBuf]) -> io::Result<()> {
        let watched = paths.iter().map(|path| (path.clone(), fingerprint(path))).collect();
        *self.paths.lock().unwrap_or_else(PoisonError::into_inner) = watched;
        Ok(())
    }

    /// Whether anything happened since the last call; never blocks.
    ///
    /// # Errors
    /// None.
    pub fn take_changed(&mut self) -> io::Result<bool> {
        Ok(self.timer.take_ready())
    }
}

impl_source!(FileWatch, |watch| watch.timer, Interest::READABLE);

/// Whether any file has changed since the last call.
fn has_changed(paths: &Mutex<Vec<(PathBuf, Fingerprint)>>) -> bool {
    let before = paths.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // Without the lock: reading the metadata may take for ever on dead storage.
    let now: Vec<_> = before.iter().map(|(path, _)| (path.clone(), fingerprint(path))).collect();
    let changed = now != before;
    let mut paths = paths.lock().unwrap_or_else(PoisonError::into_inner);
    if changed && *paths == before {
        *paths = now;
    }
    changed
}

fn fingerprint(path: &Path) -> Fingerprint {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};

    #[test]
    fn changes_are_reported_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("msm-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, later) = (folder.join("a"), folder.join("b"));
        fs::write(&file, "1").unwrap();
        let mut poll = Poll::new().unwrap();
        let mut watch = FileWatch::new().unwrap();
        poll.registry().register(&mut watch, Token(0), Interest::READABLE).unwrap();
        watch.set_paths(&[file.clone(), later.clone()]).unwrap();
        let mut events = Events::with_capacity(4);
        let mut is_reported = |limit| {
            poll.poll(&mut events, Some(limit)).unwrap();
            watch.take_changed().unwrap()
        };
        assert!(!is_reported(2 * CHECK_INTERVAL), "nothing happened");
        fs::write(&file, "22").unwrap();
        assert!(is_reported(20 * CHECK_INTERVAL), "it was written");
        fs::write(&later, "").unwrap();
        assert!(is_reported(20 * CHECK_INTERVAL), "it was created");
        fs::remove_file(&file).unwrap();
        assert!(is_reported(20 * CHECK_INTERVAL), "it was removed");
        fs::remove_dir_all(&folder).unwrap();
    }
}
