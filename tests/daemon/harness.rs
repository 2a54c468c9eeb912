//! Tests of the harness: the injected faults have the effects that the other tests rely on.

use crate::common::{CommandOutput, Daemon, ms, run_isolated};
use std::path::Path;
use std::process::Command;

#[test]
fn fault_server_injects_each_fault() {
    run_isolated(|lab| {
        let path = lab.mount_fuse_with("a b\\c\nd", "allow_other subtype=fault fsname=nowhere:/x");
        assert_eq!(stat_exit_code(&path), Some(0));
        assert!(
            std::fs::read_to_string("/proc/self/mountinfo")
                .expect("proc")
                .contains(" fuse.fault nowhere:/x ")
        );

        lab.set_fault("errno EIO", &path);
        assert_eq!(stat_exit_code(&path), Some(1));
        lab.set_fault("delay 300", &path);
        assert_eq!(stat_exit_code(&path), Some(0));
        lab.set_fault("soft 300 EIO", &path);
        assert_eq!(stat_exit_code(&path), Some(1));
        assert!(lab.request_counts(&path).starts_with("getattr=0 statfs=4 pending=0"));

        lab.set_fault("mute", &path);
        assert_eq!(stat_exit_code(&path), None);
        assert!(lab.request_counts(&path).ends_with("pending=1"));
        lab.set_fault("release", &path);
        lab.set_fault("ok", &path);
        assert_eq!(stat_exit_code(&path), Some(0));

        lab.set_fault("die", &path);
        assert_eq!(stat_exit_code(&path), Some(1));
        lab.set_fault("unmount", &path);
    });
}

#[test]
fn one_fault_server_serves_a_thousand_mounts() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(1000);
        lab.set_faults("mute", 0..999);
        assert_eq!(stat_exit_code(&mounts[999]), Some(0));
        assert_eq!(stat_exit_code(&mounts[998]), None);
        lab.set_faults("ok", 0..999);
        assert_eq!(stat_exit_code(&mounts[0]), Some(0));
        lab.fuse_server().send("die all");
        assert_eq!(stat_exit_code(&mounts[500]), Some(1));
    });
}

#[test]
fn stopped_or_uninitialized_server_hangs_its_clients() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("stopped");
        lab.fuse_server().freeze();
        assert_eq!(stat_exit_code(&path), None);
        lab.fuse_server().thaw();
        assert_eq!(stat_exit_code(&path), Some(0));
        let uninitialized = lab.mount_fuse_with("uninitialized", "allow_other noinit");
        assert_eq!(stat_exit_code(&uninitialized), None);
    });
}

#[test]
fn command_output_is_captured_completely() {
    run_isolated(|_| {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let result = CommandOutput::run(command, ms(1000));
        assert_eq!(
            (result.code, result.stdout.as_str(), result.stderr.as_str()),
            (Some(3), "out\n", "err\n")
        );
        assert!(result.elapsed < ms(1000) + crate::common::slack());
    });
}

/// The exit code of `stat -f`, or `None` if it blocks for a second.
fn stat_exit_code(path: &Path) -> Option<i32> {
    let mut command = Command::new("stat");
    command.arg("-f").arg(path);
    let client = Daemon::spawn(command);
    client.exit_code_within(ms(1000))
}
