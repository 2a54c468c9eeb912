//! A time of the daemon's monotonic clock. Nothing in `monitor` reads a clock: time is an argument.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::num::NonZero;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A time before or after the start of the daemon (`CLOCK_MONOTONIC`; does not run while the machine is suspended). In
/// nanoseconds from 146 years before the start, and never 0, so that an `Option` of it is not larger: each mount has many
/// of them. Times before the start are those that an earlier daemon has left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(NonZero<u64>);

const START: NonZero<u64> = NonZero::new(1 << 62).unwrap();

/// The start.
impl Default for Time {
    fn default() -> Time {
        Time(START)
    }
}

impl Time {
    /// The time that is this long after the start.
    pub const fn after_start(elapsed: Duration) -> Time {
        Time(START.saturating_add(nanos(elapsed)))
    }

    /// Zero for a time before the start.
    pub const fn since_start(self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(START.get()))
    }

    /// Nanoseconds since the start; negative before it.
    const fn offset(self) -> i64 {
        self.0.get().cast_signed().saturating_sub(START.get().cast_signed())
    }

    const fn at_offset(nanos: i64) -> Time {
        match NonZero::new(START.get().saturating_add_signed(nanos)) {
            Some(time) => Time(time),
            None => Time(NonZero::<u64>::MIN),
        }
    }

    /// The same moment for a daemon whose start was so many nanoseconds earlier: a later one gives a negative number.
    #[must_use]
    pub const fn shifted(self, nanos: i64) -> Time {
        Time::at_offset(self.offset().saturating_add(nanos))
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
        let before = Time::default().since(*self);
        if before > Duration::ZERO {
            formatter.write_str("-")?;
        }
        fmt::Debug::fmt(&before.max(self.since_start()), formatter)
    }
}

/// As nanoseconds since the start of the daemon that writes it.
impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.offset())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        i64::deserialize(deserializer).map(Time::at_offset)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn second(offset: i64) -> Time {
        Time::at_offset(offset * 1_000_000_000)
    }

    #[test]
    fn time_before_the_start_keeps_its_distance() {
        let (before, after) = (second(-90), Time::after_start(Duration::from_secs(10)));
        assert!(before < Time::default() && Time::default() < after);
        assert_eq!((after - before, before.since_start()), (Duration::from_secs(100), Duration::ZERO));
        assert_eq!((before + Duration::from_secs(100), second(10)), (after, after));
        let text = serde_json::to_string(&[before, after]).unwrap();
        assert_eq!(text, "[-90000000000,10000000000]");
        assert_eq!(serde_json::from_str::<[Time; 2]>(&text).unwrap(), [before, after]);
    }

    #[test]
    fn time_of_an_earlier_daemon_is_before_the_start() {
        assert_eq!(second(7).shifted(-20_000_000_000), second(-13));
        for offset in [i64::MIN, i64::MAX] {
            let moved = second(7).shifted(offset);
            assert!(moved.since(Time::default()).max(Time::default().since(moved)) > Duration::ZERO);
        }
    }
}
