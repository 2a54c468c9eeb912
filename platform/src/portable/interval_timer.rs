//! An event source that is ready after an interval, for what the kernel does not report.

use mio::Interest;
use mio::unix::SourceFd;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Calls a function in each interval, on its own thread, and is ready when the function has returned true.
#[derive(Debug)]
pub(crate) struct IntervalTimer {
    receiver: UnixStream,
    /// Dropping it ends the thread.
    _stop: SyncSender<()>,
}

impl IntervalTimer {
    /// # Errors
    /// No thread or no socket can be made.
    pub(crate) fn start(
        interval: Duration,
        mut is_due: impl FnMut() -> bool + Send + 'static,
    ) -> io::Result<IntervalTimer> {
        let (receiver, sender) = UnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        let (stop, stopped) = sync_channel::<()>(0);
        std::thread::Builder::new().name("msm-timer".into()).spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                // A full socket is ready already.
                let is_broken = |error: io::Error| error.kind() == ErrorKind::BrokenPipe;
                if is_due() && (&sender).write(&[1]).is_err_and(is_broken) {
                    return;
                }
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
    use std::sync::mpsc::channel;

    #[test]
    fn timer_is_ready_when_the_function_returns_true_and_its_thread_ends_with_it() {
        let mut poll = Poll::new().unwrap();
        let (called, calls) = channel();
        let mut count = 0;
        let is_due = move || {
            count += 1;
            called.send(()).is_ok() && count % 2 == 0
        };
        let mut timer = IntervalTimer::start(Duration::from_millis(5), is_due).unwrap();
        poll.registry().register(&mut timer, Token(7), Interest::READABLE).unwrap();
        assert!(!timer.take_ready() || calls.try_iter().count() >= 2);
        let mut events = Events::with_capacity(4);
        for _ in 0..3 {
            poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
            assert_eq!(events.iter().map(mio::event::Event::token).collect::<Vec<_>>(), [Token(7)]);
            assert!(timer.take_ready());
        }
        assert!(calls.try_iter().count() >= 6, "ready after every second call");
        drop(timer);
        // The thread drops the function when it ends.
        while calls.recv_timeout(Duration::from_secs(20)).is_ok() {}
        assert_eq!(calls.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected));
    }
}
