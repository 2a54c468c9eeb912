//! What is read of single changes against the whole table, over random operations on a real kernel.
#![cfg(all(target_os = "linux", not(feature = "interval")))]

mod common;

use common::{Watched, in_namespace, in_namespace_for, mount_flags, mount_source, skip, tmpfs_on};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use platform::{Mount, MountSource, MountTable, MountTree, MountWatch, TableUpdate};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// `MSM_TEST_OPERATIONS` sets another number: 100,000 take minutes.
const OPERATIONS: usize = 5_000;
/// What has changed is read after 1 to this many operations.
const MAX_AT_ONCE: usize = 4;
/// Shared mounts copy each other's mounts, which grows without limit: with more mounts than this, all are unmounted.
const MAX_MOUNTS: usize = 150;
/// Directories on which is mounted.
const NAMES: [&str; 4] = ["a", "b", "c d", "e"];

/// A linear congruential generator (Knuth's MMIX), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// A directory below the root with up to three levels, some of them in mounts.
fn place(random: &mut Random, root: &Path) -> PathBuf {
    let depth = 1 + random.below(3);
    (0..depth).fold(root.to_path_buf(), |path, _| path.join(NAMES[random.below(NAMES.len())]))
}

/// One random operation; it may fail, for example because a mount is busy or cannot be moved. Returns whether it can change
/// options, of which the kernel has no event.
fn change(random: &mut Random, root: &Path) -> bool {
    let (path, other) = (place(random, root), place(random, root));
    for path in [&path, &other] {
        let _ = fs::create_dir_all(path);
    }
    let none = None::<&str>;
    let flags = |flags| mount(none, &path, none, flags, none);
    let to_other = |flags| mount(Some(&path), &other, none, flags, none);
    let kind = random.below(19);
    let _ = match kind {
        0..=4 => mount(Some("test"), &path, Some("tmpfs"), MsFlags::empty(), none),
        5 | 6 => umount2(&path, MntFlags::empty()),
        7 => umount2(&path, MntFlags::MNT_DETACH),
        8 => to_other(MsFlags::MS_MOVE),
        9 => to_other(MsFlags::MS_BIND),
        10 => to_other(MsFlags::MS_BIND | MsFlags::MS_REC),
        11 => flags(MsFlags::MS_SHARED),
        12 => flags(MsFlags::MS_PRIVATE),
        13 => flags(MsFlags::MS_SLAVE),
        14 | 15 => {
            common::move_beneath(&path, &other);
            Ok(())
        }
        16 => {
            common::attach_copies(&path, &other);
            Ok(())
        }
        17 => flags(MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY),
        _ => flags(MsFlags::MS_REMOUNT | MsFlags::MS_BIND),
    };
    kind >= 17
}

/// Unmounts all if there are too many.
fn limit(root: &Path) {
    let text = fs::read("/proc/self/mountinfo").expect("read the mount table");
    if text.iter().filter(|&&byte| byte == b'\n').count() > MAX_MOUNTS {
        umount2(root, MntFlags::MNT_DETACH).expect("unmount");
        tmpfs_on(root);
    }
}

/// The entries that differ. Without events, only their keys are compared.
fn difference(known: &MountTree, expected: &MountTable, is_exact: bool, has_options: bool) -> Option<String> {
    let differs = |mount: &Mount, other: Option<&Arc<Mount>>| {
        other.is_none_or(|other| {
            let options = if has_options { &other.options } else { &mount.options };
            is_exact && *mount != Mount { options: options.clone(), ..(**other).clone() }
        })
    };
    let wrong: Vec<_> = known.iter().filter(|mount| differs(mount, expected.get(mount.key))).collect();
    let missing: Vec<_> = expected.iter().filter(|mount| differs(mount, known.get(mount.key))).collect();
    (!wrong.is_empty() || !missing.is_empty()).then(|| format!("{wrong:?} instead of {missing:?}"))
}

/// Reads what has changed. Returns how often changes were read, and how often the whole table.
fn follow(watched: &mut Watched) -> (usize, usize) {
    let (mut changes, mut whole) = (0, 0);
    // On a busy machine, there may be no time for all events at once.
    let mut has_changed = watched.watch.take_changes().table;
    while has_changed {
        match watched.watch.read_changes(&watched.known).expect("read changes") {
            TableUpdate::Whole(table) => {
                whole += 1;
                watched.known = MountTree::new(&table);
            }
            TableUpdate::Changes(update) => {
                changes += 1;
                common::apply(&mut watched.known, update);
            }
        }
        has_changed = watched.watch.has_pending_changes();
    }
    (changes, whole)
}

