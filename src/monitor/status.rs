//! A snapshot of what the monitor knows.

use super::{Counters, ExpectedStatus, Health, ProbeSettings, Time};
use platform::{Mount, Usage};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, PartialEq, Default, Debug)]
pub struct Status {
    /// The watched mounts, in the order of the mount table.
    pub mounts: Vec<MountStatus>,
    /// The mounts that have to be there.
    pub expected: Vec<ExpectedStatus>,
    /// How many mounts can be judged: all but the hidden.
    pub total: usize,
    /// How many of them are dead.
    pub dead: usize,
    pub in_flight: usize,
    /// The last complete run.
    pub last_run: Option<LastRun>,
    /// What has been counted since the start.
    pub counters: Counters,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountStatus {
    pub mount: Arc<Mount>,
    pub health: Health,
    /// Since when that is its health; for a dead mount, since it died, whatever the reason has become.
    pub since: Time,
    /// Its last response, if there was any.
    pub last_response: Option<LastResponse>,
    /// Since when a probe waits for it.
    pub waiting_since: Option<Time>,
    pub settings: ProbeSettings,
}

/// The last response of a mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastResponse {
    pub at: Time,
    pub took: Duration,
    /// What `statfs` returned; `None` if the response was an error.
    pub usage: Option<Usage>,
}

/// The last complete run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastRun {
    /// When its last mount was judged.
    pub at: Time,
    /// From its start to then.
    pub took: Duration,
}

impl Status {
    /// The expected mounts that are missing.
    pub fn missing_mounts(&self) -> impl Iterator<Item = &ExpectedStatus> {
        self.expected.iter().filter(|expected| expected.missing_since.is_some())
    }

    #[must_use]
    pub fn missing(&self) -> usize {
        self.missing_mounts().count()
    }
}
