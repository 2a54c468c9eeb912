use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

/// A directory like `/proc`.
struct Proc(PathBuf);

impl Proc {
    fn new(name: &str) -> Proc {
        Proc(std::env::temp_dir().join(format!("msm-{name}-{}", std::process::id())))
    }

    fn add(&self, pid: &str, namespace: &str, mountinfo: &str) {
        self.add_in(pid, namespace, "pid:[1]", mountinfo);
    }

    fn add_in(&self, pid: &str, namespace: &str, pid_namespace: &str, mountinfo: &str) {
        let process = self.0.join(pid);
        fs::create_dir_all(process.join("ns")).unwrap();
        symlink(format!("mnt:[{namespace}]"), process.join("ns/mnt")).unwrap();
        symlink(pid_namespace, process.join("ns/pid")).unwrap();
        symlink("user:[1]", process.join("ns/user")).unwrap();
        fs::write(process.join("mountinfo"), mountinfo).unwrap();
        let stat = format!("{pid} (p {pid}) S 1 1 1 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 5 6 7 8");
        fs::write(process.join("stat"), stat).unwrap();
    }

    /// Of the file system 0:42 that mount 2 has.
    fn holders(&self, watched: Option<u64>, limits: &ScanLimits) -> Holders {
        match holders(&self.0, DeviceNumber { major: 0, minor: 42 }, 2, watched, limits) {
            Observation::Found(found) => found,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn limits() -> ScanLimits {
    ScanLimits { tasks: 100, until: Instant::now() + Duration::from_secs(60) }
}

#[test]
fn other_namespaces_are_named_by_their_first_process() {
    let proc = Proc::new("holders");
    let with = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:42 /sub /mnt/a\\040b rw - nfs4 s:/e rw\n";
    let without = "1 0 8:1 / / rw - ext4 0:42 rw\n2 1 8:1 / /x/0:42 rw - ext4 0:42 rw\n";
    for (pid, namespace, mountinfo) in [
        ("self", "1", with),
        ("1", "1", with),
        ("30", "7", with),
        ("5", "7", with),
        ("6", "8", without),
        ("7", "9", without),
    ] {
        proc.add(pid, namespace, mountinfo);
    }
    let mount = HeldMount { mountpoint: b"/mnt/a b".to_vec(), is_propagated: false, has_mounts_below: false };
    let holder = Holder {
        namespace: 7,
        pid: 5,
        name: b"p 5".to_vec(),
        processes: 2,
        in_container: false,
        mounts: vec![mount],
    };
    let expected =
        Holders { namespaces: vec![holder], peer_group: None, complete: true, of_user_only: false };
    assert_eq!(proc.holders(None, &limits()), expected);
    let found = proc.holders(Some(7), &limits());
    assert_eq!(found.namespaces.iter().map(|holder| holder.namespace).collect::<Vec<_>>(), [1]);
    assert!(!proc.holders(None, &ScanLimits { tasks: 2, ..limits() }).complete);
    assert!(!proc.holders(Some(99), &limits()).complete, "nothing shows where the watched mount is");
}

/// The mount points of copies, with `+` for those that an unmount reaches, and `!` for those with mounts below.
fn marked(found: &Holders) -> Vec<String> {
    let mark = |mount: &HeldMount| {
        let path = String::from_utf8(mount.mountpoint.clone()).unwrap();
        let propagated = if mount.is_propagated { "+" } else { "" };
        format!("{path}{propagated}{}", if mount.has_mounts_below { "!" } else { "" })
    };
    found.namespaces.iter().flat_map(|holder| &holder.mounts).map(mark).collect()
}

#[test]
fn unmount_reaches_peers_and_what_receives_from_them() {
    let proc = Proc::new("propagation");
    let root = |groups: &str| format!("1 0 8:1 / / rw {groups} - ext4 /dev/sda1 rw\n");
    let copy = "2 1 0:42 / /srv/nas rw shared:40 - nfs4 s:/e rw\n";
    proc.add("self", "1", &(root("shared:1") + copy));
    proc.add("1", "1", &(root("shared:1") + copy));
    for (pid, groups, expected) in [
        ("10", "shared:1", true),
        ("11", "master:1", true),
        ("12", "shared:5 master:1", true),
        ("13", "master:5", true), // receives from 1 by way of 5
        ("14", "master:9 propagate_from:1", true),
        ("15", "", false),
        ("16", "shared:8", false),
        ("17", "unbindable", false),
    ] {
        proc.add(pid, pid, &(root(groups) + copy));
        let found = proc.holders(None, &limits());
        assert!(found.complete && found.peer_group == Some(40));
        let last = found.namespaces.last().unwrap();
        assert_eq!(last.mounts[0].is_propagated, expected, "{groups}");
    }
}

#[test]
fn unmount_reaches_what_is_at_the_same_place_only() {
    let proc = Proc::new("places");
    let here = "1 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n2 1 0:42 / /srv/nas rw - nfs4 s:/e rw\n\
        3 2 0:43 / /srv/nas/child rw - nfs4 s:/f rw\n";
    proc.add("1", "1", here);
    proc.add("self", "1", here);
    // The directory /srv of the same file system is mounted at /data there.
    let there = "5 0 9:1 / / rw - ext4 /dev/sdb1 rw\n6 5 8:1 /srv /data rw master:1 - ext4 /dev/sda1 rw\n\
        7 6 0:42 / /data/nas rw - nfs4 s:/e rw\n8 7 0:43 / /data/nas/child rw - nfs4 s:/f rw\n\
        9 5 0:42 / /private rw - nfs4 s:/e rw\n10 9 0:99 / /private/more rw - tmpfs x rw\n\
        11 6 0:42 / /data/other rw - nfs4 s:/e rw\n12 99 0:42 / /hidden rw - nfs4 s:/e rw\n";
    proc.add("5", "7", there);
    let found = proc.holders(None, &limits());
    assert_eq!(marked(&found), ["/data/nas+", "/private!", "/data/other", "/hidden+"]);
}

#[test]
fn processes_of_containers_are_known() {
    let proc = Proc::new("containers");
    let with = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:42 / /srv/nas rw - nfs4 s:/e rw\n";
    proc.add("1", "1", with);
    proc.add("self", "1", with);
    proc.add("5", "7", with);
    proc.add_in("8", "8", "pid:[9]", with);
    let containers = |found: &Holders| -> Vec<bool> {
        found.namespaces.iter().map(|holder| holder.in_container).collect()
    };
    assert_eq!(containers(&proc.holders(None, &limits())), [false, true]);
    proc.add_in("9", "7", "pid:[9]", with); // such as one that entered it from the host before
    assert_eq!(containers(&proc.holders(None, &limits())), [true, true]);
}

#[test]
fn namespace_that_nobody_shows_makes_it_incomplete() {
    let proc = Proc::new("unseen");
    let with = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:42 / /srv/nas rw - nfs4 s:/e rw\n";
    proc.add("1", "1", with);
    proc.add("self", "1", with);
    proc.add("5", "7", "3 1 0:3 / /only/part rw - tmpfs x rw\n"); // its root is a directory
    assert!(!proc.holders(None, &limits()).complete);
    proc.add("6", "7", with);
    let found = proc.holders(None, &limits());
    assert!(found.complete && found.namespaces[0].pid == 6, "{found:?}");
    let kept = format!("{with}4 1 0:4 mnt:[7] /run/ns/a rw - nsfs nsfs rw\n");
    proc.add("7", "8", &kept);
    assert!(proc.holders(None, &limits()).complete, "it has a process");
    proc.add("8", "9", &kept.replace("mnt:[7]", "mnt:[70]"));
    assert!(!proc.holders(None, &limits()).complete);
}
