//! Mounts that an automounter unmounts when they are idle. A probe walks the trigger's path, and the kernel counts that as
//! use: probed at each run, such a mount would never expire. So it is probed so rarely that the automounter can find it
//! idle in between.

use std::time::Duration;

/// An automounter checks for idle mounts at intervals: automount(8) each quarter of the idle timeout, systemd each
/// third. A part of the timeout that is longer than either …
const CHECK_SHARE: u32 = 2;
/// … and room for a check that is late.
const CHECK_DELAY: Duration = Duration::from_secs(5);

/// From one probe to the next of a mount that expires after `idle_timeout` without use, so that it can expire.
pub(crate) fn idle_safe_interval(idle_timeout: Duration) -> Duration {
    idle_timeout.saturating_add(idle_timeout / CHECK_SHARE).saturating_add(CHECK_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automounter_finds_the_mount_idle_between_two_probes() {
        for (timeout, expected) in [(1, 6.5), (40, 65.0), (300, 455.0)] {
            let interval = idle_safe_interval(Duration::from_secs(timeout));
            assert_eq!(interval, Duration::from_secs_f64(expected));
            assert!(interval > Duration::from_secs(timeout + timeout.div_ceil(3)), "{timeout}");
        }
        assert_eq!(idle_safe_interval(Duration::MAX), Duration::MAX);
    }
}
