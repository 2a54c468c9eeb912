//! The state of the daemon at one moment: the input of the renderers.

use crate::monitor::{ProbeSettings, Status, Time};
use std::time::SystemTime;

#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The number of the snapshot; increases with each one.
    pub serial: u64,
    pub status: Status,
    /// Monitor time.
    pub at: Time,
    /// The wall-clock time at `at`.
    pub wall: SystemTime,
    /// The settings of mounts without a rule.
    pub settings: ProbeSettings,
    /// Prober processes, stranded ones included.
    pub probers: usize,
    /// Prober processes that were killed and have not exited.
    pub probers_stranded: usize,
    /// Whether the daemon needs no file of its program any more.
    pub runs_from_memory: bool,
}

impl Snapshot {
    /// The wall-clock time at another monitor time.
    #[must_use]
    pub fn wall_at(&self, time: Time) -> SystemTime {
        self.wall.checked_sub(self.at.since(time)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
