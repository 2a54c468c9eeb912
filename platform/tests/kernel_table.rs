//! What the watch relies on when it reads the table in two ways: `statmount` equals mountinfo for any mount, and
//! neither loses or confuses mounts while others come and go.

#![cfg(all(target_os = "linux", not(feature = "interval")))]

mod common;

use common::{
    Watched, at, has_unique_ids, in_namespace, mount_flags, skip, skip_without_unique_ids, statx_mount,
    tmpfs, tmpfs_on, tmpfs_with, unmount,
};
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};
use platform::{MountKey, MountTable, SharedPath, mountinfo};
use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A watch if the kernel has unique ids; otherwise the test is skipped.
fn unique_watch() -> Option<Watched> {
    let mut watched = Watched::new();
    if has_unique_ids(&watched.read()) {
        return Some(watched);
    }
    skip_without_unique_ids();
    None
}

/// Needs neither root nor a namespace.
#[test]
fn own_table_is_readable_for_every_user() {
    let table = Watched::new().read();
    assert!(table.iter().is_sorted_by(|a, b| a.key < b.key));
    let root = at(&table, Path::new("/")).expect("a root");
    assert!(statx_mount(Path::new("/")).is_none_or(|key| !has_unique_ids(&table) || key == root.key));
}

#[test]
fn mountinfo_has_the_order_of_listmount() {
    in_namespace(|dir| {
        let Some(mut watched) = unique_watch() else { return };
        for round in 0..3 {
            let all: Vec<PathBuf> = (0..20).map(|n| tmpfs(dir.join(format!("{round}-{n}")))).collect();
            all.iter().step_by(3).for_each(|path| unmount(path));
        }
        let table = watched.read();
        let text = mountinfo::parse(&fs::read("/proc/self/mountinfo").unwrap()).unwrap();
        let ids = |table: &MountTable| table.iter().map(|mount| mount.id).collect::<Vec<_>>();
        assert_eq!(ids(&table), text.iter().map(|mount| mount.id).collect::<Vec<_>>());
    });
}

#[test]
fn statmount_equals_mountinfo_for_any_name() {
    in_namespace(|dir| {
        let Some(mut watched) = unique_watch() else { return };
        let every_byte: Vec<u8> = (1..=255).filter(|&b| b != b'/').collect();
        let (first, second) = every_byte.split_at(127);
        for name in [
            &b"two words "[..],
            b"tab\tnewline\n",
            b"back\\slash\\040\\",
            b"#hash",
            b"not \xff\xfe UTF-8 \xc3",
            b"//deleted",
            b"\x1b[2J",
            first,
            second,
        ] {
            let name = name.strip_prefix(b"//").unwrap_or(name);
            let path = dir.join(OsStr::from_bytes(name));
            fs::create_dir(&path).unwrap();
            tmpfs_with(&path, name, MsFlags::empty(), "");
            let entry = at(&watched.refresh_fast(), &path).expect("the mount is found by its name");
            assert_eq!(entry.device.as_bytes(), name);
            // And as the root of a bind mount.
            let inner = path.join(OsStr::from_bytes(name));
            fs::create_dir(&inner).unwrap();
            mount_flags(&inner, &inner, MsFlags::MS_BIND);
            let entry = at(&watched.refresh_fast(), &inner).unwrap();
            assert_eq!(entry.root.as_bytes(), [b"/", name].concat());
        }
    });
}

#[test]
fn statmount_equals_mountinfo_for_long_paths() {
    in_namespace(|dir| {
        let Some(mut watched) = unique_watch() else { return };
        // Escaped, a path of newlines is four times as long as PATH_MAX.
        for letter in ["x", "\n"] {
            let mut path = dir.to_path_buf();
            while path.as_os_str().len() < 4_000 {
                path.push(letter.repeat((4_000 - path.as_os_str().len()).clamp(1, 250)));
            }
            fs::create_dir_all(&path).unwrap();
            mount_flags(&path, &path, MsFlags::MS_BIND);
            let entry = at(&watched.refresh_fast(), &path).unwrap();
            assert!(entry.root.len() > 3_800);
        }
    });
}

