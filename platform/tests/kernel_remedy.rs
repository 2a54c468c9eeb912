//! What the calls of remedies hit on this kernel, and what they do not.

#![cfg(all(target_os = "linux", not(feature = "interval")))]

mod common;

use common::{at, in_namespace, move_beneath, skip, skip_without_unique_ids, tmpfs, unmount};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use platform::remedy::{
    ChangeWindow, PinnedMount, Placeholder, PrivatePlace, RemedyLock, move_in, moves_beneath,
};
use platform::{Mount, MountKey, MountTable, Unmount};
use std::fs::{self, File};
use std::os::fd::{AsFd as _, AsRawFd};
use std::path::{Path, PathBuf};

fn table() -> MountTable {
    MountTable::read().expect("the table")
}

fn mount_at(path: &Path) -> Mount {
    at(&table(), path).expect("the mount")
}

fn exists(key: MountKey) -> bool {
    table().get(key).is_some()
}

/// Holds the mount at this path. `None` where there are no unique ids.
fn pin(path: &Path) -> Option<PinnedMount> {
    let key = mount_at(path).key;
    if key.0 <= u64::from(u32::MAX) >> 1 {
        skip_without_unique_ids();
        return None;
    }
    Some(PinnedMount::open(path, key).expect("open").expect("the path leads to it"))
}

/// A FUSE mount whose server never answers: every request hangs. Nobody but its owner may use it.
fn hung_fuse(path: &Path) -> File {
    let device = File::options().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
    let options = format!("fd={},rootmode=40000,user_id=1001,group_id=1001", device.as_raw_fd());
    fs::create_dir_all(path).expect("mkdir");
    mount(Some("test"), path, Some("fuse"), MsFlags::empty(), Some(options.as_str())).expect("mount");
    device
}

fn mount_fusectl() -> bool {
    let connections = Path::new("/sys/fs/fuse/connections");
    let done = mount(Some("none"), connections, Some("fusectl"), MsFlags::empty(), None::<&str>);
    if let Err(error) = done {
        skip(&format!("cannot mount fusectl: {error}"));
    }
    done.is_ok()
}

fn make_shared(path: &Path) {
    mount(None::<&str>, path, None::<&str>, MsFlags::MS_SHARED, None::<&str>).expect("share");
}

#[test]
fn hung_fuse_mount_is_held_and_detached_without_its_server() {
    in_namespace(|dir| {
        let path = dir.join("hung");
        let _device = hung_fuse(&path);
        let Some(pinned) = pin(&path) else { return };
        assert!(pinned.is_attached().expect("attached"));
        assert_eq!(pinned.device(), mount_at(&path).device_number);
        pinned.detach().expect("detach");
        assert!(!exists(pinned.key()) && !pinned.is_attached().expect("attached"));
    });
}

/// Another mount has come to the path: each call through the held mount fails, and the new one stays.
#[test]
fn replaced_mount_is_never_hit_through_the_held_one() {
    in_namespace(|dir| {
        let path = tmpfs(dir.join("a"));
        let Some(pinned) = pin(&path) else { return };
        umount2(&path, MntFlags::MNT_DETACH).expect("another process detaches it");
        common::tmpfs_on(&path);
        let new = mount_at(&path);
        for result in [pinned.force(), pinned.detach()] {
            assert_eq!(result.expect_err("it is detached").raw_os_error(), Some(libc::EINVAL));
        }
        assert!(exists(new.key));
        assert!(
            PinnedMount::open(&path, pinned.key()).expect("open").is_none(),
            "the path leads to another one"
        );
    });
}

