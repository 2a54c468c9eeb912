//! Mounts for which tasks wait between two runs: found within seconds, not at the next run.

use crate::common::{Daemon, Process, free_address, ms, pause, run_isolated, suspend, wait_until};
use crate::evidence::mount_fusectl;
use crate::http::get;
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const TIMEOUT: Duration = ms(1000);
/// From the first wait to the report: the timeout and four seconds.
const PROMISED: Duration = ms(5000);
const SELDOM: &[&str] = &["--poll-interval", "60", "--timeout", "1", "--log-level", "debug"];

/// A process that waits for the attributes of a mount.
fn start_reader(path: &Path) -> Daemon {
    let mut command = Command::new("stat");
    command.arg("-f").arg(path);
    Daemon::spawn(command)
}

fn reader_of_signs(daemon: &Daemon) -> Option<Process> {
    daemon.process.descendants().into_iter().find(|process| process.has_role("signs"))
}

/// The number of probes that signs have caused.
fn sign_probes(address: SocketAddr) -> u32 {
    let metrics = get(address, "/metrics").text().to_owned();
    let value = metrics.lines().find_map(|line| line.strip_prefix("mountstatus_sign_probes_total "));
    value.expect("the metric is there").parse().expect("a number")
}

#[test]
fn hang_on_which_a_task_waits_is_reported_long_before_the_next_run() {
    run_isolated(|lab| {
        mount_fusectl();
        let mounts = lab.mount_fuses(3);
        let daemon = lab.start_daemon(SELDOM);
        wait_until(ms(3000), "there is a reader of signs", || reader_of_signs(&daemon).is_some());
        lab.set_fault("mute", &mounts[1]);
        lab.set_fault("mute", &mounts[2]);
        let _reader = start_reader(&mounts[1]);
        daemon.wait_for_failure(&mounts[1], "hung", PROMISED);
        pause(TIMEOUT + ms(2000));
        let text = mounts[2].display().to_string();
        daemon.assert_no_line(&format!("Mount failed health-check: {text}"));
        lab.clear_fault(&mounts[1]);
        daemon.wait_for_recovery(&mounts[1], ms(4000));
        daemon.stop();
    });
}

#[test]
fn without_signs_the_hang_is_found_by_the_next_run() {
    run_isolated(|lab| {
        mount_fusectl();
        let path = lab.mount_fuse("a");
        let mut options = SELDOM.to_vec();
        options.extend(["--signs-interval", "0"]);
        let daemon = lab.start_daemon(&options);
        lab.set_fault("mute", &path);
        let _reader = start_reader(&path);
        pause(PROMISED + ms(1000));
        daemon.assert_no_line("Mount failed");
        assert!(reader_of_signs(&daemon).is_none());
        daemon.stop();
    });
}

/// Some request waits at each moment, as on a busy server.
#[test]
fn busy_healthy_mount_is_not_reported_but_found_when_it_hangs() {
    run_isolated(|lab| {
        mount_fusectl();
        let (path, address) = (lab.mount_fuse("a"), free_address());
        let listen = address.to_string();
        let mut options = SELDOM.to_vec();
        options.extend(["--listen-address", &listen]);
        let daemon = lab.start_daemon(&options);
        lab.set_fault("delay 400", &path);
        let clients: Vec<Daemon> = (0..6)
            .map(|_| {
                let mut command = Command::new("sh");
                command.args(["-c", "while :; do stat -f \"$0\" >/dev/null; done"]).arg(&path);
                Daemon::spawn(command)
            })
            .collect();
        wait_until(PROMISED, "it is probed", || sign_probes(address) > 0);
        pause(ms(8000));
        daemon.assert_no_line("Mount failed");
        // One every two seconds.
        let probes = sign_probes(address);
        assert!((2..=6).contains(&probes), "{probes}");
        lab.set_fault("mute", &path);
        daemon.wait_for_failure(&path, "hung", PROMISED);
        lab.clear_fault(&path);
        drop(clients);
        daemon.stop();
    });
}

#[test]
fn reader_of_signs_exists_only_while_there_is_something_to_watch_and_is_replaced() {
    run_isolated(|lab| {
        mount_fusectl();
        lab.mount_tmpfs(&lab.mount_point("tmpfs"));
        let daemon = lab.start_daemon(SELDOM);
        assert!(reader_of_signs(&daemon).is_none());
        let path = lab.mount_fuse("a");
        let wait_for_reader = || {
            wait_until(ms(8000), "there is a reader", || reader_of_signs(&daemon).is_some());
            reader_of_signs(&daemon).expect("it was there")
        };
        let first = wait_for_reader();
        first.try_signal(Signal::SIGKILL).expect("it runs");
        daemon.wait_for_line("exited unexpectedly; trying again later", ms(2000));
        let second = wait_for_reader();
        assert_ne!(first.0, second.0);
        // The daemon tells it about the new mount, and it does not answer.
        suspend(second);
        let other = lab.mount_fuse("b");
        daemon.wait_for_line("does not respond; killed; trying again later", ms(8000));
        wait_until(ms(500), "it has ended", || !second.is_alive());
        lab.unmount_when_idle(&other);
        lab.unmount_when_idle(&path);
        wait_until(ms(4000), "there is no reader", || reader_of_signs(&daemon).is_none());
        daemon.stop();
    });
}
