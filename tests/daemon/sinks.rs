//! Syslog and stderr that block, disappear and come back do not delay detection.

use crate::common::{Daemon, Lab, Lines, display_path, ms, run_isolated};
use crate::{QUICK, QUICK_HANG};
use nix::fcntl::{FcntlArg, fcntl};
use std::net::Shutdown;
use std::process::{ChildStderr, Stdio};
use std::time::Instant;

/// Number of mount and unmount cycles whose messages exceed any socket or pipe buffer.
const CYCLES: usize = 300;

#[test]
fn unread_syslog_does_not_delay_detection() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let _unread = lab.bind_syslog();
        let daemon = lab.start_daemon(QUICK);
        mount_and_unmount(lab);
        lab.set_fault("mute", &path);
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);
        daemon.stop();
    });
}

#[test]
fn unread_stderr_does_not_delay_detection() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let syslog = lab.read_syslog();
        let (daemon, unread) = spawn_with_stderr_pipe(lab);
        fcntl(&unread, FcntlArg::F_SETPIPE_SZ(4096)).expect("shrink the pipe");
        assert!(syslog.wait_for(0, "Checked 1 mount; 0 are dead", ms(5000)).is_some());

        mount_and_unmount(lab);
        let before = daemon.process.rss_kib();
        mount_and_unmount(lab);
        let grown = daemon.process.rss_kib().saturating_sub(before);
        assert!(grown < 1024, "{grown} KiB more for messages that are not read");

        lab.set_fault("mute", &path);
        let needle = format!("Mount failed health-check: {} (hung:", display_path(&path));
        let line = syslog.wait_for(0, &needle, QUICK_HANG);
        assert!(line.is_some(), "{:?}", syslog.all().last());
        daemon.stop();
        drop(unread);
    });
}

#[test]
fn syslog_is_reconnected_after_a_restart() {
    run_isolated(|lab| {
        let socket = lab.bind_syslog();
        let first = Lines::from_socket(socket.try_clone().expect("duplicate the socket"));
        let daemon = lab.start_daemon(&["--poll-interval", "500ms"]);
        assert!(first.wait_for(0, "Checked 0 mounts", ms(5000)).is_some());
        std::fs::remove_file(lab.syslog_path()).expect("remove the socket");
        socket.shutdown(Shutdown::Both).expect("shut down the socket");
        drop(socket);
        let start = Instant::now();
        daemon.skip_earlier_lines();
        daemon.wait_for_line("Checked 0 mounts", ms(3000));
        let second = lab.read_syslog();
        assert!(second.wait_for(0, "Checked 0 mounts", ms(10_000)).is_some(), "after {:?}", start.elapsed());
        daemon.stop();
    });
}

#[test]
fn missing_syslog_at_start_is_a_warning_and_retried() {
    run_isolated(|lab| {
        let daemon = lab.start_daemon(&["--poll-interval", "500ms"]);
        daemon.wait_for_line("syslog (unix:", ms(1000));
        let syslog = lab.read_syslog();
        assert!(syslog.wait_for(0, "Checked 0 mounts", ms(10_000)).is_some(), "{}", daemon.transcript());
        daemon.stop();
    });
}

#[test]
fn closed_stderr_does_not_end_the_daemon() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let syslog = lab.read_syslog();
        let (daemon, stderr) = spawn_with_stderr_pipe(lab);
        drop(stderr);
        assert!(syslog.wait_for(0, "Checked 1 mount; 0 are dead", ms(5000)).is_some());
        lab.set_fault("errno EIO", &path);
        let needle = format!("Mount failed health-check: {} (io_error:", display_path(&path));
        assert!(syslog.wait_for(0, &needle, ms(5000)).is_some(), "{:?}", syslog.all().last());
        daemon.stop();
    });
}

fn mount_and_unmount(lab: &Lab) {
    let path = lab.mount_point("cycle");
    for _ in 0..CYCLES {
        lab.mount_tmpfs(&path);
        lab.unmount_when_idle(&path);
    }
}

fn spawn_with_stderr_pipe(lab: &Lab) -> (Daemon, ChildStderr) {
    let mut command = lab.daemon_command(QUICK);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the daemon starts");
    let stderr = child.stderr.take().expect("stderr is piped");
    (Daemon::with_stderr(child, Lines::default()), stderr)
}
