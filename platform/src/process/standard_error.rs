//! Standard error of this process, which an operator may have redirected to a file.

use nix::unistd::dup2_stderr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Whether standard error is a regular file, so that writing and closing it may wait for storage. The server of the
/// file is not asked, as far as the system permits.
#[must_use]
pub fn standard_error_is_file() -> bool {
    let stderr = io::stderr();
    let mode = file_type(stderr.as_fd());
    mode.is_some_and(|mode| mode & libc::S_IFMT == libc::S_IFREG)
}

#[cfg(target_os = "linux")]
fn file_type(descriptor: BorrowedFd<'_>) -> Option<libc::mode_t> {
    use std::os::fd::AsRawFd as _;
    // SAFETY: a structure of integers, for which zero is valid.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    // SAFETY: the path is NUL-terminated and the structure has the type that the call fills.
    let result =
        unsafe { libc::statx(descriptor.as_raw_fd(), c"".as_ptr(), flags, libc::STATX_TYPE, &raw mut found) };
    (result == 0).then(|| found.stx_mode.into())
}

#[cfg(not(target_os = "linux"))]
fn file_type(descriptor: BorrowedFd<'_>) -> Option<libc::mode_t> {
    nix::sys::stat::fstat(descriptor).ok().map(|found| found.st_mode)
}

/// Makes this descriptor standard error, and returns the previous one.
///
/// # Errors
/// Those of `dup(2)`.
pub fn replace_standard_error(by: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let before = io::stderr().as_fd().try_clone_to_owned()?;
    dup2_stderr(by)?;
    Ok(before)
}
