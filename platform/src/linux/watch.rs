//! Reading and watching the mount table. The daemon registers the watch, then reads; on each event it refreshes.
//!
//! There are two ways to the same entries:
//! * **the text** (`read`): `/proc/PID/mountinfo`, on every kernel. Complete, but the kernel takes 1 to 2 µs per mount.
//! * **the ids** (`refresh`, Linux 6.13): `listmount` shows which mounts are new and which are gone, `statmount`
//!   returns the new ones. 25 to 40 times cheaper with many mounts, but it misses changes of existing mounts.
//!
//! Where mount points are too long for any call, the text of them alone can take seconds. So a whole read then asks
//! `statmount` for all mounts except these, of which it looks at a few each time.
//!
//! If the kernel has unique ids (6.8) they are the keys in both. Mountinfo shows only the reusable ids, so both are
//! paired by one `statmount` for each new mount; the first read pairs by position and checks a sample.

use super::fuse_connections::FuseConnections;
use super::mountinfo::{self, Line};
use super::statmount::{Found, OWN_NAMESPACE, Statmount, first_id, listmount};
use super::table_text::{free_large, read_text};
use crate::{Changes, Mount, MountKey, MountTable};
use mio::Interest;
use mio::unix::SourceFd;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Entries of each full read that are compared with `statmount` before the fast path is used: a kernel that formats
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

/// After this many first reads with a mount that lacks a unique id, the ids are not used. In a single read, the mount
/// may have come and gone between the calls.
const MAX_FIRST_PASSES: usize = 3;

/// The table of the mount namespace of this process.
pub const OWN_MOUNT_TABLE: &str = "/proc/self/mountinfo";

/// The mount table of one mount namespace, and an event when it changes.
///
/// Mounts, unmounts, moves and remounts cause an event; a rename of a directory above a mount point does not, so a
/// [`MountWatch::read`] is also needed occasionally (proc_pid_mountinfo(5) and measurements).
#[derive(Debug)]
pub struct MountWatch {
    file: File,
    text: Vec<u8>,
    table: MountTable,
    unique: Option<UniqueIds>,
    connections: FuseConnections,
    full_read_due: bool,
}

/// State that is kept only if the kernel has unique ids.
#[derive(Debug)]
struct UniqueIds {
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

impl MountWatch {
    /// Opens the table at `path` (`/proc/self/mountinfo`). It must be registered with a poll *before* the first read: the
    /// registration consumes a pending change, so a change between a read and the registration would be missed.
    ///
    /// Unique ids are only used for `/proc/self/mountinfo`: `listmount(2)` lists our own namespace below our root, and
    /// those of another process may differ. For the same reason this process must not change its namespace or root.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub fn open(path: &Path) -> io::Result<MountWatch> {
        let file = File::open(path)?;
        let unique = if is_own(path) { UniqueIds::detect(OWN_NAMESPACE) } else { None };
        Ok(MountWatch::new(file, unique))
    }

    /// The open table of a process whose root is that of its mount namespace. `namespace` is the kernel's id of the
    /// namespace (6.11); unique ids are not used without it (0).
    pub(super) fn for_namespace(file: File, namespace: u64) -> MountWatch {
        let unique = if namespace == OWN_NAMESPACE { None } else { UniqueIds::detect(namespace) };
        MountWatch::new(file, unique)
    }

    fn new(file: File, unique: Option<UniqueIds>) -> MountWatch {
        let (text, table) = (Vec::new(), MountTable::default());
        MountWatch { file, text, table, unique, connections: FuseConnections::open(), full_read_due: true }
    }

    /// Reads the whole table, from the mountinfo text or with `statmount`. Unchanged entries are the same `Arc` as before.
    /// A mount that came or went meanwhile may be missing or not; its event follows.
    ///
    /// # Errors
    /// Those of `read(2)` and `listmount(2)`; `InvalidData` quoting an invalid line.
    pub fn read(&mut self) -> io::Result<MountTable> {
        self.full_read_due = false;
        self.connections.begin(&self.table);
        let has_long = self.table.iter().any(|mount| !mount.has_usable_path());
        let without_text = if has_long { self.read_without_text()? } else { None };
        self.table = match without_text {
            Some(table) => table,
            None => match self.read_with_unique_ids()? {
                Some(table) => table,
                None => self.read_without_unique_ids()?,
            },
        };
        Ok(self.table.clone())
    }

