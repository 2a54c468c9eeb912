//! The daemon's handle of the collector: at most one works at a time. It is started when there is something to collect
//! and stopped after a while without work. Called from the event loop; never blocks and reads no clock.

use super::wire::{self, CollectRequest, EvidenceKind, Reply, Request};
use crate::children::child::{ChildHandle, Received};
use crate::monitor::Time;
use mio::{Registry, Token};
use platform::evidence::Evidence;
use platform::process::{Child, ChildRole, Launcher, MAX_PACKET};
use platform::{DeviceNumber, Errno};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// A collector that has not sent everything after this time is stuck: the sum of its own limits is lower, even on a
/// busy machine.
const COLLECT_TIMEOUT: Duration = Duration::from_secs(8);
/// A collector without work is stopped after this time: it takes a few megabytes, and starting one a few milliseconds.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum number of killed collectors that still exist. More would get stuck in the same way.
const MAX_STRANDED: usize = 2;
/// The pause after a collector died or could not be started.
const RESTART_PAUSE: Duration = Duration::from_secs(10);

pub struct CollectorHandle {
    registry: Registry,
    token: Token,
    launcher: Launcher,
    active: Option<ActiveCollector>,
    /// Ended or killed, and not reaped yet.
    unreaped: Vec<Child>,
    requests: Vec<Request>,
    expected: FxHashMap<DeviceNumber, Expected>,
    /// No collector is started before this time.
    not_before: Time,
    limit_logged: bool,
    events: VecDeque<CollectorEvent>,
    buffer: Vec<u8>,
}

struct ActiveCollector {
    process: ChildHandle,
    idle_since: Option<Time>,
}

/// The evidence that is still pending for one file system.
struct Expected {
    kinds: Vec<EvidenceKind>,
    by: Time,
}

/// What the collector reports to the daemon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CollectorEvent {
    Found {
        device: DeviceNumber,
        evidence: Box<Evidence>,
    },
    /// The request about this file system is finished.
    Ended {
        device: DeviceNumber,
    },
    Notice(CollectorNotice),
}

/// What an operator should know about the collectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CollectorNotice {
    /// It did not finish in time; it is killed.
    Stuck {
        pid: u32,
    },
    /// The maximum number of killed collectors still exist, so no more are started.
    TooMany,
    SpawnFailed {
        errno: Errno,
    },
    NotStarted,
    /// It ended unexpectedly.
    Died {
        pid: u32,
    },
}

impl CollectorHandle {
    /// Starts no collector yet. Collectors will use `token` and run `program`, or the program that is running now.
    ///
    /// # Errors
    /// Those of [`Launcher::new`].
    pub fn new(registry: Registry, token: Token, program: Option<PathBuf>) -> io::Result<CollectorHandle> {
        Ok(CollectorHandle {
            registry,
            token,
            launcher: Launcher::new(ChildRole::Collector, program.as_deref())?,
            active: None,
            unreaped: Vec::new(),
            requests: Vec::new(),
            expected: FxHashMap::default(),
            not_before: Time::default(),
            limit_logged: false,
            events: VecDeque::new(),
            buffer: vec![0; MAX_PACKET],
        })
    }

    /// Requests evidence. The request is sent by [`CollectorHandle::flush`].
    pub fn collect(&mut self, now: Time, request: CollectRequest) {
        let expected = Expected { kinds: request.expected_kinds(), by: now + COLLECT_TIMEOUT };
        self.expected.insert(request.suspect.device_number, expected);
        self.requests.push(Request::Collect(request));
    }

    /// Requests the state of a stuck thread, if a collector works or is about to.
    pub fn inspect_thread(&mut self, device: DeviceNumber, pid: u32, tid: u32) {
        if self.active.is_some() || !self.requests.is_empty() {
            self.requests.push(Request::InspectThread { device, pid, tid });
        }
    }

    /// Sends the requests, to a new collector if there is none. Must be called at the end of each turn of the event loop.
    pub fn flush(&mut self, now: Time) {
        if !self.requests.is_empty() {
            if self.active.is_none() {
                self.start(now);
            }
            let requests = std::mem::take(&mut self.requests);
            match &mut self.active {
                Some(active) => {
                    requests.iter().for_each(|request| wire::encode(&mut active.process.outgoing, request));
                }
                None => self.end_requests(),
            }
        }
        let Some(active) = &mut self.active else { return };
        active.idle_since = if self.expected.is_empty() { active.idle_since.or(Some(now)) } else { None };
        if active.process.flush(&self.registry).is_err() {
            self.on_died(now);
        }
    }

