//! The command `check`, and the command line as a whole.

use crate::common::{CommandOutput, Lab, display_path, ms, run_isolated, slack};
use serde_json::Value;
use std::fs::File;
use std::process::{Command, Output};

#[test]
fn a_table_for_people() {
    run_isolated(test_name!(), |lab| {
        let mounts = lab.mount_fuses(3);
        lab.set_fault("errno ESTALE", &mounts[1]);
        let done = check(lab, &[]);
        assert_eq!(done.code, Some(1), "{}{}", done.stdout, done.stderr);
        for (n, path) in mounts.iter().enumerate() {
            let line = done.stdout.lines().find(|line| line.ends_with(&display_path(path)));
            let line = line.unwrap_or_else(|| panic!("{} is not in\n{}", display_path(path), done.stdout));
            assert!(line.starts_with(if n == 1 { "failed ESTALE " } else { "ok " }), "{line}");
            assert!(line.contains("fuse.fault") && line.contains("nowhere:/x"), "{line}");
        }
        lab.set_fault("ok", &mounts[1]);
        assert_eq!(check(lab, &[]).code, Some(0));
    });
}

#[test]
fn json_for_scripts() {
    run_isolated(test_name!(), |lab| {
        let mounts = lab.mount_fuses(3);
        lab.set_fault("errno ESTALE", &mounts[0]);
        lab.set_fault("mute", &mounts[1]);
        let done = check(lab, &["--json"]);
        assert_eq!(done.code, Some(1), "{}{}", done.stdout, done.stderr);
        let found = mounts_of(&done.stdout);
        assert_eq!(found.len(), 3, "{}", done.stdout);
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
fn one_line_for_nagios() {
    run_isolated(test_name!(), |lab| {
        let mounts = lab.mount_fuses(3);
        let well = check(lab, &["--nagios"]);
        assert_eq!(well.code, Some(0), "{}{}", well.stdout, well.stderr);
        plugin_line(&well, "OK");

        lab.set_fault("delay 400", &mounts[0]);
        let slow = check(lab, &["--nagios", "--slow-after", "200ms", "--timeout", "10"]);
        assert_eq!(slow.code, Some(1), "{}{}", slow.stdout, slow.stderr);
        plugin_line(&slow, "WARNING");

        lab.set_fault("mute", &mounts[1]);
        let dead = check(lab, &["--nagios"]);
        assert_eq!(dead.code, Some(2), "{}{}", dead.stdout, dead.stderr);
        plugin_line(&dead, "CRITICAL");

        let nowhere = lab.scratch_path("nowhere");
        let unknown = check(lab, &["--nagios", nowhere.to_str().expect("plain")]);
        assert_eq!(unknown.code, Some(3), "{}{}", unknown.stdout, unknown.stderr);
    });
}

#[test]
fn a_hung_mount_does_not_hang_it() {
    run_isolated(test_name!(), |lab| {
        let mounts = lab.mount_fuses(2);
        lab.set_fault("mute", &mounts[0]);
        let done = check(lab, &[]);
        assert_eq!(done.code, Some(1), "{}{}", done.stdout, done.stderr);
        assert!(done.stdout.contains("hung"), "{}", done.stdout);
        assert!(done.elapsed < ms(1000) + slack(), "{:?}", done.elapsed);

        let named = check(lab, &[mounts[1].to_str().expect("plain")]);
        assert_eq!(named.code, Some(0), "{}{}", named.stdout, named.stderr);
        assert!(!named.stdout.contains(&display_path(&mounts[0])), "{}", named.stdout);
        let named = check(lab, &[mounts[0].to_str().expect("plain")]);
        assert_eq!(named.code, Some(1), "{}{}", named.stdout, named.stderr);
    });
}

#[test]
fn what_is_no_mount_is_one_line_and_a_usage_error() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuse("a");
        for path in [lab.scratch_path("nowhere"), lab.mount_point("a/file")] {
            let done = check(lab, &[path.to_str().expect("plain")]);
            assert_eq!(done.code, Some(2), "{}{}", done.stdout, done.stderr);
            assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
            assert!(done.stderr.contains(&display_path(&path)), "{}", done.stderr);
        }
    });
}

