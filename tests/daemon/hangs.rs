//! Mounts that fail and recover while the daemon runs.

use crate::common::{count_threads_stuck_in_fuse, display_path, ms, pause, run_isolated, slack, wait_until};
use crate::{QUICK, QUICK_HANG};
use std::time::Instant;

#[test]
fn hang_and_recovery_are_logged() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(5);
        let daemon = lab.start_daemon(QUICK);
        lab.set_fault("mute", &mounts[1]);
        daemon.wait_for_failure(&mounts[1], "hung", QUICK_HANG);
        daemon.wait_for_line("Checked 5 mounts; 1 is dead", ms(2000));
        daemon.skip_earlier_lines();
        lab.clear_fault(&mounts[1]);
        daemon.wait_for_recovery(&mounts[1], ms(1000));
        daemon.wait_for_line("Checked 5 mounts; 0 are dead", ms(2000));
        daemon.assert_no_line("Mount failed");
        daemon.stop();
    });
}

/// Requests that the server has read stay unanswered, as after a restart that lost its state.
#[test]
fn recovery_is_detected_while_the_old_probe_stays_pending() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let daemon = lab.start_daemon(QUICK);
        lab.fuse_server().freeze();
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);
        lab.fuse_server().thaw();
        daemon.wait_for_recovery(&path, ms(3000));
        daemon.stop();
    });
}

#[test]
fn new_mount_that_hangs_is_logged_after_the_timeout() {
    run_isolated(|lab| {
        lab.mount_fuse("healthy");
        let daemon = lab.start_daemon(&["--timeout", "500ms", "--poll-interval", "60"]);
        let path = lab.mount_fuse_with("mute", "allow_other mute");
        daemon.wait_for_line(&format!("Mount appeared: {} (fuse from ", display_path(&path)), ms(500));
        daemon.wait_for_failure(&path, "hung", ms(1000));
        let path = lab.mount_fuse_with("noinit", "allow_other noinit");
        daemon.wait_for_failure(&path, "hung", ms(1000));
        daemon.stop();
    });
}

#[test]
fn hang_that_ends_in_an_error_is_logged_once() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let daemon = lab.start_daemon(QUICK);
        lab.set_fault("soft 1500 EIO", &path);
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);
        daemon.skip_earlier_lines();
        pause(ms(4000));
        daemon.assert_no_line("Mount failed");
        daemon.assert_no_line("Mount recovered");
        lab.set_fault("ok", &path);
        daemon.wait_for_recovery(&path, ms(4000));
        daemon.stop();
    });
}

#[test]
fn slow_mount_is_logged_and_not_dead() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let daemon = lab.start_daemon(&["--timeout", "10", "--slow-after", "400ms", "--poll-interval", "1"]);
        lab.set_fault("delay 700", &path);
        daemon.wait_for_mount_line("Mount is slow", &path, ms(3000));
        daemon.skip_earlier_lines();
        daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(4000));
        lab.set_fault("ok", &path);
        daemon.wait_for_recovery(&path, ms(4000));
        daemon.assert_no_line("Mount failed");
        daemon.stop();
    });
}

#[test]
fn dead_fuse_server_is_disconnected_until_it_is_mounted_again() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let daemon = lab.start_daemon(QUICK);
        lab.set_fault("die", &path);
        daemon.wait_for_failure(&path, "disconnected", ms(1000));
        lab.detach(&path);
        daemon.wait_for_mount_line("Mount disappeared", &path, ms(500));
        lab.mount_fuse("a");
        daemon.wait_for_mount_line("Mount appeared", &path, ms(500));
        daemon.skip_earlier_lines();
        daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(2000));
        daemon.stop();
    });
}

/// The server was stopped before it read the request, so the prober can be killed and does not keep the mount busy.
#[test]
fn hung_mount_can_be_unmounted_after_the_timeout() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        let daemon = lab.start_daemon(&["--timeout", "500ms", "--poll-interval", "10"]);
        lab.fuse_server().freeze();
        // The next run is 10 s away; only the change of the mount table causes a probe earlier.
        lab.mount_tmpfs(&lab.mount_point("b"));
        daemon.wait_for_failure(&path, "hung", ms(10_500));
        wait_until(ms(1000), "the mount is not busy", || lab.unmount(&path).is_ok());
        daemon.wait_for_mount_line("Mount disappeared", &path, ms(500));
        let children = daemon.process.descendants();
        assert_eq!(count_threads_stuck_in_fuse(&children), 0, "{children:?}");
        assert!(children.iter().all(|process| process.state() != Some('D')), "{children:?}");
        lab.fuse_server().thaw();
        daemon.stop();
    });
}

