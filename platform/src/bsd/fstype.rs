//! How to probe each file system type, and which mounts macOS makes for its own use.

use crate::{FsKind, Mount};
use std::os::unix::ffi::OsStrExt;

/// Types with storage behind a network, by their names on macOS and FreeBSD.
const NETWORK: &[&[u8]] =
    &[b"nfs", b"oldnfs", b"smbfs", b"afpfs", b"webdav", b"ftp", b"cifs", b"acfs", b"afs", b"p9fs"];

/// Types with a user-space server. FreeBSD appends the server's name (`fusefs.sshfs`). The file systems of FSKit on
/// macOS (`lifs`) and the shared directories of a virtual machine's host behave in the same way.
const FUSE: &[&[u8]] = &[b"macfuse", b"osxfuse", b"fusefs", b"fuse", b"lifs", b"AppleVirtIOFS", b"virtiofs"];

pub(crate) fn kind_of(fstype: &[u8]) -> FsKind {
    let stem = fstype.split(|&byte| byte == b'.').next().unwrap_or_default();
    match fstype {
        b"autofs" => FsKind::Autofs,
        _ if NETWORK.contains(&fstype) => FsKind::Network,
        _ if FUSE.contains(&stem) || fstype.starts_with(b"fusefs_") => FsKind::Fuse,
        _ => FsKind::Local,
    }
}

/// Whether macOS mounts this volume for its own use and hides it from users. Such volumes are probed like all others,
/// but their mounts and unmounts (during updates and backups) need no report.
pub(crate) fn belongs_to_macos(mount: &Mount) -> bool {
    let options = mount.options.as_bytes();
    let has = |name: &[u8]| options.split(|&byte| byte == b',').any(|option| option == name);
    let is_system_type = matches!(mount.fstype.as_bytes(), b"apfs" | b"devfs" | b"hfs");
    // Not the data volume, which belongs to the root.
    is_system_type && has(b"nobrowse") && !has(b"rootfs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceNumber, MountKey, ShortenedNames};

    #[test]
    fn types_have_their_kind() {
        for (fstype, kind) in [
            ("nfs", FsKind::Network),
            ("smbfs", FsKind::Network),
            ("webdav", FsKind::Network),
            ("afpfs", FsKind::Network),
            ("macfuse", FsKind::Fuse),
            ("osxfuse", FsKind::Fuse),
            ("fusefs", FsKind::Fuse),
            ("fusefs.sshfs", FsKind::Fuse),
            ("autofs", FsKind::Autofs),
            ("apfs", FsKind::Local),
            ("hfs", FsKind::Local),
            ("ufs", FsKind::Local),
            ("zfs", FsKind::Local),
            ("msdosfs", FsKind::Local),
            ("nullfs", FsKind::Local),
            ("devfs", FsKind::Local),
            ("", FsKind::Local),
        ] {
            assert_eq!(kind_of(fstype.as_bytes()), kind, "{fstype}");
        }
    }

    #[test]
    fn system_volumes_of_macos_are_recognized_by_nobrowse() {
        let mount = |path: &str, fstype: &str, options: &str| Mount {
            key: MountKey(1),
            id: 1,
            parent: 0,
            device_number: DeviceNumber { major: 1, minor: 1 },
            root: "/".into(),
            mountpoint: path.into(),
            fstype: fstype.into(),
            device: "d".into(),
            options: options.into(),
            super_options: "".into(),
            connection_owner: None,
            shortened: ShortenedNames::default(),
        };
        for (path, fstype, options, expected) in [
            ("/", "apfs", "ro,local,rootfs,journaled", false),
            ("/System/Volumes/Preboot", "apfs", "rw,local,nobrowse,journaled", true),
            ("/System/Volumes/Data", "apfs", "rw,local,nobrowse,journaled", true),
            ("/dev", "devfs", "rw,local,nobrowse", true),
            ("/Volumes/Backup", "apfs", "rw,nodev,nosuid,local,journaled", false),
            ("/Volumes/share", "smbfs", "rw,nodev,nosuid,nobrowse", false), // hidden by a user, and remote
            ("/Volumes/.timemachine/x", "apfs", "ro,local,nobrowse,journaled,snapshot", true),
        ] {
            assert_eq!(belongs_to_macos(&mount(path, fstype, options)), expected, "{path}");
        }
    }
}