#[test]
fn a_bad_flag_is_one_line_and_a_usage_error() {
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"));
        command.args(arguments);
        let done = CommandOutput::run(command, ms(3000));
        assert_eq!(done.code, Some(2), "{arguments:?}: {}{}", done.stdout, done.stderr);
        assert_eq!(done.stderr.trim_end().lines().count(), 1, "{arguments:?}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{arguments:?}");
    }
}

/// To a monitoring system the usual status of usage errors would mean that a mount is dead.
#[test]
fn a_bad_flag_of_a_plugin_is_unknown() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"));
    command.args(["check", "--nagios", "--no-such-flag"]);
    let done = CommandOutput::run(command, ms(3000));
    assert_eq!(done.code, Some(3), "{}{}", done.stdout, done.stderr);
    assert_eq!(done.stdout.lines().count(), 1, "{}", done.stdout);
    assert!(done.stdout.contains("UNKNOWN"), "{}", done.stdout);
}

/// A table that was not written is not an answer; that it was not read is nobody's fault.
#[test]
fn what_cannot_be_written_is_an_error() {
    let one = ["check", "--direct", "--mount-points-include", "^/proc$"];
    for (more, code) in [(&[][..], 2), (&["--json"], 2), (&["--nagios"], 3), (&["--help"], 2)] {
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let done = output(program().args(one).args(more).stdout(full));
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{more:?}: {said}");
        assert!(said.contains("cannot write to standard output: No space left"), "{more:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{more:?}: {said}");

        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let done = output(program().args(one).args(more).stdout(writer));
        assert_eq!((done.status.code(), &done.stderr[..]), (Some(0), &b""[..]), "{more:?}");
    }
}

#[test]
fn options_that_leave_no_mount_are_worth_a_word() {
    const WORD: &str = "the include and exclude options leave no mount";
    let none = ["--mount-points-include", "^nothing$"];
    let table = output(program().arg("check").args(none));
    let said = String::from_utf8_lossy(&table.stderr);
    assert!(table.status.success() && table.stdout.ends_with(b"Checked 0 mounts; 0 are dead\n"), "{table:?}");
    assert_eq!(said, format!("mount_status_monitor: {WORD}\n"));
    let plugin = output(program().args(["check", "--nagios"]).args(none));
    let said = String::from_utf8_lossy(&plugin.stdout);
    assert_eq!((plugin.status.code(), &*said), (Some(3), &*format!("MOUNTS UNKNOWN - {WORD}\n")));
    let daemon = output(program().args(["--once-only", "--syslog", "off"]).args(none));
    let said = String::from_utf8_lossy(&daemon.stderr);
    assert_eq!(said.matches(WORD).count(), 1, "{said}");
}

#[test]
fn a_prober_is_not_for_people() {
    let done = output(program().arg("prober").stdin(std::process::Stdio::null()));
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert_eq!(said, "mount_status_monitor: prober is started by the daemon only\n");
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"))
}

fn output(command: &mut Command) -> Output {
    command.output().expect("it was built")
}

pub(crate) fn command(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"));
    let include = format!("^{}/", lab.mount_point("").display().to_string().trim_end_matches('/'));
    command.args(["check", "--mount-points-include", &include]);
    if !arguments.contains(&"--timeout") {
        command.args(["--timeout", "500ms", "--slow-after", "450ms"]);
    }
    command.args(arguments);
    command
}

/// The objects of the mounts, whatever else is told with them.
pub(crate) fn mounts_of(json: &str) -> Vec<Value> {
    let value: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e} in {json}"));
    let mounts = if value.is_array() { &value } else { &value["mounts"] };
    mounts.as_array().unwrap_or_else(|| panic!("no mounts in {json}")).clone()
}

fn check(lab: &Lab, arguments: &[&str]) -> CommandOutput {
    CommandOutput::run(command(lab, arguments), ms(10_000))
}

/// `MOUNTS OK - text | 'a'=1;2;3`: one line, the state, and numbers after the bar.
fn plugin_line(done: &CommandOutput, state: &str) {
    assert_eq!(done.stdout.lines().count(), 1, "{}", done.stdout);
    let (text, numbers) =
        done.stdout.split_once('|').unwrap_or_else(|| panic!("no numbers in {}", done.stdout));
    assert!(text.contains(state), "{text}");
    assert!(numbers.trim().contains('='), "{numbers}");
}
