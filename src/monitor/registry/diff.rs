//! The differences between two mount tables, ordered by key. They share unchanged entries, so most comparisons compare
//! pointers.

use platform::{Mount, MountTree};
use std::sync::Arc;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Only in the later table.
    Mounted(Arc<Mount>),
    /// Only in the earlier table.
    Unmounted(Arc<Mount>),
    /// The same mount with other options, another device name or type.
    Remounted { before: Arc<Mount>, after: Arc<Mount> },
    /// The same mount with another path, parent or root.
    Moved { before: Arc<Mount>, after: Arc<Mount> },
}

impl Change {
    /// Makes the same change in the tree.
    pub(super) fn apply(&self, tree: &mut MountTree) {
        match self {
            Change::Unmounted(mount) => drop(tree.remove(mount.key)),
            Change::Mounted(after) | Change::Remounted { after, .. } | Change::Moved { after, .. } => {
                tree.insert(Arc::clone(after));
            }
        }
    }

    /// The mount as it was and as it is.
    pub(crate) fn states(&self) -> [Option<&Arc<Mount>>; 2] {
        match self {
            Change::Mounted(mount) => [None, Some(mount)],
            Change::Unmounted(mount) => [Some(mount), None],
            Change::Remounted { before, after } | Change::Moved { before, after } => {
                [Some(before), Some(after)]
            }
        }
    }
}

/// The changes from `before` to `after`: mounts that disappeared, ordered by key, then changed ones, then new ones. A
/// mount that was both moved and remounted is listed as both.
pub fn diff<'a>(
    before: impl IntoIterator<Item = &'a Arc<Mount>>,
    after: impl IntoIterator<Item = &'a Arc<Mount>>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let (mut old, mut new) = (before.into_iter().peekable(), after.into_iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (Some(a), Some(b)) if a.key == b.key => {
                if !Arc::ptr_eq(a, b) && a != b {
                    compare(a, b, &mut changes);
                }
                old.next();
                new.next();
            }
            (Some(a), b) if b.is_none_or(|b| a.key < b.key) => {
                changes.push(Change::Unmounted(Arc::clone(a)));
                old.next();
            }
            (_, Some(b)) => {
                changes.push(Change::Mounted(Arc::clone(b)));
                new.next();
            }
            (_, None) => break,
        }
    }
    changes.sort_by_key(|change| match change {
        Change::Unmounted(_) => 0,
        Change::Remounted { .. } | Change::Moved { .. } => 1,
        Change::Mounted(_) => 2,
    });
    changes
}

/// The changes from one state of a mount to a later one.
pub(super) fn compare(a: &Arc<Mount>, b: &Arc<Mount>, changes: &mut Vec<Change>) {
    let (before, after) = (|| Arc::clone(a), || Arc::clone(b));
    // Without unique ids a key can be reused at once: another superblock is another mount.
    if a.device_number != b.device_number {
        return changes.extend([Change::Unmounted(before()), Change::Mounted(after())]);
    }
    if (&a.mountpoint, a.parent, &a.root, a.id) != (&b.mountpoint, b.parent, &b.root, b.id) {
        changes.push(Change::Moved { before: before(), after: after() });
    }
    if (&a.options, &a.super_options, &a.device, &a.fstype)
        != (&b.options, &b.super_options, &b.device, &b.fstype)
    {
        changes.push(Change::Remounted { before: before(), after: after() });
    }
}
