//! The Unix socket.

use super::get_unix;
use crate::QUICK;
use crate::common::{CommandOutput, display_path, monitor_command, ms, run_isolated, utf8, wait_until};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

#[test]
fn socket_exists_while_the_daemon_runs() {
    run_isolated(|lab| {
        lab.mount_fuses(2);
        let path = lab.scratch_path("socket");
        let daemon = lab.start_daemon(&["--socket", utf8(&path)]);
        let mode = || path.symlink_metadata().map(|found| found.permissions().mode() & 0o7777);
        // It gets its mode after it is made.
        wait_until(ms(1000), "the socket can be used", || mode().is_ok_and(|mode| mode == 0o660));
        assert_eq!(get_unix(&path, "/api/v1/mounts").json()["total"], 2);
        daemon.stop();
        assert!(path.symlink_metadata().is_err(), "the socket remains");
    });
}

#[test]
fn commands_find_the_default_socket_and_the_earlier_one() {
    run_isolated(|lab| {
        lab.mount_fuses(2);
        lab.mount_tmpfs_over(Path::new("/run"));
        for path in ["/run/mount_status_monitor/socket", "/run/mount_status_monitor.sock"] {
            let daemon = lab.start_daemon(&["--socket", path]);
            wait_until(ms(2000), "the socket exists", || Path::new(path).exists());
            let mut command = monitor_command();
            command.args(["status", "--json"]);
            assert_eq!(CommandOutput::run(command, ms(5000)).json()["total"], 2, "{path}");
            daemon.stop();
        }
        let mode =
            Path::new("/run/mount_status_monitor").metadata().expect("it was made").permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
    });
}

#[test]
fn stale_socket_is_replaced() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let path = lab.scratch_path("socket");
        drop(UnixListener::bind(&path).expect("bind a socket"));
        let daemon = lab.start_daemon(&["--socket", utf8(&path)]);
        wait_until(ms(1000), "the daemon responds", || {
            std::os::unix::net::UnixStream::connect(&path).is_ok()
        });
        assert_eq!(get_unix(&path, "/-/healthy").status, 200);
        daemon.stop();
    });
}

#[test]
fn foreign_files_and_sockets_are_kept() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let (taken, file) = (lab.scratch_path("socket"), lab.scratch_path("file"));
        let _listener = UnixListener::bind(&taken).expect("bind a socket");
        std::fs::write(&file, "precious").expect("write a file");
        for (path, problem) in [
            (&taken, "Address already in use"),
            (&file, "Address already in use"),
            (&lab.scratch_path("nowhere/socket"), "No such file or directory"),
        ] {
            let daemon = lab.start_daemon(&[QUICK, &["--socket", utf8(path)]].concat());
            daemon.wait_for_line(&format!("Cannot listen on {}: {problem}", display_path(path)), ms(1000));
            daemon.wait_for_line("Checked 1 mount", ms(3000));
            daemon.stop();
        }
        assert!(taken.symlink_metadata().is_ok());
        assert_eq!(std::fs::read_to_string(&file).expect("it exists"), "precious");
    });
}
