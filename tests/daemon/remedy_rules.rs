//! Remedies that the daemon makes by itself, because a rule says so.

use crate::common::{
    CommandOutput, Daemon, Lab, Lines, Process, display_path, monitor_command, ms, run_isolated, utf8,
    wait_until,
};
use crate::evidence::mount_fusectl;
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const AFTER: Duration = ms(1500);

/// False, loudly, where nothing may be remedied. Locks and records of remedies are not those of this machine.
pub(crate) fn prepare(lab: &Lab) -> bool {
    let uptime = fs::read_to_string("/proc/uptime").expect("the time since the start");
    let seconds = uptime.split('.').next().and_then(|seconds| seconds.parse().ok());
    if seconds.is_none_or(|seconds: u64| seconds < 300) {
        lab.skip("nothing is remedied in the first minutes of a machine");
        return false;
    }
    lab.mount_tmpfs_over(Path::new("/run"));
    mount_fusectl();
    true
}

/// A rule for FUSE mounts below `m/` with this remedy.
pub(crate) fn rule(lab: &Lab, remedy: &str) -> PathBuf {
    let mounts = lab.mount_point("*");
    let text =
        format!("[[rule]]\nmountpoint = {:?}\nfstype = \"fuse*\"\nremedy = {{ {remedy} }}\n", utf8(&mounts));
    lab.write_file("c.toml", text)
}

pub(crate) fn act(allow: &str) -> String {
    format!("mode = \"act\", after = \"{}ms\", allow = [{allow}]", AFTER.as_millis())
}

fn start(lab: &Lab, file: &Path) -> Daemon {
    lab.start_daemon(&["--config", utf8(file), "--poll-interval", "1", "--timeout", "0.5"])
}

fn table_line(path: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    let here = format!(" {} ", display_path(path));
    table.lines().filter(|line| line.contains(&here)).map(str::to_owned).collect()
}

fn attempts(daemon: &Daemon) -> Vec<Process> {
    let is_attempt = |process: &Process| process.has_role("remedy-attempt");
    daemon.process.children().into_iter().filter(is_attempt).collect()
}

#[test]
fn hung_mount_is_replaced_after_the_time_of_its_rule() {
    run_isolated(|lab| {
        if !prepare(lab) {
            return;
        }
        let (dead, other) = (lab.mount_fuse("a"), lab.mount_fuse("b"));
        let before = table_line(&other);
        let daemon = start(lab, &rule(lab, &act("\"not_mounted_again\", \"copies\"")));
        lab.set_fault("mute", &dead);
        let died = daemon.wait_for_failure(&dead, "hung", ms(10_000));
        let begun = daemon.wait_for_mount_line("Remedy begins", &dead, ms(20_000));
        assert!(begun.at - died.at >= AFTER - ms(200), "{:?}", begun.at - died.at);
        daemon.wait_for_line("MOVE_MOUNT_BENEATH): succeeded", ms(10_000));
        daemon.wait_for_line("UMOUNT_NOFOLLOW): succeeded", ms(10_000));
        daemon.wait_for_line("is not mounted again", ms(10_000));
        wait_until(ms(5_000), "the process of the attempt ends", || attempts(&daemon).is_empty());
        let here = table_line(&dead);
        assert!(matches!(&here[..], [line] if line.contains(" - tmpfs mount_status_monitor ro")), "{here:?}");
        assert_eq!(table_line(&other), before, "only the dead mount was touched");
        daemon.stop();
    });
}

#[test]
fn dry_run_reports_the_calls_once_and_makes_none() {
    run_isolated(|lab| {
        if !prepare(lab) {
            return;
        }
        let path = lab.mount_fuse("a");
        let before = table_line(&path);
        let allow = act("\"not_mounted_again\", \"copies\"").replace("\"act\"", "\"dry-run\"");
        let daemon = start(lab, &rule(lab, &allow));
        lab.set_fault("mute", &path);
        let line = daemon.wait_for_mount_line("Remedy would begin", &path, ms(20_000));
        assert!(line.text.contains("MNT_DETACH") && line.text.contains("UMOUNT_NOFOLLOW"), "{}", line.text);
        daemon.skip_earlier_lines();
        for _ in 0..4 {
            daemon.wait_for_line("Checked ", ms(10_000));
            daemon.skip_earlier_lines();
        }
        daemon.assert_no_line("Remedy");
        assert_eq!(daemon.stderr.count("Remedy call"), 0);
        assert_eq!(table_line(&path), before);
        assert!(fs::read_dir("/run/mount_status_monitor/remedy").is_err(), "no lock, no record");
        lab.clear_fault(&path);
        daemon.wait_for_recovery(&path, ms(10_000));
        daemon.stop();
    });
}

