//! The target and the outcome of a probe, as plain data.

use crate::{Errno, FsKind, Mount, MountKey, SharedPath, User};
use std::path::PathBuf;

/// Everything that a probe needs to know about its mount, with its mount point as a `P`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target<P = SharedPath> {
    pub path: P,
    pub kind: FsKind,
    /// The identity that the path must lead to.
    pub key: MountKey,
    /// The table's id, for kernels without unique ids (`STATX_MNT_ID`, 5.8).
    pub id: u32,
    /// Probe as this user and group: see [`Mount::fuse_owner`].
    pub owner: Option<(u32, u32)>,
    /// Whose prober makes the probe. Not sent to it.
    pub user: User,
    /// What is read or written after the other calls.
    pub data: Option<Box<DataProbe>>,
}

/// The longest path of a [`DataProbe`], with a NUL: longer ones are no names that people choose.
pub const MAX_DATA_PATH: usize = 1024;

/// Reads or writes a little: metadata may be served while data is not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataProbe {
    pub kind: DataKind,
    /// A file to read, or the directory for a file to write, below the mount point. It has no `..`.
    pub path: PathBuf,
    /// Access it as this user and group.
    pub identity: Option<(u32, u32)>,
    /// The file to write: the same after each start until the machine is booted again.
    pub own_file: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DataKind {
    Read,
    Write,
}

impl DataKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            DataKind::Read => "read",
            DataKind::Write => "write",
        }
    }
}

impl Target {
    #[must_use]
    pub fn for_mount(mount: &Mount) -> Target {
        Target {
            path: mount.mountpoint.clone(),
            kind: mount.kind(),
            key: mount.key,
            id: mount.id,
            owner: mount.fuse_owner(),
            user: mount.user(),
            data: None,
        }
    }
}

impl<P> Target<P> {
    /// The same target with its path in another form.
    #[must_use]
    pub fn with_path<Q>(&self, path: Q) -> Target<Q> {
        let Target { kind, key, id, owner, user, .. } = *self;
        Target { path, kind, key, id, owner, user, data: self.data.clone() }
    }
}

/// A system call of a probe, in the order in which they are made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum Call {
    /// `statx(AT_STATX_DONT_SYNC)` for the mount id; Linux only.
    Identify,
    /// `statx(AT_STATX_FORCE_SYNC)`, or `lstat` on other systems.
    Statx,
    Statfs,
    /// `kill` without a signal: whether the daemon of an automount trigger exists; Linux only.
    Kill,
    /// Of a data-path probe, as all that follow: `openat2`, and `fstat` of what was opened.
    Open,
    Read,
    Write,
    /// What was read is not what was written.
    Compare,
    Close,
    Remove,
}

impl Call {
    pub const ALL: [Call; 10] = [
        Call::Identify,
        Call::Statx,
        Call::Statfs,
        Call::Kill,
        Call::Open,
        Call::Read,
        Call::Write,
        Call::Compare,
        Call::Close,
        Call::Remove,
    ];

    /// Whether it is made by data-path probes only.
    #[must_use]
    pub const fn is_of_data(self) -> bool {
        match self {
            Call::Identify | Call::Statx | Call::Statfs | Call::Kill => false,
            Call::Open | Call::Read | Call::Write | Call::Compare | Call::Close | Call::Remove => true,
        }
    }

    /// The system call's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Call::Identify | Call::Statx => crate::system::ATTRIBUTES_CALL,
            Call::Statfs => "statfs",
            Call::Kill => "kill",
            Call::Open => "open",
            Call::Read => "read",
            Call::Write => "write",
            Call::Compare => "comparing what was written",
            Call::Close => "close",
            Call::Remove => "unlink",
        }
    }
}

/// The response of `statfs`, in blocks of `block_size` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    pub block_size: u64,
    pub blocks: u64,
    /// Free blocks for root.
    pub free: u64,
    /// Free blocks for ordinary users.
    pub available: u64,
    /// Inodes; 0 where the type has no such limit.
    pub files: u64,
    pub files_free: u64,
    /// `ST_RDONLY`: also set when the kernel made the file system read-only after an error.
    pub read_only: bool,
}

impl Usage {
    /// The used share as df(1) shows it, in percent of what ordinary users could use; `None` for a size of 0.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        let used = self.blocks.saturating_sub(self.free);
        let usable = used.saturating_add(self.available);
        (usable > 0).then(|| used as f64 * 100.0 / usable as f64)
    }
}

/// How a probe ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProbeOutcome {
    Alive(Usage),
    /// The data path works too. `past_cache`: no page cache of this machine was used.
    DataAlive {
        usage: Usage,
        past_cache: bool,
    },
    Failed {
        call: Call,
        errno: Errno,
    },
    /// The path leads to another mount or to none, so nothing is known about the target.
    WrongMount,
}
