//! What the operator configures.

use super::Expected;
use platform::Mount;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How one mount is probed. The same for all mounts unless a rule says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeSettings {
    /// From one probe to the next.
    pub poll_interval: Duration,
    /// A mount without a response by then is hung.
    pub timeout: Duration,
    /// A response later than this is slow.
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

/// Which mounts are watched, and how: `None` for one that must not be touched.
pub type Policy = Box<dyn Fn(&Mount) -> Option<ProbeSettings> + Send>;

/// The configuration of a [`Monitor`](super::Monitor).
pub struct MonitorConfig {
    /// From one run to the next.
    pub poll_interval: Duration,
    pub policy: Policy,
    pub expected: Vec<Arc<Expected>>,
}

impl fmt::Debug for MonitorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorConfig").field("poll_interval", &self.poll_interval).finish_non_exhaustive()
    }
}