/// Another process replaces the mount at any time between the check and the call.
#[test]
fn mount_that_replaces_the_held_one_is_never_hit_in_a_thousand_races() {
    const RACES: u32 = 1000;
    in_namespace(|dir| {
        let path = tmpfs(dir.join("a"));
        let (request, requests) = std::sync::mpsc::channel::<u32>();
        let (answer, answers) = std::sync::mpsc::channel();
        let replaced = path.clone();
        let replacer = std::thread::spawn(move || {
            for round in requests {
                (0..round % 100).for_each(|_| std::thread::yield_now());
                let _ = umount2(&replaced, MntFlags::MNT_DETACH); // it may be gone
                common::tmpfs_on(&replaced);
                answer.send(mount_at(&replaced).key).expect("the test receives");
            }
        });
        let mut detached_first = 0;
        for round in 0..RACES {
            let Some(pinned) = pin(&path) else { return };
            request.send(round).expect("the thread receives");
            assert!(pinned.is_attached().is_ok());
            let _ = pinned.force(); // EBUSY or EINVAL
            detached_first += u32::from(pinned.detach().is_ok());
            let new = answers.recv().expect("the thread answers");
            assert!(exists(new), "round {round}");
        }
        drop(request);
        replacer.join().expect("the thread ends");
        assert!((1..RACES).contains(&detached_first), "both orders happened: {detached_first}");
    });
}

#[test]
fn only_the_topmost_mount_is_held() {
    in_namespace(|dir| {
        let path = tmpfs(dir.join("a"));
        let Some(lower) = pin(&path) else { return };
        let lower = lower.key();
        common::tmpfs_on(&path);
        assert!(PinnedMount::open(&path, lower).expect("open").is_none());
        fs::create_dir(path.join("inside")).expect("mkdir");
        let top = mount_at(&path).key;
        let inside = PinnedMount::open(&path.join("inside"), top).expect("open").expect("the same mount");
        assert_eq!(inside.detach().expect_err("not its root").raw_os_error(), Some(libc::EINVAL));
        assert!(exists(top));
    });
}

/// The limit of pinning, which the check after the call must find: the kernel descends to what lies on top.
#[test]
fn mount_stacked_after_the_check_is_hit_instead() {
    in_namespace(|dir| {
        let path = tmpfs(dir.join("a"));
        let Some(pinned) = pin(&path) else { return };
        common::tmpfs_on(&path);
        let stacked = mount_at(&path);
        let Ok(window) = ChangeWindow::open() else { return skip("no events of mounts") };
        pinned.detach().expect("detach");
        assert!(exists(pinned.key()) && !exists(stacked.key));
        assert_eq!(window.close().map(|changes| changes.detached()), Some(vec![stacked.key]));
    });
}

#[test]
fn window_shows_mounts_that_came_and_went_and_which_of_them_came_later_than_another_left() {
    in_namespace(|dir| {
        let path = tmpfs(dir.join("a"));
        let key = mount_at(&path).key;
        let Ok(window) = ChangeWindow::open() else { return skip("no events of mounts") };
        let come_and_go = |name: &str| {
            let path = tmpfs(dir.join(name));
            let key = mount_at(&path).key;
            unmount(&path);
            key
        };
        let earlier = come_and_go("earlier");
        unmount(&path);
        let later = come_and_go("later");
        let changes = window.close().expect("few changes");
        assert_eq!(changes.detached(), [earlier, key, later]);
        assert_eq!(changes.detached_after(key), [later]);
        assert_eq!(changes.detached_after(later), []);
    });
}

/// `EBUSY` says nothing about what was done: the connection has been aborted.
#[test]
fn force_through_the_held_mount_ends_the_connection_and_unmounts_nothing() {
    in_namespace(|dir| {
        let path = dir.join("hung");
        let device = hung_fuse(&path);
        let Some(pinned) = pin(&path) else { return };
        assert_eq!(pinned.force().expect_err("it is held").raw_os_error(), Some(libc::EBUSY));
        assert!(exists(pinned.key()));
        let mut device = device;
        let ended =
            std::io::Read::read(&mut device, &mut [0; 1 << 16]).expect_err("the connection has ended");
        assert_eq!(ended.raw_os_error(), Some(libc::ENODEV));
    });
}

#[test]
fn abort_by_the_control_file_ends_this_connection_alone() {
    in_namespace(|dir| {
        if !mount_fusectl() {
            return;
        }
        let (path, other) = (dir.join("a"), dir.join("b"));
        let (device, other_device) = (hung_fuse(&path), hung_fuse(&other));
        let Some(pinned) = pin(&path) else { return };
        pinned.abort_fuse(Path::new(platform::remedy::FUSE_CONNECTIONS)).expect("abort");
        let ended = |device: &File| {
            let mut buffer = vec![0; 1 << 16];
            // SAFETY: without blocking; the kernel writes at most the buffer's length.
            let result = unsafe {
                libc::fcntl(device.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
                libc::read(device.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len())
            };
            result < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENODEV)
        };
        assert!(ended(&device) && !ended(&other_device));
        let missing = pinned.abort_fuse(dir).expect_err("no control file there");
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    });
}

