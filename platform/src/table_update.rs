//! What a read of the mount table returns.

use crate::{Mount, MountKey, MountTable, OWN_MOUNT_TABLE};
use std::sync::Arc;

/// Where changes of the mount table are read from, the simplest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum MountSource {
    /// The whole table, each time.
    Text,
    /// A list of all ids, and the new mounts.
    Ids,
    /// What the kernel reports about single mounts.
    #[default]
    Events,
}

impl MountSource {
    pub const ALL: [MountSource; 3] = [MountSource::Text, MountSource::Ids, MountSource::Events];

    /// What is read, as the system calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            MountSource::Text => OWN_MOUNT_TABLE.rsplit('/').next().unwrap_or(OWN_MOUNT_TABLE),
            MountSource::Ids => "listmount",
            MountSource::Events => "fanotify",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TableUpdate {
    /// All mounts. Those that have not changed are the same `Arc`s as before.
    Whole(MountTable),
    Changes(TableChanges),
}

/// What has changed since the last read, in the order in which the kernel reported it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TableChanges {
    pub changes: Vec<TableChange>,
    /// Mounts that were unmounted before they could be read.
    pub missed: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TableChange {
    /// A new mount, or one that differs from the known one with its key.
    Present(Arc<Mount>),
    Gone(MountKey),
}
