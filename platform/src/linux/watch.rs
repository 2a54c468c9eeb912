//! Reading and watching the mount table. The daemon registers the watch, then reads; on each event it reads what has
//! changed.
//!
//! There are three ways to the same entries. Each is tried, whatever the version of the kernel:
//! * **events** (Linux 6.15, `CAP_SYS_ADMIN`): the kernel reports the ids of mounts that were attached, detached or moved,
//!   and `statmount` returns these mounts. A change costs the same with ten mounts and with a hundred thousand.
//! * **ids** (Linux 6.13): `listmount` shows which mounts are new and which are gone. 25 to 40 times cheaper than the text
//!   with many mounts, but it misses changes of existing mounts.
//! * **the text**: `/proc/PID/mountinfo`, on every kernel. Complete, but the kernel takes 1 to 2 µs per mount.
//!
//! The first two miss remounts and renamed directories, so the whole table is also read now and then. Where mount points
//! are too long for any call, the text of them alone can take seconds: then a whole read asks `statmount` for all mounts
//! except these, of which it looks at a few each time.

use super::fuse_connections::FuseConnections;
use super::mount_events::MountEvents;
use super::statmount::OWN_NAMESPACE;
use super::table_text::read_lines;
use super::unique_ids::UniqueIds;
use crate::{Changes, MountSource, MountTable, MountTree, TableUpdate};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

/// After this many first reads with a mount that lacks a unique id, the ids are not used. In a single read, the mount
/// may have come and gone between the calls.
const MAX_FIRST_PASSES: usize = 3;

/// The table of the mount namespace of this process.
pub const OWN_MOUNT_TABLE: &str = "/proc/self/mountinfo";

const OWN_NAMESPACE_FILE: &str = "/proc/self/ns/mnt";

/// The mount table of one mount namespace, and an event when it changes.
///
/// Mounts, unmounts, moves and remounts cause an event; a rename of a directory above a mount point does not, so a
/// [`MountWatch::read`] is also needed occasionally (proc_pid_mountinfo(5) and measurements).
#[derive(Debug)]
pub struct MountWatch {
    file: File,
    /// `None` if the kernel has no unique ids.
    ids: Option<UniqueIds>,
    events: Option<MountEvents>,
    connections: FuseConnections,
    whole_read_due: bool,
}

