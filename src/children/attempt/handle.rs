//! The daemon's handles of attempts. Called from the event loop; never blocks and reads no clock.

use super::wire::{self, AttemptMessage, AttemptRequest};
use crate::children::child::{ChildHandle, Received};
use crate::monitor::Time;
use crate::monitor::remedy::{AttemptEnd, MAX_RUNNING};
use mio::{Registry, Token};
use platform::MountKey;
use platform::process::{Child, ChildRole, Launcher, MAX_PACKET};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// An attempt that says nothing for so long is stuck: its longest step has 150 seconds, and facts are read with limits of
/// seconds.
const MAX_SILENCE: Duration = Duration::from_secs(240);
/// Lines about calls of one attempt: steps retry, and the log is spared.
const MAX_CALLS: usize = 100;
/// Of one attempt, which has at most a dozen steps. A process that reports more has a bug.
const MAX_REPORTS: usize = 50;

pub struct AttemptPool {
    registry: Registry,
    /// The first of as many as there can be attempts.
    first_token: usize,
    launcher: Launcher,
    running: [Option<Running>; MAX_RUNNING],
    /// Ended or killed, and not reaped yet.
    unreaped: Vec<Child>,
    events: VecDeque<AttemptEvent>,
    buffer: Vec<u8>,
}

struct Running {
    mount: MountKey,
    process: ChildHandle,
    deadline: Time,
    calls: usize,
    reports: usize,
    has_finished: bool,
}

/// What the loop learns about the attempt on this mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttemptEvent {
    Message(MountKey, AttemptMessage),
    Ended(MountKey, AttemptEnd),
}

impl AttemptPool {
    /// Attempts will use [`MAX_RUNNING`] tokens from this one, and run `program`, or the program that is running now.
    ///
    /// # Errors
    /// Those of [`Launcher::new`].
    pub fn new(registry: Registry, first_token: usize, program: Option<PathBuf>) -> io::Result<AttemptPool> {
        Ok(AttemptPool {
            registry,
            first_token,
            launcher: Launcher::new(ChildRole::Attempt, program.as_deref())?,
            running: Default::default(),
            unreaped: Vec::new(),
            events: VecDeque::new(),
            buffer: vec![0; MAX_PACKET],
        })
    }

    /// Starts an attempt. If it cannot be started, that is its end.
    pub fn start(&mut self, now: Time, request: &AttemptRequest) {
        let mount = request.death.key;
        if let Err(why) = self.try_start(now, request) {
            let end = AttemptEnd::Died(format!("its process could not be started: {why}"));
            self.events.push_back(AttemptEvent::Ended(mount, end));
        }
    }

    fn try_start(&mut self, now: Time, request: &AttemptRequest) -> Result<(), String> {
        let free = self.running.iter().position(Option::is_none).ok_or("too many are running")?;
        if self.unreaped.len() >= MAX_RUNNING {
            return Err("processes of earlier attempts were killed and still exist".to_owned());
        }
        let packet = wire::encode(request).map_err(|error| error.to_string())?;
        let token = Token(self.first_token + free);
        let mut process =
            ChildHandle::spawn(&self.launcher, &self.registry, token).map_err(|(error, child)| {
                self.unreaped.extend(child);
                error.to_string()
            })?;
        process.outgoing.packet_with_room(packet.len()).extend(packet);
        let (mount, deadline) = (request.death.key, now + MAX_SILENCE);
        let mut running = Running { mount, process, deadline, calls: 0, reports: 0, has_finished: false };
        let is_sent = running.process.flush(&self.registry);
        self.running[free] = Some(running);
        if is_sent.is_err() {
            self.end(free, "its process does not take the request");
        }
        Ok(())
    }

    /// Whether a channel of an attempt has this token.
    #[must_use]
    pub fn has_token(&self, token: Token) -> bool {
        (self.first_token..self.first_token + MAX_RUNNING).contains(&token.0)
    }

    /// Handles a channel that is ready for reading or writing.
    pub fn handle_ready(&mut self, now: Time, token: Token) {
        let at = token.0 - self.first_token;
        while let Some(running) = &mut self.running[at] {
            match running.process.receive(&mut self.buffer) {
                Received::Packet(length) => match wire::decode(&self.buffer[..length]) {
                    Some(AttemptMessage::Finished) => running.has_finished = true,
                    Some(AttemptMessage::Report(_)) if running.reports >= MAX_REPORTS => {
                        self.end(at, "its process reported too much");
                    }
                    Some(message) => {
                        running.deadline = now + MAX_SILENCE;
                        let is_call = matches!(message, AttemptMessage::Call(_));
                        running.calls += usize::from(is_call);
                        running.reports += usize::from(!is_call);
                        if running.calls <= MAX_CALLS || !is_call {
                            self.events.push_back(AttemptEvent::Message(running.mount, message));
                        }
                    }
                    None => self.end(at, "its process sent something unknown"),
                },
                Received::Nothing => {
                    if running.process.flush(&self.registry).is_err() {
                        self.end(at, "its process does not take the request");
                    }
                    return;
                }
                Received::Closed | Received::ProtocolError => self.end(at, "its process ended early"),
            }
        }
    }

    /// Must be called after a SIGCHLD. The end of a process shows when its channel is closed.
    pub fn reap_children(&mut self) {
        self.unreaped.retain_mut(|child| child.try_reap().is_none());
    }

    /// When [`AttemptPool::handle_deadline`] must be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.running.iter().flatten().map(|running| running.deadline).min()
    }

    pub fn handle_deadline(&mut self, now: Time) {
        for at in 0..MAX_RUNNING {
            if self.running[at].as_ref().is_some_and(|running| running.deadline <= now) {
                self.end(at, "its process reported nothing for too long and was killed");
            }
        }
    }

    pub fn drain_events(&mut self) -> impl Iterator<Item = AttemptEvent> + '_ {
        self.events.drain(..)
    }

    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// `why` it ends, unless it has finished.
    fn end(&mut self, at: usize, why: &str) {
        let Some(mut running) = self.running[at].take() else { return };
        let end = if running.has_finished { AttemptEnd::Finished } else { AttemptEnd::Died(why.to_owned()) };
        self.events.push_back(AttemptEvent::Ended(running.mount, end));
        if !running.has_finished {
            running.process.kill();
        }
        let mut child = running.process.close(&self.registry);
        if child.try_reap().is_none() {
            self.unreaped.push(child);
        }
    }
}
