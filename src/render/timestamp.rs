//! Wall-clock times as text.

use jiff::{Timestamp, tz::TimeZone};
use std::time::SystemTime;

/// RFC 3339 in UTC with milliseconds, for programs.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    format!("{:.3}", timestamp(time))
}

/// `2025-11-02 08:05:09 UTC`, for people.
#[must_use]
pub fn clock(time: SystemTime) -> String {
    timestamp(time).strftime("%F %T UTC").to_string()
}

/// RFC 3164's `Nov  2 08:05:09`: local time, the day padded with a space.
#[must_use]
pub fn rfc3164(time: SystemTime, zone: &TimeZone) -> String {
    timestamp(time).to_zoned_datetime(zone.clone()).strftime("%b %e %H:%M:%S").to_string()
}

/// The epoch replaces times beyond the year 9999: the message of a host with a broken clock is still useful.
fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_format() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_762_070_709_042);
        assert_eq!(rfc3339(time), "2025-11-02T08:05:09.042Z");
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
        assert_eq!(clock(time), "2025-11-02 08:05:09 UTC");
        assert_eq!(rfc3164(time, &TimeZone::UTC), "Nov  2 08:05:09");
        let east = TimeZone::fixed(jiff::tz::offset(9));
        assert_eq!(rfc3164(time, &east), "Nov  2 17:05:09");
    }
}
