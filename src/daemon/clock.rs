//! The only reader of the clock. Once a turn, so that all decisions of a turn see the same moment.

use crate::monitor::Time;
use std::time::{Duration, Instant};

/// A wake-up that comes this much too late means that this process did not run (stopped by hand, a paused virtual
/// machine, no processor to be had): those it waits for get the time back.
const STALLED: Duration = Duration::from_millis(500);

/// Monotonic time since the daemon started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    pub(super) fn now(self) -> Time {
        Time::after_start(self.start.elapsed())
    }
}

/// For how long this process did not run, if it was to wake at `planned` and wakes `now`.
pub(super) fn stall(planned: Option<Time>, now: Time) -> Option<Duration> {
    let late = now.since(planned?);
    (late >= STALLED).then_some(late)
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
