//! The whole mount table at one moment. Entries are shared, so that comparing two readings is cheap where nothing
//! changed.

use crate::{Mount, MountKey};
use std::path::Path;
use std::sync::Arc;

/// All mounts of one reading, ordered by [`MountKey`], each key once.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct MountTable(Vec<Arc<Mount>>);

impl MountTable {
    /// Orders the entries and keeps the last of those that a racing read repeated (Linux 6.8 to early 2026 can
    /// show one mount twice in a pass).
    #[must_use]
    pub fn new(mut mounts: Vec<Arc<Mount>>) -> MountTable {
        if !mounts.is_sorted_by(|a, b| a.key < b.key) {
            mounts.sort_by_key(|mount| mount.key); // stable: the later reading of a key stays the later
            mounts.dedup_by(|later, kept| {
                let same = later.key == kept.key;
                if same {
                    std::mem::swap(later, kept);
                }
                same
            });
        }
        MountTable(mounts)
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Mount>> {
        self.0.iter()
    }

    /// The entry with this identity.
    #[must_use]
    pub fn get(&self, key: MountKey) -> Option<&Arc<Mount>> {
        self.0.binary_search_by_key(&key, |mount| mount.key).ok().map(|found| &self.0[found])
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there no mount at all?
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

/// The mount on which this file lies, from paths alone: the one with the longest mount point that leads to its folder;
/// of two on one place the later, which covers the earlier. The file itself is not looked at: it may be a mount point.
pub fn mount_containing<'a>(mounts: impl Iterator<Item = &'a Mount>, file: &Path) -> Option<&'a Mount> {
    let folder = file.parent()?;
    let over = mounts.filter(|mount| folder.starts_with(&mount.mountpoint));
    over.max_by_key(|mount| mount.mountpoint.as_os_str().len())
}
