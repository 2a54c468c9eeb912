//! The entries of the watched mounts, one after another in memory. A run goes through all of them: scattered over a hash
//! table, each access would wait for memory.

use super::MountEntry;
use crate::monitor::IdMap;
use platform::MountKey;
use std::cell::Cell;

#[derive(Default)]
pub(super) struct DenseEntries {
    /// The place of each in `entries`.
    places: IdMap<MountKey, usize>,
    /// In the order in which they came, except that the last took the place of one that went.
    entries: Vec<MountEntry>,
    /// The place that was asked for last.
    last: Cell<usize>,
}

impl DenseEntries {
    pub(super) fn reserve(&mut self, additional: usize) {
        self.places.reserve(additional);
        self.entries.reserve(additional);
    }

    pub(super) fn get(&self, key: MountKey) -> Option<&MountEntry> {
        self.place(key).map(|place| &self.entries[place])
    }

    pub(super) fn get_mut(&mut self, key: MountKey) -> Option<&mut MountEntry> {
        self.place(key).map(|place| &mut self.entries[place])
    }

    /// A run, its responses and a status ask for one entry after another: mostly it is the same as before or the next.
    fn place(&self, key: MountKey) -> Option<usize> {
        let last = self.last.get();
        let is_at = |place: &usize| self.entries.get(*place).is_some_and(|entry| entry.key() == key);
        let place = [last, last + 1].into_iter().find(is_at).or_else(|| self.places.get(&key).copied())?;
        self.last.set(place);
        Some(place)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &MountEntry> {
        self.entries.iter()
    }

    pub(super) fn insert(&mut self, entry: MountEntry) {
        let place = *self.places.entry(entry.key()).or_insert(self.entries.len());
        if place == self.entries.len() {
            self.entries.push(entry);
        } else {
            self.entries[place] = entry;
        }
    }

    pub(super) fn remove(&mut self, key: MountKey) -> Option<MountEntry> {
        let place = self.places.remove(&key)?;
        let entry = self.entries.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.key(), place);
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Time;
    use crate::monitor::testing::mount;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn entries_are_found_whatever_came_and_went() {
        let (mut entries, mut expected) = (DenseEntries::default(), BTreeMap::new());
        let mut random = 1_u64;
        for step in 0..3_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = MountKey(random >> 58);
            if random & 1 << 40 == 0 {
                let since = Time::after_start(Duration::from_secs(step));
                let mount = Arc::new(mount(key.0, "/"));
                entries.insert(MountEntry::new(since, mount, Arc::default(), 0));
                expected.insert(key, since);
            } else {
                let removed = entries.remove(key).map(|entry| entry.since);
                assert_eq!(removed, expected.remove(&key), "step {step}");
            }
            for key in (0..64).map(MountKey) {
                assert_eq!(entries.get(key).map(|entry| entry.since), expected.get(&key).copied());
                assert_eq!(entries.get_mut(key).map(|entry| entry.key()), expected.get(&key).map(|_| key));
            }
            assert_eq!(entries.values().count(), expected.len());
        }
    }
}
