//! The whole mount table at one moment. Entries are shared, so comparing two tables is cheap where nothing changed.

use crate::{Mount, MountKey, MountSource, MountTree, MountWatch, OWN_MOUNT_TABLE};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// All mounts, ordered by [`MountKey`], each key once.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct MountTable(Vec<Arc<Mount>>);

impl MountTable {
    /// Sorts the entries. Of entries with the same key, only the last is kept: Linux 6.8 to early 2026 can show a mount
    /// twice when the table changes while it is read.
    #[must_use]
    pub fn new(mut mounts: Vec<Arc<Mount>>) -> MountTable {
        if !mounts.is_sorted_by(|a, b| a.key < b.key) {
            mounts.sort_by_key(|mount| mount.key); // stable, so the last stays the last
            mounts.dedup_by(|later, kept| {
                let is_same = later.key == kept.key;
                if is_same {
                    std::mem::swap(later, kept);
                }
                is_same
            });
        }
        MountTable(mounts)
    }

    /// The table of the mount namespace of this process.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn read() -> io::Result<MountTable> {
        MountWatch::open(OWN_MOUNT_TABLE.as_ref(), MountSource::Ids)?.read(&MountTree::default())
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Mount>> {
        self.0.iter()
    }

    #[must_use]
    pub fn get(&self, key: MountKey) -> Option<&Arc<Mount>> {
        self.0.binary_search_by_key(&key, |mount| mount.key).ok().map(|found| &self.0[found])
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a MountTable {
    type Item = &'a Arc<Mount>;
    type IntoIter = std::slice::Iter<'a, Arc<Mount>>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The mount that contains this file, decided by paths alone: the one with the longest mount point above the file. Of
/// several mounts at one mount point, the last one covers the others. The file itself is not accessed.
pub fn mount_containing<'a>(mounts: impl Iterator<Item = &'a Mount>, file: &Path) -> Option<&'a Mount> {
    let directory = file.parent()?;
    mounts
        .filter(|mount| directory.starts_with(&mount.mountpoint))
        .max_by_key(|mount| mount.mountpoint.as_os_str().len())
}
