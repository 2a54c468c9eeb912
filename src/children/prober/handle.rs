//! The pool's handle of one prober: its process and the bookkeeping of its probes.

use super::ProbeId;
use super::pool::IDLE_AFTER;
use super::wire;
use crate::children::child::ChildHandle;
use crate::children::codec::PacketQueue;
use crate::monitor::Time;
use platform::{Target, User};
use std::collections::VecDeque;
use std::time::Duration;

/// A prober's main thread touches no file system, so it replies at once unless it was stopped, was never ready, or
/// the machine is overloaded.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct ProberHandle {
    pub(super) process: ChildHandle,
    pub(super) user: User,
    pub(super) phase: Phase,
    pub(super) is_ready: bool,
    /// Probes without a response.
    pub(super) held: usize,
    /// The abandoned ones among `held`.
    pub(super) abandoned: usize,
    /// The ones among `held` that will be abandoned when fewer probers are stranded.
    pub(super) retained: usize,
    /// Requested confirmations that have no deadline yet.
    new_confirms: Vec<ProbeId>,
    /// Deadlines of the confirmations, in ascending order.
    pub(super) confirm_deadlines: VecDeque<(Time, ProbeId)>,
    pub(super) threads_failed_logged_at: Option<Time>,
    pub(super) stranding_logged: bool,
    /// Since when an active prober of a user has had nothing to do.
    pub(super) idle_since: Option<Time>,
    /// When to check a stranded prober for ended threads.
    pub(super) check_threads_at: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Gets the new probes of its class.
    Active,
    /// Gets no new probes, and is killed when all its probes have responded or were abandoned.
    Abandoned,
    /// SIGKILL was sent.
    Killed { at: Time, is_stranded: bool },
}

impl ProberHandle {
    pub(super) fn new(process: ChildHandle, user: User) -> ProberHandle {
        ProberHandle {
            process,
            user,
            phase: Phase::Active,
            is_ready: false,
            held: 0,
            abandoned: 0,
            retained: 0,
            new_confirms: Vec::new(),
            confirm_deadlines: VecDeque::new(),
            threads_failed_logged_at: None,
            stranding_logged: false,
            idle_since: None,
            check_threads_at: None,
        }
    }

    /// Takes over `count` encoded probes that waited for a prober.
    pub(super) fn enqueue(&mut self, packets: &mut PacketQueue, count: usize) {
        self.process.outgoing.append(packets);
        self.idle_since = None;
        self.held += count;
    }

    pub(super) fn probe(&mut self, probe: ProbeId, target: &Target) {
        wire::encode_probe(self.process.outgoing.packet_with_room(wire::MAX_REQUEST), probe, target);
        self.idle_since = None;
        self.held += 1;
    }

    /// Requests the state of a probe. The deadline is set when the request is sent.
    pub(super) fn confirm(&mut self, probe: ProbeId) {
        wire::encode_confirm(self.process.outgoing.packet_with_room(wire::MAX_REQUEST), probe);
        self.new_confirms.push(probe);
    }

    /// Requests the position of a probe, without a deadline.
    pub(super) fn locate(&mut self, probe: ProbeId) {
        wire::encode_locate(self.process.outgoing.packet_with_room(wire::MAX_REQUEST), probe);
    }

    /// Sets the deadline of the new confirmations and returns their probes.
    pub(super) fn set_confirm_deadlines(&mut self, now: Time) -> std::vec::Drain<'_, ProbeId> {
        let deadline = now + CONFIRM_TIMEOUT;
        self.confirm_deadlines.extend(self.new_confirms.iter().map(|&probe| (deadline, probe)));
        self.new_confirms.drain(..)
    }

    /// A probe has ended.
    pub(super) fn release(&mut self, now: Time) {
        self.held -= 1;
        if self.held == 0 && self.phase == Phase::Active && self.user.is_foreign() {
            self.idle_since = Some(now);
        }
    }

    /// When it ends unless it gets a probe.
    pub(super) fn idle_end(&self) -> Option<Time> {
        self.idle_since.map(|since| since + IDLE_AFTER)
    }

    /// No confirmation is expected in time any more.
    pub(super) fn forget_confirms(&mut self) {
        self.new_confirms.clear();
        self.confirm_deadlines.clear();
    }

    pub(super) fn kill(&mut self, now: Time) {
        self.process.kill();
        self.idle_since = None;
        self.phase = Phase::Killed { at: now, is_stranded: false };
        self.forget_confirms();
    }

    pub(super) fn is_stranded(&self) -> bool {
        matches!(self.phase, Phase::Killed { is_stranded: true, .. })
    }

    pub(super) fn holds_only_abandoned(&self) -> bool {
        self.held == self.abandoned
    }
}
