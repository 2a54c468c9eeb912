//! When the mount table is read: at once after a quiet time, and in a storm of changes at most a tenth of the time,
//! whatever one reading costs. The last change of a storm is always followed by a reading.

use super::Time;
use std::time::Duration;

/// After a reading the table rests for this many times what it cost: the share of one core stays below 1/10.
const REST: u32 = 9;
/// A rest is never longer: a change must not stay unseen, even where one reading takes seconds.
const MAX_REST: Duration = Duration::from_secs(5);
/// A cheap reading does not show options and renames; a whole one follows this much later, so that a storm of
/// changes costs few of them …
const WHOLE_AFTER: Duration = Duration::from_secs(1);
/// … and later still where it is dear: at most one part in a hundred of a core.
const WHOLE_AFTER_COST: u32 = 100;
/// The scheduled whole readings cost at most this share of a core: one part in ten thousand.
const SCHEDULED_SHARE: u32 = 10_000;

/// Which reading to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// The whole text.
    Whole,
    /// What an event announced, in the cheapest way.
    Refresh,
}

#[derive(Debug, Default)]
pub(super) struct Pace {
    refresh_at: Option<Time>,
    whole_at: Option<Time>,
    rested: Time,
    last_whole: Time,
    whole_cost: Duration,
}

impl Pace {
    /// The kernel says that something changed.
    pub(super) fn changed(&mut self, now: Time) {
        self.refresh_at.get_or_insert(now.max(self.rested));
    }

    /// Something was seen that only a whole reading can explain.
    pub(super) fn doubted(&mut self, now: Time) {
        let at = now.max(self.rested);
        self.whole_at = Some(self.whole_at.map_or(at, |other| other.min(at)));
    }

    /// A run begins: a whole reading, if it is cheap or long ago.
    pub(super) fn scheduled(&mut self, now: Time) {
        if now.since(self.last_whole) > self.whole_cost.saturating_mul(SCHEDULED_SHARE) {
            self.doubted(now);
        }
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.refresh_at.into_iter().chain(self.whole_at).min()
    }

    /// The reading to make now, if one is due. A whole one answers for both.
    pub(super) fn take(&mut self, now: Time) -> Option<Reading> {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if due(self.whole_at) {
            (self.whole_at, self.refresh_at) = (None, None);
            return Some(Reading::Whole);
        }
        due(self.refresh_at).then(|| {
            self.refresh_at = None;
            Reading::Refresh
        })
    }

    /// A reading was made; `whole` if it shows everything.
    pub(super) fn was_read(&mut self, now: Time, whole: bool) {
        if whole {
            self.last_whole = now;
            self.whole_at = None;
        } else if self.whole_at.is_none() {
            self.whole_at = Some(now + WHOLE_AFTER.max(self.whole_cost.saturating_mul(WHOLE_AFTER_COST)));
        }
    }

    /// What that reading and its consequences cost.
    pub(super) fn cost(&mut self, now: Time, spent: Duration, whole: bool) {
        if whole {
            self.whole_cost = spent;
        }
        self.rested = now + spent.saturating_mul(REST).min(MAX_REST);
        for at in [&mut self.refresh_at, &mut self.whole_at].into_iter().flatten() {
            *at = (*at).max(self.rested);
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
    fn the_first_change_after_a_quiet_time_is_read_at_once() {
        let mut pace = Pace::default();
        pace.changed(at(10));
        assert_eq!(pace.take(at(10)), Some(Reading::Refresh));
        assert_eq!(pace.take(at(10)), None);
    }

    #[test]
    fn a_storm_is_read_a_tenth_of_the_time_and_its_last_change_is_not_lost() {
        let mut pace = Pace::default();
        let (mut now, mut busy, mut seen) = (0, 0, 0);
        for change in 1..=5_000_u64 {
            now = change; // one change each millisecond
            pace.changed(at(now));
            while pace.take(at(now)).is_some() {
                seen = change;
                pace.was_read(at(now), true);
                pace.cost(at(now + 20), Duration::from_millis(20), true);
                busy += 20;
            }
        }
        assert!(busy <= 5_000 / 10 + 20, "{busy} ms of 5,000");
        if seen < 5_000 {
            let last = pace.next().expect("a reading is still to come");
            assert!(last <= at(now + 200));
            assert_eq!(pace.take(last), Some(Reading::Refresh));
        }
    }

    #[test]
    fn a_cheap_reading_is_followed_by_a_whole_one() {
        let mut pace = Pace::default();
        pace.was_read(at(0), false);
        assert_eq!(pace.take(at(999)), None);
        assert_eq!(pace.take(at(1_000)), Some(Reading::Whole));
    }
}
