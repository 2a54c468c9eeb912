//! Which probes are requested and started, and what follows when one is overdue or ends without a response.

use super::registry::MountEntry;
use super::scheduler::{Due, DueProbe, EndedProbe, ProbeSubject, Readiness};
use super::{Effect, Failure, Health, Monitor, ProbeId, Time};
use platform::{Call, DeviceNumber, MountKey};
use std::path::Path;
use std::time::Duration;

/// A hung mount below one that has not responded yet is judged this much later than that: one hang, one alarm.
const ANCESTOR_GRACE: Duration = Duration::from_millis(20);

impl Monitor {
    /// Probes a mount as soon as possible, unless that is already being done, or it is known to be hung.
    pub(super) fn request_probe(&mut self, now: Time, key: MountKey) {
        let Some(entry) = self.registry.get(key).filter(|entry| !entry.is_hidden()) else { return };
        let superblock = entry.superblock();
        match self.scheduler.readiness(key, superblock) {
            // The run waits for the response, unless it is about a known hang.
            Readiness::Pending if !entry.health().is_hung() => return,
            Readiness::Pending | Readiness::Abandoned => {}
            Readiness::PathHung => self.scheduler.ensure_timer(Due::Mount(key), now),
            Readiness::Ready | Readiness::SuperblockHung { .. }
                if self.registry.hung_ancestor(key).is_some() =>
            {
                return self.mark_blocked(now, key);
            }
            Readiness::SuperblockHung { call, waited } => {
                if *entry.health() == Health::Pending {
                    self.set_dead(now, key, Failure::hung(call, waited, None));
                }
                if self.scheduler.can_retry(superblock) {
                    self.scheduler.ensure_timer(Due::Superblock(superblock), now);
                }
            }
            Readiness::Ready => return self.scheduler.enqueue(key, superblock),
        }
        self.scheduler.settle_in_run(key);
    }

    /// Starts the probes for which the window has room.
    pub(super) fn start_ready(&mut self, now: Time) {
        while let Some(key) = self.scheduler.pop_ready() {
            let Some(entry) = self.registry.get(key) else { continue };
            let superblock = entry.superblock();
            if self.registry.hung_ancestor(key).is_some() {
                self.scheduler.skip(key, superblock);
                self.mark_blocked(now, key);
            } else if let Some(probe) = self.scheduler.start(now, key, superblock, entry.settings()) {
                self.counters.on_probe_started(entry.fstype_index());
                let target = entry.target().clone();
                self.effects.push_back(Effect::StartProbe { probe, target });
            }
        }
        while let Some(key) = self.scheduler.pop_unprobeable() {
            self.defer(now, key);
        }
    }

    /// Leaves a mount unjudged for a while.
    pub(super) fn defer(&mut self, now: Time, key: MountKey) {
        if let Some(entry) = self.registry.get(key) {
            self.scheduler.defer(now, key, entry.superblock());
        }
    }

    /// A mount's own interval is over, or a pause after its failure or a hang of its path.
    pub(super) fn on_mount_due(&mut self, now: Time, key: MountKey) {
        let Some(entry) = self.registry.get(key) else { return };
        let superblock = entry.superblock();
        if entry.probe_interval() != self.scheduler.run_interval() {
            self.scheduler.set_timer(Due::Mount(key), now + entry.probe_interval());
        }
        if entry.is_hidden() || !self.scheduler.can_retry_path(key) {
            return self.request_probe(now, key);
        }
        if self.registry.hung_ancestor(key).is_none() {
            return self.scheduler.enqueue(key, superblock);
        }
        self.scheduler.clear_path_hang(key); // it is probed again when the ancestor responds
        self.mark_blocked(now, key);
    }

    /// Probes a hung superblock again by one of its mounts that can be reached.
    pub(super) fn on_superblock_due(&mut self, now: Time, superblock: DeviceNumber) {
        if !self.scheduler.can_retry(superblock) {
            return;
        }
        let members = self.registry.members(superblock);
        if let Some(&key) = members.iter().find(|&&key| self.registry.hung_ancestor(key).is_none()) {
            self.scheduler.enqueue(key, superblock);
        } else if let Some(entry) = members.first().and_then(|&key| self.registry.get(key)) {
            self.scheduler.set_timer(Due::Superblock(superblock), now + entry.settings().poll_interval);
        }
    }

    /// A hung ancestor blocks the path to a mount; only the ancestor is reported.
    fn mark_blocked(&mut self, now: Time, key: MountKey) {
        let ancestor = self.registry.hung_ancestor(key).map(Path::to_path_buf);
        self.set_dead(now, key, Failure::hung(Call::Identify, Duration::ZERO, ancestor));
        self.scheduler.settle_in_run(key);
    }

    /// Probes the mounts that a hung ancestor blocked, after a hang has ended.
    pub(super) fn reprobe_blocked(&mut self, now: Time) {
        let is_blocked = |entry: &&MountEntry| {
            entry.health().failure().is_some_and(|failure| failure.blocked_by.is_some())
                && !self.scheduler.is_path_hung(entry.key())
        };
        let blocked: Vec<MountKey> =
            self.registry.entries().filter(is_blocked).map(MountEntry::key).collect();
        for key in blocked {
            self.request_probe(now, key);
        }
    }

