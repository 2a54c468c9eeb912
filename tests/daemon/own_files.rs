//! The daemon's own files (text file, configuration, socket, standard error) on storage that hangs: it goes on, and it
//! ends, and the next daemon can start.

use crate::common::{
    CommandOutput, Daemon, Lab, Lines, display_path, free_address, monitor_command, ms, run_isolated, utf8,
    wait_until,
};
use crate::http::{get, start_with_http};
use crate::{QUICK, QUICK_HANG};
use nix::sys::signal::Signal;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

/// An operation on a file fails after 5 seconds.
const FILE_TIMEOUT: Duration = ms(5000);

/// The daemon reports another death and responds, although storage of its own hangs; then it ends, and another daemon
/// can listen on its port at once.
fn assert_unimpaired(lab: &mut Lab, daemon: Daemon, address: SocketAddr, syslog: &Lines) {
    let path = lab.mount_point("0");
    lab.set_fault("mute", &path);
    let needle = format!("Mount failed health-check: {} (hung:", display_path(&path));
    let line = syslog.wait_for(0, &needle, QUICK_HANG);
    assert!(line.is_some(), "not reported: {:?}", syslog.all());
    assert_eq!(get(address, "/-/healthy").status, 200);
    daemon.stop();
    assert!(TcpListener::bind(address).is_ok(), "the port is still in use");
}

fn wait_for_line(syslog: &Lines, needle: &str, limit: Duration) {
    assert!(syslog.wait_for(0, needle, limit).is_some(), "not logged: {needle}: {:?}", syslog.all());
}

#[test]
fn hung_text_file() {
    run_isolated(|lab| {
        lab.mount_fuses(2);
        let (storage, folder) = lab.mount_storage("storage");
        let syslog = lab.read_syslog();
        let file = folder.join("m.prom");
        let (daemon, address) = start_with_http(lab, &[QUICK, &["--textfile", utf8(&file)]].concat());
        wait_until(ms(2000), "a first file", || std::fs::File::open(&file).is_ok());
        lab.set_fault("mute", &storage);
        let needle = format!("Cannot write {}: no answer from its storage in 5s", display_path(&file));
        wait_for_line(&syslog, &needle, FILE_TIMEOUT + ms(2000));
        let left_behind = || get(address, "/metrics").text().contains("\nmountstatus_files_left_behind 1\n");
        assert!(left_behind());
        daemon.wait_for_line("Checked ", ms(2000));
        assert!(left_behind(), "only one process waits for the file");
        lab.clear_fault(&storage);
        wait_for_line(&syslog, &format!("{} is written again", display_path(&file)), ms(4000));
        lab.set_fault("mute", &storage);
        assert_unimpaired(lab, daemon, address, &syslog);
    });
}

#[test]
fn hung_configuration() {
    run_isolated(|lab| {
        lab.mount_fuses(2);
        let (storage, folder) = lab.mount_storage("storage");
        let syslog = lab.read_syslog();
        let file = folder.join("config.toml");
        std::fs::write(&file, "slow_after = \"450ms\"\n").expect("write the configuration");
        let config = ["--config", utf8(&file), "--timeout", "500ms", "--poll-interval", "1"];
        let (daemon, address) = start_with_http(lab, &config);
        lab.set_fault("mute", &storage);
        daemon.send_signal(Signal::SIGHUP);
        let needle = format!(
            "Configuration not reloaded, the old one stays in force: {}: cannot read this file: ",
            display_path(&file)
        );
        wait_for_line(&syslog, &needle, FILE_TIMEOUT + ms(1000));
        lab.clear_fault(&storage);
        wait_for_line(&syslog, "Configuration reloaded: nothing has changed", ms(10_000)); // by itself
        std::fs::write(&file, "slow_after = \"440ms\"\n").expect("write the configuration");
        wait_for_line(&syslog, "Configuration reloaded: slow_after 450ms -> 440ms", ms(3000));
        lab.set_fault("mute", &storage);
        daemon.send_signal(Signal::SIGHUP);
        assert_unimpaired(lab, daemon, address, &syslog);
    });
}

