//! Is a snapshot worth sending? After each run, and at once when a mount dies or recovers.

use crate::monitor::Time;
use crate::render::Snapshot;
use platform::MountKey;

/// What was last sent.
#[derive(Debug, Default)]
pub(crate) struct PublishGate(Option<Gist>);

#[derive(PartialEq, Debug)]
struct Gist {
    last_run: Option<Time>,
    dead: Vec<MountKey>,
}

impl PublishGate {
    /// Does this snapshot say anything that was not sent?
    pub(crate) fn is(&self, snapshot: &Snapshot) -> bool {
        // Before the first run is complete, only what is dead is worth telling.
        let known = snapshot.status.last_run.is_some() || snapshot.status.dead > 0;
        known && self.0.as_ref() != Some(&gist(snapshot))
    }

    /// This one was sent.
    pub(crate) fn sent(&mut self, snapshot: &Snapshot) {
        self.0 = Some(gist(snapshot));
    }
}

fn gist(snapshot: &Snapshot) -> Gist {
    let status = &snapshot.status;
    let dead = status.mounts.iter().filter(|mount| mount.health.failure().is_some());
    Gist { last_run: status.last_run.map(|run| run.at), dead: dead.map(|mount| mount.mount.key).collect() }
}
