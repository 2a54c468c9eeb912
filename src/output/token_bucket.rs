//! Limits the messages that a sink accepts: a token bucket that is filled according to the times of the messages.

use std::time::{Duration, SystemTime};

/// Maximum number of messages at once: one for every mount of a machine with ten thousand that appear together, and
/// [`VITAL`] more.
const BURST: f64 = 14_000.0;
/// Kept for deaths and recoveries.
const VITAL: f64 = 4_000.0;
/// Messages per second in the long run: more than an operator or log collector follows, and 100 lines of 200 bytes are
/// less than 2 GiB a day.
const PER_SECOND: f64 = 100.0;

#[derive(Clone, Debug)]
pub(super) struct TokenBucket {
    tokens: f64,
    filled_at: Option<SystemTime>,
}

/// A full one.
impl Default for TokenBucket {
    fn default() -> TokenBucket {
        TokenBucket { tokens: BURST, filled_at: None }
    }
}

impl TokenBucket {
    /// Takes a token for a message of this time, if there is one. If the clock is set back, no tokens are added, and the
    /// bucket is filled from the new time on.
    pub(super) fn take(&mut self, time: SystemTime, is_vital: bool) -> bool {
        let elapsed = self.filled_at.and_then(|filled_at| time.duration_since(filled_at).ok());
        self.filled_at = Some(time);
        self.tokens = (self.tokens + elapsed.unwrap_or(Duration::ZERO).as_secs_f64() * PER_SECOND).min(BURST);
        let is_taken = self.tokens >= if is_vital { 1.0 } else { 1.0 + VITAL };
        if is_taken {
            self.tokens -= 1.0;
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_is_followed_by_the_rate_when_the_clock_is_set_back_too() {
        let mut bucket = TokenBucket::default();
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let taken = |bucket: &mut TokenBucket, time| (0..20_000).filter(|_| bucket.take(time, false)).count();
        assert_eq!(taken(&mut bucket, start), 10_000);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(1)), 100);
        assert_eq!(taken(&mut bucket, start - Duration::from_secs(86_400)), 0);
        assert_eq!(taken(&mut bucket, start - Duration::from_secs(86_399)), 100);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(86_400)), 10_000);
        let vital = (0..20_000).filter(|_| bucket.take(start, true)).count();
        assert_eq!(vital, 4_000, "deaths and recoveries");
    }
}
