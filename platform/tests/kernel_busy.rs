//! What makes a mount busy (watching does not), and which mount a path leads to.

#![cfg(all(target_os = "linux", not(feature = "interval")))]

mod common;

use common::{
    Watched, at, has_unique_ids, in_namespace, skip_without_unique_ids, statx_mount, tmpfs, tmpfs_on, unmount,
};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use std::sync::atomic::{AtomicBool, Ordering};

/// The reason why a probe never keeps a descriptor.
#[test]
fn open_path_descriptor_makes_unmount_fail() {
    in_namespace(|dir| {
        let path = tmpfs(dir.join("a"));
        let descriptor = open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        assert_eq!(umount2(&path, MntFlags::empty()), Err(Errno::EBUSY));
        drop(descriptor);
        unmount(&path);
    });
}

#[test]
fn watch_keeps_no_mount_busy() {
    in_namespace(|dir| {
        let path = tmpfs(dir.join("a"));
        let mut watched = Watched::new();
        for _ in 0..50 {
            watched.read();
            watched.refresh();
            statx_mount(&path);
            unmount(&path);
            tmpfs_on(&path);
        }
    });
}

#[test]
fn concurrent_reading_keeps_no_mount_busy() {
    in_namespace(|dir| {
        let path = tmpfs(dir.join("a"));
        let mut watched = Watched::new();
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    watched.refresh();
                    watched.read();
                }
            });
            let busy = (0..1_000).filter(|_| {
                let result = umount2(&path, MntFlags::empty());
                if result.is_ok() {
                    tmpfs_on(&path);
                }
                result.is_err()
            });
            let busy = busy.count();
            stop.store(true, Ordering::Relaxed);
            assert_eq!(busy, 0);
        });
    });
}

#[test]
fn statx_returns_the_key_of_the_mount_that_a_path_leads_to() {
    in_namespace(|dir| {
        let path = tmpfs(dir.join("a"));
        let mut watched = Watched::new();
        let table = watched.read();
        if !has_unique_ids(&table) {
            return skip_without_unique_ids();
        }
        let below = at(&table, &path).unwrap().key;
        assert_eq!(statx_mount(&path), Some(below));

        tmpfs_on(&path);
        let table = watched.refresh();
        let above = at(&table, &path).unwrap().key;
        assert!(above != below && table.get(below).is_some(), "both are in the table");
        assert_eq!(statx_mount(&path), Some(above), "the path leads to the upper mount");

        unmount(&path);
        assert_eq!(statx_mount(&path), Some(below));
    });
}

#[test]
fn mount_below_a_covered_directory_is_unreachable_but_in_the_table() {
    in_namespace(|dir| {
        let parent = tmpfs(dir.join("parent"));
        let path = tmpfs(parent.join("a"));
        let mut watched = Watched::new();
        tmpfs_on(&parent);
        let table = watched.refresh();
        assert!(at(&table, &path).is_some());
        assert_eq!(statx_mount(&path), None);
    });
}
