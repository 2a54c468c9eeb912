//! Mounts, statuses and snapshots for tests.

use super::Snapshot;
use crate::monitor::{Failure, Health, LastResponse, MountStatus, ProbeSettings, Reason, Status, Time};
use platform::{Call, DeviceNumber, Errno, Mount, MountKey, MountSource, Usage};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub(crate) fn mount(
    path: &str,
    fstype: &str,
    device: &str,
    options: &str,
    super_options: &str,
) -> Arc<Mount> {
    Arc::new(Mount {
        key: MountKey(1),
        id: 1,
        parent: 0,
        device_number: DeviceNumber { major: 0, minor: 42 },
        root: "/".into(),
        mountpoint: path.into(),
        fstype: fstype.into(),
        device: device.into(),
        options: options.into(),
        super_options: super_options.into(),
        connection_owner: None,
        shortened: platform::ShortenedNames::default(),
    })
}

pub(crate) fn sshfs() -> Arc<Mount> {
    mount("/x", "fuse.sshfs", "host:/dir", "rw", "rw")
}

pub(crate) fn failure(reason: Reason, errno: Option<Errno>, waited: f64) -> Failure {
    Failure {
        reason,
        errno,
        call: Some(Call::Statfs),
        waited: Duration::from_secs_f64(waited),
        blocked_by: None,
        evidence: None,
    }
}

pub(crate) fn at(seconds: f64) -> Time {
    Time::after_start(Duration::from_secs_f64(seconds))
}

/// A mount of this health. One that responds did so in 3 ms (slow: 1.4 s) and is half full.
pub(crate) fn status_of(mount: Arc<Mount>, health: Health) -> MountStatus {
    let usage = Usage {
        block_size: 4096,
        blocks: 1000,
        free: 500,
        available: 500,
        files: 0,
        files_free: 0,
        read_only: false,
    };
    let is_slow = health == Health::Slow;
    let took = if is_slow { Duration::from_millis(1400) } else { Duration::from_millis(3) };
    let last_response = matches!(health, Health::Ok | Health::Slow).then(|| LastResponse {
        at: at(10.0),
        took,
        usage: Some(usage),
    });
    let judged_at = (!matches!(health, Health::Pending | Health::Hidden)).then(|| at(10.0));
    MountStatus {
        mount,
        health,
        since: at(8.0),
        judged_at,
        is_hang_proven: false,
        last_response,
        waiting_since: None,
        settings: Arc::default(),
        flapping: None,
        is_reported_slow: is_slow,
        has_unexpected_options: None,
        report: None,
        data_path: None,
    }
}

pub(crate) fn status(mounts: Vec<MountStatus>) -> Status {
    Status {
        total: mounts.iter().filter(|m| m.health != Health::Hidden).count(),
        dead: mounts.iter().filter(|m| m.health.failure().is_some()).count(),
        in_flight: mounts.iter().filter(|m| m.waiting_since.is_some()).count(),
        mounts: mounts.into_iter().collect(),
        ..Status::default()
    }
}

/// At 10 s of monitor time and 100 s after the epoch.
pub(crate) fn snapshot(status: Status) -> Snapshot {
    Snapshot {
        serial: 1,
        status: Arc::new(status),
        at: at(10.0),
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(100),
        taken: Instant::now(),
        settings: ProbeSettings::default(),
        probers: 1,
        probers_stranded: 0,
        runs_from_memory: true,
        mount_source: MountSource::Events,
        remedies: Arc::default(),
        config: Default::default(),
    }
}
