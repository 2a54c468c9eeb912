//! The POSIX part of `crate::process`: a stream channel and a minimal child initialization.

#[allow(unused_imports)] // unused in the tests on Linux, where this is not the back-end
pub use super::channel::Channel;
#[allow(unused_imports)]
pub(crate) use super::channel::SOCKET_TYPE;

use crate::process::ThreadSample;
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

/// Not here: it needs `memfd_create(2)` and `mremap(2)`.
///
/// # Errors
/// Always.
pub fn run_from_memory() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[must_use]
pub fn runs_from_memory() -> bool {
    false
}

/// There is no launcher: only Linux can make a process that is a child of another one.
pub(crate) mod launcher {
    use crate::process::child::Progress;
    use crate::process::{ChildRole, ExitStatus, exit_now};
    use std::io;
    use std::os::fd::BorrowedFd;

    #[derive(Debug)]
    pub(crate) enum RequestedChild {}

    impl RequestedChild {
        pub(crate) fn progress(&self) -> Progress {
            match *self {}
        }

        pub(crate) fn cancel(&self) {
            match *self {}
        }
    }

    /// # Errors
    /// Always.
    pub fn start(_: fn(ChildRole) -> !) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// # Errors
    /// Always.
    pub fn complete() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn request(
        _: ChildRole,
        _: BorrowedFd<'_>,
        _: Option<BorrowedFd<'_>>,
    ) -> Option<RequestedChild> {
        None
    }

    #[must_use]
    pub fn oldest_request() -> Option<u64> {
        None
    }

    pub fn kill(_: u64) {}

    #[must_use]
    pub fn try_reap() -> Option<(ExitStatus, bool)> {
        None
    }

    pub fn serve(_: fn(ChildRole) -> !) -> ! {
        exit_now(1)
    }
}

/// 0: POSIX has no id of a thread that another process could use.
#[must_use]
pub fn thread_id() -> u32 {
    0
}

/// Takes no samples: POSIX does not show what a thread does.
#[derive(Debug)]
pub struct ThreadSampler;

impl ThreadSampler {
    #[must_use]
    pub fn open() -> ThreadSampler {
        ThreadSampler
    }

    #[must_use]
    pub fn sample(&self, _: u32) -> ThreadSample {
        ThreadSample::Unknown
    }
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
