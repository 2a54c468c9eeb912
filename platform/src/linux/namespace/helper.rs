//! A child that enters a namespace and stays there until it has been inspected through `/proc`.

use crate::process::Channel;
use crate::process::spawn::{close_from, default_signals};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

/// Entering takes microseconds, unless the root of the namespace hangs.
const ENTER_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct NamespaceHelper {
    pid: Pid,
    /// The child ends when this is closed.
    _channel: Channel,
}

impl NamespaceHelper {
    /// # Errors
    /// Those of `fork(2)` and `setns(2)`; `TimedOut`.
    pub(super) fn start(namespace: BorrowedFd<'_>) -> io::Result<NamespaceHelper> {
        let (mut ours, theirs) = Channel::pair()?;
        if theirs.as_raw_fd() <= libc::STDERR_FILENO || namespace.as_raw_fd() <= libc::STDERR_FILENO {
            return Err(io::Error::other("standard descriptors of this process are closed"));
        }
        let previous_mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // SAFETY: the child makes only async-signal-safe calls, allocates nothing and never returns.
        let forked = match unsafe { fork() } {
            // SAFETY: this is the child; both descriptors are above the standard ones.
            Ok(ForkResult::Child) => unsafe { park(theirs.as_raw_fd(), namespace.as_raw_fd()) },
            Ok(ForkResult::Parent { child }) => Ok(child),
            Err(errno) => Err(io::Error::from(errno)),
        };
        previous_mask.thread_set_mask()?;
        drop(theirs);
        let pid = forked?;
        let has_replied = wait_for_reply(&ours);
        let mut reply = [0; size_of::<i32>()];
        if !has_replied || ours.receive(&mut reply)? != reply.len() {
            // Not reaped: it may be stuck, as any process that enters the namespace would be.
            let _ = kill(pid, Signal::SIGKILL);
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "it cannot be entered in time: its root may hang",
            ));
        }
        let helper = NamespaceHelper { pid, _channel: ours };
        match i32::from_ne_bytes(reply) {
            0 => Ok(helper),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Opens a file of the child's directory in `/proc`.
    pub(super) fn open(&self, name: &str) -> io::Result<File> {
        File::open(format!("/proc/{}/{name}", self.pid))
    }
}

/// Signals, such as those of other children, do not end the wait.
fn wait_for_reply(channel: &Channel) -> bool {
    let deadline = Instant::now() + ENTER_TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match channel.wait_readable(Some(left)) {
            Ok(false) if !left.is_zero() => {}
            result => return result.unwrap_or(false),
        }
    }
}

impl Drop for NamespaceHelper {
    fn drop(&mut self) {
        // The child waits for a packet, so it ends at once and the wait is short.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// The body of the child: it enters the namespace, sends the error number, and waits for its end.
///
/// # Safety
/// Only in the child of a fork. Both descriptors must be above the standard ones.
unsafe fn park(socket: RawFd, namespace: RawFd) -> ! {
    // SAFETY: async-signal-safe calls with integers, and with pointers to variables that outlive them.
    unsafe {
        libc::dup2(socket, 0);
        libc::dup2(namespace, 1);
        close_from(2);
        default_signals();
        let entered = libc::setns(1, libc::CLONE_NEWNS);
        let errno = if entered == 0 { 0 } else { nix::errno::Errno::last_raw() };
        let reply = errno.to_ne_bytes();
        libc::send(0, reply.as_ptr().cast(), reply.len(), libc::MSG_NOSIGNAL);
        let mut ignored = [0_u8; 1];
        libc::recv(0, ignored.as_mut_ptr().cast(), ignored.len(), 0);
        libc::_exit(0)
    }
}
