//! Faults of the prober or the daemon itself are logged and repaired, and are not reported as faults of a mount.

use crate::common::{Daemon, Lab, Process, ms, pause, run_isolated, suspend, wait_until};
use crate::{QUICK, QUICK_HANG};
use nix::sys::signal::Signal;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A user id without other processes, because the limit counts processes of the user.
pub(crate) const UNUSED_USER: u32 = 47_111;

const FEW_RUNS: std::time::Duration = ms(3500);

#[test]
fn killed_prober_is_logged_and_replaced() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(5);
        let daemon = lab.start_daemon(QUICK);
        let prober = daemon.prober();
        daemon.skip_earlier_lines();
        prober.send_signal(Signal::SIGKILL);
        daemon.wait_for_line("Prober ", ms(3000));
        daemon.skip_earlier_lines();
        daemon.wait_for_line("Checked 5 mounts; 0 are dead", ms(3000));
        daemon.assert_no_line("Mount failed");
        assert_ne!(daemon.prober(), prober);
        lab.set_fault("mute", &mounts[0]);
        daemon.wait_for_failure(&mounts[0], "hung", QUICK_HANG);
        daemon.stop();
    });
}

/// All probes exceed their timeout, but no thread is confirmed to be stuck in a call.
#[test]
fn stopped_prober_is_logged_and_replaced() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(5);
        let daemon = lab.start_daemon(QUICK);
        let prober = daemon.prober();
        daemon.skip_earlier_lines();
        suspend(prober);
        daemon.wait_for_line("Prober ", ms(4000));
        daemon.wait_for_line("Checked 5 mounts; 0 are dead", ms(4000));
        daemon.assert_no_line("Mount failed");
        lab.set_fault("mute", &mounts[0]);
        daemon.wait_for_failure(&mounts[0], "hung", QUICK_HANG + ms(500));
        daemon.stop();
    });
}

/// The event loop does not wait for the launcher, and children are started without it.
#[test]
fn stopped_launcher_is_logged_and_replaced() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(5);
        let daemon = lab.start_daemon(QUICK);
        let [launcher, _] = daemon.both_launchers();
        suspend(launcher);
        assert_mounts_are_probed_without(lab, &daemon, &mounts, launcher);
        daemon.wait_for_line("The launcher does not respond (stopped?); killed", ms(100));
        daemon.stop();
    });
}

#[test]
fn killed_launcher_is_logged_and_replaced() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(5);
        let daemon = lab.start_daemon(QUICK);
        let [launcher, _] = daemon.both_launchers();
        launcher.send_signal(Signal::SIGKILL);
        assert_mounts_are_probed_without(lab, &daemon, &mounts, launcher);
        daemon.stop();
    });
}

/// Children are started from the file of the program until other launchers are ready.
#[test]
fn both_launchers_can_be_killed() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(5);
        let daemon = lab.start_daemon(QUICK);
        let [launcher, other] = daemon.both_launchers();
        launcher.send_signal(Signal::SIGKILL);
        other.send_signal(Signal::SIGKILL);
        assert_mounts_are_probed_without(lab, &daemon, &mounts, launcher);
        assert!(!daemon.both_launchers().contains(&other));
        daemon.stop();
    });
}

fn assert_mounts_are_probed_without(lab: &mut Lab, daemon: &Daemon, mounts: &[PathBuf], launcher: Process) {
    let prober = daemon.prober();
    prober.send_signal(Signal::SIGKILL);
    lab.set_fault("mute", &mounts[0]);
    daemon.wait_for_failure(&mounts[0], "hung", QUICK_HANG + ms(1500));
    assert_ne!(daemon.prober(), prober);
    daemon.wait_for_line("The launcher exited unexpectedly (killed by SIGKILL)", ms(1000));
    let are_replaced = || daemon.launchers().len() == 2 && !daemon.launchers().contains(&launcher);
    wait_until(ms(4000), "another launcher runs", are_replaced);
    lab.clear_fault(&mounts[0]);
    daemon.wait_for_recovery(&mounts[0], ms(4000));
    let zombies = || daemon.process.children().into_iter().filter(|child| child.state() == Some('Z')).count();
    wait_until(ms(1000), "every child is reaped", || zombies() == 0);
}

#[test]
fn suspended_daemon_reports_no_hang() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(5);
        let daemon = lab.start_daemon(QUICK);
        for stopped in [ms(3000), ms(700)] {
            suspend(daemon.process);
            pause(stopped);
            daemon.send_signal(Signal::SIGCONT);
            daemon.skip_earlier_lines();
            daemon.wait_for_line("Checked 5 mounts; 0 are dead", ms(3000));
            pause(ms(1200));
            daemon.assert_no_line("Mount failed");
        }
        lab.set_fault("mute", &mounts[0]);
        daemon.wait_for_failure(&mounts[0], "hung", QUICK_HANG);
        daemon.stop();
    });
}

#[test]
fn lack_of_descriptors_reports_no_hang() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(5);
        let daemon = lab.start_daemon(QUICK);
        assert_no_hang_under_limit(lab, daemon, &mounts[0], 0, ["--nofile=3:", "--nofile=1024:"]);
    });
}

#[test]
fn lack_of_processes_reports_no_hang() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(5);
        let daemon = Daemon::start(lab.daemon_command_as(UNUSED_USER, QUICK));
        assert_no_hang_under_limit(lab, daemon, &mounts[0], UNUSED_USER, ["--nproc=1:", "--nproc=4096:"]);
    });
}

/// Kills the prober of a daemon that cannot start another one, and later raises the limit.
fn assert_no_hang_under_limit(lab: &mut Lab, daemon: Daemon, path: &Path, user: u32, limits: [&str; 2]) {
    let prober = daemon.prober();
    if !cfg!(feature = "interval") {
        daemon.both_launchers();
    }
    set_limit(&daemon, user, limits[0]);
    daemon.skip_earlier_lines();
    prober.send_signal(Signal::SIGKILL);
    daemon.wait_for_line("Cannot start a prober: ", ms(4000));
    daemon.wait_for_line("Checked 5 mounts; 0 are dead; 5 could not be judged", ms(6000));
    pause(FEW_RUNS);
    daemon.assert_no_line("Mount failed");
    daemon.assert_no_line("Mount disappeared");

    set_limit(&daemon, user, limits[1]);
    daemon.skip_earlier_lines();
    lab.set_fault("mute", path);
    daemon.wait_for_failure(path, "hung", ms(40_000));
    daemon.stop();
}

/// Sets a soft limit of the running daemon and its launchers, as their own user: in some containers root is not permitted
/// to.
pub(crate) fn set_limit(daemon: &Daemon, user: u32, what: &str) {
    let limit = |process: Process| {
        let mut command = Command::new("prlimit");
        command.args(["--pid", &process.0.to_string(), what]).uid(user).gid(user);
        command.status().expect("prlimit runs").success()
    };
    // A child that has just been started looks like a launcher, and may have ended.
    wait_until(ms(5000), what, || daemon.launchers().into_iter().chain([daemon.process]).all(limit));
}
