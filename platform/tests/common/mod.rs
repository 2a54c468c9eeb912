//! Runs tests that mount in their own namespaces; where that is not possible, they are skipped.
#![allow(dead_code, unused_imports)] // no test binary uses all of it

#[path = "../../../tests/common/isolation.rs"]
mod isolation;
#[path = "../../../tests/common/process.rs"]
mod process;

use isolation::{DEFAULT_LIMIT, run_in_namespaces, skip_test, test_name};
use mio::event::Source;
use mio::{Events, Interest, Poll, Token};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use platform::{
    Mount, MountKey, MountSource, MountTable, MountTree, MountWatch, TableChange, TableChanges, TableUpdate,
};
use process::Process;
use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// For an expected event on a busy machine.
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unexpected event is waited for.
const QUIET_TIME: Duration = Duration::from_millis(100);

/// The test that runs in this process inside the namespaces.
static RUNNING: OnceLock<&str> = OnceLock::new();

/// Runs `body`, a closure in the calling test, in new mount and process namespaces with an empty tmpfs.
pub(crate) fn in_namespace<F: FnOnce(&Path)>(body: F) {
    in_namespace_for(DEFAULT_LIMIT, body);
}

/// The same for a test that takes longer.
pub(crate) fn in_namespace_for<F: FnOnce(&Path)>(limit: Duration, body: F) {
    let name = test_name::<F>();
    run_in_namespaces(limit, name, false, |root| {
        RUNNING.get_or_init(|| name);
        tmpfs_on(root);
        body(root);
    });
}

/// Reports that the test inside the namespaces is skipped.
pub(crate) fn skip(reason: &str) {
    skip_test(RUNNING.get().unwrap_or(&"?"), reason);
}

/// The same because there are no unique ids.
pub(crate) fn skip_without_unique_ids() {
    skip(match mount_source() {
        MountSource::Text => "the mount source is forced to the text, which has no unique mount ids",
        MountSource::Ids | MountSource::Events => "this kernel has no unique mount ids",
    });
}

/// Makes the directory and mounts an empty tmpfs on it.
pub(crate) fn tmpfs(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref().to_path_buf();
    fs::create_dir(&path).expect("mkdir");
    tmpfs_on(&path);
    path
}

/// Mounts an empty tmpfs on an existing directory.
pub(crate) fn tmpfs_on(path: &Path) {
    tmpfs_with(path, b"test", MsFlags::empty(), "");
}

/// Mounts a tmpfs from this device with these options.
pub(crate) fn tmpfs_with(path: &Path, device: &[u8], flags: MsFlags, options: &str) {
    let device = CString::new(device).expect("no NUL");
    mount(Some(device.as_c_str()), path, Some("tmpfs"), flags, Some(options)).expect("mount");
}

/// A bind, a move, or a change of the flags of `to`.
pub(crate) fn mount_flags(from: &Path, to: &Path, flags: MsFlags) {
    mount(Some(from), to, None::<&str>, flags, None::<&str>).expect("mount");
}

/// Plain unmount.
pub(crate) fn unmount(path: &Path) {
    umount2(path, MntFlags::empty()).expect("umount");
}

/// The source of changes that `MSM_TEST_MOUNT_SOURCE` names, or the best.
pub(crate) fn mount_source() -> MountSource {
    let name = std::env::var("MSM_TEST_MOUNT_SOURCE").unwrap_or_default();
    MountSource::ALL.into_iter().find(|source| source.name() == name).unwrap_or_default()
}

/// A registered watch of a table, and the table after its first read.
pub(crate) struct Watched {
    pub(crate) watch: MountWatch,
    pub(crate) poll: Poll,
    pub(crate) known: MountTree,
}

impl Watched {
    pub(crate) fn new() -> Watched {
        let watch = MountWatch::open(Path::new("/proc/self/mountinfo"), mount_source()).expect("open");
        let mut watched = Watched::of(watch);
        watched.read();
        watched
    }

    /// Without a first read.
    pub(crate) fn of(mut watch: MountWatch) -> Watched {
        let poll = Poll::new().expect("poll");
        watch.register(poll.registry(), Token(0), Interest::PRIORITY).expect("register");
        Watched { watch, poll, known: MountTree::default() }
    }

    pub(crate) fn read(&mut self) -> MountTable {
        let table = self.watch.read(&self.known).expect("read");
        self.known = MountTree::new(&table);
        table
    }

    /// Reads what has changed.
    pub(crate) fn refresh(&mut self) -> MountTable {
        if !self.watch.take_changes().table {
            return self.read();
        }
        loop {
            match self.watch.read_changes(&self.known).expect("read changes") {
                TableUpdate::Whole(table) => self.known = MountTree::new(&table),
                TableUpdate::Changes(changes) => apply(&mut self.known, changes),
            }
            // On a busy machine, there may be no time for all events at once.
            if !self.watch.has_pending_changes() {
                return self.known.to_table();
            }
        }
    }

