//! A mount dies and comes back while the daemon runs.

use crate::common::{isolated, ms, pause, printed, slack, soon, stuck_in_fuse};
use crate::{QUICK, QUICK_HANG};
use std::time::Instant;

#[test]
fn a_hang_and_its_end_are_told() {
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(5);
        let daemon = lab.daemon(QUICK);
        lab.order("mute", &mounts[1]);
        daemon.told_failed(&mounts[1], "hung", QUICK_HANG);
        daemon.told("Checked 5 mounts; 1 are dead", ms(2000));
        daemon.mark();
        lab.order("ok", &mounts[1]);
        lab.order("release", &mounts[1]);
        daemon.told_recovered(&mounts[1], ms(1000));
        daemon.told("Checked 5 mounts; 0 are dead", ms(2000));
        daemon.silent_about("Mount failed");
        daemon.stop();
    });
}

/// The requests that were read are never answered, as after a restart of a server that lost its memory.
#[test]
fn a_recovery_is_seen_though_the_old_probe_stays_unanswered() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse("a");
        let daemon = lab.daemon(QUICK);
        lab.server().freeze();
        daemon.told_failed(&path, "hung", QUICK_HANG);
        lab.server().thaw();
        daemon.told_recovered(&path, ms(3000));
        daemon.stop();
    });
}

#[test]
fn a_mount_that_is_born_hung_is_told() {
    isolated(this_test!(), |lab| {
        lab.fuse("well");
        let daemon = lab.daemon(&["--timeout", "500ms", "--poll-interval", "60"]);
        let path = lab.fuse_with("mute", "allow_other mute");
        daemon.told(&format!("Mount appeared: {} (fuse from ", printed(&path)), ms(500));
        daemon.told_failed(&path, "hung", ms(1000));
        let path = lab.fuse_with("noinit", "allow_other noinit");
        daemon.told_failed(&path, "hung", ms(1000));
        daemon.stop();
    });
}

#[test]
fn a_hang_that_ends_in_an_error_is_one_incident() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse("a");
        let daemon = lab.daemon(QUICK);
        lab.order("soft 1500 EIO", &path);
        daemon.told_failed(&path, "hung", QUICK_HANG);
        daemon.mark();
        pause(ms(4000));
        daemon.silent_about("Mount failed");
        daemon.silent_about("Mount recovered");
        lab.order("ok", &path);
        daemon.told_recovered(&path, ms(4000));
        daemon.stop();
    });
}

#[test]
fn a_slow_mount_is_told_and_is_not_dead() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse("a");
        let daemon = lab.daemon(&["--timeout", "10", "--slow-after", "400ms", "--poll-interval", "1"]);
        lab.order("delay 700", &path);
        daemon.told(&format!("Mount is slow: {} (", printed(&path)), ms(3000));
        daemon.mark();
        daemon.told("Checked 1 mounts; 0 are dead", ms(4000));
        lab.order("ok", &path);
        daemon.told_recovered(&path, ms(4000));
        daemon.silent_about("Mount failed");
        daemon.stop();
    });
}

#[test]
fn a_dead_server_is_told_and_a_new_one_is_welcome() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse("a");
        let daemon = lab.daemon(QUICK);
        lab.order("die", &path);
        daemon.told_failed(&path, "disconnected", ms(1000));
        lab.detach(&path);
        daemon.told(&format!("Mount disappeared: {} (", printed(&path)), ms(500));
        lab.fuse("a");
        daemon.told(&format!("Mount appeared: {} (", printed(&path)), ms(500));
        daemon.mark();
        daemon.told("Checked 1 mounts; 0 are dead", ms(2000));
        daemon.stop();
    });
}

/// The server was stopped before it read the request: the waiting probe can be killed, and it has been.
#[test]
fn a_hung_mount_can_be_unmounted_after_the_verdict() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse("a");
        let daemon = lab.daemon(&["--timeout", "500ms", "--poll-interval", "10"]);
        lab.server().freeze();
        // Not before the next run, unless a change of the table makes one.
        lab.tmpfs(&lab.at("b"));
        daemon.told_failed(&path, "hung", ms(10_500));
        soon(ms(1000) + slack(), "the mount is free", || lab.unmount(&path).is_ok());
        daemon.told(&format!("Mount disappeared: {} (", printed(&path)), ms(500));
        let family = daemon.process.descendants();
        assert_eq!(stuck_in_fuse(&family), 0, "{family:?}");
        assert!(family.iter().all(|process| process.state() != Some('D')), "{family:?}");
        lab.server().thaw();
        daemon.stop();
    });
}

/// The server has read the request and never answers: the probe cannot be killed, and nobody waits for it.
#[test]
fn a_lost_prober_keeps_nobody_from_stopping_and_starting() {
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(3);
        lab.order("mute", &mounts[0]);
        let first = lab.daemon(QUICK);
        first.told_failed(&mounts[0], "hung", QUICK_HANG);
        first.stop();
        let start = Instant::now();
        let second = lab.daemon(QUICK);
        assert!(start.elapsed() < ms(1500) + slack(), "{:?}", start.elapsed());
        second.told_failed(&mounts[0], "hung", QUICK_HANG);
        lab.order("ok", &mounts[0]);
        lab.order("release", &mounts[0]);
        second.told_recovered(&mounts[0], ms(3000));
        second.stop();
    });
}

/// Both were given up with the same prober, which lives as long as one of them hangs.
#[test]
fn a_recovery_is_seen_though_another_mount_stays_hung() {
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(3);
        let daemon = lab.daemon(QUICK);
        lab.say_range("mute", 0, 2, "");
        daemon.told_failed(&mounts[0], "hung", QUICK_HANG);
        daemon.told_failed(&mounts[1], "hung", QUICK_HANG);
        daemon.told("cannot be killed while 2 of its probes hang", ms(1000));
        daemon.mark();
        lab.order("ok", &mounts[0]);
        lab.order("release", &mounts[0]);
        daemon.told_recovered(&mounts[0], ms(2000));
        daemon.told("Checked 3 mounts; 1 are dead", ms(2000));
        daemon.silent_about("left behind, has ended");
        daemon.stop();
    });
}

#[test]
fn unmounting_a_hung_mount_is_told() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse("a");
        lab.order("mute", &path);
        let daemon = lab.daemon(QUICK);
        daemon.told_failed(&path, "hung", QUICK_HANG);
        lab.detach(&path);
        daemon.told(&format!("Mount disappeared: {} (", printed(&path)), ms(500));
        daemon.mark();
        daemon.told("Checked 0 mounts; 0 are dead", ms(2000));
        daemon.stop();
    });
}

/// A mount inside of a hung one cannot be reached either. It counts, but only the one to be repaired is told.
#[test]
fn a_mount_behind_a_hung_one_is_told() {
    isolated(this_test!(), |lab| {
        let outer = lab.fuse("a");
        let inner = lab.at("a/file");
        // A file is a place for a mount too, and the file server has one.
        lab.bind_file(&inner);
        let daemon = lab.daemon(QUICK);
        daemon.told("Checked 2 mounts; 0 are dead", ms(1000));
        lab.order("mute", &outer);
        daemon.told_failed(&outer, "hung", QUICK_HANG);
        daemon.told("Checked 2 mounts; 2 are dead", ms(2000));
        lab.order("ok", &outer);
        lab.order("release", &outer);
        daemon.told_recovered(&outer, ms(3000));
        daemon.mark();
        daemon.told("Checked 2 mounts; 0 are dead", ms(3000));
        assert_eq!(daemon.stderr.count(&printed(&inner)), 0, "{}", daemon.transcript());
        daemon.stop();
    });
}
