//! What the monitor knows at one moment, for those who show it.

use super::{Counters, Event, ExpectedStatus, Health, ProbeSettings, Time};
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
    /// What is wrong at this moment, as whoever hears of it only now is told.
    pub fn problem_events(&self, now: Time) -> impl Iterator<Item = Event> {
        let of_mount = move |status: &MountStatus| {
            let mount = Arc::clone(&status.mount);
            match &status.health {
                Health::Dead(failure) if failure.blocked_by.is_none() => {
                    let (failure, lasted) = (failure.clone(), now - status.since);
                    Some(Event::StillFailing { mount, failure, lasted })
                }
                Health::Slow => {
                    let took = status.last_response.map_or(Duration::ZERO, |answered| answered.took);
                    Some(Event::Slow { mount, took, slow_after: status.settings.slow_after })
                }
                _ => None,
            }
        };
        let missing = self.missing_mounts().map(|missing| {
            let (expected, containing_mount) =
                (Arc::clone(&missing.expected), missing.containing_mount.clone());
            Event::Missing { expected, containing_mount }
        });
        self.mounts.iter().filter_map(of_mount).chain(missing)
    }

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