#[test]
fn hung_folder_of_the_socket() {
    run_isolated(|lab| {
        lab.mount_fuses(2);
        let (storage, folder) = lab.mount_storage("storage");
        let syslog = lab.read_syslog();
        let socket = folder.join("socket");
        let (daemon, address) = start_with_http(lab, &[QUICK, &["--socket", utf8(&socket)]].concat());
        wait_until(ms(1000), "the socket exists", || socket.symlink_metadata().is_ok());
        lab.set_fault("mute", &storage);
        assert_unimpaired(lab, daemon, address, &syslog);
        let address = free_address();
        let text = address.to_string();
        lab.clear_fault(&lab.mount_point("0"));
        let options = [QUICK, &["--listen-address", &text, "--socket", utf8(&socket)]].concat();
        let daemon = lab.start_daemon(&options);
        assert_eq!(get(address, "/-/healthy").status, 200, "HTTP does not wait for the socket");
        let needle = format!("Cannot listen on {}: no answer from its storage", display_path(&socket));
        wait_for_line(&syslog, &needle, FILE_TIMEOUT + ms(1000));
        daemon.stop();
    });
}

#[test]
fn hung_standard_error() {
    run_isolated(|lab| {
        lab.mount_fuses(2);
        let (storage, _) = lab.mount_storage("storage");
        let syslog = lab.read_syslog();
        let file = std::fs::File::options().append(true).open(storage.join("file")).expect("open a file");
        let address = free_address();
        let text = address.to_string();
        let mut command = lab.daemon_command(&[QUICK, &["--listen-address", &text]].concat());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().expect("the daemon starts");
        drop(command); // which has the file open
        let daemon = Daemon::with_stderr(child, Lines::default());
        wait_for_line(&syslog, "Checked 2 mounts; 0 are dead", ms(5000));
        lab.set_fault("mute", &storage);
        assert_unimpaired(lab, daemon, address, &syslog);
    });
}

#[test]
fn standard_error_in_a_file_is_complete() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        // Without it, a line about it may follow the last one.
        let _syslog = lab.read_syslog();
        let path = lab.write_file("stderr", "");
        let file = std::fs::File::options().append(true).open(&path).expect("open a file");
        let mut command = lab.daemon_command(QUICK);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let daemon = Daemon::with_stderr(command.spawn().expect("the daemon starts"), Lines::default());
        let text = || std::fs::read_to_string(&path).expect("it exists");
        wait_until(ms(5000), "the first run", || text().contains("Checked 1 mount; 0 are dead"));
        daemon.stop();
        wait_until(ms(1000), "the last line", || text().ends_with("Stopped\n"));
        assert!(text().lines().any(|line| line.starts_with("Started mount_status_monitor")), "{}", text());
    });
}

#[test]
fn commands_end_although_the_socket_hangs() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let (storage, folder) = lab.mount_storage("storage");
        let socket = folder.join("socket");
        let daemon = lab.start_daemon(&[QUICK, &["--socket", utf8(&socket)]].concat());
        wait_until(ms(1000), "the socket exists", || socket.symlink_metadata().is_ok());
        lab.set_fault("mute", &storage);
        let run = |arguments: &[&str]| {
            let mut command = monitor_command();
            command.args(arguments).args(["--socket", utf8(&socket)]);
            CommandOutput::run(command, ms(6000))
        };
        let status = run(&["status"]);
        status.assert_code(2);
        status.assert_stderr_contains("cannot query the daemon on").assert_stderr_contains("no ");
        let check = run(&["check", "--nagios", utf8(&lab.mount_point("0"))]);
        check.assert_code(0);
        check.assert_stdout_contains("OK");
        run(&["watch"]).assert_code(2);
        daemon.stop();
    });
}

#[test]
fn start_ends_although_the_configuration_hangs() {
    run_isolated(|lab| {
        let (storage, folder) = lab.mount_storage("storage");
        let file = folder.join("config.toml");
        std::fs::write(&file, "").expect("write the configuration");
        lab.set_fault("mute", &storage);
        for command in [&[][..], &["--check-config"], &["check", "--direct"], &["status"]] {
            let mut started = monitor_command();
            started.args(command).args(["--config", utf8(&file)]);
            let result = CommandOutput::run(started, FILE_TIMEOUT + ms(1000));
            result.assert_code(2);
            result.assert_stderr_contains(&format!("{}: cannot read this file: ", display_path(&file)));
            assert_eq!(result.stderr.lines().count(), 1, "{}", result.stderr);
        }
        let mut started = monitor_command();
        started.args(["check", "--nagios", "--config", utf8(&file)]);
        let result = CommandOutput::run(started, FILE_TIMEOUT + ms(1000));
        result.assert_code(3);
    });
}
