//! How many messages a sink takes: a token bucket, filled by the time that messages carry.

use std::time::{Duration, SystemTime};

/// Messages that may come at once: every mount of a machine with ten thousand of them dying together is told.
const BURST: f64 = 10_000.0;
/// Messages per second in the long run: more than any operator or log collector follows, and 100 lines of 200 bytes
/// fill less than 2 GiB a day.
const PER_SECOND: f64 = 100.0;

/// The bucket.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    tokens: f64,
    filled_at: Option<SystemTime>,
}

impl Rate {
    pub(super) fn new() -> Rate {
        Rate { tokens: BURST, filled_at: None }
    }

    /// May one more message pass? A wall clock that was set back only makes the bucket wait for nothing: it goes on
    /// from the new time.
    pub(super) fn admits(&mut self, now: SystemTime) -> bool {
        let passed =
            self.filled_at.map_or(Duration::ZERO, |then| now.duration_since(then).unwrap_or_default());
        self.filled_at = Some(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * PER_SECOND).min(BURST);
        let admitted = self.tokens >= 1.0;
        if admitted {
            self.tokens -= 1.0;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_trickle_whatever_the_clock_does() {
        let mut rate = Rate::new();
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let admitted = |rate: &mut Rate, now| (0..20_000).filter(|_| rate.admits(now)).count();
        assert_eq!(admitted(&mut rate, start), 10_000);
        assert_eq!(admitted(&mut rate, start + Duration::from_secs(1)), 100);
        assert_eq!(admitted(&mut rate, start - Duration::from_secs(86_400)), 0);
        assert_eq!(admitted(&mut rate, start - Duration::from_secs(86_399)), 100);
        assert_eq!(admitted(&mut rate, start + Duration::from_secs(86_400)), 10_000);
    }
}
