//! Told to stop, it stops, and leaves nothing behind.

use crate::common::{Daemon, Process, isolated, ms, slack, soon};
use crate::{QUICK, QUICK_HANG};
use nix::sys::signal::Signal;

#[test]
fn both_signals_stop_it_cleanly() {
    isolated(this_test!(), |lab| {
        lab.fuses(5);
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let daemon = lab.daemon(QUICK);
            let family = daemon.process.descendants();
            assert!(!family.is_empty());
            daemon.stop_by(signal);
            gone(&family);
        }
    });
}

#[test]
fn hung_mounts_do_not_keep_it() {
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(20);
        lab.say_range("mute", 0, 20, "");
        let daemon = lab.daemon(QUICK);
        daemon.told_failed(&mounts[19], "hung", QUICK_HANG);
        daemon.stop();
    });
}

/// In the middle of its first run, before any verdict.
#[test]
fn a_run_in_progress_does_not_keep_it() {
    isolated(this_test!(), |lab| {
        lab.fuses(20);
        lab.server().freeze();
        let daemon = Daemon::spawn(lab.command(&["--timeout", "20"]));
        let prober = daemon.prober();
        daemon.stop();
        gone(&[prober]);
        lab.server().thaw();
    });
}

/// However it ends, its probers that can die do so.
#[test]
fn a_killed_daemon_leaves_nothing_behind() {
    isolated(this_test!(), |lab| {
        lab.fuses(5);
        let daemon = lab.daemon(QUICK);
        let family = daemon.process.descendants();
        daemon.signal(Signal::SIGKILL);
        gone(&family);
        drop(daemon);
        lab.daemon(QUICK).stop();
    });
}

fn gone(family: &[Process]) {
    soon(ms(1000) + slack(), "its probers are gone", || !family.iter().any(|process| process.alive()));
}
