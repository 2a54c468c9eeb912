//! Another mount namespace: how it is found, its mount table, and its end.
//!
//! An open file of a namespace keeps all its mounts mounted, and so does an open mount table (measured: an open table
//! still shows the mounts of a container whose last process has ended). So the end of a namespace must be detected:
//! [`MountNamespace::has_ended`] checks the process or the mount that identified it. Then everything that refers to the
//! namespace must be dropped.
//!
//! The table is opened through a helper that briefly enters the namespace. So it shows what probers will see there,
//! whatever root directory the given process has, and a namespace that cannot be entered is an error at the start.

mod helper;
mod owner;
mod remedies;

use super::MountWatch;
use crate::MountSource;
use helper::NamespaceHelper;
use mio::Interest;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use owner::NamespaceOwner;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const OWN_NAMESPACE: &str = "/proc/self/ns/mnt";

/// `NS_GET_NSTYPE` of linux/nsfs.h (4.11).
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
/// `NS_GET_MNTNS_ID` of linux/nsfs.h (6.11).
const NS_GET_MNTNS_ID: libc::Ioctl = 0x8008_b705_u32 as libc::Ioctl;

/// The required privileges, for error messages.
const NEEDED_RIGHTS: &str =
    "it needs root with CAP_SYS_ADMIN and CAP_SYS_CHROOT, and CAP_SYS_PTRACE to open that of a process";

/// Another mount namespace, kept open. As an event source it is ready when [`MountNamespace::has_ended`] should be
/// called; it should also be called occasionally, because not every kernel and every `/proc` can report the end.
#[derive(Debug)]
pub struct MountNamespace {
    /// Opened through `/proc`: opened by its path, it would keep a mounted file busy.
    file: File,
    inode: u64,
    /// For `listmount` and `statmount`; 0 where the kernel has no such ids.
    id: u64,
    owner: NamespaceOwner,
    path: PathBuf,
}

impl MountNamespace {
    /// Opens the mount namespace that this file names: `/proc/PID/ns/mnt`, or a file on which one is mounted. `None` if it
    /// is that of this process.
    ///
    /// # Errors
    /// It cannot be opened, is not a mount namespace, or this process may not enter it.
    pub fn open(path: &Path) -> io::Result<Option<MountNamespace>> {
        // A FIFO or a terminal given by mistake must not block.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let named = File::options().read(true).custom_flags(flags).open(path).map_err(with_needed_rights)?;
        let is_nsfs = fstatfs(&named).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC);
        // SAFETY: an ioctl without an argument on an open file of nsfs.
        if !is_nsfs || unsafe { libc::ioctl(named.as_raw_fd(), NS_GET_NSTYPE) } != libc::CLONE_NEWNS {
            return Err(io::Error::other("it is not a mount namespace"));
        }
        let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
        let named_identity = identity(named.metadata()?);
        let own = File::open(OWN_NAMESPACE).and_then(|own| own.metadata()).map(identity);
        if own.is_ok_and(|own| own == named_identity) {
            return Ok(None);
        }
        let inode = named_identity.1;
        let owner = NamespaceOwner::find(path, &named, inode)?;
        let file = NamespaceHelper::start(named.as_fd()).map_err(with_needed_rights)?.open("ns/mnt")?;
        if identity(file.metadata()?) != named_identity {
            return Err(foreign_proc());
        }
        let id = id_of(&file);
        Ok(Some(MountNamespace { file, inode, id, owner, path: path.into() }))
    }

    /// A watch of its mount table, to be read with `source` or a simpler one. Paths are those that a process in the namespace sees.
    ///
    /// # Errors
    /// It cannot be entered, or `/proc` cannot be read.
    pub fn watch(&self, source: MountSource) -> io::Result<MountWatch> {
        let helper = NamespaceHelper::start(self.file.as_fd()).map_err(with_needed_rights)?;
        if helper.open("ns/mnt")?.metadata()?.ino() != self.inode {
            return Err(foreign_proc());
        }
        let table = helper.open("mountinfo")?;
        Ok(MountWatch::for_namespace(table, self.id, self.file.as_fd(), source))
    }

    /// Whether its process has ended or left it, or its file was unmounted. Reads `/proc` only.
    pub fn has_ended(&mut self) -> bool {
        self.owner.has_released(self.inode)
    }

    /// The path by which it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number that the kernel shows (`mnt:[4026531841]`).
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// A second descriptor, for starting probers in it. It keeps the namespace open too.
    ///
    /// # Errors
    /// Those of `dup(2)`.
    pub fn try_clone_fd(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl_source!(MountNamespace, |namespace| namespace.owner, Interest::READABLE);

/// Makes the calling process, which must have no other thread, enter a namespace. Its root and working directory become
/// those of the namespace.
pub(crate) fn enter(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: integer arguments only.
    let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNS) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn id_of(file: &File) -> u64 {
    let mut id = 0_u64;
    // SAFETY: the kernel writes 8 bytes to the pointer, or nothing if it does not know this call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_MNTNS_ID, &raw mut id) };
    if result == 0 { id } else { 0 }
}

fn foreign_proc() -> io::Error {
    io::Error::other("/proc does not show the processes of this process namespace")
}

fn with_needed_rights(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(error.kind(), format!("{error}; {NEEDED_RIGHTS}")),
        _ => error,
    }
}
