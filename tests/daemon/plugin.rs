//! `check --nagios` as monitoring systems run it: as an ordinary user, with limits.

use crate::QUICK;
use crate::common::{
    CommandOutput, Daemon, Lab, Process, free_address, ms, pause, program, run_isolated, slack, utf8,
    wait_until,
};
use crate::fault_injection::{UNUSED_USER, set_limit};
use nix::sys::signal::Signal;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Monitoring systems have a user of their own; its group has the same id.
const PLUGIN_USER: u32 = 47_112;

/// A probe makes two calls; a mount that delays each of them by a quarter of a second is slow.
const LIMITS: &[&str] = &["--timeout", "1500ms", "--slow-after", "400ms", "--poll-interval", "1"];

/// The program, where every user can reach it.
fn copy(lab: &Lab) -> PathBuf {
    let copy = lab.scratch_path("plugin");
    if !copy.exists() {
        std::fs::copy(program(), &copy).expect("copy the program");
    }
    copy
}

fn check_as(lab: &Lab, user: u32, arguments: &[&str]) -> CommandOutput {
    let mut command = Command::new(copy(lab));
    command.args(["check", "--nagios"]).args(arguments).uid(user).gid(user).current_dir("/");
    CommandOutput::run(command, ms(10_000))
}

/// Without latencies, ages and the like.
fn without_numbers(text: &str) -> String {
    let text = text.split('|').next().unwrap_or_default();
    let text: String = text.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect();
    text.replace("ms)", "s)").replace(" checked s ago", "")
}

fn config(lab: &Lab, more: &str) -> PathBuf {
    let include = format!("^{}/", lab.mount_point("").display().to_string().trim_end_matches('/'));
    let socket = lab.scratch_path("socket");
    let text = format!("mount_points_include = '{include}'\nsocket = '{}'\n{more}", socket.display());
    lab.write_file("config.toml", text)
}

fn start(lab: &Lab, config: &Path) -> Daemon {
    let syslog = format!("unix:{}", lab.syslog_path().display());
    let mut command = Command::new(program());
    command.args(["--config", utf8(config), "--syslog", &syslog]).args(LIMITS);
    Daemon::start(command)
}

fn listen(address: SocketAddr) -> String {
    format!("listen_address = '{address}'\n")
}

/// A mount in each state that a daemon of root can have.
fn mount_every_state(lab: &mut Lab) -> Vec<(PathBuf, i32)> {
    let fuse = |lab: &mut Lab, name, fault: &str, code| {
        let path = lab.mount_fuse_with(name, ""); // no other user may touch it
        if !fault.is_empty() {
            lab.set_fault(fault, &path);
        }
        (path, code)
    };
    let mounts = vec![
        fuse(lab, "ok", "", 0),
        fuse(lab, "slow", "delay 250", 1),
        fuse(lab, "hung", "mute", 2),
        fuse(lab, "failed", "errno EIO", 2),
        fuse(lab, "denied", "errno EACCES", 3),
        (lab.mount_point("missing"), 2),
    ];
    let (under, _) = fuse(lab, "under", "", 0);
    lab.mount_tmpfs_over(&under); // hidden
    mounts
}

#[test]
fn result_for_an_ordinary_user_is_that_of_root() {
    run_isolated(|lab| {
        let mounts = mount_every_state(lab);
        let missing = lab.mount_point("missing");
        let address = free_address();
        for access in [listen(address), format!("listen_address = 'off'\nsocket_group = '{PLUGIN_USER}'\n")] {
            let expected = format!("[[rule]]\nmountpoint = '{}'\nexpected = true\n", missing.display());
            let patient = "[[rule]]\nmountpoint = '**/pending'\ntimeout = '1h'\n";
            let config = config(lab, &format!("{access}{expected}{patient}"));
            let daemon = start(lab, &config);
            daemon.wait_for_failure(&mounts[2].0, "hung", ms(4000));
            daemon.wait_for_second_run(ms(1000));
            let both = |lab: &Lab, more: &[&str]| {
                let arguments = [&["--config", utf8(&config)], more].concat();
                [0, PLUGIN_USER].map(|user| check_as(lab, user, &arguments))
            };
            for (path, code) in &mounts {
                let [of_root, of_user] = both(lab, &[utf8(path)]);
                assert_eq!(of_root.code, Some(*code), "{path:?}: {}", of_root.stdout);
                assert_eq!(of_user.code, Some(*code), "{access} {path:?}: {}", of_user.stdout);
                assert_eq!(without_numbers(&of_user.stdout), without_numbers(&of_root.stdout), "{access}");
            }
            // All, with a hidden mount and one that is pending.
            let pending = lab.mount_fuse_with("pending", "noinit");
            daemon.wait_for_line("Mount appeared", ms(2000));
            pause(ms(500)); // until the clients see it
            let [of_root, of_user] = both(lab, &[]);
            assert_eq!((of_root.code, of_user.code), (Some(2), Some(2)), "{access}: {}", of_user.stdout);
            assert_eq!(without_numbers(&of_user.stdout), without_numbers(&of_root.stdout));
            of_user.assert_stdout_contains(", 1 could not be judged: ");
            daemon.stop();
            // The next daemon does not know what this one has reported.
            std::fs::remove_file(lab.scratch_path("socket.state")).expect("it has one");
            lab.detach(&pending);
        }
    });
}

