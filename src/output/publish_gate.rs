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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::{Health, LastRun, ProbeSettings, Reason};
    use crate::render::samples::{at, failure, mount, status, status_of};
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_new_run_or_another_dead_mount_is_published() {
        let dead = |reason| Health::Dead(failure(reason, None, 3.0));
        let healthy = status_of(mount("/a", "tmpfs", "tmpfs", "rw", "rw"), Health::Ok);
        let pending = status_of(mount("/b", "tmpfs", "tmpfs", "rw", "rw"), Health::Pending);
        let mut now = Snapshot {
            serial: 1,
            status: status(vec![healthy, pending]),
            at: at(10.0),
            wall: SystemTime::UNIX_EPOCH,
            settings: ProbeSettings::default(),
            probers: 1,
            probers_stranded: 0,
        };
        let mut gate = PublishGate::default();
        assert!(!gate.is(&now), "nothing is known yet");
        now.status.last_run = Some(LastRun { at: at(1.0), took: Duration::ZERO });
        assert!(gate.is(&now));
        gate.sent(&now);
        assert!(!gate.is(&now));
        (now.status.mounts[1].health, now.status.dead) = (dead(Reason::Hung), 1);
        assert!(gate.is(&now));
        gate.sent(&now);
        now.status.mounts[1].health = dead(Reason::IoError);
        assert!(!gate.is(&now), "still the same incident");
        now.status.last_run = Some(LastRun { at: at(2.0), took: Duration::ZERO });
        assert!(gate.is(&now));
    }
}
