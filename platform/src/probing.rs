//! What is asked of a mount and what comes of it, as plain data.

use crate::{Errno, FsKind, Mount, MountKey};
use std::path::PathBuf;

/// Everything a probe has to know of its mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Which calls are to be trusted.
    pub kind: FsKind,
    /// The identity that the path must reach.
    pub key: MountKey,
    /// The table's id, for kernels that do not tell the unique one (`STATX_MNT_ID`, 5.8+).
    pub id: u32,
    /// Ask as this user and group: see [`Mount::fuse_owner`].
    pub owner: Option<(u32, u32)>,
}

impl Target {
    /// The target that this mount is.
    #[must_use]
    pub fn for_mount(mount: &Mount) -> Target {
        Target {
            path: mount.mountpoint.clone(),
            kind: mount.kind(),
            key: mount.key,
            id: mount.id,
            owner: mount.fuse_owner(),
        }
    }
}

/// A call that a probe makes, in the order in which they are made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Call {
    /// `statx(AT_STATX_DONT_SYNC)` for the mount id; Linux alone.
    Identify,
    /// `statx(AT_STATX_FORCE_SYNC)`; `lstat` where there is none.
    Statx,
    /// `statfs`.
    Statfs,
}

impl Call {
    /// The system call's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Call::Identify | Call::Statx => crate::system::ATTRIBUTES_CALL,
            Call::Statfs => "statfs",
        }
    }
}

/// What `statfs` told, in blocks of `block_size` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Bytes in a block.
    pub block_size: u64,
    /// Size of the file system.
    pub blocks: u64,
    /// Free for root.
    pub free: u64,
    /// Free for everybody.
    pub available: u64,
    /// Inodes, 0 where the type has no such limit.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// `ST_RDONLY`: also set when the kernel itself went read-only after an error.
    pub read_only: bool,
}

impl Usage {
    /// Share in use as `df(1)` shows it, in percent of what an ordinary user could have; `None` for a size of 0.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        let used = self.blocks.saturating_sub(self.free);
        let reachable = used.saturating_add(self.available);
        (reachable > 0).then(|| used as f64 * 100.0 / reachable as f64)
    }
}

/// How a probe ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProbeOutcome {
    /// The storage answered.
    Alive(Usage),
    /// A call said no.
    Failed {
        /// Which one.
        call: Call,
        /// With what.
        errno: Errno,
    },
    /// The path reaches another mount, or none: nothing is said about the one that was meant.
    WrongMount,
}
