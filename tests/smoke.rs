//! The program itself on the mounts of this machine, whatever system it has: for those that are rarely at hand. What
//! happens when storage hangs is in `tests/daemon`.

#![forbid(unsafe_code)]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A machine may have a mount that is slow to answer for the first time.
const TIMEOUT: &str = "10";
/// A stop takes a second at most; this allows for a busy machine.
const STOP: Duration = Duration::from_secs(10);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"));
    command.stdin(Stdio::null()).env_clear();
    command
}

fn output(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("the program starts")
}

#[test]
fn one_run_judges_every_mount() {
    let done = output(&["--once-only", "--syslog", "off", "--timeout", TIMEOUT]);
    let said = String::from_utf8_lossy(&done.stderr);
    // A machine may have a dead mount; that is no fault of the program.
    assert!(matches!(done.status.code(), Some(0 | 1)), "{:?}: {said}", done.status);
    let line = said.lines().find_map(|line| line.split_once("Checked ")).expect("the run is told").1;
    let mounts: usize = line.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!(mounts >= 1 && !line.contains("could not be judged"), "{said}");
}

#[test]
fn check_shows_the_root() {
    let done = output(&["check", "--direct", "--timeout", TIMEOUT, "/"]);
    let shown = String::from_utf8_lossy(&done.stdout);
    let root = shown.lines().find(|line| line.ends_with(" /")).expect("there is a row for the root");
    assert!(root.starts_with("ok ") || root.starts_with("slow "), "{shown}");
}

#[test]
fn the_daemon_runs_and_stops_when_told() {
    let mut daemon = program()
        .args(["--syslog", "off", "--listen-address", "off", "--socket", "off", "--timeout", TIMEOUT])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(daemon.stderr.take().expect("it was asked for")).lines();
    let checked = lines.any(|line| line.is_ok_and(|line| line.contains("Checked ")));
    assert!(checked, "it ended without a run");
    let asked = Instant::now();
    let told = Command::new("kill").args(["-TERM", &daemon.id().to_string()]).status();
    assert!(told.is_ok_and(|status| status.success()));
    let rest: Vec<String> = lines.map_while(Result::ok).collect(); // until it ends
    assert!(daemon.wait().expect("it is our child").success(), "{rest:?}");
    assert!(asked.elapsed() < STOP, "it took {:?}", asked.elapsed());
    assert!(rest.iter().any(|line| line.contains("Stopped")), "{rest:?}");
}
