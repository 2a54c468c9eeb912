//! Decides which mount is probed next. Queued mounts wait for room in the window, and those of a superblock that is being
//! probed for that probe.

use super::{
    Due, InFlight, MountEntry, MountSchedule, ProbeStatus, ProbeSubject, QueuedMount, Scheduler,
    SuperblockQueue, delays,
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
    QueuedMount { key: entry.key(), user: entry.user(), superblock: entry.superblock() }
}

impl Scheduler {
    pub(crate) fn readiness(&self, entry: &MountEntry) -> Readiness {
        match entry.schedule.status {
            ProbeStatus::Queued => Readiness::Pending,
            ProbeStatus::Active(id) if self.probes.is_pending(id) => Readiness::Pending,
            ProbeStatus::Active(_) => Readiness::Abandoned,
            ProbeStatus::Idle if entry.schedule.path_hang.is_some() => Readiness::PathHung,
            ProbeStatus::Idle => {
                match self.superblocks.get(&entry.superblock()).and_then(|queue| queue.hang.as_deref()) {
                    Some(hang) => Readiness::SuperblockHung { call: hang.call, waited: hang.waited },
                    None => Readiness::Ready,
                }
            }
        }
    }

    pub(crate) fn enqueue(&mut self, entry: &mut MountEntry) {
        entry.schedule.status = ProbeStatus::Queued;
        let mount = queued(entry);
        if let Some(mount) = self.wait_for_superblock(mount) {
            self.ready.push_back(mount);
        }
    }

    /// Makes a mount wait while its superblock is being probed; else returns it.
    fn wait_for_superblock(&mut self, mount: QueuedMount) -> Option<QueuedMount> {
        let queue = self.superblocks.get_mut(&mount.superblock).filter(|queue| queue.active.is_some());
        let Some(SuperblockQueue { waiting, .. }) = queue else { return Some(mount) };
        // A user whose places are in use must not make the system wait.
        let is_before = |other: &QueuedMount| !other.user.is_foreign() || mount.user.is_foreign();
        waiting.insert(waiting.partition_point(is_before), mount);
        None
    }

    /// Takes the next mount to probe, if the window of its user has room. It may have been withdrawn.
    pub(crate) fn pop_ready(&mut self) -> Option<MountKey> {
        self.pop(InFlight::has_room)
    }

    /// Takes a mount that cannot be probed soon, because abandoned probes leave no room.
    pub(crate) fn pop_unprobeable(&mut self) -> Option<MountKey> {
        self.pop(InFlight::is_exhausted)
    }

    /// Takes the next mount of a user with this property whose superblock is not being probed.
    fn pop(&mut self, is_meant: impl Fn(&InFlight, User) -> bool) -> Option<MountKey> {
        loop {
            let mount = self.ready.pop(|user| is_meant(&self.probes, user))?;
            if let Some(mount) = self.wait_for_superblock(mount) {
                return Some(mount.key);
            }
        }
    }

    /// Starts the probe of a queued mount that was taken with `pop_ready`.
    pub(crate) fn start(&mut self, now: Time, entry: &mut MountEntry) -> ProbeId {
        let (key, superblock, settings) = (entry.key(), entry.superblock(), &entry.settings);
        let queue = self.superblocks.entry(superblock).or_default();
        let hang = queue.hang.as_deref().or(entry.schedule.path_hang.as_deref());
        let timeout = hang.map_or(settings.timeout, |hang| {
            delays::retry_timeout(delays::pause(hang.retries, settings), now - hang.last_full, settings)
        });
        let user = entry.user();
        let subject =
            ProbeSubject { key, superblock, user, timeout, is_outdated: false, is_on_old_path: false };
        let id = self.probes.start(now, subject, hang.is_some());
        entry.schedule.status = ProbeStatus::Active(id);
        queue.active = Some(id);
        id
    }

    /// Drops a queued mount that was taken with `pop_ready` without probing it.
    pub(crate) fn skip(&mut self, entry: &mut MountEntry) {
        entry.schedule.status = ProbeStatus::Idle;
        self.promote(entry.superblock());
    }

    /// Removes a probe that ended, and lets the next mount of its superblock be probed.
    pub(crate) fn end(&mut self, id: ProbeId) -> Option<ProbeSubject> {
        let subject = self.probes.remove(id)?;
        self.release_superblock(id, subject.superblock);
        Some(subject)
    }

