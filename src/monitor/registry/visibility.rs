//! Determines which mounts can be reached by their own path. A path leads to the topmost mount on each of its
//! directories, so a mount is hidden when another mount is on its root or on a directory between it and its parent, or
//! when its parent is hidden. Decided from the table alone; no path is walked.

use platform::{Mount, MountKey, MountTable};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use std::cmp::Ordering;
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
        // A mount point too long for any call is covered by none and covers none that a call reaches: all below it is
        // longer.
        let usable = || table.iter().filter(|mount| mount.has_usable_path());
        let mut hidden = FxHashSet::default();
        for mount in usable() {
            if let Some(parent) = by_id.get(&mount.parent)
                && parent.id != mount.id
                && parent.mountpoint == mount.mountpoint
            {
                hidden.insert(parent.key);
            }
        }
        let crossed = crossed(usable().map(|mount| &**mount), &by_id);
        hidden.extend(&crossed.under_same_path);
        let mut reachable = FxHashMap::with_capacity_and_hasher(table.len(), FxBuildHasher);
        for mount in table {
            if !is_reachable(mount, &by_id, &crossed.ids, &mut reachable) {
                hidden.insert(mount.key);
            }
        }
        HiddenMounts(hidden)
    }

    pub(super) fn contains(&self, key: MountKey) -> bool {
        self.0.contains(&key)
    }
}

/// Does walking this mount's path from the root pass through its chain of parents? Each parent is judged once.
fn is_reachable<'a>(
    mount: &'a Mount,
    by_id: &FxHashMap<u32, &'a Mount>,
    crossed: &FxHashSet<u32>,
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
        reachable = reachable && !crossed.contains(&link.id);
        known.insert(link.id, reachable);
    }
    reachable
}

#[derive(Default)]
struct Crossed {
    /// The mounts with another mount of their parent on a directory above them or on their own.
    ids: FxHashSet<u32>,
    /// Those that a later mount of their parent at the same path covers.
    under_same_path: Vec<MountKey>,
}

/// Mounts of one parent, sorted by path, so that each follows those above it: each is compared with few others, whatever
/// the length of the paths.
fn crossed<'a>(mounts: impl Iterator<Item = &'a Mount>, by_id: &FxHashMap<u32, &Mount>) -> Crossed {
    // A mount that is its own parent is the root of our view, and is above all others.
    let mut siblings: Vec<&Mount> = mounts.filter(|mount| mount.parent != mount.id).collect();
    siblings.sort_by(|a, b| a.parent.cmp(&b.parent).then_with(|| compare(path_of(a), path_of(b))));
    let mut crossed = Crossed::default();
    let mut above: Vec<&Mount> = Vec::new();
    for mount in siblings {
        let Some(parent) = by_id.get(&mount.parent) else { continue };
        while above.pop_if(|over| over.parent != mount.parent || !is_at_or_above(over, mount)).is_some() {}
        // Sorting keeps the order of the table for equal paths: the last is on top of the others.
        if let Some(under) = above.pop_if(|over| over.mountpoint == mount.mountpoint) {
            crossed.under_same_path.push(under.key);
            crossed.ids.insert(under.id);
        }
        if !above.is_empty() {
            crossed.ids.insert(mount.id);
        }
        // Only what is on a directory of the parent covers a part of it.
        if is_at_or_above(parent, mount) {
            above.push(mount);
        }
    }
    crossed
}

/// Is this mount on the directory of the other one, or on one above that?
fn is_at_or_above(mount: &Mount, other: &Mount) -> bool {
    let path = path_of(mount);
    let rest = path_of(other).strip_prefix(path);
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || path == b"/")
}

/// The order in which a path is directly followed by the paths below it.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let shared = shared_length(a, b);
    let rank = |path: &[u8]| path.get(shared).map(|&byte| if byte == b'/' { 0 } else { byte });
    rank(a).cmp(&rank(b))
}

/// The number of equal bytes at the start of both. Compares blocks: paths on the same deep directory differ late.
fn shared_length(a: &[u8], b: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK));
    let start = BLOCK * blocks.take_while(|(a, b)| a == b).count();
    start + a[start..].iter().zip(&b[start..]).take_while(|(a, b)| a == b).count()
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
        let cases: [(&str, Mounts, &[u64]); 9] = [
            ("plain tree", &[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a/b"), (4, 1, "/ab")], &[]),
            ("same directory", &[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a"), (4, 3, "/a")], &[2, 3]),
            ("directory above", &[(1, 0, "/"), (2, 1, "/a/b"), (3, 1, "/a")], &[2]),
            ("in a hidden mount", &[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a/b"), (4, 2, "/a")], &[2, 3]),
            ("new root", &[(1, 0, "/"), (2, 1, "/old"), (3, 1, "/"), (4, 3, "/new")], &[1, 2]),
            ("root is its own parent", &[(1, 1, "/"), (2, 1, "/a")], &[]),
            ("unknown parent of the root", &[(7, 99, "/"), (8, 7, "/a")], &[]),
            ("names that continue", &[(1, 0, "/"), (2, 1, "/a"), (3, 1, "/a b"), (4, 1, "/a-b/c")], &[]),
            ("new root", &[(1, 1, "/"), (2, 1, "/a"), (3, 1, "/b"), (4, 1, "/")], &[1, 2, 3]),
        ];
        for (name, mounts, expected) in cases {
            assert_eq!(hidden(mounts), expected, "{name}");
        }
    }

    /// With a look-up of each directory above each mount, this would take minutes.
    #[test]
    fn paths_of_the_longest_length_are_compared_in_one_pass() {
        let deep = "/d".repeat(2_040);
        let path = |n: u32| format!("{deep}/{n:05}");
        let mounts = (0..10_000).map(|n| Mount { parent: 1, ..mount(u64::from(n) + 10, &path(n)) });
        let over = Mount { parent: 1, ..mount(20_000, &path(77)) };
        let all = std::iter::once(mount(1, "/")).chain(mounts).chain([over]);
        let hidden = HiddenMounts::of(&MountTable::new(all.map(Arc::new).collect()));
        assert_eq!(hidden.0.into_iter().collect::<Vec<_>>(), [MountKey(87)]);
    }

    #[test]
    fn chain_of_ten_thousand_mounts_is_judged_once() {
        let path = |n: u32| "/m".repeat(1 + n as usize / 5);
        let chain = (2..10_000).map(|n| Mount { parent: n - 1, ..mount(u64::from(n), &path(n)) });
        let all = std::iter::once(mount(1, "/")).chain(chain);
        let table = MountTable::new(all.map(Arc::new).collect());
        let hidden = HiddenMounts::of(&table);
        // Of five mounts on one directory the last is on top.
        assert_eq!(table.len() - hidden.0.len(), 2_001);
    }
}
