//! Where evidence is asked for, in the daemon: at most one collector at work, started when there is something to
//! collect and ended when there was nothing for a while. Called from the loop; never blocks and reads no clock.

use super::wire::{self, CollectRequest, Part, Reply, Request};
use crate::monitor::Time;
use mio::event::Source as _;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use platform::evidence::Evidence;
use platform::process::{Channel, Child, Launcher, MAX_PACKET};
use platform::{DeviceNumber, Errno};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::Duration;

/// A collector that has not told all by then is stuck: its own limits together are shorter, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(8);
/// A collector that has nothing to do for this long ends: it takes some megabytes, and a new one some milliseconds.
const IDLE: Duration = Duration::from_secs(3);
/// Collectors that were killed and are still there. More would be stuck in the same way.
const MAX_LEFT_BEHIND: usize = 2;
/// After one died or could not be started, the next is not started for this long.
const PAUSE: Duration = Duration::from_secs(10);

/// The collector and what is expected of it.
pub struct CollectorHandle {
    registry: Registry,
    token: Token,
    launcher: Launcher,
    active: Option<Active>,
    /// ExitStatus or killed, and not reaped yet.
    left_behind: Vec<Child>,
    wanted: Vec<Request>,
    expected: FxHashMap<DeviceNumber, Expected>,
    not_before: Time,
    told_full: bool,
    events: VecDeque<CollectorEvent>,
    buffer: Vec<u8>,
}

struct Active {
    child: Child,
    channel: Channel,
    outbox: VecDeque<Vec<u8>>,
    /// The socket was full: told when there is room.
    blocked: bool,
    idle_since: Option<Time>,
}

struct Expected {
    parts: Vec<Part>,
    by: Time,
}

/// What the desk tells the daemon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CollectorEvent {
    /// Something was learned.
    Found {
        /// Of this file system.
        device: DeviceNumber,
        /// This.
        evidence: Box<Evidence>,
    },
    /// No more will come of what was asked for.
    Ended {
        /// Of this file system.
        device: DeviceNumber,
    },
    /// Something that an operator should know.
    Notice(CollectorNotice),
}

/// News of collectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CollectorNotice {
    /// One did not finish; it is killed.
    Stuck {
        /// Its process id.
        pid: u32,
    },
    /// So many could not be killed that no more are started.
    TooMany,
    /// None can be started.
    SpawnFailed {
        /// Why.
        errno: Errno,
    },
    /// One ended by itself.
    Died {
        /// Its process id.
        pid: u32,
    },
}

impl CollectorHandle {
    /// No collector yet. Its socket will use `token`. `program` is what is run, if not the program that runs now.
    ///
    /// # Errors
    /// `/dev/null` cannot be opened.
    pub fn new(registry: Registry, token: Token, program: Option<PathBuf>) -> io::Result<CollectorHandle> {
        Ok(CollectorHandle {
            registry,
            token,
            launcher: Launcher::of_collectors(program.as_deref())?,
            active: None,
            left_behind: Vec::new(),
            wanted: Vec::new(),
            expected: FxHashMap::default(),
            not_before: Time::default(),
            told_full: false,
            events: VecDeque::new(),
            buffer: Vec::new(),
        })
    }

    /// Wants evidence about this. It is sent off by [`CollectorHandle::flush`].
    pub fn collect(&mut self, now: Time, subject: CollectRequest) {
        let expected = Expected { parts: subject.parts(), by: now + LIMIT };
        self.expected.insert(subject.suspect.device_number, expected);
        self.wanted.push(Request::Collect(subject));
    }

    /// Wants a look at the thread that is stuck there.
    pub fn inspect_thread(&mut self, device: DeviceNumber, pid: u32, tid: u32) {
        if self.active.is_some() || !self.wanted.is_empty() {
            self.wanted.push(Request::Thread { device, pid, tid });
        }
    }

    /// The end of a turn of the loop: sends what was collected, to a new collector if need be.
    pub fn flush(&mut self, now: Time) {
        if !self.wanted.is_empty() {
            if self.active.is_none() {
                self.start(now);
            }
            let packets = wire::packets(&std::mem::take(&mut self.wanted));
            match &mut self.active {
                Some(active) => active.outbox.extend(packets),
                None => self.end_all(),
            }
        }
        let Some(active) = &mut self.active else { return };
        active.idle_since = if self.expected.is_empty() { active.idle_since.or(Some(now)) } else { None };
        if active.pump(&self.registry, self.token).is_err() {
            self.gone(now, true);
        }
    }

