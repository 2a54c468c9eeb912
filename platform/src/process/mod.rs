//! Child processes of the daemon: started by fork and exec, connected by one channel of packets, killed and reaped.
//!
//! The `process` module of each back-end contains what differs between systems: see the contract in the crate's root.

pub(crate) mod child;
pub mod command;
mod descriptors;
mod launcher;
pub(crate) mod spawn;
mod standard_error;
mod thread_sample;

pub use crate::system::process::{Channel, ThreadSampler, send_to_daemon, thread_id};
pub use crate::system::process::{run_from_memory, runs_from_memory};
pub use child::{Child, ExitStatus};
pub use descriptors::{
    read_available, receive_descriptor, send_descriptor, send_descriptor_to_daemon, wait_writable,
};
#[doc(hidden)]
pub use launcher::simulate_child;
pub use launcher::{ChildRole, Launcher, init_child, is_started_by_daemon};
pub use standard_error::{replace_standard_error, standard_error_is_file};
pub use thread_sample::ThreadSample;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// No packet is larger. Three fit into Linux's default socket buffer (`net.core.wmem_default`, 208 KiB), and each
/// holds about a thousand requests or replies, so the cost of the system calls is negligible.
pub const MAX_PACKET: usize = 64 * 1024;

/// The launcher processes, which start children from memory.
pub mod launcher_process {
    pub use crate::system::process::launcher::{complete, kill, oldest_request, serve, start, try_reap};
}

/// Whether this process has the rights of root.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Ends this process at once, whatever its threads do: no destructors, no flushing, nothing that could block.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: never returns and touches no memory.
    unsafe { libc::_exit(status) }
}

/// Ends this process and all others of its process group at once (SIGKILL).
pub fn kill_own_group() -> ! {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(0), nix::sys::signal::Signal::SIGKILL);
    exit_now(1)
}

/// Waits until the descriptor is ready (true), or until `timeout` has passed or a signal arrived (false).
pub(crate) fn wait_ready(
    fd: BorrowedFd<'_>,
    events: PollFlags,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
        // Rounded up: a wait that ends too early would be repeated with a timeout of zero.
        PollTimeout::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
    });
    match nix::poll::poll(&mut [PollFd::new(fd, events)], timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
