//! Decides when to read the mount table, and reads it: what has changed at once after a quiet time; during a burst, these
//! reads use at most a tenth of the time, whatever one costs, and those of the whole table a fiftieth. A read always
//! follows the last change of a burst.

use super::clock::Clock;
use crate::monitor::{TableDoubt, Time};
use crate::render::Priority;
use mio::{Interest, Registry, Token};
use platform::{Changes, MountSource, MountTable, MountTree, MountWatch, TableUpdate};
use std::io;
use std::time::Duration;

/// After a read of changes, the next one waits for this many times its cost: the share of one core stays below 1/10.
const COOLDOWN_FACTOR: u32 = 9;
/// After any read, one of the whole table waits for this many times its cost: the share of one core stays below 1/50. A
/// user who mounts and unmounts all the time contradicts the table all the time.
const WHOLE_COOLDOWN_FACTOR: u32 = 49;
/// Maximum cooldown: a change must be seen soon, even where one read takes seconds.
const MAX_COOLDOWN: Duration = Duration::from_secs(5);
/// What is read of changes does not show new options and paths. A read of the whole table follows after this delay, so
/// that a burst of changes causes few of them.
const WHOLE_READ_DELAY: Duration = Duration::from_secs(1);
/// The delay is at least this many times the cost of such a read: at most 1/200 of a core.
const WHOLE_READ_COST_FACTOR: u32 = 200;
/// Scheduled reads of the whole table take at most 1/10,000 of a core.
const SCHEDULED_COST_FACTOR: u32 = 10_000;
/// A failed read is assumed to cost this much: the next attempt follows after nine times as long.
const FAILED_READ_COST: Duration = Duration::from_millis(100);

pub(super) struct TableReader {
    watch: MountWatch,
    throttle: ReadThrottle,
    is_failing: bool,
}

impl TableReader {
    pub(super) fn new(mut watch: MountWatch, registry: &Registry, token: Token) -> io::Result<TableReader> {
        registry.register(&mut watch, token, Interest::READABLE)?;
        Ok(TableReader { watch, throttle: ReadThrottle::default(), is_failing: false })
    }

    /// Reads the whole table at the start, when a failure is fatal.
    pub(super) fn read_first(&mut self, clock: Clock) -> io::Result<MountTable> {
        let begun = clock.now();
        let table = self.watch.read(&MountTree::default())?;
        let finished = clock.now();
        self.throttle.finish(finished, finished - begun, true);
        Ok(table)
    }

    pub(super) fn source(&self) -> MountSource {
        self.watch.source()
    }

    pub(super) fn on_readable(&mut self, now: Time) -> Changes {
        let changes = self.watch.take_changes();
        if changes.table {
            self.throttle.request_changes(now);
        } else if self.watch.whole_read_due() {
            self.throttle.plan_whole_read(now);
        }
        changes
    }

    pub(super) fn on_doubt(&mut self, now: Time, doubt: TableDoubt) {
        self.throttle.on_doubt(now, doubt);
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.throttle.next_deadline()
    }

    /// Reads what is due of the table; `known` is the table so far. [`TableReader::finish`] must follow a successful read.
    pub(super) fn read_if_due(&mut self, now: Time, known: &MountTree) -> Option<io::Result<TableUpdate>> {
        let update = match self.throttle.take_due(now)? {
            // What has changed is reported in the order of the events, so these come first.
            ReadKind::Whole if !self.watch.has_pending_changes() => {
                self.watch.read(known).map(TableUpdate::Whole)
            }
            kind => {
                if kind == ReadKind::Whole {
                    self.throttle.on_doubt(now, TableDoubt::Contradicted);
                }
                self.watch.read_changes(known)
            }
        };
        if update.is_err() {
            self.throttle.request_changes(now);
            self.throttle.finish(now, FAILED_READ_COST, false);
        }
        Some(update)
    }

