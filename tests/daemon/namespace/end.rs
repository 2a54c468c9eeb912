//! When the watched namespace ends, the daemon logs it, releases the namespace, and exits with its own status.

use super::Container;
use crate::common::{CommandOutput, Daemon, Lab, ms, run_isolated, wait_until};
use crate::{QUICK, QUICK_HANG};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The exit status when the namespace has ended.
const ENDED: i32 = 3;

/// A directory that exists while this FUSE file system is mounted in any namespace.
fn connection(mount: &Path) -> PathBuf {
    let connections = Path::new("/sys/fs/fuse/connections");
    nix::mount::mount(Some("none"), connections, Some("fusectl"), nix::mount::MsFlags::empty(), None::<&str>)
        .expect("fusectl mounts");
    let table = std::fs::read("/proc/self/mountinfo").expect("proc");
    let table = platform::mountinfo::parse(&table).expect("a mount table");
    let found = table.iter().find(|entry| entry.mountpoint == mount).expect("the mount exists");
    let connection = connections.join(found.device_number.minor.to_string());
    assert!(connection.exists(), "{connection:?}");
    connection
}

#[test]
fn end_of_the_container_ends_the_daemon_at_once() {
    run_isolated(|lab| {
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
        let result = daemon.wait_for_exit(start, ms(1000));
        result.assert_code(ENDED);
        assert!(!result.stderr.contains("Mount disappeared"), "{}", result.stderr);
        // The daemon held the namespace last; releasing it unmounts the file system.
        wait_until(ms(2000), "the file system is gone", || !connection.exists());
    });
}

#[test]
fn stranded_prober_does_not_delay_the_end_of_the_namespace() {
    run_isolated(|lab| {
        let inner = lab.mount_fuse("a");
        let container = Container::with(lab, &[&inner]);
        let daemon = container.daemon(lab, QUICK);
        lab.set_fault("mute", &inner);
        daemon.wait_for_failure(&container.mount_point(0), "hung", QUICK_HANG);
        daemon.wait_for_line("cannot be killed while 1 of its probes hang", ms(3000));
        let start = Instant::now();
        container.end();
        assert_eq!(daemon.wait_for_exit(start, ms(1000)).code, Some(ENDED));
    });
}

#[test]
fn process_that_leaves_its_namespace_ends_the_daemon() {
    run_isolated(|lab| {
        // When stdin is closed, the process moves to another mount namespace.
        let mut process = Command::new("unshare")
            .args(["--mount", "--", "sh", "-c", "echo ready; read line; exec unshare --mount sleep 600"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let output = crate::common::Lines::from_reader(process.stdout.take().expect("the stream is piped"));
        assert!(output.wait_for(0, "ready", ms(10_000)).is_some());
        let mut command = lab.daemon_command(QUICK);
        command.args(["--mount-namespace", &format!("/proc/{}/ns/mnt", process.id())]);
        let daemon = Daemon::start(command);
        let start = Instant::now();
        drop(process.stdin.take());
        let result = daemon.wait_for_exit(start, ms(3000));
        result.assert_code(ENDED);
        process.kill().expect("the process runs");
        process.wait().expect("it is a child");
    });
}

/// A container whose namespace is bind-mounted on this file. The kernel allows that only for namespaces with a higher
/// number than our own. Linux 6.18 allocates numbers per CPU, so the next namespace need not have a higher one.
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
fn namespace_file_ends_with_its_bind_mount() {
    run_isolated(|lab| {
        let inner = lab.mount_fuse("a");
        let connection = connection(&inner);
        let file = lab.write_file("namespace", "");
        let container = mounted_on(lab, &inner, &file);
        let path = container.mount_point(0);
        let mut command = lab.daemon_command(QUICK);
        command.arg("--mount-namespace").arg(&file);
        command.args(["--mount-points-include", &format!("^{}$", path.display())]);
        container.end(); // now only the bind mount keeps the namespace alive
        let daemon = Daemon::start(command);
        daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(2000));
        lab.set_fault("mute", &inner);
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);
        lab.clear_fault(&inner);
        daemon.wait_for_recovery(&path, ms(3000));
        let start = Instant::now();
        lab.unmount(&file).expect("it is not in use");
        let result = daemon.wait_for_exit(start, ms(2000));
        result.assert_code(ENDED);
        wait_until(ms(2000), "the file system is gone", || !connection.exists());
    });
}

#[test]
fn single_run_fails_when_the_namespace_ends() {
    run_isolated(|lab| {
        let inner = lab.mount_fuse("a");
        let container = Container::with(lab, &[&inner]);
        lab.set_fault("mute", &inner);
        let daemon = Daemon::spawn(container.command(lab, &["--once-only", "--timeout", "30"]));
        let check = Daemon::spawn(container.check(&["--timeout", "30", "--nagios"]));
        for daemon in [&daemon, &check] {
            wait_until(ms(10_000), "a probe is under way", || {
                daemon.process.children().iter().any(|child| child.has_role("prober"))
            });
        }
        daemon.wait_for_line("Watching", ms(5000));
        wait_until(ms(10_000), "both wait", || lab.request_counts(&inner).ends_with("pending=2"));
        let start = Instant::now();
        container.end();
        let result = daemon.wait_for_exit(start, ms(1000));
        result.assert_code(ENDED);
        let result = check.wait_for_exit(start, ms(1000));
        assert_eq!(
            (result.code, result.stdout.contains("MOUNTS UNKNOWN")),
            (Some(3), true),
            "{}",
            result.stdout
        );
    });
}

#[test]
fn namespace_that_has_ended_is_a_usage_error() {
    run_isolated(|lab| {
        let container = Container::with(lab, &[]);
        let command = container.command(lab, &["--once-only", "--syslog", "off"]);
        let file = container.file();
        container.end();
        let result = CommandOutput::run(command, ms(2000));
        result.assert_code(2);
        result.assert_stderr_contains(&format!("--mount-namespace {file}: No such file or directory"));
        assert_eq!(result.stderr.lines().count(), 1, "{}", result.stderr);
    });
}
