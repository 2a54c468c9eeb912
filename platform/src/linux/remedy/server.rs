//! The process that serves a FUSE mount.

use super::super::evidence::serves_connection;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Sends SIGCONT to this process, if it serves this connection: that is read again after the process was pinned by a
/// pidfd, so another one with its id gets no signal. False if it does not serve it.
///
/// # Errors
/// Those of `pidfd_open(2)` and `pidfd_send_signal(2)`; `Unsupported` where the kernel does not say whom a process serves
/// (before 6.16).
pub fn continue_fuse_server(pid: u32, connection: u32) -> io::Result<bool> {
    let id = i32::try_from(pid).map_err(|_| ErrorKind::InvalidInput)?;
    // SAFETY: integer arguments only.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) };
    let pidfd = i32::try_from(pidfd).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the call has just made this descriptor, and nothing else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    match serves_connection(Path::new("/proc"), pid, connection) {
        None => return Err(ErrorKind::Unsupported.into()),
        Some(false) => return Ok(false),
        Some(true) => {}
    }
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: without information about the signal, only integers are passed.
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGCONT, no_info, 0) };
    if sent == 0 { Ok(true) } else { Err(io::Error::last_os_error()) }
}