    /// The log line for the result of a read, if it begins or ends a series of failures.
    pub(super) fn log_line(&mut self, result: &io::Result<TableUpdate>) -> Option<(Priority, String)> {
        let was_failing = std::mem::replace(&mut self.is_failing, result.is_err());
        match result {
            Ok(_) if was_failing => Some((Priority::Notice, "The mount table can be read again".into())),
            Err(error) if !was_failing => {
                Some((Priority::Error, format!("Cannot read the mount table: {error}; trying again")))
            }
            _ => None,
        }
    }

    /// Must be called after a read was processed; `cost` is the time for the read and all its consequences.
    pub(super) fn finish(&mut self, now: Time, cost: Duration) {
        self.throttle.finish(now, cost, !self.watch.whole_read_due());
        if self.watch.has_pending_changes() {
            self.throttle.request_changes(now);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadKind {
    Whole,
    /// What has changed, in the cheapest way.
    Changes,
}

/// Decides when the table is read. Pure: time is an argument.
#[derive(Debug, Default)]
pub struct ReadThrottle {
    changes_at: Option<Time>,
    whole_at: Option<Time>,
    /// The cooldown of changes. They are cheap where single ones can be read, so they do not wait after a planned read of
    /// the whole table.
    no_changes_until: Time,
    no_whole_until: Time,
    /// The kind of the read that was taken last.
    taken: Option<ReadKind>,
    last_whole: Time,
    whole_cost: Duration,
}

impl ReadThrottle {
    pub fn request_changes(&mut self, now: Time) {
        self.changes_at.get_or_insert(now.max(self.no_changes_until));
    }

    /// There may be changes that only a read of the whole table shows.
    pub fn plan_whole_read(&mut self, now: Time) {
        let delay = WHOLE_READ_DELAY.max(self.whole_cost.saturating_mul(WHOLE_READ_COST_FACTOR));
        self.whole_at.get_or_insert(now + delay);
    }

    /// The monitor doubts the table. A contradiction requires a read of the whole table; a new run causes one only if it is
    /// cheap or if the last one was long ago.
    pub fn on_doubt(&mut self, now: Time, doubt: TableDoubt) {
        let is_affordable =
            now.since(self.last_whole) > self.whole_cost.saturating_mul(SCHEDULED_COST_FACTOR);
        if doubt == TableDoubt::Contradicted || is_affordable {
            let at = now.max(self.no_whole_until);
            self.whole_at = Some(self.whole_at.map_or(at, |other| other.min(at)));
        }
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.changes_at.into_iter().chain(self.whole_at).min()
    }

    /// Takes the read that is due now, if any. A whole read includes the changes.
    pub fn take_due(&mut self, now: Time) -> Option<ReadKind> {
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if is_due(self.whole_at) {
            (self.whole_at, self.changes_at) = (None, None);
            self.taken = Some(ReadKind::Whole);
            return self.taken;
        }
        is_due(self.changes_at).then(|| {
            self.changes_at = None;
            *self.taken.insert(ReadKind::Changes)
        })
    }

    /// Records the cost of a finished read, and whether it was of the whole table.
    pub fn finish(&mut self, now: Time, cost: Duration, is_whole: bool) {
        if is_whole {
            (self.last_whole, self.whole_cost, self.whole_at) = (now, cost, None);
        } else {
            self.plan_whole_read(now);
        }
        let end_of_cooldown = |factor| now + cost.saturating_mul(factor).min(MAX_COOLDOWN);
        self.no_whole_until = end_of_cooldown(WHOLE_COOLDOWN_FACTOR);
        if self.taken == Some(ReadKind::Changes) {
            self.no_changes_until = end_of_cooldown(COOLDOWN_FACTOR);
        }
        self.changes_at = self.changes_at.map(|at| at.max(self.no_changes_until));
        self.whole_at = self.whole_at.map(|at| at.max(self.no_whole_until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::after_start(Duration::from_millis(ms))
    }

    #[test]
    fn first_change_after_a_quiet_time_is_read_at_once() {
        let mut throttle = ReadThrottle::default();
        throttle.request_changes(at(10));
        assert_eq!(throttle.take_due(at(10)), Some(ReadKind::Changes));
        assert_eq!(throttle.take_due(at(10)), None);
    }

    #[test]
    fn burst_is_read_a_tenth_of_the_time_and_its_last_change_is_read() {
        let mut throttle = ReadThrottle::default();
        let (mut busy, mut seen) = (0, 0);
        for ms in 1..=5_000_u64 {
            throttle.request_changes(at(ms)); // one change each millisecond
            while throttle.take_due(at(ms)).is_some() {
                seen = ms;
                throttle.finish(at(ms + 20), Duration::from_millis(20), true);
                busy += 20;
            }
        }
        assert!(busy <= 5_000 / 10 + 20, "{busy} ms of 5,000");
        if seen < 5_000 {
            let last = throttle.next_deadline().expect("a reading is still to come");
            assert!(last <= at(5_200));
            assert_eq!(throttle.take_due(last), Some(ReadKind::Changes));
        }
    }

    #[test]
    fn changes_do_not_wait_after_a_planned_read_of_the_whole_table() {
        let mut throttle = ReadThrottle::default();
        throttle.plan_whole_read(at(0));
        assert_eq!(throttle.take_due(at(1_000)), Some(ReadKind::Whole));
        throttle.request_changes(at(1_005));
        throttle.finish(at(1_020), Duration::from_millis(20), true);
        assert_eq!(throttle.take_due(at(1_020)), Some(ReadKind::Changes));
        // These were as expensive, so the next ones wait.
        throttle.request_changes(at(1_030));
        throttle.finish(at(1_040), Duration::from_millis(20), true);
        assert_eq!(throttle.take_due(at(1_219)), None);
        assert_eq!(throttle.take_due(at(1_220)), Some(ReadKind::Changes));
    }

    #[test]
    fn changes_are_followed_by_a_whole_reading() {
        let mut throttle = ReadThrottle::default();
        throttle.finish(at(0), Duration::ZERO, false);
        assert_eq!(throttle.take_due(at(999)), None);
        assert_eq!(throttle.take_due(at(1_000)), Some(ReadKind::Whole));
    }

    #[test]
    fn new_run_causes_a_whole_reading_only_if_that_is_cheap() {
        let mut throttle = ReadThrottle::default();
        throttle.finish(at(0), Duration::from_millis(1), true);
        throttle.on_doubt(at(10_000), TableDoubt::RunStarted);
        assert_eq!(throttle.take_due(at(10_000)), None);
        throttle.on_doubt(at(10_001), TableDoubt::RunStarted);
        assert_eq!(throttle.take_due(at(10_001)), Some(ReadKind::Whole));
    }

    #[test]
    fn contradicted_table_is_read_as_a_whole_after_the_cooldown() {
        let mut throttle = ReadThrottle::default();
        throttle.finish(at(0), Duration::from_millis(10), true);
        throttle.on_doubt(at(1), TableDoubt::Contradicted);
        assert_eq!(throttle.take_due(at(489)), None);
        assert_eq!(throttle.take_due(at(490)), Some(ReadKind::Whole));
    }

    #[test]
    fn contradictions_all_the_time_cost_a_fiftieth_of_a_core() {
        let mut throttle = ReadThrottle::default();
        let mut busy = 0;
        for ms in 0..10_000_u64 {
            throttle.on_doubt(at(ms), TableDoubt::Contradicted);
            if throttle.take_due(at(ms)).is_some() {
                throttle.finish(at(ms), Duration::from_millis(20), true);
                busy += 20;
            }
        }
        assert!((180..=220).contains(&busy), "{busy} ms of 10,000");
    }
}
