//! Pauses after failures: doubled each time, and never the same on a thousand machines.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The pauses of one server.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    failing: Option<Duration>,
}

impl Backoff {
    /// From the first to the last.
    #[must_use]
    pub const fn new(first: Duration, last: Duration) -> Backoff {
        Backoff { first, last, failing: None }
    }

    /// It failed, once more. How long to wait now?
    pub fn failed(&mut self) -> Duration {
        let pause = self.failing.map_or(self.first, |last| last.saturating_mul(2).min(self.last));
        self.failing = Some(pause);
        jittered(pause, RandomState::new().hash_one(pause))
    }

    /// It went well. Had it failed before?
    pub const fn succeeded(&mut self) -> bool {
        self.failing.take().is_some()
    }

    /// Did the last attempt fail?
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.failing.is_some()
    }
}

/// Between half and all of a pause: a thousand machines that lost one server do not return as one.
fn jittered(pause: Duration, random: u64) -> Duration {
    let half = pause / 2;
    half + half.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_between_half_and_all() {
        let pause = Duration::from_secs(8);
        assert_eq!(jittered(pause, 0), pause / 2);
        assert!(jittered(pause, u64::MAX) <= pause && jittered(pause, u64::MAX) > pause * 99 / 100);
    }

    #[test]
    fn pauses_are_doubled_up_to_the_last() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 5 * second);
        for most in [1, 2, 4, 5, 5] {
            assert!(!most.eq(&1) || !backoff.is_failing());
            let pause = backoff.failed();
            assert!(pause >= second * most / 2 && pause <= second * most, "{pause:?}");
        }
        assert!(backoff.succeeded() && !backoff.succeeded());
        assert!(backoff.failed() <= second);
    }
}
