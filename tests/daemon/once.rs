//! One run (`--once-only`): what it tells, what it returns, and when.

use crate::common::{CommandOutput, Lab, display_path, ms, run_isolated, slack};
use std::path::Path;

#[test]
fn all_well_is_success() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuses(5);
        let done = once(lab, &["--timeout", "10"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.assert_stderr_contains("Checked 5 mounts; 0 are dead");
        assert_eq!(done.stdout, "");
        assert!(done.elapsed < ms(1000) + slack(), "{:?}", done.elapsed);
    });
}

#[test]
fn one_hung_of_five_is_told_after_the_timeout() {
    run_isolated(test_name!(), |lab| {
        let mounts = lab.mount_fuses(5);
        lab.set_fault("mute", &mounts[2]);
        let syslog = lab.read_syslog();
        let done = once(lab, &["--timeout", "1", "--print-bad-mounts"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        let line =
            format!("Mount failed health-check: {} (hung: no response in 1s; ", display_path(&mounts[2]));
        done.assert_stderr_contains(&line)
            .assert_stderr_contains("fuse.fault from nowhere:/x")
            .assert_stderr_contains("Checked 5 mounts; 1 is dead");
        assert_eq!(done.stderr.matches("Mount failed").count(), 1, "{}", done.stderr);
        assert_eq!(done.stdout, format!("{}\n", display_path(&mounts[2])));
        assert!(done.elapsed >= ms(1000) && done.elapsed < ms(1500) + slack(), "{:?}", done.elapsed);
        assert!(syslog.wait_for(0, &line, ms(500)).is_some(), "{:?}", syslog.all());
        assert!(syslog.wait_for(0, "Checked 5 mounts; 1 is dead", ms(500)).is_some(), "{:?}", syslog.all());
    });
}

#[test]
fn an_error_is_told_at_once_with_its_reason() {
    run_isolated(test_name!(), |lab| {
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
        let done = once(lab, &["--timeout", "30"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        for (path, (_, reason)) in mounts.iter().zip(faults) {
            done.assert_stderr_contains(&format!(
                "Mount failed health-check: {} ({reason}:",
                display_path(path)
            ));
        }
        done.assert_stderr_contains("EPROTO").assert_stderr_contains("Checked 9 mounts; 8 are dead");
        assert!(done.elapsed < ms(1000) + slack(), "{:?}", done.elapsed);
    });
}

#[test]
fn a_silent_statfs_is_a_hang_too() {
    run_isolated(test_name!(), |lab| {
        let path = lab.mount_fuse("a");
        lab.set_fault("statfs_mute", &path);
        let done = once(lab, &["--timeout", "500ms"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        done.assert_stderr_contains(&format!("Mount failed health-check: {} (hung:", display_path(&path)));
    });
}

#[test]
fn what_the_kernel_remembers_does_not_hide_a_hang() {
    run_isolated(test_name!(), |lab| {
        let path = lab.mount_fuse_with("a", "allow_other attr_ttl=3600");
        fill_cache(&path);
        lab.set_fault("mute", &path);
        let done = once(lab, &["--timeout", "500ms"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        done.assert_stderr_contains(&format!("Mount failed health-check: {} (hung:", display_path(&path)));
    });
}

#[test]
fn a_mount_that_never_was_ready_hangs() {
    run_isolated(test_name!(), |lab| {
        let path = lab.mount_fuse_with("a", "allow_other noinit");
        let done = once(lab, &["--timeout", "500ms"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        done.assert_stderr_contains(&format!("Mount failed health-check: {} (hung:", display_path(&path)));
    });
}

#[test]
fn no_mount_at_all_is_success() {
    run_isolated(test_name!(), |lab| {
        let done = once(lab, &[]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.assert_stderr_contains("Checked 0 mounts; 0 are dead");
    });
}

fn once(lab: &Lab, arguments: &[&str]) -> CommandOutput {
    let mut command = lab.daemon_command(arguments);
    command.arg("--once-only");
    CommandOutput::run(command, ms(20_000))
}

fn fill_cache(path: &Path) {
    let asked = std::process::Command::new("stat").arg(path).stdout(std::process::Stdio::null()).status();
    assert!(asked.expect("stat runs").success());
}
