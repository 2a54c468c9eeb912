//! Whom a FUSE mount belongs to, as the kernel tells it.

#![cfg(all(target_os = "linux", not(feature = "interval")))]

mod common;

use common::{Watched, at, in_namespace, skip};
use nix::mount::{MsFlags, mount};
use platform::{Mount, MountSource, MountTable, MountTree, MountWatch, User};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

const USER: u32 = 1001;
const GROUP: u32 = 1002;

/// Mounts the directory whose entries name the owners. False if there is no FUSE here.
fn mount_fusectl() -> bool {
    let connections = Path::new("/sys/fs/fuse/connections");
    let none = None::<&str>;
    let mounted = mount(Some("none"), connections, Some("fusectl"), MsFlags::empty(), none);
    if let Err(error) = mounted {
        skip(&format!("cannot mount fusectl: {error}"));
    }
    mounted.is_ok()
}

/// A mount whose server has not answered yet; it ends with the file.
fn mount_fuse(path: &Path, user: u32, group: u32) -> File {
    let device = File::options().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
    let options = format!("fd={},rootmode=40000,user_id={user},group_id={group}", device.as_raw_fd());
    mount(Some("test"), path, Some("fuse"), MsFlags::empty(), Some(options.as_str())).expect("mount");
    device
}

fn directory(path: PathBuf) -> PathBuf {
    fs::create_dir(&path).expect("mkdir");
    path
}

#[test]
fn connection_belongs_to_the_user_who_mounted_it() {
    in_namespace(|dir| {
        let before = directory(dir.join("before"));
        let _first = mount_fuse(&before, USER, GROUP);
        let mut watched = Watched::new();
        let entry = |watched: &mut Watched, path: &Path| at(&watched.read(), path).unwrap();
        let found = entry(&mut watched, &before);
        assert_eq!(found.fuse_owner(), Some((USER, GROUP)), "by the option, without fusectl");
        if !mount_fusectl() {
            return;
        }
        let (foreign, own) = (directory(dir.join("foreign")), directory(dir.join("own")));
        let _devices = [mount_fuse(&foreign, USER, GROUP), mount_fuse(&own, 0, 0)];
        for table in [watched.refresh(), Watched::new().read()] {
            let [foreign, own] = [&foreign, &own].map(|path| at(&table, path).unwrap());
            assert_eq!(foreign.connection_owner, Some((USER, GROUP)));
            assert_eq!((foreign.user(), foreign.fuse_owner()), (User::Foreign(USER), Some((USER, GROUP))));
            assert_eq!((own.user(), own.connection_owner), (User::System, Some((0, 0))));
            assert_eq!(at(&table, dir).unwrap().connection_owner, None, "a tmpfs");
        }
    });
}

/// In a user namespace where the user is root, the mount says `user_id=0`.
#[test]
fn root_of_a_user_namespace_is_the_user_outside() {
    in_namespace(|dir| {
        let path = directory(dir.join("a"));
        if !mount_fusectl() {
            return;
        }
        let device = dir.join("fuse");
        let status = Command::new("mknod").args(["-m", "666"]).arg(&device).args(["c", "10", "229"]).status();
        assert!(status.expect("mknod").success());
        let script = "exec 3<>\"$1\"
            mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 x \"$0\" && echo && read end";
        let mut namespace = Command::new("unshare");
        namespace.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        namespace.args([&path, &device]).uid(USER).gid(GROUP).current_dir("/");
        let mut child =
            namespace.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare starts");
        if child.stdout.take().expect("a pipe").read(&mut [0]).expect("read") == 0 {
            child.wait().expect("wait");
            return skip("an ordinary user cannot mount FUSE in a user namespace");
        }
        let path_of_table = format!("/proc/{}/mountinfo", child.id());
        let mut watch = MountWatch::open(Path::new(&path_of_table), MountSource::Text).unwrap();
        let mounted = at(&watch.read(&MountTree::default()).unwrap(), &path).expect("the mount");
        assert_eq!(mounted.super_option("user_id").unwrap(), "0");
        assert_eq!((mounted.user(), mounted.fuse_owner()), (User::Foreign(USER), Some((USER, GROUP))));
        drop(child.stdin.take().map(|mut stdin| stdin.write_all(b"\n")));
        child.wait().expect("wait");
    });
}

/// A user with thousands of long names: those beyond a limit are abbreviated, in whichever way the table is read.
#[test]
fn long_names_beyond_the_limit_of_a_user_are_abbreviated() {
    in_namespace(|dir| {
        let mut deep = dir.to_path_buf();
        while deep.as_os_str().len() < 3800 {
            deep.push("d".repeat(200));
        }
        fs::create_dir_all(&deep).expect("mkdir");
        let mut devices: Vec<File> =
            (0..100).map(|n| mount_fuse(&directory(deep.join(n.to_string())), USER, GROUP)).collect();
        let mut watched = Watched::new();
        let first = watched.read();
        let abbreviated = |table: &MountTable| {
            let flags = |mount: &Arc<Mount>| mount.shortened.over_limit.then_some(mount.key);
            table.iter().filter_map(flags).collect::<Vec<_>>()
        };
        assert!((20..60).contains(&abbreviated(&first).len()), "{} of 100", abbreviated(&first).len());
        assert!(first.iter().all(|mount| mount.mountpoint.as_os_str().len() < 4000));
        for n in 100..110 {
            devices.push(mount_fuse(&directory(deep.join(n.to_string())), USER, GROUP));
            let fast = watched.refresh();
            assert_eq!(abbreviated(&fast).len(), abbreviated(&first).len() + n - 99, "new ones too");
            let whole = watched.read();
            assert_eq!(whole, fast);
            let read_again = whole.iter().zip(&fast).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
            let reads_text = watched.watch.source() == MountSource::Text;
            assert!(reads_text || read_again <= 16, "{read_again}: the text was not read");
        }
        assert_eq!(Watched::new().read().len(), first.len() + 10);
    });
}
