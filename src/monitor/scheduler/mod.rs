//! When which mount is probed: all of them in runs, some at intervals of their own, dead ones with back-off. At most one
//! mount of a superblock is probed at a time, and a window limits the probes of all.

mod automount;
mod backoff;
mod hangs;
mod in_flight;
mod jitter;
mod queues;
mod run;

pub(super) use automount::idle_safe_interval;
pub(super) use backoff::doubled;
pub(super) use in_flight::{DueProbe, ProbeSubject};
pub(crate) use jitter::splitmix64;
pub(super) use queues::{EndedProbe, Readiness};

use super::timers::Timers;
use super::{ProbeId, Time};
use hangs::HangState;
use in_flight::InFlight;
use jitter::Jitter;
use platform::{DeviceNumber, MountKey};
use run::{Run, RunTicket};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::time::Duration;

/// The jitter's subject for the runs; no mount has this key.
const RUNS: u64 = 0;

#[derive(Debug, Default)]
pub(super) struct Scheduler {
    jitter: Jitter,
    run_interval: Duration,
    mounts: FxHashMap<MountKey, MountSchedule>,
    /// Superblocks that are probed, or hung.
    superblocks: FxHashMap<DeviceNumber, SuperblockQueue>,
    /// Mounts to probe as soon as the window has room.
    ready: VecDeque<MountKey>,
    probes: InFlight,
    timers: Timers<Due>,
    run: Run,
    runs_started: u64,
    /// When the last run was due, even if it became part of the one before.
    last_run_due: Time,
}

/// Something that is due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Due {
    /// A hung superblock is to be probed again.
    Superblock(DeviceNumber),
    /// A mount is to be probed by its own interval, or again because it is dead.
    Mount(MountKey),
    /// The next run starts.
    Run,
}

#[derive(Debug, Default)]
struct MountSchedule {
    status: ProbeStatus,
    /// A hang on the path to this mount, before its own file system is reached.
    path_hang: Option<HangState>,
    /// Retries since it failed.
    retries: u32,
    /// Probes in a row that ended without a response.
    aborted: u32,
    ticket: RunTicket,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum ProbeStatus {
    #[default]
    Idle,
    /// In `ready`, or in its superblock's queue.
    Queued,
    Active(ProbeId),
}

/// The probes of one superblock.
#[derive(Debug, Default)]
struct SuperblockQueue {
    current: Option<Current>,
    /// Mounts that are probed one after another, after the current one.
    waiting: VecDeque<MountKey>,
    hang: Option<HangState>,
}

/// The mount of a superblock that is probed, or the next to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Current {
    Queued(MountKey),
    Active(ProbeId),
}

/// Mounts and their schedules.
impl Scheduler {
    pub(super) fn new(run_interval: Duration, seed: u64) -> Scheduler {
        Scheduler { jitter: Jitter::new(seed), run_interval, ..Scheduler::default() }
    }

    pub(super) fn probes(&self) -> &InFlight {
        &self.probes
    }

    pub(super) fn probes_mut(&mut self) -> &mut InFlight {
        &mut self.probes
    }

    /// A mount is probed from now on, with the runs or at an interval of its own.
    pub(super) fn add_mount(&mut self, now: Time, key: MountKey, interval: Duration) {
        self.mounts.insert(key, MountSchedule::default());
        self.set_mount_interval(now, key, interval);
    }

    /// A mount is probed at this interval from now on.
    pub(super) fn set_mount_interval(&mut self, now: Time, key: MountKey, interval: Duration) {
        if interval != self.run_interval {
            self.timers.set_at_latest(Due::Mount(key), now + self.jitter.first_wait(interval, key.0));
        }
    }

    /// Stops probing a mount. Its probe in flight continues.
    pub(super) fn remove_mount(&mut self, key: MountKey, superblock: DeviceNumber) {
        self.withdraw(key, superblock);
        self.timers.cancel(Due::Mount(key));
        self.mounts.remove(&key);
    }

    /// Takes a mount out of the queues and the run.
    pub(super) fn withdraw(&mut self, key: MountKey, superblock: DeviceNumber) {
        self.settle_in_run(key);
        let Some(mount) = self.mounts.get_mut(&key) else { return };
        (mount.status, mount.path_hang) = (ProbeStatus::Idle, None);
        let Some(queue) = self.superblocks.get_mut(&superblock) else { return };
        queue.waiting.retain(|&other| other != key);
        if queue.current == Some(Current::Queued(key)) {
            self.ready.retain(|&other| other != key);
            self.promote_next(superblock);
        }
    }

    /// Forgets a superblock without mounts, unless a probe of it is in flight.
    pub(super) fn forget_superblock(&mut self, superblock: DeviceNumber) -> bool {
        if self.superblocks.get(&superblock).is_some_and(|queue| queue.current.is_some()) {
            return false;
        }
        self.superblocks.remove(&superblock);
        self.timers.cancel(Due::Superblock(superblock));
        true
    }
}

/// Runs and timers.
impl Scheduler {
    /// Sets the interval of the runs. The next is counted from the last, so that frequent reloads do not prevent runs.
    pub(super) fn set_run_interval(&mut self, now: Time, interval: Duration) {
        if std::mem::replace(&mut self.run_interval, interval) != interval && self.runs_started > 0 {
            self.timers.set(Due::Run, (self.last_run_due + self.until_next_run()).max(now));
        }
    }

    /// From the start of the last run to that of the next.
    fn until_next_run(&self) -> Duration {
        match self.runs_started {
            0 | 1 => self.jitter.first_wait(self.run_interval, RUNS),
            _ => self.run_interval,
        }
    }

    /// Starts a run and plans the next. False if the last one is not complete: it goes on instead.
    pub(super) fn start_run(&mut self, now: Time) -> bool {
        self.runs_started += 1;
        self.last_run_due = now;
        self.timers.set(Due::Run, now + self.until_next_run());
        self.run.open(now)
    }

    /// The new run waits for this mount.
    pub(super) fn expect_in_run(&mut self, key: MountKey) {
        if let Some(mount) = self.mounts.get_mut(&key) {
            mount.ticket = self.run.expect();
        }
    }

    /// The run does not wait for this mount any more.
    pub(super) fn settle_in_run(&mut self, key: MountKey) {
        if let Some(mount) = self.mounts.get_mut(&key) {
            self.run.settle(&mut mount.ticket);
        }
    }

    /// Ends the run if it is complete; returns its start and the number of mounts that could not be judged.
    pub(super) fn close_run(&mut self) -> Option<(Time, usize)> {
        self.run.close_if_complete()
    }

    pub(super) fn run_interval(&self) -> Duration {
        self.run_interval
    }

    pub(super) fn pop_due(&mut self, now: Time) -> Option<Due> {
        self.timers.pop_due(now)
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.timers.next_deadline().into_iter().chain(self.probes.next_deadline()).min()
    }

    pub(super) fn set_timer(&mut self, due: Due, at: Time) {
        self.timers.set(due, at);
    }

    /// Sets a timer to now unless it is set.
    pub(super) fn ensure_timer(&mut self, due: Due, now: Time) {
        if !self.timers.is_set(due) {
            self.timers.set(due, now);
        }
    }
}
