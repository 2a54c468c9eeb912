//! Hung superblocks, hung paths and failed mounts, and when they are probed again.

use super::{Due, ProbeStatus, Scheduler, backoff};
use crate::monitor::{ProbeId, ProbeSettings, Time};
use platform::{Call, DeviceNumber, MountKey};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(super) struct HangState {
    pub(super) call: Call,
    /// How long the probe had waited that proved the hang.
    pub(super) waited: Duration,
    pub(super) retries: u32,
    /// When a probe last waited for the whole timeout.
    pub(super) last_full: Time,
    abandoned_at: Time,
}

impl Scheduler {
    pub(crate) fn is_hung(&self, superblock: DeviceNumber) -> bool {
        self.superblocks.get(&superblock).is_some_and(|queue| queue.hang.is_some())
    }

    /// Is this a hung superblock that is not being probed?
    pub(crate) fn can_retry(&self, superblock: DeviceNumber) -> bool {
        self.superblocks.get(&superblock).is_some_and(|queue| queue.hang.is_some() && queue.current.is_none())
    }

    pub(crate) fn is_path_hung(&self, key: MountKey) -> bool {
        self.mounts.get(&key).is_some_and(|mount| mount.path_hang.is_some())
    }

    /// Is this mount's path hung, and can it be retried?
    pub(crate) fn can_retry_path(&self, key: MountKey) -> bool {
        let mount = self.mounts.get(&key);
        mount.is_some_and(|mount| mount.path_hang.is_some() && mount.status == ProbeStatus::Idle)
    }

    /// A probe proved that the superblock is hung; the mounts that wait for it are not probed. `is_full`: it waited
    /// for the whole timeout.
    pub(crate) fn on_superblock_hung(
        &mut self,
        now: Time,
        superblock: DeviceNumber,
        call: Call,
        waited: Duration,
        is_full: bool,
    ) {
        let Some(queue) = self.superblocks.get_mut(&superblock) else { return };
        queue.hang = Some(HangState::next(queue.hang, now, call, waited, is_full));
        for key in queue.waiting.drain(..) {
            if let Some(mount) = self.mounts.get_mut(&key) {
                // Probed again with the others, when the superblock responds.
                (mount.status, mount.path_hang) = (ProbeStatus::Idle, None);
            }
        }
    }

    /// A probe proved that the path to its mount is hung. False if the mount does not wait for that probe any more.
    pub(crate) fn on_path_hung(
        &mut self,
        now: Time,
        id: ProbeId,
        key: MountKey,
        waited: Duration,
        is_full: bool,
    ) -> bool {
        let mount = self.mounts.get_mut(&key).filter(|mount| mount.status == ProbeStatus::Active(id));
        let Some(mount) = mount else { return false };
        mount.path_hang = Some(HangState::next(mount.path_hang, now, Call::Identify, waited, is_full));
        true
    }

    /// The path's hang is that of an ancestor, which is retried instead.
    pub(crate) fn clear_path_hang(&mut self, key: MountKey) {
        if let Some(mount) = self.mounts.get_mut(&key) {
            mount.path_hang = None;
        }
    }

    /// The mount responded. `is_alive`: without an error.
    pub(crate) fn on_response(&mut self, key: MountKey, is_alive: bool) {
        if let Some(mount) = self.mounts.get_mut(&key) {
            (mount.path_hang, mount.aborted) = (None, 0);
            if is_alive {
                mount.retries = 0;
            }
            self.run.settle(&mut mount.ticket);
        }
    }

    /// A mount of the superblock responded. True if it was hung until now.
    pub(crate) fn on_superblock_response(&mut self, superblock: DeviceNumber) -> bool {
        let Some(queue) = self.superblocks.get_mut(&superblock) else { return false };
        if queue.hang.take().is_none() {
            return false;
        }
        if queue.current.is_none() {
            self.superblocks.remove(&superblock);
        }
        self.timers.cancel(Due::Superblock(superblock));
        true
    }

    /// Plans the retry of whatever is hung: when the pause since its probe was abandoned is over, so at once if that
    /// was long ago. `settings` are those of the mount, if it still exists.
    pub(crate) fn retry_after_hang(
        &mut self,
        now: Time,
        key: MountKey,
        superblock: DeviceNumber,
        settings: Option<&ProbeSettings>,
    ) {
        let jitter = self.jitter;
        let retry_at = |hang: HangState| {
            let pause = settings.map_or(Duration::ZERO, |settings| backoff::pause(hang.retries, settings));
            now.max(hang.abandoned_at + jitter.shorten(pause, key.0, hang.retries))
        };
        if let Some(hang) = self.mounts.get(&key).and_then(|mount| mount.path_hang) {
            self.timers.set(Due::Mount(key), retry_at(hang));
        }
        if let Some(hang) = self.superblocks.get(&superblock).and_then(|queue| queue.hang) {
            self.timers.set(Due::Superblock(superblock), retry_at(hang));
        }
    }

    /// Plans the next probe of a failed mount.
    pub(crate) fn retry_after_failure(&mut self, now: Time, key: MountKey, settings: &ProbeSettings) {
        let Some(mount) = self.mounts.get_mut(&key) else { return };
        let pause = self.jitter.shorten(backoff::pause(mount.retries, settings), key.0, mount.retries);
        mount.retries = mount.retries.saturating_add(1);
        self.timers.set(Due::Mount(key), now + pause);
    }

    /// The pause before the first retry.
    pub(crate) fn first_pause(&self, settings: Option<&ProbeSettings>) -> Duration {
        settings.map_or(self.run_interval, |settings| backoff::pause(0, settings))
    }
}

impl HangState {
    /// A new hang, or one more retry of a known one.
    fn next(before: Option<HangState>, now: Time, call: Call, waited: Duration, is_full: bool) -> HangState {
        match before {
            None => HangState { call, waited, retries: 0, last_full: now, abandoned_at: now },
            Some(hang) => HangState {
                retries: hang.retries.saturating_add(1),
                last_full: if is_full { now } else { hang.last_full },
                abandoned_at: now,
                ..hang
            },
        }
    }
}
