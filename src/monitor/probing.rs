//! Requests and starts probes, and handles probes that are overdue or end without a response.

use super::registry::MountEntry;
use super::scheduler::{Due, ProbeSubject, Readiness};
use super::{Effect, Failure, Health, Monitor, PROOF_TIME, ProbeId, ProbeSelection, Time};
use platform::{Call, DeviceNumber, Errno, MountKey, Target};
use std::time::Duration;

/// A hung mount below one that has not responded yet is judged this much later than that mount, so that one hang causes
/// one alarm.
const ANCESTOR_GRACE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy)]
pub(super) struct EndedProbe {
    pub(super) key: MountKey,
    pub(super) superblock: DeviceNumber,
    /// Did its mount still wait for it?
    pub(super) is_current: bool,
    /// It was started before the machine was suspended, or on another path.
    pub(super) is_outdated: bool,
}

/// Reminders wait so long after a pause, in which every mount is probed again.
pub(super) const REMINDERS_AFTER_PAUSE: Duration = Duration::from_secs(10);

impl Monitor {
    /// Probes a mount as soon as possible, unless that is already being done, or it is known to be hung.
    pub(super) fn request_probe(&mut self, now: Time, key: MountKey) {
        let is_blocked = self.registry.hung_ancestor(key).is_some();
        let Some(entry) = self.registry.get_mut(key).filter(|entry| !entry.is_hidden) else { return };
        let superblock = entry.superblock();
        if !entry.has_usable_path() {
            return self.on_denied(now, key, Call::Identify, Errno::ENAMETOOLONG);
        }
        match self.scheduler.readiness(entry) {
            // The run waits for the response, unless the probe is a retry of a known hang.
            Readiness::Pending if !entry.health.is_hung() || entry.blocked_by().is_some() => return,
            Readiness::Pending | Readiness::Abandoned => {}
            Readiness::PathHung => self.scheduler.timers.set_if_none(Due::Mount(key), now),
            Readiness::Ready | Readiness::SuperblockHung { .. } if is_blocked => {
                return self.mark_blocked(now, key);
            }
            Readiness::SuperblockHung { call, waited } => {
                self.scheduler.complete_in_run(entry);
                let was_blocked = entry.blocked_by().is_some();
                let can_retry = self.scheduler.can_retry(superblock);
                if entry.health == Health::Pending || (was_blocked && !can_retry) {
                    self.set_dead(now, key, Failure::hung(call, waited, None));
                }
                if can_retry && was_blocked {
                    self.scheduler.timers.set(Due::Superblock(superblock), now); // the last judgement may be old
                } else if can_retry {
                    self.scheduler.timers.set_if_none(Due::Superblock(superblock), now);
                }
                return;
            }
            Readiness::Ready => return self.scheduler.enqueue(entry),
        }
        self.scheduler.complete_in_run(entry);
    }

    /// Probes mounts for somebody who waits: also those that are known to be dead, without the pause before their retry. A
    /// mount that another blocks is judged with that one.
    pub(super) fn probe_on_request(&mut self, now: Time, selection: &ProbeSelection) {
        let is_selected = |entry: &&MountEntry| selection.contains(entry.key());
        let selected: Vec<MountKey> =
            self.registry.ordered().filter(is_selected).map(MountEntry::key).collect();
        for key in selected {
            self.registry.await_judgement(key);
            let Some(entry) = self.registry.get(key) else { continue };
            let superblock = entry.superblock();
            match self.scheduler.readiness(entry) {
                Readiness::PathHung => self.scheduler.timers.set_at_latest(Due::Mount(key), now),
                Readiness::SuperblockHung { .. } if self.scheduler.can_retry(superblock) => {
                    self.scheduler.timers.set_at_latest(Due::Superblock(superblock), now);
                }
                _ => self.request_probe(now, key),
            }
        }
    }

    pub(super) fn start_ready(&mut self, now: Time) {
        while let Some(key) = self.scheduler.pop_ready() {
            let is_blocked = self.registry.hung_ancestor(key).is_some();
            let entry = self.registry.get_mut(key).filter(|entry| entry.schedule.is_queued());
            let Some(entry) = entry else { continue };
            if is_blocked {
                self.scheduler.skip(entry);
                self.mark_blocked(now, key);
            } else {
                let probe = self.scheduler.start(now, entry);
                self.counters.on_probe_started(entry.fstype_index);
                let first_wait = |interval| self.scheduler.first_wait(interval, key);
                let data = self.data_paths.begin(now, entry, first_wait);
                self.effects
                    .push_back(Effect::StartProbe { probe, target: Target { data, ..entry.target() } });
            }
        }
        while let Some(key) = self.scheduler.pop_unprobeable() {
            self.defer(now, key);
        }
    }

