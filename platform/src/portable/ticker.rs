//! An event source that becomes ready now and then: for what no kernel tells of.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event::Source};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Calls a function on a thread of its own, again and again, and is ready when that has said yes.
#[derive(Debug)]
pub(crate) struct Ticker {
    ready: UnixStream,
    /// Closed when this is dropped, which ends the thread.
    _end: SyncSender<()>,
}

impl Ticker {
    /// # Errors
    /// No thread or no socket can be had.
    pub(crate) fn start(
        interval: Duration,
        mut look: impl FnMut() -> bool + Send + 'static,
    ) -> io::Result<Ticker> {
        let (ready, tell) = UnixStream::pair()?;
        ready.set_nonblocking(true)?;
        tell.set_nonblocking(true)?;
        let (end, ended) = sync_channel::<()>(0);
        std::thread::Builder::new().name("msm-ticker".into()).spawn(move || {
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                // A socket that is full has said it often enough.
                if look() && (&tell).write(&[1]).is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
                    return;
                }
            }
        })?;
        Ok(Ticker { ready, _end: end })
    }

    /// Was it ready since the last call? Never waits.
    pub(crate) fn take(&mut self) -> bool {
        let (mut any, mut buffer) = (false, [0; 64]);
        loop {
            match self.ready.read(&mut buffer) {
                Ok(1..) => any = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return any,
            }
        }
    }
}

impl Source for Ticker {
    fn register(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        SourceFd(&self.ready.as_raw_fd()).register(registry, token, Interest::READABLE)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        SourceFd(&self.ready.as_raw_fd()).reregister(registry, token, Interest::READABLE)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.ready.as_raw_fd()).deregister(registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::sync::mpsc::channel;

    #[test]
    fn it_is_ready_when_the_function_says_so_and_ends_with_its_owner() {
        let mut poll = Poll::new().unwrap();
        let (asked, asking) = channel();
        let mut calls = 0;
        let look = move || {
            calls += 1;
            asked.send(()).is_ok() && calls % 2 == 0
        };
        let mut ticker = Ticker::start(Duration::from_millis(5), look).unwrap();
        poll.registry().register(&mut ticker, Token(7), Interest::READABLE).unwrap();
        assert!(!ticker.take() || asking.try_iter().count() >= 2);
        let mut events = Events::with_capacity(4);
        for _ in 0..3 {
            poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
            assert_eq!(events.iter().map(mio::event::Event::token).collect::<Vec<_>>(), [Token(7)]);
            assert!(ticker.take());
        }
        assert!(asking.try_iter().count() >= 6, "each second time");
        drop(ticker);
        // The thread drops what it calls when it ends.
        while asking.recv_timeout(Duration::from_secs(20)).is_ok() {}
        assert_eq!(asking.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected));
    }
}
