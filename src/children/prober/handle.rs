//! One prober as the daemon sees it: its process, its socket, and what is still to be sent. Carries out; what is to
//! be done, and when, is decided in `pool`.

use super::ProbeId;
use super::wire::{self, Reply};
use crate::monitor::Time;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use platform::Target;
use platform::process::{Channel, Child, MAX_PACKET};
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A prober's main thread touches no file system, so that it answers at once unless it was stopped, never came up,
/// or the machine is at its end.
pub(super) const CONFIRM_LIMIT: Duration = Duration::from_secs(1);

/// One prober.
pub(super) struct Handle {
    /// The lane that it serves.
    pub(super) lane: usize,
    pub(super) child: Child,
    channel: Channel,
    token: Token,
    /// Packets to be sent; the last may still grow.
    outbox: VecDeque<Vec<u8>>,
    /// The socket was full: told when there is room.
    blocked: bool,
    pub(super) phase: Phase,
    /// Its first packet has come.
    pub(super) greeted: bool,
    /// Probes that it holds.
    pub(super) held: usize,
    /// Of them, those that were condemned.
    pub(super) condemned: usize,
    /// Of them, those that should be but had to be left in place.
    pub(super) left: usize,
    /// Probes to be confirmed that were not given a deadline yet.
    unconfirmed: Vec<ProbeId>,
    /// When what is to be confirmed must have been; in the order of time.
    pub(super) confirms: VecDeque<(Time, ProbeId)>,
    /// When it was last told that it can start no threads.
    pub(super) threads_failed: Option<Time>,
    /// It is lost, and people were told so.
    pub(super) loss_told: bool,
    /// It is lost, and some of its threads may end before others: when they are looked after.
    pub(super) look_again: Option<Time>,
}

/// The life of a prober.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// New probes go to it.
    Active,
    /// It gets no new ones, and is killed when those that it has are answered or condemned.
    Condemned,
    /// It was sent SIGKILL.
    Killed {
        /// When.
        at: Time,
        /// It was found to be still there.
        lost: bool,
    },
}

impl Handle {
    /// # Errors
    /// The socket could not be registered; the child is given back to be reaped.
    pub(super) fn new(
        lane: usize,
        child: Child,
        channel: Channel,
        registry: &Registry,
        token: Token,
    ) -> Result<Handle, (io::Error, Child)> {
        if let Err(error) = SourceFd(&channel.as_raw_fd()).register(registry, token, Interest::READABLE) {
            return Err((error, child));
        }
        Ok(Handle {
            lane,
            child,
            channel,
            token,
            outbox: VecDeque::new(),
            blocked: false,
            phase: Phase::Active,
            greeted: false,
            held: 0,
            condemned: 0,
            left: 0,
            unconfirmed: Vec::new(),
            confirms: VecDeque::new(),
            threads_failed: None,
            loss_told: false,
            look_again: None,
        })
    }

    /// Takes over packets of questions made before it was there.
    pub(super) fn adopt(&mut self, packets: impl IntoIterator<Item = Vec<u8>>, probes: usize) {
        self.outbox.extend(packets);
        self.held += probes;
    }

    /// Puts a question.
    pub(super) fn ask(&mut self, probe: ProbeId, target: &Target) {
        wire::put_probe(room(&mut self.outbox), probe, target);
        self.held += 1;
    }

    /// Asks what has become of a probe. The deadline is set when the question is sent off.
    pub(super) fn confirm(&mut self, probe: ProbeId) {
        wire::put_confirm(room(&mut self.outbox), probe);
        self.unconfirmed.push(probe);
    }

    /// Asks where a probe is. Nobody waits for the answer.
    pub(super) fn locate(&mut self, probe: ProbeId) {
        wire::put_locate(room(&mut self.outbox), probe);
    }

    /// Gives the newly confirmed their deadline and names them.
    pub(super) fn date_confirms(&mut self, now: Time) -> std::vec::Drain<'_, ProbeId> {
        let by = now + CONFIRM_LIMIT;
        self.confirms.extend(self.unconfirmed.iter().map(|&probe| (by, probe)));
        self.unconfirmed.drain(..)
    }

    /// Sends what can be sent.
    ///
    /// # Errors
    /// The prober cannot be talked to. (That it is gone is no error: that is seen when its socket ends.)
    pub(super) fn pump(&mut self, registry: &Registry) -> io::Result<()> {
        while let Some(packet) = self.outbox.front() {
            match self.channel.send(packet) {
                Ok(()) => {
                    self.outbox.pop_front();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.watch(registry, true),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.outbox.clear(),
                Err(error) => return Err(error),
            }
        }
        match self.channel.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.watch(registry, true),
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            Ok(()) | Err(_) => self.watch(registry, false),
        }
    }

    /// Listens for room only while it is waited for: else each packet that the prober takes would wake the daemon.
    fn watch(&mut self, registry: &Registry, blocked: bool) -> io::Result<()> {
        if blocked == self.blocked {
            return Ok(());
        }
        self.blocked = blocked;
        let interest = if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        SourceFd(&self.channel.as_raw_fd()).reregister(registry, self.token, interest)
    }

    /// Receives the packets that are there, until there are no more.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        mut reply: impl FnMut(&mut Handle, Reply),
    ) -> Received {
        loop {
            match self.channel.receive(buffer) {
                Ok(0) => return Received::End,
                Ok(length) => {
                    for message in wire::replies(&buffer[..length]) {
                        match message {
                            Ok(message) => reply(self, message),
                            Err(wire::Malformed) => return Received::Nonsense,
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Received::All,
                Err(_) => return Received::Nonsense,
            }
        }
    }

    /// Sends SIGKILL. Nothing more is said to it.
    pub(super) fn kill(&mut self, now: Time) {
        self.child.kill();
        self.phase = Phase::Killed { at: now, lost: false };
        self.outbox.clear();
        self.unconfirmed.clear();
        self.confirms.clear();
    }

    /// Has it nothing left but what it was condemned for?
    pub(super) fn only_condemned(&self) -> bool {
        self.held == self.condemned
    }

    pub(super) fn close(self, registry: &Registry) -> Child {
        // An error would mean that it was not registered; closing it takes it out of the poll in any case.
        let _ = SourceFd(&self.channel.as_raw_fd()).deregister(registry);
        self.child
    }
}

/// What came of receiving.
pub(super) enum Received {
    /// All that was there, so far.
    All,
    /// The other end is closed: the last thread of the prober is gone.
    End,
    /// What no prober says.
    Nonsense,
}

/// The last packet, or a new one, with room for one more message.
pub(super) fn room(packets: &mut VecDeque<Vec<u8>>) -> &mut Vec<u8> {
    if packets.back().is_none_or(|last| last.len() + wire::MAX_MESSAGE > MAX_PACKET) {
        packets.push_back(Vec::new());
    }
    packets.back_mut().expect("one was pushed if there was none")
}
