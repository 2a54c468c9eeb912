//! One entry of the mount table, as every system can describe it. Names are bytes: nothing here assumes UTF-8.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// The identity of a mount for as long as it exists: the kernel's unique 64-bit id where there is one (Linux 6.8+,
/// `statmount(2)`), else the reusable id of the mount table. The two ranges do not meet: unique ids start above 2^31.
/// macOS and FreeBSD have no such ids: there it is a hash of the file system's id and the mount point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MountKey(pub u64);

/// The device number of a superblock (`major:minor`). Mounts that share it share the fate of one file system.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct DeviceNumber {
    /// Driver part; 0 for file systems without a block device (NFS, FUSE, tmpfs, …).
    pub major: u32,
    /// Device part.
    pub minor: u32,
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl fmt::Debug for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a file system has to be asked for a sign of life; see `probe`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FsKind {
    /// Storage behind a network (NFS, SMB, Ceph, …): only `statfs` is never answered by a cache.
    Network,
    /// A user-space server answers: attributes must be asked for by force.
    Fuse,
    /// An automount trigger: never asked, so never triggered and never kept alive.
    Autofs,
    /// Everything else.
    Local,
}

/// One mount, as the mount table shows it to this process (paths relative to its root, in its mount namespace).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// Identity; see [`MountKey`].
    pub key: MountKey,
    /// The table's own id (`mountinfo` field 1); reused after an unmount.
    pub id: u32,
    /// `id` of the mount this one is attached to; not in the table for the root.
    pub parent: u32,
    /// The superblock's device number.
    pub device_number: DeviceNumber,
    /// The directory inside the file system that is mounted (`/` unless a bind or a subvolume).
    pub root: OsString,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Type with subtype (`ext4`, `nfs4`, `fuse.sshfs`).
    pub fstype: OsString,
    /// What the type calls its source (`host:/export`, `/dev/sda1`, `none`).
    pub device: OsString,
    /// Options of this mount (`rw,relatime`).
    pub options: OsString,
    /// Options of the superblock (`rw,user_id=0,…`) as the kernel writes them: escapes (`\040`, `\054`) in values
    /// stay, so that each comma separates. The flag `mand`, which means nothing any more, is left out.
    pub super_options: OsString,
}

impl Mount {
    /// Is writing refused, by this mount or by its file system as a whole?
    #[must_use]
    pub fn read_only(&self) -> bool {
        has_option(&self.options, "ro") || has_option(&self.super_options, "ro")
    }

    /// How this file system has to be asked.
    #[must_use]
    pub fn kind(&self) -> FsKind {
        crate::system::kind_of(self.fstype.as_bytes())
    }

    /// Does the system keep it for itself, out of the sight of people? Its coming and going is nothing to tell them of.
    #[must_use]
    pub fn is_system_internal(&self) -> bool {
        crate::system::is_system_internal(self)
    }

    /// The value of `name=value` among the superblock's options.
    #[must_use]
    pub fn super_option(&self, name: &str) -> Option<&OsStr> {
        self.super_options.as_bytes().split(|&b| b == b',').find_map(|option| {
            Some(OsStr::from_bytes(option.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?))
        })
    }

    /// For an automount trigger: so long after its last use what it mounted is unmounted, where walking its path counts
    /// as use. `None` where nothing is unmounted, or where a walk does not count (`strictexpire`).
    #[must_use]
    pub fn idle_timeout(&self) -> Option<Duration> {
        if self.kind() != FsKind::Autofs || has_option(&self.super_options, "strictexpire") {
            return None;
        }
        let seconds = self.super_option("timeout")?.to_str()?.parse().ok().filter(|&seconds| seconds > 0)?;
        Some(Duration::from_secs(seconds))
    }

    /// The user and group that alone may ask this file system: a FUSE mount without `allow_other` answers nobody
    /// but its owner, root included (`fuse(4)`). `None` where anybody may ask.
    #[must_use]
    pub fn fuse_owner(&self) -> Option<(u32, u32)> {
        if self.kind() != FsKind::Fuse || has_option(&self.super_options, "allow_other") {
            return None;
        }
        let number = |name| self.super_option(name)?.to_str()?.parse().ok();
        Some((number("user_id")?, number("group_id")?))
    }
}

fn has_option(options: &OsStr, wanted: &str) -> bool {
    options.as_bytes().split(|&b| b == b',').any(|option| option == wanted.as_bytes())
}
