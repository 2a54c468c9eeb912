//! Reading and watching the mount table. The daemon registers it, then reads; on each event it refreshes.
//!
//! Two ways lead to the same entries:
//! * **the text** (`read`): `/proc/PID/mountinfo`, on every kernel. Complete, but the kernel writes 1 to 2 µs per mount.
//! * **the ids** (`refresh`, Linux 6.13+): `listmount` shows which mounts are new and which are gone, `statmount`
//!   tells of the new ones. 25 to 40 times cheaper with many mounts, but blind to a change of a mount that was there.
//!
//! Where the kernel has unique ids (6.8+) they are the keys in both. Mountinfo shows only the reusable ids, so they
//! are paired through what `statmount` says of each new mount once in its life; a first reading pairs by position and
//! checks a sample.

use super::mountinfo::{self, Line};
use super::statmount::{Found, OWN_NAMESPACE, Statmount, first_id, listmount};
use crate::{Changes, Mount, MountKey, MountTable};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event::Source};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Free room for one `read(2)` of the text. The kernel hands out a page at a time whatever is asked for, or one line
/// if that is longer.
const READ_ROOM: usize = 64 << 10;

/// A buffer this many times larger than the text is given back: a storm of mounts leaves no memory behind.
const BUFFER_SLACK: usize = 4;

/// Entries that each full reading compares with what `statmount` says, before the fast path is trusted: a kernel
/// that words something else differs in nearly all of them.
const COMPARED: usize = 8;

/// Pairs of a first reading that are held against what `statmount` says before the rest is believed.
const SAMPLED: usize = 64;

/// First readings after which unique ids are given up, if each shows a mount without one: a single one may have come
/// and gone in between.
const TRUST_PASSES: usize = 3;

/// The table of the mount namespace that this process is in.
pub const OWN_MOUNT_TABLE: &str = "/proc/self/mountinfo";

/// The mount table of one mount namespace and the event that it changed.
///
/// The event comes for mounts, unmounts, moves and remounts, not for a rename of a directory on the way to a mount
/// point, so a [`MountWatch::read`] now and then is needed besides (proc_pid_mountinfo(5) and measurements).
#[derive(Debug)]
pub struct MountWatch {
    file: File,
    text: Vec<u8>,
    table: MountTable,
    unique: Option<UniqueIds>,
    full_read_due: bool,
}

/// What is kept where the kernel has unique ids.
#[derive(Debug)]
struct UniqueIds {
    namespace: u64,
    statmount: Statmount,
    /// All ids that the table takes into account, ascending; more than its entries where some are hidden.
    seen: Vec<u64>,
    /// `statmount` was found to say what mountinfo says.
    agrees: bool,
}

