//! How each type of file system has to be asked, and which mounts belong to the system itself.

use crate::{FsKind, Mount};
use std::os::unix::ffi::OsStrExt;

/// Types whose storage is behind a network, by the names that macOS and FreeBSD give them.
const NETWORK: &[&[u8]] =
    &[b"nfs", b"oldnfs", b"smbfs", b"afpfs", b"webdav", b"ftp", b"cifs", b"acfs", b"afs", b"p9fs"];

/// Types that a user-space server answers. FreeBSD appends the server's name (`fusefs.sshfs`); what macOS makes of its
/// own kit for such file systems (`lifs`) and of folders of a virtual machine's host is no different for those who wait.
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

/// Is it one of the volumes that macOS mounts for itself and hides from people? They are watched and counted as all
/// others are, but that they come and go (at an update, at each backup) is nothing to tell an operator of.
pub(crate) fn belongs_to_macos(mount: &Mount) -> bool {
    let options = mount.options.as_bytes();
    let has = |wanted: &[u8]| options.split(|&byte| byte == b',').any(|option| option == wanted);
    let apple = matches!(mount.fstype.as_bytes(), b"apfs" | b"devfs" | b"hfs");
    // Also the data volume: it is the root's other half, and comes and goes with the machine.
    apple && has(b"nobrowse") && !has(b"rootfs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceNumber, MountKey};

    #[test]
    fn types_are_asked_by_their_kind() {
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
    fn volumes_of_the_system_are_known_by_being_hidden_from_people() {
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
        };
        for (path, fstype, options, theirs) in [
            ("/", "apfs", "ro,local,rootfs,journaled", false),
            ("/System/Volumes/Preboot", "apfs", "rw,local,nobrowse,journaled", true),
            ("/System/Volumes/Data", "apfs", "rw,local,nobrowse,journaled", true),
            ("/dev", "devfs", "rw,local,nobrowse", true),
            ("/Volumes/Backup", "apfs", "rw,nodev,nosuid,local,journaled", false),
            ("/Volumes/share", "smbfs", "rw,nodev,nosuid,nobrowse", false), // hidden by a person, and remote
            ("/Volumes/.timemachine/x", "apfs", "ro,local,nobrowse,journaled,snapshot", true),
        ] {
            assert_eq!(belongs_to_macos(&mount(path, fstype, options)), theirs, "{path}");
        }
    }
}
