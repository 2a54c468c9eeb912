//! The mount table: the text of `/proc/PID/mountinfo`. An empty line, which the kernel never writes, separates an earlier
//! from a later table.

use super::at;
use super::machine::Machine;
use mount_status_monitor::monitor::{Change, Input, diff};
use platform::{Mount, MountKey, MountSource, MountTable, MountTree, MountWatch, TableUpdate, mountinfo};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// The quoted part of an invalid line, escaped, and a few words.
const MAX_ERROR: usize = 4 * 160 + 64;

pub fn mount_table(input: &[u8]) {
    let separator = input.windows(2).position(|pair| pair == b"\n\n");
    let (before, after) = separator.map_or((input, input), |at| (&input[..at], &input[at + 2..]));
    let mounts = [before, after].map(check_text);
    check_watch(before, after, &mounts);
    let [Some(before), Some(after)] = mounts.map(|mounts| mounts.map(check_table)) else { return };
    check_diff(&before, &after);
    check_diff(&after, &before);
    assert_eq!(diff(&before, &before), []);
    let mut machine = Machine::new();
    for (ms, table) in [(1, before), (2, after)] {
        machine.handle(at(ms), Input::TableUpdate(TableUpdate::Whole(table)));
    }
    machine.finish(at(3));
}

/// Every line is one entry, or the text is refused.
fn check_text(text: &[u8]) -> Option<Vec<Mount>> {
    let lines: Vec<&[u8]> = match text.strip_suffix(b"\n").unwrap_or(text) {
        b"" => Vec::new(),
        text => text.split(|&byte| byte == b'\n').collect(),
    };
    match mountinfo::parse(text) {
        Ok(mounts) => {
            assert_eq!(mounts.len(), lines.len());
            lines.iter().zip(&mounts).for_each(|(line, mount)| check_line(line, mount));
            Some(mounts)
        }
        Err(error) => {
            let text = error.to_string();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(
                text.len() <= MAX_ERROR && text.chars().all(|c| c == '…' || (' '..='~').contains(&c)),
                "{text:?}"
            );
            let is_invalid = |line: &&[u8]| line.is_empty() || mountinfo::parse(line).is_err();
            assert!(lines.iter().any(is_invalid), "a table of valid lines is valid");
            None
        }
    }
}

fn check_line(line: &[u8], mount: &Mount) {
    assert_eq!(mountinfo::parse(line).expect("it is valid in a text"), std::slice::from_ref(mount));
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let numbers = format!("{} {} {}", mount.id, mount.parent, mount.device_number);
    let written = [fields[0], fields[1]].map(without_zeros).join(&b' ');
    assert!(numbers.as_bytes().starts_with(&written), "{numbers} of {}", line.escape_ascii());
    assert_eq!(mount.key, MountKey(u64::from(mount.id)));
    for (field, name) in [(fields[3], mount.root.as_os_str()), (fields[4], mount.mountpoint.as_os_str())] {
        assert!(!name.is_empty() && name.len() <= field.len());
        assert!(field.contains(&b'\\') || field == name.as_bytes());
    }
    let super_options = mount.super_options.as_bytes();
    assert_eq!(mount.options.as_bytes(), fields[5]);
    // The value of an option is part of the options, whatever its name.
    for name in ["addr", "user_id", ""] {
        let value = mount.super_option(name).map_or(0, OsStr::len);
        assert!(value <= super_options.len());
    }
    let _ = (mount.kind(), mount.read_only(), mount.fuse_owner(), mount.idle_timeout());

    // What the kernel would write for this entry is the same entry. Only the first flag `mand` is omitted.
    let mut rewritten = Vec::new();
    mountinfo::write_line(mount, &mut rewritten);
    let mut again = mountinfo::parse(&rewritten).expect("a written line is valid");
    if super_options.windows(5).any(|part| part == b",mand") {
        again[0].super_options.clone_from(&mount.super_options);
    }
    assert_eq!(again, std::slice::from_ref(mount));
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&digit| digit == b'0').count();
    &number[zeros.min(number.len() - 1)..]
}

/// Each key once, in order, with the last entry.
fn check_table(mounts: Vec<Mount>) -> MountTable {
    let mut expected = BTreeMap::new();
    for mount in &mounts {
        expected.insert(mount.key, mount.clone());
    }
    let table = MountTable::new(mounts.into_iter().map(Arc::new).collect());
    assert!(table.iter().map(|mount| &**mount).eq(expected.values()), "{table:?}");
    for (key, mount) in &expected {
        assert_eq!(table.get(*key).map(|found| &**found), Some(mount));
    }
    table
}

/// The changes lead from one table to the other.
fn check_diff(before: &MountTable, after: &MountTable) {
    let mut mounts: BTreeMap<MountKey, &Mount> = before.iter().map(|mount| (mount.key, &**mount)).collect();
    let changes = diff(before, after);
    for change in &changes {
        match change {
            Change::Unmounted(mount) => assert_eq!(mounts.remove(&mount.key), Some(&**mount)),
            Change::Mounted(mount) => assert_eq!(mounts.insert(mount.key, mount), None),
            Change::Remounted { before: old, after: new } | Change::Moved { before: old, after: new } => {
                assert_eq!(before.get(old.key), Some(old));
                assert!(old != new && old.device_number == new.device_number);
                assert!(mounts.insert(new.key, new).is_some());
            }
        }
    }
    assert!(mounts.values().copied().eq(after.iter().map(|mount| &**mount)), "{changes:?}");
}

thread_local! {
    static FILE: RefCell<File> = RefCell::new(
        tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile()).expect("there is room"),
    );
}

/// A watch of a file with these texts. It compares each line with the entry that it knows, without parsing its names.
fn check_watch(before: &[u8], after: &[u8], mounts: &[Option<Vec<Mount>>; 2]) {
    FILE.with_borrow_mut(|file| {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut watch = MountWatch::open(Path::new(&path), MountSource::default()).expect("the file is open");
        let mut known = MountTree::default();
        for (text, mounts) in [(before, &mounts[0]), (before, &mounts[0]), (after, &mounts[1])] {
            file.set_len(0).and_then(|()| file.write_all_at(text, 0)).expect("there is room");
            let read = watch.read(&known);
            assert_eq!(read.is_ok(), mounts.is_some());
            let Ok(table) = read else { continue };
            let expected = MountTable::new(mounts.iter().flatten().cloned().map(Arc::new).collect());
            assert_eq!(table, expected);
            for mount in &table {
                let same = known.get(mount.key).filter(|old| **old == *mount);
                // Of two entries with one key, the first may have replaced the known one.
                let is_unique = mounts.iter().flatten().filter(|other| other.key == mount.key).count() == 1;
                assert!(
                    !is_unique || same.is_none_or(|same| Arc::ptr_eq(same, mount)),
                    "{mount:?} is unchanged"
                );
            }
            known = MountTree::new(&table);
        }
    });
}
