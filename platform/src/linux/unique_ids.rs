//! Reads the mount table by the kernel's unique ids (Linux 6.8): they are the keys of mounts, and one mount can be read
//! without the others.
//!
//! The text shows only the reusable ids, so both are paired: by position for the first table, with a sample that is
//! checked, and later by one `statmount` for each new mount.

use super::fuse_connections::FuseConnections;
use super::mount_events::MountEvent;
use super::mountinfo::Line;
use super::statmount::{Found, Statmount, first_id, listmount};
use super::table_text::read_lines;
use crate::{Mount, MountKey, MountTable, MountTree, TableChange, TableChanges};
use rustc_hash::{FxHashMap, FxHashSet};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Entries of each whole read that are compared with `statmount` before the ids are used: a kernel that formats
/// something differently does so in nearly all of them.
const COMPARED_ENTRIES: usize = 8;

/// Pairs of the first read that are checked with `statmount`.
const SAMPLED_PAIRS: usize = 64;

/// Mounts whose mount point was too long that are looked at again by each whole read: a rename can shorten it.
const LOOKED_AT_AGAIN: usize = 16;

/// If the long lines of the text have more bytes than this, which take tens of milliseconds, `statmount` is asked
/// instead.
const MAX_LONG_TEXT: u64 = 1 << 20;

/// The mounts that `statmount` has not returned after this time are left to the next read: one rename can make the mount
/// points of thousands of mounts so long that each call takes milliseconds.
const MAX_STATMOUNT_TIME: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct UniqueIds {
    namespace: u64,
    statmount: Statmount,
    /// All ids at the last read, ascending; more than entries if some mounts are unreachable.
    seen: Vec<u64>,
    /// `statmount` was found to equal mountinfo.
    agrees: bool,
    /// The last mount with a too long mount point that was looked at again.
    looked_at: MountKey,
    /// The last mount that a whole read without the text has looked at, if it had no time for all.
    continues_after: MountKey,
}

impl UniqueIds {
    /// Tries the calls, because the kernel version proves nothing: calls are back-ported, or filtered by sandboxes.
    pub(super) fn detect(namespace: u64) -> Option<UniqueIds> {
        let mut statmount = Statmount::new(namespace);
        statmount.old_id(first_id(namespace).ok()??).ok()?;
        Some(UniqueIds {
            namespace,
            statmount,
            seen: Vec::new(),
            agrees: false,
            looked_at: MountKey(0),
            continues_after: MountKey(0),
        })
    }

    /// Whether changes can be read without the text.
    pub(super) fn agrees(&self) -> bool {
        self.agrees
    }

    /// Whether the last whole read had no time for all mounts.
    pub(super) fn is_incomplete(&self) -> bool {
        self.continues_after != MountKey(0)
    }

    /// The whole table. Unchanged entries are those of `known`. `None` if the first read found a mount without a unique id, which no kernel is known to do: it may
    /// have come and gone between the calls.
    pub(super) fn read_whole(
        &mut self,
        file: &File,
        known: &MountTree,
        connections: &mut FuseConnections,
    ) -> io::Result<Option<MountTable>> {
        let has_long = known.iter().any(|mount| !mount.has_usable_path());
        if self.agrees
            && has_long
            && let Some(table) = self.read_by_ids(known, connections)?
        {
            return Ok(Some(table));
        }
        let before = listmount(self.namespace, known.len())?;
        let mut mounts = Vec::with_capacity(known.len().max(before.len()));
        let on_line = |line: &Line<'_>| mounts.push(connections.entry_for(line, known));
        let max_long = if self.agrees { MAX_LONG_TEXT } else { u64::MAX };
        if !read_lines(file, max_long, on_line)? {
            connections.count(known);
            if let Some(table) = self.read_by_ids(known, connections)? {
                return Ok(Some(table));
            }
            mounts = Vec::new();
            connections.count(known);
            read_lines(file, u64::MAX, |line| mounts.push(connections.entry_for(line, known)))?;
        }
        let after = listmount(self.namespace, before.len())?;
        // Reusable ids are unambiguous only for mounts that existed during the whole pass. Newer ones have an event
        // pending, after which they are found.
        let is_unchanged = before == after;
        let seen = if is_unchanged { after } else { intersection(&before, &after) };
        let is_first = is_unchanged && known.is_empty();
        if !(is_first && self.pair_by_position(&seen, &mut mounts)?) {
            let read = mounts.len();
            self.pair(&seen, known, &mut mounts)?;
            if is_first && mounts.len() < read {
                return Ok(None);
            }
        }
        let table = MountTable::new(mounts);
        self.seen = seen;
        self.agrees = self.agrees_with(&table);
        Ok(Some(table))
    }

