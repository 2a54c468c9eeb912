//! Where changes of the mount table are heard of.

use super::checked;
use crate::bsd::events::VQ_MOUNT;
use crate::portable::ticker::Ticker;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event::Source};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{null, null_mut};
use std::time::Duration;

#[cfg(target_os = "freebsd")]
use crate::bsd::events::WANTED_ON_FREEBSD as WANTED;
#[cfg(target_os = "macos")]
use crate::bsd::events::WANTED_ON_MACOS as WANTED;

/// How often to look where the kernel does not tell.
const INTERVAL: Duration = Duration::from_secs(1);

/// What tells that there is something to read.
#[derive(Debug)]
pub(super) enum Events {
    /// A kqueue for nothing but the events of file systems. The poll watches the queue itself, so that its masks are
    /// not lost in there: mio knows nothing of them.
    Queue(OwnedFd),
    /// The kernel does not tell, or is not asked.
    Timer(Ticker),
}

impl Events {
    pub(super) fn new() -> io::Result<Events> {
        if !cfg!(feature = "interval")
            && let Ok(queue) = queue()
        {
            return Ok(Events::Queue(queue));
        }
        Ok(Events::Timer(Ticker::start(INTERVAL, || true)?))
    }

    /// The next mask, if one waits.
    pub(super) fn next(&mut self) -> io::Result<Option<u32>> {
        let queue = match self {
            Events::Queue(queue) => queue,
            Events::Timer(ticker) => return Ok(ticker.take().then_some(VQ_MOUNT)),
        };
        let mut event = nothing();
        let no_time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: no changes, room for one event, and a time that outlives the call.
        let count = checked(unsafe {
            libc::kevent(queue.as_raw_fd(), null(), 0, &raw mut event, 1, &raw const no_time)
        })?;
        Ok((count > 0).then_some(event.fflags))
    }
}

impl Source for Events {
    fn register(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        match self {
            Events::Queue(queue) => {
                SourceFd(&queue.as_raw_fd()).register(registry, token, Interest::READABLE)
            }
            Events::Timer(ticker) => ticker.register(registry, token, Interest::READABLE),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        match self {
            Events::Queue(queue) => {
                SourceFd(&queue.as_raw_fd()).reregister(registry, token, Interest::READABLE)
            }
            Events::Timer(ticker) => ticker.reregister(registry, token, Interest::READABLE),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Events::Queue(queue) => SourceFd(&queue.as_raw_fd()).deregister(registry),
            Events::Timer(ticker) => ticker.deregister(registry),
        }
    }
}

fn queue() -> io::Result<OwnedFd> {
    // SAFETY: no arguments; the result is checked.
    let queue = checked(unsafe { libc::kqueue() })?;
    // SAFETY: the descriptor was just made, and is ours alone.
    let queue = unsafe { OwnedFd::from_raw_fd(queue) };
    // SAFETY: plain numbers.
    checked(unsafe { libc::fcntl(queue.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    let mut wanted = nothing();
    wanted.filter = libc::EVFILT_FS;
    wanted.flags = libc::EV_ADD | libc::EV_CLEAR;
    wanted.fflags = WANTED;
    // SAFETY: one change that outlives the call, room for no events.
    checked(unsafe { libc::kevent(queue.as_raw_fd(), &raw const wanted, 1, null_mut(), 0, null()) })?;
    Ok(queue)
}

fn nothing() -> libc::kevent {
    // SAFETY: numbers and a pointer, for which zero is a value.
    unsafe { std::mem::zeroed() }
}