/// The `shutdown` file, on a copy of its directory.
#[test]
fn shutdown_file_is_that_of_the_held_superblock() {
    in_namespace(|dir| {
        let path = tmpfs(dir.join("a"));
        let Some(pinned) = pin(&path) else { return };
        let superblocks = dir.join("nfs");
        let own = superblocks.join(pinned.device().to_string());
        fs::create_dir_all(&own).expect("mkdir");
        assert!(pinned.shut_down_nfs(&superblocks).is_err(), "the kernel makes the file");
        fs::write(own.join("shutdown"), "").expect("write");
        pinned.shut_down_nfs(&superblocks).expect("write");
        assert_eq!(fs::read(own.join("shutdown")).expect("read"), b"1");
    });
}

/// The steps of a replacement without a moment in which the directory underneath can be reached.
#[test]
fn new_mount_moves_beneath_the_hung_one_which_is_then_detached() {
    in_namespace(|dir| {
        for shared in [false, true] {
            if shared {
                make_shared(dir);
            }
            let path = dir.join(if shared { "shared" } else { "private" });
            let _device = hung_fuse(&path);
            let Some(dead) = pin(&path) else { return };
            if !moves_beneath() {
                return skip("this kernel cannot move a mount beneath another");
            }
            let place = dir.join("place");
            let private = PrivatePlace::make(&place).expect("a place");
            let inside = private.mount_point(&path).expect("mkdir");
            common::tmpfs_on(&inside);
            let new = mount_at(&inside);
            assert!(!dead.move_beneath(&place, new.key).expect("open"), "another mount is there");
            assert!(dead.move_beneath(&inside, new.key).expect("move"));
            let on_top = PinnedMount::open(&path, dead.key()).expect("open");
            assert!(on_top.is_some(), "it still covers the new one");
            dead.detach().expect("detach");
            assert_eq!(mount_at(&path).key, new.key);
            PrivatePlace::remove(&place).expect("remove");
            assert!(!place.exists() && exists(new.key));
        }
    });
}

/// As in the services that systemd starts in mount namespaces of their own: slaves of the machine's.
#[test]
fn copies_by_propagation_are_replaced_too_and_private_copies_stay() {
    in_namespace(|dir| {
        if !moves_beneath() {
            return skip("this kernel cannot move a mount beneath another");
        }
        make_shared(dir);
        let path = dir.join("a");
        let _device = hung_fuse(&path);
        let copies = ["peer", "slave", "private"].map(|name| {
            let copy =
                std::env::temp_dir().join(format!("msm-{name}-{}", dir.file_name().unwrap().display()));
            fs::create_dir(&copy).expect("mkdir");
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(dir), &copy, None::<&str>, flags, None::<&str>).expect("bind");
            copy
        });
        for (copy, flags) in copies[1..].iter().zip([MsFlags::MS_SLAVE, MsFlags::MS_PRIVATE]) {
            mount(None::<&str>, copy, None::<&str>, flags, None::<&str>).expect("propagation");
        }
        let Some(dead) = pin(&path) else { return };
        let private = PrivatePlace::make(&dir.join("place")).expect("a place");
        let inside = private.mount_point(&path).expect("mkdir");
        common::tmpfs_on(&inside);
        let new = mount_at(&inside);
        assert!(dead.move_beneath(&inside, new.key).expect("move"));
        dead.detach().expect("detach");
        PrivatePlace::remove(&dir.join("place")).expect("remove");
        let table = table();
        let devices = |root: &Path| {
            let here = table.iter().filter(|mount| mount.mountpoint == root.join("a"));
            here.map(|mount| mount.device_number).collect::<Vec<_>>()
        };
        for root in [dir, &copies[0], &copies[1]] {
            assert_eq!(devices(root), [new.device_number], "{}", root.display());
        }
        assert_eq!(devices(&copies[2]), [dead.device()]);
        for copy in copies {
            umount2(&copy, MntFlags::MNT_DETACH).expect("umount");
            fs::remove_dir(&copy).expect("rmdir");
        }
    });
}

