//! The daemon's handle of the reader of signs: one process while there are mounts with signs. Called from the event loop;
//! never blocks and reads no clock. Mounts are judged without it too, so a reader that fails is replaced seldom, and
//! nothing else happens.

use super::wire::{self, Reply, Request};
use crate::backoff::Backoff;
use crate::children::child::{ChildHandle, Received};
use crate::monitor::{SignSubjects, Time};
use mio::{Registry, Token};
use platform::Errno;
use platform::process::{Child, ChildRole, Launcher, MAX_PACKET};
use platform::signs::Sign;
use std::io;
use std::time::Duration;

/// A reader that has not answered after this time is stuck: it reads memory of the kernel, even on a busy machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is asked for an answer, in turns of the event loop that happen anyway.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// The pause after a reader died, got stuck or could not be started.
const MIN_RESTART_PAUSE: Duration = Duration::from_secs(5);
const MAX_RESTART_PAUSE: Duration = Duration::from_secs(600);
/// Maximum number of killed readers that still exist. More would get stuck in the same way.
const MAX_STRANDED: usize = 2;
/// Maximum number of FUSE file systems that are watched: more would be looked at too seldom.
const MAX_FUSE: usize = 16_384;

pub struct SignsHandle {
    registry: Registry,
    token: Token,
    launcher: Launcher,
    interval: Duration,
    subjects: SignSubjects,
    /// The reader has not been told the interval and the subjects.
    has_news: bool,
    active: Option<ActiveReader>,
    unreaped: Vec<Child>,
    /// No reader is started before this time.
    not_before: Time,
    failures: Backoff<Time>,
    events: Vec<SignsEvent>,
    buffer: Vec<u8>,
}

