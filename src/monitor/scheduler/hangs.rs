//! Schedules retries of hung superblocks, hung paths and failed mounts.

use super::{Due, MountEntry, MountSchedule, ProbeStatus, Scheduler, delays};
use crate::monitor::{ProbeId, Time};
use platform::{Call, DeviceNumber};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(super) struct HangState {
    pub(super) call: Call,
    /// How long the probe that proved the hang had waited.
    pub(super) waited: Duration,
    pub(super) retries: u32,
    /// When a probe last waited for the full timeout.
    pub(super) last_full: Time,
    abandoned_at: Time,
}

impl MountSchedule {
    /// A probe proved that the path to the mount is hung. False if the mount no longer waits for that probe.
    pub(crate) fn set_path_hung(&mut self, now: Time, id: ProbeId, waited: Duration, is_full: bool) -> bool {
        let is_current = self.status == ProbeStatus::Active(id);
        if is_current {
            self.path_hang =
                Some(Box::new(HangState::next(self.path_hang(), now, Call::Identify, waited, is_full)));
        }
        is_current
    }

    pub(super) fn path_hang(&self) -> Option<HangState> {
        self.path_hang.as_deref().copied()
    }

    /// The path hangs because of an ancestor, which is retried instead.
    pub(crate) fn clear_path_hang(&mut self) {
        self.path_hang = None;
    }
}

impl Scheduler {
    /// The ancestor that blocked a mount blocks it no longer. The mount can be probed anew, with its full timeout, even if
    /// its abandoned probe has not ended: that probe may be stuck in the ancestor. Returns whether the path was hung.
    pub(crate) fn unblock(&self, schedule: &mut MountSchedule) -> bool {
        let was_hung = schedule.path_hang.take().is_some();
        if was_hung && schedule.active_probe().is_some_and(|probe| !self.probes.is_pending(probe)) {
            schedule.status = ProbeStatus::Idle;
        }
        was_hung
    }

    /// The mount was moved: what is known about its path was found on the old one, and so will be what its probe in
    /// flight finds. Returns whether the path was hung.
    pub(crate) fn leave_path(&mut self, schedule: &mut MountSchedule) -> bool {
        if let Some(probe) = schedule.active_probe() {
            self.probes.leave_path(probe);
        }
        self.unblock(schedule)
    }

    pub(crate) fn is_hung(&self, superblock: DeviceNumber) -> bool {
        self.superblocks.get(&superblock).is_some_and(|queue| queue.hang.is_some())
    }

    pub(crate) fn can_retry(&self, superblock: DeviceNumber) -> bool {
        self.superblocks.get(&superblock).is_some_and(|queue| queue.hang.is_some() && queue.active.is_none())
    }

    /// A probe proved that the superblock is hung. `is_full`: it waited for the full timeout. `on_member_hung` must
    /// follow for each of its mounts. Returns how long the probe waited that proved this hang first.
    pub(crate) fn on_superblock_hung(
        &mut self,
        now: Time,
        superblock: DeviceNumber,
        call: Call,
        waited: Duration,
        is_full: bool,
    ) -> Duration {
        let Some(queue) = self.superblocks.get_mut(&superblock) else { return waited };
        queue.waiting.clear();
        self.ready.remove_all_of(superblock);
        let before = queue.hang.as_deref().copied();
        queue.hang.insert(Box::new(HangState::next(before, now, call, waited, is_full))).waited
    }

    /// The superblock of a mount is hung. A queued mount, which is in no queue any more, is probed again with the others
    /// when the superblock responds.
    pub(crate) fn on_member_hung(&mut self, entry: &mut MountEntry) {
        self.complete_in_run(entry);
        if entry.schedule.is_queued() {
            (entry.schedule.status, entry.schedule.path_hang) = (ProbeStatus::Idle, None);
        }
    }

    /// The mount responded. `is_alive`: without an error.
    pub(crate) fn on_response(&mut self, entry: &mut MountEntry, is_alive: bool) {
        (entry.schedule.path_hang, entry.schedule.aborted) = (None, 0);
        if is_alive {
            entry.schedule.retries = 0;
        }
        self.complete_in_run(entry);
    }

    /// A mount of the superblock responded. True if it was hung until now.
    pub(crate) fn on_superblock_response(&mut self, superblock: DeviceNumber) -> bool {
        let Some(queue) = self.superblocks.get_mut(&superblock) else { return false };
        if queue.hang.take().is_none() {
            return false;
        }
        if queue.active.is_none() {
            self.superblocks.remove(&superblock);
        }
        self.timers.cancel(Due::Superblock(superblock));
        true
    }

    /// Schedules the retry of a hang after a pause since its probe was abandoned. The retry is immediate if that was long
    /// ago or if the mount no longer exists.
    pub(crate) fn plan_retry(&mut self, now: Time, superblock: DeviceNumber, entry: Option<&MountEntry>) {
        let jitter = self.jitter;
        let retry_at = |hang: HangState| {
            let pause = entry.map_or(Duration::ZERO, |entry| {
                let pause = delays::pause(hang.retries, &entry.settings);
                jitter.shorten(pause, entry.key().0, hang.retries)
            });
            now.max(hang.abandoned_at + pause)
        };
        if let Some((entry, hang)) = entry.and_then(|entry| Some((entry, entry.schedule.path_hang()?))) {
            self.timers.set(Due::Mount(entry.key()), retry_at(hang));
        }
        if let Some(hang) = self.superblocks.get(&superblock).and_then(|queue| queue.hang.as_deref().copied())
        {
            self.timers.set(Due::Superblock(superblock), retry_at(hang));
        }
    }

    pub(crate) fn retry_after_failure(&mut self, now: Time, entry: &mut MountEntry) {
        let (key, n) = (entry.key(), entry.schedule.retries);
        let pause = self.jitter.shorten(delays::pause(n, &entry.settings), key.0, n);
        entry.schedule.retries = n.saturating_add(1);
        self.timers.set(Due::Mount(key), now + pause);
    }

    pub(crate) fn first_pause(&self, entry: Option<&MountEntry>) -> Duration {
        entry.map_or(self.run_interval, |entry| delays::pause(0, &entry.settings))
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
