//! The watched mounts: the mount table, the state and health of each mount, which mounts share a superblock, and which
//! are hidden.

mod dense;
mod diff;
mod entries;
mod entry;
mod visibility;

use diff::compare;
pub use diff::{Change, diff};
pub(super) use entry::MountEntry;

use super::{EvidenceRecord, Health, Time};
use entries::Entries;
use platform::{DeviceNumber, Mount, MountKey, MountTree, SharedPath, TableChange, TableUpdate, User};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use visibility::Visibility;

#[derive(Default)]
pub(super) struct Registry {
    tree: MountTree,
    has_table: bool,
    visibility: Visibility,
    /// For hidden mounts that were asked for, the nearest ancestor that is not hidden: thousands of mounts can be stacked
    /// on one directory, but only half as many as a path has bytes can be visible above each other.
    visible_ancestors: RefCell<FxHashMap<MountKey, Option<MountKey>>>,
    entries: Entries,
    /// The watched mounts of each superblock that are not hidden, the oldest first.
    members: BTreeSet<(DeviceNumber, MountKey)>,
    /// Mounts about which the kernel log may say something, watched or not.
    hinted_mounts: usize,
    dead_entries: usize,
    hung_entries: FxHashSet<MountKey>,
    /// The mounts that are hung because of an ancestor.
    blocked: BTreeSet<MountKey>,
    /// The outermost hung ancestor of mounts that were asked for since a hang began or ended. Without it, each probe of
    /// a mount in a deep nest of mounts would look at all of them.
    hung_ancestors: RefCell<FxHashMap<MountKey, Option<MountKey>>>,
    health_revision: u64,
    /// Mounts whose next judgement somebody waits for.
    awaited: FxHashSet<MountKey>,
    has_hang_ended: bool,
}

/// What an update of the mount table has changed.
#[derive(Default)]
pub(super) struct TableDifference {
    pub(super) changes: Vec<Change>,
    /// Mounts that became hidden or visible, or whose user is another one.
    pub(super) moved_places: Vec<MountKey>,
    /// Other mounts may lie on the paths of some mounts.
    pub(super) has_new_ancestors: bool,
}

impl TableDifference {
    /// Whether mounts came, went or moved.
    pub(super) fn is_structural(&self) -> bool {
        self.changes.iter().any(|change| !matches!(change, Change::Remounted { .. }))
    }
}

impl Registry {
    /// Updates the table. Does not change the entries of watched mounts.
    pub(super) fn update_table(&mut self, update: TableUpdate) -> TableDifference {
        let is_first = !std::mem::replace(&mut self.has_table, true);
        let changes = match update {
            TableUpdate::Whole(table) => {
                let changes = diff(&self.tree, &table);
                if is_first || changes.len() > table.len() / 2 {
                    self.tree = MountTree::new(&table);
                } else {
                    changes.iter().for_each(|change| change.apply(&mut self.tree));
                }
                changes
            }
            TableUpdate::Changes(changes) => {
                changes.changes.into_iter().fold(Vec::new(), |all, change| self.apply(change, all))
            }
        };
        changes.iter().for_each(|change| self.note(change));
        if is_first {
            self.entries.reserve(self.tree.len());
            self.visibility = Visibility::of(&self.tree);
            return TableDifference { changes, ..TableDifference::default() };
        }
        let mut difference = TableDifference { changes, ..TableDifference::default() };
        if difference.is_structural() {
            let concerns_others = difference.changes.iter().any(|change| self.concerns_others(change));
            let changed = difference.changes.iter().flat_map(Change::states).flatten().map(|mount| &**mount);
            difference.moved_places = self.visibility.update(&self.tree, changed);
            difference.has_new_ancestors = concerns_others || !difference.moved_places.is_empty();
        }
        if difference.has_new_ancestors {
            self.visible_ancestors.get_mut().clear();
            self.hung_ancestors.get_mut().clear();
        }
        difference
    }

