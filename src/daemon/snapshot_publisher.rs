//! When the loop makes a snapshot for others: soon after something changed, seldom enough to cost little, and never
//! when nobody serves it.

use crate::monitor::Time;
use crate::output::SharedState;
use crate::render::Snapshot;
use std::path::PathBuf;
use std::time::Duration;

/// A snapshot is at most this late: a page or a gateway shows a hang within a second of its verdict.
const LEAST_GAP: Duration = Duration::from_millis(200);
/// With very many mounts a snapshot costs milliseconds: it may take one part in twenty of a core.
const GAP_PER_COST: u32 = 20;

pub(super) struct SnapshotPublisher {
    live: Option<SharedState>,
    dirty: bool,
    health_revision: u64,
    not_before: Time,
}

impl SnapshotPublisher {
    pub(super) fn new(live: Option<SharedState>) -> SnapshotPublisher {
        SnapshotPublisher { live, dirty: true, health_revision: 0, not_before: Time::default() }
    }

    /// The loop has turned; mounts have changed their health this often.
    pub(super) fn turned(&mut self, health_revision: u64) {
        self.dirty |= health_revision != self.health_revision;
        self.health_revision = health_revision;
        if let Some(live) = &self.live {
            live.turned();
        }
    }

    /// The mount points about which somebody who looks on wants fresh evidence.
    pub(super) fn evidence_wanted(&self) -> Vec<PathBuf> {
        self.live.as_ref().map(SharedState::take_wishes).unwrap_or_default()
    }

    /// Something was reported: it may look different now.
    pub(super) fn changed(&mut self) {
        self.dirty = true;
    }

    pub(super) fn next(&self) -> Option<Time> {
        (self.dirty && self.live.as_ref().is_some_and(SharedState::is_followed)).then_some(self.not_before)
    }

    /// Publishes what `make` makes, if it is time. `cost` tells how long that took.
    pub(super) fn show(
        &mut self,
        now: Time,
        make: impl FnOnce() -> Snapshot,
        cost: impl FnOnce() -> Duration,
    ) {
        let Some(live) =
            self.live.as_ref().filter(|live| self.dirty && self.not_before <= now && live.is_followed())
        else {
            return;
        };
        live.publish(make());
        self.dirty = false;
        self.not_before = now + LEAST_GAP.max(cost().saturating_mul(GAP_PER_COST));
    }
}
