//! Whether a snapshot is worth exporting: after each run, and at once when a mount dies or recovers.

use crate::monitor::Time;
use crate::render::Snapshot;
use platform::MountKey;

/// Remembers what was exported last.
#[derive(Debug, Default)]
pub(super) struct PublishGate(Option<SnapshotKey>);

/// What makes a snapshot worth exporting if it changes.
#[derive(PartialEq, Debug)]
struct SnapshotKey {
    last_run: Option<Time>,
    dead: Vec<MountKey>,
}

impl SnapshotKey {
    fn of(snapshot: &Snapshot) -> SnapshotKey {
        let status = &snapshot.status;
        let dead = status.mounts.iter().filter(|mount| mount.health.failure().is_some());
        SnapshotKey {
            last_run: status.last_run.map(|run| run.at),
            dead: dead.map(|mount| mount.mount.key).collect(),
        }
    }
}

impl PublishGate {
    pub(super) fn is_due(&self, snapshot: &Snapshot) -> bool {
        // Before the first run is complete, only dead mounts are known.
        let status = &snapshot.status;
        (status.last_run.is_some() || status.dead > 0) && self.0.as_ref() != Some(&SnapshotKey::of(snapshot))
    }

    pub(super) fn mark_done(&mut self, snapshot: &Snapshot) {
        self.0 = Some(SnapshotKey::of(snapshot));
    }
}