/// A new directory this deep below `dir`, made and returned as a descriptor: no call takes its path.
fn deep_directory(dir: &Path, bytes: usize) -> OwnedFd {
    directory_of(dir, &"d".repeat(249), bytes.div_ceil(250))
}

fn directory_of(dir: &Path, name: &str, depth: usize) -> OwnedFd {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let mut directory = open(dir, flags, Mode::empty()).expect("open");
    for _ in 0..depth {
        mkdirat(&directory, name, Mode::S_IRWXU).expect("mkdir");
        directory = openat(&directory, name, flags, Mode::empty()).expect("open");
    }
    directory
}

fn path_of(directory: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", directory.as_raw_fd()).into()
}

#[test]
fn mount_points_that_no_call_accepts_are_shortened_and_cost_no_full_read() {
    in_namespace(|dir| {
        let Some(mut watched) = unique_watch() else { return };
        let names = |table: &MountTable| -> Vec<(String, bool, usize)> {
            let long = table.iter().filter(|mount| !mount.has_usable_path());
            long.map(|m| (m.mountpoint.to_str().unwrap().to_owned(), m.shortened.root, m.root.len()))
                .collect()
        };
        for (n, bytes) in [4_096, 100_000, 700_000, 1_500_000].into_iter().enumerate() {
            let top = tmpfs(dir.join(n.to_string()));
            let deep = deep_directory(&top, bytes);
            tmpfs_on(&path_of(&deep));
            let found = names(&watched.refresh_fast());
            assert_eq!(found.len(), n * 2 + 1, "{bytes}: {found:?}");
            let is_readable = bytes < 512 << 10;
            let (name, ..) = found.last().unwrap();
            assert!(name.len() < 1_000 && name.contains("…["), "{name}");
            assert_eq!(name.starts_with(&format!("{}/ddd", top.display())), is_readable, "{name}");
            // The root of a bind mount can be as long, and the mount point at the same time.
            let [source, target] = ["source", "target"]
                .map(|name| deep_directory(&tmpfs(dir.join(format!("{name}-{n}"))), bytes));
            mount_flags(&path_of(&source), &path_of(&target), MsFlags::MS_BIND);
            // On a busy machine, long names are read in several pieces.
            let mut reads = (0..100).map(|_| names(&watched.refresh_fast()).pop().unwrap());
            let is_short =
                |(_, is_root_shortened, root): &(String, bool, usize)| *is_root_shortened && *root < 1_000;
            assert!(reads.any(|last| is_short(&last)), "{bytes}: {:?}", names(&watched.refresh_fast()));
            let text = MountTable::read().unwrap();
            assert_eq!(names(&text), names(&watched.read()), "statmount and mountinfo differ");
            // The others are still read one by one.
            let other = tmpfs(dir.join(format!("other-{n}")));
            assert!(at(&watched.refresh_fast(), &other).is_some());
        }
    });
}

#[test]
fn mount_point_that_a_rename_makes_usable_is_found() {
    in_namespace(|dir| {
        let Some(mut watched) = unique_watch() else { return };
        let deep = deep_directory(dir, 5_000);
        for n in 0..40 {
            let directory = path_of(&deep).join(n.to_string());
            fs::create_dir(&directory).unwrap();
            tmpfs(directory.join("m"));
        }
        let table = watched.read();
        assert_eq!(table.iter().filter(|mount| !mount.has_usable_path()).count(), 40);
        fs::rename(path_of(&deep).join("33"), dir.join("short")).unwrap();
        let is_found = |_| at(&watched.read(), &dir.join("short/m")).is_some();
        // Four reads look at all of them, but one that takes long on a busy machine leaves some to the next.
        assert!((0..40).any(is_found));
    });
}

