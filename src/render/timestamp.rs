//! Wall-clock times as text.

use jiff::{Timestamp, tz::TimeZone};
use std::time::{Duration, SystemTime};

/// A time in a request: RFC 3339, or Unix seconds. In a query, `+` may have become a blank.
#[must_use]
pub fn parse(text: &str) -> Option<SystemTime> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        let seconds = Duration::try_from_secs_f64(text.parse().ok()?).ok()?;
        return SystemTime::UNIX_EPOCH.checked_add(seconds);
    }
    let time: Result<Timestamp, _> = text.parse().or_else(|_| text.replace(' ', "+").parse());
    time.ok()?.try_into().ok()
}

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

    #[test]
    fn times_of_requests() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_762_070_709_500);
        for text in [
            "1762070709.5",
            "2025-11-02T08:05:09.5Z",
            "2025-11-02T08:05:09.500+00:00",
            "2025-11-02T09:05:09.5 01:00",
            "2025-11-02T06:05:09.5-02:00",
        ] {
            assert_eq!(parse(text), Some(time), "{text}");
        }
        for text in ["", ".", "1.2.3", "-1", "1e9", "inf", "today", "2025-11-02", "99999999999999999999999"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