    /// The other mounts of a superblock no longer wait for this probe.
    pub(crate) fn release_superblock(&mut self, id: ProbeId, superblock: DeviceNumber) {
        if let Some(queue) = self.superblocks.get_mut(&superblock)
            && queue.active.take_if(|active| *active == id).is_some()
        {
            self.promote(superblock);
        }
    }

    /// If a superblock is not being probed, the next mount that waits for it is probed, before those of other superblocks,
    /// because its storage has just responded.
    fn promote(&mut self, superblock: DeviceNumber) {
        let Entry::Occupied(mut slot) = self.superblocks.entry(superblock) else { return };
        let queue = slot.get_mut();
        if queue.active.is_some() {
            return;
        }
        if let Some(next) = queue.waiting.pop_front() {
            self.ready.push_front(next);
        }
        if queue.waiting.is_empty() && queue.hang.is_none() {
            slot.remove();
        }
    }

    /// Takes a mount out of the queue in which it is.
    fn leave_queue(&mut self, entry: &mut MountEntry) {
        if !entry.schedule.is_queued() {
            return;
        }
        entry.schedule.status = ProbeStatus::Idle;
        let mount = queued(entry);
        if let Some(queue) = self.superblocks.get_mut(&mount.superblock) {
            queue.waiting.retain(|other| other.key != mount.key);
        }
        self.ready.remove(mount);
        self.promote(mount.superblock); // it may have been the next of its superblock
    }

    pub(crate) fn withdraw(&mut self, entry: &mut MountEntry) {
        self.complete_in_run(entry);
        self.leave_queue(entry);
        (entry.schedule.status, entry.schedule.path_hang) = (ProbeStatus::Idle, None);
    }

    /// The limits of another user apply to this mount from now on.
    pub(crate) fn set_user(&mut self, entry: &mut MountEntry, user: User) {
        let is_queued = entry.schedule.is_queued();
        self.leave_queue(entry);
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
        self.promote(entry.superblock());
        let superblock = entry.superblock();
        let is_hung = self.is_hung(superblock);
        let due = if is_hung { Due::Superblock(superblock) } else { Due::Mount(entry.key()) };
        self.timers.set(due, now + DEFER_PAUSE.min(self.run_interval));
    }

    pub(crate) fn is_probed(&self, superblock: DeviceNumber) -> bool {
        self.superblocks.get(&superblock).is_some_and(|queue| queue.active.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;
    use platform::Mount;
    use std::sync::Arc;

    const SUPERBLOCK: DeviceNumber = DeviceNumber { major: 0, minor: 7 };

    fn entry(key: u64, user: User) -> MountEntry {
        let mount = Mount { device_number: SUPERBLOCK, ..mount(key, "/") };
        let mut entry = MountEntry::new(Time::default(), Arc::new(mount), Arc::default(), 0);
        entry.set_user(user);
        entry
    }

    fn next(scheduler: &mut Scheduler) -> Option<u64> {
        scheduler.pop_ready().map(|key| key.0)
    }

    #[test]
    fn mounts_of_a_superblock_are_probed_one_after_another_and_those_of_users_last() {
        let mut scheduler = Scheduler::new(Duration::from_secs(60), 0);
        let [system, user] = [User::System, User::Foreign(1001)];
        let mut entries = [(1, system), (2, user), (3, system), (4, system)].map(|(key, of)| entry(key, of));
        scheduler.enqueue(&mut entries[0]);
        assert_eq!(next(&mut scheduler), Some(1));
        let first = scheduler.start(Time::default(), &mut entries[0]);
        entries[1..].iter_mut().for_each(|entry| scheduler.enqueue(entry));
        assert_eq!(next(&mut scheduler), None, "the others wait for it");
        scheduler.withdraw(&mut entries[3]);
        assert!(scheduler.end(first).is_some() && entries[0].schedule.end(first));
        assert_eq!(next(&mut scheduler), Some(3), "a user must not make the system wait");
        scheduler.skip(&mut entries[2]);
        assert_eq!((next(&mut scheduler), next(&mut scheduler)), (Some(2), None));
        let last = scheduler.start(Time::default(), &mut entries[1]);
        assert!(scheduler.is_probed(SUPERBLOCK) && scheduler.end(last).is_some());
        assert!(scheduler.superblocks.is_empty(), "only superblocks with a probe or a hang take memory");
    }
}
