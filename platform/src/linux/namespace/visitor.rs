//! A child that enters a namespace and sits there until it has been looked at through `/proc`.

use crate::process::Channel;
use crate::process::spawn::{close_from, default_signals};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// To enter is a matter of microseconds, unless the root of the namespace hangs.
const ENTER_LIMIT: Duration = Duration::from_secs(5);

pub(super) struct Visitor {
    pid: Pid,
    /// It ends when this is closed.
    _channel: Channel,
}

impl Visitor {
    /// # Errors
    /// Those of `fork(2)` and `setns(2)`; `TimedOut`.
    pub(super) fn enter(namespace: BorrowedFd<'_>) -> io::Result<Visitor> {
        let (mut ours, theirs) = Channel::pair()?;
        if theirs.as_raw_fd() <= libc::STDERR_FILENO || namespace.as_raw_fd() <= libc::STDERR_FILENO {
            return Err(io::Error::other("standard descriptors of this process are closed"));
        }
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // SAFETY: the child makes only async-signal-safe calls, allocates nothing, and never returns from here.
        let forked = match unsafe { fork() } {
            // SAFETY: we are the child of a fork.
            Ok(ForkResult::Child) => unsafe { sit(theirs.as_raw_fd(), namespace.as_raw_fd()) },
            Ok(ForkResult::Parent { child }) => Ok(child),
            Err(errno) => Err(io::Error::from(errno)),
        };
        before.thread_set_mask()?;
        drop(theirs);
        let pid = forked?;
        let said = ours.wait_readable(Some(ENTER_LIMIT)).unwrap_or(false);
        let mut answer = [0; size_of::<i32>()];
        if !said || ours.receive(&mut answer)? != answer.len() {
            // Not waited for: it may be stuck, as everybody would be in there.
            let _ = kill(pid, Signal::SIGKILL);
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody comes into it: its root may hang"));
        }
        let visitor = Visitor { pid, _channel: ours };
        match i32::from_ne_bytes(answer) {
            0 => Ok(visitor),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// Opens what `/proc` has of the visitor under this name.
    pub(super) fn open(&self, name: &str) -> io::Result<File> {
        File::open(format!("/proc/{}/{name}", self.pid))
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        // It waits for a packet, so that it ends at once and this waits for nothing.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// The child's life: it enters, says what came of it, and waits for its end.
///
/// # Safety
/// Only in the child of a fork. Both descriptors must be above those of the standard streams.
unsafe fn sit(socket: RawFd, namespace: RawFd) -> ! {
    // SAFETY: async-signal-safe calls with plain numbers, and pointers to variables that outlive them.
    unsafe {
        libc::dup2(socket, 0);
        libc::dup2(namespace, 1);
        close_from(2);
        default_signals();
        let entered = libc::setns(1, libc::CLONE_NEWNS);
        let errno = if entered == 0 { 0 } else { nix::errno::Errno::last_raw() };
        let answer = errno.to_ne_bytes();
        libc::send(0, answer.as_ptr().cast(), answer.len(), libc::MSG_NOSIGNAL);
        let mut nothing = [0_u8; 1];
        libc::recv(0, nothing.as_mut_ptr().cast(), nothing.len(), 0);
        libc::_exit(0)
    }
}
