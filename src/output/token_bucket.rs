//! A token bucket: limits how many lines are written.

use std::time::{Duration, Instant};

/// A number of lines that grows with time up to its capacity. Full at the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenBucket {
    tokens: f64,
    capacity: f64,
    per_second: f64,
    filled_at: Option<Instant>,
}

impl TokenBucket {
    pub(super) const fn new(capacity: f64, per_second: f64) -> TokenBucket {
        TokenBucket { tokens: capacity, capacity, per_second, filled_at: None }
    }

    /// Takes this number of tokens, if so many remain and `reserve` besides.
    pub(super) fn take(&mut self, now: Instant, number: f64, reserve: f64) -> bool {
        let elapsed = self.filled_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.filled_at = Some(now);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * self.per_second).min(self.capacity);
        let is_taken = self.tokens >= number + reserve;
        if is_taken {
            self.tokens -= number;
        }
        is_taken
    }

    /// When there is a token again, a little later than the arithmetic says. None before the first is taken.
    pub(super) fn next_token(&self) -> Option<Instant> {
        let missing = (1.0 - self.tokens).max(0.0);
        Some(self.filled_at? + Duration::from_secs_f64(missing / self.per_second) + Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_is_followed_by_the_rate_and_a_reserve_is_kept() {
        let (mut bucket, start) = (TokenBucket::new(14.0, 0.5), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let taken = |bucket: &mut TokenBucket, now, reserve| {
            (0..20).filter(|_| bucket.take(now, 1.0, reserve)).count()
        };
        assert_eq!(bucket.next_token(), None);
        assert_eq!(taken(&mut bucket, start, 4.0), 10);
        assert_eq!(taken(&mut bucket, at(2), 4.0), 1);
        assert_eq!(taken(&mut bucket, at(1), 4.0), 0, "a time before the last one");
        assert_eq!(taken(&mut bucket, at(1), 0.0), 4);
        assert!(bucket.next_token().is_some_and(|next| next > at(3) && next < at(4)));
        assert_eq!(taken(&mut bucket, at(1000), 4.0), 10);
        assert!(!bucket.take(at(1000), 5.0, 0.0) && bucket.take(at(1000), 4.0, 0.0));
    }
}
