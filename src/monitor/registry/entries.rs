//! The entries of the watched mounts, and which of them may have changed since the last status.

use super::MountEntry;
use super::dense::DenseEntries;
use platform::MountKey;
use rustc_hash::FxHashSet;

#[derive(Default)]
pub(super) struct Entries {
    by_key: DenseEntries,
    /// New or gone since the last status. Not those that came and went between two statuses.
    new_or_gone: FxHashSet<MountKey>,
    /// Those in the last status that have changed since. Some of them may be gone.
    changed: Vec<MountKey>,
    /// The number of statuses so far.
    statuses: u64,
}

/// What the next status must know about an entry.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Mark {
    /// The number of statuses when it last became new or changed.
    at: u64,
    is_new: bool,
}

impl Entries {
    pub(super) fn reserve(&mut self, additional: usize) {
        self.by_key.reserve(additional);
    }

    pub(super) fn get(&self, key: MountKey) -> Option<&MountEntry> {
        self.by_key.get(key)
    }

    /// Who asks for it changes it.
    pub(super) fn get_mut(&mut self, key: MountKey) -> Option<&mut MountEntry> {
        let entry = self.by_key.get_mut(key)?;
        if entry.mark.at != self.statuses {
            entry.mark = Mark { at: self.statuses, is_new: false };
            self.changed.push(key);
        }
        Some(entry)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &MountEntry> {
        self.by_key.values()
    }

    pub(super) fn insert(&mut self, mut entry: MountEntry) {
        // Without unique ids, one with the same key may be in the last status.
        entry.mark = Mark { at: self.statuses, is_new: self.new_or_gone.insert(entry.key()) };
        self.by_key.insert(entry);
    }

    pub(super) fn remove(&mut self, key: MountKey) -> Option<MountEntry> {
        let entry = self.by_key.remove(key)?;
        if entry.mark == (Mark { at: self.statuses, is_new: true }) {
            self.new_or_gone.remove(&key);
        } else {
            self.new_or_gone.insert(key);
        }
        Some(entry)
    }

    /// The keys of all that may have changed since the last call, sorted.
    pub(super) fn take_changed(&mut self) -> Vec<MountKey> {
        self.statuses += 1;
        let mut changed = std::mem::take(&mut self.changed);
        changed.extend(std::mem::take(&mut self.new_or_gone));
        changed.sort_unstable();
        changed.dedup();
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Time;
    use crate::monitor::testing::mount;
    use std::sync::Arc;

    const NONE: [u64; 0] = [];

    fn entry(key: u64) -> MountEntry {
        let mount = Arc::new(mount(key, "/"));
        MountEntry::new(Time::default(), mount, Arc::default(), 0)
    }

    #[test]
    fn changes_since_the_last_status_are_known() {
        let mut entries = Entries::default();
        let mut changed = |change: &dyn Fn(&mut Entries)| {
            change(&mut entries);
            entries.take_changed().into_iter().map(|key| key.0).collect::<Vec<_>>()
        };
        assert_eq!(
            changed(&|entries| [3, 1, 2].map(entry).into_iter().for_each(|it| entries.insert(it))),
            [1, 2, 3]
        );
        assert_eq!(changed(&|_| {}), NONE);
        assert_eq!(changed(&|entries| assert!(entries.get(MountKey(1)).is_some())), NONE);
        assert_eq!(changed(&|entries| assert!(entries.get_mut(MountKey(2)).is_some())), [2]);
        let remove = |entries: &mut Entries, key| assert!(entries.remove(MountKey(key)).is_some());
        assert_eq!(changed(&|entries| remove(entries, 3)), [3]);
        // Came and went.
        let replace = |entries: &mut Entries, key| {
            entries.insert(entry(key));
            remove(entries, key);
        };
        assert_eq!(changed(&|entries| replace(entries, 4)), NONE);
        // The last status has another one with this key.
        assert_eq!(
            changed(&|entries| {
                remove(entries, 1);
                replace(entries, 1);
                assert!(entries.get(MountKey(1)).is_none());
            }),
            [1],
            "it is gone"
        );
    }
}