    pub(super) fn defer(&mut self, now: Time, key: MountKey) {
        if let Some(entry) = self.registry.get_mut(key) {
            self.scheduler.defer(now, entry);
        }
    }

    /// A mount's own interval has passed, or the pause after its failure or after a hang of its path.
    pub(super) fn on_mount_due(&mut self, now: Time, key: MountKey) {
        let is_blocked = self.registry.hung_ancestor(key).is_some();
        let Some(entry) = self.registry.get_mut(key) else { return };
        if entry.settings.probe_interval != self.scheduler.run_interval() {
            self.scheduler.timers.set(Due::Mount(key), now + entry.settings.probe_interval);
        }
        if entry.is_hidden || self.scheduler.readiness(entry) != Readiness::PathHung {
            self.request_probe(now, key);
        } else if is_blocked {
            entry.schedule.clear_path_hang(); // it is probed again when the ancestor responds
            self.mark_blocked(now, key);
        } else {
            self.scheduler.enqueue(entry);
        }
    }

    /// Probes a hung superblock again through one of its mounts that can be reached.
    pub(super) fn on_superblock_due(&mut self, now: Time, superblock: DeviceNumber) {
        if !self.scheduler.can_retry(superblock) {
            return;
        }
        // A hang in the data path ends only by a probe of the data path.
        let unproven = |key: &MountKey| self.data_paths.is_unproven(superblock, *key);
        let members =
            || self.registry.members(superblock).filter(|key| unproven(key).is_none_or(|wanted| wanted));
        let reachable = members().find(|&key| self.registry.hung_ancestor(key).is_none());
        let Some(key) = reachable.or_else(|| members().next()) else { return };
        let is_reachable = reachable.is_some();
        let Some(entry) = self.registry.get_mut(key) else { return };
        if is_reachable && !entry.schedule.is_queued() {
            self.scheduler.enqueue(entry);
        } else if !is_reachable {
            self.scheduler.timers.set(Due::Superblock(superblock), now + entry.settings.poll_interval);
        }
    }

    /// A hung ancestor blocks the path to a mount; only the ancestor is reported.
    fn mark_blocked(&mut self, now: Time, key: MountKey) {
        let ancestor = self.registry.hung_ancestor(key).cloned();
        self.set_dead(now, key, Failure::hung(Call::Identify, Duration::ZERO, ancestor));
    }

    /// Probes the mounts that a hung ancestor blocked, and blocks no longer: if they hang by themselves, that was not
    /// reported. Called after a hang has ended or mounts have moved.
    pub(super) fn reprobe_blocked(&mut self, now: Time) {
        for key in self.registry.wrongly_blocked() {
            if self.registry.hung_ancestor(key).is_some() {
                self.mark_blocked(now, key);
            } else if let Some(entry) = self.registry.get_mut(key) {
                self.scheduler.unblock(&mut entry.schedule);
                self.request_probe(now, key);
            }
        }
    }

    pub(super) fn end_probe(&mut self, id: ProbeId) -> Option<EndedProbe> {
        let ProbeSubject { key, superblock, is_outdated, .. } = self.scheduler.end(id)?;
        let entry = self.registry.get_mut(key);
        let is_used = entry.as_ref().is_some_and(|it| !it.is_hidden && it.superblock() == superblock);
        let is_current = entry.is_some_and(|entry| entry.schedule.end(id));
        if !is_used {
            self.forget_unused_superblock(superblock);
        }
        Some(EndedProbe { key, superblock, is_current, is_outdated })
    }

    pub(super) fn forget_unused_superblock(&mut self, superblock: DeviceNumber) {
        if self.registry.members(superblock).next().is_none() && self.scheduler.forget_superblock(superblock)
        {
            self.evidence.forget(superblock);
        }
    }

