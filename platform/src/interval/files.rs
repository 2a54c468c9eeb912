//! Changes of files, found by looking.

use crate::portable::ticker::Ticker;
use mio::{Interest, Registry, Token, event::Source};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often to look: an operator who saves a file waits no longer than this.
const LOOK: Duration = Duration::from_secs(1);

/// What tells one state of a file from another: inode, size, and when it was changed.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Tells that something happened to files or directories; a mio source.
#[derive(Debug)]
pub struct FileWatch {
    paths: Arc<Mutex<Vec<(PathBuf, Stamp)>>>,
    ticker: Ticker,
}

impl FileWatch {
    /// Watches nothing so far.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new() -> io::Result<FileWatch> {
        let paths = Arc::new(Mutex::new(Vec::new()));
        let looked_at = Arc::clone(&paths);
        Ok(FileWatch { paths, ticker: Ticker::start(LOOK, move || look(&looked_at))? })
    }

    /// From now on exactly these, files and directories; what does not exist is watched for coming into being.
    ///
    /// # Errors
    /// None here.
    pub fn set_paths(&mut self, paths: &[PathBuf]) -> io::Result<()> {
        let stamped = paths.iter().map(|path| (path.clone(), stamp(path))).collect();
        *self.paths.lock().unwrap_or_else(PoisonError::into_inner) = stamped;
        Ok(())
    }

    /// Did anything happen since the last call? Never waits.
    ///
    /// # Errors
    /// None here.
    pub fn take_changed(&mut self) -> io::Result<bool> {
        Ok(self.ticker.take())
    }
}

impl Source for FileWatch {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.ticker.register(registry, token, interest)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.ticker.reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.ticker.deregister(registry)
    }
}

/// Has any changed since it was looked at last?
fn look(paths: &Mutex<Vec<(PathBuf, Stamp)>>) -> bool {
    let before = paths.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // Without the lock: a file may lie where looking takes for ever, and nobody is to wait for that.
    let now: Vec<_> = before.iter().map(|(path, _)| (path.clone(), stamp(path))).collect();
    let changed = now != before;
    let mut paths = paths.lock().unwrap_or_else(PoisonError::into_inner);
    if changed && *paths == before {
        *paths = now;
    }
    changed
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};

    #[test]
    fn a_change_is_told_and_rest_is_not() {
        let folder = std::env::temp_dir().join(format!("msm-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, later) = (folder.join("a"), folder.join("b"));
        fs::write(&file, "1").unwrap();
        let mut poll = Poll::new().unwrap();
        let mut watch = FileWatch::new().unwrap();
        poll.registry().register(&mut watch, Token(0), Interest::READABLE).unwrap();
        watch.set_paths(&[file.clone(), later.clone()]).unwrap();
        let mut events = Events::with_capacity(4);
        let mut told = |limit| {
            poll.poll(&mut events, Some(limit)).unwrap();
            watch.take_changed().unwrap()
        };
        assert!(!told(2 * LOOK), "nothing happened");
        fs::write(&file, "22").unwrap();
        assert!(told(20 * LOOK), "it was written");
        fs::write(&later, "").unwrap();
        assert!(told(20 * LOOK), "it was made");
        fs::remove_file(&file).unwrap();
        assert!(told(20 * LOOK), "it was removed");
        fs::remove_dir_all(&folder).unwrap();
    }
}
