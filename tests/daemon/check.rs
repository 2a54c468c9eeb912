//! The command `check`, and the command line as a whole.

use crate::common::{CommandOutput, Lab, display_path, monitor_command, ms, run_isolated, slack, utf8};
use serde_json::Value;
use std::fs::File;
use std::process::{Command, Output};

#[test]
fn check_prints_a_table() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        lab.set_fault("errno ESTALE", &mounts[1]);
        let result = check(lab, &[]);
        result.assert_code(1);
        for (n, path) in mounts.iter().enumerate() {
            let line = result.stdout.lines().find(|line| line.ends_with(&display_path(path)));
            let line = line.unwrap_or_else(|| panic!("{} is not in\n{}", display_path(path), result.stdout));
            assert!(line.starts_with(if n == 1 { "failed ESTALE " } else { "ok " }), "{line}");
            assert!(line.contains("fuse.fault") && line.contains("nowhere:/x"), "{line}");
        }
        lab.set_fault("ok", &mounts[1]);
        assert_eq!(check(lab, &[]).code, Some(0));
    });
}

#[test]
fn check_prints_json() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        lab.set_fault("errno ESTALE", &mounts[0]);
        lab.set_fault("mute", &mounts[1]);
        let result = check(lab, &["--json"]);
        result.assert_code(1);
        let found = mounts_of(&result.stdout);
        assert_eq!(found.len(), 3, "{}", result.stdout);
        for (mount, path) in found.iter().zip(&mounts) {
            assert_eq!(mount["mountpoint"], display_path(path).as_str());
            assert_eq!(mount["fstype"], "fuse.fault");
            assert_eq!(mount["device"], "nowhere:/x");
        }
        assert_eq!((&found[0]["state"], &found[0]["reason"]), (&"failed".into(), &"stale".into()));
        assert_eq!((&found[1]["state"], &found[1]["reason"]), (&"hung".into(), &"hung".into()));
        assert_eq!(found[2]["state"], "ok");
    });
}

#[test]
fn check_prints_one_nagios_line() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        let healthy = check(lab, &["--nagios"]);
        healthy.assert_code(0);
        plugin_line(&healthy, "OK");

        lab.set_fault("delay 400", &mounts[0]);
        let slow = check(lab, &["--nagios", "--slow-after", "200ms", "--timeout", "10"]);
        slow.assert_code(1);
        plugin_line(&slow, "WARNING");

        lab.set_fault("mute", &mounts[1]);
        let dead = check(lab, &["--nagios"]);
        dead.assert_code(2);
        plugin_line(&dead, "CRITICAL");

        let nowhere = lab.scratch_path("nowhere");
        let unknown = check(lab, &["--nagios", utf8(&nowhere)]);
        unknown.assert_code(3);
    });
}

#[test]
fn hung_mount_does_not_hang_check() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(2);
        lab.set_fault("mute", &mounts[0]);
        let result = check(lab, &[]);
        result.assert_code(1);
        result.assert_stdout_contains("hung");
        assert!(result.elapsed < ms(1000) + slack(), "{:?}", result.elapsed);

        let named = check(lab, &[utf8(&mounts[1])]);
        named.assert_code(0);
        assert!(!named.stdout.contains(&display_path(&mounts[0])), "{}", named.stdout);
        let named = check(lab, &[utf8(&mounts[0])]);
        named.assert_code(1);
    });
}

#[test]
fn path_that_is_no_mount_point_is_a_usage_error() {
    run_isolated(|lab| {
        lab.mount_fuse("a");
        for path in [lab.scratch_path("nowhere"), lab.mount_point("a/file")] {
            let result = check(lab, &[utf8(&path)]);
            result.assert_code(2);
            assert_eq!(result.stderr.lines().count(), 1, "{}", result.stderr);
            assert!(result.stderr.contains(&display_path(&path)), "{}", result.stderr);
        }
    });
}

#[test]
fn invalid_flag_is_a_usage_error_on_one_line() {
    for arguments in [
        &["--no-such-flag"][..],
        &["--timeout", "soon"],
        &["--timeout", "-1"],
        &["--timeout", "0"],
        &["--poll-interval", "0"],
        &["--mount-points-include", "("],
        &["--syslog", "carrier-pigeon:"],
        &["--log-level", "loud"],
        &["check", "--json", "--no-such-flag"],
        &["no-such-command"],
    ] {
        let mut command = monitor_command();
        command.args(arguments);
        let result = CommandOutput::run(command, ms(3000));
        result.assert_code(2);
        assert_eq!(result.stderr.trim_end().lines().count(), 1, "{arguments:?}: {}", result.stderr);
        assert_eq!(result.stdout, "", "{arguments:?}");
    }
}