/// The server has read the request and never responds, so the prober cannot be killed.
#[test]
fn stranded_prober_does_not_delay_stop_or_start() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        lab.set_fault("mute", &mounts[0]);
        let first = lab.start_daemon(QUICK);
        first.wait_for_failure(&mounts[0], "hung", QUICK_HANG);
        first.stop();
        let start = Instant::now();
        let second = lab.start_daemon(QUICK);
        assert!(start.elapsed() < ms(1500) + slack(), "{:?}", start.elapsed());
        second.wait_for_failure(&mounts[0], "hung", QUICK_HANG);
        lab.clear_fault(&mounts[0]);
        second.wait_for_recovery(&mounts[0], ms(3000));
        second.stop();
    });
}

/// Both probes were abandoned with the same prober, which ends only when both mounts respond.
#[test]
fn recovery_is_detected_while_another_mount_hangs() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        let daemon = lab.start_daemon(QUICK);
        lab.set_faults("mute", 0..2);
        daemon.wait_for_failure(&mounts[0], "hung", QUICK_HANG);
        daemon.wait_for_failure(&mounts[1], "hung", QUICK_HANG);
        daemon.wait_for_line("cannot be killed while 2 of its probes hang", ms(1000));
        daemon.skip_earlier_lines();
        lab.clear_fault(&mounts[0]);
        daemon.wait_for_recovery(&mounts[0], ms(2000));
        daemon.wait_for_line("Checked 3 mounts; 1 is dead", ms(2000));
        daemon.assert_no_line("Stranded prober");
        daemon.stop();
    });
}

#[test]
fn unmount_of_a_hung_mount_is_logged() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        lab.set_fault("mute", &path);
        let daemon = lab.start_daemon(QUICK);
        daemon.wait_for_failure(&path, "hung", QUICK_HANG);
        lab.detach(&path);
        daemon.wait_for_mount_line("Mount disappeared", &path, ms(500));
        daemon.skip_earlier_lines();
        daemon.wait_for_line("Checked 0 mounts; 0 are dead", ms(2000));
        daemon.stop();
    });
}

/// A mount below a hung mount counts as dead, but only the mount that needs repair is logged.
#[test]
fn mount_below_a_hung_mount_is_dead_without_a_log_line() {
    run_isolated(|lab| {
        let outer = lab.mount_fuse("a");
        let inner = lab.mount_point("a/file");
        // The test file system has only files to mount on.
        lab.bind_mount_file(&inner);
        let daemon = lab.start_daemon(QUICK);
        daemon.wait_for_line("Checked 2 mounts; 0 are dead", ms(1000));
        lab.set_fault("mute", &outer);
        daemon.wait_for_failure(&outer, "hung", QUICK_HANG);
        daemon.wait_for_line("Checked 2 mounts; 2 are dead", ms(2000));
        lab.clear_fault(&outer);
        daemon.wait_for_recovery(&outer, ms(3000));
        daemon.skip_earlier_lines();
        daemon.wait_for_line("Checked 2 mounts; 0 are dead", ms(3000));
        assert_eq!(daemon.stderr.count(&display_path(&inner)), 0, "{}", daemon.transcript());
        daemon.stop();
    });
}

/// A FUSE mount on a tmpfs in a FUSE mount, whose requests both servers have read and do not answer.
#[test]
fn nested_mount_that_hangs_by_itself_is_logged_when_the_outer_one_recovers() {
    run_isolated(|lab| {
        let outer = lab.mount_fuse("a");
        let between = lab.mount_point("a/directory");
        lab.mount_tmpfs(&between);
        let inner = lab.mount_fuse("a/directory/inner");
        let healthy = lab.mount_fuse("a/directory/healthy");
        let daemon = lab.start_daemon(QUICK);
        daemon.wait_for_line("Checked 4 mounts; 0 are dead", ms(1000));
        lab.set_fault("mute", &inner);
        lab.set_fault("mute", &outer);
        daemon.wait_for_failure(&outer, "hung", QUICK_HANG);
        daemon.wait_for_line("Checked 4 mounts; 4 are dead", ms(2000));
        lab.clear_fault(&outer);
        daemon.wait_for_recovery(&outer, ms(3000));
        daemon.wait_for_failure(&inner, "hung", QUICK_HANG);
        daemon.skip_earlier_lines();
        daemon.wait_for_line("Checked 4 mounts; 1 is dead", ms(3000));
        lab.clear_fault(&inner);
        daemon.wait_for_recovery(&inner, ms(3000));
        daemon.wait_for_line("Checked 4 mounts; 0 are dead", ms(3000));
        for path in [&between, &healthy] {
            let text = format!("{} (", display_path(path));
            assert_eq!(daemon.stderr.count(&text), 0, "{}", daemon.transcript());
        }
        daemon.stop();
    });
}
