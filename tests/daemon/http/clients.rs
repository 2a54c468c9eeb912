//! `status`, `watch` and `check` as clients of the daemon's socket.

use crate::common::{
    CommandOutput, Daemon, Lab, display_path, monitor_command, ms, pause, run_isolated, slack, utf8,
    wait_until,
};
use crate::{QUICK, QUICK_HANG};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn status_shows_what_the_daemon_knows() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        let (daemon, socket) = start_with_socket(lab);
        lab.set_fault("errno ESTALE", &mounts[1]);
        daemon.wait_for_failure(&mounts[1], "stale", QUICK_HANG);
        wait_until(ms(1000), "status shows the failure", || {
            run_client("status", &socket, &[]).code == Some(1)
        });
        let result = run_client("status", &socket, &[]);
        assert!(
            result.stdout.contains("failed ESTALE") && result.stdout.contains(&display_path(&mounts[1])),
            "{}",
            result.stdout
        );
        let result = run_client("status", &socket, &["--json"]);
        let document: Value = result.json();
        assert_eq!(
            (result.code, &document["dead"], &document["daemon"]["version"]),
            (Some(1), &1.into(), &env!("CARGO_PKG_VERSION").into())
        );
        daemon.stop();
        let result = run_client("status", &socket, &[]);
        assert_eq!((result.code, result.stderr.lines().count()), (Some(2), 1), "{}", result.stderr);
        result.assert_stderr_contains("no daemon is running");
    });
}

#[test]
fn check_queries_the_daemon_unless_direct() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        let (daemon, socket) = start_with_socket(lab);
        // The daemon watches only the mounts of the lab; a direct check would find more.
        let by_daemon = |result: &CommandOutput| result.stdout.contains("Checked 3 mounts");
        let result = run_client("check", &socket, &[]);
        assert!(by_daemon(&result) && result.code == Some(0), "{}{}", result.stdout, result.stderr);
        let one = run_client("check", &socket, &[utf8(&mounts[2])]);
        one.assert_stdout_contains("Checked 1 mount; 0 are dead");
        let line = run_client("check", &socket, &["--nagios"]);
        assert!(line.stdout.starts_with("MOUNTS OK - 3 mounts") && line.stdout.lines().count() == 1);
        let json: Value =
            serde_json::from_str(&run_client("check", &socket, &["--json"]).stdout).expect("JSON");
        assert!(json["daemon"].is_object());
        for direct in [&["--direct"][..], &["--timeout", "2"], &["--fs-types-exclude", "^x$"]] {
            let json = run_client("check", &socket, &[direct, &["--json"]].concat());
            let json: Value = json.json();
            assert!(json["daemon"].is_null() && json["total"].as_u64() > Some(3), "{direct:?}");
        }
        // Mounts that the daemon does not watch are checked directly.
        assert_eq!(run_client("check", &socket, &["/proc"]).code, Some(0));
        daemon.stop();
        let result = run_client("check", &socket, &["/proc"]);
        result.assert_code(0);
    });
}

#[test]
fn unresponsive_daemon_does_not_delay_clients() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let (daemon, socket) = start_with_socket(lab);
        crate::common::suspend(daemon.process);
        let result = run_client("status", &socket, &[]);
        result.assert_code(2);
        assert!(result.elapsed < ms(2000) + slack(), "{:?}", result.elapsed);
        let result = run_client("check", &socket, &["/proc"]);
        result.assert_code(0);
        daemon.send_signal(nix::sys::signal::Signal::SIGCONT);
        daemon.stop();
    });
}

#[test]
fn watch_shows_events_as_they_happen() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(2);
        let (daemon, socket) = start_with_socket(lab);
        let (text, json) = (start_watch(&socket, &[]), start_watch(&socket, &["--json"]));
        // A printed line shows that the client is connected.
        for watch in [&text, &json] {
            watch.stdout.wait_for(0, "Checked 2 mounts", ms(3000)).expect("a run appears");
        }
        lab.set_fault("mute", &mounts[0]);
        let logged = daemon.wait_for_failure(&mounts[0], "hung", QUICK_HANG);
        let line = text.stdout.wait_for(0, "Mount failed health-check: ", ms(1000)).expect("it appears");
        assert!(line.at < logged.at + ms(1000) + slack());
        let line = json.stdout.wait_for(0, "\"event\":\"failed\"", ms(1000)).expect("it appears");
        let event: Value = serde_json::from_str(&line.text).expect("JSON");
        assert_eq!(event["mountpoint"], display_path(&mounts[0]).as_str());

        // The client reconnects after a restart of the daemon.
        daemon.stop();
        text.stderr.wait_for(0, "the daemon is gone", ms(1000)).expect("the message appears");
        let (daemon, _) = start_with_socket(lab);
        text.stderr.wait_for(0, "the daemon is back", ms(3000)).expect("the message appears");
        daemon.stop();
    });
}

#[test]
fn watch_works_without_a_daemon() {
    run_isolated(|lab| {
        let mut command = monitor_command();
        command.args(["watch", "--json", "--socket"]).arg(lab.scratch_path("no-daemon"));
        let watch = Daemon::spawn(command);
        watch.stdout.wait_for(0, "\"event\":\"run\"", ms(5000)).expect("a run appears");
        let path = lab.mount_point("new");
        lab.mount_tmpfs(&path);
        let line = watch.stdout.wait_for(0, "\"event\":\"mounted\"", ms(1000)).expect("it appears");
        assert!(line.text.contains(&display_path(&path)), "{}", line.text);
        watch.stop();
    });
}

fn start_with_socket(lab: &Lab) -> (Daemon, PathBuf) {
    let socket = lab.scratch_path("socket");
    let daemon = lab.start_daemon(&[QUICK, &["--socket", utf8(&socket)]].concat());
    wait_until(ms(1000), "the daemon listens", || socket.symlink_metadata().is_ok());
    // The snapshot is published shortly after the log line.
    pause(ms(300));
    (daemon, socket)
}

fn run_client(command: &str, socket: &Path, arguments: &[&str]) -> CommandOutput {
    CommandOutput::run(client_command(command, socket, arguments), ms(10_000))
}

fn start_watch(socket: &Path, arguments: &[&str]) -> Daemon {
    Daemon::spawn(client_command("watch", socket, arguments))
}

fn client_command(name: &str, socket: &Path, arguments: &[&str]) -> Command {
    let mut command = monitor_command();
    command.arg(name).arg("--socket").arg(socket).args(arguments);
    command
}
