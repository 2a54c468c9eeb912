//! Which mounts their own path reaches. A path leads to the topmost mount on each of its directories, so a mount is
//! hidden when another lies on its root, or over a directory on the way from its parent, or when its parent is out
//! of reach. Judged from the table alone: no path is walked.

use platform::{Mount, MountKey, MountTable};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use std::os::unix::ffi::OsStrExt;

/// Answers which mounts of one table are hidden.
#[derive(Debug)]
pub(super) struct Hidden(FxHashSet<MountKey>);

impl Hidden {
    pub(super) fn of(table: &MountTable) -> Hidden {
        let by_id: FxHashMap<u32, &Mount> = table.iter().map(|mount| (mount.id, &**mount)).collect();
        // What is attached to a mount, by place. Two on one place: the later covers the earlier.
        let mut attached: FxHashMap<(u32, &[u8]), &Mount> =
            FxHashMap::with_capacity_and_hasher(table.len(), FxBuildHasher);
        let mut hidden = FxHashSet::default();
        for mount in table {
            if let Some(earlier) = attached.insert((mount.parent, place(mount)), mount) {
                hidden.insert(earlier.key);
            }
        }
        let mut reachable = FxHashMap::with_capacity_and_hasher(table.len(), FxBuildHasher);
        for mount in table {
            let at_end = attached.get(&(mount.id, place(mount))).is_none_or(|over| over.id == mount.id);
            if !at_end || !is_reachable(mount, &by_id, &attached, &mut reachable) {
                hidden.insert(mount.key);
            }
        }
        Hidden(hidden)
    }

    pub(super) fn contains(&self, key: MountKey) -> bool {
        self.0.contains(&key)
    }
}

/// Does walking this mount's path from the root pass through its chain of parents? Each link is judged once.
fn is_reachable<'a>(
    mount: &'a Mount,
    by_id: &FxHashMap<u32, &'a Mount>,
    attached: &FxHashMap<(u32, &'a [u8]), &'a Mount>,
    known: &mut FxHashMap<u32, bool>,
) -> bool {
    let mut chain = Vec::new();
    let mut link = mount;
    let mut reachable = loop {
        if let Some(&answer) = known.get(&link.id) {
            break answer;
        }
        chain.push(link);
        match by_id.get(&link.parent) {
            // A parent that is not in the table is the root of what we can see. Loops are impossible in a tree, but
            // a table read while it changes is not always one: no chain is longer than the table.
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

/// Is a mount on the way from the parent's root to this mount's directory?
fn is_crossed(mount: &Mount, parent: Option<&Mount>, attached: &FxHashMap<(u32, &[u8]), &Mount>) -> bool {
    let Some(parent) = parent else { return false };
    let (path, root) = (place(mount), place(parent));
    let lies_over = |over: &&Mount| over.id != mount.id && over.id != parent.id;
    if attached.get(&(parent.id, path)).is_some_and(lies_over) {
        return true; // a later one in the very same place
    }
    let mut end = path.len();
    while end > root.len() {
        // The directory above; that of `/a` is `/`.
        end = path[..end].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        let above = &path[..end.max(1)];
        if attached.get(&(parent.id, above)).is_some_and(lies_over) {
            return true;
        }
        if end == 0 {
            break;
        }
    }
    false
}

/// Mount points come from the kernel: absolute, without `.`, `..` and doubled slashes, so their bytes can be compared.
fn place(mount: &Mount) -> &[u8] {
    mount.mountpoint.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;
    use std::sync::Arc;

    fn hidden(mounts: &[(u32, u32, &str)]) -> Vec<u64> {
        let table = MountTable::new(
            mounts
                .iter()
                .map(|&(id, parent, path)| {
                    let mut entry = mount(u64::from(id), path);
                    (entry.id, entry.parent) = (id, parent);
                    Arc::new(entry)
                })
                .collect(),
        );
        let hidden = Hidden::of(&table);
        let mut keys: Vec<u64> = hidden.0.iter().map(|key| key.0).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_plain_tree_hides_nothing() {
        assert_eq!(hidden(&[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a/b"), (4, 1, "/ab")]), [0u64; 0]);
    }

    #[test]
    fn a_mount_on_the_same_directory_hides_the_one_below() {
        assert_eq!(hidden(&[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a"), (4, 3, "/a")]), [2, 3]);
    }

    #[test]
    fn a_mount_over_a_parent_directory_hides_what_lies_in_it() {
        assert_eq!(hidden(&[(1, 0, "/"), (2, 1, "/a/b"), (3, 1, "/a")]), [2]);
    }

    #[test]
    fn what_hangs_below_a_hidden_mount_is_hidden_too() {
        assert_eq!(hidden(&[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a/b"), (4, 2, "/a")]), [2, 3]);
    }

    #[test]
    fn a_new_root_hides_the_old_one_and_its_mounts() {
        assert_eq!(hidden(&[(1, 0, "/"), (2, 1, "/old"), (3, 1, "/"), (4, 3, "/new")]), [1, 2]);
    }

    #[test]
    fn a_root_whose_parent_is_itself_or_unknown_is_reached() {
        assert_eq!(hidden(&[(1, 1, "/"), (2, 1, "/a")]), [0u64; 0]);
        assert_eq!(hidden(&[(7, 99, "/"), (8, 7, "/a")]), [0u64; 0]);
    }
}
