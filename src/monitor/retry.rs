//! When a dead mount is asked again, and when people are reminded of it.

use super::ProbeSettings;
use std::time::Duration;

/// The pause before a dead mount is asked again the first time; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// A hung mount that is asked again is waited for this part of the pause before: while it is asked it is busy, and a
/// plain `umount` of it fails.
const BUSY_SHARE: u32 = 8;
/// The least patience: a healthy file system answers within it on a loaded machine.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);

/// The pause before the `n`th time (from 0) that a dead mount is asked again.
pub(super) fn pause(n: u32, settings: &ProbeSettings) -> Duration {
    doubled(FIRST_PAUSE, n).min(settings.poll_interval)
}

/// How long to wait for the answer of a hung mount that is asked again after `pause`; `unasked` is how long ago it
/// was last waited for with full patience. Full patience comes back in time for storage that recovers but is slow.
pub(super) fn patience(pause: Duration, unasked: Duration, settings: &ProbeSettings) -> Duration {
    if unasked >= settings.timeout * BUSY_SHARE {
        return settings.timeout;
    }
    (pause / BUSY_SHARE).max(LEAST_PATIENCE).min(settings.timeout)
}

/// The first reminder of a dead mount; the pause between them doubles from there …
const FIRST_REMINDER: Duration = Duration::from_secs(60);
/// … to this.
const MAX_REMINDER: Duration = Duration::from_secs(3600);

/// The pause before the `n`th reminder (from 0).
pub(super) fn reminder(n: u32) -> Duration {
    doubled(FIRST_REMINDER, n).min(MAX_REMINDER)
}

fn doubled(first: Duration, n: u32) -> Duration {
    first.saturating_mul(1_u32.checked_shl(n.min(31)).unwrap_or(u32::MAX))
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
    fn a_hung_mount_is_held_for_a_small_part_of_the_time() {
        let settings = ProbeSettings { poll_interval: secs(1.0), timeout: secs(1.0), slow_after: secs(0.5) };
        assert_eq!(patience(secs(1.0), secs(1.0), &settings), secs(0.125));
        assert_eq!(patience(secs(1.0), secs(8.0), &settings), secs(1.0));
        assert_eq!(patience(secs(0.1), secs(0.2), &settings), LEAST_PATIENCE);
    }

    #[test]
    fn reminders_back_off_to_an_hour() {
        assert_eq!(reminder(0), secs(60.0));
        assert_eq!(reminder(3), secs(480.0));
        assert_eq!(reminder(6), secs(3600.0));
        assert_eq!(reminder(60), secs(3600.0));
    }
}