    fn start(&mut self, now: Time) {
        if now < self.not_before {
            return;
        }
        if self.unreaped.len() >= MAX_STRANDED {
            if !std::mem::replace(&mut self.limit_logged, true) {
                self.notify(CollectorNotice::TooMany);
            }
            return;
        }
        self.limit_logged = false;
        match ChildHandle::spawn(&self.launcher, &self.registry, self.token) {
            Ok(process) => self.active = Some(ActiveCollector { process, idle_since: None }),
            Err((error, child)) => {
                self.unreaped.extend(child);
                self.not_before = now + RESTART_PAUSE;
                self.notify(CollectorNotice::SpawnFailed { errno: Errno::from_io(&error) });
            }
        }
    }

    /// Simulates a collector, unless there is one, and returns its end of the channel. For tests that are the collector.
    ///
    /// # Errors
    /// There are no more descriptors.
    #[doc(hidden)]
    pub fn simulate_collector(&mut self) -> io::Result<Option<OwnedFd>> {
        if self.active.is_some() {
            return Ok(None);
        }
        let (process, end) = ChildHandle::simulate(&self.registry, self.token)?;
        self.active = Some(ActiveCollector { process, idle_since: None });
        Ok(Some(end))
    }

    /// Handles a channel that is ready for reading or writing.
    pub fn handle_ready(&mut self, now: Time) {
        while let Some(active) = &mut self.active {
            match active.process.receive(&mut self.buffer) {
                Received::Packet(length) => match wire::decode(&self.buffer[..length]) {
                    Ok(replies) => replies.into_iter().for_each(|reply| self.handle_reply(reply)),
                    Err(_) => self.on_died(now),
                },
                Received::Nothing => return,
                Received::Closed | Received::ProtocolError => self.on_died(now),
            }
        }
    }

    fn handle_reply(&mut self, Reply { device, kind, evidence }: Reply) {
        self.events.push_back(CollectorEvent::Found { device, evidence: Box::new(evidence) });
        if let Some(expected) = self.expected.get_mut(&device) {
            expected.kinds.retain(|&expected| expected != kind);
            if expected.kinds.is_empty() {
                self.expected.remove(&device);
                self.events.push_back(CollectorEvent::Ended { device });
            }
        }
    }

    /// Must be called after a SIGCHLD.
    pub fn reap_children(&mut self, now: Time) {
        self.unreaped.retain_mut(|child| child.try_reap().is_none());
        if self.active.as_mut().is_some_and(|active| active.process.try_reap().is_some()) {
            self.handle_ready(now); // what it sent before
            if self.active.is_some() {
                self.on_died(now);
            }
        }
    }

    /// When [`CollectorHandle::handle_deadline`] must be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.expected.values().map(|expected| expected.by).chain(self.idle_deadline()).min()
    }

    fn idle_deadline(&self) -> Option<Time> {
        self.active.as_ref()?.idle_since.map(|since| since + IDLE_TIMEOUT)
    }

    pub fn handle_deadline(&mut self, now: Time) {
        if self.expected.values().any(|expected| expected.by <= now) {
            if let Some(active) = &self.active {
                self.notify(CollectorNotice::Stuck { pid: active.process.pid() });
            }
            self.end_collector();
        } else if self.idle_deadline().is_some_and(|deadline| deadline <= now) {
            self.end_collector();
        }
    }

    pub fn drain_events(&mut self) -> impl Iterator<Item = CollectorEvent> + '_ {
        self.events.drain(..)
    }

    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Kills the collector and forgets all requests, without waiting.
    pub fn shutdown(&mut self) {
        if let Some(mut active) = self.active.take() {
            active.process.kill();
        }
        self.expected.clear();
        self.events.clear();
    }

    fn on_died(&mut self, now: Time) {
        if let Some(active) = &self.active {
            self.not_before = now + RESTART_PAUSE;
            // A child that the launcher could not start never had a process id.
            self.notify(match active.process.pid() {
                0 => CollectorNotice::NotStarted,
                pid => CollectorNotice::Died { pid },
            });
        }
        self.end_collector();
    }

    fn end_collector(&mut self) {
        if let Some(mut active) = self.active.take() {
            active.process.kill();
            let mut child = active.process.close(&self.registry);
            if child.try_reap().is_none() {
                self.unreaped.push(child);
            }
        }
        self.end_requests();
    }

    fn end_requests(&mut self) {
        let ended = self.expected.drain().map(|(device, _)| CollectorEvent::Ended { device });
        self.events.extend(ended);
    }

    fn notify(&mut self, notice: CollectorNotice) {
        self.events.push_back(CollectorEvent::Notice(notice));
    }
}
