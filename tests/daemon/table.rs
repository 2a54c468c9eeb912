//! Changes of the mount table are told, at once and once.

use crate::common::{isolated, ms, pause, printed};
use crate::{QUICK, QUICK_HANG};

const SOON: std::time::Duration = ms(500);

/// Changes that the quick way of reading does not show are seen by the whole reading that follows it.
const SOON_WHOLE: std::time::Duration = ms(1500);

/// Long enough that only the kernel's notification can be the reason for what is told soon.
const PATIENT: &[&str] = &["--timeout", "500ms", "--poll-interval", "60"];

#[test]
fn mount_and_unmount_are_told() {
    isolated(this_test!(), |lab| {
        let daemon = lab.daemon(PATIENT);
        let path = lab.fuse_with("a", "allow_other subtype=sshfs fsname=host:/dir");
        daemon.told(&format!("Mount appeared: {} (fuse.sshfs from host:/dir)", printed(&path)), SOON);
        lab.unmount_soon(&path);
        daemon.told(&format!("Mount disappeared: {} (", printed(&path)), SOON);
        daemon.silent_about("Mount failed");
        daemon.stop();
    });
}

#[test]
fn a_new_mount_is_asked_at_once() {
    isolated(this_test!(), |lab| {
        let daemon = lab.daemon(PATIENT);
        let path = lab.fuse_with("a", "allow_other mute");
        daemon.told_failed(&path, "hung", ms(1000));
        daemon.stop();
    });
}

#[test]
fn read_only_is_told() {
    isolated(this_test!(), |lab| {
        let path = lab.at("a");
        lab.tmpfs(&path);
        let daemon = lab.daemon(PATIENT);
        lab.remount_read_only(&path);
        daemon.told(&format!("Mount changed: {} (rw -> ro", printed(&path)), SOON_WHOLE);
        daemon.silent_about("Mount appeared");
        daemon.silent_about("Mount disappeared");
        daemon.stop();
    });
}

#[test]
fn a_move_is_told_as_one() {
    isolated(this_test!(), |lab| {
        let from = lab.at("a");
        let to = lab.at("b");
        lab.tmpfs(&from);
        let daemon = lab.daemon(PATIENT);
        lab.move_mount(&from, &to);
        daemon.told(&format!("Mount moved: {} -> {}", printed(&from), printed(&to)), SOON_WHOLE);
        daemon.silent_about("Mount appeared");
        daemon.silent_about("Mount disappeared");
        daemon.stop();
    });
}

#[test]
fn a_hidden_mount_is_not_judged_and_comes_back() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse("a");
        let daemon = lab.daemon(QUICK);
        lab.tmpfs_over(&path);
        daemon.told(&format!("Mount appeared: {} (tmpfs from over)", printed(&path)), SOON);
        lab.order("mute", &path);
        pause(ms(2500));
        daemon.silent_about("Mount failed");
        daemon.silent_about(&format!("Mount disappeared: {} (fuse", printed(&path)));
        daemon.mark();
        daemon.told("Checked 1 mounts; 0 are dead", ms(2000));
        lab.unmount_soon(&path);
        daemon.told_failed(&path, "hung", QUICK_HANG);
        daemon.stop();
    });
}

#[test]
fn mounts_that_are_not_included_are_not_told() {
    isolated(this_test!(), |lab| {
        let daemon = lab.daemon(PATIENT);
        lab.tmpfs(&lab.aside("elsewhere"));
        let path = lab.at("a");
        lab.tmpfs(&path);
        daemon.told(&format!("Mount appeared: {} (", printed(&path)), SOON);
        daemon.silent_about("elsewhere");
        daemon.stop();
    });
}

#[test]
fn a_storm_of_changes_ends_in_the_truth() {
    isolated(this_test!(), |lab| {
        let daemon = lab.daemon(PATIENT);
        let path = lab.at("a");
        for _ in 0..200 {
            lab.tmpfs(&path);
            lab.unmount_soon(&path);
        }
        let last = lab.at("last");
        lab.tmpfs(&last);
        daemon.told(&format!("Mount appeared: {} (", printed(&last)), ms(2000));
        daemon.silent_about("Mount failed");
        daemon.stop();
    });
}
