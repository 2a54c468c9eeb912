//! The entries of the watched mounts, one after another in memory. A run goes through all of them: scattered over a hash
//! table, each access would wait for memory.

use super::MountEntry;
use platform::MountKey;
use rustc_hash::FxHashMap;

#[derive(Default)]
pub(super) struct DenseEntries {
    /// The place of each in `entries`.
    places: FxHashMap<MountKey, usize>,
    /// In the order in which they came, except that the last took the place of one that went.
    entries: Vec<MountEntry>,
}

impl DenseEntries {
    pub(super) fn reserve(&mut self, additional: usize) {
        self.places.reserve(additional);
        self.entries.reserve(additional);
    }

    pub(super) fn get(&self, key: MountKey) -> Option<&MountEntry> {
        self.places.get(&key).map(|&place| &self.entries[place])
    }

    pub(super) fn get_mut(&mut self, key: MountKey) -> Option<&mut MountEntry> {
        self.places.get(&key).map(|&place| &mut self.entries[place])
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
