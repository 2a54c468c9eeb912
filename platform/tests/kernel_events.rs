//! What the watch relies on: which changes of the mount table cause an event.

#![cfg(all(target_os = "linux", not(feature = "interval")))]

mod common;

use common::{Watched, at, in_namespace, mount_flags, tmpfs, unmount};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::mount::{MntFlags, MsFlags, umount2};
use platform::{MountSource, MountWatch};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn mount_and_unmount_cause_an_event() {
    in_namespace(|dir| {
        let mut watched = Watched::new();
        let a = tmpfs(dir.join("a"));
        watched.expect_event("mount");
        assert!(at(&watched.refresh(), &a).is_some());
        watched.expect_none("refresh");

        unmount(&a);
        watched.expect_event("umount");
        assert!(at(&watched.refresh(), &a).is_none());
        watched.expect_none("refresh");
    });
}

#[test]
fn lazy_unmount_of_a_busy_mount_causes_an_event() {
    in_namespace(|dir| {
        let a = tmpfs(dir.join("a"));
        let _busy = fs::File::create(a.join("file")).unwrap();
        let mut watched = Watched::new();
        umount2(&a, MntFlags::MNT_DETACH).unwrap();
        watched.expect_event("umount -l");
        assert!(at(&watched.refresh(), &a).is_none());
    });
}

#[test]
fn move_causes_an_event_and_keeps_the_key() {
    in_namespace(|dir| {
        let (a, b) = (tmpfs(dir.join("a")), dir.join("b"));
        fs::create_dir(&b).unwrap();
        let mut watched = Watched::new();
        let key = at(&watched.read(), &a).unwrap().key;
        mount_flags(&a, &b, MsFlags::MS_MOVE);
        watched.expect_event("move");
        let table = watched.refresh();
        assert!(at(&table, &a).is_none());
        assert_eq!(at(&table, &b).unwrap().key, key);
        let is_read_alone = watched.watch.source() == MountSource::Events;
        assert_eq!(watched.watch.whole_read_due(), is_read_alone, "else no id changed, so the text was read");
    });
}

#[test]
fn remount_causes_an_event() {
    in_namespace(|dir| {
        let a = tmpfs(dir.join("a"));
        let mut watched = Watched::new();
        for (what, flags) in [
            ("remount ro", MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY),
            ("remount rw", MsFlags::MS_REMOUNT),
            ("bind remount ro", MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY),
        ] {
            mount_flags(Path::new("test"), &a, flags);
            watched.expect_event(what);
            let entry = at(&watched.refresh(), &a).unwrap();
            assert_eq!(entry.read_only(), flags.contains(MsFlags::MS_RDONLY), "{what}");
        }
    });
}

#[test]
fn several_changes_before_the_wait_cause_one_event() {
    in_namespace(|dir| {
        let mut watched = Watched::new();
        let all = ["a", "b", "c"].map(|name| tmpfs(dir.join(name)));
        watched.expect_event("three mounts");
        watched.expect_none("the one event");
        let table = watched.refresh();
        assert!(all.iter().all(|path| at(&table, path).is_some()));
    });
}

#[test]
fn make_shared_causes_no_event() {
    in_namespace(|dir| {
        let a = tmpfs(dir.join("a"));
        let mut watched = Watched::new();
        mount_flags(Path::new("none"), &a, MsFlags::MS_SHARED);
        watched.expect_none("make-shared");
    });
}

/// The reason why the daemon also reads the whole table without an event.
#[test]
fn rename_above_a_mount_causes_no_event_but_changes_its_path() {
    in_namespace(|dir| {
        fs::create_dir(dir.join("old")).unwrap();
        tmpfs(dir.join("old/a"));
        let mut watched = Watched::new();
        fs::rename(dir.join("old"), dir.join("new")).unwrap();
        watched.expect_none("rename");
        let table = watched.read();
        assert!(at(&table, &dir.join("old/a")).is_none());
        assert!(at(&table, &dir.join("new/a")).is_some());
    });
}

/// The reason why the first read must follow the registration.
#[test]
fn registering_consumes_a_pending_change() {
    in_namespace(|dir| {
        let watch = MountWatch::open(Path::new("/proc/self/mountinfo"), MountSource::Ids).unwrap();
        tmpfs(dir.join("a"));
        let mut watched = Watched::of(watch);
        watched.expect_none("mount, register");

        tmpfs(dir.join("b"));
        watched.watch.reregister(watched.poll.registry(), Token(0), Interest::READABLE).unwrap();
        watched.expect_none("mount, reregister");

        tmpfs(dir.join("c"));
        watched.expect_event("a mount after both");
    });
}

/// The reason why the descriptor must never be shared with a second poll.
#[test]
fn only_one_of_two_polls_of_an_open_file_gets_the_event() {
    in_namespace(|dir| {
        let file = fs::File::open("/proc/self/mountinfo").unwrap();
        let copy = file.try_clone().unwrap();
        let polls = [&file, &copy].map(|file| {
            let poll = Poll::new().unwrap();
            SourceFd(&file.as_raw_fd()).register(poll.registry(), Token(0), Interest::PRIORITY).unwrap();
            poll
        });
        tmpfs(dir.join("a"));
        let notified = polls.map(|mut poll| {
            let mut events = Events::with_capacity(4);
            poll.poll(&mut events, Some(Duration::from_millis(200))).unwrap();
            !events.is_empty()
        });
        assert_eq!(notified.iter().filter(|notified| **notified).count(), 1, "{notified:?}");
    });
}

#[test]
fn table_of_another_process_causes_events_and_has_no_unique_ids() {
    in_namespace(|dir| {
        let mut other = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its echo proves that it has entered its namespace.
        other.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        other.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();

        let path = format!("/proc/{}/mountinfo", other.id());
        let mut watched = Watched::of(MountWatch::open(Path::new(&path), MountSource::Events).unwrap());
        assert!(watched.read().iter().all(|mount| mount.key.0 == u64::from(mount.id)));

        tmpfs(dir.join("ours"));
        watched.expect_none("a mount in our namespace");
        let theirs = dir.join("theirs");
        fs::create_dir(&theirs).unwrap();
        let done = Command::new("nsenter")
            .arg(format!("--mount=/proc/{}/ns/mnt", other.id()))
            .args(["mount", "-t", "tmpfs", "test"])
            .arg(&theirs)
            .status();
        assert!(done.unwrap().success());
        watched.expect_event("a mount in the other namespace");
        assert!(at(&watched.refresh(), &theirs).is_some());

        drop(other.stdin.take());
        other.wait().unwrap();
        assert!(!watched.read().is_empty(), "the open file keeps the namespace");
    });
}
