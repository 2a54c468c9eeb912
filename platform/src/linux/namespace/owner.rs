//! The process or the mount that identified a namespace: the namespace is watched while that exists. Only `/proc` is
//! read for this, never the given path.

use super::super::procfs::number_field;
use super::super::{MountWatch, OWN_MOUNT_TABLE};
use crate::{MountSource, MountTree};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::poll::PollFlags;
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// The type of the mounts that carry namespaces.
const NSFS: &str = "nsfs";

#[derive(Debug)]
pub(super) enum NamespaceOwner {
    Process {
        /// Its directory in `/proc`, which belongs to this process even if its id is reused.
        directory: OwnedFd,
        /// Ready when the process has ended (Linux 5.3); `None` if its id in our process namespace is not known.
        pidfd: Option<OwnedFd>,
    },
    Mount {
        /// The mount id in our own table.
        id: u32,
        own_table: Box<MountWatch>,
    },
}

impl NamespaceOwner {
    pub(super) fn find(path: &Path, named: &File, inode: u64) -> io::Result<NamespaceOwner> {
        if let Some(directory) = process_directory(path, inode) {
            // Checked again after the id was looked up: it belonged to this process.
            let pidfd = pidfd_of(&directory).filter(|_| is_in_namespace(&directory, inode) == Some(true));
            return Ok(NamespaceOwner::Process { directory, pidfd });
        }
        let mut own_table = Box::new(MountWatch::open(OWN_MOUNT_TABLE.as_ref(), MountSource::Text)?);
        if let Some(id) = mount_id_of(named)
            && carries_namespace(&mut own_table, id, inode) == Some(true)
        {
            return Ok(NamespaceOwner::Mount { id, own_table });
        }
        Err(io::Error::other(
            "it must be the file of a process (/proc/PID/ns/mnt) or one on which a namespace is mounted, not a \
             link to it",
        ))
    }

    /// Whether the process or the mount has released the namespace. False if that cannot be determined.
    pub(super) fn has_released(&mut self, inode: u64) -> bool {
        match self {
            NamespaceOwner::Process { directory, pidfd } => {
                let has_ended = pidfd.as_ref().is_some_and(|pidfd| {
                    crate::process::wait_ready(pidfd.as_fd(), PollFlags::POLLIN, Some(Duration::ZERO))
                        .unwrap_or(false)
                });
                has_ended || is_in_namespace(directory, inode) == Some(false)
            }
            NamespaceOwner::Mount { id, own_table } => {
                carries_namespace(own_table, *id, inode) == Some(false)
            }
        }
    }

    fn with_source(&mut self, action: impl FnOnce(&mut dyn Source) -> io::Result<()>) -> io::Result<()> {
        match self {
            NamespaceOwner::Process { pidfd: Some(pidfd), .. } => action(&mut SourceFd(&pidfd.as_raw_fd())),
            NamespaceOwner::Process { pidfd: None, .. } => Ok(()),
            NamespaceOwner::Mount { own_table, .. } => action(own_table.as_mut()),
        }
    }
}

impl Source for NamespaceOwner {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.with_source(|source| source.register(registry, token, interest))
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.with_source(|source| source.reregister(registry, token, interest))
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.with_source(|source| source.deregister(registry))
    }
}

/// The directory of the process that `…/PID/ns/mnt` belongs to, wherever that `/proc` is mounted.
fn process_directory(path: &Path, inode: u64) -> Option<OwnedFd> {
    let namespaces = path.parent().filter(|_| path.file_name().is_some_and(|name| name == "mnt"))?;
    let process = namespaces.parent().filter(|_| namespaces.file_name().is_some_and(|name| name == "ns"))?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = nix::fcntl::open(process, flags, Mode::empty()).ok()?;
    let fs_type = fstatfs(&directory).ok()?.filesystem_type();
    (fs_type == PROC_SUPER_MAGIC && is_in_namespace(&directory, inode) == Some(true)).then_some(directory)
}

/// Whether the process of this directory is in the namespace. `None` if reading that is refused.
fn is_in_namespace(directory: &OwnedFd, inode: u64) -> Option<bool> {
    match readlinkat(directory, "ns/mnt") {
        Ok(text) => Some(text == *link_text(inode)),
        Err(Errno::ESRCH | Errno::ENOENT) => Some(false),
        Err(_) => None,
    }
}

/// A descriptor that is ready when the process ends. The given `/proc` may show the ids of another process namespace,
/// so the id is compared with the one that the same `/proc` shows for the descriptor.
fn pidfd_of(directory: &OwnedFd) -> Option<OwnedFd> {
    let here = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let pid: libc::pid_t = std::fs::read_link(&here).ok()?.file_name()?.to_str()?.parse().ok()?;
    // SAFETY: integer arguments only.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let descriptor = i32::try_from(descriptor).ok().filter(|&descriptor| descriptor >= 0)?;
    // SAFETY: the call has just made this descriptor, and nothing else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let info = std::fs::read(format!("{here}/../self/fdinfo/{descriptor}")).ok()?;
    (number_field(&info, "Pid")? == pid.unsigned_abs().into()).then_some(pidfd)
}

/// The id of the mount through which a file was opened.
fn mount_id_of(file: &File) -> Option<u32> {
    let info = std::fs::read(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    u32::try_from(number_field(&info, "mnt_id")?).ok()
}

/// Whether the mount with this id carries the namespace. `None` if the table cannot be read.
fn carries_namespace(own_table: &mut MountWatch, id: u32, inode: u64) -> Option<bool> {
    let root = link_text(inode);
    let table = own_table.read(&MountTree::default()).ok()?;
    Some(table.iter().any(|mount| mount.id == id && mount.fstype == NSFS && mount.root == *root))
}

/// How the kernel shows a mount namespace.
fn link_text(inode: u64) -> String {
    format!("mnt:[{inode}]")
}
