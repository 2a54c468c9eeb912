//! The prober or the daemon itself is hurt. That is told, it heals, and no mount is accused of it.

use crate::common::{Daemon, isolated, ms, pause};
use crate::{QUICK, QUICK_HANG};
use nix::sys::signal::Signal;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Nobody else on the machine has processes of this user, whose number is limited.
const LONELY_USER: u32 = 47_111;

const FEW_RUNS: std::time::Duration = ms(3500);

#[test]
fn a_killed_prober_is_told_and_replaced() {
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(5);
        let daemon = lab.daemon(QUICK);
        let prober = daemon.prober();
        daemon.mark();
        prober.signal(Signal::SIGKILL);
        daemon.told("Prober ", ms(3000));
        daemon.mark();
        daemon.told("Checked 5 mounts; 0 are dead", ms(3000));
        daemon.silent_about("Mount failed");
        assert_ne!(daemon.prober(), prober);
        lab.order("mute", &mounts[0]);
        daemon.told_failed(&mounts[0], "hung", QUICK_HANG);
        daemon.stop();
    });
}

/// All its probes overrun, and still none of its mounts is to blame.
#[test]
fn a_stopped_prober_is_told_and_replaced() {
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(5);
        let daemon = lab.daemon(QUICK);
        let prober = daemon.prober();
        daemon.mark();
        prober.signal(Signal::SIGSTOP);
        daemon.told("Prober ", ms(4000));
        daemon.told("Checked 5 mounts; 0 are dead", ms(4000));
        daemon.silent_about("Mount failed");
        lab.order("mute", &mounts[0]);
        daemon.told_failed(&mounts[0], "hung", QUICK_HANG + ms(500));
        daemon.stop();
    });
}

#[test]
fn a_daemon_that_was_stopped_for_a_while_accuses_nobody() {
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(5);
        let daemon = lab.daemon(QUICK);
        for stopped in [ms(3000), ms(700)] {
            daemon.signal(Signal::SIGSTOP);
            pause(stopped);
            daemon.signal(Signal::SIGCONT);
            daemon.mark();
            daemon.told("Checked 5 mounts; 0 are dead", ms(3000));
            pause(ms(1200));
            daemon.silent_about("Mount failed");
        }
        lab.order("mute", &mounts[0]);
        daemon.told_failed(&mounts[0], "hung", QUICK_HANG);
        daemon.stop();
    });
}

#[test]
fn without_descriptors_nobody_is_accused() {
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(5);
        let daemon = lab.daemon(QUICK);
        let prober = daemon.prober();
        limit(&daemon, 0, "--nofile=3:");
        daemon.mark();
        prober.signal(Signal::SIGKILL);
        daemon.told("Cannot start a prober: ", ms(4000));
        daemon.told("Checked 5 mounts; 0 are dead; 5 could not be judged", ms(6000));
        pause(FEW_RUNS);
        daemon.silent_about("Mount failed");
        daemon.silent_about("Mount disappeared");

        limit(&daemon, 0, "--nofile=1024:");
        daemon.mark();
        lab.order("mute", &mounts[0]);
        daemon.told_failed(&mounts[0], "hung", ms(40_000));
        daemon.stop();
    });
}

#[test]
fn without_processes_nobody_is_accused() {
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(5);
        let daemon = Daemon::start(lab.command_of_user(LONELY_USER, QUICK));
        let prober = daemon.prober();
        limit(&daemon, LONELY_USER, "--nproc=1:");
        daemon.mark();
        prober.signal(Signal::SIGKILL);
        daemon.told("Cannot start a prober: ", ms(4000));
        daemon.told("Checked 5 mounts; 0 are dead; 5 could not be judged", ms(6000));
        pause(FEW_RUNS);
        daemon.silent_about("Mount failed");

        limit(&daemon, LONELY_USER, "--nproc=4096:");
        daemon.mark();
        lab.order("mute", &mounts[0]);
        daemon.told_failed(&mounts[0], "hung", ms(40_000));
        daemon.stop();
    });
}

/// The soft limit of the running daemon, set by its own user: even root may not everywhere.
fn limit(daemon: &Daemon, user: u32, what: &str) {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &daemon.process.0.to_string(), what]).uid(user).gid(user);
    assert!(command.status().expect("prlimit runs").success(), "{what}");
}