impl MountWatch {
    /// Opens the table at `path` (`/proc/self/mountinfo`), to be read with `source` or a simpler one. It must be registered
    /// with a poll *before* the first read: the registration consumes a pending change, so a change between a read and the
    /// registration would be missed.
    ///
    /// Unique ids are only used for `/proc/self/mountinfo`: `listmount(2)` lists our own namespace below our root, and
    /// those of another process may differ. For the same reason this process must not change its namespace or root.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub fn open(path: &Path, source: MountSource) -> io::Result<MountWatch> {
        let mut watch = MountWatch::new(File::open(path)?);
        if is_own(path) {
            let namespace = File::open(OWN_NAMESPACE_FILE);
            watch.use_ids(source, OWN_NAMESPACE, namespace.as_ref().ok().map(File::as_fd));
        }
        Ok(watch)
    }

    /// The open table of a process whose root is that of its mount namespace. `id` is the kernel's id of the namespace
    /// (6.11); unique ids are not used without it (0).
    pub(super) fn for_namespace(
        file: File,
        id: u64,
        namespace: BorrowedFd<'_>,
        source: MountSource,
    ) -> MountWatch {
        let mut watch = MountWatch::new(file);
        if id != OWN_NAMESPACE {
            watch.use_ids(source, id, Some(namespace));
        }
        watch
    }

    fn new(file: File) -> MountWatch {
        let connections = FuseConnections::open();
        MountWatch { file, ids: None, events: None, connections, whole_read_due: true }
    }

    fn use_ids(&mut self, source: MountSource, id: u64, namespace: Option<BorrowedFd<'_>>) {
        if source >= MountSource::Ids {
            self.ids = UniqueIds::detect(id);
        }
        if source == MountSource::Events && self.ids.is_some() {
            self.events = namespace.and_then(|namespace| MountEvents::of(namespace).ok());
        }
    }

    /// Where changes are read from.
    #[must_use]
    pub fn source(&self) -> MountSource {
        match (&self.ids, &self.events) {
            (Some(ids), Some(_)) if ids.agrees() => MountSource::Events,
            (Some(ids), None) if ids.agrees() => MountSource::Ids,
            _ => MountSource::Text,
        }
    }

    /// Reads the whole table. Unchanged entries are those of `known`, the table so far. A mount that came or went meanwhile
    /// may be missing or not; its event follows.
    ///
    /// # Errors
    /// Those of `read(2)` and `listmount(2)`; `InvalidData` quoting an invalid line.
    pub fn read(&mut self, known: &MountTree) -> io::Result<MountTable> {
        self.whole_read_due = false;
        let table = match self.read_with_ids(known)? {
            Some(table) => table,
            None => self.read_text(known)?,
        };
        self.connections.count(&table);
        Ok(table)
    }

    /// Reads what has changed in the cheapest way that there is. The result equals that of [`MountWatch::read`], except as
    /// described at [`MountWatch::whole_read_due`].
    ///
    /// # Errors
    /// Same as [`MountWatch::read`].
    pub fn read_changes(&mut self, known: &MountTree) -> io::Result<TableUpdate> {
        let changes = match (&mut self.ids, &mut self.events) {
            (Some(ids), Some(events)) if ids.agrees() => match events.take() {
                None => None,
                Some(taken) => match ids.follow(&taken, known, &mut self.connections) {
                    Ok(followed) => followed.map(|(changes, done)| {
                        events.put_back(taken[done..].to_vec());
                        changes
                    }),
                    Err(error) => {
                        events.lose();
                        return Err(error);
                    }
                },
            },
            (Some(ids), None) if ids.agrees() => ids.compare(known, &mut self.connections)?,
            _ => None,
        };
        match changes {
            Some(changes) => {
                self.whole_read_due = true;
                Ok(TableUpdate::Changes(changes))
            }
            None => self.read(known).map(TableUpdate::Whole),
        }
    }

    /// Whether only changes were read last. That misses a remount (and without events a move at the same moment, or a new
    /// parent, when a mount below another was removed), so [`MountWatch::read`] should follow soon, but not for every event.
    #[must_use]
    pub fn whole_read_due(&self) -> bool {
        self.whole_read_due
    }

    /// Whether events were taken that [`MountWatch::read_changes`] did not have time for.
    #[must_use]
    pub fn has_pending_changes(&self) -> bool {
        self.events.as_ref().is_some_and(MountEvents::has_pending)
    }

    /// Returns what an event means. Must be called after each event. Never blocks.
    pub fn take_changes(&mut self) -> Changes {
        let table = match &mut self.events {
            // The other descriptor is ready at each change too, and also at those without an event: remounts.
            Some(events) if self.ids.as_ref().is_some_and(UniqueIds::agrees) => events.read(),
            Some(events) => {
                events.read();
                true
            }
            None => true,
        };
        self.whole_read_due = true;
        Changes { table, server_not_responding: false }
    }

    fn read_with_ids(&mut self, known: &MountTree) -> io::Result<Option<MountTable>> {
        for _ in 0..MAX_FIRST_PASSES {
            let Some(ids) = &mut self.ids else { return Ok(None) };
            if let Some(table) = ids.read_whole(&self.file, known, &mut self.connections)? {
                self.whole_read_due = ids.is_incomplete();
                return Ok(Some(table));
            }
        }
        self.ids = None;
        Ok(None)
    }

    /// Before Linux 5.8 a pass could *lose* an entry when another was unmounted meanwhile, so an entry is gone only if a
    /// second pass misses it too; one that went in between has an event pending.
    fn read_text(&mut self, known: &MountTree) -> io::Result<MountTable> {
        let first = self.read_text_once(known)?;
        if known.iter().all(|entry| first.get(entry.key).is_some()) {
            return Ok(first);
        }
        let second = self.read_text_once(known)?;
        Ok(MountTable::new(first.iter().chain(&second).cloned().collect()))
    }

    fn read_text_once(&mut self, known: &MountTree) -> io::Result<MountTable> {
        let mut mounts = Vec::with_capacity(known.len());
        self.connections.count(known);
        let connections = &mut self.connections;
        read_lines(&self.file, u64::MAX, |line| mounts.push(connections.entry_for(line, known)))?;
        Ok(MountTable::new(mounts))
    }
}

// The kernel keeps one change counter per open file, and each poll consumes a change: the descriptor must never be
// shared, because a duplicate in a second poll would take half of the events. Mountinfo is always readable, and only
// POLLPRI means a change. Registering consumes a pending change: read after it.
impl event::Source for MountWatch {
    fn register(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        SourceFd(&self.file.as_raw_fd()).register(registry, token, Interest::PRIORITY)?;
        match &self.events {
            Some(events) => {
                SourceFd(&events.as_fd().as_raw_fd()).register(registry, token, Interest::READABLE)
            }
            None => Ok(()),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.deregister(registry)?;
        self.register(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.file.as_raw_fd()).deregister(registry)?;
        match &self.events {
            Some(events) => SourceFd(&events.as_fd().as_raw_fd()).deregister(registry),
            None => Ok(()),
        }
    }
}

fn is_own(path: &Path) -> bool {
    let own = format!("/proc/{}/mountinfo", std::process::id());
    [OWN_MOUNT_TABLE, "/proc/thread-self/mountinfo", &own].iter().any(|name| path == Path::new(name))
}
