//! When to try again to start a prober.

use crate::monitor::Time;
use std::time::Duration;

/// A machine short of processes or memory may have some in a moment.
const FIRST: Duration = Duration::from_millis(100);
/// Often enough to be back soon after the trouble is over, seldom enough to add nothing to it.
const LONGEST: Duration = Duration::from_secs(10);
/// A failure this long after the one before it has nothing to do with it.
const FORGET_AFTER: Duration = Duration::from_secs(20);

/// Doubles the pause with each failure that follows soon on another.
#[derive(Default)]
pub(super) struct Backoff {
    last: Option<(Time, Duration)>,
}

impl Backoff {
    /// Notes a failure: the pause from now on, and whether that is longer than the one before.
    pub(super) fn fail(&mut self, now: Time) -> (Duration, bool) {
        let before = self.last.filter(|(at, _)| now.since(*at) < FORGET_AFTER).map(|(_, pause)| pause);
        let pause = before.map_or(FIRST, |pause| (pause * 2).min(LONGEST));
        self.last = Some((now, pause));
        (pause, before.is_none_or(|before| pause > before))
    }

    /// Not before this moment.
    pub(super) fn until(&self) -> Time {
        self.last.map_or(Time::default(), |(at, pause)| at + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_to_its_limit_and_is_forgotten() {
        let at = |ms| Time::after_start(Duration::from_millis(ms));
        let mut backoff = Backoff::default();
        assert_eq!(backoff.until(), Time::default());
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let (pause, grown) = backoff.fail(at(now));
            pauses.push((pause.as_millis() as u64, grown));
            now += pause.as_millis() as u64;
            assert_eq!(backoff.until(), at(now));
        }
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000];
        assert_eq!(pauses.iter().map(|(ms, _)| *ms).collect::<Vec<_>>(), expected);
        assert!(pauses[..8].iter().all(|(_, grown)| *grown) && !pauses[8].1);
        assert_eq!(backoff.fail(at(now + 30_000)), (FIRST, true));
    }
}