#[test]
fn changes_lead_to_the_same_table_as_a_whole_read() {
    let operations =
        std::env::var("MSM_TEST_OPERATIONS").map_or(OPERATIONS, |n| n.parse().expect("a number"));
    let time_limit = Duration::from_secs(90 + operations as u64 / 100);
    in_namespace_for(time_limit, |root| {
        if mount_source() == MountSource::Text {
            return skip("the mount source is forced to the text, which has no changes");
        }
        let mut watched = Watched::new();
        let is_exact = watched.watch.source() == MountSource::Events;
        let mut random = Random(operations as u64);
        let (mut done, mut compared, mut changes, mut whole) = (0, 0, 0, 0);
        let mut has_options = true;
        while done < operations {
            for _ in 0..=random.below(MAX_AT_ONCE) {
                has_options &= !change(&mut random, root);
                limit(root);
                done += 1;
            }
            if random.below(16) == 0 {
                watched.read(); // while there are events
                has_options = true;
            }
            let read = follow(&mut watched);
            (changes, whole) = (changes + read.0, whole + read.1);
            if is_exact && !has_options && random.below(2) == 0 {
                watched.read();
                has_options = true;
            }
            compared += watched.known.len();
            let expected = MountTable::read().expect("read");
            let difference = difference(&watched.known, &expected, is_exact, has_options);
            assert_eq!(difference, None, "after {done} operations");
            if !is_exact {
                watched.read(); // the only way to find moves
            }
        }
        println!(
            "{done} operations, {compared} mounts compared: {changes} times changes were read, {whole} times the whole table"
        );
        assert!(changes > operations / 8 && (!is_exact || whole == 0), "{changes}, {whole}");
    });
}

/// A watch that reads the kernel's events of mounts; otherwise the test is skipped.
fn watched_by_events() -> Option<Watched> {
    let watched = Watched::new();
    if watched.watch.source() == MountSource::Events {
        return Some(watched);
    }
    skip("no events of mounts: they need Linux 6.15 and CAP_SYS_ADMIN, and no other forced source");
    None
}

/// The mount on top has no event when another one is put beneath it, and what is below a moved mount has none.
#[test]
fn mounts_without_an_event_are_read_with_their_neighbours() {
    in_namespace(|root| {
        let Some(mut watched) = watched_by_events() else { return };
        let at = |name: &str| {
            let path = root.join(name);
            fs::create_dir_all(&path).expect("mkdir");
            path
        };
        let (from, to) = (at("from"), at("to"));
        tmpfs_on(&from);
        let inner = at("from/inner");
        tmpfs_on(&inner);
        tmpfs_on(&at("from/inner/deep"));
        watched.refresh();
        mount_flags(&from, &to, MsFlags::MS_MOVE);
        assert_eq!(watched.refresh(), MountTable::read().expect("read"), "a moved tree");
        let (below, bottom) = (at("below"), at("bottom"));
        tmpfs_on(&below);
        tmpfs_on(&bottom);
        if !common::move_beneath(&bottom, &below) {
            return skip("mounts cannot be put beneath others (Linux 6.5)");
        }
        assert_eq!(watched.refresh(), MountTable::read().expect("read"), "a mount beneath another");
        umount2(&below, MntFlags::empty()).expect("unmount the one on top");
        assert_eq!(watched.refresh(), MountTable::read().expect("read"), "the mount on top is gone");
    });
}

#[test]
fn mounts_that_are_gone_before_they_are_read_are_counted() {
    in_namespace(|root| {
        let Some(mut watched) = watched_by_events() else { return };
        for _ in 0..3 {
            tmpfs_on(root);
            umount2(root, MntFlags::empty()).expect("unmount");
        }
        assert!(watched.watch.take_changes().table);
        let update = watched.watch.read_changes(&watched.known).expect("read changes");
        let TableUpdate::Changes(update) = update else { panic!("the whole table was read") };
        assert_eq!((update.changes.len(), update.missed), (0, 3));
    });
}

/// The kernel's queue is limited.
#[test]
fn lost_events_cause_a_whole_read() {
    in_namespace(|root| {
        let Some(mut watched) = watched_by_events() else { return };
        for _ in 0..8_500 {
            tmpfs_on(root);
            umount2(root, MntFlags::empty()).expect("unmount");
        }
        tmpfs_on(root);
        assert!(watched.watch.take_changes().table);
        let update = watched.watch.read_changes(&watched.known).expect("read changes");
        let TableUpdate::Whole(table) = update else { panic!("events were lost") };
        assert_eq!(table, MountTable::read().expect("read"));
        watched.known = MountTree::new(&table);
        umount2(root, MntFlags::empty()).expect("unmount");
        assert_eq!(watched.refresh(), MountTable::read().expect("read"), "single changes are read again");
    });
}

#[test]
fn source_can_be_forced() {
    let source = |source| {
        let mut watch = MountWatch::open(Path::new("/proc/self/mountinfo"), source).expect("open");
        watch.read(&MountTree::default()).expect("read");
        watch.source()
    };
    assert_eq!(source(MountSource::Text), MountSource::Text);
    assert!(source(MountSource::Ids) <= MountSource::Ids);
}
