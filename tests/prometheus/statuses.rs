//! Statuses of mounts that exist only in the test.

use mount_status_monitor::monitor::{Health, MountStatus, ProbeSettings, Status, Time};
use mount_status_monitor::render::Snapshot;
use platform::Mount;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

pub(crate) fn status(mount: Arc<Mount>, health: Health) -> MountStatus {
    MountStatus {
        mount,
        health,
        since: Time::default(),
        judged_at: Some(Time::default()),
        is_hang_proven: false,
        last_response: None,
        waiting_since: None,
        settings: Arc::default(),
        flapping: None,
        has_unexpected_options: None,
        report: None,
        data_path: None,
        is_reported_slow: false,
    }
}

pub(crate) fn snapshot(mounts: Vec<MountStatus>) -> Snapshot {
    Snapshot {
        serial: 1,
        status: Arc::new(Status { mounts: mounts.into_iter().collect(), ..Status::default() }),
        at: Time::default(),
        wall: SystemTime::now(),
        taken: Instant::now(),
        settings: ProbeSettings::default(),
        probers: 0,
        probers_stranded: 0,
        runs_from_memory: true,
        mount_source: platform::MountSource::Events,
        remedies: Default::default(),
        config: Default::default(),
    }
}