/// Mounts an overlay of these layers with the calls that have no limit for all options together. False if this kernel
/// takes no layers as descriptors.
fn overlay(layers: &[OwnedFd], on: &Path) -> bool {
    const SET_FLAG_FD: libc::c_long = 5; // FSCONFIG_SET_FD
    const CREATE: libc::c_long = 6; // FSCONFIG_CMD_CREATE
    const EMPTY_PATH: libc::c_long = 4; // MOVE_MOUNT_F_EMPTY_PATH
    let number = |fd: libc::c_long| (fd >= 0).then_some(fd);
    let on = CString::new(on.as_os_str().as_bytes()).expect("no NUL");
    let (none, empty) = (std::ptr::null::<libc::c_char>(), c"".as_ptr());
    let make = || -> Option<()> {
        // SAFETY: NUL-terminated strings and numbers.
        let context = number(unsafe { libc::syscall(libc::SYS_fsopen, c"overlay".as_ptr(), 0) })?;
        for layer in layers {
            let (key, fd) = (c"lowerdir+".as_ptr(), layer.as_raw_fd());
            // SAFETY: as above; no value is read.
            number(unsafe { libc::syscall(libc::SYS_fsconfig, context, SET_FLAG_FD, key, none, fd) })?;
        }
        // SAFETY: as above.
        number(unsafe { libc::syscall(libc::SYS_fsconfig, context, CREATE, none, none, 0) })?;
        // SAFETY: numbers only.
        let mount = number(unsafe { libc::syscall(libc::SYS_fsmount, context, 0, 0) })?;
        let target = (libc::AT_FDCWD, on.as_ptr());
        // SAFETY: as above.
        number(unsafe { libc::syscall(libc::SYS_move_mount, mount, empty, target.0, target.1, EMPTY_PATH) })?;
        Some(())
    };
    make().is_some()
}

#[test]
fn options_of_any_length_cost_no_full_read() {
    in_namespace(|dir| {
        let Some(mut watched) = unique_watch() else { return };
        let top = tmpfs(dir.join("layers"));
        let deep = deep_directory(&top, 3_500);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let layers: Vec<OwnedFd> = (0..400)
            .map(|n| {
                let name = format!("{n:0>250}");
                mkdirat(&deep, name.as_str(), Mode::S_IRWXU).unwrap();
                openat(&deep, name.as_str(), flags, Mode::empty()).unwrap()
            })
            .collect();
        for (count, is_readable) in [(100, true), (400, false)] {
            let path = dir.join(format!("overlay-{count}"));
            fs::create_dir(&path).unwrap();
            if !overlay(&layers[..count], &path) {
                return skip("this kernel takes no layers of an overlay as descriptors");
            }
            let entry = at(&watched.refresh_fast(), &path).unwrap();
            let options = entry.super_options.to_str().unwrap();
            assert!(entry.shortened.super_options && options.len() < 1_000, "{options}");
            assert_eq!(options.starts_with("ro,"), is_readable, "{options}");
            assert!(entry.has_usable_path() && entry.fstype == "overlay");
            let other = tmpfs(dir.join(format!("other-{count}")));
            assert!(at(&watched.refresh_fast(), &other).is_some());
        }
    });
}

/// Each of these mount points takes the kernel milliseconds to write.
#[test]
fn one_rename_that_makes_many_mount_points_long_delays_no_other_change() {
    in_namespace(|dir| {
        const MOUNTS: usize = 100;
        let Some(mut watched) = unique_watch() else { return };
        let top = dir.join("top");
        fs::create_dir(&top).unwrap();
        (0..MOUNTS).for_each(|n| drop(tmpfs(top.join(n.to_string()))));
        watched.read();
        let deep = directory_of(dir, "d", 75_000);
        fs::rename(&top, path_of(&deep).join("top")).unwrap();
        let table = watched.read();
        assert!(watched.watch.whole_read_due(), "not all were read at once");
        assert!(table.iter().filter(|mount| !mount.has_usable_path()).count() < MOUNTS);

        let other = tmpfs(dir.join("other"));
        assert!(at(&watched.refresh(), &other).is_some());
        let is_complete = |_| {
            let table = watched.read();
            table.iter().filter(|mount| !mount.has_usable_path()).count() == MOUNTS
        };
        assert!((0..MOUNTS).any(is_complete));
    });
}

