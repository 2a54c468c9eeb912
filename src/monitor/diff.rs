//! Two readings of the mount table, compared. Unchanged entries are shared between readings, so most of the
//! comparison is comparing pointers.

use platform::{Mount, MountTable};
use std::sync::Arc;

/// One difference between two tables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Only in the later table.
    Mounted(Arc<Mount>),
    /// Only in the earlier table.
    Unmounted(Arc<Mount>),
    /// Same mount, other options, device name or type.
    Remounted {
        /// As it was.
        before: Arc<Mount>,
        /// As it is.
        after: Arc<Mount>,
    },
    /// Same mount, other place: path, parent or root.
    Moved {
        /// As it was.
        before: Arc<Mount>,
        /// As it is.
        after: Arc<Mount>,
    },
}

/// What leads from `before` to `after`: what went, in the order of the keys, then what changed, then what came. A
/// mount that was both moved and remounted is listed as both.
#[must_use]
pub fn diff(before: &MountTable, after: &MountTable) -> Vec<Change> {
    let (mut gone, mut altered, mut come) = (Vec::new(), Vec::new(), Vec::new());
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (Some(a), Some(b)) if a.key == b.key => {
                if !Arc::ptr_eq(a, b) && a != b {
                    compare(a, b, &mut gone, &mut altered, &mut come);
                }
                old.next();
                new.next();
            }
            (Some(a), b) if b.is_none_or(|b| a.key < b.key) => {
                gone.push(Change::Unmounted(Arc::clone(a)));
                old.next();
            }
            (_, Some(b)) => {
                come.push(Change::Mounted(Arc::clone(b)));
                new.next();
            }
            (_, None) => break,
        }
    }
    gone.append(&mut altered);
    gone.append(&mut come);
    gone
}

fn compare(
    a: &Arc<Mount>,
    b: &Arc<Mount>,
    gone: &mut Vec<Change>,
    altered: &mut Vec<Change>,
    come: &mut Vec<Change>,
) {
    // Without unique ids a key can be reused at once: another superblock is another mount.
    if a.device_number != b.device_number {
        gone.push(Change::Unmounted(Arc::clone(a)));
        come.push(Change::Mounted(Arc::clone(b)));
        return;
    }
    let pair = || (Arc::clone(a), Arc::clone(b));
    if (&a.mountpoint, a.parent, &a.root, a.id) != (&b.mountpoint, b.parent, &b.root, b.id) {
        let (before, after) = pair();
        altered.push(Change::Moved { before, after });
    }
    if (&a.options, &a.super_options, &a.device, &a.fstype)
        != (&b.options, &b.super_options, &b.device, &b.fstype)
    {
        let (before, after) = pair();
        altered.push(Change::Remounted { before, after });
    }
}
