//! The pause between attempts that fail: doubled after each failure, up to a maximum.

use crate::monitor::splitmix64;
use std::ops::Add;
use std::time::Duration;

/// The pauses of one thing that is attempted. `T` is the caller's clock.
#[derive(Clone, Debug)]
pub(crate) struct Backoff<T> {
    first: Duration,
    max: Duration,
    /// State of the random sequence; none for exact pauses.
    jitter: Option<u64>,
    failure: Option<Failure<T>>,
}

/// The last attempt, which failed.
#[derive(Clone, Copy, Debug)]
struct Failure<T> {
    at: T,
    /// The pause after it, without and with jitter.
    nominal: Duration,
    pause: Duration,
    has_grown: bool,
}

impl<T: Copy + Ord + Add<Duration, Output = T>> Backoff<T> {
    pub(crate) const fn new(first: Duration, max: Duration) -> Backoff<T> {
        Backoff { first, max, jitter: None, failure: None }
    }

    /// Makes each pause a random time between its half and its whole, so that a thousand machines that lost one server
    /// do not all retry at once.
    pub(crate) const fn with_jitter(self, seed: u64) -> Backoff<T> {
        Backoff { jitter: Some(seed), ..self }
    }

    /// Records a failure. Returns how long to wait before the next attempt. A failure later than twice the maximum
    /// after the one before has another cause: the pauses start anew.
    pub(crate) fn next(&mut self, now: T) -> Duration {
        let before = self.failure.filter(|failure| now < failure.at + self.max * 2);
        let nominal = before.map_or(self.first, |failure| failure.nominal.saturating_mul(2).min(self.max));
        let has_grown = before.is_none_or(|failure| nominal > failure.nominal);
        let pause = match &mut self.jitter {
            None => nominal,
            Some(state) => {
                *state = splitmix64(*state);
                nominal / 2 + (nominal / 2).mul_f64((*state >> 11) as f64 / (1_u64 << 53) as f64)
            }
        };
        self.failure = Some(Failure { at: now, nominal, pause, has_grown });
        pause
    }

    /// Records a success. Returns whether the attempt before had failed.
    pub(crate) const fn reset(&mut self) -> bool {
        self.failure.take().is_some()
    }

    /// Whether the last failure was the first one, or made the pause longer.
    pub(crate) fn has_grown(&self) -> bool {
        self.failure.is_some_and(|failure| failure.has_grown)
    }

    /// The earliest time of the next attempt; none if the last attempt did not fail.
    pub(crate) fn retry_at(&self) -> Option<T> {
        self.failure.map(|failure| failure.at + failure.pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Time;

    const FIRST: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(10);

    fn at(ms: u64) -> Time {
        Time::after_start(Duration::from_millis(ms))
    }

    #[test]
    fn pauses_double_up_to_the_maximum() {
        let mut backoff = Backoff::new(FIRST, MAX);
        assert_eq!(backoff.retry_at(), None);
        let (mut now, mut before) = (0, 0);
        for pause in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000] {
            assert_eq!(backoff.next(at(now)), Duration::from_millis(pause));
            now += pause;
            assert_eq!((backoff.retry_at(), backoff.has_grown()), (Some(at(now)), pause > before));
            before = pause;
        }
    }

    #[test]
    fn pauses_start_anew_after_a_success_or_a_long_time() {
        let mut backoff = Backoff::new(FIRST, MAX);
        backoff.next(at(0));
        assert_eq!(backoff.next(at(200)), 2 * FIRST);
        assert!(backoff.reset() && !backoff.reset());
        assert_eq!(backoff.next(at(400)), FIRST);
        assert_eq!(backoff.next(at(30_000)), FIRST);
        assert!(backoff.has_grown());
    }

    #[test]
    fn jitter_stays_between_half_and_all_of_the_pause() {
        let mut backoff = Backoff::new(MAX, MAX).with_jitter(7);
        let pauses: Vec<Duration> = (0..1000).map(|n| backoff.next(at(n))).collect();
        assert!(pauses.iter().all(|pause| *pause >= MAX / 2 && *pause <= MAX));
        assert!(pauses.iter().any(|pause| *pause < MAX * 55 / 100));
        assert!(pauses.iter().any(|pause| *pause > MAX * 95 / 100));
    }
}