impl MountWatch {
    /// Opens the table at `path` (`/proc/self/mountinfo`). Register it with a poll *before* the first read: the
    /// kernel's change counter is consumed by the registration, and a change in between would go unseen.
    ///
    /// Unique ids are used where the kernel has them and only for `/proc/self/mountinfo`: `listmount(2)` answers for
    /// our own namespace and root, and another process's may differ in either, now or later. For the same reason the
    /// process must not change its namespace or root while it has a watch.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub fn open(path: &Path) -> io::Result<MountWatch> {
        let file = File::open(path)?;
        let unique = if is_own(path) { UniqueIds::probe(OWN_NAMESPACE) } else { None };
        Ok(MountWatch { file, text: Vec::new(), table: MountTable::default(), unique, full_read_due: true })
    }

    /// The open table of a process whose root is that of its mount namespace; `namespace` is the kernel's id of that
    /// (6.11), or 0 where there is none, and then there are no unique ids either.
    pub(super) fn of(file: File, namespace: u64) -> MountWatch {
        let unique = if namespace == OWN_NAMESPACE { None } else { UniqueIds::probe(namespace) };
        MountWatch { file, text: Vec::new(), table: MountTable::default(), unique, full_read_due: true }
    }

    /// Reads the whole table from the mountinfo text. Entries that did not change are the same `Arc` as in the
    /// reading before. A mount that came or went meanwhile may be there or not; its event tells.
    ///
    /// # Errors
    /// Those of `read(2)` and `listmount(2)`; a line that cannot be understood is an error that quotes it.
    pub fn read(&mut self) -> io::Result<MountTable> {
        let table = match self.read_with_unique_ids()? {
            Some(table) => table,
            None => self.read_reusable()?,
        };
        self.full_read_due = false;
        self.table = table;
        Ok(self.table.clone())
    }

    /// Reads what an event announced, in the cheapest way that this kernel offers; equals [`MountWatch::read`] but
    /// for what [`MountWatch::full_read_due`] says.
    ///
    /// # Errors
    /// As [`MountWatch::read`].
    pub fn refresh(&mut self) -> io::Result<MountTable> {
        let Some(unique) = self.unique.as_mut().filter(|unique| unique.agrees) else {
            return self.read();
        };
        let ids = listmount(unique.namespace, unique.seen.len())?;
        match unique.changes(&self.table, &ids)? {
            Some(table) => {
                unique.seen = ids;
                self.full_read_due = true;
                self.table = table;
                Ok(self.table.clone())
            }
            None => self.read(),
        }
    }

    /// Was the last reading a fast one? Then mounts have come or gone, and a remount or move at the same moment (or
    /// a new parent, when one was unmounted from below another) went unseen: [`MountWatch::read`] soon, but not for
    /// every event.
    #[must_use]
    pub fn full_read_due(&self) -> bool {
        self.full_read_due
    }

    /// What an event means: to be called after each. Never waits.
    pub fn take_changes(&mut self) -> Changes {
        Changes { table: true, server_not_responding: false }
    }

    fn read_with_unique_ids(&mut self) -> io::Result<Option<MountTable>> {
        for _ in 0..TRUST_PASSES {
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

    /// `None` if `listmount` lacks a mount that the text shows although nothing changed, which no kernel is known to
    /// do: only believed before the first table, since afterwards all keys would change.
    fn read_unique(&mut self) -> io::Result<Option<MountTable>> {
        let unique = self.unique.as_mut().expect("only called where there are unique ids");
        let before = listmount(unique.namespace, self.table.len())?;
        fill(&self.file, &mut self.text)?;
        let after = listmount(unique.namespace, before.len())?;
        // Reusable ids are unambiguous only for mounts that lived through the whole pass; newer ones have an event
        // pending, which finds them unseen.
        let quiet = before == after;
        let seen = if quiet { after } else { common(&before, &after) };
        let paired = match quiet && self.table.is_empty() {
            true => unique.pair_all(&seen, &self.text)?,
            false => unique.pair(&seen, &self.table)?,
        };
        let mut mounts = Vec::with_capacity(seen.len());
        for line in mountinfo::lines(&self.text) {
            let line = line?;
            if let Ok(found) = paired.binary_search_by_key(&line.id, |pair| pair.old_id) {
                let Pair { key, entry, .. } = paired[found];
                mounts.push(entry_for(&line, key, entry));
            } else if quiet && self.table.is_empty() {
                return Ok(None);
            }
        }
        let table = MountTable::new(mounts);
        unique.seen = seen;
        unique.agrees = unique.compare(&table);
        Ok(Some(table))
    }

    /// Before Linux 5.8 a pass could *lose* an entry when another was unmounted meanwhile, so one that is missing is
    /// believed only when a second pass misses it too; one that went between the two has an event pending.
    fn read_reusable(&mut self) -> io::Result<MountTable> {
        let first = self.pass()?;
        if self.table.iter().all(|entry| first.get(entry.key).is_some()) {
            return Ok(first);
        }
        let second = self.pass()?;
        Ok(MountTable::new(first.iter().chain(&second).cloned().collect()))
    }

    fn pass(&mut self) -> io::Result<MountTable> {
        fill(&self.file, &mut self.text)?;
        let mut mounts = Vec::with_capacity(self.table.len());
        for line in mountinfo::lines(&self.text) {
            let line = line?;
            mounts.push(entry_for(&line, line.own_key(), self.table.get(line.own_key())));
        }
        Ok(MountTable::new(mounts))
    }
}

/// The kernel keeps one change counter per open file, and whoever asks poll about it consumes the change: never share
/// the descriptor (a duplicate in a second poll would take half of the events).
impl Source for MountWatch {
    /// The interest is always `PRIORITY`: mountinfo is always readable, and only POLLPRI means a change. Registering
    /// consumes a pending change: read after it.
    fn register(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        SourceFd(&self.file.as_raw_fd()).register(registry, token, Interest::PRIORITY)
    }

    /// Consumes a pending change as `register` does: read after it. There is no need to re-arm after an event.
    fn reregister(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        SourceFd(&self.file.as_raw_fd()).reregister(registry, token, Interest::PRIORITY)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.file.as_raw_fd()).deregister(registry)
    }
}

/// Which key a reusable id stands for, and the entry of the reading before.
struct Pair<'a> {
    old_id: u32,
    key: MountKey,
    entry: Option<&'a Arc<Mount>>,
}

impl UniqueIds {
    /// Asks the kernel instead of its version: calls are back-ported, and filtered by sandboxes.
    fn probe(namespace: u64) -> Option<UniqueIds> {
        let mut statmount = Statmount::new(namespace);
        statmount.old_id(first_id(namespace).ok()??).ok()?;
        Some(UniqueIds { namespace, statmount, seen: Vec::new(), agrees: false })
    }

    /// As [`UniqueIds::pair`] for a first reading, when all mounts are new and a call for each would cost as much as
    /// the text: the kernel lists both by unique id, so they are paired by position if some pairs are right.
    fn pair_all<'a>(&mut self, ids: &[u64], text: &[u8]) -> io::Result<Vec<Pair<'a>>> {
        let mut pairs = Vec::with_capacity(ids.len());
        for (line, &id) in mountinfo::lines(text).zip(ids) {
            pairs.push(Pair { old_id: line?.id, key: MountKey(id), entry: None });
        }
        let same_length = pairs.len() == ids.len() && mountinfo::lines(text).nth(ids.len()).is_none();
        let step = (ids.len() / SAMPLED).max(1);
        for pair in pairs.iter().step_by(step).chain(pairs.last()) {
            if !same_length || self.statmount.old_id(pair.key.0)? != Some(pair.old_id) {
                return self.pair(ids, &MountTable::default()).map(forget_entries);
            }
        }
        pairs.sort_unstable_by_key(|pair| pair.old_id);
        Ok(pairs)
    }

