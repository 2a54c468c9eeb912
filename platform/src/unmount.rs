//! Unmounting.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmount {
    /// Only if it is not in use.
    Plain,
    /// Also if it is in use: pending requests fail and unwritten data is lost (`MNT_FORCE`).
    Forced,
    /// Removed from the tree at once, and unmounted when its last user ends (`MNT_DETACH`, Linux only).
    Detached,
}

/// Unmounts the topmost mount at this path. It may wait for the storage forever: call it only in a process that may
/// hang.
///
/// # Errors
/// Those of `umount2(2)` and `unmount(2)`; `Unsupported` for a mode that this system lacks.
pub fn unmount(mountpoint: &Path, how: Unmount) -> io::Result<()> {
    let path = CString::new(mountpoint.as_os_str().as_bytes())?;
    #[cfg(target_os = "linux")]
    let result = {
        let flags = match how {
            Unmount::Plain => 0,
            Unmount::Forced => libc::MNT_FORCE,
            Unmount::Detached => libc::MNT_DETACH,
        };
        // SAFETY: the path is NUL-terminated.
        unsafe { libc::umount2(path.as_ptr(), flags | libc::UMOUNT_NOFOLLOW) }
    };
    #[cfg(any(target_os = "macos", target_os = "freebsd"))]
    let result = {
        let flags = match how {
            Unmount::Plain => 0,
            Unmount::Forced => libc::MNT_FORCE,
            Unmount::Detached => return Err(io::ErrorKind::Unsupported.into()),
        };
        // SAFETY: the path is NUL-terminated.
        unsafe { libc::unmount(path.as_ptr(), flags) }
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
