//! Stopping the daemon: in time, and without remaining processes.

use crate::check::command;
use crate::common::{
    Daemon, Lab, Process, monitor_command, ms, pause, run_isolated, slack, utf8, wait_until,
};
use crate::{QUICK, QUICK_HANG};
use nix::sys::signal::Signal;
use std::io::{PipeReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::Instant;

#[test]
fn sigterm_and_sigint_stop_daemon_and_probers() {
    run_isolated(|lab| {
        lab.mount_fuses(5);
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let daemon = lab.start_daemon(QUICK);
            let children = daemon.process.descendants();
            assert!(!children.is_empty());
            daemon.stop_with(signal);
            wait_until_ended(&children);
        }
    });
}

#[test]
fn hung_mounts_do_not_delay_stop() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(20);
        lab.set_faults("mute", 0..20);
        let daemon = lab.start_daemon(QUICK);
        daemon.wait_for_failure(&mounts[19], "hung", QUICK_HANG);
        daemon.stop();
    });
}

#[test]
fn first_run_in_progress_does_not_delay_stop() {
    run_isolated(|lab| {
        lab.mount_fuses(20);
        lab.fuse_server().freeze();
        let daemon = Daemon::spawn(lab.daemon_command(&["--timeout", "20"]));
        let prober = daemon.prober();
        daemon.stop();
        wait_until_ended(&[prober]);
        lab.fuse_server().thaw();
    });
}

#[test]
fn probers_end_when_the_daemon_is_killed() {
    run_isolated(|lab| {
        lab.mount_fuses(5);
        let daemon = lab.start_daemon(QUICK);
        let children = daemon.process.descendants();
        daemon.send_signal(Signal::SIGKILL);
        wait_until_ended(&children);
        drop(daemon);
        lab.start_daemon(QUICK).stop();
    });
}

fn wait_until_ended(children: &[Process]) {
    wait_until(ms(1000), "all children have ended", || !children.iter().any(|process| process.is_alive()));
}

/// A command whose reader does not read, such as `| less`, ends at once on a signal.
#[test]
fn full_pipe_does_not_delay_the_end_of_a_command() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(2);
        lab.set_fault("errno EIO", &mounts[1]);
        let diagnose = |arguments: &[&str]| {
            let mut command = monitor_command();
            command.arg("diagnose").args(arguments).arg(utf8(&mounts[1]));
            command
        };
        let socket = lab.scratch_path("socket");
        let daemon = lab.start_daemon(&["--socket", utf8(&socket)]);
        let other = |arguments: &[&str]| {
            let mut command = monitor_command();
            command.args(arguments);
            command
        };
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            for command in [
                other(&["status", "--socket", utf8(&socket)]),
                other(&["man"]),
                other(&["--check-config"]),
                command(lab, &[]),
                command(lab, &["--json"]),
                command(lab, &["--nagios"]),
                diagnose(&["--direct"]),
                diagnose(&["--direct", "--json"]),
            ] {
                ends_while_it_writes(command, signal);
            }
        }
        daemon.stop();
    });
}

fn ends_while_it_writes(mut command: Command, signal: Signal) {
    let (_reader, writer) = full_pipe();
    let mut child = command.stdout(writer).stderr(Stdio::null()).spawn().expect("the program starts");
    let process = Process(child.id());
    wait_until(ms(10_000), "it waits for the reader", || waits_for_a_pipe(process));
    process.send_signal(signal);
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if start.elapsed() > ms(500) + slack() {
            let _ = child.kill();
            panic!("{command:?} still runs after {signal}");
        }
        pause(ms(5));
    };
    assert_eq!(status.signal(), Some(signal as i32), "{command:?}");
}

/// Events and warnings go to the same pipe.
#[test]
fn full_pipe_does_not_delay_the_end_of_watch() {
    run_isolated(|lab| {
        let mount = lab.mount_fuse("a");
        let mut command = monitor_command();
        let config = config_of(lab);
        command.args(["watch", "--config", utf8(&config), "--socket", utf8(&lab.scratch_path("none"))]);
        let (_reader, writer) = full_pipe();
        let both = writer.try_clone().expect("a copy");
        let mut child = command.stdout(writer).stderr(both).spawn().expect("the program starts");
        let process = Process(child.id());
        wait_until(ms(10_000), "it watches", || !process.children().is_empty());
        // Each is an event, and each killed prober is a warning.
        for n in 0..20 {
            lab.bind_mount(&mount, &lab.mount_point(n.to_string()));
            for prober in process.children().into_iter().filter(|child| child.has_role("prober")) {
                let _ = prober.try_signal(Signal::SIGKILL);
            }
            pause(ms(50));
        }
        process.send_signal(Signal::SIGTERM);
        let start = Instant::now();
        wait_until(ms(1000), "it ends", || child.try_wait().expect("a child").is_some());
        assert!(start.elapsed() < ms(1000) + slack());
    });
}

fn config_of(lab: &Lab) -> std::path::PathBuf {
    let include = format!("^{}/", lab.mount_point("").display().to_string().trim_end_matches('/'));
    lab.write_file("config.toml", format!("mount_points_include = '{include}'\npoll_interval = 1\n"))
}

/// A pipe that takes nothing more.
fn full_pipe() -> (PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(&vec![b'x'; 64 << 10]).expect("the default size of a pipe");
    (reader, writer)
}

fn waits_for_a_pipe(process: Process) -> bool {
    let channel = std::fs::read_to_string(format!("/proc/{}/wchan", process.0)).unwrap_or_default();
    channel.contains("pipe_write") || channel.contains("pipe_wait")
}
