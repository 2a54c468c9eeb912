//! Changes of the mount table are logged at once, and once.

use crate::common::{display_path, ms, pause, run_isolated, utf8, wait_until};
use crate::http::{get, start_with_http};
use crate::{QUICK, QUICK_HANG};
use nix::sys::signal::Signal;

const SOON: std::time::Duration = ms(500);

/// For changes that the fast comparison does not show; a read of the whole table follows it.
const SOON_WHOLE: std::time::Duration = ms(1500);

/// The interval is so long that early log lines can only come from notifications of the kernel.
const PATIENT: &[&str] = &["--timeout", "500ms", "--poll-interval", "60"];

#[test]
fn mount_and_unmount_are_logged() {
    run_isolated(|lab| {
        let daemon = lab.start_daemon(PATIENT);
        let path = lab.mount_fuse_with("a", "allow_other subtype=sshfs fsname=host:/dir");
        daemon.wait_for_line(
            &format!("Mount appeared: {} (fuse.sshfs from host:/dir)", display_path(&path)),
            SOON,
        );
        lab.unmount_when_idle(&path);
        daemon.wait_for_mount_line("Mount disappeared", &path, SOON);
        daemon.assert_no_line("Mount failed");
        daemon.stop();
    });
}

#[test]
fn table_is_read_once_until_the_first_run_is_complete() {
    run_isolated(|lab| {
        lab.mount_tmpfs(&lab.mount_point("a"));
        let (daemon, address) = start_with_http(lab, PATIENT);
        let response = get(address, "/metrics");
        let metric = "mountstatus_mount_table_reads_total 1";
        assert!(response.text().lines().any(|line| line == metric), "{}", response.text());
        daemon.stop();
    });
}

#[test]
fn new_mount_is_probed_at_once() {
    run_isolated(|lab| {
        let daemon = lab.start_daemon(PATIENT);
        let path = lab.mount_fuse_with("a", "allow_other mute");
        daemon.wait_for_failure(&path, "hung", ms(1000));
        daemon.stop();
    });
}

#[test]
fn read_only_remount_is_logged() {
    run_isolated(|lab| {
        let path = lab.mount_point("a");
        lab.mount_tmpfs(&path);
        let daemon = lab.start_daemon(PATIENT);
        lab.remount_read_only(&path);
        daemon.wait_for_line(&format!("Mount changed: {} (rw -> ro", display_path(&path)), SOON_WHOLE);
        daemon.assert_no_line("Mount appeared");
        daemon.assert_no_line("Mount disappeared");
        daemon.stop();
    });
}

#[test]
fn unexpected_options_are_a_warning_until_they_end() {
    run_isolated(|lab| {
        let (path, other) = (lab.mount_point("a"), lab.mount_point("b"));
        lab.mount_tmpfs(&path);
        lab.mount_tmpfs(&other);
        let rule = |options: &str| {
            let path = display_path(&path);
            format!(
                "poll_interval = 60\n[[rule]]\nmountpoint = \"{path}\"\n\
                 expected_options = {options}\n"
            )
        };
        let file = lab.write_file("config.toml", rule("[\"rw\", \"size=7k\"]"));
        let (daemon, address) = start_with_http(lab, &["--config", utf8(&file)]);
        let text = display_path(&path);
        let warning = format!("Mount has unexpected options: {text} (");
        daemon.wait_for_line(&format!("{warning}size=7k is missing; tmpfs from over)"), SOON_WHOLE);
        lab.write_file("config.toml", rule("\"rw\""));
        daemon.send_signal(Signal::SIGHUP);
        let end = format!("Mount no longer has unexpected options: {text} (after ");
        daemon.wait_for_line(&end, SOON_WHOLE);
        daemon.skip_earlier_lines();
        lab.remount_read_only(&path);
        lab.remount_read_only(&other);
        daemon.wait_for_line(&format!("{warning}ro instead of rw; tmpfs from over)"), SOON_WHOLE);
        let series = |metrics: &str| {
            let lines =
                metrics.lines().filter(|line| line.starts_with("mountstatus_mount_unexpected_options{"));
            lines.map(|line| line.rsplit_once("mountpoint=").unwrap().1.to_owned()).collect::<Vec<_>>()
        };
        let wanted = |value: u8| vec![format!("\"{text}\"}} {value}")];
        let metrics = || series(get(address, "/metrics").text());
        wait_until(ms(2000), "the metric is 1 for this mount only", || metrics() == wanted(1));
        let mounts = get(address, "/api/v1/mounts").json();
        let flags =
            mounts["mounts"].as_array().unwrap().iter().map(|mount| mount["unexpected_options"].as_bool());
        assert_eq!(flags.collect::<Vec<_>>(), [Some(true), None]);
        lab.remount_read_write(&path);
        daemon.wait_for_line(&end, SOON_WHOLE);
        wait_until(ms(2000), "the metric is 0", || metrics() == wanted(0));
        daemon.assert_no_line(&format!("unexpected options: {}", display_path(&other)));
        daemon.stop();
    });
}

#[test]
fn move_is_logged_as_one_event() {
    run_isolated(|lab| {
        let from = lab.mount_point("a");
        let to = lab.mount_point("b");
        lab.mount_tmpfs(&from);
        let daemon = lab.start_daemon(PATIENT);
        lab.move_mount(&from, &to);
        daemon.wait_for_line(
            &format!("Mount moved: {} -> {}", display_path(&from), display_path(&to)),
            SOON_WHOLE,
        );
        daemon.assert_no_line("Mount appeared");
        daemon.assert_no_line("Mount disappeared");
        daemon.stop();
    });
}

#[test]
fn hidden_mount_is_not_probed_until_it_is_visible() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let daemon = lab.start_daemon(QUICK);
        lab.mount_tmpfs_over(&path);
        daemon.wait_for_line(&format!("Mount appeared: {} (tmpfs from over)", display_path(&path)), SOON);
        lab.set_fault("mute", &path);
        pause(ms(2500));
        daemon.assert_no_line("Mount failed");
        daemon.assert_no_line(&format!("Mount disappeared: {} (fuse", display_path(&path)));
        daemon.skip_earlier_lines();
        daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(2000));
        lab.unmount_when_idle(&path);
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);
        daemon.stop();
    });
}

#[test]
fn excluded_mounts_are_not_logged() {
    run_isolated(|lab| {
        let daemon = lab.start_daemon(PATIENT);
        lab.mount_tmpfs(&lab.scratch_path("unwatched"));
        let path = lab.mount_point("a");
        lab.mount_tmpfs(&path);
        daemon.wait_for_mount_line("Mount appeared", &path, SOON);
        daemon.assert_no_line("unwatched");
        daemon.stop();
    });
}

#[test]
fn many_changes_end_in_the_right_state() {
    run_isolated(|lab| {
        let daemon = lab.start_daemon(PATIENT);
        let path = lab.mount_point("a");
        for _ in 0..200 {
            lab.mount_tmpfs(&path);
            lab.unmount_when_idle(&path);
        }
        // Of another type: where ids of mounts are used again, the same file system at another path was moved.
        let last = lab.mount_fuse("last");
        daemon.wait_for_mount_line("Mount appeared", &last, ms(2000));
        daemon.assert_no_line("Mount failed");
        daemon.stop();
    });
}
