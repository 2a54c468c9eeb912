//! The mount table as a tree that changes with each mount and unmount. A change costs about as much as its path is deep,
//! whatever the number of mounts.

use crate::{Mount, MountKey, MountTable};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// All mounts, by their keys and by their places.
///
/// Mounts of one parent are ordered by path so that each is directly followed by those below it. The order of a table
/// decides between mounts at one place: the last is on top of the others.
#[derive(Default, Debug)]
pub struct MountTree {
    /// Ordered by key.
    mounts: Vec<Arc<Mount>>,
    by_id: FxHashMap<u32, Arc<Mount>>,
    children: FxHashMap<u32, Vec<Arc<Mount>>>,
}

impl MountTree {
    #[must_use]
    pub fn new(table: &MountTable) -> MountTree {
        let mounts: Vec<Arc<Mount>> = table.iter().cloned().collect();
        let by_id = mounts.iter().map(|mount| (mount.id, Arc::clone(mount))).collect();
        let mut children: FxHashMap<u32, Vec<Arc<Mount>>> = FxHashMap::default();
        for mount in mounts.iter().filter(|mount| mount.parent != mount.id) {
            children.entry(mount.parent).or_default().push(Arc::clone(mount));
        }
        for siblings in children.values_mut() {
            siblings.sort_by(|a, b| compare_places(a, b));
        }
        MountTree { mounts, by_id, children }
    }

    /// All mounts, ordered by key.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Mount>> {
        self.mounts.iter()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.mounts.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mounts.is_empty()
    }

    /// The mounts at this moment.
    #[must_use]
    pub fn to_table(&self) -> MountTable {
        MountTable::new(self.mounts.clone())
    }

    #[must_use]
    pub fn get(&self, key: MountKey) -> Option<&Arc<Mount>> {
        self.position(key).ok().map(|position| &self.mounts[position])
    }

    /// The mount with this table id.
    #[must_use]
    pub fn with_id(&self, id: u32) -> Option<&Arc<Mount>> {
        self.by_id.get(&id)
    }

    /// The mount that this one is attached to; `None` for the root.
    #[must_use]
    pub fn parent(&self, mount: &Mount) -> Option<&Arc<Mount>> {
        self.by_id.get(&mount.parent).filter(|parent| parent.id != mount.id)
    }

    /// The mounts that are attached to the mount with this table id, in the order of their paths.
    #[must_use]
    pub fn children(&self, id: u32) -> &[Arc<Mount>] {
        self.children.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The children of a mount at this path or below it.
    #[must_use]
    pub fn children_below(&self, id: u32, path: &Path) -> &[Arc<Mount>] {
        let path = path.as_os_str().as_bytes();
        let children = self.children(id);
        let rest =
            &children[children.partition_point(|child| compare_paths(bytes_of(child), path).is_lt())..];
        &rest[..rest.partition_point(|child| is_at_or_above(path, bytes_of(child)))]
    }

    /// The children of a mount at this path, the topmost last.
    #[must_use]
    pub fn children_at(&self, id: u32, path: &Path) -> &[Arc<Mount>] {
        let below = self.children_below(id, path);
        &below[..below.partition_point(|child| child.mountpoint == *path)]
    }

    /// Whether a child of the same parent lies over this mount: on a directory above it, or later on its own. Only what is
    /// on a directory of the parent covers a part of it.
    #[must_use]
    pub fn is_covered_by_sibling(&self, mount: &Mount) -> bool {
        let Some(parent) = self.parent(mount).filter(|_| mount.has_usable_path()) else { return false };
        let (path, limit) = (bytes_of(mount), bytes_of(parent));
        if !is_at_or_above(limit, path) {
            return false; // neither is what is above it
        }
        let same = self.children_at(mount.parent, &mount.mountpoint);
        if same.iter().any(|other| other.key > mount.key && other.has_usable_path()) {
            return true;
        }
        let siblings = self.children(mount.parent);
        let mut above = path;
        loop {
            let end = siblings.partition_point(|other| compare_paths(bytes_of(other), above).is_lt());
            let Some(before) = end.checked_sub(1).map(|last| &siblings[last]) else { return false };
            let found = bytes_of(before);
            if is_at_or_above(found, path) {
                if found.len() < limit.len() {
                    return false;
                }
                if before.has_usable_path() {
                    return true;
                }
            }
            // No sibling is between both in the order, so the next one above the path is above both.
            above = shared_directory(found, above);
            if above.len() < limit.len() {
                return false;
            }
            let here = self.children_at(mount.parent, Path::new(OsStr::from_bytes(above)));
            if above.len() < path.len() && here.iter().any(|other| other.has_usable_path()) {
                return true;
            }
        }
    }

    /// The mounts for which [`MountTree::is_covered_by_sibling`] is true, in one pass.
    #[must_use]
    pub fn covered_by_siblings(&self) -> FxHashSet<MountKey> {
        let mut covered = FxHashSet::default();
        for (id, siblings) in &self.children {
            let Some(parent) = self.by_id.get(id) else { continue };
            let mut above: Vec<&Mount> = Vec::new();
            for mount in siblings.iter().filter(|mount| mount.has_usable_path()) {
                while above.pop_if(|over| !is_at_or_above(bytes_of(over), bytes_of(mount))).is_some() {}
                if let Some(under) = above.pop_if(|over| over.mountpoint == mount.mountpoint) {
                    covered.insert(under.key);
                }
                if !above.is_empty() {
                    covered.insert(mount.key);
                }
                if is_at_or_above(bytes_of(parent), bytes_of(mount)) {
                    above.push(mount);
                }
            }
        }
        covered
    }

    /// Whether a mount is attached to the root directory of this one, which nobody can reach by its path any more.
    #[must_use]
    pub fn is_covered_by_child(&self, mount: &Mount) -> bool {
        self.children_at(mount.id, &mount.mountpoint).iter().any(|child| child.has_usable_path())
    }

    /// Adds a mount, or replaces the one with its key, which is returned.
    pub fn insert(&mut self, mount: Arc<Mount>) -> Option<Arc<Mount>> {
        let before = self.remove(mount.key);
        let Err(position) = self.position(mount.key) else { return before };
        if mount.parent != mount.id {
            let siblings = self.children.entry(mount.parent).or_default();
            let place = siblings.partition_point(|other| compare_places(other, &mount).is_lt());
            siblings.insert(place, Arc::clone(&mount));
        }
        self.by_id.insert(mount.id, Arc::clone(&mount));
        self.mounts.insert(position, mount);
        before
    }

    pub fn remove(&mut self, key: MountKey) -> Option<Arc<Mount>> {
        let mount = self.mounts.remove(self.position(key).ok()?);
        // The id may have been given to a later mount.
        if self.by_id.get(&mount.id).is_some_and(|found| found.key == key) {
            self.by_id.remove(&mount.id);
        }
        if let Some(siblings) = self.children.get_mut(&mount.parent) {
            if let Ok(place) = siblings.binary_search_by(|other| compare_places(other, &mount)) {
                siblings.remove(place);
            }
            if siblings.is_empty() {
                self.children.remove(&mount.parent);
            }
        }
        Some(mount)
    }

    fn position(&self, key: MountKey) -> Result<usize, usize> {
        match self.mounts.last() {
            Some(last) if last.key < key => Err(self.mounts.len()), // new mounts have the highest keys
            _ => self.mounts.binary_search_by_key(&key, |mount| mount.key),
        }
    }
}