#[test]
fn mount_without_a_source_costs_no_full_read() {
    in_namespace(|dir| {
        let Some(mut watched) = unique_watch() else { return };
        let path = dir.join("a");
        fs::create_dir(&path).unwrap();
        tmpfs_with(&path, b"", MsFlags::empty(), "");
        assert_eq!(at(&watched.refresh_fast(), &path).unwrap().device, "");
    });
}

#[test]
fn statmount_equals_mountinfo_for_options() {
    in_namespace(|dir| {
        let Some(mut watched) = unique_watch() else { return };
        let mandatory_locks = MsFlags::from_bits_retain(libc::MS_MANDLOCK);
        let no_symlinks = MsFlags::from_bits_retain(256); // MS_NOSYMFOLLOW
        for (number, (flags, options)) in [
            (MsFlags::empty(), "size=1m,mode=0700,uid=7,nr_inodes=100"),
            (MsFlags::MS_RDONLY, ""),
            (MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, ""),
            (MsFlags::MS_NOATIME | MsFlags::MS_NODIRATIME, ""),
            (MsFlags::MS_STRICTATIME, ""),
            (MsFlags::MS_NODIRATIME | no_symlinks, ""),
            (MsFlags::MS_SYNCHRONOUS | MsFlags::MS_DIRSYNC | MsFlags::MS_LAZYTIME, "size=1m"),
            (MsFlags::MS_SYNCHRONOUS | mandatory_locks, "size=1m"),
        ]
        .into_iter()
        .enumerate()
        {
            let path = dir.join(number.to_string());
            fs::create_dir(&path).unwrap();
            tmpfs_with(&path, b"test", flags, options);
            let entry = at(&watched.refresh_fast(), &path).unwrap();
            assert_eq!(entry.read_only(), flags.contains(MsFlags::MS_RDONLY));
        }
    });
}

