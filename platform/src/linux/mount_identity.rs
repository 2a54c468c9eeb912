//! Which mount a path or a descriptor leads to. The walk along a path may hang; the id of a mount, without attributes, is
//! read without a server.

use crate::{Errno, Target};
use std::ffi::{CStr, OsStr, c_int, c_uint};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Unique mount ids (`STATX_MNT_ID_UNIQUE`, Linux 6.8) start above this; reusable ids never reach it.
const FIRST_UNIQUE_ID: u64 = 1 << 31;

/// Of no mount in a table. qemu-user passes the mask of the kernel on, but not the id.
const NO_ID: u64 = 0;

/// Neither triggers automounts nor follows a symbolic link.
pub(super) const PATH_FLAGS: c_int = libc::AT_NO_AUTOMOUNT | libc::AT_SYMLINK_NOFOLLOW;

/// Whether its key is an id of the kernel, not of the mount table.
pub(super) fn has_unique_id<P>(target: &Target<P>) -> bool {
    target.key.0 >= FIRST_UNIQUE_ID
}

/// Where a path leads: to the expected mount, to another mount, or to none.
pub(super) enum PathTarget {
    Same,
    Other,
}

/// Whether a call may be answered without the storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sync {
    /// Only the mount id is requested. Most drivers send no request then.
    Never,
    /// The attributes are requested too, and no cache may answer.
    Forced,
}

/// Compares the mount that the path leads to with the target.
pub(super) fn compare(path: &CStr, target: &Target<&OsStr>, sync: Sync) -> Result<PathTarget, Errno> {
    compare_at(libc::AT_FDCWD, path, target, sync)
}

/// Whether this descriptor is on the mount of the target. Asks no file system.
pub(super) fn is_on_target(fd: BorrowedFd<'_>, target: &Target<&OsStr>) -> Result<bool, Errno> {
    compare_at(fd.as_raw_fd(), c"", target, Sync::Never).map(|found| matches!(found, PathTarget::Same))
}

fn compare_at(at: c_int, path: &CStr, target: &Target<&OsStr>, sync: Sync) -> Result<PathTarget, Errno> {
    let unique = has_unique_id(target);
    let id = if unique { libc::STATX_MNT_ID_UNIQUE } else { libc::STATX_MNT_ID };
    let (sync, mask) = match sync {
        Sync::Forced => (libc::AT_STATX_FORCE_SYNC, id | libc::STATX_BASIC_STATS),
        Sync::Never => (libc::AT_STATX_DONT_SYNC, id),
    };
    match statx_at(at, path, sync | PATH_FLAGS, mask) {
        Ok(found) => {
            let is_same = if found.stx_mask & libc::STATX_MNT_ID_UNIQUE != 0 {
                !unique || found.stx_mnt_id == target.key.0
            } else if found.stx_mask & libc::STATX_MNT_ID != 0 && found.stx_mnt_id != NO_ID {
                found.stx_mnt_id == u64::from(target.id)
            } else {
                true // before Linux 5.8 there is no id, only the mount table
            };
            Ok(if is_same { PathTarget::Same } else { PathTarget::Other })
        }
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(PathTarget::Other),
        Err(errno) => Err(errno),
    }
}

pub(super) fn statx(path: &CStr, flags: c_int, mask: c_uint) -> Result<libc::statx, Errno> {
    statx_at(libc::AT_FDCWD, path, flags, mask)
}

/// An empty path means the descriptor itself.
fn statx_at(at: c_int, path: &CStr, flags: c_int, mask: c_uint) -> Result<libc::statx, Errno> {
    let flags = if path.is_empty() { flags | libc::AT_EMPTY_PATH } else { flags };
    let mut found = MaybeUninit::<libc::statx>::uninit();
    // SAFETY: the path is NUL-terminated and the buffer has the type that the call fills.
    let result = unsafe { libc::statx(at, path.as_ptr(), flags, mask, found.as_mut_ptr()) };
    if result != 0 {
        return Err(last_errno());
    }
    // SAFETY: the call succeeded, so it has filled the buffer.
    Ok(unsafe { found.assume_init() })
}

pub(super) fn last_errno() -> Errno {
    Errno(nix::errno::Errno::last_raw())
}
