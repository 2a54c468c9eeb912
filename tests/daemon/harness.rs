//! The harness itself: if the faults are not what they seem, the tests mean nothing.

use crate::common::{Daemon, Finished, isolated, ms};
use std::path::Path;
use std::process::Command;

#[test]
fn the_server_does_what_it_is_told() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse_with("a b\\c\nd", "allow_other subtype=fault fsname=nowhere:/x");
        assert_eq!(asked(&path), Some(0));
        assert!(
            std::fs::read_to_string("/proc/self/mountinfo")
                .expect("proc")
                .contains(" fuse.fault nowhere:/x ")
        );

        lab.order("errno EIO", &path);
        assert_eq!(asked(&path), Some(1));
        lab.order("delay 300", &path);
        assert_eq!(asked(&path), Some(0));
        lab.order("soft 300 EIO", &path);
        assert_eq!(asked(&path), Some(1));
        assert!(lab.order("count", &path).starts_with("getattr=0 statfs=4 kept=0"));

        lab.order("mute", &path);
        assert_eq!(asked(&path), None);
        assert!(lab.order("count", &path).ends_with("kept=1"));
        lab.order("release", &path);
        lab.order("ok", &path);
        assert_eq!(asked(&path), Some(0));

        lab.order("die", &path);
        assert_eq!(asked(&path), Some(1));
        lab.order("unmount", &path);
    });
}

#[test]
fn a_thousand_mounts_are_served_by_one_server() {
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(1000);
        lab.say_range("mute", 0, 999, "");
        assert_eq!(asked(&mounts[999]), Some(0));
        assert_eq!(asked(&mounts[998]), None);
        lab.say_range("ok", 0, 999, "");
        assert_eq!(asked(&mounts[0]), Some(0));
        lab.server().say("die all");
        assert_eq!(asked(&mounts[500]), Some(1));
    });
}

#[test]
fn a_stopped_server_and_one_that_never_speaks_hang_their_clients() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse("stopped");
        lab.server().freeze();
        assert_eq!(asked(&path), None);
        lab.server().thaw();
        assert_eq!(asked(&path), Some(0));
        let unborn = lab.fuse_with("unborn", "allow_other noinit");
        assert_eq!(asked(&unborn), None);
    });
}

#[test]
fn a_command_that_ends_is_seen_whole() {
    isolated(this_test!(), |_| {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let done = Finished::run(command, ms(1000));
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(3), "out\n", "err\n"));
        assert!(done.took < ms(1000) + crate::common::slack());
    });
}

/// The exit status of a client, or none if it got no answer within a second.
fn asked(path: &Path) -> Option<i32> {
    let mut command = Command::new("stat");
    command.arg("-f").arg(path);
    let client = Daemon::spawn(command);
    client.ended_within(ms(1000))
}
