//! No output passes off an old state as the present one: named mounts are probed when somebody asks, ages are shown, and
//! what cannot be judged is unknown.

use crate::check::mounts_of;
use crate::common::{
    CommandOutput, Daemon, Lab, display_path, free_address, monitor_command, ms, pause, run_isolated, slack,
    utf8,
};
use crate::fault_injection::{UNUSED_USER, set_limit};
use crate::http::get;
use crate::{QUICK, QUICK_HANG};
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Mounts are probed once at the start and then not for a long time.
const SELDOM: &[&str] = &["--timeout", "1", "--poll-interval", "3600"];
const TIMEOUT: Duration = ms(1000);

#[test]
fn named_mounts_are_probed_when_the_daemon_is_asked() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        let socket = lab.scratch_path("socket");
        let daemon = start(lab, &socket, SELDOM);
        daemon.wait_for_line("Checked ", ms(3000));
        lab.set_fault("mute", &mounts[0]);
        lab.set_fault("errno EIO", &mounts[1]);
        pause(ms(1100)); // now the answers are a second old

        let old = ask(&["status"], &socket);
        old.assert_stdout_contains(" ago; 0 are dead");
        let start = Instant::now();
        let named = ask(&["check", utf8(&mounts[0])], &socket);
        named.assert_code(1);
        named.assert_stdout_contains("hung");
        assert!(start.elapsed() < TIMEOUT + ms(2000) + slack(), "{:?}", start.elapsed());
        let plugin = ask(&["check", "--nagios", utf8(&mounts[1])], &socket);
        plugin.assert_code(2);
        plugin.assert_stdout_contains(&format!("1 dead: {} (io_error)", display_path(&mounts[1])));
        lab.clear_fault(&mounts[1]);
        ask(&["diagnose", utf8(&mounts[1])], &socket).assert_stdout_contains(" is ok: responds in ");
        lab.clear_fault(&mounts[0]);
        ask(&["check", utf8(&mounts[0])], &socket).assert_code(0);
        daemon.wait_for_recovery(&mounts[0], ms(1000));
        daemon.stop();
    });
}

#[test]
fn diagnosis_of_a_mount_that_has_just_hung_says_so() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(1);
        let socket = lab.scratch_path("socket");
        let daemon = start(lab, &socket, SELDOM);
        daemon.wait_for_line("Checked ", ms(3000));
        lab.set_fault("mute", &mounts[0]);
        let diagnosis = ask(&["diagnose", utf8(&mounts[0])], &socket);
        diagnosis.assert_code(1);
        diagnosis.assert_stdout_contains(" has been dead since ");
        daemon.stop();
    });
}

/// The probe that begins with the question proves nothing yet: the mount may have been repaired a moment ago.
#[test]
fn mount_that_was_repaired_just_now_is_ok() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(1);
        let socket = lab.scratch_path("socket");
        lab.set_fault("delay 30", &mounts[0]); // of two calls
        let daemon = start(lab, &socket, SELDOM);
        daemon.wait_for_line("Checked ", ms(3000));
        for _ in 0..3 {
            lab.fuse_server().freeze();
            let hung = ask(&["check", utf8(&mounts[0])], &socket);
            hung.assert_code(1);
            hung.assert_stdout_contains("hung ");
            lab.fuse_server().thaw();
            ask(&["check", utf8(&mounts[0])], &socket).assert_code(0);
            daemon.wait_for_recovery(&mounts[0], ms(1000));
        }
        daemon.stop();
    });
}

#[test]
fn remote_clients_cannot_have_mounts_probed() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let address = free_address();
        let daemon = lab.start_daemon(&["--listen-address", &address.to_string(), "--poll-interval", "3600"]);
        daemon.wait_for_line("Checked ", ms(3000));
        assert_eq!(get(address, "/api/v1/mounts?probe=fresh").status, 403);
        assert_eq!(get(address, "/api/v1/mounts").status, 200);
        daemon.stop();
    });
}

