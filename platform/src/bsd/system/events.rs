//! The source of changes of the mount table.

use super::checked;
use crate::bsd::events::VQ_MOUNT;
use crate::portable::interval_timer::IntervalTimer;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event::Source};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{null, null_mut};
use std::time::Duration;

#[cfg(target_os = "freebsd")]
use crate::bsd::events::FREEBSD_EVENTS as REQUESTED_EVENTS;
#[cfg(target_os = "macos")]
use crate::bsd::events::MACOS_EVENTS as REQUESTED_EVENTS;

/// How often the table is read if the kernel reports no events.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// An event source that is ready when the table should be read.
#[derive(Debug)]
pub(super) enum Events {
    /// A separate kqueue for file system events. The poll watches this queue, because mio would drop the event masks.
    Queue(OwnedFd),
    /// The kernel does not report events, or the feature `interval` is on.
    Timer(IntervalTimer),
}

impl Events {
    pub(super) fn new() -> io::Result<Events> {
        if !cfg!(feature = "interval")
            && let Ok(queue) = queue()
        {
            return Ok(Events::Queue(queue));
        }
        Ok(Events::Timer(IntervalTimer::start(READ_INTERVAL)?))
    }

    /// The next pending mask.
    pub(super) fn next(&mut self) -> io::Result<Option<u32>> {
        let queue = match self {
            Events::Queue(queue) => queue,
            Events::Timer(timer) => return Ok(timer.take_ready().then_some(VQ_MOUNT)),
        };
        let mut event = empty_event();
        let no_wait = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: no changes, room for one event, and a timeout that outlives the call.
        let count = checked(unsafe {
            libc::kevent(queue.as_raw_fd(), null(), 0, &raw mut event, 1, &raw const no_wait)
        })?;
        Ok((count > 0).then_some(event.fflags))
    }

    fn with_source(&mut self, action: impl FnOnce(&mut dyn Source) -> io::Result<()>) -> io::Result<()> {
        match self {
            Events::Queue(queue) => action(&mut SourceFd(&queue.as_raw_fd())),
            Events::Timer(timer) => action(timer),
        }
    }
}

impl Source for Events {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.with_source(|source| source.register(registry, token, interest))
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.with_source(|source| source.reregister(registry, token, interest))
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.with_source(|source| source.deregister(registry))
    }
}

fn queue() -> io::Result<OwnedFd> {
    // SAFETY: no arguments; the result is checked.
    let queue = checked(unsafe { libc::kqueue() })?;
    // SAFETY: the descriptor was just made, and nothing else owns it.
    let queue = unsafe { OwnedFd::from_raw_fd(queue) };
    // SAFETY: integer arguments only.
    checked(unsafe { libc::fcntl(queue.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    let mut request = empty_event();
    request.filter = libc::EVFILT_FS;
    request.flags = libc::EV_ADD | libc::EV_CLEAR;
    request.fflags = REQUESTED_EVENTS;
    // SAFETY: one change that outlives the call, room for no events.
    checked(unsafe { libc::kevent(queue.as_raw_fd(), &raw const request, 1, null_mut(), 0, null()) })?;
    Ok(queue)
}

fn empty_event() -> libc::kevent {
    // SAFETY: integers and a pointer, for which zero is valid.
    unsafe { std::mem::zeroed() }
}
