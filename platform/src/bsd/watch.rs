//! The mount table and the event that it changed, over the few calls that only the real systems have.

use super::events::meaning;
use super::record::{Flag, Record};
use super::table::table;
use crate::{Changes, MountTable};
use std::io;

/// Room for mounts that come between counting and listing.
const SPARE: usize = 16;
/// Attempts to list more mounts than there was room for, each with twice the room.
const ATTEMPTS: usize = 8;
/// More are not listed: a record takes 2 KiB, so this is 200 MiB, for a moment.
const MOST_MOUNTS: usize = 100_000;
/// Masks that are taken from the kernel's queue at once; it merges what was not taken, so there is rarely a second.
const MOST_EVENTS: usize = 64;

/// What only the real systems can do.
pub(crate) trait System {
    /// The names of the flags.
    fn flags(&self) -> &'static [Flag];
    /// How many mounts there are.
    fn count(&mut self) -> io::Result<usize>;
    /// The first `room` mounts at most; that there are more is not said.
    fn list(&mut self, room: usize) -> io::Result<Vec<Record>>;
    /// The next mask of the file systems' events, if one waits.
    fn event(&mut self) -> io::Result<Option<u32>>;
}

/// The mount table of this system, and what its kernel says of file systems.
#[derive(Debug)]
pub(crate) struct Watch<S> {
    pub(super) system: S,
    table: MountTable,
}

impl<S: System> Watch<S> {
    pub(super) fn over(system: S) -> Watch<S> {
        Watch { system, table: MountTable::default() }
    }

    /// A mount that is being unmounted is passed over by the list, also if the unmounting then fails: one that is
    /// missing is believed only if it is missing twice.
    pub(super) fn read(&mut self) -> io::Result<MountTable> {
        let mut read = table(list_all(&mut self.system)?, self.system.flags(), &self.table);
        if self.table.iter().any(|entry| read.get(entry.key).is_none()) {
            read = table(list_all(&mut self.system)?, self.system.flags(), &self.table);
        }
        self.table = read;
        Ok(self.table.clone())
    }

    /// Everything that the kernel has to say since the last call. After an error the table is read, to be safe.
    pub(super) fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for _ in 0..MOST_EVENTS {
            match self.system.event() {
                Ok(Some(mask)) => {
                    let more = meaning(mask);
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

/// A full list may be a cut one: it is asked for again with more room.
fn list_all(system: &mut impl System) -> io::Result<Vec<Record>> {
    let mut room = system.count()? + SPARE;
    for _ in 0..ATTEMPTS {
        if room > MOST_MOUNTS {
            break;
        }
        let records = system.list(room)?;
        if records.len() < room {
            return Ok(records);
        }
        room *= 2;
    }
    Err(io::Error::other(format!("there are more than {} mounts", room.min(MOST_MOUNTS))))
}

#[cfg(test)]
mod tests {
    use super::super::record::MACOS_FLAGS;
    use super::super::samples::{macos, record};
    use super::*;
    use std::collections::VecDeque;

    /// A system as it was told to be.
    #[derive(Default)]
    struct Told {
        /// What each listing finds; the last stays.
        lists: VecDeque<Vec<Record>>,
        counted: Option<usize>,
        events: VecDeque<io::Result<u32>>,
        listed: Vec<usize>,
    }

    impl System for Told {
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
            list.truncate(room); // without a word, as the kernel does
            Ok(list)
        }
        fn event(&mut self) -> io::Result<Option<u32>> {
            self.events.pop_front().transpose()
        }
    }

    fn lists(lists: impl IntoIterator<Item = Vec<Record>>) -> Watch<Told> {
        Watch::over(Told { lists: lists.into_iter().collect(), ..Told::default() })
    }

    fn many(n: i32) -> Vec<Record> {
        (0..n).map(|n| record(n + 1, &format!("/m{n}"))).collect()
    }

    #[test]
    fn a_list_that_was_cut_is_asked_for_again() {
        // A storm: far more when listed than when counted.
        let mut watch = lists([many(500)]);
        watch.system.counted = Some(3);
        assert_eq!(watch.read().unwrap().len(), 500);
        assert_eq!(watch.system.listed, [19, 38, 76, 152, 304, 608]);
        // Exactly full is as good as cut.
        let mut watch = lists([many(SPARE as i32)]);
        watch.system.counted = Some(0);
        assert_eq!(watch.read().unwrap().len(), SPARE);
        assert_eq!(watch.system.listed, [16, 32]);
    }

    #[test]
    fn a_list_without_end_is_an_error_and_not_all_the_memory() {
        let mut watch = lists([many(1)]);
        watch.system.counted = Some(MOST_MOUNTS);
        assert!(watch.read().unwrap_err().to_string().contains("more than 100000 mounts"));
        assert_eq!(watch.system.listed, [0usize; 0]);
    }

    #[test]
    fn a_mount_that_is_only_busy_being_unmounted_is_not_gone() {
        let without = |n: usize| {
            let mut list = macos();
            list.remove(n);
            list
        };
        let mut watch = lists([macos(), without(6), macos()]);
        let first = watch.read().unwrap();
        assert_eq!(watch.read().unwrap(), first, "missing once");
        let mut watch = lists([macos(), without(6), without(6)]);
        watch.read().unwrap();
        assert_eq!(watch.read().unwrap().len(), macos().len() - 1, "missing twice");
    }

    #[test]
    fn events_are_merged_and_an_error_means_to_look() {
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
            "a flood is left for later"
        );
    }
}
