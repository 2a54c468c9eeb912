//! One entry of the mount table, as every system can describe it. Names are bytes; nothing here assumes UTF-8.

use crate::{SharedName, SharedPath};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// The identity of a mount for as long as it exists: the kernel's unique 64-bit id where there is one (Linux 6.8,
/// `statmount(2)`), else the reusable id of the mount table. The ranges do not overlap: unique ids start above 2^31.
/// On macOS and FreeBSD it is a hash of the file system's id and the mount point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
pub struct MountKey(pub u64);

/// The device number of a superblock (`major:minor`). All mounts with the same number show the same file system.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct DeviceNumber {
    /// 0 for file systems without a block device (NFS, FUSE, tmpfs, …).
    pub major: u32,
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

/// How to probe a file system; see `probe`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FsKind {
    /// Storage behind a network (NFS): only `statfs` is never answered from a cache.
    Network,
    /// SMB: like `Network`, but its client may ask the server for any attribute; a forced sync would make it forget
    /// those that it has.
    Smb,
    /// Storage of several servers (CephFS, Lustre, …): one answers `statfs` while another, which has the files, is dead.
    Cluster,
    /// Network and shared storage whose driver asks for the attributes at each `statx` (9p, GFS2, …).
    Uncached,
    /// A user-space server: attributes must be requested with a forced sync.
    Fuse,
    /// An automount trigger: only identified, so never triggered and never kept mounted.
    Autofs,
    Local,
}

impl FsKind {
    /// Whether its storage is behind a network.
    #[must_use]
    pub const fn is_network(self) -> bool {
        match self {
            FsKind::Network | FsKind::Smb | FsKind::Cluster | FsKind::Uncached => true,
            FsKind::Fuse | FsKind::Autofs | FsKind::Local => false,
        }
    }

    /// Whether a server answers for its storage: behind a network, or a process of this machine.
    #[must_use]
    pub const fn has_server(self) -> bool {
        self.is_network() || matches!(self, FsKind::Fuse)
    }
}

/// One mount as this process sees it: paths are relative to its root, in its mount namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    pub key: MountKey,
    /// The table's own id (field 1 of mountinfo); reused after an unmount.
    pub id: u32,
    /// `id` of the mount that this one is attached to; not in the table for the root.
    pub parent: u32,
    pub device_number: DeviceNumber,
    /// The mounted directory of the file system (`/` unless a bind mount or a subvolume).
    pub root: SharedName,
    pub mountpoint: SharedPath,
    /// Type with subtype (`ext4`, `nfs4`, `fuse.sshfs`).
    pub fstype: SharedName,
    /// The source (`host:/export`, `/dev/sda1`, `none`).
    pub device: SharedName,
    /// Options of this mount (`rw,relatime`).
    pub options: SharedName,
    /// Options of the superblock (`rw,user_id=0,…`) as the kernel writes them: escapes (`\040`, `\054`) are kept, so
    /// each comma separates options. The flag `mand`, which no longer has a meaning, is omitted.
    pub super_options: SharedName,
    /// User and group of the FUSE connection as the kernel knows them, in the user namespace of this process. `None`
    /// for other types, and where the system does not tell.
    pub connection_owner: Option<(u32, u32)>,
    pub shortened: ShortenedNames,
}

/// Who can make a mount hang, and so whose limits apply to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum User {
    /// Root, or the user of the daemon.
    #[default]
    System,
    /// Another user, by the numerical id.
    Foreign(u32),
}

impl User {
    #[must_use]
    pub const fn is_foreign(self) -> bool {
        matches!(self, User::Foreign(_))
    }
}

/// The names of a mount that are too long to be kept: a part in their middle, or all, is replaced by their length.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ShortenedNames {
    pub root: bool,
    pub mountpoint: bool,
    pub super_options: bool,
    /// Some are short only because the user of the mount has too many long ones.
    pub over_limit: bool,
}

impl Mount {
    /// The user who serves a FUSE mount. Only root can make other types of mounts in the namespace of a system.
    #[must_use]
    pub fn user(&self) -> User {
        match self.served_by() {
            Some((uid, _)) if uid != 0 && uid != nix::unistd::geteuid().as_raw() => User::Foreign(uid),
            _ => User::System,
        }
    }

    /// `user_id=` is an id of the user namespace in which the mount was made: in a container of an ordinary user, 0 is
    /// that user. So what the kernel says about the connection counts first.
    fn served_by(&self) -> Option<(u32, u32)> {
        if self.kind() != FsKind::Fuse {
            return None;
        }
        let number = |name| self.super_option(name)?.to_str()?.parse().ok();
        self.connection_owner.or_else(|| Some((number("user_id")?, number("group_id")?)))
    }

    /// Whether the mount or its file system is read-only.
    #[must_use]
    pub fn read_only(&self) -> bool {
        has_option(&self.options, "ro") || has_option(&self.super_options, "ro")
    }

    /// Whether a system call accepts its mount point: with its NUL, not longer than `PATH_MAX`.
    #[must_use]
    pub const fn has_usable_path(&self) -> bool {
        !self.shortened.mountpoint
    }

    #[must_use]
    pub fn kind(&self) -> FsKind {
        crate::system::kind_of(self.fstype.as_bytes())
    }

    /// Whether the system mounts it for its own use and hides it from users, so that its changes need no report.
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

    /// Of an automount trigger: its mount is unmounted this long after its last use, and walking its path counts as
    /// use. `None` where nothing expires, or where a walk does not count (`strictexpire`).
    #[must_use]
    pub fn idle_timeout(&self) -> Option<Duration> {
        if self.kind() != FsKind::Autofs || has_option(&self.super_options, "strictexpire") {
            return None;
        }
        let seconds = self.super_option("timeout")?.to_str()?.parse().ok().filter(|&seconds| seconds > 0)?;
        Some(Duration::from_secs(seconds))
    }

    /// The type without the subtype, which the server of a FUSE mount chooses: `fuse` of `fuse.sshfs`.
    #[must_use]
    pub fn main_type(&self) -> &OsStr {
        let bytes = self.fstype.as_bytes();
        OsStr::from_bytes(bytes.split(|&b| b == b'.').next().unwrap_or(bytes))
    }

    /// The only user and group that may access this file system: a FUSE mount without `allow_other` refuses all but
    /// its owner, root too (fuse(4)). `None` where everybody may.
    #[must_use]
    pub fn fuse_owner(&self) -> Option<(u32, u32)> {
        self.served_by().filter(|_| !has_option(&self.super_options, "allow_other"))
    }
}

fn has_option(options: &OsStr, name: &str) -> bool {
    options.as_bytes().split(|&b| b == b',').any(|option| option == name.as_bytes())
}