    fn apply(&mut self, change: TableChange, mut changes: Vec<Change>) -> Vec<Change> {
        match change {
            TableChange::Gone(key) => changes.extend(self.tree.remove(key).map(Change::Unmounted)),
            TableChange::Present(mount) => match self.tree.insert(Arc::clone(&mount)) {
                Some(before) => compare(&before, &mount, &mut changes),
                None => changes.push(Change::Mounted(mount)),
            },
        }
        changes
    }

    /// Counts mounts that may be hinted at, and forgets what is remembered about a mount: its key may be used again.
    fn note(&mut self, change: &Change) {
        let is_hinted = |mount: &Arc<Mount>| usize::from(mount.kind().has_server());
        let [before, after] = change.states();
        // What was moved has the same kind, or is listed as remounted, too.
        if !matches!(change, Change::Moved { .. }) {
            self.hinted_mounts += after.map_or(0, is_hinted);
            self.hinted_mounts -= before.map_or(0, is_hinted);
        }
        for mount in before.into_iter().chain(after) {
            self.visible_ancestors.get_mut().remove(&mount.key);
            self.hung_ancestors.get_mut().remove(&mount.key);
        }
    }

    /// Whether a change concerns the ancestors of other mounts: it is not that of a mount without others on it. A mount
    /// that hides others is found by what becomes hidden.
    fn concerns_others(&self, change: &Change) -> bool {
        match change {
            Change::Mounted(mount) => !self.tree.children(mount.id).is_empty(),
            Change::Unmounted(mount) => {
                self.hung(mount.key).is_some() || !self.tree.children(mount.id).is_empty()
            }
            Change::Moved { .. } => true,
            Change::Remounted { .. } => false,
        }
    }

    /// Whose limits apply to this mount.
    pub(super) fn user(&self, key: MountKey) -> User {
        self.visibility.user(key)
    }

    pub(super) fn has_hinted_mounts(&self) -> bool {
        self.hinted_mounts > 0
    }

    pub(super) fn has_table(&self) -> bool {
        self.has_table
    }

    pub(super) fn tree(&self) -> &MountTree {
        &self.tree
    }

    /// The mounts that are not hidden, watched or not.
    pub(super) fn visible(&self) -> impl Iterator<Item = &Arc<Mount>> {
        self.tree.iter().filter(|mount| !self.visibility.is_hidden(mount.key))
    }

    pub(super) fn parent(&self, mount: &Mount) -> Option<&Arc<Mount>> {
        self.tree.parent(mount)
    }

    /// The watched mounts through which this mount's path leads, the nearest first.
    pub(super) fn ancestors(&self, key: MountKey) -> impl Iterator<Item = &MountEntry> {
        self.ancestor_keys(key).filter_map(|key| self.get(key))
    }

    fn ancestor_keys(&self, key: MountKey) -> impl Iterator<Item = MountKey> {
        // A table that was read while it changed need not be a tree: no chain is longer than the table.
        let nearest = |&key: &MountKey| self.nearest_visible_ancestor(key);
        std::iter::successors(nearest(&key), nearest).take(self.tree.len())
    }

    fn nearest_visible_ancestor(&self, key: MountKey) -> Option<MountKey> {
        let parent = |key: MountKey| self.tree.parent(self.tree.get(key)?).map(|parent| parent.key);
        let mut known = self.visible_ancestors.borrow_mut();
        let mut hidden = Vec::new();
        let mut at = parent(key);
        while let Some(ancestor) = at.filter(|&ancestor| self.visibility.is_hidden(ancestor)) {
            if let Some(&found) = known.get(&ancestor) {
                at = found;
                break;
            }
            known.insert(ancestor, None); // a loop ends here
            hidden.push(ancestor);
            at = parent(ancestor);
        }
        known.extend(hidden.into_iter().map(|ancestor| (ancestor, at)));
        at
    }

    /// The path of the outermost hung mount through which this mount's path leads.
    pub(super) fn hung_ancestor(&self, key: MountKey) -> Option<&SharedPath> {
        if self.hung_entries.is_empty() {
            return None;
        }
        let outermost = self.outermost_hung_ancestor(key)?;
        self.tree.get(outermost).map(|mount| &mount.mountpoint)
    }

