//! One run (`--once-only`): what it tells, what it returns, and when.

use crate::common::{Finished, Lab, isolated, ms, printed, slack};
use std::path::Path;

#[test]
fn all_well_is_success() {
    isolated(this_test!(), |lab| {
        lab.fuses(5);
        let done = once(lab, &["--timeout", "10"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.says("Checked 5 mounts; 0 are dead");
        assert_eq!(done.stdout, "");
        assert!(done.took < ms(1000) + slack(), "{:?}", done.took);
    });
}

#[test]
fn one_hung_of_five_is_told_after_the_timeout() {
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(5);
        lab.order("mute", &mounts[2]);
        let syslog = lab.syslog();
        let done = once(lab, &["--timeout", "1", "--print-bad-mounts"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        let line = format!("Mount failed health-check: {} (hung: no answer in 1s; ", printed(&mounts[2]));
        done.says(&line).says("fuse.fault from nowhere:/x").says("Checked 5 mounts; 1 are dead");
        assert_eq!(done.stderr.matches("Mount failed").count(), 1, "{}", done.stderr);
        assert_eq!(done.stdout, format!("{}\n", printed(&mounts[2])));
        assert!(done.took >= ms(1000) && done.took < ms(1500) + slack(), "{:?}", done.took);
        assert!(syslog.wait(0, &line, ms(500)).is_some(), "{:?}", syslog.all());
        assert!(syslog.wait(0, "Checked 5 mounts; 1 are dead", ms(500)).is_some(), "{:?}", syslog.all());
    });
}

#[test]
fn an_error_is_told_at_once_with_its_reason() {
    isolated(this_test!(), |lab| {
        let mounts = lab.fuses(9);
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
            lab.order(order, path);
        }
        let done = once(lab, &["--timeout", "30"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        for (path, (_, reason)) in mounts.iter().zip(faults) {
            done.says(&format!("Mount failed health-check: {} ({reason}:", printed(path)));
        }
        done.says("EPROTO").says("Checked 9 mounts; 8 are dead");
        assert!(done.took < ms(1000) + slack(), "{:?}", done.took);
    });
}

#[test]
fn a_silent_statfs_is_a_hang_too() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse("a");
        lab.order("statfs_mute", &path);
        let done = once(lab, &["--timeout", "500ms"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        done.says(&format!("Mount failed health-check: {} (hung:", printed(&path)));
    });
}

#[test]
fn what_the_kernel_remembers_does_not_hide_a_hang() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse_with("a", "allow_other attr_ttl=3600");
        fill_cache(&path);
        lab.order("mute", &path);
        let done = once(lab, &["--timeout", "500ms"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        done.says(&format!("Mount failed health-check: {} (hung:", printed(&path)));
    });
}

#[test]
fn a_mount_that_never_was_ready_hangs() {
    isolated(this_test!(), |lab| {
        let path = lab.fuse_with("a", "allow_other noinit");
        let done = once(lab, &["--timeout", "500ms"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        done.says(&format!("Mount failed health-check: {} (hung:", printed(&path)));
    });
}

#[test]
fn no_mount_at_all_is_success() {
    isolated(this_test!(), |lab| {
        let done = once(lab, &[]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.says("Checked 0 mounts; 0 are dead");
    });
}

fn once(lab: &Lab, arguments: &[&str]) -> Finished {
    let mut command = lab.command(arguments);
    command.arg("--once-only");
    Finished::run(command, ms(20_000))
}

fn fill_cache(path: &Path) {
    let asked = std::process::Command::new("stat").arg(path).stdout(std::process::Stdio::null()).status();
    assert!(asked.expect("stat runs").success());
}
