//! Syslog and stderr may hang, vanish and come back; what is decided does not wait for them.

use crate::common::{Daemon, Lab, Lines, isolated, ms, printed};
use crate::{QUICK, QUICK_HANG};
use nix::fcntl::{FcntlArg, fcntl};
use std::net::Shutdown;
use std::process::Stdio;
use std::time::Instant;

/// More messages than any buffer between two processes holds.
const CYCLES: usize = 300;

#[test]
fn a_syslog_that_nobody_reads_is_not_waited_for() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse("a");
        let _unread = lab.syslog_socket();
        let daemon = lab.daemon(QUICK);
        mount_and_unmount(lab);
        lab.order("mute", &path);
        daemon.told_failed(&path, "hung", QUICK_HANG);
        daemon.stop();
    });
}

#[test]
fn a_stderr_that_nobody_reads_is_not_waited_for() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse("a");
        let syslog = lab.syslog();
        let mut command = lab.command(QUICK);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the daemon starts");
        let unread = child.stderr.take().expect("it was asked for");
        fcntl(&unread, FcntlArg::F_SETPIPE_SZ(4096)).expect("a pipe can be small");
        let daemon = Daemon::of(child, Lines::default());
        assert!(syslog.wait(0, "Checked 1 mounts; 0 are dead", ms(5000)).is_some());

        mount_and_unmount(lab);
        let before = daemon.process.rss_kib();
        mount_and_unmount(lab);
        let grown = daemon.process.rss_kib().saturating_sub(before);
        assert!(grown < 1024, "{grown} KiB more for messages that nobody reads");

        lab.order("mute", &path);
        let needle = format!("Mount failed health-check: {} (hung:", printed(&path));
        let told = syslog.wait(0, &needle, QUICK_HANG + crate::common::slack());
        assert!(told.is_some(), "{:?}", syslog.all().last());
        daemon.stop();
        drop(unread);
    });
}

#[test]
fn a_syslog_that_comes_back_is_used_again() {
    isolated(this_test!(), |lab| {
        let socket = lab.syslog_socket();
        let first = Lines::of_socket(socket.try_clone().expect("a descriptor is free"));
        let daemon = lab.daemon(&["--poll-interval", "500ms"]);
        assert!(first.wait(0, "Checked 0 mounts", ms(5000)).is_some());
        std::fs::remove_file(lab.syslog_path()).expect("the socket was there");
        socket.shutdown(Shutdown::Both).expect("it was open");
        drop(socket);
        let start = Instant::now();
        daemon.mark();
        daemon.told("Checked 0 mounts", ms(3000));
        let second = lab.syslog();
        assert!(second.wait(0, "Checked 0 mounts", ms(10_000)).is_some(), "after {:?}", start.elapsed());
        daemon.stop();
    });
}

#[test]
fn no_syslog_at_start_is_a_warning_and_is_tried_again() {
    isolated(this_test!(), |lab| {
        let daemon = lab.daemon(&["--poll-interval", "500ms"]);
        daemon.told("syslog (unix:", ms(1000));
        let syslog = lab.syslog();
        assert!(syslog.wait(0, "Checked 0 mounts", ms(10_000)).is_some(), "{}", daemon.transcript());
        daemon.stop();
    });
}

#[test]
fn a_closed_stderr_is_no_reason_to_end() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse("a");
        let syslog = lab.syslog();
        let mut command = lab.command(QUICK);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the daemon starts");
        drop(child.stderr.take());
        let daemon = Daemon::of(child, Lines::default());
        assert!(syslog.wait(0, "Checked 1 mounts; 0 are dead", ms(5000)).is_some());
        lab.order("errno EIO", &path);
        let needle = format!("Mount failed health-check: {} (io_error:", printed(&path));
        assert!(syslog.wait(0, &needle, ms(5000)).is_some(), "{:?}", syslog.all().last());
        daemon.stop();
    });
}

fn mount_and_unmount(lab: &Lab) {
    let path = lab.at("cycle");
    for _ in 0..CYCLES {
        lab.tmpfs(&path);
        lab.unmount_soon(&path);
    }
}