    /// Sets the keys of mounts in the order of the text, when a call for each of them would cost as much as the text. The
    /// kernel lists both by unique id, so they are paired by position if a sample is correct.
    fn pair_by_position(&mut self, ids: &[u64], mounts: &mut [Arc<Mount>]) -> io::Result<bool> {
        if mounts.len() != ids.len() {
            return Ok(false);
        }
        let step = (ids.len() / SAMPLED_PAIRS).max(1);
        let all = || ids.iter().zip(mounts.iter());
        for (&id, mount) in all().step_by(step).chain(all().next_back()) {
            if self.statmount.old_id(id)? != Some(mount.id) {
                return Ok(false);
            }
        }
        for (&id, mount) in ids.iter().zip(mounts) {
            Arc::make_mut(mount).key = MountKey(id);
        }
        Ok(true)
    }

    /// Sets the keys of new mounts, and removes those that did not exist during the whole pass. Only mounts that are not
    /// known cost a call.
    fn pair(&mut self, ids: &[u64], known: &MountTree, mounts: &mut Vec<Arc<Mount>>) -> io::Result<()> {
        let mut keys: FxHashMap<u32, MountKey> = FxHashMap::default();
        let mut entries = known.iter().peekable();
        for &id in ids {
            let key = MountKey(id);
            while entries.next_if(|entry| entry.key < key).is_some() {}
            let old_id = match entries.next_if(|entry| entry.key == key) {
                Some(entry) => Some(entry.id),
                None => self.statmount.old_id(id)?,
            };
            keys.extend(old_id.map(|old_id| (old_id, key)));
        }
        mounts.retain_mut(|mount| {
            let key = keys.get(&mount.id).copied();
            if let Some(key) = key.filter(|&key| key != mount.key) {
                Arc::make_mut(mount).key = key;
            }
            key.is_some()
        });
        Ok(())
    }

    /// What a comparison of the ids shows: new mounts and those that are gone. `None` if the whole table must be read: the
    /// ids are the same (a remount or a move), the text is cheaper because many mounts are new, or the kernel does not
    /// return all parts of a mount.
    pub(super) fn compare(
        &mut self,
        known: &MountTree,
        connections: &mut FuseConnections,
    ) -> io::Result<Option<TableChanges>> {
        let ids = listmount(self.namespace, self.seen.len())?;
        let new = difference(&ids, &self.seen);
        if ids == self.seen || new.len() > ids.len() / 2 {
            return Ok(None);
        }
        let mut reader = ChangeReader::new(&mut self.statmount, known, connections);
        let gone = difference(&self.seen, &ids);
        gone.iter().for_each(|&id| reader.remove(MountKey(id)));
        let mut seen = None;
        for (n, &id) in new.iter().enumerate() {
            if !reader.read(id, false)? {
                return Ok(None);
            }
            if reader.is_late() {
                seen = Some(difference(&ids, &new[n + 1..]));
                break;
            }
        }
        let changes = reader.changes;
        self.seen = seen.unwrap_or(ids);
        Ok(Some(changes))
    }

    /// What the kernel's events mean, and the events for which there was no time. `None` if the whole table must be read.
    pub(super) fn follow(
        &mut self,
        events: &[MountEvent],
        known: &MountTree,
        connections: &mut FuseConnections,
    ) -> io::Result<Option<(TableChanges, usize)>> {
        let mut reader = ChangeReader::new(&mut self.statmount, known, connections);
        for (n, event) in events.iter().enumerate() {
            if !reader.read_event(*event)? {
                return Ok(None);
            }
            if reader.is_late() {
                return Ok(Some((reader.changes, n + 1)));
            }
        }
        Ok(Some((reader.changes, events.len())))
    }

    /// The whole table without the text. Entries with a too long mount point are kept, except the few whose turn it is;
    /// and what there was no time for. `None` if the text must be read.
    fn read_by_ids(
        &mut self,
        known: &MountTree,
        connections: &mut FuseConnections,
    ) -> io::Result<Option<MountTable>> {
        let ids = listmount(self.namespace, self.seen.len())?;
        let turn = self.next_to_look_at(known);
        let after = std::mem::replace(&mut self.continues_after, MountKey(0));
        let until = Instant::now() + MAX_STATMOUNT_TIME;
        let (mut mounts, mut seen) = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
        for &id in &ids {
            let key = MountKey(id);
            let is_over = self.continues_after != MountKey(0);
            let entry = known.get(key);
            let is_kept = |entry: &&Arc<Mount>| {
                is_over || key <= after || !entry.has_usable_path() && !turn.contains(&key)
            };
            if let Some(entry) = entry.filter(is_kept) {
                mounts.push(Arc::clone(entry));
            } else if is_over {
                continue; // new
            } else {
                match self.statmount.mount(id)? {
                    Found::Mount(mount) => mounts.push(connections.same_or_new(*mount, entry)),
                    Found::Unreachable | Found::Gone => {}
                    Found::Incomplete => return Ok(None),
                }
                if Instant::now() >= until {
                    self.continues_after = key;
                }
            }
            seen.push(id);
        }
        self.seen = seen;
        Ok(Some(MountTable::new(mounts)))
    }

