//! Limits log lines about one hook: if it fails for each of a thousand mounts, the fault is one, not a thousand.

use std::time::{Duration, Instant};

/// Maximum number of lines of one kind in [`WINDOW`]; the rest is counted.
const MAX_LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct LogLimiter {
    window_end: Option<Instant>,
    logged: u32,
    suppressed: u64,
}

impl LogLimiter {
    /// Whether a line may be logged; otherwise it is counted.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        // While a summary is due, it comes first.
        if self.suppressed == 0 && self.window_end.is_none_or(|end| end <= now) {
            (self.window_end, self.logged) = (Some(now + WINDOW), 0);
        }
        let is_admitted = self.suppressed == 0 && self.logged < MAX_LINES;
        if is_admitted {
            self.logged += 1;
        } else {
            self.suppressed += 1;
        }
        is_admitted
    }

    /// When the summary of the suppressed lines is due, if there are any.
    pub(super) fn summary_at(&self) -> Option<Instant> {
        self.window_end.filter(|_| self.suppressed > 0)
    }

    /// The number of suppressed lines, if their summary is due.
    pub(super) fn take_summary(&mut self, now: Instant) -> Option<u64> {
        self.summary_at().filter(|at| *at <= now)?;
        (self.window_end, self.logged) = (Some(now + WINDOW), 0);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_lines_of_a_window_are_summarized_at_its_end() {
        let start = Instant::now();
        let mut limiter = LogLimiter::default();
        for _ in 0..MAX_LINES {
            assert!(limiter.admit(start));
        }
        assert_eq!(limiter.summary_at(), None);
        assert!(!limiter.admit(start));
        assert_eq!(limiter.summary_at(), Some(start + WINDOW));
        assert_eq!(limiter.take_summary(start), None);
        assert!(!limiter.admit(start + 2 * WINDOW), "the summary comes first");
        assert_eq!(limiter.take_summary(start + 2 * WINDOW), Some(2));
        assert!(limiter.admit(start + 2 * WINDOW));
        assert!(limiter.admit(start + 4 * WINDOW));
    }
}