struct ActiveReader {
    process: ChildHandle,
    asked_at: Time,
    is_answer_due: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SignsEvent {
    Found(Sign),
    Notice(SignsNotice),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignsNotice {
    /// It did not answer in time; it is killed.
    Stuck {
        pid: u32,
    },
    /// It ended unexpectedly, or the launcher could not start it.
    Died {
        pid: u32,
    },
    SpawnFailed {
        errno: Errno,
    },
}

impl SignsHandle {
    /// Starts no reader yet.
    ///
    /// # Errors
    /// Those of [`Launcher::new`].
    pub fn new(registry: Registry, token: Token) -> io::Result<SignsHandle> {
        Ok(SignsHandle {
            registry,
            token,
            launcher: Launcher::new(ChildRole::Signs, None)?,
            interval: Duration::ZERO,
            subjects: SignSubjects::default(),
            has_news: false,
            active: None,
            unreaped: Vec::new(),
            not_before: Time::default(),
            failures: Backoff::new(MIN_RESTART_PAUSE, MAX_RESTART_PAUSE),
            events: Vec::new(),
            buffer: vec![0; MAX_PACKET],
        })
    }

    /// 0: signs are not read.
    pub fn set_interval(&mut self, interval: Duration) {
        self.has_news |= std::mem::replace(&mut self.interval, interval) != interval;
    }

    pub fn set_subjects(&mut self, mut subjects: SignSubjects) {
        subjects.fuse.truncate(MAX_FUSE);
        self.has_news |= self.subjects != subjects;
        self.subjects = subjects;
    }

    fn is_needed(&self) -> bool {
        !self.interval.is_zero() && !self.subjects.is_empty()
    }

    /// Starts or ends the reader, and sends what is new. Must be called at the end of each turn of the event loop.
    pub fn flush(&mut self, now: Time) {
        if !self.is_needed() {
            return self.end_reader();
        }
        if self.active.is_none() {
            self.start(now);
        }
        let Some(active) = &mut self.active else { return };
        if std::mem::take(&mut self.has_news) {
            let outgoing = &mut active.process.outgoing;
            let watch = Request::Watch { interval: self.interval, servers: self.subjects.servers };
            wire::encode_request(outgoing, &watch);
            self.subjects.fuse.iter().for_each(|&device| {
                wire::encode_request(outgoing, &Request::Fuse(device));
            });
        } else if !active.is_answer_due && now >= active.asked_at + PING_INTERVAL {
            wire::encode_request(&mut active.process.outgoing, &Request::Ping);
        } else if active.process.outgoing.is_empty() {
            return;
        }
        if !std::mem::replace(&mut active.is_answer_due, true) {
            active.asked_at = now;
        }
        if active.process.flush(&self.registry).is_err() {
            self.on_died(now);
        }
    }

    fn start(&mut self, now: Time) {
        if now < self.not_before || self.unreaped.len() >= MAX_STRANDED {
            return;
        }
        match ChildHandle::spawn(&self.launcher, &self.registry, self.token) {
            Ok(process) => {
                self.has_news = true;
                self.active = Some(ActiveReader { process, asked_at: now, is_answer_due: false });
            }
            Err((error, child)) => {
                self.unreaped.extend(child);
                self.fail(now, SignsNotice::SpawnFailed { errno: Errno::from_io(&error) });
            }
        }
    }

    /// Handles a channel that is ready for reading or writing.
    pub fn handle_ready(&mut self, now: Time) {
        while let Some(active) = &mut self.active {
            match active.process.receive(&mut self.buffer) {
                Received::Packet(length) => match wire::decode_replies(&self.buffer[..length]) {
                    Ok(replies) => replies.into_iter().for_each(|reply| match reply {
                        Reply::Alive => active.is_answer_due = false,
                        Reply::Found(sign) => self.events.push(SignsEvent::Found(sign)),
                    }),
                    Err(_) => self.on_died(now),
                },
                Received::Nothing => return,
                Received::Closed | Received::ProtocolError => self.on_died(now),
            }
        }
    }

    /// Must be called after a SIGCHLD.
    pub fn reap_children(&mut self, now: Time) {
        self.unreaped.retain_mut(|child| child.try_reap().is_none());
        if self.active.as_mut().is_some_and(|active| active.process.try_reap().is_some()) {
            self.on_died(now);
        }
    }

    /// When [`SignsHandle::handle_deadline`] must be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        match &self.active {
            Some(active) => active.is_answer_due.then(|| active.asked_at + ANSWER_TIMEOUT),
            None => (self.is_needed() && self.unreaped.len() < MAX_STRANDED).then_some(self.not_before),
        }
    }

    pub fn handle_deadline(&mut self, now: Time) {
        let Some(active) = &self.active else { return };
        if active.is_answer_due && now >= active.asked_at + ANSWER_TIMEOUT {
            let pid = active.process.pid();
            self.fail(now, SignsNotice::Stuck { pid });
        }
    }

    /// This process did not run for a while, nor perhaps the reader: its time to answer starts anew.
    pub fn extend_deadline(&mut self, now: Time) {
        if let Some(active) = &mut self.active {
            active.asked_at = now;
        }
    }

    pub fn drain_events(&mut self) -> Vec<SignsEvent> {
        std::mem::take(&mut self.events)
    }

    /// Kills the reader, without waiting.
    pub fn shutdown(&mut self) {
        if let Some(mut active) = self.active.take() {
            active.process.kill();
        }
    }

    fn on_died(&mut self, now: Time) {
        if let Some(active) = &self.active {
            let pid = active.process.pid();
            self.fail(now, SignsNotice::Died { pid });
        }
    }

    fn fail(&mut self, now: Time, notice: SignsNotice) {
        self.not_before = now + self.failures.next(now);
        self.events.push(SignsEvent::Notice(notice));
        self.end_reader();
    }

    fn end_reader(&mut self) {
        if let Some(mut active) = self.active.take() {
            active.process.kill();
            let mut child = active.process.close(&self.registry);
            if child.try_reap().is_none() {
                self.unreaped.push(child);
            }
        }
    }
}
