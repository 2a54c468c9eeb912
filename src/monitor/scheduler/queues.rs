//! Which mount is probed next: each superblock has a queue of its mounts, and the heads of these queues wait for room in
//! the window.

use super::{Current, Due, ProbeStatus, ProbeSubject, Scheduler, backoff};
use crate::monitor::{ProbeId, ProbeSettings, Time};
use platform::{Call, DeviceNumber, MountKey};
use std::time::Duration;

/// After this many probes in a row that ended without a response, the mount is not probed for a while …
const MAX_ABORTED: u32 = 3;
/// … of this length.
const DEFER_PAUSE: Duration = Duration::from_secs(10);

/// Whether a mount can be probed now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readiness {
    Ready,
    /// A response is still to come.
    Pending,
    /// Its last probe is abandoned and has not ended.
    Abandoned,
    /// The path to it is hung: it is retried on its own.
    PathHung,
    /// Its superblock is hung: that is retried.
    SuperblockHung {
        call: Call,
        waited: Duration,
    },
}

/// A probe that ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EndedProbe {
    pub(crate) key: MountKey,
    pub(crate) superblock: DeviceNumber,
    /// Did its mount still wait for it?
    pub(crate) is_current: bool,
}

impl Scheduler {
    pub(crate) fn readiness(&self, key: MountKey, superblock: DeviceNumber) -> Readiness {
        let Some(mount) = self.mounts.get(&key) else { return Readiness::Ready };
        match mount.status {
            _ if self.is_pending(key) => return Readiness::Pending,
            ProbeStatus::Idle if mount.path_hang.is_some() => return Readiness::PathHung,
            ProbeStatus::Idle => {}
            ProbeStatus::Queued | ProbeStatus::Active(_) => return Readiness::Abandoned,
        }
        match self.superblocks.get(&superblock).and_then(|queue| queue.hang) {
            Some(hang) => Readiness::SuperblockHung { call: hang.call, waited: hang.waited },
            None => Readiness::Ready,
        }
    }

    /// Queues a mount behind the others of its superblock.
    pub(crate) fn enqueue(&mut self, key: MountKey, superblock: DeviceNumber) {
        let Some(mount) = self.mounts.get_mut(&key) else { return };
        mount.status = ProbeStatus::Queued;
        let queue = self.superblocks.entry(superblock).or_default();
        if queue.current.is_some() {
            queue.waiting.push_back(key);
        } else {
            queue.current = Some(Current::Queued(key));
            self.ready.push_back(key);
        }
    }

    /// Takes the next mount to probe, if the window has room.
    pub(crate) fn pop_ready(&mut self) -> Option<MountKey> {
        while self.probes.has_room() {
            let key = self.ready.pop_front()?;
            if self.mounts.get(&key).is_some_and(|mount| mount.status == ProbeStatus::Queued) {
                return Some(key);
            }
        }
        None
    }

    /// Takes a mount that cannot be probed soon, because abandoned probes leave no room.
    pub(crate) fn pop_unprobeable(&mut self) -> Option<MountKey> {
        if self.probes.is_exhausted() { self.ready.pop_front() } else { None }
    }

    /// Starts the probe of a mount that was taken with `pop_ready`.
    pub(crate) fn start(
        &mut self,
        now: Time,
        key: MountKey,
        superblock: DeviceNumber,
        settings: &ProbeSettings,
    ) -> Option<ProbeId> {
        let mount = self.mounts.get_mut(&key)?;
        let queue = self.superblocks.entry(superblock).or_default();
        let hang = queue.hang.or(mount.path_hang);
        let timeout = hang.map_or(settings.timeout, |hang| {
            backoff::retry_timeout(backoff::pause(hang.retries, settings), now - hang.last_full, settings)
        });
        let subject = ProbeSubject { key, superblock, timeout };
        let id = self.probes.start(now, subject, hang.is_some());
        mount.status = ProbeStatus::Active(id);
        queue.current = Some(Current::Active(id));
        Some(id)
    }

