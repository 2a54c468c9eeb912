//! Determines which mounts can be reached by their own path. A path leads to the topmost mount on each of its
//! directories, so a mount is hidden when another mount is on its root or on a directory between it and its parent, or
//! when its parent is hidden. Decided from the table alone; no path is walked.

use platform::{Mount, MountKey, MountTable};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use std::os::unix::ffi::OsStrExt;

/// The number of mounts that can be reached by their own path, of those that the condition admits.
pub fn count_visible(table: &MountTable, admits: impl Fn(&Mount) -> bool) -> usize {
    let hidden = HiddenMounts::of(table);
    table.iter().filter(|mount| admits(mount) && !hidden.contains(mount.key)).count()
}

#[derive(Default)]
pub(super) struct HiddenMounts(FxHashSet<MountKey>);

impl HiddenMounts {
    pub(super) fn of(table: &MountTable) -> HiddenMounts {
        let by_id: FxHashMap<u32, &Mount> = table.iter().map(|mount| (mount.id, &**mount)).collect();
        // The topmost mount at each path of each parent.
        let mut attached: Attached<'_> = FxHashMap::with_capacity_and_hasher(table.len(), FxBuildHasher);
        let mut hidden = FxHashSet::default();
        for mount in table {
            if let Some(earlier) = attached.insert((mount.parent, path_of(mount)), mount) {
                hidden.insert(earlier.key);
            }
        }
        let mut reachable = FxHashMap::with_capacity_and_hasher(table.len(), FxBuildHasher);
        for mount in table {
            let is_covered =
                attached.get(&(mount.id, path_of(mount))).is_some_and(|over| over.id != mount.id);
            if is_covered || !is_reachable(mount, &by_id, &attached, &mut reachable) {
                hidden.insert(mount.key);
            }
        }
        HiddenMounts(hidden)
    }

    pub(super) fn contains(&self, key: MountKey) -> bool {
        self.0.contains(&key)
    }
}

/// Mounts by the id of their parent and their path.
type Attached<'a> = FxHashMap<(u32, &'a [u8]), &'a Mount>;

/// Does walking this mount's path from the root pass through its chain of parents? Each parent is judged once.
fn is_reachable<'a>(
    mount: &'a Mount,
    by_id: &FxHashMap<u32, &'a Mount>,
    attached: &Attached<'a>,
    known: &mut FxHashMap<u32, bool>,
) -> bool {
    let mut chain = Vec::new();
    let mut link = mount;
    let mut reachable = loop {
        if let Some(&reachable) = known.get(&link.id) {
            break reachable;
        }
        chain.push(link);
        match by_id.get(&link.parent) {
            // A parent that is not in the table is the root of our view. A table that was read while it changed can
            // contain loops: no chain is longer than the table.
            Some(parent) if parent.id != link.id && chain.len() <= by_id.len() => link = parent,
            _ => break true,
        }
    };
    for link in chain.into_iter().rev() {
        reachable = reachable && !is_crossed(link, by_id.get(&link.parent).copied(), attached);
        known.insert(link.id, reachable);
    }
    reachable
}

/// Is another mount on a directory between the parent's root and this mount, this mount's directory included?
fn is_crossed(mount: &Mount, parent: Option<&Mount>, attached: &Attached<'_>) -> bool {
    let Some(parent) = parent else { return false };
    let (path, root) = (path_of(mount), path_of(parent));
    let is_over = |directory: &[u8]| {
        attached.get(&(parent.id, directory)).is_some_and(|over| over.id != mount.id && over.id != parent.id)
    };
    if is_over(path) {
        return true;
    }
    let mut end = path.len();
    while end > root.len() {
        // The directory above; that of `/a` is `/`.
        end = path[..end].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        if is_over(&path[..end.max(1)]) {
            return true;
        }
        if end == 0 {
            break;
        }
    }
    false
}

/// Mount points come from the kernel: absolute, without `.`, `..` and doubled slashes, so their bytes can be compared.
fn path_of(mount: &Mount) -> &[u8] {
    mount.mountpoint.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;
    use std::sync::Arc;

    /// Ids, parents and paths.
    type Mounts = &'static [(u32, u32, &'static str)];

    fn hidden(mounts: Mounts) -> Vec<u64> {
        let mount = |&(id, parent, path)| Arc::new(Mount { parent, ..mount(u64::from(id), path) });
        let table = MountTable::new(mounts.iter().map(mount).collect());
        let hidden = HiddenMounts::of(&table);
        let mut keys: Vec<u64> = hidden.0.iter().map(|key| key.0).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn mounts_that_cannot_be_reached_are_hidden() {
        let cases: [(&str, Mounts, &[u64]); 7] = [
            ("plain tree", &[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a/b"), (4, 1, "/ab")], &[]),
            ("same directory", &[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a"), (4, 3, "/a")], &[2, 3]),
            ("directory above", &[(1, 0, "/"), (2, 1, "/a/b"), (3, 1, "/a")], &[2]),
            ("in a hidden mount", &[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a/b"), (4, 2, "/a")], &[2, 3]),
            ("new root", &[(1, 0, "/"), (2, 1, "/old"), (3, 1, "/"), (4, 3, "/new")], &[1, 2]),
            ("root is its own parent", &[(1, 1, "/"), (2, 1, "/a")], &[]),
            ("unknown parent of the root", &[(7, 99, "/"), (8, 7, "/a")], &[]),
        ];
        for (name, mounts, expected) in cases {
            assert_eq!(hidden(mounts), expected, "{name}");
        }
    }
}
