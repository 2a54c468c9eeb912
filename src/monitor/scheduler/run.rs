//! A run probes every mount once. It is complete when each mount has responded or missed its deadline, so it never
//! takes much longer than the timeout, whatever hangs.

use super::{Due, MountEntry, Scheduler};
use crate::monitor::Time;
use std::time::Duration;

/// The jitter's subject for the runs; no mount has this key.
const RUNS: u64 = 0;

#[derive(Default)]
pub(super) struct Run {
    id: u64,
    is_open: bool,
    started_at: Time,
    pending: usize,
    unjudged: usize,
    /// Number of runs that were due so far, including those that became part of the previous run.
    count: u64,
    last_due: Time,
}

impl Scheduler {
    pub(crate) fn run_interval(&self) -> Duration {
        self.run_interval
    }

    /// Sets the interval of the runs. The next is counted from the last, so that frequent reloads do not prevent runs.
    pub(crate) fn set_run_interval(&mut self, now: Time, interval: Duration) {
        if std::mem::replace(&mut self.run_interval, interval) != interval && self.run.count > 0 {
            self.timers.set(Due::Run, self.next_run_at().max(now));
        }
    }

    fn next_run_at(&self) -> Time {
        let is_first = self.run.count <= 1;
        let first_wait = || self.jitter.first_wait(self.run_interval, RUNS);
        self.run.last_due + if is_first { first_wait() } else { self.run_interval }
    }

    /// Starts a run and plans the next. False if the last one is not complete: it goes on instead.
    pub(crate) fn start_run(&mut self, now: Time) -> bool {
        (self.run.count, self.run.last_due) = (self.run.count + 1, now);
        self.timers.set(Due::Run, self.next_run_at());
        let Run { id, is_open, count, last_due, .. } = self.run;
        if !is_open {
            let (id, is_open, started_at) = (id + 1, true, now);
            self.run = Run { id, is_open, started_at, pending: 0, unjudged: 0, count, last_due };
        }
        !is_open
    }

    pub(crate) fn expect_in_run(&mut self, entry: &mut MountEntry) {
        self.run.pending += 1;
        entry.schedule.expected_by_run = Some(self.run.id);
    }

    /// The run no longer waits for this mount.
    pub(crate) fn complete_in_run(&mut self, entry: &mut MountEntry) {
        if entry.schedule.expected_by_run.take() == Some(self.run.id) {
            self.run.pending -= 1;
        }
    }

    /// The run no longer waits for this mount, which could not be judged.
    pub(super) fn settle_unjudged(&mut self, entry: &mut MountEntry) {
        self.run.unjudged += usize::from(entry.schedule.expected_by_run.is_some());
        self.complete_in_run(entry);
    }

    /// Ends the run if it is complete; returns its start and the number of mounts that could not be judged.
    pub(crate) fn close_run(&mut self) -> Option<(Time, usize)> {
        let is_complete = self.run.is_open && self.run.pending == 0;
        self.run.is_open &= !is_complete;
        is_complete.then_some((self.run.started_at, self.run.unjudged))
    }
}