    /// A probe ended without a response: its mount is probed again, up to a limit.
    pub(super) fn on_probe_aborted(&mut self, now: Time, id: ProbeId) {
        let Some(EndedProbe { key, is_current: true, .. }) = self.end_probe(id) else { return };
        if let Some(entry) = self.registry.get_mut(key) {
            self.scheduler.on_aborted(now, entry);
        }
    }

    pub(super) fn on_probe_freed(&mut self, now: Time, id: ProbeId) {
        if let Some(EndedProbe { key, superblock, .. }) = self.end_probe(id) {
            self.scheduler.plan_retry(now, superblock, self.registry.get(key));
        }
    }

    /// The prober has proven that an overdue probe is stuck.
    pub(super) fn on_probe_stuck(&mut self, now: Time, id: ProbeId, call: Call, elapsed: Duration) {
        let Some(subject) = self.scheduler.probes.confirming(id) else { return };
        let ProbeSubject { key, superblock, timeout, .. } = subject;
        let has_hung_ancestor = self.registry.hung_ancestor(key).is_some();
        let missing = timeout.saturating_sub(elapsed + PROOF_TIME);
        let wait_until = if !missing.is_zero() {
            Some(now + missing) // its thread started late, or its process did not run
        } else if has_hung_ancestor {
            None
        } else {
            self.pending_ancestor_deadline(now, key).map(|deadline| deadline + ANCESTOR_GRACE)
        };
        if let Some(deadline) = wait_until {
            self.registry.mark_changed(key);
            return self.scheduler.probes.postpone(id, deadline);
        }
        let elapsed = elapsed.max(timeout); // during the proof at the latest
        self.scheduler.probes.abandon(id);
        self.effects.push_back(Effect::AbandonProbe { probe: id });
        // If the probe has not reached the mount, only the path is hung: not its superblock, so the other mounts need not wait.
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
        let Some(entry) = self.registry.get_mut(key) else { return };
        if subject.is_on_old_path {
            if entry.schedule.end(id) {
                self.request_probe(now, key);
            }
            return;
        }
        let is_full = subject.timeout >= entry.settings.timeout;
        if entry.schedule.set_path_hung(now, id, elapsed, is_full) {
            let ancestor = self.registry.hung_ancestor(key).cloned();
            self.set_dead(now, key, Failure::hung(Call::Identify, elapsed, ancestor));
        }
    }

    fn on_superblock_hung(&mut self, now: Time, subject: ProbeSubject, call: Call, elapsed: Duration) {
        let superblock = subject.superblock;
        let members: Vec<MountKey> = self.registry.members(superblock).collect();
        let first = members.first().and_then(|&key| self.registry.get(key));
        let is_full = first.is_none_or(|entry| subject.timeout >= entry.settings.timeout);
        let waited = self.scheduler.on_superblock_hung(now, superblock, call, elapsed, is_full);
        for key in members {
            let is_blocked = self.registry.hung_ancestor(key).is_some();
            let Some(entry) = self.registry.get_mut(key) else { continue };
            self.scheduler.on_member_hung(entry);
            let is_known = if entry.blocked_by().is_some() { is_blocked } else { entry.health.is_hung() };
            if is_known {
                self.registry.confirm_health(now, key);
            } else {
                self.set_dead(now, key, Failure::hung(call, waited, None));
            }
        }
    }

    /// The machine was suspended, or this process did not run for long: connections may be broken and servers gone, or
    /// they have come back. Every mount is probed again, and nothing from before is a reason for a report.
    pub(super) fn resume(&mut self, now: Time) {
        self.scheduler.probes.restart(now);
        self.mark_waiting();
        self.unjudged.restart(now);
        self.reports.reminders.postpone(now + REMINDERS_AFTER_PAUSE);
        if !self.registry.has_table() {
            return;
        }
        self.start_run(now);
        for entry in self.registry.entries() {
            self.scheduler.retry_now(now, entry);
        }
    }

    /// The latest deadline of the ancestors that have not responded yet.
    pub(super) fn pending_ancestor_deadline(&self, now: Time, key: MountKey) -> Option<Time> {
        let probes = self.registry.ancestors(key).filter_map(|entry| entry.schedule.active_probe());
        let deadlines = probes.filter_map(|id| self.scheduler.probes.past_grace_deadline(id));
        deadlines.map(|deadline| deadline.max(now)).max()
    }
}