    fn outermost_hung_ancestor(&self, key: MountKey) -> Option<MountKey> {
        let mut known = self.hung_ancestors.borrow_mut();
        let mut path = vec![key];
        let mut outermost = None;
        for ancestor in self.ancestor_keys(key) {
            if let Some(&of_ancestor) = known.get(&ancestor) {
                outermost = of_ancestor.or_else(|| self.hung(ancestor));
                break;
            }
            path.push(ancestor);
        }
        for &at in path.iter().rev() {
            known.insert(at, outermost);
            outermost = outermost.or_else(|| self.hung(at));
        }
        known.get(&key).copied().flatten()
    }

    fn hung(&self, key: MountKey) -> Option<MountKey> {
        self.get(key).is_some_and(|entry| entry.health.is_hung()).then_some(key)
    }

    /// The mounts that a hung ancestor blocked, and blocks no longer: they can be reached, or another ancestor blocks them.
    pub(super) fn wrongly_blocked(&self) -> Vec<MountKey> {
        let is_wrong = |key: &MountKey| {
            let blocked_by = self.get(*key).and_then(MountEntry::blocked_by);
            blocked_by.is_some_and(|by| self.hung_ancestor(*key).map(SharedPath::as_path) != Some(by))
        };
        self.blocked.iter().copied().filter(is_wrong).collect()
    }

    pub(super) fn get(&self, key: MountKey) -> Option<&MountEntry> {
        self.entries.get(key)
    }

    pub(super) fn get_mut(&mut self, key: MountKey) -> Option<&mut MountEntry> {
        self.entries.get_mut(key)
    }

    /// What is known about this mount without its entry has changed.
    pub(super) fn mark_changed(&mut self, key: MountKey) {
        self.get_mut(key);
    }

    /// The keys of the watched mounts that may have changed since the last call, or are gone; sorted.
    pub(super) fn take_changed(&mut self) -> Vec<MountKey> {
        self.entries.take_changed()
    }

    /// The number of watched mounts that are not hidden.
    pub(super) fn visible_entries(&self) -> usize {
        self.members.len()
    }

    /// The number of mounts of the table that are not watched.
    pub(super) fn unwatched(&self) -> usize {
        self.tree.len() - self.entries.values().count()
    }

    pub(super) fn dead_entries(&self) -> usize {
        self.dead_entries
    }

    pub(super) fn hung_entries(&self) -> impl Iterator<Item = MountKey> {
        self.hung_entries.iter().copied()
    }

