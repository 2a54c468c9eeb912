//! Mounts and failures that exist only in the test.

use mount_status_monitor::monitor::{Failure, Reason};
use platform::{DeviceNumber, Mount, MountKey};
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn nfs_mount(path: &str) -> Arc<Mount> {
    Arc::new(Mount {
        key: MountKey(1),
        id: 1,
        parent: 0,
        device_number: DeviceNumber { major: 0, minor: 42 },
        root: "/".into(),
        mountpoint: path.into(),
        fstype: "nfs4".into(),
        device: "host:/dir".into(),
        options: "rw".into(),
        super_options: "rw".into(),
        connection_owner: None,
        shortened: platform::ShortenedNames::default(),
    })
}

pub(crate) fn failure(reason: Reason) -> Failure {
    let waited = Duration::from_secs(3);
    Failure { reason, errno: None, call: None, waited, blocked_by: None, evidence: None }
}
