//! A child of the daemon as the event loop sees it: its process, its channel and the packets still to be sent. Its
//! users, `prober::Pool` and `collector::CollectorHandle`, decide when it is started, what it is sent and when it is
//! killed.

use super::codec::PacketQueue;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use platform::process::{Channel, Child, ExitStatus, Launcher, simulate_child};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

pub(super) struct ChildHandle {
    child: Child,
    channel: Channel,
    token: Token,
    pub(super) outgoing: PacketQueue,
    /// The socket is full, so the event loop reports when there is room.
    waits_for_room: bool,
}

/// What [`ChildHandle::receive`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Received {
    /// A packet of this length.
    Packet(usize),
    /// Nothing for now.
    Nothing,
    /// The other end is closed: the last thread of the child has ended.
    Closed,
    /// The channel carries something that no child sends.
    ProtocolError,
}

impl ChildHandle {
    /// Starts a child, whose channel reports its events with `token`.
    ///
    /// # Errors
    /// Those of [`Launcher::spawn`]. If the channel cannot be registered, the child is killed and must be reaped.
    pub(super) fn spawn(
        launcher: &Launcher,
        registry: &Registry,
        token: Token,
    ) -> Result<ChildHandle, (io::Error, Option<Child>)> {
        let (child, channel) = launcher.spawn().map_err(|error| (error, None))?;
        ChildHandle::register(child, channel, registry, token)
    }

    /// The handle of a child without a process, and the child's end of the channel.
    pub(super) fn simulate(registry: &Registry, token: Token) -> io::Result<(ChildHandle, OwnedFd)> {
        let (child, channel, end) = simulate_child()?;
        let handle = ChildHandle::register(child, channel, registry, token).map_err(|(error, _)| error)?;
        Ok((handle, end))
    }

    fn register(
        child: Child,
        channel: Channel,
        registry: &Registry,
        token: Token,
    ) -> Result<ChildHandle, (io::Error, Option<Child>)> {
        if let Err(error) = SourceFd(&channel.as_raw_fd()).register(registry, token, Interest::READABLE) {
            child.kill();
            return Err((error, Some(child)));
        }
        let outgoing = PacketQueue::default();
        Ok(ChildHandle { child, channel, token, outgoing, waits_for_room: false })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    pub(super) fn has_thread(&self, tid: u32) -> bool {
        self.child.has_thread(tid)
    }

    pub(super) fn try_reap(&mut self) -> Option<ExitStatus> {
        self.child.try_reap()
    }

    /// Sends as many packets as there is room for.
    ///
    /// # Errors
    /// The channel is broken. A closed end is not an error here: [`ChildHandle::receive`] reports it.
    pub(super) fn flush(&mut self, registry: &Registry) -> io::Result<()> {
        let sent_all = match self.send_all() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.outgoing.clear();
                true
            }
            result => result.map(|()| true)?,
        };
        // Only while there is something to send: otherwise each packet that the child reads would wake the daemon.
        if self.waits_for_room == sent_all {
            self.waits_for_room = !sent_all;
            let interest =
                if sent_all { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            SourceFd(&self.channel.as_raw_fd()).reregister(registry, self.token, interest)?;
        }
        Ok(())
    }

    fn send_all(&mut self) -> io::Result<()> {
        while let Some(packet) = self.outgoing.first() {
            self.channel.send(packet)?;
            self.outgoing.remove_first();
        }
        self.channel.flush()
    }

    /// Receives one packet. Must be repeated until it returns `Nothing`.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Received {
        match self.channel.receive(buffer) {
            Ok(0) => Received::Closed,
            Ok(length) => Received::Packet(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
            Err(_) => Received::ProtocolError,
        }
    }

    /// Sends SIGKILL and drops what was not sent.
    pub(super) fn kill(&mut self) {
        self.child.kill();
        self.outgoing.clear();
    }

    /// Closes the channel. The child must be reaped.
    pub(super) fn close(self, registry: &Registry) -> Child {
        // It fails only if the channel is not registered; closing removes it from the poll in any case.
        let _ = SourceFd(&self.channel.as_raw_fd()).deregister(registry);
        self.child
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use platform::process::{ChildRole, MAX_PACKET};
    use std::path::Path;
    use std::time::Duration;

    /// `cat prober` exits at once, `yes prober` runs until it is killed and never reads its channel.
    fn spawn(poll: &Poll, program: &str) -> ChildHandle {
        let launcher = Launcher::new(ChildRole::Prober, Some(Path::new(program))).unwrap();
        ChildHandle::spawn(&launcher, poll.registry(), Token(3)).map_err(|(error, _)| error).unwrap()
    }

    fn wait_until_closed(poll: &mut Poll, handle: &mut ChildHandle) {
        let mut events = Events::with_capacity(4);
        for _ in 0..1000 {
            if handle.receive(&mut vec![0; MAX_PACKET]) == Received::Closed {
                return;
            }
            poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
        }
        panic!("the channel stays open");
    }

    #[test]
    fn channel_of_an_exited_child_is_closed_and_takes_packets_without_error() {
        let mut poll = Poll::new().unwrap();
        let mut handle = spawn(&poll, "/bin/cat");
        wait_until_closed(&mut poll, &mut handle);
        handle.outgoing.packet_with_room(1).push(1);
        handle.flush(poll.registry()).unwrap();
        assert!(handle.outgoing.is_empty());
    }

    #[test]
    fn packets_without_room_wait_and_are_dropped_with_the_child() {
        let mut poll = Poll::new().unwrap();
        let mut handle = spawn(&poll, "/usr/bin/yes");
        for _ in 0..100 {
            handle.outgoing.packet_with_room(MAX_PACKET).extend(vec![1; MAX_PACKET]);
        }
        handle.flush(poll.registry()).unwrap();
        assert!(!handle.outgoing.is_empty() && handle.waits_for_room);
        assert_eq!(handle.receive(&mut [0; 8]), Received::Nothing);
        handle.kill();
        assert!(handle.outgoing.is_empty());
        wait_until_closed(&mut poll, &mut handle);
        let mut child = handle.close(poll.registry());
        while child.try_reap().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(child.try_reap(), Some(ExitStatus::Signaled(9)));
    }
}
