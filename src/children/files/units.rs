//! What systemd says about units. It may not answer: process 1 itself can wait for a dead mount.

use std::io::{self, ErrorKind, Read as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Where the program is. It has no other environment.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// For the answer; shorter than the deadline of the caller, so that the error arrives.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// The same for systemctl, in seconds, should this process be killed before it.
const BUS_TIMEOUT: &str = "2";
/// Maximum size of an answer: some hundred bytes for each unit that depends on a mount.
const MAX_ANSWER: u64 = 1 << 20;
const PROPERTIES: &str = "--property=Id,ActiveState,Job,MainPID,BoundBy";

/// What `systemctl show` prints about these units.
pub(super) fn show(names: &[String]) -> io::Result<Vec<u8>> {
    let mut command = Command::new("systemctl");
    command.args(["show", PROPERTIES, "--"]).args(names).env_clear().current_dir("/");
    command.envs([("PATH", SEARCH_PATH), ("LC_ALL", "C"), ("SYSTEMD_BUS_TIMEOUT", BUS_TIMEOUT)]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let output = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
    let (sender, answer) = mpsc::channel();
    let read = move || {
        let mut text = Vec::new();
        let result = output.take(MAX_ANSWER).read_to_end(&mut text);
        let _ = sender.send(result.map(|_| text)); // the other end may have given up
    };
    thread::Builder::new().name("units".into()).spawn(read)?;
    let answer = answer.recv_timeout(TIMEOUT);
    if answer.is_err() {
        // It waits for process 1, which a signal ends.
        child.kill()?;
    }
    let status = child.wait()?;
    match answer {
        Ok(text) if status.success() => text,
        Ok(_) => Err(io::Error::other(format!("systemctl failed: {status}"))),
        Err(_) => Err(io::Error::other("systemd does not answer")),
    }
}
