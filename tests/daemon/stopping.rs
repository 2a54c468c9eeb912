//! Stopping the daemon: in time, and without remaining processes.

use crate::common::{Daemon, Process, ms, run_isolated, wait_until};
use crate::{QUICK, QUICK_HANG};
use nix::sys::signal::Signal;

#[test]
fn sigterm_and_sigint_stop_daemon_and_probers() {
    run_isolated(|lab| {
        lab.mount_fuses(5);
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let daemon = lab.start_daemon(QUICK);
            let children = daemon.process.descendants();
            assert!(!children.is_empty());
            daemon.stop_with(signal);
            wait_until_ended(&children);
        }
    });
}

#[test]
fn hung_mounts_do_not_delay_stop() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(20);
        lab.set_faults("mute", 0..20);
        let daemon = lab.start_daemon(QUICK);
        daemon.wait_for_failure(&mounts[19], "hung", QUICK_HANG);
        daemon.stop();
    });
}

#[test]
fn first_run_in_progress_does_not_delay_stop() {
    run_isolated(|lab| {
        lab.mount_fuses(20);
        lab.fuse_server().freeze();
        let daemon = Daemon::spawn(lab.daemon_command(&["--timeout", "20"]));
        let prober = daemon.prober();
        daemon.stop();
        wait_until_ended(&[prober]);
        lab.fuse_server().thaw();
    });
}

#[test]
fn probers_end_when_the_daemon_is_killed() {
    run_isolated(|lab| {
        lab.mount_fuses(5);
        let daemon = lab.start_daemon(QUICK);
        let children = daemon.process.descendants();
        daemon.send_signal(Signal::SIGKILL);
        wait_until_ended(&children);
        drop(daemon);
        lab.start_daemon(QUICK).stop();
    });
}

fn wait_until_ended(children: &[Process]) {
    wait_until(ms(1000), "all children have ended", || !children.iter().any(|process| process.is_alive()));
}