    /// Reads the table after an event in the cheapest way that this kernel has. The result equals that of
    /// [`MountWatch::read`], except as described at [`MountWatch::full_read_due`].
    ///
    /// # Errors
    /// Same as [`MountWatch::read`].
    pub fn refresh(&mut self) -> io::Result<MountTable> {
        let Some(unique) = self.unique.as_mut().filter(|unique| unique.agrees) else {
            return self.read();
        };
        let ids = listmount(unique.namespace, unique.seen.len())?;
        self.connections.begin(&self.table);
        match unique.apply_changes(&self.table, &ids, &mut self.connections)? {
            Some((table, seen)) => {
                unique.seen = seen;
                self.full_read_due = true;
                self.table = table;
                Ok(self.table.clone())
            }
            None => self.read(),
        }
    }

    /// Whether the last read was a fast one. A fast read misses a remount or move at the same moment (or a new parent, when
    /// a mount below another was removed), so [`MountWatch::read`] should follow soon, but not for every event.
    #[must_use]
    pub fn full_read_due(&self) -> bool {
        self.full_read_due
    }

    /// Returns what an event means. Must be called after each event. Never blocks.
    pub fn take_changes(&mut self) -> Changes {
        Changes { table: true, server_not_responding: false }
    }

    /// The whole table by `statmount`. `None` if the text must be read.
    fn read_without_text(&mut self) -> io::Result<Option<MountTable>> {
        let Some(unique) = self.unique.as_mut().filter(|unique| unique.agrees) else { return Ok(None) };
        let ids = listmount(unique.namespace, unique.seen.len())?;
        let Some((table, seen)) = unique.read_all(&self.table, &ids, &mut self.connections)? else {
            return Ok(None);
        };
        self.full_read_due = unique.continues_after != MountKey(0);
        unique.seen = seen;
        Ok(Some(table))
    }

    fn read_with_unique_ids(&mut self) -> io::Result<Option<MountTable>> {
        for _ in 0..MAX_FIRST_PASSES {
            if self.unique.is_none() {
                return Ok(None);
            }
            if let Some(table) = self.read_unique()? {
                return Ok(Some(table));
            }
        }
        self.unique = None;
        Ok(None)
    }

    /// `None` if `listmount` lacks a mount that the text shows although nothing changed, which no kernel is known to do.
    /// Only checked for the first table, because later all keys would change.
    fn read_unique(&mut self) -> io::Result<Option<MountTable>> {
        let unique = self.unique.as_mut().expect("only called if there are unique ids");
        let before = listmount(unique.namespace, self.table.len())?;
        let max_long = if unique.agrees { MAX_LONG_TEXT } else { u64::MAX };
        if !read_text(&self.file, &mut self.text, max_long)? {
            if let Some(table) = self.read_without_text()? {
                return Ok(Some(table));
            }
            read_text(&self.file, &mut self.text, u64::MAX)?;
        }
        let unique = self.unique.as_mut().expect("only called if there are unique ids");
        let after = listmount(unique.namespace, before.len())?;
        // Reusable ids are unambiguous only for mounts that existed during the whole pass. Newer ones have an event
        // pending, after which they are found.
        let is_unchanged = before == after;
        let is_first = is_unchanged && self.table.is_empty();
        let seen = if is_unchanged { after } else { intersection(&before, &after) };
        let paired = if is_first {
            unique.pair_by_position(&seen, &self.text)?
        } else {
            unique.pair(&seen, &self.table)?
        };
        let mut mounts = Vec::with_capacity(seen.len());
        for line in mountinfo::lines(&self.text) {
            let line = line?;
            if let Ok(found) = paired.binary_search_by_key(&line.id, |pair| pair.old_id) {
                let Pair { key, entry, .. } = paired[found];
                mounts.push(entry_for(&line, key, entry, &mut self.connections));
            } else if is_first {
                return Ok(None);
            }
        }
        let table = MountTable::new(mounts);
        free_large(&mut self.text);
        unique.seen = seen;
        unique.agrees = unique.agrees_with(&table);
        Ok(Some(table))
    }

