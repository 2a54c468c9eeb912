//! Whose end is the end of a namespace: of the process, or of the mount, by which it was named. Only `/proc` is asked
//! about it, never the path that was given.

use super::super::{MountWatch, OWN_MOUNT_TABLE};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// The type of the mounts that carry namespaces.
const NSFS: &str = "nsfs";

#[derive(Debug)]
pub(super) enum Holder {
    Process {
        /// Its directory in `/proc`: it belongs to this process alone, whoever gets the same number later.
        directory: OwnedFd,
        /// Ready when the process has ended (5.3), if its number is known to be right here.
        pidfd: Option<OwnedFd>,
    },
    Mount {
        /// Of the mount that carries the namespace, in our own table.
        id: u32,
        own_table: MountWatch,
    },
}

impl Holder {
    pub(super) fn find(path: &Path, named: &File, number: u64) -> io::Result<Holder> {
        if let Some(directory) = process_directory(path, number) {
            let pidfd = pidfd_of(&directory);
            // Its number was looked up between two looks at its directory: it was this process's.
            let pidfd = pidfd.filter(|_| names(&directory, number) == Some(true));
            return Ok(Holder::Process { directory, pidfd });
        }
        let mut own_table = MountWatch::open(OWN_MOUNT_TABLE.as_ref())?;
        if let Some(id) = mount_of(named)
            && carries(&mut own_table, id, number) == Some(true)
        {
            return Ok(Holder::Mount { id, own_table });
        }
        let text = "it has to be the file of a process (/proc/PID/ns/mnt) or one on which a namespace is mounted, not a \
                    link to it";
        Err(io::Error::other(text))
    }

    /// Is it over? What cannot be told is not over.
    pub(super) fn let_go(&mut self, number: u64) -> bool {
        match self {
            Holder::Process { directory, pidfd } => {
                let ended = pidfd.as_ref().is_some_and(|pidfd| {
                    let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
                    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
                });
                ended || names(directory, number) == Some(false)
            }
            Holder::Mount { id, own_table } => carries(own_table, *id, number) == Some(false),
        }
    }
}

impl Source for Holder {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Holder::Process { pidfd: Some(pidfd), .. } => {
                SourceFd(&pidfd.as_raw_fd()).register(registry, token, Interest::READABLE)
            }
            Holder::Process { pidfd: None, .. } => Ok(()),
            Holder::Mount { own_table, .. } => own_table.register(registry, token, interests),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Holder::Process { pidfd: Some(pidfd), .. } => {
                SourceFd(&pidfd.as_raw_fd()).reregister(registry, token, Interest::READABLE)
            }
            Holder::Process { pidfd: None, .. } => Ok(()),
            Holder::Mount { own_table, .. } => own_table.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Holder::Process { pidfd: Some(pidfd), .. } => SourceFd(&pidfd.as_raw_fd()).deregister(registry),
            Holder::Process { pidfd: None, .. } => Ok(()),
            Holder::Mount { own_table, .. } => own_table.deregister(registry),
        }
    }
}

/// The directory of the process to which `…/PID/ns/mnt` belongs, whatever its `/proc` is called here.
fn process_directory(path: &Path, number: u64) -> Option<OwnedFd> {
    let namespaces = path.parent().filter(|_| path.file_name().is_some_and(|name| name == "mnt"))?;
    let process = namespaces.parent().filter(|_| namespaces.file_name().is_some_and(|name| name == "ns"))?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = nix::fcntl::open(process, flags, Mode::empty()).ok()?;
    let system = fstatfs(&directory).ok()?.filesystem_type();
    (system == PROC_SUPER_MAGIC && names(&directory, number) == Some(true)).then_some(directory)
}

/// Does this directory of a process name the namespace with this number? `None` where that is refused.
fn names(directory: &OwnedFd, number: u64) -> Option<bool> {
    match readlinkat(directory, "ns/mnt") {
        Ok(text) => Some(text == *root_of(number)),
        Err(Errno::ESRCH | Errno::ENOENT) => Some(false),
        Err(_) => None,
    }
}

/// Ready when the process ends. `/proc` may show the numbers of another process namespace than ours: that both mean
/// the same process is read where that `/proc` shows the descriptor itself.
fn pidfd_of(directory: &OwnedFd) -> Option<OwnedFd> {
    let here = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let shown: libc::pid_t = std::fs::read_link(&here).ok()?.file_name()?.to_str()?.parse().ok()?;
    // SAFETY: plain numbers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, shown, 0) };
    let descriptor = i32::try_from(descriptor).ok().filter(|&descriptor| descriptor >= 0)?;
    // SAFETY: the call has just made it, for us alone.
    let pidfd = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let told = std::fs::read_to_string(format!("{here}/../self/fdinfo/{descriptor}")).ok()?;
    (field(&told, "Pid:")? == shown.unsigned_abs().into()).then_some(pidfd)
}

/// The id of the mount by which a file was opened.
fn mount_of(file: &File) -> Option<u32> {
    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    u32::try_from(field(&told, "mnt_id:")?).ok()
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// Does the mount with this id carry the namespace? `None` where the table cannot be read.
fn carries(own_table: &mut MountWatch, id: u32, number: u64) -> Option<bool> {
    let root = root_of(number);
    let table = own_table.read().ok()?;
    Some(table.iter().any(|mount| mount.id == id && mount.fstype == NSFS && mount.root == *root))
}

/// How the kernel writes a mount namespace.
fn root_of(number: u64) -> String {
    format!("mnt:[{number}]")
}
