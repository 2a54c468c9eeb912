//! Decides when each mount is probed: all of them in runs, some at their own intervals, dead ones with back-off. At
//! most one mount of a superblock is probed at a time, and for each user a window limits all probes.

mod delays;
mod hangs;
mod in_flight;
mod queues;
mod ready;
mod run;

pub(crate) use delays::splitmix64;
pub(super) use delays::{doubled, idle_safe_interval};
pub(super) use in_flight::{DueProbe, ProbeSubject};
pub(super) use queues::Readiness;

use super::registry::MountEntry;
use super::timers::Timers;
use super::{IdMap, ProbeId, Time};
use delays::Jitter;
use hangs::HangState;
use in_flight::InFlight;
use platform::{DeviceNumber, MountKey};
use ready::{QueuedMount, ReadyMounts};
use run::Run;
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Default)]
pub(super) struct Scheduler {
    jitter: Jitter,
    run_interval: Duration,
    /// Superblocks that are being probed or are hung.
    superblocks: IdMap<DeviceNumber, SuperblockQueue>,
    /// Mounts to probe as soon as the window has room.
    ready: ReadyMounts,
    pub(super) probes: InFlight,
    pub(super) timers: Timers<Due>,
    run: Run,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Due {
    /// A hung superblock must be probed again.
    Superblock(DeviceNumber),
    /// A mount must be probed at its own interval, or again because it is dead.
    Mount(MountKey),
    /// The next run starts.
    Run,
}

#[derive(Default)]
pub(super) struct MountSchedule {
    status: ProbeStatus,
    /// A hang on the path to this mount, before its own file system is reached.
    path_hang: Option<Box<HangState>>,
    /// Retries since it failed.
    retries: u32,
    /// Probes in a row that ended without a response.
    aborted: u32,
    /// The run that waits for it.
    expected_by_run: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum ProbeStatus {
    #[default]
    Idle,
    /// In `ready` or in its superblock's queue.
    Queued,
    Active(ProbeId),
}

#[derive(Default)]
struct SuperblockQueue {
    /// Its unanswered probe.
    active: Option<ProbeId>,
    /// Mounts that are probed one after another, after the active one.
    waiting: VecDeque<QueuedMount>,
    hang: Option<Box<HangState>>,
}

impl Scheduler {
    pub(super) fn new(run_interval: Duration, seed: u64) -> Scheduler {
        Scheduler { jitter: Jitter(seed), run_interval, ..Scheduler::default() }
    }

    /// A mount is probed at this interval from now on: in the runs, or by its own timer. If the interval is
    /// not new, a timer that runs is kept: a probe that comes early would keep an automounted mount from expiring.
    pub(super) fn set_mount_interval(&mut self, now: Time, key: MountKey, interval: Duration, is_new: bool) {
        if interval == self.run_interval {
            return;
        }
        let at = now + self.jitter.first_wait(interval, key.0);
        if is_new {
            self.timers.set_at_latest(Due::Mount(key), at);
        } else {
            self.timers.set_if_none(Due::Mount(key), at);
        }
    }

    /// Retries a hung superblock or path now, if its last probe has ended.
    pub(super) fn retry_now(&mut self, now: Time, entry: &MountEntry) {
        match self.readiness(entry) {
            Readiness::PathHung => self.timers.set_at_latest(Due::Mount(entry.key()), now),
            Readiness::SuperblockHung { .. } if self.can_retry(entry.superblock()) => {
                self.timers.set_at_latest(Due::Superblock(entry.superblock()), now);
            }
            _ => {}
        }
    }

    /// Stops probing a mount. Its probe in flight continues.
    pub(super) fn remove_mount(&mut self, entry: &mut MountEntry) {
        self.withdraw(entry);
        self.timers.cancel(Due::Mount(entry.key()));
    }

    /// Forgets a superblock without mounts, unless a probe of it is in flight.
    pub(super) fn forget_superblock(&mut self, superblock: DeviceNumber) -> bool {
        if self.superblocks.get(&superblock).is_some_and(|queue| queue.active.is_some()) {
            return false;
        }
        self.superblocks.remove(&superblock);
        self.timers.cancel(Due::Superblock(superblock));
        true
    }

    /// The wait after the first of something that recurs at this interval.
    pub(super) fn first_wait(&self, interval: Duration, key: MountKey) -> Duration {
        self.jitter.first_wait(interval, key.0)
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.timers.next_deadline().into_iter().chain(self.probes.next_deadline()).min()
    }
}