/// For Nagios, exit status 2 would mean CRITICAL.
#[test]
fn invalid_flag_with_nagios_is_unknown() {
    let mut command = monitor_command();
    command.args(["check", "--nagios", "--no-such-flag"]);
    let result = CommandOutput::run(command, ms(3000));
    result.assert_code(3);
    assert_eq!(result.stdout.lines().count(), 1, "{}", result.stdout);
    result.assert_stdout_contains("UNKNOWN");
}

/// A full device is an error, a closed pipe is not.
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let one = ["check", "--direct", "--mount-points-include", "^/proc$"];
    for (more, code) in [(&[][..], 2), (&["--json"], 2), (&["--nagios"], 3), (&["--help"], 2)] {
        let full = File::options().write(true).open("/dev/full").expect("open /dev/full");
        let result = output(monitor_command().args(one).args(more).stdout(full));
        let text = String::from_utf8_lossy(&result.stderr);
        assert_eq!(result.status.code(), Some(code), "{more:?}: {text}");
        assert!(text.contains("cannot write to standard output: No space left"), "{more:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{more:?}: {text}");

        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let result = output(monitor_command().args(one).args(more).stdout(writer));
        assert_eq!((result.status.code(), &result.stderr[..]), (Some(0), &b""[..]), "{more:?}");
    }
}

#[test]
fn options_that_exclude_every_mount_are_a_warning() {
    const MESSAGE: &str = "the include and exclude options leave no mount";
    let none = ["--mount-points-include", "^nothing$"];
    let table = output(monitor_command().arg("check").args(none));
    let text = String::from_utf8_lossy(&table.stderr);
    assert!(table.status.success() && table.stdout.ends_with(b"Checked 0 mounts; 0 are dead\n"), "{table:?}");
    assert_eq!(text, format!("mount_status_monitor: {MESSAGE}\n"));
    let plugin = output(monitor_command().args(["check", "--nagios"]).args(none));
    let text = String::from_utf8_lossy(&plugin.stdout);
    assert_eq!((plugin.status.code(), &*text), (Some(3), &*format!("MOUNTS UNKNOWN - {MESSAGE}\n")));
    let daemon = output(monitor_command().args(["--once-only", "--syslog", "off"]).args(none));
    let text = String::from_utf8_lossy(&daemon.stderr);
    assert_eq!(text.matches(MESSAGE).count(), 1, "{text}");
}

#[test]
fn prober_refuses_to_run_on_its_own() {
    let result = output(monitor_command().arg("prober").stdin(std::process::Stdio::null()));
    let text = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(2), "{text}");
    assert_eq!(text, "mount_status_monitor: prober is started by the daemon only\n");
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

pub(crate) fn command(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = monitor_command();
    let include = format!("^{}/", lab.mount_point("").display().to_string().trim_end_matches('/'));
    command.args(["check", "--mount-points-include", &include]);
    if !arguments.contains(&"--timeout") {
        command.args(["--timeout", "500ms", "--slow-after", "450ms"]);
    }
    command.args(arguments);
    command
}

/// The mount objects of the JSON output.
pub(crate) fn mounts_of(json: &str) -> Vec<Value> {
    let value: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e} in {json}"));
    let mounts = if value.is_array() { &value } else { &value["mounts"] };
    mounts.as_array().unwrap_or_else(|| panic!("no mounts in {json}")).clone()
}

fn check(lab: &Lab, arguments: &[&str]) -> CommandOutput {
    CommandOutput::run(command(lab, arguments), ms(10_000))
}

/// Checks the format `MOUNTS OK - text | 'a'=1;2;3`.
fn plugin_line(result: &CommandOutput, state: &str) {
    assert_eq!(result.stdout.lines().count(), 1, "{}", result.stdout);
    let (text, numbers) =
        result.stdout.split_once('|').unwrap_or_else(|| panic!("no numbers in {}", result.stdout));
    assert!(text.contains(state), "{text}");
    assert!(numbers.trim().contains('='), "{numbers}");
}