    /// The mounts with a too long mount point whose turn it is.
    fn next_to_look_at(&mut self, known: &MountTree) -> Vec<MountKey> {
        let long: Vec<MountKey> =
            known.iter().filter(|mount| !mount.has_usable_path()).map(|mount| mount.key).collect();
        let start = long.partition_point(|&key| key <= self.looked_at);
        let turn: Vec<MountKey> = long.iter().cycle().skip(start).take(LOOKED_AT_AGAIN).copied().collect();
        self.looked_at = turn.last().copied().unwrap_or(MountKey(0));
        turn
    }

    /// Whether `statmount` equals the text for some entries. A change at this moment makes it false, which only costs
    /// speed until the next whole read.
    fn agrees_with(&mut self, table: &MountTable) -> bool {
        let step = table.len().div_ceil(COMPARED_ENTRIES).max(1);
        table.iter().step_by(step).all(|entry| match self.statmount.mount(entry.key.0) {
            Ok(Found::Mount(mount)) => {
                entry.shortened.over_limit
                    || Mount { connection_owner: entry.connection_owner, ..*mount } == **entry
            }
            Ok(Found::Gone) => true,
            Ok(Found::Unreachable | Found::Incomplete) | Err(_) => false,
        })
    }
}

/// Reads single mounts and collects what differs from the known table. Each is read once.
struct ChangeReader<'a> {
    statmount: &'a mut Statmount,
    known: &'a MountTree,
    connections: &'a mut FuseConnections,
    read: FxHashSet<u64>,
    changes: TableChanges,
    until: Instant,
}

impl<'a> ChangeReader<'a> {
    fn new(
        statmount: &'a mut Statmount,
        known: &'a MountTree,
        connections: &'a mut FuseConnections,
    ) -> ChangeReader<'a> {
        let until = Instant::now() + MAX_STATMOUNT_TIME;
        let (read, changes) = (FxHashSet::default(), TableChanges::default());
        ChangeReader { statmount, known, connections, read, changes, until }
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }

    fn remove(&mut self, key: MountKey) {
        if let Some(mount) = self.known.get(key) {
            self.connections.forget(mount);
            self.changes.changes.push(TableChange::Gone(key));
        }
    }

    /// Reads the mount of an event, and those that have no event of their own: what it was put beneath or on which it lay,
    /// and what is below it. False if the whole table must be read.
    fn read_event(&mut self, event: MountEvent) -> io::Result<bool> {
        if event.is_attached && !event.is_detached && self.known.get(MountKey(event.id)).is_some() {
            return Ok(true); // a read of the whole table has found it
        }
        let before = self.changes.changes.len();
        if !self.read(event.id, event.is_attached)? {
            return Ok(false);
        }
        let mut next = before;
        while let Some(change) = self.changes.changes.get(next) {
            let (key, present) = match change {
                TableChange::Present(mount) => (mount.key, Some(mount)),
                TableChange::Gone(key) => (*key, None),
            };
            next += 1;
            let has_left = |former: &&Arc<Mount>| present.is_none_or(|it| it.mountpoint != former.mountpoint);
            let former = self.known.get(key).filter(has_left);
            let children = former.map_or(&[][..], |mount| self.known.children(mount.id));
            let at_place = present.map_or(&[][..], |it| self.known.children_at(it.parent, &it.mountpoint));
            for mount in at_place.iter().chain(children) {
                if !self.read(mount.key.0, false)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// False if the kernel does not return all parts of the mount.
    fn read(&mut self, id: u64, is_attached: bool) -> io::Result<bool> {
        if !self.read.insert(id) {
            return Ok(true);
        }
        let key = MountKey(id);
        let entry = self.known.get(key);
        match self.statmount.mount(id)? {
            Found::Mount(mount) => {
                let mount = self.connections.same_or_new(*mount, entry);
                if !entry.is_some_and(|entry| Arc::ptr_eq(entry, &mount)) {
                    self.changes.changes.push(TableChange::Present(mount));
                }
            }
            Found::Incomplete => return Ok(false),
            Found::Gone if entry.is_none() => self.changes.missed += u64::from(is_attached),
            Found::Gone | Found::Unreachable => self.remove(key),
        }
        Ok(true)
    }
}

/// The ids in both ascending lists.
fn intersection(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut b = b.iter().copied().peekable();
    let in_b = |id: &u64| {
        while b.next_if(|other| other < id).is_some() {}
        b.next_if_eq(id).is_some()
    };
    a.iter().copied().filter(in_b).collect()
}

/// The ids in the ascending list `ids` that are not in `seen`.
fn difference(ids: &[u64], seen: &[u64]) -> Vec<u64> {
    let mut seen = seen.iter().copied().peekable();
    let unseen = |id: &u64| {
        while seen.next_if(|other| other < id).is_some() {}
        seen.next_if_eq(id).is_none()
    };
    ids.iter().copied().filter(unseen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intersection_and_difference_of_ascending_ids() {
        assert_eq!(intersection(&[1, 2, 4, 6], &[2, 3, 6, 7]), [2, 6]);
        assert_eq!(difference(&[1, 2, 4, 6], &[2, 3, 6, 7]), [1, 4]);
        assert_eq!((intersection(&[1], &[]), difference(&[1], &[])), (vec![], vec![1]));
    }
}
