//! Decides when to renew a result whose cost grows with the number of mounts, so that it uses a small share of a core.

use crate::monitor::Time;
use std::time::Duration;

pub(super) struct CostThrottle {
    min_interval: Duration,
    /// The interval is at least this many times the cost.
    cost_factor: u32,
    is_outdated: bool,
    not_before: Time,
}

impl CostThrottle {
    pub(super) fn new(min_interval: Duration, cost_factor: u32) -> CostThrottle {
        CostThrottle { min_interval, cost_factor, is_outdated: false, not_before: Time::default() }
    }

    pub(super) fn mark_changed(&mut self) {
        self.is_outdated = true;
    }

    /// A change that must not wait.
    pub(super) fn mark_changed_now(&mut self, now: Time) {
        self.is_outdated = true;
        self.not_before = self.not_before.min(now);
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.is_outdated.then_some(self.not_before)
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        self.next_deadline().is_some_and(|at| at <= now)
    }

    pub(super) fn finish(&mut self, now: Time, cost: Duration) {
        self.is_outdated = false;
        self.not_before = now + self.min_interval.max(cost.saturating_mul(self.cost_factor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::after_start(Duration::from_millis(ms))
    }

    #[test]
    fn changes_wait_for_the_interval_or_a_multiple_of_the_cost_unless_urgent() {
        for (cost, due) in [(1, 200), (50, 1000)] {
            let mut throttle = CostThrottle::new(Duration::from_millis(200), 20);
            throttle.mark_changed();
            assert!(throttle.is_due(at(0)));
            throttle.finish(at(0), Duration::from_millis(cost));
            assert_eq!(throttle.next_deadline(), None);
            throttle.mark_changed();
            assert!(!throttle.is_due(at(due - 1)) && throttle.is_due(at(due)));
            throttle.mark_changed_now(at(100));
            assert!(throttle.is_due(at(100)));
        }
    }
}
