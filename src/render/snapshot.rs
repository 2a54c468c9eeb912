//! Everything that is known at one moment: the input of the renderers.

use crate::monitor::{ProbeSettings, Status, Time};
use std::time::SystemTime;

/// Everything that is known at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grows with each snapshot.
    pub serial: u64,
    /// The mounts, the last run and the counters.
    pub status: Status,
    /// The moment, on the monitor's clock.
    pub at: Time,
    /// The same moment, as the time of day.
    pub wall: SystemTime,
    /// How mounts are watched for which there is no rule.
    pub settings: ProbeSettings,
    /// Probers that are there, those that are lost among them.
    pub probers: usize,
    /// Probers that were killed and are still there.
    pub probers_stranded: usize,
}

impl Snapshot {
    /// The time of day at another moment of the monitor's clock.
    #[must_use]
    pub fn wall_at(&self, time: Time) -> SystemTime {
        self.wall.checked_sub(self.at.since(time)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
