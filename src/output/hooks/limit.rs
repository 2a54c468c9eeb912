//! How often people are told of failures: a hook that fails for each of a thousand mounts has one fault, not a
//! thousand.

use std::time::{Duration, Instant};

/// Lines about one thing in [`WINDOW`]; the rest is summed up.
const LINES: u32 = 10;
/// The time for so many lines.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// What was said of one thing.
#[derive(Debug, Default)]
pub(super) struct Limit {
    since: Option<Instant>,
    said: u32,
    unsaid: u64,
}

/// What may be said now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Say {
    /// The line.
    Line,
    /// Nothing; and this is the first of such: somebody has to ask for the sum after [`WINDOW`].
    SumUpLater,
    /// Nothing.
    Nothing,
}

impl Limit {
    pub(super) fn admit(&mut self, now: Instant) -> Say {
        if self.unsaid == 0 && self.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            (self.since, self.said) = (Some(now), 0);
        }
        if self.unsaid == 0 && self.said < LINES {
            self.said += 1;
            return Say::Line;
        }
        self.unsaid += 1;
        if self.unsaid == 1 { Say::SumUpLater } else { Say::Nothing }
    }

    /// How many lines were not said; from now on some are again.
    pub(super) fn sum_up(&mut self, now: Instant) -> u64 {
        (self.since, self.said) = (Some(now), 0);
        std::mem::take(&mut self.unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lines_then_a_sum() {
        let start = Instant::now();
        let mut limit = Limit::default();
        for _ in 0..LINES {
            assert_eq!(limit.admit(start), Say::Line);
        }
        assert_eq!(limit.admit(start), Say::SumUpLater);
        assert_eq!(limit.admit(start + 2 * WINDOW), Say::Nothing, "the sum comes first");
        assert_eq!(limit.sum_up(start + 2 * WINDOW), 2);
        assert_eq!(limit.admit(start + 2 * WINDOW), Say::Line);
        assert_eq!(limit.admit(start + 4 * WINDOW), Say::Line);
    }
}
