//! The differences between two mount tables. They share unchanged entries, so most comparisons compare pointers.

use platform::{Mount, MountTable};
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

/// The changes from `before` to `after`: mounts that disappeared, ordered by key, then changed ones, then new ones. A
/// mount that was both moved and remounted is listed as both.
pub fn diff(before: &MountTable, after: &MountTable) -> Vec<Change> {
    let mut changes = Vec::new();
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
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

fn compare(a: &Arc<Mount>, b: &Arc<Mount>, changes: &mut Vec<Change>) {
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
