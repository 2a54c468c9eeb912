//! How long a dead mount is left alone before it is probed again, and how long that probe waits.

use crate::monitor::ProbeSettings;
use std::time::Duration;

/// The pause before a dead mount is probed again the first time; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// A probe of a hung mount waits for this part of the pause before it: while it is probed the mount is busy, and a plain
/// `umount` of it fails.
const BUSY_SHARE: u32 = 8;
/// A healthy file system responds within this time on a loaded machine.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// The pause before retry `n` (from 0).
pub(super) fn pause(n: u32, settings: &ProbeSettings) -> Duration {
    doubled(FIRST_PAUSE, n).min(settings.poll_interval)
}

/// How long a retry of a hung mount waits after `pause`, where `since_full` is the time since the last probe that
/// waited for the whole timeout. The whole timeout comes back in time for storage that recovers but is slow.
pub(super) fn retry_timeout(pause: Duration, since_full: Duration, settings: &ProbeSettings) -> Duration {
    if since_full >= settings.timeout * BUSY_SHARE {
        return settings.timeout;
    }
    (pause / BUSY_SHARE).max(MIN_TIMEOUT).min(settings.timeout)
}

/// `first * 2^n`, saturating.
pub(crate) fn doubled(first: Duration, n: u32) -> Duration {
    first.saturating_mul(1_u32 << n.min(31))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    #[test]
    fn pauses_double_up_to_the_interval() {
        let settings = ProbeSettings::default();
        let pauses: Vec<u64> = (0..7).map(|n| pause(n, &settings).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u32::MAX, &settings), secs(60.0));
    }

    #[test]
    fn retries_of_a_hung_mount_are_short_until_a_full_timeout_is_due() {
        let settings = ProbeSettings { poll_interval: secs(1.0), timeout: secs(1.0), slow_after: secs(0.5) };
        assert_eq!(retry_timeout(secs(1.0), secs(1.0), &settings), secs(0.125));
        assert_eq!(retry_timeout(secs(1.0), secs(8.0), &settings), secs(1.0));
        assert_eq!(retry_timeout(secs(0.1), secs(0.2), &settings), MIN_TIMEOUT);
    }
}