    /// Removes a probe that ended, and lets the next mount of its superblock be probed.
    pub(crate) fn end(&mut self, id: ProbeId) -> Option<EndedProbe> {
        let ProbeSubject { key, superblock, .. } = self.probes.remove(id)?;
        let mount = self.mounts.get_mut(&key).filter(|mount| mount.status == ProbeStatus::Active(id));
        let is_current = mount.map(|mount| mount.status = ProbeStatus::Idle).is_some();
        self.release_superblock(id, superblock);
        Some(EndedProbe { key, superblock, is_current })
    }

    /// The other mounts of a superblock do not wait for this probe any more.
    pub(crate) fn release_superblock(&mut self, id: ProbeId, superblock: DeviceNumber) {
        if self.superblocks.get(&superblock).is_some_and(|queue| queue.current == Some(Current::Active(id))) {
            self.promote_next(superblock);
        }
    }

    /// The next mount of a superblock is probed before those of others: its storage has just responded.
    pub(super) fn promote_next(&mut self, superblock: DeviceNumber) {
        let Some(queue) = self.superblocks.get_mut(&superblock) else { return };
        match queue.waiting.pop_front() {
            Some(key) => {
                queue.current = Some(Current::Queued(key));
                self.ready.push_front(key);
            }
            None if queue.hang.is_some() => queue.current = None,
            None => drop(self.superblocks.remove(&superblock)),
        }
    }

    /// A mount that was taken with `pop_ready` is not probed.
    pub(crate) fn skip(&mut self, key: MountKey, superblock: DeviceNumber) {
        if let Some(mount) = self.mounts.get_mut(&key) {
            mount.status = ProbeStatus::Idle;
        }
        self.promote_next(superblock);
    }

    /// A probe ended without a response. False if the mount is probed again; true if that happened too often.
    pub(crate) fn count_aborted(&mut self, key: MountKey) -> bool {
        let Some(mount) = self.mounts.get_mut(&key) else { return false };
        mount.aborted += 1;
        mount.aborted >= MAX_ABORTED
    }

    /// Leaves a mount unjudged and probes it again after a while.
    pub(crate) fn defer(&mut self, now: Time, key: MountKey, superblock: DeviceNumber) {
        let Some(mount) = self.mounts.get_mut(&key) else { return };
        (mount.aborted, mount.status) = (0, ProbeStatus::Idle);
        self.run.settle_unjudged(&mut mount.ticket);
        let mut due = Due::Mount(key);
        if let Some(queue) = self.superblocks.get_mut(&superblock) {
            if queue.hang.is_some() {
                due = Due::Superblock(superblock);
            }
            if queue.current == Some(Current::Queued(key)) {
                self.promote_next(superblock);
            } else {
                queue.waiting.retain(|&other| other != key);
            }
        }
        self.timers.set(due, now + DEFER_PAUSE.min(self.run_interval));
    }

    /// Is a response of this mount still to come?
    pub(crate) fn is_pending(&self, key: MountKey) -> bool {
        match self.mounts.get(&key).map(|mount| mount.status) {
            Some(ProbeStatus::Queued) => true,
            Some(ProbeStatus::Active(id)) => self.probes.is_pending(id),
            Some(ProbeStatus::Idle) | None => false,
        }
    }

    /// The deadline of a mount's probe, if that waits longer than most.
    pub(crate) fn past_grace_deadline(&self, key: MountKey) -> Option<Time> {
        self.probes.past_grace_deadline(self.active_probe(key)?)
    }

    pub(crate) fn waiting_since(&self, key: MountKey) -> Option<Time> {
        self.probes.waiting_since(self.active_probe(key)?)
    }

    fn active_probe(&self, key: MountKey) -> Option<ProbeId> {
        match self.mounts.get(&key)?.status {
            ProbeStatus::Active(id) => Some(id),
            ProbeStatus::Idle | ProbeStatus::Queued => None,
        }
    }

    /// Is a probe of this superblock in flight?
    pub(crate) fn is_probed(&self, superblock: DeviceNumber) -> bool {
        let queue = self.superblocks.get(&superblock);
        queue.is_some_and(|queue| matches!(queue.current, Some(Current::Active(_))))
    }
}
