//! What a remedy can do to a mount of another mount namespace.

use super::helper::NamespaceHelper;
use super::{MountNamespace, enter};
use crate::remedy::PinnedMount;
use crate::{MountKey, MountSource, MountTable, MountTree, Unmount};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::thread;

impl MountNamespace {
    /// Its mount table now.
    ///
    /// # Errors
    /// Those of [`MountNamespace::watch`].
    pub fn table(&self) -> io::Result<MountTable> {
        self.watch(MountSource::Ids)?.read(&MountTree::default())
    }

    /// Holds a mount of it: see [`PinnedMount::open`]. The path is one without symbolic links, as in its table.
    ///
    /// # Errors
    /// It cannot be entered; `Unsupported` before Linux 6.11.
    pub fn pin(&self, path: &Path, key: MountKey) -> io::Result<Option<PinnedMount>> {
        if self.id == 0 {
            return Err(ErrorKind::Unsupported.into());
        }
        let helper = NamespaceHelper::start(self.file.as_fd())?;
        let root = PathBuf::from(format!("/proc/{}/root", helper.pid()));
        PinnedMount::open_in(self.id, &root.join(path.strip_prefix("/").unwrap_or(path)), key)
    }

    /// Unmounts the topmost mount at this path of it, if it is not in use: see [`crate::unmount`].
    ///
    /// # Errors
    /// It cannot be entered, and those of `umount2(2)`.
    pub fn unmount(&self, path: &Path) -> io::Result<()> {
        let make = || {
            own_directories()?;
            enter(self.file.as_fd())?;
            crate::unmount(path, Unmount::Plain)
        };
        thread::scope(|scope| scope.spawn(make).join())
            .unwrap_or_else(|_| Err(io::Error::other("the thread that enters the mount namespace has ended")))
    }
}

/// Makes the calling thread share its directories with no other: else it may enter no namespace (`setns(2)`).
fn own_directories() -> io::Result<()> {
    // SAFETY: integer arguments only.
    if unsafe { libc::unshare(libc::CLONE_FS) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