/// Without a prober, `ok` becomes unknown in every output, and what was dead stays dead and shows its age.
#[test]
fn mounts_that_cannot_be_judged_are_unknown_everywhere() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(3);
        lab.set_fault("errno EIO", &mounts[2]);
        let (socket, address) = (lab.scratch_path("socket"), free_address());
        let directory = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(socket.parent().expect("a folder"), directory).expect("root may");
        let mut arguments = vec!["--socket", utf8(&socket), "--fs-types-include", "^fuse"];
        let address_text = address.to_string();
        arguments.extend(["--listen-address", &address_text]);
        arguments.extend(QUICK);
        let daemon = Daemon::start(lab.daemon_command_as(UNUSED_USER, &arguments));
        daemon.wait_for_failure(&mounts[2], "io_error", ms(3000));
        daemon.wait_for_second_run(ms(1000)); // the collector of evidence has ended
        daemon.both_launchers();
        set_limit(&daemon, UNUSED_USER, "--nproc=1:");
        daemon.prober().send_signal(Signal::SIGKILL);

        // Two intervals, the timeout and a second.
        let line = daemon.wait_for_mount_line("Mount cannot be judged", &mounts[0], ms(6000));
        assert!(line.text.contains("; was ok before; "), "{}", line.text);
        let status = ask(&["status"], &socket);
        status.assert_code(1);
        status.assert_stdout_contains("unknown (was ok)");
        status.assert_stdout_contains("failed EIO (");
        status.assert_stdout_contains("; 1 is dead; 2 could not be judged");
        let json = ask(&["status", "--json"], &socket);
        let states: Vec<String> =
            mounts_of(&json.stdout).iter().map(|mount| mount["state"].to_string()).collect();
        assert_eq!(states, ["\"unknown\"", "\"unknown\"", "\"failed\""]);
        assert_eq!(mounts_of(&json.stdout)[0]["was"], "ok");
        let named = ask(&["check", utf8(&mounts[0])], &socket);
        named.assert_code(2);
        let plugin = ask(&["check", "--nagios", utf8(&mounts[0]), utf8(&mounts[1])], &socket);
        plugin.assert_code(3);
        plugin.assert_stdout_contains("2 could not be judged: ");
        let response = get(address, "/metrics");
        let metrics = response.text();
        assert!(metrics.contains("mountstatus_mounts{state=\"unknown\"} 2\n"), "{metrics}");
        assert!(metrics.contains("mountstatus_mounts{state=\"ok\"} 0\n"), "{metrics}");
        let up = format!("mountpoint=\"{}\"}} NaN\n", display_path(&mounts[0]));
        assert!(metrics.contains(&up), "{metrics}");
        daemon.assert_no_line("Mount recovered");

        set_limit(&daemon, UNUSED_USER, "--nproc=4096:");
        lab.clear_fault(&mounts[2]);
        daemon.wait_for_recovery(&mounts[0], ms(12_000));
        daemon.wait_for_recovery(&mounts[2], ms(12_000));
        lab.set_fault("mute", &mounts[1]);
        daemon.wait_for_failure(&mounts[1], "hung", QUICK_HANG);
        daemon.stop();
    });
}

/// A fresh look that fails is not answered with the state before.
#[test]
fn named_mount_that_cannot_be_judged_now_is_unknown() {
    run_isolated(|lab| {
        let mounts = lab.mount_fuses(1);
        let socket = lab.scratch_path("socket");
        let directory = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(socket.parent().expect("a folder"), directory).expect("root may");
        let mut arguments = vec!["--socket", utf8(&socket), "--fs-types-include", "^fuse"];
        arguments.extend(SELDOM);
        let daemon = Daemon::start(lab.daemon_command_as(UNUSED_USER, &arguments));
        daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(3000));
        daemon.both_launchers();
        set_limit(&daemon, UNUSED_USER, "--nproc=1:");
        daemon.prober().send_signal(Signal::SIGKILL);
        daemon.wait_for_line("Prober ", ms(3000));
        let named = ask(&["check", utf8(&mounts[0])], &socket);
        named.assert_code(2);
        named.assert_stdout_contains("unknown (was ok)");
        set_limit(&daemon, UNUSED_USER, "--nproc=4096:");
        daemon.stop();
    });
}

fn start(lab: &Lab, socket: &Path, options: &[&str]) -> Daemon {
    let mut arguments = vec!["--socket", utf8(socket), "--fs-types-include", "^fuse"];
    arguments.extend(options);
    lab.start_daemon(&arguments)
}

/// A command that asks the daemon on this socket.
fn ask(arguments: &[&str], socket: &Path) -> CommandOutput {
    let mut command = monitor_command();
    command.args(arguments).arg("--socket").arg(socket);
    CommandOutput::run(command, ms(20_000))
}
