//! The POSIX part of `crate::process`: a stream channel and a minimal child initialization.

#[allow(unused_imports)] // unused in the tests on Linux, where this is not the back-end
pub use super::channel::Channel;
#[allow(unused_imports)]
pub(crate) use super::channel::SOCKET_TYPE;

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;

/// The file of the running program.
pub(crate) fn own_program() -> io::Result<CString> {
    Ok(CString::new(std::env::current_exe()?.as_os_str().as_bytes())?)
}

/// Nothing beyond what `crate::process` does.
pub(crate) fn init_child(_: &CStr) {}

/// There are no mount namespaces.
pub(crate) fn enter_namespace(_: BorrowedFd<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nothing: these systems drop such pages themselves.
pub fn drop_startup_pages() {}

/// 0: POSIX has no id of a thread that another process could use.
#[must_use]
pub fn thread_id() -> u32 {
    0
}

/// Sends one packet from a child to the daemon, from any thread, and blocks until it is sent.
///
/// # Errors
/// The daemon has closed its end.
pub fn send_to_daemon(packet: &[u8]) -> io::Result<()> {
    /// The lock keeps packets of several threads apart in the stream.
    static CHANNEL: Mutex<Option<Channel>> = Mutex::new(None);
    let mut channel = CHANNEL.lock().map_err(|_| io::ErrorKind::Other)?;
    let channel = match &mut *channel {
        Some(channel) => channel,
        none => none.insert(Channel::from_stdin()?),
    };
    channel.send_blocking(packet)
}