    /// Pairs ordered by the reusable id. Only mounts that the table does not know cost a call.
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

    /// The table without the ids that are gone and with those that are new. `None` where only the text can tell:
    /// the same ids (so it was a remount or a move), more new ones than the text would cost, or a kernel that cannot
    /// say all of a mount.
    fn changes(&mut self, table: &MountTable, ids: &[u64]) -> io::Result<Option<MountTable>> {
        let new = missing(ids, &self.seen);
        if ids == self.seen || new.len() > ids.len() / 2 {
            return Ok(None);
        }
        let mut left = ids.iter().copied().peekable();
        let mut mounts = Vec::with_capacity(ids.len());
        for entry in table {
            while left.next_if(|&id| id < entry.key.0).is_some() {}
            if left.next_if_eq(&entry.key.0).is_some() {
                mounts.push(Arc::clone(entry));
            }
        }
        for id in new {
            match self.statmount.mount(id)? {
                Found::Mount(mount) => mounts.push(Arc::new(*mount)),
                Found::Hidden | Found::Gone => {}
                Found::Unclear => return Ok(None),
            }
        }
        Ok(Some(MountTable::new(mounts)))
    }

    /// Does `statmount` say of some entries what the text said? A change at just this moment makes it a no, which
    /// costs speed until the next full reading and nothing else.
    fn compare(&mut self, table: &MountTable) -> bool {
        let step = table.len().div_ceil(COMPARED).max(1);
        table.iter().step_by(step).all(|entry| match self.statmount.mount(entry.key.0) {
            Ok(Found::Mount(mount)) => *mount == **entry,
            Ok(Found::Gone) => true,
            Ok(Found::Hidden | Found::Unclear) | Err(_) => false,
        })
    }
}

/// Pairs that were made without a table, for a longer life than that table's.
fn forget_entries<'a>(pairs: Vec<Pair<'_>>) -> Vec<Pair<'a>> {
    pairs.into_iter().map(|pair| Pair { entry: None, ..pair }).collect()
}

fn entry_for(line: &Line<'_>, key: MountKey, entry: Option<&Arc<Mount>>) -> Arc<Mount> {
    match entry {
        Some(entry) if line.says(entry) => Arc::clone(entry),
        _ => Arc::new(line.to_mount(key)),
    }
}

/// Reads the file from its start into `text`, whose memory is reused.
fn fill(file: &File, text: &mut Vec<u8>) -> io::Result<()> {
    let mut filled = 0;
    text.resize(text.capacity(), 0);
    loop {
        if text.len() - filled < READ_ROOM {
            text.resize((text.len() * 2).max(2 * READ_ROOM), 0);
        }
        match file.read_at(&mut text[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    text.truncate(filled);
    if text.capacity() / BUFFER_SLACK > filled + READ_ROOM {
        text.shrink_to(filled + READ_ROOM);
    }
    Ok(())
}

fn is_own(path: &Path) -> bool {
    let own = format!("/proc/{}/mountinfo", std::process::id());
    [OWN_MOUNT_TABLE, "/proc/thread-self/mountinfo", &own].iter().any(|name| path == Path::new(name))
}

/// What two ascending lists share.
fn common(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut b = b.iter().copied().peekable();
    let in_b = |id: &u64| {
        while b.next_if(|other| other < id).is_some() {}
        b.next_if_eq(id).is_some()
    };
    a.iter().copied().filter(in_b).collect()
}

/// What the ascending list `ids` has and `seen` lacks.
fn missing(ids: &[u64], seen: &[u64]) -> Vec<u64> {
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
    fn a_large_text_leaves_no_large_buffer_behind() {
        let path = std::env::temp_dir().join(format!("msm-watch-{}", std::process::id()));
        std::fs::write(&path, vec![b'x'; 4 << 20]).unwrap();
        let file = File::open(&path).unwrap();
        let mut text = Vec::new();
        fill(&file, &mut text).unwrap();
        assert_eq!(text.len(), 4 << 20);
        std::fs::write(&path, "small").unwrap();
        fill(&file, &mut text).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text == b"small" && text.capacity() <= 2 * READ_ROOM);
    }

    #[test]
    fn ids_in_both_and_in_one_list() {
        assert_eq!(common(&[1, 2, 4, 6], &[2, 3, 6, 7]), [2, 6]);
        assert_eq!(missing(&[1, 2, 4, 6], &[2, 3, 6, 7]), [1, 4]);
        assert_eq!((common(&[1], &[]), missing(&[1], &[])), (vec![], vec![1]));
    }
}
