//! Syslog and stderr that block, disappear and come back do not delay detection.

use crate::common::{Daemon, Lab, Lines, display_path, ms, run_isolated, wait_until};
use crate::{QUICK, QUICK_HANG};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{ChildStderr, Stdio};
use std::time::Instant;

/// Number of mount and unmount cycles whose messages exceed any socket or pipe buffer.
const CYCLES: usize = 300;

#[test]
fn unread_syslog_does_not_delay_detection() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let _unread = lab.bind_syslog();
        let daemon = lab.start_daemon(&[QUICK, &["--syslog-level", "debug"]].concat());
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
fn last_line_is_the_last_also_if_syslog_is_gone() {
    run_isolated(|lab| {
        let socket = lab.bind_syslog();
        let syslog = Lines::from_socket(socket.try_clone().expect("duplicate the socket"));
        let daemon = lab.start_daemon(&["--poll-interval", "60"]);
        assert!(syslog.wait_for(0, "Checked 0 mounts", ms(5000)).is_some());
        std::fs::remove_file(lab.syslog_path()).expect("remove the socket");
        socket.shutdown(Shutdown::Both).expect("shut down the socket");
        drop(socket);
        daemon.send_signal(Signal::SIGTERM);
        let ended = daemon.wait_for_exit(Instant::now(), ms(1000));
        let (text, last) = ended.stderr.trim_end().rsplit_once('\n').expect("several lines");
        assert_eq!(last, "Stopped", "{text}");
        assert!(text.contains("\nsyslog (unix:") && text.contains(" cannot be reached: "), "{text}");
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

#[test]
fn a_burst_of_mounts_is_a_few_lines_and_each_is_an_event() {
    run_isolated(|lab| {
        let syslog = lab.read_syslog();
        let daemon = lab.start_daemon(&["--poll-interval", "60", "--syslog-level", "debug"]);
        let paths: Vec<_> = (0..40).map(|number| lab.mount_point(format!("volume{number}"))).collect();
        paths.iter().for_each(|path| lab.mount_tmpfs(path));
        let line = daemon.wait_for_line("Mounts changed: ", ms(5000));
        assert!(line.text.contains(" appeared within "), "{}", line.text);
        let last = format!("; the last: Mount appeared: {} (tmpfs", display_path(&paths[39]));
        assert!(line.text.contains(&last), "{}", line.text);
        assert!(daemon.stderr.count("Mount appeared: ") <= 21, "{}", daemon.transcript());
        wait_until(ms(5000), "each is an event", || syslog.count("]: Mount appeared: ") == 40);
        daemon.stop();
    });
}

#[test]
fn the_command_with_the_next_steps_follows_a_failure() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a b");
        let daemon = lab.start_daemon(QUICK);
        lab.set_fault("errno EIO", &path);
        daemon.wait_for_failure(&path, "io_error", QUICK_HANG);
        let command = format!("Next steps: mount_status_monitor diagnose '{}'", path.display());
        daemon.wait_for_line(&command, ms(3000));
        daemon.stop();
    });
}

#[test]
fn runs_have_a_line_when_the_numbers_change() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let syslog = lab.read_syslog();
        let options = [
            "--timeout",
            "300ms",
            "--poll-interval",
            "400ms",
            "--report-runs",
            "changed",
            "--syslog-report-runs",
            "always",
        ];
        let daemon = lab.start_daemon(&options);
        let runs = |count| wait_until(ms(10_000), "runs", || syslog.count("]: Checked ") >= count);
        runs(5);
        assert_eq!(daemon.stderr.count("Checked "), 1, "{}", daemon.transcript());
        lab.set_fault("errno EIO", &path);
        daemon.wait_for_line("Checked 1 mount; 1 is dead", ms(5000));
        runs(syslog.count("]: Checked ") + 3);
        assert_eq!(daemon.stderr.count("Checked "), 2, "{}", daemon.transcript());
        lab.clear_fault(&path);
        daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(5000));
        daemon.stop();
    });
}

#[test]
fn the_journal_gets_fields_instead_of_lines() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a b");
        lab.mount_tmpfs_over(Path::new("/run"));
        std::fs::create_dir_all("/run/systemd/journal").expect("create a directory");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let pipe = std::fs::File::from(OwnedFd::from(writer));
        let identity = pipe.metadata().expect("fstat");
        let mut command = lab.daemon_command(&[QUICK, &["--syslog", "auto"]].concat());
        command.env("JOURNAL_STREAM", format!("{}:{}", identity.dev(), identity.ino()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(pipe);
        let lines = Lines::from_reader(reader);
        let daemon = Daemon::with_stderr(command.spawn().expect("the daemon starts"), lines);
        // Without the socket there are lines with a priority.
        daemon.wait_for_line("<6>Checked 1 mount; 0 are dead", ms(5000));
        let journal = UnixDatagram::bind("/run/systemd/journal/socket").expect("bind a socket");
        journal.set_read_timeout(Some(ms(10_000))).expect("set a timeout");
        lab.set_fault("errno EIO", &path);
        let entry = loop {
            let mut packet = [0; 65_536];
            let length = journal.recv(&mut packet).expect("an entry");
            let text = String::from_utf8(packet[..length].to_vec()).expect("UTF-8");
            if text.contains("\nMOUNTSTATUS_EVENT=failed\n") {
                break text;
            }
        };
        assert!(entry.starts_with("MESSAGE=Mount failed health-check: "), "{entry}");
        for field in [
            "PRIORITY=3".to_owned(),
            "ERRNO=5".to_owned(),
            format!("MOUNTSTATUS_MOUNTPOINT={}", display_path(&path)),
        ] {
            assert!(entry.lines().any(|line| line == field), "{field} in {entry}");
        }
        daemon.assert_no_line("Mount failed");
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
    let mut command = lab.daemon_command(&[QUICK, &["--log-level", "debug"]].concat());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the daemon starts");
    let stderr = child.stderr.take().expect("stderr is piped");
    (Daemon::with_stderr(child, Lines::default()), stderr)
}
