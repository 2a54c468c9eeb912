//! When the loop publishes a snapshot: soon after a change, but seldom enough to cost little.

use crate::monitor::Time;
use std::time::Duration;

/// Between two snapshots: pages and gateways show a hang well within a second of its detection.
const MIN_INTERVAL: Duration = Duration::from_millis(200);
/// A snapshot of very many mounts costs milliseconds: at most one part in twenty of a core.
const INTERVAL_PER_COST: u32 = 20;

pub(super) struct SnapshotPublisher {
    is_outdated: bool,
    serial: u64,
    not_before: Time,
}

impl Default for SnapshotPublisher {
    fn default() -> SnapshotPublisher {
        SnapshotPublisher { is_outdated: true, serial: 0, not_before: Time::default() }
    }
}

impl SnapshotPublisher {
    pub(super) fn mark_changed(&mut self) {
        self.is_outdated = true;
    }

    /// A run is published at once: it is what readers wait for, and it cost more than a snapshot does.
    pub(super) fn run_completed(&mut self, now: Time) {
        self.is_outdated = true;
        self.not_before = self.not_before.min(now);
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.is_outdated.then_some(self.not_before)
    }

    /// Returns whether a snapshot is due now.
    pub(super) fn take_due(&mut self, now: Time) -> bool {
        let is_due = self.next_deadline().is_some_and(|at| at <= now);
        if is_due {
            self.is_outdated = false;
            self.serial += 1;
        }
        is_due
    }

    /// Of the snapshot that was due last.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// Making the snapshot took this long.
    pub(super) fn set_cost(&mut self, now: Time, cost: Duration) {
        self.not_before = now + MIN_INTERVAL.max(cost.saturating_mul(INTERVAL_PER_COST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::after_start(Duration::from_millis(ms))
    }

    #[test]
    fn changes_within_the_interval_share_a_snapshot() {
        let mut publisher = SnapshotPublisher::default();
        assert!(publisher.take_due(at(0)) && publisher.serial() == 1);
        publisher.set_cost(at(0), Duration::from_millis(1));
        publisher.mark_changed();
        publisher.mark_changed();
        assert!(!publisher.take_due(at(100)) && publisher.next_deadline() == Some(at(200)));
        assert!(publisher.take_due(at(200)) && publisher.serial() == 2);
        assert_eq!(publisher.next_deadline(), None);
    }

    #[test]
    fn expensive_snapshots_are_rare_but_a_run_is_published_at_once() {
        let mut publisher = SnapshotPublisher::default();
        publisher.take_due(at(0));
        publisher.set_cost(at(0), Duration::from_millis(50));
        publisher.mark_changed();
        assert_eq!(publisher.next_deadline(), Some(at(1000)));
        publisher.run_completed(at(300));
        assert!(publisher.take_due(at(300)));
    }
}
