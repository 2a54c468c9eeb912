//! The program itself on the mounts of this machine, on any operating system. Hanging storage is tested in
//! `tests/daemon`.

#![forbid(unsafe_code)]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A mount may respond slowly to the first probe.
const TIMEOUT: &str = "10";
/// A stop takes at most a second; the rest is for a busy machine.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"));
    command.stdin(Stdio::null()).env_clear();
    command
}

fn output(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("the program starts")
}

#[test]
fn single_run_judges_every_mount() {
    let output = output(&["--once-only", "--syslog", "off", "--timeout", TIMEOUT]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // The machine may have a dead mount.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{:?}: {stderr}", output.status);
    let line = stderr.lines().find_map(|line| line.split_once("Checked ")).expect("the run is logged").1;
    let mounts: usize = line.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!(mounts >= 1 && !line.contains("could not be judged"), "{stderr}");
}

#[test]
fn check_shows_the_root() {
    let output = output(&["check", "--direct", "--timeout", TIMEOUT, "/"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let root = stdout.lines().find(|line| line.ends_with(" /")).expect("the root has a row");
    assert!(root.starts_with("ok ") || root.starts_with("slow "), "{stdout}");
}

#[test]
fn plan_of_a_remedy_is_shown_everywhere_and_says_where_none_was_run() {
    let output = output(&["remedy", "/"]);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("is not dead"), "{stdout}{stderr}");
    assert_eq!(stderr.contains("never run on this system"), !platform::remedy::IS_SUPPORTED, "{stderr}");
}

#[test]
fn daemon_runs_and_stops_on_sigterm() {
    let mut daemon = program()
        .args(["--syslog", "off", "--listen-address", "off", "--socket", "off", "--timeout", TIMEOUT])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(daemon.stderr.take().expect("it is piped")).lines();
    let has_run = lines.any(|line| line.is_ok_and(|line| line.contains("Checked ")));
    assert!(has_run, "it ended without a run");
    let start = Instant::now();
    let kill = Command::new("kill").args(["-TERM", &daemon.id().to_string()]).status();
    assert!(kill.is_ok_and(|status| status.success()));
    let rest: Vec<String> = lines.map_while(Result::ok).collect(); // until it ends
    assert!(daemon.wait().expect("it is a child").success(), "{rest:?}");
    assert!(start.elapsed() < STOP_TIMEOUT, "it took {:?}", start.elapsed());
    assert!(rest.iter().any(|line| line.contains("Stopped")), "{rest:?}");
}
