//! `status`, `watch` and `check`, which ask the daemon over its socket.

use crate::common::{CommandOutput, Daemon, Lab, display_path, ms, pause, run_isolated, slack, wait_until};
use crate::{QUICK, QUICK_HANG};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn status_shows_what_the_daemon_knows() {
    run_isolated(test_name!(), |lab| {
        let mounts = lab.mount_fuses(3);
        let (daemon, socket) = listening(lab);
        lab.set_fault("errno ESTALE", &mounts[1]);
        daemon.wait_for_failure(&mounts[1], "stale", QUICK_HANG);
        wait_until(ms(1000) + slack(), "it is shown", || ask("status", &socket, &[]).code == Some(1));
        let done = ask("status", &socket, &[]);
        assert!(
            done.stdout.contains("failed ESTALE") && done.stdout.contains(&display_path(&mounts[1])),
            "{}",
            done.stdout
        );
        let done = ask("status", &socket, &["--json"]);
        let document: Value = serde_json::from_str(&done.stdout).expect("JSON");
        assert_eq!(
            (done.code, &document["dead"], &document["daemon"]["version"]),
            (Some(1), &1.into(), &env!("CARGO_PKG_VERSION").into())
        );
        daemon.stop();
        let done = ask("status", &socket, &[]);
        assert_eq!((done.code, done.stderr.lines().count()), (Some(2), 1), "{}", done.stderr);
        done.assert_stderr_contains("no daemon is running");
    });
}

#[test]
fn check_asks_the_daemon_unless_it_is_told_not_to() {
    run_isolated(test_name!(), |lab| {
        let mounts = lab.mount_fuses(3);
        let (daemon, socket) = listening(lab);
        // Of the lab alone: the daemon watches nothing else, and the machine has more.
        let by_daemon = |done: &CommandOutput| done.stdout.contains("Checked 3 mounts");
        let done = ask("check", &socket, &[]);
        assert!(by_daemon(&done) && done.code == Some(0), "{}{}", done.stdout, done.stderr);
        let one = ask("check", &socket, &[mounts[2].to_str().expect("plain")]);
        assert!(one.stdout.contains("Checked 1 mount; 0 are dead"), "{}", one.stdout);
        let line = ask("check", &socket, &["--nagios"]);
        assert!(line.stdout.starts_with("MOUNTS OK - 3 mounts") && line.stdout.lines().count() == 1);
        let json: Value = serde_json::from_str(&ask("check", &socket, &["--json"]).stdout).expect("JSON");
        assert!(json["daemon"].is_object());
        for direct in [&["--direct"][..], &["--timeout", "2"], &["--fs-types-exclude", "^x$"]] {
            let json = ask("check", &socket, &[direct, &["--json"]].concat());
            let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
            assert!(json["daemon"].is_null() && json["total"].as_u64() > Some(3), "{direct:?}");
        }
        // What the daemon does not watch can still be asked.
        assert_eq!(ask("check", &socket, &["/proc"]).code, Some(0));
        daemon.stop();
        let done = ask("check", &socket, &["/proc"]);
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    });
}

#[test]
fn a_daemon_that_does_not_answer_is_not_waited_for() {
    run_isolated(test_name!(), |lab| {
        lab.mount_fuses(1);
        let (daemon, socket) = listening(lab);
        daemon.send_signal(nix::sys::signal::Signal::SIGSTOP);
        let done = ask("status", &socket, &[]);
        assert_eq!(done.code, Some(2), "{}", done.stdout);
        assert!(done.elapsed < ms(2000) + slack(), "{:?}", done.elapsed);
        let done = ask("check", &socket, &["/proc"]);
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
        daemon.send_signal(nix::sys::signal::Signal::SIGCONT);
        daemon.stop();
    });
}

#[test]
fn watch_shows_events_as_they_happen() {
    run_isolated(test_name!(), |lab| {
        let mounts = lab.mount_fuses(2);
        let (daemon, socket) = listening(lab);
        let (text, json) = (watch(&socket, &[]), watch(&socket, &["--json"]));
        // Both are connected once they have shown something.
        for watch in [&text, &json] {
            watch.stdout.wait_for(0, "Checked 2 mounts", ms(3000) + slack()).expect("a run is shown");
        }
        lab.set_fault("mute", &mounts[0]);
        let told = daemon.wait_for_failure(&mounts[0], "hung", QUICK_HANG);
        let line =
            text.stdout.wait_for(0, "Mount failed health-check: ", ms(1000) + slack()).expect("it is shown");
        assert!(line.at < told.at + ms(1000) + slack());
        let line = json.stdout.wait_for(0, "\"event\":\"failed\"", ms(1000) + slack()).expect("it is shown");
        let event: Value = serde_json::from_str(&line.text).expect("JSON");
        assert_eq!(event["mountpoint"], display_path(&mounts[0]).as_str());

        // A daemon that is restarted is found again.
        daemon.stop();
        text.stderr.wait_for(0, "the daemon is gone", ms(1000) + slack()).expect("it is said");
        let (daemon, _) = listening(lab);
        text.stderr.wait_for(0, "the daemon is back", ms(3000) + slack()).expect("it is said");
        daemon.stop();
    });
}

#[test]
fn watch_works_without_a_daemon() {
    run_isolated(test_name!(), |lab| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"));
        command.args(["watch", "--json", "--socket"]).arg(lab.scratch_path("nobody"));
        let watch = Daemon::spawn(command);
        watch.stdout.wait_for(0, "\"event\":\"run\"", ms(5000) + slack()).expect("a run is shown");
        let path = lab.mount_point("new");
        lab.mount_tmpfs(&path);
        let line =
            watch.stdout.wait_for(0, "\"event\":\"mounted\"", ms(1000) + slack()).expect("it is shown");
        assert!(line.text.contains(&display_path(&path)), "{}", line.text);
        watch.stop();
    });
}

fn listening(lab: &Lab) -> (Daemon, PathBuf) {
    let socket = lab.scratch_path("socket");
    let daemon = lab.start_daemon(&[QUICK, &["--socket", socket.to_str().expect("plain")]].concat());
    wait_until(ms(1000) + slack(), "it listens", || socket.symlink_metadata().is_ok());
    // From the run that was told to the snapshot that has it.
    pause(ms(300));
    (daemon, socket)
}

fn ask(command: &str, socket: &Path, arguments: &[&str]) -> CommandOutput {
    CommandOutput::run(asking(command, socket, arguments), ms(10_000))
}

fn watch(socket: &Path, arguments: &[&str]) -> Daemon {
    Daemon::spawn(asking("watch", socket, arguments))
}

fn asking(name: &str, socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"));
    command.arg(name).arg("--socket").arg(socket).args(arguments);
    command
}
