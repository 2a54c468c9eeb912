//! The mount table and its events, from the few calls that only the real systems have.

use super::events::changes_of;
use super::record::{Flag, Record};
use super::table::table;
use crate::{Changes, MountTable, MountTree};
use std::io;

/// Room for mounts that are made between counting and listing.
const SPARE_ROOM: usize = 16;
/// Attempts to list all mounts, each with twice the room.
const MAX_ATTEMPTS: usize = 8;
/// A record takes 2 KiB, so this is at most 200 MiB, for a short time.
const MAX_MOUNTS: usize = 100_000;
/// Events read from the kernel's queue at once; the kernel merges pending ones, so there is rarely a second.
const MAX_EVENTS: usize = 64;

/// The calls that only the real systems have.
pub(crate) trait System {
    /// The names of the flags.
    fn flags(&self) -> &'static [Flag];
    /// The number of mounts.
    fn count(&mut self) -> io::Result<usize>;
    /// At most `room` mounts. The result does not show whether there are more.
    fn list(&mut self, room: usize) -> io::Result<Vec<Record>>;
    /// The next pending event mask.
    fn event(&mut self) -> io::Result<Option<u32>>;
}

/// The mount table of this system, and its events.
#[derive(Debug)]
pub(crate) struct Watch<S> {
    pub(super) system: S,
}

impl<S: System> Watch<S> {
    pub(super) fn new(system: S) -> Watch<S> {
        Watch { system }
    }

    /// The list omits a mount while it is being unmounted, even if that then fails. So a mount is only gone if it is
    /// missing twice.
    pub(super) fn read(&mut self, known: &MountTree) -> io::Result<MountTable> {
        let read = table(list_all(&mut self.system)?, self.system.flags(), known);
        if known.iter().all(|entry| read.get(entry.key).is_some()) {
            return Ok(read);
        }
        Ok(table(list_all(&mut self.system)?, self.system.flags(), known))
    }

    /// All changes since the last call. After an error the table must be read.
    pub(super) fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for _ in 0..MAX_EVENTS {
            match self.system.event() {
                Ok(Some(mask)) => {
                    let more = changes_of(mask);
                    changes.table |= more.table;
                    changes.server_not_responding |= more.server_not_responding;
                }
                Ok(None) => return changes,
                Err(_) => break,
            }
        }
        Changes { table: true, ..changes }
    }
}

/// A full list may be truncated: it is requested again with more room.
fn list_all(system: &mut impl System) -> io::Result<Vec<Record>> {
    let mut room = system.count()? + SPARE_ROOM;
    for _ in 0..MAX_ATTEMPTS {
        if room > MAX_MOUNTS {
            break;
        }
        let records = system.list(room)?;
        if records.len() < room {
            return Ok(records);
        }
        room *= 2;
    }
    Err(io::Error::other(format!("there are more than {} mounts", room.min(MAX_MOUNTS))))
}

#[cfg(test)]
mod tests {
    use super::super::record::MACOS_FLAGS;
    use super::super::samples::{macos, record};
    use super::*;
    use std::collections::VecDeque;

    /// A simulated system.
    #[derive(Default)]
    struct TestSystem {
        /// The results of the listings; the last is repeated.
        lists: VecDeque<Vec<Record>>,
        counted: Option<usize>,
        events: VecDeque<io::Result<u32>>,
        listed: Vec<usize>,
    }

    impl System for TestSystem {
        fn flags(&self) -> &'static [Flag] {
            &MACOS_FLAGS
        }
        fn count(&mut self) -> io::Result<usize> {
            Ok(self.counted.unwrap_or(self.lists[0].len()))
        }
        fn list(&mut self, room: usize) -> io::Result<Vec<Record>> {
            self.listed.push(room);
            let mut list = self.lists[0].clone();
            if self.lists.len() > 1 {
                self.lists.pop_front();
            }
            list.truncate(room); // without an error, like the kernel
            Ok(list)
        }
        fn event(&mut self) -> io::Result<Option<u32>> {
            self.events.pop_front().transpose()
        }
    }

    fn lists(lists: impl IntoIterator<Item = Vec<Record>>) -> Watch<TestSystem> {
        Watch::new(TestSystem { lists: lists.into_iter().collect(), ..TestSystem::default() })
    }

    fn many(n: i32) -> Vec<Record> {
        (0..n).map(|n| record(n + 1, &format!("/m{n}"))).collect()
    }

    #[test]
    fn truncated_list_is_requested_again() {
        // Far more mounts when listed than when counted.
        let mut watch = lists([many(500)]);
        watch.system.counted = Some(3);
        assert_eq!(watch.read(&MountTree::default()).unwrap().len(), 500);
        assert_eq!(watch.system.listed, [19, 38, 76, 152, 304, 608]);
        // A full list may be truncated.
        let mut watch = lists([many(SPARE_ROOM as i32)]);
        watch.system.counted = Some(0);
        assert_eq!(watch.read(&MountTree::default()).unwrap().len(), SPARE_ROOM);
        assert_eq!(watch.system.listed, [16, 32]);
    }

    #[test]
    fn too_many_mounts_are_an_error() {
        let mut watch = lists([many(1)]);
        watch.system.counted = Some(MAX_MOUNTS);
        assert!(
            watch.read(&MountTree::default()).unwrap_err().to_string().contains("more than 100000 mounts")
        );
        assert_eq!(watch.system.listed, [0usize; 0]);
    }

    #[test]
    fn mount_missing_once_is_not_gone() {
        let without = |n: usize| {
            let mut list = macos();
            list.remove(n);
            list
        };
        let mut watch = lists([macos(), without(6), macos()]);
        let first = watch.read(&MountTree::default()).unwrap();
        let known = MountTree::new(&first);
        assert_eq!(watch.read(&known).unwrap(), first, "missing once");
        let mut watch = lists([without(6), without(6)]);
        assert_eq!(watch.read(&known).unwrap().len(), macos().len() - 1, "missing twice");
    }

    #[test]
    fn events_are_merged_and_an_error_is_a_change() {
        let mut watch = lists([macos()]);
        assert_eq!(watch.take_changes(), Changes::default());
        watch.system.events = VecDeque::from([Ok(0x8), Ok(0x1)]);
        assert_eq!(watch.take_changes(), Changes { table: true, server_not_responding: true });
        assert_eq!(watch.take_changes(), Changes::default());
        watch.system.events = VecDeque::from([Ok(0x1), Err(io::ErrorKind::Other.into())]);
        assert_eq!(watch.take_changes(), Changes { table: true, server_not_responding: true });
        watch.system.events = (0..100).map(|_| Ok(0x1)).collect();
        assert_eq!(
            watch.take_changes(),
            Changes { table: true, server_not_responding: true },
            "the rest is read later"
        );
    }
}