    pub(crate) fn expect_event(&mut self, after: &str) {
        assert!(self.event_within(EVENT_TIMEOUT), "no event after {after}");
    }

    pub(crate) fn expect_none(&mut self, after: &str) {
        assert!(!self.event_within(QUIET_TIME), "an event after {after}");
    }

    fn event_within(&mut self, time: Duration) -> bool {
        let mut events = Events::with_capacity(4);
        self.poll.poll(&mut events, Some(time)).expect("poll");
        events.iter().any(mio::event::Event::is_priority)
    }

    /// Refreshes, checks that this was a fast reading, and compares it with a full one.
    pub(crate) fn refresh_fast(&mut self) -> MountTable {
        let fast = self.refresh();
        assert!(self.watch.whole_read_due(), "it was not a fast reading");
        let full = self.read();
        for (fast, full) in fast.iter().zip(&full) {
            assert_eq!(fast, full, "statmount and mountinfo differ");
        }
        assert_eq!(fast.len(), full.len());
        full
    }
}

pub(crate) fn apply(known: &mut MountTree, changes: TableChanges) {
    for change in changes.changes {
        match change {
            TableChange::Present(mount) => known.insert(mount),
            TableChange::Gone(key) => known.remove(key),
        };
    }
}

/// Moves a mount beneath the one at `to`. False if the kernel cannot.
pub(crate) fn move_beneath(from: &Path, to: &Path) -> bool {
    const MOVE_MOUNT_BENEATH: libc::c_uint = 0x200;
    let [from, to] = [from, to].map(|path| CString::new(path.as_os_str().as_bytes()).expect("no NUL"));
    let (root, flags) = (libc::AT_FDCWD, MOVE_MOUNT_BENEATH);
    // SAFETY: NUL-terminated strings and numbers.
    unsafe { libc::syscall(libc::SYS_move_mount, root, from.as_ptr(), root, to.as_ptr(), flags) == 0 }
}

/// Copies the mounts at and below a path twice (open_tree(2)), puts one copy, which has no place yet, on the other, and
/// attaches both. False if the kernel cannot.
pub(crate) fn attach_copies(from: &Path, to: &Path) -> bool {
    const OPEN_TREE_CLONE: libc::c_uint = 1;
    const FROM_DESCRIPTOR: libc::c_uint = 0x4;
    const TO_DESCRIPTOR: libc::c_uint = 0x40;
    let [from, to] = [from, to].map(|path| CString::new(path.as_os_str().as_bytes()).expect("no NUL"));
    let copy = || {
        let flags = OPEN_TREE_CLONE | libc::AT_RECURSIVE.cast_unsigned();
        // SAFETY: a NUL-terminated string and numbers.
        let copy = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, from.as_ptr(), flags) };
        let copy = i32::try_from(copy).ok().filter(|&copy| copy >= 0)?;
        // SAFETY: the call has just made this descriptor, and nothing else owns it.
        Some(unsafe { OwnedFd::from_raw_fd(copy) })
    };
    let attach = |copy: &OwnedFd, at: i32, path: &CStr, flags: libc::c_uint| {
        let (fd, from) = (copy.as_raw_fd(), c"".as_ptr());
        // SAFETY: NUL-terminated strings and numbers.
        unsafe {
            libc::syscall(libc::SYS_move_mount, fd, from, at, path.as_ptr(), FROM_DESCRIPTOR | flags) == 0
        }
    };
    let (Some(below), Some(above)) = (copy(), copy()) else { return false };
    attach(&above, below.as_raw_fd(), c"", TO_DESCRIPTOR); // Linux 6.15
    attach(&below, libc::AT_FDCWD, &to, 0)
}

/// The topmost entry at this path.
pub(crate) fn at(table: &MountTable, path: &Path) -> Option<Mount> {
    table.iter().rfind(|mount| mount.mountpoint == path).map(|mount| (**mount).clone())
}

/// Whether the keys of this table are unique ids.
pub(crate) fn has_unique_ids(table: &MountTable) -> bool {
    table.iter().all(|mount| mount.key.0 > u64::from(u32::MAX) >> 1)
}

/// The unique id of the mount that this path leads to (statx(2)).
pub(crate) fn statx_mount(path: &Path) -> Option<MountKey> {
    const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
    let name = CString::new(path.as_os_str().as_bytes()).expect("no NUL");
    let flags = libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: a structure of integers, for which zero is valid.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the name is NUL-terminated and the buffer has the type that the call fills.
    let done =
        unsafe { libc::statx(libc::AT_FDCWD, name.as_ptr(), flags, STATX_MNT_ID_UNIQUE, &raw mut found) };
    (done == 0 && found.stx_mask & STATX_MNT_ID_UNIQUE != 0).then_some(MountKey(found.stx_mnt_id))
}
