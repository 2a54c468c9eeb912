//! What makes a mount busy, which mount a path reaches, and that watching never does the former.

#![cfg(all(target_os = "linux", not(feature = "interval")))]

mod common;

use common::{Watched, at, has_unique_ids, in_namespace, skip, statx_mount, tmpfs, tmpfs_on, unmount};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a probe never keeps a descriptor.
#[test]
fn a_held_path_descriptor_makes_unmounting_fail() {
    in_namespace("a_held_path_descriptor_makes_unmounting_fail", |dir| {
        let path = tmpfs(dir.join("a"));
        let held = open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        assert_eq!(umount2(&path, MntFlags::empty()), Err(Errno::EBUSY));
        drop(held);
        unmount(&path);
    });
}

#[test]
fn a_watch_keeps_nothing_busy() {
    in_namespace("a_watch_keeps_nothing_busy", |dir| {
        let path = tmpfs(dir.join("a"));
        let mut watched = Watched::new();
        for _ in 0..50 {
            watched.watch.read().unwrap();
            watched.watch.refresh().unwrap();
            statx_mount(&path);
            unmount(&path);
            tmpfs_on(&path);
        }
    });
}

#[test]
fn reading_at_the_same_time_keeps_nothing_busy() {
    in_namespace("reading_at_the_same_time_keeps_nothing_busy", |dir| {
        let path = tmpfs(dir.join("a"));
        let mut watched = Watched::new();
        let over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    watched.watch.refresh().unwrap();
                    watched.watch.read().unwrap();
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
            over.store(true, Ordering::Relaxed);
            assert_eq!(busy, 0);
        });
    });
}

#[test]
fn statx_tells_the_key_of_the_mount_that_a_path_reaches() {
    in_namespace("statx_tells_the_key_of_the_mount_that_a_path_reaches", |dir| {
        let path = tmpfs(dir.join("a"));
        let mut watched = Watched::new();
        let table = watched.watch.read().unwrap();
        if !has_unique_ids(&table) {
            return skip("statx_tells_the_key_of_the_mount_that_a_path_reaches", "no unique mount ids");
        }
        let below = at(&table, &path).unwrap().key;
        assert_eq!(statx_mount(&path), Some(below));

        tmpfs_on(&path);
        let table = watched.watch.refresh().unwrap();
        let above = at(&table, &path).unwrap().key;
        assert!(above != below && table.get(below).is_some(), "both are in the table");
        assert_eq!(statx_mount(&path), Some(above), "an over-mounted path reaches the upper one");

        unmount(&path);
        assert_eq!(statx_mount(&path), Some(below));
    });
}

#[test]
fn a_mount_below_a_covered_directory_is_out_of_reach_but_in_the_table() {
    in_namespace("a_mount_below_a_covered_directory_is_out_of_reach_but_in_the_table", |dir| {
        let parent = tmpfs(dir.join("parent"));
        let path = tmpfs(parent.join("a"));
        let mut watched = Watched::new();
        tmpfs_on(&parent);
        let table = watched.watch.refresh().unwrap();
        assert!(at(&table, &path).is_some());
        assert_eq!(statx_mount(&path), None);
    });
}
