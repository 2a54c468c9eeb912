//! Decides which mount is probed next: each superblock has a queue of its mounts, and the heads of these queues wait
//! for room in the window.

use super::{
    Current, Due, MountEntry, MountSchedule, ProbeStatus, ProbeSubject, QueuedMount, Scheduler, delays,
};
use crate::monitor::{ProbeId, Time};
use platform::{Call, DeviceNumber, MountKey, User};
use std::collections::hash_map::Entry;
use std::time::Duration;

/// After this many consecutive probes without a response, the mount is not probed for [`DEFER_PAUSE`].
const MAX_ABORTED: u32 = 3;
/// How long a mount is not probed after [`MAX_ABORTED`] probes without a response.
const DEFER_PAUSE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readiness {
    /// It can be probed.
    Ready,
    /// A probe is waiting for its response.
    Pending,
    /// Its last probe is abandoned and has not ended.
    Abandoned,
    /// The path to it is hung, which is retried separately.
    PathHung,
    /// Its superblock is hung, which is retried.
    SuperblockHung { call: Call, waited: Duration },
}

impl MountSchedule {
    pub(crate) fn is_queued(&self) -> bool {
        self.status == ProbeStatus::Queued
    }

    /// A probe ended. False if the mount no longer waits for it.
    pub(crate) fn end(&mut self, id: ProbeId) -> bool {
        let is_current = self.status == ProbeStatus::Active(id);
        if is_current {
            self.status = ProbeStatus::Idle;
        }
        is_current
    }

    pub(crate) fn active_probe(&self) -> Option<ProbeId> {
        match self.status {
            ProbeStatus::Active(id) => Some(id),
            ProbeStatus::Idle | ProbeStatus::Queued => None,
        }
    }
}

fn queued(entry: &MountEntry) -> QueuedMount {
    QueuedMount { key: entry.key(), user: entry.user() }
}

impl Scheduler {
    pub(crate) fn readiness(&self, entry: &MountEntry) -> Readiness {
        match entry.schedule.status {
            ProbeStatus::Queued => Readiness::Pending,
            ProbeStatus::Active(id) if self.probes.is_pending(id) => Readiness::Pending,
            ProbeStatus::Active(_) => Readiness::Abandoned,
            ProbeStatus::Idle if entry.schedule.path_hang.is_some() => Readiness::PathHung,
            ProbeStatus::Idle => match self.superblocks.get(&entry.superblock()).and_then(|queue| queue.hang)
            {
                Some(hang) => Readiness::SuperblockHung { call: hang.call, waited: hang.waited },
                None => Readiness::Ready,
            },
        }
    }

    pub(crate) fn enqueue(&mut self, entry: &mut MountEntry) {
        entry.schedule.status = ProbeStatus::Queued;
        let mount = queued(entry);
        let queue = self.superblocks.entry(entry.superblock()).or_default();
        match queue.current {
            // A user whose places are in use must not make the system wait.
            Some(Current::Queued(other)) if other.user.is_foreign() && !mount.user.is_foreign() => {
                queue.waiting.push_front(other);
                self.ready.remove(other);
            }
            Some(_) => return queue.waiting.push_back(mount),
            None => {}
        }
        queue.current = Some(Current::Queued(mount));
        self.ready.push_back(mount);
    }

    /// Takes the next mount to probe, if the window of its user has room. It may have been withdrawn.
    pub(crate) fn pop_ready(&mut self) -> Option<MountKey> {
        self.ready.pop(|user| self.probes.has_room(user))
    }

    /// Takes a mount that cannot be probed soon, because abandoned probes leave no room.
    pub(crate) fn pop_unprobeable(&mut self) -> Option<MountKey> {
        self.ready.pop(|user| self.probes.is_exhausted(user))
    }

    /// Starts the probe of a queued mount that was taken with `pop_ready`.
    pub(crate) fn start(&mut self, now: Time, entry: &mut MountEntry) -> ProbeId {
        let (key, superblock, settings) = (entry.key(), entry.superblock(), entry.settings);
        let queue = self.superblocks.entry(superblock).or_default();
        let hang = queue.hang.or(entry.schedule.path_hang);
        let timeout = hang.map_or(settings.timeout, |hang| {
            delays::retry_timeout(delays::pause(hang.retries, &settings), now - hang.last_full, &settings)
        });
        let id = self.probes.start(
            now,
            ProbeSubject { key, superblock, user: entry.user(), timeout, is_outdated: false },
            hang.is_some(),
        );
        entry.schedule.status = ProbeStatus::Active(id);
        queue.current = Some(Current::Active(id));
        id
    }