    pub(super) fn on_probe_due(&mut self, now: Time, due: DueProbe) {
        if due.remaining.is_zero() {
            self.effects.push_back(Effect::ConfirmHang { probe: due.id });
        }
        if due.is_suspect {
            self.on_probe_suspect(now, due);
        }
    }

    /// Removes a probe that ended.
    pub(super) fn end_probe(&mut self, id: ProbeId) -> Option<EndedProbe> {
        let ended = self.scheduler.end(id)?;
        self.forget_unused_superblock(ended.superblock);
        Some(ended)
    }

    /// Forgets a superblock that has neither mounts nor a probe.
    pub(super) fn forget_unused_superblock(&mut self, superblock: DeviceNumber) {
        if self.registry.members(superblock).is_empty() && self.scheduler.forget_superblock(superblock) {
            self.evidence.forget(superblock);
        }
    }

    /// A probe ended without a response: its mount is probed again, up to a limit.
    pub(super) fn on_probe_aborted(&mut self, now: Time, id: ProbeId) {
        let Some(EndedProbe { key, superblock, is_current: true }) = self.end_probe(id) else { return };
        if self.scheduler.count_aborted(key) {
            self.defer(now, key);
        } else {
            self.scheduler.enqueue(key, superblock);
        }
    }

    /// An abandoned probe has ended: its mount can be probed again.
    pub(super) fn on_probe_freed(&mut self, now: Time, id: ProbeId) {
        if let Some(EndedProbe { key, superblock, .. }) = self.end_probe(id) {
            self.retry_after_hang(now, key, superblock);
        }
    }

    pub(super) fn retry_after_hang(&mut self, now: Time, key: MountKey, superblock: DeviceNumber) {
        let settings = self.registry.get(key).map(MountEntry::settings);
        self.scheduler.retry_after_hang(now, key, superblock, settings);
    }

    /// The prober confirms that an overdue probe is inside a call.
    pub(super) fn on_probe_stuck(&mut self, now: Time, id: ProbeId, call: Call, elapsed: Duration) {
        let Some(subject) = self.scheduler.probes().confirming(id) else { return };
        let ProbeSubject { key, superblock, timeout } = subject;
        let has_hung_ancestor = self.registry.hung_ancestor(key).is_some();
        let wait_until = if elapsed < timeout {
            Some(now + (timeout - elapsed)) // its thread started late
        } else if has_hung_ancestor {
            None
        } else {
            self.pending_ancestor_deadline(now, key).map(|deadline| deadline + ANCESTOR_GRACE)
        };
        if let Some(deadline) = wait_until {
            return self.scheduler.probes_mut().postpone(id, deadline);
        }
        self.scheduler.probes_mut().abandon(id);
        self.effects.push_back(Effect::AbandonProbe { probe: id });
        // Before the mount is reached, only its path is hung: its superblock is not, and the other mounts need not wait.
        if call == Call::Identify || has_hung_ancestor {
            self.scheduler.release_superblock(id, superblock);
            self.forget_unused_superblock(superblock);
            self.on_path_hung(now, id, subject, elapsed);
        } else {
            self.on_superblock_hung(now, subject, call, elapsed);
        }
    }

    fn on_path_hung(&mut self, now: Time, id: ProbeId, subject: ProbeSubject, elapsed: Duration) {
        let key = subject.key;
        let Some(entry) = self.registry.get(key) else { return };
        let is_full = subject.timeout >= entry.settings().timeout;
        if self.scheduler.on_path_hung(now, id, key, elapsed, is_full) {
            let ancestor = self.registry.hung_ancestor(key).map(Path::to_path_buf);
            self.set_dead(now, key, Failure::hung(Call::Identify, elapsed, ancestor));
            self.scheduler.settle_in_run(key);
        }
    }

    fn on_superblock_hung(&mut self, now: Time, subject: ProbeSubject, call: Call, elapsed: Duration) {
        let superblock = subject.superblock;
        let members = self.registry.members(superblock).to_vec();
        let first = members.first().and_then(|&key| self.registry.get(key));
        let is_full = first.is_none_or(|entry| subject.timeout >= entry.settings().timeout);
        self.scheduler.on_superblock_hung(now, superblock, call, elapsed, is_full);
        for key in members {
            if self.registry.get(key).is_some_and(|entry| !entry.health().is_hung()) {
                self.set_dead(now, key, Failure::hung(call, elapsed, None));
            }
            self.scheduler.settle_in_run(key);
        }
    }

    /// When the last of the ancestors that have not responded yet has to respond.
    pub(super) fn pending_ancestor_deadline(&self, now: Time, key: MountKey) -> Option<Time> {
        let ancestors = self.registry.ancestors(key);
        let deadlines = ancestors.filter_map(|entry| self.scheduler.past_grace_deadline(entry.key()));
        deadlines.map(|deadline| deadline.max(now)).max()
    }
}
