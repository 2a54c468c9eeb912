//! What the monitor knows at one moment, for those who show it.

use super::{Counters, ExpectedStatus, Health, ProbeSettings, Time};
use platform::{Mount, Usage};
use std::sync::Arc;
use std::time::Duration;

/// The last answer of a mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastResponse {
    /// When it came.
    pub at: Time,
    /// How long it took.
    pub took: Duration,
    /// What it said; none if it was an error.
    pub usage: Option<Usage>,
}

/// One mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountStatus {
    /// It.
    pub mount: Arc<Mount>,
    /// Its health.
    pub health: Health,
    /// Since when that is its health (for a dead mount: since it died, whatever the reason has become).
    pub since: Time,
    /// Its last answer, if it ever gave one.
    pub last_response: Option<LastResponse>,
    /// Since when a probe is waiting for it right now.
    pub waiting_since: Option<Time>,
    /// How it is watched.
    pub settings: ProbeSettings,
}

/// The last run that is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastRun {
    /// When its last mount was judged.
    pub at: Time,
    /// From its start to then.
    pub took: Duration,
}

impl Status {
    /// The mounts that have to be there and are not.
    pub fn missing_mounts(&self) -> impl Iterator<Item = &ExpectedStatus> {
        self.expected.iter().filter(|expected| expected.missing_since.is_some())
    }

    /// How many they are.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.missing_mounts().count()
    }
}

/// Everything.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Status {
    /// The watched mounts, in the order of the mount table.
    pub mounts: Vec<MountStatus>,
    /// The mounts that have to be there.
    pub expected: Vec<ExpectedStatus>,
    /// How many can be judged: all but the hidden.
    pub total: usize,
    /// How many of them are dead.
    pub dead: usize,
    /// Probes without an answer yet.
    pub in_flight: usize,
    /// The last complete run; none before the first is.
    pub last_run: Option<LastRun>,
    /// What has been counted since the start.
    pub counters: Counters,
}
