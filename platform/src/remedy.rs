//! What changes a dead mount, as far as the system can, and the lock that permits one action at a time.

pub use crate::system::remedy::{
    ChangeWindow, FUSE_CONNECTIONS, IS_SUPPORTED, NFS_SUPERBLOCKS, PinnedMount, Placeholder, PrivatePlace,
    WindowChanges, continue_fuse_server, missing_capabilities, move_in, moves_beneath, refused_calls,
};

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

/// A lock (flock(2)), held until it is dropped and each process that was passed its descriptor has ended: one that
/// cannot be killed keeps it, also after the end of this process.
#[derive(Debug)]
pub struct RemedyLock(File);

impl RemedyLock {
    /// `None` if it is held. Makes the file, which stays.
    ///
    /// # Errors
    /// Those of `open(2)` and `flock(2)`.
    pub fn try_acquire(path: &Path) -> io::Result<Option<RemedyLock>> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(try_lock(&file)?.then_some(RemedyLock(file)))
    }
}

/// Locks an open file for all who share its description. False if another has the lock.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: integer arguments only. The wrapper of nix would release the lock for all holders when it is dropped.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        error => Err(error),
    }
}

impl AsFd for RemedyLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