    /// Before Linux 5.8 a pass could *lose* an entry when another was unmounted meanwhile, so an entry is gone only if a
    /// second pass misses it too; one that went in between has an event pending.
    fn read_without_unique_ids(&mut self) -> io::Result<MountTable> {
        let first = self.pass()?;
        if self.table.iter().all(|entry| first.get(entry.key).is_some()) {
            return Ok(first);
        }
        let second = self.pass()?;
        Ok(MountTable::new(first.iter().chain(&second).cloned().collect()))
    }

    fn pass(&mut self) -> io::Result<MountTable> {
        read_text(&self.file, &mut self.text, u64::MAX)?;
        let mut mounts = Vec::with_capacity(self.table.len());
        for line in mountinfo::lines(&self.text) {
            let line = line?;
            let key = line.reusable_key();
            mounts.push(entry_for(&line, key, self.table.get(key), &mut self.connections));
        }
        free_large(&mut self.text);
        Ok(MountTable::new(mounts))
    }
}

// The kernel keeps one change counter per open file, and each poll consumes a change: the descriptor must never be
// shared, because a duplicate in a second poll would take half of the events. Mountinfo is always readable, and only
// POLLPRI means a change. Registering consumes a pending change: read after it.
impl_source!(MountWatch, |watch| SourceFd(&watch.file.as_raw_fd()), Interest::PRIORITY);

/// The key of a reusable id, and the entry of the previous reading.
struct Pair<'a> {
    old_id: u32,
    key: MountKey,
    entry: Option<&'a Arc<Mount>>,
}