impl<'a> IntoIterator for &'a MountTree {
    type Item = &'a Arc<Mount>;
    type IntoIter = std::slice::Iter<'a, Arc<Mount>>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Mount points come from the kernel: absolute, without `.`, `..` and doubled slashes, so their bytes can be compared.
fn bytes_of(mount: &Mount) -> &[u8] {
    mount.mountpoint.as_os_str().as_bytes()
}

fn compare_places(a: &Mount, b: &Mount) -> Ordering {
    compare_paths(bytes_of(a), bytes_of(b)).then(a.key.cmp(&b.key))
}

/// Is the first path that of a directory on the second, or the second itself?
fn is_at_or_above(path: &[u8], other: &[u8]) -> bool {
    let rest = other.strip_prefix(path);
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || path == b"/")
}

/// The order in which a path is directly followed by the paths below it.
fn compare_paths(a: &[u8], b: &[u8]) -> Ordering {
    let shared = shared_length(a, b);
    let rank = |path: &[u8]| path.get(shared).map(|&byte| if byte == b'/' { 0 } else { byte });
    rank(a).cmp(&rank(b))
}

/// The longest path that is above `b`, and `a` itself or above it.
fn shared_directory<'a>(a: &[u8], b: &'a [u8]) -> &'a [u8] {
    let shared = shared_length(a, b);
    let end = match b.get(shared) {
        Some(b'/') => shared,
        _ => b[..shared].iter().rposition(|&byte| byte == b'/').unwrap_or(0),
    };
    if end == 0 { &b[..usize::from(b.len() > 1)] } else { &b[..end] }
}

/// The number of equal bytes at the start of both. Compares blocks: paths on the same deep directory differ late.
fn shared_length(a: &[u8], b: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK));
    let start = BLOCK * blocks.take_while(|(a, b)| a == b).count();
    start + a[start..].iter().zip(&b[start..]).take_while(|(a, b)| a == b).count()
}
