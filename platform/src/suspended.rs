//! How long the machine was suspended.

#[cfg(any(target_os = "linux", target_os = "macos"))]
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The time for which the machine was suspended since its start; only its growth has a meaning. A paused virtual machine
/// does not count. Zero on systems that do not tell.
#[must_use]
pub fn time_suspended() -> Duration {
    #[cfg(target_os = "linux")]
    let clocks = (ClockId::CLOCK_BOOTTIME, ClockId::CLOCK_MONOTONIC);
    #[cfg(target_os = "macos")]
    let clocks = (ClockId::CLOCK_MONOTONIC, ClockId::from_raw(libc::CLOCK_UPTIME_RAW));
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
        // Read in this order: a pause between them does not look like a suspension.
        let with_suspension = read(clocks.0);
        with_suspension.saturating_sub(read(clocks.1))
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_is_not_suspended_while_it_runs() {
        let before = time_suspended();
        let grown = (0..1000).map(|_| time_suspended().saturating_sub(before)).max();
        assert!(grown < Some(Duration::from_millis(500)), "{grown:?}");
    }
}
