//! What a plan is made from, of real mounts in real namespaces.

use super::common::{Lab, ms, run_isolated, wait_until};
use super::harness::{exists, mount_at};
use mount_status_monitor::children::files::FileWorker;
use nix::mount::{MsFlags, mount};
use platform::Mount;
use platform::collect::{holders, users};
use platform::evidence::{Holder, Holders, Observation, ScanLimits};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROC: &str = "/proc";

struct Sleeper(Child);

impl Sleeper {
    /// Runs this command, which ends as a `sleep`.
    fn start(program: &str, arguments: &[&str]) -> Sleeper {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        Sleeper(command.spawn().unwrap())
    }

    fn wait(self) -> Sleeper {
        let name = || fs::read_to_string(format!("{PROC}/{}/comm", self.0.id())).unwrap();
        wait_until(ms(5000), "it sleeps", || name() == "sleep\n");
        self
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn limits() -> ScanLimits {
    ScanLimits { tasks: 10_000, until: Instant::now() + Duration::from_secs(60) }
}

fn find_holders(mount: &Mount) -> Holders {
    match holders(PROC.as_ref(), mount.device_number, mount.id, None, &limits()) {
        Observation::Found(found) => found,
        other => panic!("{other:?}"),
    }
}

fn count_users(mount: &Mount) -> usize {
    match users(PROC.as_ref(), mount.device_number, mount.id, &limits()) {
        Observation::Found(users) => {
            assert!(users.complete && !users.of_user_only);
            assert_eq!(users.named.len(), users.processes.min(10));
            users.processes
        }
        other => panic!("{other:?}"),
    }
}

fn share(path: &Path) {
    let none = None::<&str>;
    mount(none, path, none, MsFlags::MS_SHARED, none).unwrap();
}

/// What is said of copies is what a detach does to them.
#[test]
fn copies_that_a_detach_reaches_are_known_before() {
    run_isolated(|lab| {
        let outer = lab.mount_point("outer");
        lab.mount_tmpfs(&outer);
        share(&outer);
        let path = lab.mount_fuse("outer/a");
        let dead = mount_at(&path);
        let covered = format!("mount -t tmpfs x {}; exec sleep 600", path.display());
        let unshare = |arguments: &[&str]| Sleeper::start("unshare", &[&["--mount"], arguments].concat());
        let copies = [
            unshare(&["--propagation", "slave", "sleep", "600"]).wait(),
            unshare(&["--propagation", "private", "sleep", "600"]).wait(),
            unshare(&["--propagation", "unchanged", "sleep", "600"]).wait(),
            unshare(&["--propagation", "slave", "sh", "-c", &covered]).wait(),
        ];
        let container =
            unshare(&["--propagation", "private", "--pid", "--fork", "--kill-child", "sleep", "600"]);
        let in_container = |found: &Holders| found.namespaces.iter().any(|holder| holder.in_container);
        wait_until(ms(5000), "the container runs", || in_container(&find_holders(&dead)));
        lab.set_fault("mute", &path);
        let found = find_holders(&dead);
        lab.clear_fault(&path);
        assert!(found.complete && !found.of_user_only, "{found:?}");
        let of = |pid: u32| -> &Holder {
            found.namespaces.iter().find(|holder| holder.pid == pid).expect("a namespace")
        };
        let told: Vec<(bool, bool, bool)> = copies
            .iter()
            .map(|copy| {
                let holder = of(copy.0.id());
                assert_eq!(holder.mounts.len(), 1, "{holder:?}");
                let mount = &holder.mounts[0];
                (mount.is_propagated, mount.has_mounts_below, holder.in_container)
            })
            .collect();
        assert_eq!(
            told,
            [(true, false, false), (false, false, false), (true, false, false), (true, true, false)]
        );
        assert_eq!(found.namespaces.iter().filter(|holder| holder.in_container).count(), 1);
        lab.detach(&path);
        assert!(!exists(dead.key));
        for (copy, (is_propagated, ..)) in copies.iter().zip(told) {
            let table = fs::read_to_string(format!("{PROC}/{}/mountinfo", copy.0.id())).unwrap();
            let device = format!(" {} ", dead.device_number);
            assert_eq!(table.contains(&device), !is_propagated, "{table}");
        }
        drop(container);
    });
}

#[test]
fn processes_that_use_a_hung_mount_are_counted() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let mount = mount_at(&path);
        let before = count_users(&mount);
        let there = path.to_str().unwrap();
        let users = [
            Sleeper::start("sh", &["-c", "exec 3< \"$0\" 4<&3; exec sleep 600", there]).wait(),
            Sleeper::start("sh", &["-c", "cd \"$0\"; exec sleep 600", there]).wait(),
            // In a namespace of its own, by a copy with another id.
            Sleeper::start("unshare", &["--mount", "sh", "-c", "exec 3< \"$0\"; exec sleep 600", there])
                .wait(),
            Sleeper::start("sleep", &["600"]).wait(),
        ];
        lab.set_fault("mute", &path);
        let found = count_users(&mount);
        lab.clear_fault(&path);
        assert_eq!(found, before + 3);
        lab.detach(&path);
        assert_eq!(count_users(&mount), before + 3, "they have the detached mount");
        drop(users);
        assert_eq!(count_users(&mount), before);
    });
}

/// Makes this script systemctl(1). False where it cannot be replaced.
fn provide_systemctl(lab: &Lab, script: &str) -> bool {
    let directory = Path::new("/usr/local/sbin");
    if !directory.is_dir() {
        lab.skip("there is no /usr/local/sbin");
        return false;
    }
    lab.mount_tmpfs_over(directory);
    let program = directory.join("systemctl");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    true
}

#[test]
fn systemd_that_does_not_answer_is_given_up() {
    run_isolated(|lab| {
        let worker = FileWorker::new();
        let show = || {
            let names = vec!["a.mount".to_owned(), "b.service".to_owned()];
            worker.begin(Duration::from_secs(60)).unwrap().show_units(names)
        };
        if !provide_systemctl(lab, "echo \"$@\" $HOME") {
            return;
        }
        let said = String::from_utf8(show().unwrap()).unwrap();
        assert!(said.starts_with("show --property=") && said.ends_with(" -- a.mount b.service\n"), "{said}");
        assert!(provide_systemctl(lab, "echo Id=a; exit 1"));
        assert!(show().unwrap_err().to_string().contains("exit status: 1"));
        assert!(provide_systemctl(lab, "exec sleep 600"));
        let started = Instant::now();
        assert_eq!(show().unwrap_err().to_string(), "systemd does not answer");
        assert!(started.elapsed() < Duration::from_secs(50));
    });
}