/// States that need a daemon which cannot probe.
#[test]
fn result_for_an_ordinary_user_is_that_of_the_daemon_while_nothing_can_be_judged() {
    run_isolated(|lab| {
        let mount = lab.mount_fuse("a");
        let folder = lab.scratch_path("");
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).expect("root may");
        let (address, socket) = (free_address().to_string(), lab.scratch_path("socket"));
        let config = config(lab, &listen(address.parse().expect("an address")));
        let mut arguments = vec!["--socket", utf8(&socket), "--listen-address", &address];
        arguments.extend(QUICK);
        let daemon = Daemon::start(lab.daemon_command_as(UNUSED_USER, &arguments));
        daemon.wait_for_second_run(ms(1000));
        daemon.both_launchers();
        set_limit(&daemon, UNUSED_USER, "--nproc=1:");
        daemon.prober().send_signal(Signal::SIGKILL);
        daemon.wait_for_mount_line("Mount cannot be judged", &mount, ms(6000));
        let all = ["--config", utf8(&config)];
        wait_until(ms(1000), "clients see it", || check_as(lab, 0, &all).code == Some(3));
        for arguments in [&all[..], &["--config", utf8(&config), utf8(&mount)]] {
            let [of_root, of_user] = [0, PLUGIN_USER].map(|user| check_as(lab, user, arguments));
            assert_eq!((of_root.code, of_user.code), (Some(3), Some(3)), "{}", of_user.stdout);
            assert_eq!(without_numbers(&of_user.stdout), without_numbers(&of_root.stdout));
            of_user.assert_stdout_contains("1 could not be judged: ");
        }
        set_limit(&daemon, UNUSED_USER, "--nproc=4096:");
        daemon.stop();
    });
}

/// Without a daemon, the plugin probes with the rights of its user.
#[test]
fn named_mount_that_may_not_be_checked_is_unknown() {
    run_isolated(|lab| {
        let (open, closed) = (lab.mount_fuse("open"), lab.mount_fuse_with("closed", ""));
        let include = format!("^{}/", lab.mount_point("").display().to_string().trim_end_matches('/'));
        let direct = ["--direct", "--mount-points-include", &include];
        let all = check_as(lab, PLUGIN_USER, &direct);
        all.assert_code(0);
        all.assert_stdout_contains("1 cannot be checked |");
        let named = [utf8(&open), utf8(&closed)];
        let named = check_as(lab, PLUGIN_USER, &[&direct[..], &named].concat());
        named.assert_code(3);
        named.assert_stdout_contains(&format!("1 cannot be checked: {} (EACCES)", closed.display()));
    });
}

/// Nor is a result that lacks what the daemon would know.
#[test]
fn daemon_that_refuses_its_socket_makes_what_may_not_be_checked_unknown() {
    run_isolated(|lab| {
        lab.mount_fuse("open");
        let closed = lab.mount_fuse_with("closed", "");
        let config = config(lab, "listen_address = 'off'\n");
        let daemon = start(lab, &config);
        check_as(lab, 0, &["--config", utf8(&config)]).assert_code(0);
        let refused = check_as(lab, PLUGIN_USER, &["--config", utf8(&config)]);
        refused.assert_code(3);
        refused.assert_stdout_contains(&format!("1 cannot be checked: {} (EACCES)", closed.display()));
        daemon.stop();
    });
}

#[test]
fn group_of_the_socket_is_set_and_reloaded() {
    run_isolated(|lab| {
        lab.mount_fuses(1);
        let config = config(lab, "listen_address = 'off'\nsocket_group = '47113'\n");
        let daemon = start(lab, &config);
        let socket = lab.scratch_path("socket");
        let group_is = |id: u32| {
            wait_until(ms(3000), "the socket has the group", || {
                socket.symlink_metadata().is_ok_and(|it| it.gid() == id && it.mode() & 0o7777 == 0o660)
            });
        };
        group_is(47_113);
        check_as(lab, PLUGIN_USER, &["--config", utf8(&config), "--direct"]); // as before
        self::config(lab, &format!("listen_address = 'off'\nsocket_group = '{PLUGIN_USER}'\n"));
        daemon.send_signal(Signal::SIGHUP);
        group_is(PLUGIN_USER);
        check_as(lab, PLUGIN_USER, &["--config", utf8(&config)]).assert_code(0);
        self::config(lab, "listen_address = 'off'\nsocket_group = 'no-such-group'\n");
        daemon.send_signal(Signal::SIGHUP);
        daemon.wait_for_line("Cannot listen on ", ms(3000));
        daemon.wait_for_line(": there is no group no-such-group; ", ms(1000));
        daemon.stop();
    });
}

