//! A single run (`--once-only`): log lines, exit status and duration.

use crate::common::{CommandOutput, Lab, display_path, ms, run_isolated, slack};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn healthy_mounts_exit_0() {
    run_isolated(|lab| {
        lab.mount_fuses(5);
        let result = run_once(lab, &["--timeout", "10"]);
        result.assert_code(0);
        result.assert_stderr_contains("Checked 5 mounts; 0 are dead");
        assert_eq!(result.stdout, "");
        assert!(result.elapsed < ms(1000) + slack(), "{:?}", result.elapsed);
    });
}

#[test]
fn hung_mount_is_logged_after_the_timeout_and_exits_1() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(5);
        lab.set_fault("mute", &mounts[2]);
        let syslog = lab.read_syslog();
        let result = run_once(lab, &["--timeout", "1", "--print-bad-mounts"]);
        result.assert_code(1);
        let line =
            format!("Mount failed health-check: {} (hung: no response in 1s; ", display_path(&mounts[2]));
        result
            .assert_stderr_contains(&line)
            .assert_stderr_contains("fuse.fault from nowhere:/x")
            .assert_stderr_contains("Checked 5 mounts; 1 is dead");
        assert_eq!(result.stderr.matches("Mount failed").count(), 1, "{}", result.stderr);
        assert_eq!(result.stdout, format!("{}\n", display_path(&mounts[2])));
        assert!(result.elapsed >= ms(1000) && result.elapsed < ms(1500) + slack(), "{:?}", result.elapsed);
        assert!(syslog.wait_for(0, &line, ms(500)).is_some(), "{:?}", syslog.all());
        assert!(syslog.wait_for(0, "Checked 5 mounts; 1 is dead", ms(500)).is_some(), "{:?}", syslog.all());
    });
}

#[test]
fn errors_are_logged_at_once_with_their_reason() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(9);
        let faults = [
            ("errno EIO", "io_error"),
            ("errno ESTALE", "stale"),
            ("errno ENOTCONN", "disconnected"),
            ("die", "disconnected"),
            ("errno EHOSTDOWN", "unreachable"),
            ("errno ETIMEDOUT", "unreachable"),
            ("errno ENODEV", "unreachable"),
            ("errno EPROTO", "error"),
        ];
        for (path, (order, _)) in mounts.iter().zip(faults) {
            lab.set_fault(order, path);
        }
        let result = run_once(lab, &["--timeout", "30"]);
        result.assert_code(1);
        for (path, (_, reason)) in mounts.iter().zip(faults) {
            result.assert_stderr_contains(&format!(
                "Mount failed health-check: {} ({reason}:",
                display_path(path)
            ));
        }
        result.assert_stderr_contains("EPROTO").assert_stderr_contains("Checked 9 mounts; 8 are dead");
        assert!(result.elapsed < ms(1000) + slack(), "{:?}", result.elapsed);
    });
}

#[test]
fn hung_statfs_is_a_hang() {
    run_isolated(|lab| {
        let path = lab.mount_fuse("a");
        lab.set_fault("statfs_mute", &path);
        assert_hung(lab, &path);
    });
}

#[test]
fn cached_attributes_do_not_hide_a_hang() {
    run_isolated(|lab| {
        let path = lab.mount_fuse_with("a", "allow_other attr_ttl=3600");
        let status = Command::new("stat").arg(&path).stdout(Stdio::null()).status();
        assert!(status.expect("stat runs").success());
        lab.set_fault("mute", &path);
        assert_hung(lab, &path);
    });
}

#[test]
fn uninitialized_fuse_mount_is_hung() {
    run_isolated(|lab| {
        let path = lab.mount_fuse_with("a", "allow_other noinit");
        assert_hung(lab, &path);
    });
}

#[test]
fn no_mounts_exit_0() {
    run_isolated(|lab| {
        let result = run_once(lab, &[]);
        result.assert_code(0);
        result.assert_stderr_contains("Checked 0 mounts; 0 are dead");
    });
}

fn run_once(lab: &Lab, arguments: &[&str]) -> CommandOutput {
    let mut command = lab.daemon_command(arguments);
    command.arg("--once-only");
    CommandOutput::run(command, ms(20_000))
}

fn assert_hung(lab: &Lab, path: &Path) {
    let result = run_once(lab, &["--timeout", "500ms"]);
    result.assert_code(1);
    result.assert_stderr_contains(&format!("Mount failed health-check: {} (hung:", display_path(path)));
}
