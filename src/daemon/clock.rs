//! The only reader of the clocks. The time is read once per turn, so that all decisions of a turn use the same time.

use crate::monitor::{Input, Time};
use std::time::{Duration, Instant};

/// A wake-up this late means that the process did not run (SIGSTOP, a paused virtual machine, an overloaded system).
/// Then every deadline is extended by the lost time. A suspension of the machine shorter than this does not matter.
const STALL_THRESHOLD: Duration = Duration::from_millis(500);
/// After a pause this long, what was known before it may be outdated: all mounts are probed again.
const LONG_STALL: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Clock {
        Clock(Instant::now())
    }

    pub(super) fn now(self) -> Time {
        Time::after_start(self.0.elapsed())
    }

    pub(super) fn instant(self, time: Time) -> Instant {
        self.0 + time.since_start()
    }
}

/// Detects that this process did not run, or that the whole machine did not.
#[derive(Clone, Copy, Debug)]
pub(super) struct PauseDetector {
    suspended: Duration,
}

impl PauseDetector {
    /// `suspended`: how long the machine was suspended so far.
    pub(super) fn new(suspended: Duration) -> PauseDetector {
        PauseDetector { suspended }
    }

    /// What the monitor must know about the time before `now`, given the planned wake-up time.
    pub(super) fn check(&mut self, suspended: Duration, planned: Option<Time>, now: Time) -> Option<Input> {
        let asleep = suspended.saturating_sub(std::mem::replace(&mut self.suspended, suspended));
        let late = planned.map_or(Duration::ZERO, |planned| now.since(planned));
        if asleep >= STALL_THRESHOLD || late >= LONG_STALL {
            return Some(Input::Resumed);
        }
        (late >= STALL_THRESHOLD).then_some(Input::Stalled(late))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::ZERO;

    fn at(ms: u64) -> Time {
        Time::after_start(Duration::from_millis(ms))
    }

    #[test]
    fn late_wake_up_is_a_stall_and_a_very_late_one_a_long_pause() {
        let mut detector = PauseDetector::new(NEVER);
        let mut check = |planned: Option<u64>, now| detector.check(NEVER, planned.map(at), at(now));
        assert!(check(None, 9_000).is_none());
        assert!(check(Some(1_000), 900).is_none());
        assert!(check(Some(1_000), 1_400).is_none());
        let Some(Input::Stalled(lost)) = check(Some(1_000), 1_500) else { panic!("no stall") };
        assert_eq!(lost, Duration::from_millis(500));
        assert!(matches!(check(Some(1_000), 5_999), Some(Input::Stalled(_))));
        assert!(matches!(check(Some(1_000), 6_000), Some(Input::Resumed)));
    }

    /// The monotonic clock, by which all deadlines are, does not run while the machine is suspended.
    #[test]
    fn suspension_is_detected_once_although_nothing_is_late() {
        let hour = Duration::from_secs(3_600);
        let mut detector = PauseDetector::new(hour);
        let mut check = |suspended| detector.check(suspended, Some(at(1_000)), at(1_000));
        assert!(check(hour).is_none(), "suspended before the start");
        assert!(
            check(hour + Duration::from_millis(1)).is_none(),
            "two clocks are never read at the same moment"
        );
        assert!(matches!(check(hour * 2), Some(Input::Resumed)));
        assert!(check(hour * 2).is_none());
        assert!(matches!(check(hour * 3), Some(Input::Resumed)));
    }
}
