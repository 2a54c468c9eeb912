//! The state of the daemon at one moment: the input of the renderers.

use crate::monitor::remedy::RemedyOverview;
use crate::monitor::{ProbeSettings, Status, Time};
use platform::MountSource;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The number of the snapshot; increases with each one.
    pub serial: u64,
    pub status: Arc<Status>,
    /// Monitor time.
    pub at: Time,
    /// The wall-clock time at `at`.
    pub wall: SystemTime,
    /// The same moment on the clock that is never set.
    pub taken: Instant,
    /// The settings of mounts without a rule.
    pub settings: ProbeSettings,
    /// Prober processes, stranded ones included.
    pub probers: usize,
    /// Prober processes that were killed and have not exited.
    pub probers_stranded: usize,
    /// Whether the daemon needs no file of its program any more.
    pub runs_from_memory: bool,
    /// Where changes of the mount table are read from.
    pub mount_source: MountSource,
    pub config: ConfigState,
    pub remedies: Arc<RemedyOverview>,
}

/// Which configuration is in force.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ConfigState {
    /// When it was loaded.
    pub loaded_at: Time,
    /// When a later one was rejected; `None` if there is none.
    pub rejected_at: Option<Time>,
    /// A line about each rule that ends by itself.
    pub temporary_rules: Arc<[String]>,
}

impl Snapshot {
    /// The same status as known at a later moment: ages are counted to it.
    #[must_use]
    pub fn as_of(&self, moment: Instant) -> Snapshot {
        let age = moment.saturating_duration_since(self.taken);
        Snapshot { at: self.at + age, wall: self.wall + age, taken: moment, ..self.clone() }
    }

    /// The wall-clock time at another monitor time, also a later one.
    #[must_use]
    pub fn wall_at(&self, time: Time) -> SystemTime {
        if time > self.at {
            return self.wall + (time - self.at);
        }
        self.wall.checked_sub(self.at.since(time)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
