//! What an operator wants of one mount.

use std::time::Duration;

/// How one mount is watched. The same for all mounts unless a rule says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeSettings {
    /// From one probe to the next.
    pub poll_interval: Duration,
    /// A probe that has not answered by then is hung.
    pub timeout: Duration,
    /// An answer later than this is slow.
    pub slow_after: Duration,
}

impl Default for ProbeSettings {
    fn default() -> ProbeSettings {
        ProbeSettings {
            poll_interval: Duration::from_secs(60),
            timeout: Duration::from_secs(3),
            slow_after: Duration::from_secs(1),
        }
    }
}