    fn start(&mut self, now: Time) {
        if now < self.not_before {
            return;
        }
        if self.left_behind.len() >= MAX_LEFT_BEHIND {
            if !std::mem::replace(&mut self.told_full, true) {
                self.events.push_back(CollectorEvent::Notice(CollectorNotice::TooMany));
            }
            return;
        }
        self.told_full = false;
        let started = self.launcher.spawn().and_then(|(child, channel)| {
            match SourceFd(&channel.as_raw_fd()).register(&self.registry, self.token, Interest::READABLE) {
                Ok(()) => Ok((child, channel)),
                Err(error) => {
                    child.kill();
                    self.left_behind.push(child);
                    Err(error)
                }
            }
        });
        match started {
            Ok((child, channel)) => {
                let outbox = VecDeque::new();
                self.active = Some(Active { child, channel, outbox, blocked: false, idle_since: None });
            }
            Err(error) => {
                self.not_before = now + PAUSE;
                self.events.push_back(CollectorEvent::Notice(CollectorNotice::SpawnFailed {
                    errno: Errno::from_io(&error),
                }));
            }
        }
    }

    /// Its socket is ready: takes in all that there is.
    pub fn handle_ready(&mut self, now: Time) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(MAX_PACKET, 0);
        while let Some(active) = &mut self.active {
            match active.channel.receive(&mut buffer) {
                Ok(0) => self.gone(now, true),
                Ok(length) => match wire::messages::<Reply>(&buffer[..length]) {
                    Ok(replies) => replies.into_iter().for_each(|reply| self.take(reply)),
                    Err(_) => self.gone(now, true),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.gone(now, true),
            }
        }
        self.buffer = buffer;
    }

    fn take(&mut self, Reply { device, part, evidence }: Reply) {
        self.events.push_back(CollectorEvent::Found { device, evidence: Box::new(evidence) });
        if let Some(expected) = self.expected.get_mut(&device) {
            expected.parts.retain(|&awaited| awaited != part);
            if expected.parts.is_empty() {
                self.expected.remove(&device);
                self.events.push_back(CollectorEvent::Ended { device });
            }
        }
    }

    /// A child of this process has ended, perhaps one of ours.
    pub fn reap_children(&mut self, now: Time) {
        self.left_behind.retain_mut(|child| child.try_reap().is_none());
        if self.active.as_mut().is_some_and(|active| active.child.try_reap().is_some()) {
            self.handle_ready(now); // its last words
            if self.active.is_some() {
                self.gone(now, true);
            }
        }
    }

    /// When [`CollectorHandle::handle_deadline`] wants to be called, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let idle = self.active.as_ref().and_then(|active| active.idle_since).map(|since| since + IDLE);
        self.expected.values().map(|expected| expected.by).chain(idle).min()
    }

    /// Does what is due.
    pub fn handle_deadline(&mut self, now: Time) {
        if self.expected.values().any(|expected| expected.by <= now) {
            if let Some(active) = &self.active {
                let pid = active.child.pid();
                self.events.push_back(CollectorEvent::Notice(CollectorNotice::Stuck { pid }));
            }
            self.gone(now, false);
        }
        let idle_since = self.active.as_ref().and_then(|active| active.idle_since);
        if idle_since.is_some_and(|since| since + IDLE <= now) {
            self.gone(now, false);
        }
    }

    /// What has happened since the last call.
    pub fn drain_events(&mut self) -> impl Iterator<Item = CollectorEvent> + '_ {
        self.events.drain(..)
    }

    /// Has something happened since the last call of [`CollectorHandle::drain_events`]?
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Ends the collector and forgets what was wanted. Waits for nothing.
    pub fn shutdown(&mut self) {
        if let Some(active) = self.active.take() {
            active.child.kill();
        }
        self.expected.clear();
        self.events.clear();
    }

    /// The collector is not used any more; `by_itself` if that was not our doing.
    fn gone(&mut self, now: Time, by_itself: bool) {
        if let Some(mut active) = self.active.take() {
            // An error would mean that it was not registered; closing it takes it out of the poll in any case.
            let _ = SourceFd(&active.channel.as_raw_fd()).deregister(&self.registry);
            active.child.kill();
            if by_itself {
                self.not_before = now + PAUSE;
                self.events
                    .push_back(CollectorEvent::Notice(CollectorNotice::Died { pid: active.child.pid() }));
            }
            if active.child.try_reap().is_none() {
                self.left_behind.push(active.child);
            }
        }
        self.end_all();
    }

    fn end_all(&mut self) {
        let ended = self.expected.drain().map(|(device, _)| CollectorEvent::Ended { device });
        self.events.extend(ended);
    }
}

impl Active {
    fn pump(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        while let Some(packet) = self.outbox.front() {
            match self.channel.send(packet) {
                Ok(()) => {
                    self.outbox.pop_front();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // That it is gone is seen when its socket ends.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.outbox.clear(),
                Err(error) => return Err(error),
            }
        }
        let flushed = match self.channel.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            Ok(()) | Err(_) => true,
        };
        let blocked = !self.outbox.is_empty() || !flushed;
        if blocked != std::mem::replace(&mut self.blocked, blocked) {
            let interest = if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            SourceFd(&self.channel.as_raw_fd()).reregister(registry, token, interest)?;
        }
        Ok(())
    }
}
