//! A time of the daemon's monotonic clock. Nothing in `monitor` reads a clock: time is an argument.

use std::fmt;
use std::num::NonZero;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Time since the daemon started (`CLOCK_MONOTONIC`; does not run while the machine is suspended). In nanoseconds, which
/// is enough for 584 years, and plus one, so that an `Option` of it is not larger: each mount has many of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(NonZero<u64>);

/// The start.
impl Default for Time {
    fn default() -> Time {
        Time(NonZero::<u64>::MIN)
    }
}

impl Time {
    /// The time that is this long after the start.
    pub const fn after_start(elapsed: Duration) -> Time {
        Time(NonZero::<u64>::MIN.saturating_add(nanos(elapsed)))
    }

    pub const fn since_start(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }

    /// How long ago `earlier` was; zero if it is in the future.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

/// Saturating.
const fn nanos(span: Duration) -> u64 {
    let nanos = span.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}

impl fmt::Debug for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.since_start(), formatter)
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(nanos(span)))
    }
}

impl Sub<Time> for Time {
    type Output = Duration;
    fn sub(self, earlier: Time) -> Duration {
        self.since(earlier)
    }
}