    /// Drops a queued mount that was taken with `pop_ready` without probing it.
    pub(crate) fn skip(&mut self, entry: &mut MountEntry) {
        entry.schedule.status = ProbeStatus::Idle;
        self.promote_after(Current::Queued(queued(entry)), entry.superblock());
    }

    /// Removes a probe that ended, and lets the next mount of its superblock be probed.
    pub(crate) fn end(&mut self, id: ProbeId) -> Option<ProbeSubject> {
        let subject = self.probes.remove(id)?;
        self.release_superblock(id, subject.superblock);
        Some(subject)
    }

    /// The other mounts of a superblock no longer wait for this probe.
    pub(crate) fn release_superblock(&mut self, id: ProbeId, superblock: DeviceNumber) {
        self.promote_after(Current::Active(id), superblock);
    }

    /// Does nothing unless `current` is the current mount of its superblock. The next mount is probed before those of other
    /// superblocks, because its storage has just responded.
    fn promote_after(&mut self, current: Current, superblock: DeviceNumber) -> bool {
        let Entry::Occupied(mut slot) = self.superblocks.entry(superblock) else { return false };
        let queue = slot.get_mut();
        if queue.current != Some(current) {
            return false;
        }
        match queue.waiting.pop_front() {
            Some(mount) => {
                queue.current = Some(Current::Queued(mount));
                self.ready.push_front(mount);
            }
            None if queue.hang.is_some() => queue.current = None,
            None => drop(slot.remove()),
        }
        true
    }

    /// Takes a mount out of its superblock's queue. True if it was the next to be probed.
    fn leave_queue(&mut self, entry: &MountEntry) -> bool {
        let (mount, superblock) = (queued(entry), entry.superblock());
        let was_next = self.promote_after(Current::Queued(mount), superblock);
        if !was_next && let Some(queue) = self.superblocks.get_mut(&superblock) {
            queue.waiting.retain(|&other| other != mount);
        }
        was_next
    }

    pub(crate) fn withdraw(&mut self, entry: &mut MountEntry) {
        self.complete_in_run(entry);
        (entry.schedule.status, entry.schedule.path_hang) = (ProbeStatus::Idle, None);
        if self.leave_queue(entry) {
            self.ready.remove(queued(entry));
        }
    }

    /// The limits of another user apply to this mount from now on.
    pub(crate) fn set_user(&mut self, entry: &mut MountEntry, user: User) {
        let is_queued = entry.schedule.is_queued();
        if is_queued && self.leave_queue(entry) {
            self.ready.remove(queued(entry));
        }
        entry.set_user(user);
        if is_queued {
            self.enqueue(entry);
        }
    }

    /// A probe ended without a response: its mount is probed again, up to a limit.
    pub(crate) fn on_aborted(&mut self, now: Time, entry: &mut MountEntry) {
        entry.schedule.aborted += 1;
        if entry.schedule.aborted >= MAX_ABORTED {
            self.defer(now, entry);
        } else {
            self.enqueue(entry);
        }
    }

    /// Leaves a mount unjudged and probes it again after a while.
    pub(crate) fn defer(&mut self, now: Time, entry: &mut MountEntry) {
        (entry.schedule.aborted, entry.schedule.status) = (0, ProbeStatus::Idle);
        self.settle_unjudged(entry);
        self.leave_queue(entry);
        let superblock = entry.superblock();
        let is_hung = self.is_hung(superblock);
        let due = if is_hung { Due::Superblock(superblock) } else { Due::Mount(entry.key()) };
        self.timers.set(due, now + DEFER_PAUSE.min(self.run_interval));
    }

    pub(crate) fn is_probed(&self, superblock: DeviceNumber) -> bool {
        let queue = self.superblocks.get(&superblock);
        queue.is_some_and(|queue| matches!(queue.current, Some(Current::Active(_))))
    }
}