impl UniqueIds {
    /// Tries the calls, because the kernel version proves nothing: calls are back-ported, or filtered by sandboxes.
    fn detect(namespace: u64) -> Option<UniqueIds> {
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

    /// Like [`UniqueIds::pair`], but for the first read, when a call for each mount would cost as much as the text. The
    /// kernel lists both by unique id, so they are paired by position if a sample is correct.
    fn pair_by_position<'a>(&mut self, ids: &[u64], text: &[u8]) -> io::Result<Vec<Pair<'a>>> {
        let mut pairs = Vec::with_capacity(ids.len());
        for (line, &id) in mountinfo::lines(text).zip(ids) {
            pairs.push(Pair { old_id: line?.id, key: MountKey(id), entry: None });
        }
        let same_length = pairs.len() == ids.len() && mountinfo::lines(text).nth(ids.len()).is_none();
        let step = (ids.len() / SAMPLED_PAIRS).max(1);
        for pair in pairs.iter().step_by(step).chain(pairs.last()) {
            if !same_length || self.statmount.old_id(pair.key.0)? != Some(pair.old_id) {
                return self.pair(ids, &MountTable::default()).map(without_entries);
            }
        }
        pairs.sort_unstable_by_key(|pair| pair.old_id);
        Ok(pairs)
    }

    /// Pairs ordered by the reusable id. Only mounts that are not in the table cost a call.
    fn pair<'a>(&mut self, ids: &[u64], table: &'a MountTable) -> io::Result<Vec<Pair<'a>>> {
        let mut pairs = Vec::with_capacity(ids.len());
        let mut entries = table.iter().peekable();
        for &id in ids {
            let key = MountKey(id);
            while entries.next_if(|entry| entry.key < key).is_some() {}
            let entry = entries.next_if(|entry| entry.key == key);
            let old_id = match entry {
                Some(entry) => Some(entry.id),
                None => self.statmount.old_id(id)?,
            };
            pairs.extend(old_id.map(|old_id| Pair { old_id, key, entry }));
        }
        pairs.sort_unstable_by_key(|pair| pair.old_id);
        Ok(pairs)
    }

    /// The table with the new mounts and without the removed ones. `None` if the text must be read: the ids are the same (a
    /// remount or a move), the text is cheaper because many mounts are new, or the kernel does not return all parts of a
    /// mount.
    fn apply_changes(
        &mut self,
        table: &MountTable,
        ids: &[u64],
        connections: &mut FuseConnections,
    ) -> io::Result<Option<(MountTable, Vec<u64>)>> {
        let new = difference(ids, &self.seen);
        if ids == self.seen || new.len() > ids.len() / 2 {
            return Ok(None);
        }
        let mut remaining = ids.iter().copied().peekable();
        let mut mounts = Vec::with_capacity(ids.len());
        for entry in table {
            while remaining.next_if(|&id| id < entry.key.0).is_some() {}
            if remaining.next_if_eq(&entry.key.0).is_some() {
                mounts.push(Arc::clone(entry));
            }
        }
        let until = Instant::now() + MAX_STATMOUNT_TIME;
        let mut seen = ids.to_vec();
        for (n, &id) in new.iter().enumerate() {
            match self.statmount.mount(id)? {
                Found::Mount(mount) => mounts.push(Arc::new(connections.complete(*mount, None))),
                Found::Unreachable | Found::Gone => {}
                Found::Incomplete => return Ok(None),
            }
            if Instant::now() >= until {
                seen = difference(ids, &new[n + 1..]);
                break;
            }
        }
        Ok(Some((MountTable::new(mounts), seen)))
    }

    /// The table of these ids, and those that were seen. Entries with a too long mount point are kept, except the few
    /// whose turn it is; and what there was no time for.
    fn read_all(
        &mut self,
        table: &MountTable,
        ids: &[u64],
        connections: &mut FuseConnections,
    ) -> io::Result<Option<(MountTable, Vec<u64>)>> {
        let turn = self.next_to_look_at(table);
        let after = std::mem::replace(&mut self.continues_after, MountKey(0));
        let until = Instant::now() + MAX_STATMOUNT_TIME;
        let (mut mounts, mut seen) = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
        for &id in ids {
            let key = MountKey(id);
            let is_over = self.continues_after != MountKey(0);
            let entry = table.get(key);
            let is_kept = |entry: &&Arc<Mount>| {
                is_over || key <= after || !entry.has_usable_path() && !turn.contains(&key)
            };
            if let Some(entry) = entry.filter(is_kept) {
                mounts.push(Arc::clone(entry));
            } else if is_over {
                continue; // new
            } else {
                match self.statmount.mount(id)? {
                    Found::Mount(mount) => mounts.push(match entry {
                        // The same mount has the same connection.
                        Some(entry) => same_or_new(*mount, entry, connections),
                        None => Arc::new(connections.complete(*mount, None)),
                    }),
                    Found::Unreachable | Found::Gone => {}
                    Found::Incomplete => return Ok(None),
                }
                if Instant::now() >= until {
                    self.continues_after = key;
                }
            }
            seen.push(id);
        }
        Ok(Some((MountTable::new(mounts), seen)))
    }

    /// The mounts with a too long mount point whose turn it is.
    fn next_to_look_at(&mut self, table: &MountTable) -> Vec<MountKey> {
        let long: Vec<MountKey> =
            table.iter().filter(|mount| !mount.has_usable_path()).map(|mount| mount.key).collect();
        let start = long.partition_point(|&key| key <= self.looked_at);
        let turn: Vec<MountKey> = long.iter().cycle().skip(start).take(LOOKED_AT_AGAIN).copied().collect();
        self.looked_at = turn.last().copied().unwrap_or(MountKey(0));
        turn
    }

    /// Whether `statmount` equals the text for some entries. A change at this moment makes it false, which only costs
    /// speed until the next full read.
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

/// Pairs without entries, which borrow no table.
fn without_entries<'a>(pairs: Vec<Pair<'_>>) -> Vec<Pair<'a>> {
    pairs.into_iter().map(|pair| Pair { entry: None, ..pair }).collect()
}

fn entry_for(
    line: &Line<'_>,
    key: MountKey,
    entry: Option<&Arc<Mount>>,
    connections: &mut FuseConnections,
) -> Arc<Mount> {
    match entry {
        Some(entry) if line.matches(entry) => Arc::clone(entry),
        _ => Arc::new(connections.complete(line.to_mount(key), None)),
    }
}

fn same_or_new(mount: Mount, entry: &Arc<Mount>, connections: &mut FuseConnections) -> Arc<Mount> {
    let owner = entry.connection_owner; // the same mount has the same connection
    let mount = Mount { connection_owner: owner, ..mount };
    if mount == **entry { Arc::clone(entry) } else { Arc::new(connections.complete(mount, owner)) }
}

fn is_own(path: &Path) -> bool {
    let own = format!("/proc/{}/mountinfo", std::process::id());
    [OWN_MOUNT_TABLE, "/proc/thread-self/mountinfo", &own].iter().any(|name| path == Path::new(name))
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
