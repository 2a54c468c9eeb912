//! An event source that is ready after an interval, for what the kernel does not report.

use mio::Interest;
use mio::unix::SourceFd;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Becomes ready once per interval, driven by its own thread.
#[derive(Debug)]
pub(crate) struct IntervalTimer {
    receiver: UnixStream,
    /// Dropping it ends the thread.
    _stop: SyncSender<()>,
}

impl IntervalTimer {
    /// # Errors
    /// No thread or no socket can be made.
    pub(crate) fn start(interval: Duration) -> io::Result<IntervalTimer> {
        let (receiver, sender) = UnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        let (stop, stopped) = sync_channel::<()>(0);
        std::thread::Builder::new().name("msm-timer".into()).spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let _ = (&sender).write(&[1]); // a full socket is ready already
            }
        })?;
        Ok(IntervalTimer { receiver, _stop: stop })
    }

    /// Whether it was ready since the last call; never blocks.
    pub(crate) fn take_ready(&mut self) -> bool {
        let (mut was_ready, mut buffer) = (false, [0; 64]);
        loop {
            match self.receiver.read(&mut buffer) {
                Ok(1..) => was_ready = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return was_ready,
            }
        }
    }
}

impl_source!(IntervalTimer, |timer| SourceFd(&timer.receiver.as_raw_fd()), Interest::READABLE);

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};

    #[test]
    fn timer_is_ready_in_each_interval_and_its_thread_ends_with_it() {
        let mut poll = Poll::new().unwrap();
        let mut timer = IntervalTimer::start(Duration::from_millis(5)).unwrap();
        poll.registry().register(&mut timer, Token(7), Interest::READABLE).unwrap();
        let mut events = Events::with_capacity(4);
        for _ in 0..3 {
            poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
            assert_eq!(events.iter().map(mio::event::Event::token).collect::<Vec<_>>(), [Token(7)]);
            assert!(timer.take_ready());
        }
        let mut receiver = timer.receiver.try_clone().unwrap();
        drop(timer);
        receiver.set_nonblocking(false).unwrap();
        receiver.read_to_end(&mut Vec::new()).expect("the thread closes its end");
    }
}
