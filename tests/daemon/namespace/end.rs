//! The end of the namespace that is watched: told, with an exit status of its own, whatever hangs; and it is let go.

use super::Container;
use crate::common::{CommandOutput, Daemon, Lab, ms, run_isolated, slack, wait_until};
use crate::{QUICK, QUICK_HANG};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The exit status for it.
const ENDED: i32 = 3;

/// What is there for as long as this FUSE file system is mounted anywhere.
fn connection(mount: &Path) -> PathBuf {
    let connections = Path::new("/sys/fs/fuse/connections");
    nix::mount::mount(Some("none"), connections, Some("fusectl"), nix::mount::MsFlags::empty(), None::<&str>)
        .expect("fusectl mounts");
    let table = std::fs::read("/proc/self/mountinfo").expect("proc");
    let table = platform::mountinfo::parse(&table).expect("a mount table");
    let found = table.iter().find(|entry| entry.mountpoint == mount).expect("it is mounted");
    let connection = connections.join(found.device_number.minor.to_string());
    assert!(connection.exists(), "{connection:?}");
    connection
}

#[test]
fn the_end_of_a_container_is_told_at_once() {
    run_isolated(test_name!(), |lab| {
        let inner = lab.mount_fuse("a");
        let connection = connection(&inner);
        let container = Container::with(lab, &[&inner]);
        let daemon = container.daemon(lab, &["--poll-interval", "60"]);
        let (file, start) = (container.file(), Instant::now());
        container.end();
        daemon.wait_for_line(
            &format!("The mount namespace of {file} has ended; nothing is left to watch"),
            ms(500),
        );
        let done = daemon.wait_for_exit(start, ms(1000));
        assert_eq!(done.code, Some(ENDED), "{}", done.stderr);
        assert!(!done.stderr.contains("Mount disappeared"), "{}", done.stderr);
        // The last one to hold the namespace has let go of it, so its mounts are gone and their server knows.
        wait_until(ms(2000) + slack(), "the file system is gone", || !connection.exists());
    });
}

#[test]
fn a_probe_that_cannot_be_killed_does_not_keep_the_daemon_from_its_end() {
    run_isolated(test_name!(), |lab| {
        let inner = lab.mount_fuse("a");
        let container = Container::with(lab, &[&inner]);
        let daemon = container.daemon(lab, QUICK);
        lab.set_fault("mute", &inner);
        daemon.wait_for_failure(&container.place(0), "hung", QUICK_HANG);
        daemon.wait_for_line("cannot be killed while 1 of its probes hang", ms(3000));
        let start = Instant::now();
        container.end();
        assert_eq!(daemon.wait_for_exit(start, ms(1000)).code, Some(ENDED));
    });
}

#[test]
fn a_process_that_goes_elsewhere_leaves_its_namespace_unwatched() {
    run_isolated(test_name!(), |lab| {
        // It waits for its standard input and then leaves for a namespace of its own.
        let mut process = Command::new("unshare")
            .args(["--mount", "--", "sh", "-c", "echo ready; read line; exec unshare --mount sleep 600"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let said = crate::common::Lines::from_reader(process.stdout.take().expect("it was asked for"));
        assert!(said.wait_for(0, "ready", ms(10_000)).is_some());
        let mut command = lab.daemon_command(QUICK);
        command.args(["--mount-namespace", &format!("/proc/{}/ns/mnt", process.id())]);
        let daemon = Daemon::start(command);
        let start = Instant::now();
        drop(process.stdin.take());
        let done = daemon.wait_for_exit(start, ms(3000));
        assert_eq!(done.code, Some(ENDED), "{}", done.stderr);
        process.kill().expect("it lives");
        process.wait().expect("it is ours");
    });
}

/// A container whose namespace is mounted on this file. The kernel allows that for namespaces with a higher number than
/// our own, and since it gives each processor numbers of its own (seen on 6.18) the next need not have one.
fn mounted_on(lab: &Lab, mount: &Path, file: &Path) -> Container {
    for _ in 0..64 {
        let container = Container::sharing(lab, &[mount]);
        let bind = Command::new("mount")
            .args(["--bind", &container.file()])
            .arg(file)
            .stderr(Stdio::null())
            .status();
        if bind.expect("mount runs").success() {
            lab.detach(mount);
            return container;
        }
        container.end();
    }
    panic!("no namespace could be mounted on {file:?}");
}

#[test]
fn a_namespace_that_is_mounted_ends_with_that_mount() {
    run_isolated(test_name!(), |lab| {
        let inner = lab.mount_fuse("a");
        let connection = connection(&inner);
        let file = lab.scratch_path("namespace");
        std::fs::write(&file, "").expect("a file");
        let container = mounted_on(lab, &inner, &file);
        let path = container.place(0);
        let mut command = lab.daemon_command(QUICK);
        command.arg("--mount-namespace").arg(&file);
        command.args(["--mount-points-include", &format!("^{}$", path.display())]);
        container.end(); // the mount alone keeps it now
        let daemon = Daemon::start(command);
        daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(2000));
        lab.set_fault("mute", &inner);
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);
        lab.clear_fault(&inner);
        daemon.wait_for_recovery(&path, ms(3000));
        let start = Instant::now();
        lab.unmount(&file).expect("we do not keep it busy");
        let done = daemon.wait_for_exit(start, ms(2000));
        assert_eq!(done.code, Some(ENDED), "{}", done.stderr);
        wait_until(ms(2000) + slack(), "the file system is gone", || !connection.exists());
    });
}

#[test]
fn a_single_run_in_a_namespace_that_ends_is_no_success() {
    run_isolated(test_name!(), |lab| {
        let inner = lab.mount_fuse("a");
        let container = Container::with(lab, &[&inner]);
        lab.set_fault("mute", &inner);
        let daemon = Daemon::spawn(container.command(lab, &["--once-only", "--timeout", "30"]));
        let check = Daemon::spawn(container.check(&["--timeout", "30", "--nagios"]));
        for daemon in [&daemon, &check] {
            wait_until(ms(10_000), "a probe is under way", || !daemon.process.children().is_empty());
        }
        daemon.wait_for_line("Watching", ms(5000));
        wait_until(ms(10_000), "both wait", || lab.request_counts(&inner).ends_with("kept=2"));
        let start = Instant::now();
        container.end();
        let done = daemon.wait_for_exit(start, ms(1000));
        assert_eq!(done.code, Some(ENDED), "{}", done.stderr);
        let done = check.wait_for_exit(start, ms(1000));
        assert_eq!((done.code, done.stdout.contains("MOUNTS UNKNOWN")), (Some(3), true), "{}", done.stdout);
    });
}

#[test]
fn one_that_is_not_there_any_more_is_no_start() {
    run_isolated(test_name!(), |lab| {
        let container = Container::with(lab, &[]);
        let command = container.command(lab, &["--once-only", "--syslog", "off"]);
        let file = container.file();
        container.end();
        let done = CommandOutput::run(command, ms(2000));
        assert_eq!(done.code, Some(2), "{}", done.stderr);
        done.assert_stderr_contains(&format!("--mount-namespace {file}: No such file or directory"));
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    });
}
