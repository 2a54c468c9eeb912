//! A time of the daemon's monotonic clock. Nothing in `monitor` reads a clock: time is an argument.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Time since the daemon started (`CLOCK_MONOTONIC`; does not run while the machine is suspended).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Time(Duration);

impl Time {
    /// The time that is this long after the start.
    pub const fn after_start(elapsed: Duration) -> Time {
        Time(elapsed)
    }

    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long ago `earlier` was; zero if it is in the future.
    pub const fn since(self, earlier: Time) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(span))
    }
}

impl Sub<Time> for Time {
    type Output = Duration;
    fn sub(self, earlier: Time) -> Duration {
        self.since(earlier)
    }
}