    /// All watched mounts in no particular order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &MountEntry> {
        self.entries.values()
    }

    /// All watched mounts in the order of the table.
    pub(super) fn ordered(&self) -> impl Iterator<Item = &MountEntry> {
        self.tree.iter().filter_map(|mount| self.get(mount.key))
    }

    pub(super) fn insert(&mut self, mut entry: MountEntry) {
        let key = entry.key();
        entry.set_user(self.visibility.user(key));
        if self.visibility.is_hidden(key) {
            entry.set_hidden(true);
            entry.replace_health(entry.since, Health::Hidden);
        } else {
            self.join(key, entry.superblock());
        }
        self.entries.insert(entry);
    }

    pub(super) fn remove(&mut self, key: MountKey) -> Option<MountEntry> {
        let entry = self.entries.remove(key)?;
        self.awaited.remove(&key);
        self.leave(key, entry.superblock());
        self.on_health_changed(key, &entry.health, &Health::Pending);
        Some(entry)
    }

    /// Marks a mount as hidden or visible, if the last table has changed that.
    pub(super) fn update_visibility(&mut self, now: Time, key: MountKey) -> bool {
        let is_hidden = self.visibility.is_hidden(key);
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.is_hidden != is_hidden) else {
            return false;
        };
        let superblock = entry.superblock();
        entry.set_hidden(is_hidden);
        if is_hidden {
            self.leave(key, superblock);
            self.set_health(now, key, Health::Hidden);
        } else {
            self.join(key, superblock);
            self.set_health(now, key, Health::Pending);
        }
        true
    }

    fn join(&mut self, key: MountKey, superblock: DeviceNumber) {
        self.members.insert((superblock, key));
    }

    fn leave(&mut self, key: MountKey, superblock: DeviceNumber) {
        self.members.remove(&(superblock, key));
    }

    /// The watched mounts of a superblock that are not hidden, the oldest first.
    pub(super) fn members(&self, superblock: DeviceNumber) -> impl Iterator<Item = MountKey> {
        let all = (superblock, MountKey(0))..=(superblock, MountKey(u64::MAX));
        self.members.range(all).map(|&(_, key)| key)
    }

    /// Sets the health of a mount. How long a mount has been dead does not depend on the reason.
    pub(super) fn set_health(&mut self, now: Time, key: MountKey, health: Health) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let before = entry.replace_health(now, health.clone());
        self.health_revision += u64::from(self.awaited.remove(&key) || before != health);
        self.on_health_changed(key, &before, &health);
    }

    /// Sets what an earlier daemon knew about a mount.
    pub(super) fn restore_health(&mut self, key: MountKey, health: Health, since: Time) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let before = entry.restore_health(health.clone(), since);
        self.health_revision += 1;
        self.on_health_changed(key, &before, &health);
    }

    /// The health of a mount was found to be still true.
    pub(super) fn confirm_health(&mut self, now: Time, key: MountKey) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.confirm_health(now);
            self.health_revision += u64::from(self.awaited.remove(&key));
        }
    }

    /// The next judgement of this mount counts as a change of its health, even if it is the same: somebody waits for it.
    pub(super) fn await_judgement(&mut self, key: MountKey) {
        self.awaited.insert(key);
        self.health_revision += 1; // what is known now may suffice
    }

    fn on_health_changed(&mut self, key: MountKey, before: &Health, after: &Health) {
        let is_blocked = |health: &Health| health.failure().is_some_and(|it| it.blocked_by.is_some());
        match (is_blocked(before), is_blocked(after)) {
            (false, true) => drop(self.blocked.insert(key)),
            (true, false) => drop(self.blocked.remove(&key)),
            _ => {}
        }
        // What another mount blocks has an outermost hung ancestor already: when it becomes hung too, no answer changes.
        let is_new_hang = after.is_hung() && after.failure().is_some_and(|it| it.blocked_by.is_none());
        if is_new_hang && !before.is_hung() || before.is_hung() && !after.is_hung() {
            self.hung_ancestors.get_mut().clear();
        }
        self.dead_entries += usize::from(after.failure().is_some());
        self.dead_entries -= usize::from(before.failure().is_some());
        if before.is_hung() != after.is_hung() {
            if after.is_hung() {
                self.hung_entries.insert(key)
            } else {
                self.hung_entries.remove(&key)
            };
        }
        self.has_hang_ended |= before.is_hung() && !after.is_hung();
    }

    /// Attaches evidence to the dead mounts of a superblock, except those that another mount blocks.
    pub(super) fn set_evidence(&mut self, superblock: DeviceNumber, record: &Arc<EvidenceRecord>) {
        let members: Vec<MountKey> = self.members(superblock).collect();
        for key in members {
            let changed = self.entries.get_mut(key).is_some_and(|entry| entry.set_evidence(record));
            self.health_revision += u64::from(changed);
        }
    }

    pub(super) fn health_revision(&self) -> u64 {
        self.health_revision
    }

    pub(super) fn take_hang_ended(&mut self) -> bool {
        std::mem::take(&mut self.has_hang_ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Failure;
    use crate::monitor::testing::mount;
    use platform::{Call, MountTable, TableChanges};
    use std::time::Duration;

    /// Watches mounts with these ids, parents and paths; each has a superblock of its own.
    fn registry(mounts: &[(u32, u32, &str)]) -> Registry {
        let entry = |&(id, parent, path): &(u32, u32, &str)| Mount { parent, ..mount(u64::from(id), path) };
        let table = MountTable::new(mounts.iter().map(entry).map(Arc::new).collect());
        let mut registry = Registry::default();
        registry.update_table(TableUpdate::Whole(table.clone()));
        for mount in &table {
            let mount = Arc::clone(mount);
            registry.insert(MountEntry::new(Time::default(), mount, Arc::default(), 0));
        }
        registry
    }

    fn set_hung(registry: &mut Registry, key: u64) {
        let failure = Failure::hung(Call::Statfs, Duration::ZERO, None);
        registry.set_health(Time::default(), MountKey(key), Health::Dead(failure.into()));
    }

    #[test]
    fn nothing_is_remembered_about_a_mount_whose_key_is_used_again() {
        let mut registry = registry(&[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a/b"), (4, 1, "/c")]);
        set_hung(&mut registry, 2);
        assert_eq!(registry.hung_ancestor(MountKey(3)), Some(&"/a".into()));
        let again = Mount { parent: 4, ..mount(3, "/c/b") };
        let changes = vec![TableChange::Gone(MountKey(3)), TableChange::Present(Arc::new(again))];
        registry.update_table(TableUpdate::Changes(TableChanges { changes, missed: 0 }));
        assert_eq!(registry.hung_ancestor(MountKey(3)), None);
    }

    #[test]
    fn hung_ancestor_is_the_outermost() {
        let mut registry = registry(&[(1, 0, "/"), (2, 1, "/a"), (3, 2, "/a/b"), (4, 3, "/a/b/c")]);
        assert_eq!(registry.hung_ancestor(MountKey(4)), None);
        for key in [2, 3, 4] {
            set_hung(&mut registry, key);
        }
        assert_eq!(registry.hung_ancestor(MountKey(4)), Some(&"/a".into()));
        assert_eq!(registry.hung_ancestor(MountKey(2)), None);
    }

    /// If each look-up went through the whole nest, this would take minutes.
    #[test]
    fn hung_ancestor_of_many_mounts_in_a_deep_nest_is_found_once() {
        let path = |depth: usize| "/n".repeat(depth);
        let nest = (2..=2_000).map(|id| (id, id - 1, path(id as usize)));
        // More are stacked on the last directory.
        let stack = (2_001..=5_000).map(|id| (id, id - 1, path(2_000)));
        let inner = (5_001..=25_000).map(|id| (id, 5_000, format!("{}/{id}", path(2_000))));
        let all: Vec<(u32, u32, String)> =
            [(1, 0, path(1))].into_iter().chain(nest).chain(stack).chain(inner).collect();
        let all: Vec<(u32, u32, &str)> = all.iter().map(|(id, on, path)| (*id, *on, path.as_str())).collect();
        let mut registry = registry(&all);
        assert_eq!(registry.ancestors(MountKey(25_000)).count(), 2_000);
        set_hung(&mut registry, 1);
        for id in 5_001..=25_000 {
            let Some(ancestor) = registry.hung_ancestor(MountKey(id)).cloned() else {
                panic!("{id} is blocked")
            };
            let failure = Failure::hung(Call::Identify, Duration::ZERO, Some(ancestor));
            registry.set_health(Time::default(), MountKey(id), Health::Dead(failure.into()));
        }
        registry.set_health(Time::default(), MountKey(1), Health::Ok);
        assert_eq!(registry.hung_ancestor(MountKey(25_000)), None);
    }

    #[test]
    fn loop_of_parents_ends() {
        let registry = registry(&[(1, 2, "/a"), (2, 1, "/b")]);
        assert!(registry.ancestors(MountKey(1)).count() <= 2);
    }

    #[test]
    fn end_of_a_hang_is_returned_once() {
        let mut registry = registry(&[(1, 0, "/")]);
        set_hung(&mut registry, 1);
        assert!(!registry.take_hang_ended());
        registry.remove(MountKey(1));
        assert!(registry.take_hang_ended() && !registry.take_hang_ended());
    }
}
