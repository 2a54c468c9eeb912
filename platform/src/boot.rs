//! The run of the machine, and the time in it.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// 36 characters and a newline.
#[cfg(target_os = "linux")]
const MAX_LENGTH: u64 = 64;

/// Differs after each start of the machine; `None` on systems that do not tell.
#[must_use]
pub fn boot_id() -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        use std::io::Read as _;
        let file = std::fs::File::open("/proc/sys/kernel/random/boot_id").ok()?;
        let mut id = String::new();
        file.take(MAX_LENGTH).read_to_string(&mut id).ok()?;
        let id = id.trim().to_owned();
        (!id.is_empty()).then_some(id)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// `CLOCK_MONOTONIC`, which is the same for all processes of one run of the machine (and of one time namespace).
#[must_use]
pub fn monotonic_time() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_has_one_id_and_its_time_grows() {
        assert_eq!(boot_id(), boot_id());
        #[cfg(target_os = "linux")]
        assert_eq!(boot_id().map(|id| id.len()), Some(36));
        let before = monotonic_time();
        assert!(before > Duration::ZERO && monotonic_time() >= before);
    }
}
