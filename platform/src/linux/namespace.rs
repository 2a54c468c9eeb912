//! A mount namespace that is not ours: where it comes from, its mount table, and its end.
//!
//! Whoever holds it open keeps all its mounts mounted, and both the namespace's file and an open mount table do
//! (measured: a table that is held open still shows the mounts of a container whose last process is gone). So its end
//! does not come by itself: [`MountNamespace::has_ended`] asks whoever it belongs to, the process or the mount that
//! the file named, and then it is to be dropped with everything that was made of it.
//!
//! The table is opened through a child that enters the namespace for a moment, so it shows what probers will see
//! there, whatever root the process has that the file belongs to, and it is known from the start that one may enter.

mod holder;
mod visitor;

use super::MountWatch;
use holder::Holder;
use mio::event::Source;
use mio::{Interest, Registry, Token};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use visitor::Visitor;

/// The name of our own mount namespace.
const OWN: &str = "/proc/self/ns/mnt";

/// `NS_GET_NSTYPE` of linux/nsfs.h (4.11).
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
/// `NS_GET_MNTNS_ID` of linux/nsfs.h (6.11).
const NS_GET_MNTNS_ID: libc::Ioctl = 0x8008_b705_u32 as libc::Ioctl;

/// What it takes to enter, for those who may not.
const RIGHTS: &str =
    "it takes root with CAP_SYS_ADMIN and CAP_SYS_CHROOT, and CAP_SYS_PTRACE to open that of a process";

/// Whose a namespace is that a file names.
#[derive(Debug)]
pub enum FoundNamespace {
    /// The one in which this process is.
    Own,
    /// Another.
    Other(MountNamespace),
}

/// Another mount namespace, held open. As an event source it becomes ready when [`MountNamespace::has_ended`] should
/// be asked; that should be done now and then besides, for not every kernel and every `/proc` can tell by itself.
#[derive(Debug)]
pub struct MountNamespace {
    /// Not opened by the name that was given: a file that is mounted would be kept busy.
    file: File,
    number: u64,
    /// For `listmount` and `statmount`; 0 where the kernel has none.
    id: u64,
    holder: Holder,
    name: PathBuf,
}

impl MountNamespace {
    /// Opens the namespace of a process (`/proc/PID/ns/mnt`) or one that is mounted on a file (`unshare --mount=FILE`).
    /// The path is looked up, so it must not lead through storage that may hang.
    ///
    /// # Errors
    /// What is wrong with the file, or which right is missing.
    pub fn open(path: &Path) -> io::Result<FoundNamespace> {
        // Neither a FIFO nor a terminal that was named by mistake shall hold us.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let named = File::options().read(true).custom_flags(flags).open(path).map_err(explained)?;
        // SAFETY: an ioctl without an argument on an open file; any other file answers ENOTTY or something of its own.
        if !is_nsfs(&named) || unsafe { libc::ioctl(named.as_raw_fd(), NS_GET_NSTYPE) } != libc::CLONE_NEWNS {
            return Err(io::Error::other("it is not a mount namespace"));
        }
        let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
        let named_is = identity(named.metadata()?);
        let own = File::open(OWN).and_then(|own| own.metadata()).map(identity);
        if own.is_ok_and(|own| own == named_is) {
            return Ok(FoundNamespace::Own);
        }
        let number = named_is.1;
        let holder = Holder::find(path, &named, number)?;
        let file = Visitor::enter(named.as_fd()).map_err(explained)?.open("ns/mnt")?;
        if identity(file.metadata()?) != named_is {
            return Err(io::Error::other("/proc does not show the processes of this process namespace"));
        }
        let id = id_of(&file);
        Ok(FoundNamespace::Other(MountNamespace { file, number, id, holder, name: path.into() }))
    }

    /// A watch over its mount table, with paths as a process sees them that has entered it.
    ///
    /// # Errors
    /// It cannot be entered, or `/proc` cannot be read.
    pub fn watch(&self) -> io::Result<MountWatch> {
        let visitor = Visitor::enter(self.file.as_fd()).map_err(explained)?;
        // The same directory of /proc in which `find` has found what it looked for.
        if visitor.open("ns/mnt")?.metadata()?.ino() != self.number {
            return Err(io::Error::other("/proc does not show the processes of this process namespace"));
        }
        Ok(MountWatch::of(visitor.open("mountinfo")?, self.id))
    }

    /// Is there no use for it any more: has the process ended or left it, was the file unmounted? Asks `/proc` alone.
    pub fn has_ended(&mut self) -> bool {
        self.holder.let_go(self.number)
    }

    /// The path by which it was found.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.name
    }

    /// The number that the kernel shows (`mnt:[4026531841]`).
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.number
    }

    /// A second descriptor, for those who start probers in it. It too keeps the namespace.
    ///
    /// # Errors
    /// Those of `dup(2)`.
    pub fn try_clone_fd(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl Source for MountNamespace {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.holder.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.holder.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.holder.deregister(registry)
    }
}

/// Makes the calling process, which must have no other thread yet, enter a namespace that was handed to it.
pub(crate) fn enter(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain numbers. The root and the working directory become those of the namespace.
    let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNS) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn is_nsfs(file: &File) -> bool {
    fstatfs(file).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}

fn id_of(file: &File) -> u64 {
    let mut id = 0_u64;
    // SAFETY: the kernel writes 8 bytes to the pointer, or nothing where it does not know this call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_MNTNS_ID, &raw mut id) };
    if result == 0 { id } else { 0 }
}

fn explained(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(error.kind(), format!("{error}; {RIGHTS}")),
        _ => error,
    }
}