#[test]
fn plugin_timeout_ends_the_check() {
    run_isolated(|lab| {
        let mount = lab.mount_fuse("a");
        lab.set_fault("mute", &mount);
        let (storage, folder) = lab.mount_storage("storage");
        let unreadable = folder.join("config.toml");
        std::fs::write(&unreadable, "").expect("write the configuration");
        lab.set_fault("mute", &storage);
        let ends_at_the_limit = |arguments: &[&str], limit| {
            let result = check_as(lab, 0, &[arguments, &["-t", limit]].concat());
            result.assert_code(3);
            assert_eq!(result.stdout, format!("MOUNTS UNKNOWN - no result in {limit} (--plugin-timeout)\n"));
            assert!(result.elapsed < ms(1200) + slack(), "{:?}", result.elapsed);
        };
        ends_at_the_limit(&["--direct", "--timeout", "30", utf8(&mount)], "1s");
        ends_at_the_limit(&["--direct", "--timeout", "30"], "500ms");
        ends_at_the_limit(&["--config", utf8(&unreadable)], "1s");
        // The daemon would wait for the mount.
        let config = config(lab, "listen_address = 'off'\ntimeout = 30\n");
        let syslog = format!("unix:{}", lab.syslog_path().display());
        let mut command = Command::new(program());
        command.args(["--config", utf8(&config), "--syslog", &syslog]);
        let daemon = Daemon::spawn(command);
        wait_until(ms(5000), "the socket exists", || lab.scratch_path("socket").symlink_metadata().is_ok());
        ends_at_the_limit(&["--config", utf8(&config), utf8(&mount)], "1s");
        daemon.stop();
    });
}

/// The result is ready, but nobody reads it.
#[test]
fn plugin_timeout_ends_a_check_whose_output_is_not_read() {
    run_isolated(|lab| {
        let mount = lab.mount_fuse("a");
        let (_reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(&vec![b'x'; 64 << 10]).expect("the default size of a pipe");
        let mut command = Command::new(copy(lab));
        command.args(["check", "--nagios", "--direct", "-t", "2", utf8(&mount)]);
        let start = Instant::now();
        let mut child = command.stdout(writer).stderr(Stdio::null()).spawn().expect("the program starts");
        let process = Process(child.id());
        wait_until(ms(2500), "it ends", || {
            child.try_wait().expect("a child").is_some() || !process.is_alive()
        });
        assert_eq!(child.wait().expect("it has ended").code(), Some(3));
        assert!(start.elapsed() >= ms(1900), "{:?}", start.elapsed());
    });
}

#[test]
fn ranges_apply_with_and_without_the_daemon() {
    run_isolated(|lab| {
        let mount = lab.mount_fuse("a");
        lab.set_fault("delay 150", &mount);
        let config = config(lab, "listen_address = 'off'\n");
        let daemon = start(lab, &config);
        pause(ms(200));
        let direct = ["--direct", "--config", utf8(&config)];
        for access in [&["--config", utf8(&config)][..], &direct] {
            for (ranges, code) in [
                (&["-w", "5", "-c", "10"][..], 0),
                (&["-w", "0.1"], 1),
                (&["-w", "0.1", "-c", "0.2"], 2),
                (&["-c", "@0:10"], 2),
                (&["-w", "10:"], 1),
            ] {
                let result = check_as(lab, 0, &[access, ranges, &[utf8(&mount)]].concat());
                result.assert_code(code);
                assert_eq!(result.stdout.contains("by latency"), code > 0, "{}", result.stdout);
            }
        }
        lab.set_fault("mute", &mount);
        daemon.wait_for_failure(&mount, "hung", ms(4000)); // a probe in flight may still have had a response
        for access in [&["--config", utf8(&config)][..], &direct] {
            check_as(lab, 0, &[access, &["-c", "0:1000", utf8(&mount)]].concat()).assert_code(2);
        }
        daemon.stop();
    });
}

/// Another user takes the port before the daemon starts.
#[test]
fn listener_of_another_user_is_not_asked() {
    run_isolated(|lab| {
        let mount = lab.mount_fuse("a");
        lab.set_fault("errno EIO", &mount);
        let address = free_address();
        let config = config(lab, &listen(address));
        let mut command = Command::new(copy(lab));
        command.args([
            "--syslog",
            "off",
            "--socket",
            "off",
            "--fs-types-include",
            "^proc$",
            "--listen-address",
        ]);
        command.arg(address.to_string()).uid(UNUSED_USER).gid(UNUSED_USER).current_dir("/");
        let impostor = Daemon::start(command);
        let daemon = start(lab, &config);
        daemon.wait_for_line("Cannot listen on ", ms(1000));
        let mut command = Command::new(copy(lab));
        command
            .args(["status", "--config", utf8(&config)])
            .uid(PLUGIN_USER)
            .gid(PLUGIN_USER)
            .current_dir("/");
        let status = CommandOutput::run(command, ms(5000));
        status.assert_code(2);
        let problem = format!("user {UNUSED_USER}, not the daemon, listens on {address}");
        status.assert_stderr_contains(&problem);
        impostor.stop();
        daemon.stop();
    });
}
