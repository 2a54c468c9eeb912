//! Told to stop, it stops, and leaves nothing behind.

use crate::common::{Daemon, Process, ms, run_isolated, slack, wait_until};
use crate::{QUICK, QUICK_HANG};
use nix::sys::signal::Signal;

#[test]
fn both_signals_stop_it_cleanly() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuses(5);
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let daemon = lab.start_daemon(QUICK);
            let family = daemon.process.descendants();
            assert!(!family.is_empty());
            daemon.stop_with(signal);
            gone(&family);
        }
    });
}

#[test]
fn hung_mounts_do_not_keep_it() {
    run_isolated(test_name!(), |lab| {
        let mounts = lab.mount_fuses(20);
        lab.set_faults("mute", 0..20);
        let daemon = lab.start_daemon(QUICK);
        daemon.wait_for_failure(&mounts[19], "hung", QUICK_HANG);
        daemon.stop();
    });
}

/// In the middle of its first run, before any verdict.
#[test]
fn a_run_in_progress_does_not_keep_it() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuses(20);
        lab.fuse_server().freeze();
        let daemon = Daemon::spawn(lab.daemon_command(&["--timeout", "20"]));
        let prober = daemon.prober();
        daemon.stop();
        gone(&[prober]);
        lab.fuse_server().thaw();
    });
}

/// However it ends, its probers that can die do so.
#[test]
fn a_killed_daemon_leaves_nothing_behind() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuses(5);
        let daemon = lab.start_daemon(QUICK);
        let family = daemon.process.descendants();
        daemon.send_signal(Signal::SIGKILL);
        gone(&family);
        drop(daemon);
        lab.start_daemon(QUICK).stop();
    });
}

fn gone(family: &[Process]) {
    wait_until(ms(1000) + slack(), "its probers are gone", || {
        !family.iter().any(|process| process.is_alive())
    });
}
