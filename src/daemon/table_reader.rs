//! Decides when to read the mount table, and reads it: at once after a quiet time; during a burst of changes, reads use
//! at most a tenth of the time, whatever one read costs. A read always follows the last change of a burst.

use crate::monitor::{TableDoubt, Time};
use crate::render::Priority;
use mio::{Interest, Registry, Token};
use platform::{Changes, MountTable, MountWatch};
use std::io;
use std::time::Duration;

/// After a read, the next one waits for this many times its cost: the share of one core stays below 1/10.
const COOLDOWN_FACTOR: u32 = 9;
/// Maximum cooldown: a change must be seen soon, even where one read takes seconds.
const MAX_COOLDOWN: Duration = Duration::from_secs(5);
/// A refresh does not show changed options and paths. A full read follows after this delay, so that a burst of changes
/// causes few of them.
const FULL_READ_DELAY: Duration = Duration::from_secs(1);
/// The delay is at least this many times the cost of a full read: at most 1/100 of a core.
const FULL_READ_COST_FACTOR: u32 = 100;
/// Scheduled full reads take at most 1/10,000 of a core.
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
    pub(super) fn read_first(&mut self, now: Time) -> io::Result<MountTable> {
        let table = self.watch.read()?;
        self.throttle.finish(now, Duration::ZERO, true);
        Ok(table)
    }

    pub(super) fn on_readable(&mut self, now: Time) -> Changes {
        let changes = self.watch.take_changes();
        if changes.table {
            self.throttle.request_refresh(now);
        }
        changes
    }

    pub(super) fn on_doubt(&mut self, now: Time, doubt: TableDoubt) {
        self.throttle.on_doubt(now, doubt);
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.throttle.next_deadline()
    }

    /// Reads the table if a reading is due. [`TableReader::finish`] must follow a successful one.
    pub(super) fn read_if_due(&mut self, now: Time) -> Option<io::Result<MountTable>> {
        let table = match self.throttle.take_due(now)? {
            ReadKind::Full => self.watch.read(),
            ReadKind::Refresh => self.watch.refresh(),
        };
        if table.is_err() {
            self.throttle.request_refresh(now);
            self.throttle.finish(now, FAILED_READ_COST, false);
        }
        Some(table)
    }

    /// The log line for the result of a read, if it begins or ends a series of failures.
    pub(super) fn log_line(&mut self, result: &io::Result<MountTable>) -> Option<(Priority, String)> {
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
        self.throttle.finish(now, cost, !self.watch.full_read_due());
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadKind {
    Full,
    /// Reads the changes after an event, in the cheapest way.
    Refresh,
}

/// Decides when the table is read. Pure: time is an argument.
#[derive(Debug, Default)]
pub struct ReadThrottle {
    refresh_at: Option<Time>,
    full_at: Option<Time>,
    cooldown_until: Time,
    last_full: Time,
    full_cost: Duration,
}

impl ReadThrottle {
    pub fn request_refresh(&mut self, now: Time) {
        self.refresh_at.get_or_insert(now.max(self.cooldown_until));
    }

    /// The monitor doubts the table. A contradiction requires a full read; a new run causes one only if it is cheap or if
    /// the last one was long ago.
    pub fn on_doubt(&mut self, now: Time, doubt: TableDoubt) {
        let is_affordable = now.since(self.last_full) > self.full_cost.saturating_mul(SCHEDULED_COST_FACTOR);
        if doubt == TableDoubt::Contradicted || is_affordable {
            let at = now.max(self.cooldown_until);
            self.full_at = Some(self.full_at.map_or(at, |other| other.min(at)));
        }
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.refresh_at.into_iter().chain(self.full_at).min()
    }

    /// Takes the read that is due now, if any. A full read includes the refresh.
    pub fn take_due(&mut self, now: Time) -> Option<ReadKind> {
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if is_due(self.full_at) {
            (self.full_at, self.refresh_at) = (None, None);
            return Some(ReadKind::Full);
        }
        is_due(self.refresh_at).then(|| {
            self.refresh_at = None;
            ReadKind::Refresh
        })
    }

    /// Records the cost of a finished read, and whether it was complete.
    pub fn finish(&mut self, now: Time, cost: Duration, is_full: bool) {
        if is_full {
            (self.last_full, self.full_cost, self.full_at) = (now, cost, None);
        } else if self.full_at.is_none() {
            let delay = FULL_READ_DELAY.max(self.full_cost.saturating_mul(FULL_READ_COST_FACTOR));
            self.full_at = Some(now + delay);
        }
        self.cooldown_until = now + cost.saturating_mul(COOLDOWN_FACTOR).min(MAX_COOLDOWN);
        for at in [&mut self.refresh_at, &mut self.full_at].into_iter().flatten() {
            *at = (*at).max(self.cooldown_until);
        }
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
        throttle.request_refresh(at(10));
        assert_eq!(throttle.take_due(at(10)), Some(ReadKind::Refresh));
        assert_eq!(throttle.take_due(at(10)), None);
    }

    #[test]
    fn burst_is_read_a_tenth_of_the_time_and_its_last_change_is_read() {
        let mut throttle = ReadThrottle::default();
        let (mut busy, mut seen) = (0, 0);
        for ms in 1..=5_000_u64 {
            throttle.request_refresh(at(ms)); // one change each millisecond
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
            assert_eq!(throttle.take_due(last), Some(ReadKind::Refresh));
        }
    }

    #[test]
    fn refresh_is_followed_by_a_full_reading() {
        let mut throttle = ReadThrottle::default();
        throttle.finish(at(0), Duration::ZERO, false);
        assert_eq!(throttle.take_due(at(999)), None);
        assert_eq!(throttle.take_due(at(1_000)), Some(ReadKind::Full));
    }

    #[test]
    fn new_run_causes_a_full_reading_only_if_that_is_cheap() {
        let mut throttle = ReadThrottle::default();
        throttle.finish(at(0), Duration::from_millis(1), true);
        throttle.on_doubt(at(10_000), TableDoubt::RunStarted);
        assert_eq!(throttle.take_due(at(10_000)), None);
        throttle.on_doubt(at(10_001), TableDoubt::RunStarted);
        assert_eq!(throttle.take_due(at(10_001)), Some(ReadKind::Full));
    }

    #[test]
    fn contradicted_table_is_read_in_full_after_the_cooldown() {
        let mut throttle = ReadThrottle::default();
        throttle.finish(at(0), Duration::from_millis(10), true);
        throttle.on_doubt(at(1), TableDoubt::Contradicted);
        assert_eq!(throttle.take_due(at(89)), None);
        assert_eq!(throttle.take_due(at(90)), Some(ReadKind::Full));
    }
}
