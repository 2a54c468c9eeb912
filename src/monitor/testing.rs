//! Mounts for tests and benches.

use platform::{DeviceNumber, Mount, MountKey, ShortenedNames};

/// A tmpfs with its own superblock at `path`.
pub fn mount(key: u64, path: &str) -> Mount {
    let id = u32::try_from(key).unwrap_or(u32::MAX);
    Mount {
        key: MountKey(key),
        id,
        parent: 0,
        device_number: DeviceNumber { major: 0, minor: id },
        root: "/".into(),
        mountpoint: path.into(),
        fstype: "tmpfs".into(),
        device: "tmpfs".into(),
        options: "rw".into(),
        super_options: "rw".into(),
        connection_owner: None,
        shortened: ShortenedNames::default(),
    }
}

/// A FUSE mount that this user serves.
pub fn fuse(key: u64, path: &str, user: u32) -> Mount {
    Mount { fstype: "fuse.x".into(), connection_owner: Some((user, user)), ..mount(key, path) }
}