#[test]
fn private_place_is_not_propagated_and_takes_what_is_left_in_it_along() {
    in_namespace(|dir| {
        make_shared(dir);
        let copy = dir.with_extension("copy");
        fs::create_dir(&copy).expect("mkdir");
        mount(Some(dir), &copy, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("bind");
        let place = dir.join("place");
        let private = PrivatePlace::make(&place).expect("a place");
        let inside = private.mount_point(Path::new("/x/y")).expect("mkdir");
        common::tmpfs_on(&inside);
        let mounts_below =
            |path: &PathBuf| table().iter().filter(|mount| mount.mountpoint.starts_with(path)).count();
        assert_eq!(mounts_below(&place), 2);
        assert_eq!(mounts_below(&copy.join("place")), 1, "the place itself, not what is in it");
        drop(PrivatePlace::make(&place).expect("what an earlier attempt left is removed"));
        assert_eq!(mounts_below(&place), 1);
        PrivatePlace::remove(&place).expect("remove");
        PrivatePlace::remove(&place).expect("it is gone");
        assert_eq!(mounts_below(&place) + mounts_below(&copy.join("place")), 0);
        umount2(&copy, MntFlags::MNT_DETACH).expect("umount");
        fs::remove_dir(&copy).expect("rmdir");
    });
}

#[test]
fn placeholder_is_empty_and_refuses_writers() {
    in_namespace(|dir| {
        let path = dir.join("a");
        fs::create_dir(&path).expect("mkdir");
        let placeholder = Placeholder::make().expect("a tmpfs");
        placeholder.attach(&path).expect("attach");
        let shown = mount_at(&path);
        assert!(shown.read_only() && *shown.fstype == *"tmpfs", "{shown:?}");
        assert_eq!(fs::read_dir(&path).expect("list").count(), 0);
        let refused = fs::write(path.join("file"), "x").expect_err("read-only");
        assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
        drop(placeholder);
        assert!(exists(shown.key));
    });
}

/// For kernels that cannot move beneath: the new mount comes to the path after the dead one has left it.
#[test]
fn new_mount_moves_to_the_path_of_the_detached_one() {
    in_namespace(|dir| {
        let path = tmpfs(dir.join("a"));
        let Some(dead) = pin(&path) else { return };
        let private = PrivatePlace::make(&dir.join("place")).expect("a place");
        let inside = private.mount_point(&path).expect("mkdir");
        common::tmpfs_on(&inside);
        let new = mount_at(&inside).key;
        dead.detach().expect("detach");
        assert!(!move_in(&inside, dead.key(), &path).expect("open"), "another mount is there");
        assert!(move_in(&inside, new, &path).expect("move"));
        assert_eq!(mount_at(&path).key, new);
        PrivatePlace::remove(&dir.join("place")).expect("remove");
    });
}

#[test]
fn plain_unmount_of_a_held_mount_is_busy() {
    in_namespace(|dir| {
        let path = tmpfs(dir.join("a"));
        let Some(pinned) = pin(&path) else { return };
        let busy = platform::unmount(&path, Unmount::Plain).expect_err("it is held");
        assert_eq!(busy.raw_os_error(), Some(libc::EBUSY));
        drop(pinned);
        platform::unmount(&path, Unmount::Plain).expect("unmount");
    });
}

/// A kernel that is asked for a move beneath answers as `moves_beneath` says.
#[test]
fn support_of_moves_beneath_is_known_without_a_move() {
    in_namespace(|dir| {
        let (from, to) = (tmpfs(dir.join("from")), tmpfs(dir.join("to")));
        assert_eq!(move_beneath(&from, &to), moves_beneath());
    });
}

#[test]
fn lock_is_held_until_the_last_descriptor_is_closed() {
    in_namespace(|dir| {
        let path = dir.join("lock");
        let lock = RemedyLock::try_acquire(&path).expect("open").expect("it is free");
        assert!(RemedyLock::try_acquire(&path).expect("open").is_none());
        let passed = lock.as_fd().try_clone_to_owned().expect("dup");
        drop(lock);
        assert!(RemedyLock::try_acquire(&path).expect("open").is_none(), "a child has it");
        drop(passed);
        assert!(RemedyLock::try_acquire(&path).expect("open").is_some());
    });
}