#[test]
fn mount_that_recovers_in_time_is_left_alone() {
    run_isolated(|lab| {
        if !prepare(lab) {
            return;
        }
        let path = lab.mount_fuse("a");
        let before = table_line(&path);
        let remedy = "mode = \"act\", after = \"20s\", allow = [\"not_mounted_again\", \"copies\"]";
        let daemon = start(lab, &rule(lab, remedy));
        // A third time, it would be flapping.
        for _ in 0..2 {
            lab.set_fault("mute", &path);
            daemon.wait_for_failure(&path, "hung", ms(10_000));
            lab.clear_fault(&path);
            daemon.wait_for_recovery(&path, ms(10_000));
            daemon.skip_earlier_lines();
        }
        assert_eq!(daemon.stderr.count("Remedy"), 0, "{}", daemon.transcript());
        assert_eq!(table_line(&path), before);
        daemon.stop();
    });
}

#[test]
fn rule_that_is_taken_back_in_time_does_nothing() {
    run_isolated(|lab| {
        if !prepare(lab) {
            return;
        }
        let path = lab.mount_fuse("a");
        let before = table_line(&path);
        let remedy = "mode = \"act\", after = \"6s\", allow = [\"not_mounted_again\", \"copies\"]";
        let daemon = start(lab, &rule(lab, remedy));
        lab.set_fault("mute", &path);
        let died = daemon.wait_for_failure(&path, "hung", ms(10_000));
        rule(lab, &remedy.replace("\"act\"", "\"off\""));
        daemon.send_signal(Signal::SIGHUP);
        while died.at.elapsed() < ms(9_000) {
            daemon.skip_earlier_lines();
            daemon.wait_for_line("Checked ", ms(10_000));
        }
        assert_eq!(daemon.stderr.count("Remedy"), 0, "{}", daemon.transcript());
        assert_eq!(table_line(&path), before);
        lab.clear_fault(&path);
        daemon.stop();
    });
}

#[test]
fn refusal_is_said_once_and_ends_when_its_reason_does() {
    run_isolated(|lab| {
        if !prepare(lab) {
            return;
        }
        let path = lab.mount_fuse("a");
        let below = path.join("directory");
        lab.mount_tmpfs_over(&below);
        let file = rule(lab, &act("\"not_mounted_again\", \"copies\""));
        let daemon = start(lab, &file);
        lab.set_fault("mute", &path);
        let line = daemon.wait_for_mount_line("Remedy refused", &path, ms(20_000));
        assert!(line.text.contains("other mounts are below it"), "{}", line.text);
        daemon.send_signal(Signal::SIGHUP);
        daemon.wait_for_line("Configuration", ms(10_000));
        wait_until(ms(10_000), "it is planned again", || !attempts(&daemon).is_empty());
        wait_until(ms(20_000), "it is refused again", || attempts(&daemon).is_empty());
        assert_eq!(daemon.stderr.count("Remedy refused"), 1, "{}", daemon.transcript());
        lab.clear_fault(&path);
        daemon.wait_for_recovery(&path, ms(10_000));
        lab.detach(&below);
        lab.set_fault("mute", &path);
        daemon.wait_for_line("is not mounted again", ms(30_000));
        daemon.stop();
    });
}

