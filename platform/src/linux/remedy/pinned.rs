//! One mount, held by a descriptor.

use super::super::evidence::connection;
use super::super::procfs::{number_field, read};
use super::super::statmount::{OWN_NAMESPACE, Statmount};
use crate::{DeviceNumber, MountKey};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// A mount that is held, so that neither its ids nor the number of its superblock are used again.
///
/// The descriptor is opened without the storage (`O_PATH`), and is compared with the unique id by what the kernel itself
/// knows (`fdinfo` and `statmount`): `statx` of the descriptor asks a FUSE server in some states, and is refused to root
/// without `allow_other`. While it is held, a plain unmount fails with EBUSY.
#[derive(Debug)]
pub struct PinnedMount {
    file: File,
    /// For `statmount`.
    namespace: u64,
    key: MountKey,
    device: DeviceNumber,
}

impl PinnedMount {
    /// Holds the mount with this unique id, if the path leads to it now: `None` if it leads to another mount, such as one
    /// that is stacked on it. Walking to the path may wait for the mounts above it.
    ///
    /// # Errors
    /// Those of `open(2)` and `statmount(2)`; `Unsupported` on a kernel without unique ids.
    pub fn open(path: &Path, key: MountKey) -> io::Result<Option<PinnedMount>> {
        PinnedMount::open_in(OWN_NAMESPACE, path, key)
    }

    /// The same for a mount of this namespace.
    pub(in super::super) fn open_in(
        namespace: u64,
        path: &Path,
        key: MountKey,
    ) -> io::Result<Option<PinnedMount>> {
        // Not by `OpenOptions`, which drops O_PATH where musl counts it as an access mode: the storage would be asked.
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(open(path, flags, Mode::empty())?);
        let Some((id, device)) = attached(namespace, key)? else { return Ok(None) };
        let pinned = PinnedMount { file, namespace, key, device };
        Ok(pinned.is_of(id)?.then_some(pinned))
    }

    /// Whether it is still in the mount table. Another process can change that at any time.
    ///
    /// # Errors
    /// Those of `statmount(2)` and of reading `/proc`.
    pub fn is_attached(&self) -> io::Result<bool> {
        match attached(self.namespace, self.key)? {
            Some((id, _)) => self.is_of(id),
            None => Ok(false),
        }
    }

    /// Both exist now, and ids of mounts that exist differ, the reusable ones too.
    fn is_of(&self, id: u32) -> io::Result<bool> {
        let mut buffer = [0; 1024];
        let info = read(Path::new(&format!("/proc/self/fdinfo/{}", self.file.as_raw_fd())), &mut buffer)?;
        Ok(number_field(info, "mnt_id") == Some(u64::from(id)))
    }

    #[must_use]
    pub fn key(&self) -> MountKey {
        self.key
    }

    #[must_use]
    pub fn device(&self) -> DeviceNumber {
        self.device
    }

    /// `MNT_FORCE`: fails the pending requests of the superblock first, also when it returns EBUSY, as it does while this
    /// descriptor is held. A mount that was detached is not touched (EINVAL). If another mount is stacked on it, the kernel
    /// takes that one.
    ///
    /// # Errors
    /// Those of `umount2(2)`.
    pub fn force(&self) -> io::Result<()> {
        self.unmount(libc::MNT_FORCE)
    }

    /// `MNT_DETACH`: it and all mounts below it leave the table. Another mount is hit as in [`PinnedMount::force`] only.
    ///
    /// # Errors
    /// Those of `umount2(2)`.
    pub fn detach(&self) -> io::Result<()> {
        self.unmount(libc::MNT_DETACH)
    }

    fn unmount(&self, flags: libc::c_int) -> io::Result<()> {
        let path = CString::new(self.proc_path().into_os_string().into_encoded_bytes())?;
        // SAFETY: the path is NUL-terminated. Without UMOUNT_NOFOLLOW, because the path is a link of the kernel.
        if unsafe { libc::umount2(path.as_ptr(), flags) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn proc_path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// Aborts the FUSE connection of its superblock by the control file below `connections`. The number of the connection
    /// is not used again while the mount is held.
    ///
    /// # Errors
    /// Those of `open(2)` and `write(2)`: `NotFound` if `fusectl` is not mounted.
    pub fn abort_fuse(&self, connections: &Path) -> io::Result<()> {
        let number = connection(self.device).to_string();
        write_one(&connections.join(number).join("abort"))
    }

    /// Shuts down the NFS client of its superblock, below `superblocks`. It cannot be undone.
    ///
    /// # Errors
    /// Those of `open(2)` and `write(2)`: `NotFound` before Linux 6.5.
    pub fn shut_down_nfs(&self, superblocks: &Path) -> io::Result<()> {
        write_one(&superblocks.join(self.device.to_string()).join("shutdown"))
    }
}

impl AsFd for PinnedMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The reusable id and the superblock of the mount with this unique id, if it is in the table.
fn attached(namespace: u64, key: MountKey) -> io::Result<Option<(u32, DeviceNumber)>> {
    Statmount::new(namespace).numbers(key.0).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSYS) => ErrorKind::Unsupported.into(),
        _ => error,
    })
}

/// Neither created nor truncated: it must be the kernel's.
fn write_one(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(b"1")
}