#[test]
fn statmount_equals_mountinfo_for_binds() {
    in_namespace(|dir| {
        let Some(mut watched) = unique_watch() else { return };
        let target = |name: &str| {
            let path = dir.join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let (from, read_only, gone) = (target("from/inner"), target("ro"), target("gone"));
        mount_flags(&from, &read_only, MsFlags::MS_BIND);
        mount_flags(&from, &read_only, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
        let entry = at(&watched.refresh_fast(), &read_only).unwrap();
        assert_eq!(entry.root, "/from/inner");
        assert!(entry.read_only() && entry.super_options.as_bytes().starts_with(b"rw"));

        let removed = target("removed");
        mount_flags(&removed, &gone, MsFlags::MS_BIND);
        fs::remove_dir(&removed).unwrap();
        assert_eq!(at(&watched.refresh_fast(), &gone).unwrap().root, "/removed//deleted");

        let namespace = dir.join("namespace");
        fs::File::create(&namespace).unwrap();
        mount_flags(Path::new("/proc/self/ns/net"), &namespace, MsFlags::MS_BIND);
        assert_eq!(at(&watched.refresh_fast(), &namespace).unwrap().fstype, "nsfs");
    });
}

#[test]
fn statmount_equals_mountinfo_for_other_types() {
    in_namespace(|dir| {
        let Some(mut watched) = unique_watch() else { return };
        for part in ["lower one", "lower,two", "upper", "work"] {
            fs::create_dir(dir.join(part)).unwrap();
        }
        let at_dir = |part: &str| dir.join(part).to_str().unwrap().to_owned();
        let overlay = format!(
            "lowerdir={}:{},upperdir={},workdir={}",
            at_dir("lower one"),
            at_dir("lower\\,two"),
            at_dir("upper"),
            at_dir("work")
        );
        for (fstype, options) in [
            ("proc", "hidepid=2"),
            ("sysfs", ""),
            ("devpts", "newinstance,mode=620"),
            ("mqueue", ""),
            ("cgroup2", ""),
            ("ramfs", "mode=700"),
            ("overlay", overlay.as_str()),
        ] {
            let path = dir.join(fstype);
            fs::create_dir(&path).unwrap();
            match mount(Some("a b"), &path, Some(fstype), MsFlags::empty(), Some(options)) {
                Ok(()) => assert_eq!(at(&watched.refresh_fast(), &path).unwrap().fstype, fstype),
                Err(error) => skip(&format!("cannot mount {fstype}: {}", error.desc())),
            }
        }
    });
}

/// The kernel omits an empty source like an unknown one, so the text is read.
#[test]
fn identical_mount_at_the_same_path_has_another_key() {
    in_namespace(|dir| {
        let path = tmpfs(dir.join("a"));
        let Some(mut watched) = unique_watch() else { return };
        let before = at(&watched.read(), &path).unwrap();
        unmount(&path);
        tmpfs_on(&path);
        let after = at(&watched.refresh_fast(), &path).unwrap();
        assert_ne!(before.key, after.key);
    });
}

#[test]
fn unchanged_entries_are_shared() {
    in_namespace(|dir| {
        let path = tmpfs(dir.join("a b"));
        let mut watched = Watched::new();
        let first = watched.read();
        tmpfs(dir.join("c"));
        let second = watched.refresh();
        mount_flags(Path::new("test"), &path, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
        let third = watched.read();
        assert!(first.iter().all(|entry| Arc::ptr_eq(entry, second.get(entry.key).unwrap())));
        let changed: Vec<_> =
            second.iter().filter(|entry| !Arc::ptr_eq(entry, third.get(entry.key).unwrap())).collect();
        assert_eq!(changed.len(), 1);
        assert_eq!(changed[0].mountpoint, path);
    });
}

#[test]
fn table_in_a_chroot_contains_what_is_below_it() {
    in_namespace(|dir| {
        let root = dir.join("root"); // not a mount point
        fs::create_dir_all(root.join("proc")).unwrap();
        mount(Some("proc"), &root.join("proc"), Some("proc"), MsFlags::empty(), None::<&str>).unwrap();
        tmpfs(dir.join("outside"));
        nix::unistd::chroot(&root).unwrap();
        std::env::set_current_dir("/").unwrap();

        let mut watched = Watched::new();
        let unique = has_unique_ids(&watched.read());
        assert_eq!(watched.read().len(), 1, "only proc");
        let inside = tmpfs("/inside");
        watched.expect_event("mount");
        let table = if unique { watched.refresh_fast() } else { watched.refresh() };
        assert_eq!(table.len(), 2);
        assert!(at(&table, &inside).is_some());
    });
}

/// Stable mounts are in each read exactly once, no key is used for two mounts, and the last event leads to the final
/// state.
#[test]
fn burst_of_mounts_neither_loses_nor_confuses_mounts() {
    in_namespace(|dir| {
        let mut stable = Vec::new();
        let mut volatile = [Vec::new(), Vec::new()];
        for number in 0..60 {
            stable.push(tmpfs(dir.join(format!("stable-{number}"))));
            let path = tmpfs(dir.join(format!("volatile-{number}")));
            volatile[number % 2].push(path);
        }
        let mut watched = Watched::new();
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let bursts = volatile.map(|paths| threads.spawn(|| mount_repeatedly(paths, &stop)));
            let mut names: HashMap<MountKey, SharedPath> = HashMap::new();
            for pass in 0..400 {
                let table = match pass % 2 {
                    0 => watched.read(),
                    _ => watched.refresh(),
                };
                for path in &stable {
                    assert_eq!(table.iter().filter(|mount| mount.mountpoint == *path).count(), 1);
                }
                if has_unique_ids(&table) {
                    for mount in &table {
                        let name = names.entry(mount.key).or_insert_with(|| mount.mountpoint.clone());
                        assert_eq!(*name, mount.mountpoint, "one key for two mounts");
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
            for burst in bursts {
                assert!(burst.join().unwrap() > 0);
            }
        });
        watched.expect_event("the burst");
        let last = watched.refresh();
        assert_eq!(last, Watched::new().read());
    });
}

/// Unmounts and mounts each path in turn until `stop`; returns how often.
fn mount_repeatedly(paths: Vec<PathBuf>, stop: &AtomicBool) -> usize {
    let mut rounds = 0;
    for path in paths.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        umount2(path, MntFlags::MNT_DETACH).expect("umount -l");
        tmpfs_on(path);
        rounds += 1;
    }
    rounds
}