#[test]
fn reset_is_known_to_the_daemon_at_once() {
    run_isolated(|lab| {
        if !prepare(lab) {
            return;
        }
        let path = lab.mount_fuse("a");
        let user = File::open(&path).expect("the mount responds");
        let remedy = act("\"not_mounted_again\", \"copies\"") + ", steps = [\"unmount\"], max_attempts = 1";
        let file = rule(lab, &remedy);
        let socket = lab.scratch_path("socket");
        let options = ["--config", utf8(&file), "--poll-interval", "1", "--timeout", "0.5"];
        let daemon = lab.start_daemon(&[&options[..], &["--socket", utf8(&socket)]].concat());
        lab.set_fault("mute", &path);
        daemon.wait_for_mount_line("Remedy gave up", &path, ms(30_000));
        let ask = |words: &[&str]| {
            let mut command = monitor_command();
            command.args(words).args(["--socket", utf8(&socket)]);
            CommandOutput::run(command, ms(10_000))
        };
        let status_has = |words: &str| ask(&["status"]).stdout.contains(words);
        wait_until(ms(10_000), "the status says so", || status_has("remedy gave up: "));
        daemon.skip_earlier_lines();
        let reset = ask(&["remedy", utf8(&path), "--reset", "--config", utf8(&file)]);
        reset.assert_stdout_contains("new attempts are permitted; the daemon plans one now");
        daemon.wait_for_mount_line("Remedy begins", &path, ms(10_000));
        wait_until(ms(10_000), "the status has the second attempt", || status_has("remedies: 2 planned"));
        drop(user);
        daemon.stop();
    });
}

#[test]
fn attempt_whose_process_is_killed_is_a_failure_and_harms_nothing() {
    run_isolated(|lab| {
        if !prepare(lab) {
            return;
        }
        let path = lab.mount_fuse("a");
        let before = table_line(&path);
        let daemon = start(lab, &rule(lab, &act("\"not_mounted_again\", \"copies\"")));
        lab.set_fault("mute", &path);
        wait_until(ms(20_000), "an attempt begins", || !attempts(&daemon).is_empty());
        for process in attempts(&daemon) {
            process.send_signal(Signal::SIGKILL);
        }
        daemon.wait_for_line("its process ended early", ms(10_000));
        assert_eq!(table_line(&path), before);
        lab.clear_fault(&path);
        daemon.wait_for_recovery(&path, ms(10_000));
        daemon.stop();
    });
}

#[test]
fn attempt_goes_on_to_its_end_when_the_daemon_is_stopped() {
    run_isolated(|lab| {
        if !prepare(lab) {
            return;
        }
        let path = lab.mount_fuse("a");
        let daemon = start(lab, &rule(lab, &act("\"not_mounted_again\", \"copies\"")));
        lab.set_fault("mute", &path);
        wait_until(ms(20_000), "an attempt begins", || !attempts(&daemon).is_empty());
        let attempt = attempts(&daemon);
        daemon.stop();
        wait_until(ms(30_000), "the attempt ends", || attempt.iter().all(|process| !process.is_alive()));
        let here = table_line(&path);
        assert!(matches!(&here[..], [line] if line.contains(" - tmpfs mount_status_monitor ro")), "{here:?}");
    });
}

#[test]
fn mount_of_another_namespace_is_unmounted_and_nothing_of_ours() {
    run_isolated(|lab| {
        if !prepare(lab) {
            return;
        }
        let (path, other) = (lab.mount_fuse("a"), lab.mount_fuse("b"));
        let mut inside = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                "umount $0 && echo ready; exec sleep 600",
            ])
            .arg(&other)
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let ready = Lines::from_reader(inside.stdout.take().expect("it is piped"));
        ready.wait_for(0, "ready", ms(10_000)).expect("it is ready");
        lab.detach(&path);
        let before = table_line(&other);
        let file = rule(lab, &act("\"not_mounted_again\", \"copies\""));
        let namespace = format!("/proc/{}/ns/mnt", inside.id());
        let options = ["--config", utf8(&file), "--poll-interval", "1", "--timeout", "0.5"];
        let daemon = lab.start_daemon(&[&options[..], &["--mount-namespace", &namespace]].concat());
        lab.set_fault("mute", &path);
        daemon.wait_for_mount_line("Remedy ended", &path, ms(30_000));
        daemon.wait_for_mount_line("Mount disappeared", &path, ms(10_000));
        daemon.assert_no_line("MNT_DETACH");
        assert_eq!(table_line(&other), before);
        daemon.stop();
        inside.kill().and_then(|()| inside.wait()).expect("it ends");
    });
}
