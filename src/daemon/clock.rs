//! The only reader of the clock. It reads it once per turn, so that all decisions of a turn use the same time.

use crate::monitor::Time;
use std::time::{Duration, Instant};

/// A wake-up this late means that the process did not run (SIGSTOP, a paused virtual machine, an overloaded system).
/// Then every deadline is extended by the lost time.
const STALL_THRESHOLD: Duration = Duration::from_millis(500);

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

/// How long the process did not run, given the planned wake-up time.
pub(super) fn stall(planned: Option<Time>, now: Time) -> Option<Duration> {
    let late = now.since(planned?);
    (late >= STALL_THRESHOLD).then_some(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_late_wake_up_is_a_stall() {
        let at = |ms| Time::after_start(Duration::from_millis(ms));
        assert_eq!(stall(None, at(9_000)), None);
        assert_eq!(stall(Some(at(1_000)), at(900)), None);
        assert_eq!(stall(Some(at(1_000)), at(1_400)), None);
        assert_eq!(stall(Some(at(1_000)), at(9_000)), Some(Duration::from_secs(8)));
    }
}
