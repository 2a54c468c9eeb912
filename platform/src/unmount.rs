//! Taking a mount away.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How far to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmount {
    /// Only if nobody uses it.
    Plain,
    /// Also if it is in use: what waits for its server is given up, and unwritten data is lost (`MNT_FORCE`).
    Forced,
    /// Out of sight at once, whoever still uses it; gone when the last one ends (`MNT_DETACH`, Linux alone).
    Detached,
}

/// Unmounts what is mounted there. It may wait for storage, even for ever: only for a process that may hang.
///
/// # Errors
/// Those of `umount2(2)` and `unmount(2)`; `Unsupported` for a way that this system does not have.
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
