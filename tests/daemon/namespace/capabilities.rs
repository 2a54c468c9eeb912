//! The capabilities needed to watch another namespace, and the errors without them.

use super::Container;
use crate::common::{CommandOutput, Daemon, ms, run_isolated, utf8};
use crate::{QUICK, QUICK_HANG};
use std::process::Command;

/// Runs the command as root with only these capabilities.
pub(super) fn with_capabilities(capabilities: &[impl AsRef<str>], command: &Command) -> Command {
    let bound =
        capabilities.iter().fold("-all".to_owned(), |list, name| format!("{list},+{}", name.as_ref()));
    let mut command_line = Command::new("setpriv");
    command_line.arg(format!("--bounding-set={bound}")).args(["--inh-caps=-all", "--no-new-privs", "--"]);
    command_line.arg(command.get_program()).args(command.get_args());
    command_line.env_remove("NOTIFY_SOCKET").env("LC_ALL", "C");
    command_line
}

const NEEDED: [&str; 3] = ["sys_admin", "sys_chroot", "sys_ptrace"];

#[test]
fn daemonset_has_exactly_the_required_capabilities() {
    assert_eq!(super::kubernetes::required_capabilities(), NEEDED);
}

#[test]
fn three_capabilities_suffice() {
    run_isolated(|lab| {
        let inner = lab.mount_fuse("a");
        let container = Container::with(lab, &[&inner]);
        let daemon = Daemon::start(with_capabilities(&NEEDED, &container.command(lab, QUICK)));
        daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(2000));
        lab.set_fault("mute", &inner);
        daemon.wait_for_failure(&container.mount_point(0), "hung", QUICK_HANG);
        lab.clear_fault(&inner);
        daemon.wait_for_recovery(&container.mount_point(0), ms(3000));
        lab.set_fault("mute", &inner);
        daemon.stop();
    });
}

#[test]
fn missing_capability_is_named_in_the_error() {
    run_isolated(|lab| {
        let container = Container::with(lab, &[]);
        for missing in NEEDED {
            let left: Vec<&str> = NEEDED.into_iter().filter(|name| *name != missing).collect();
            let result = CommandOutput::run(
                with_capabilities(&left, &container.command(lab, &["--once-only", "--syslog", "off"])),
                ms(5000),
            );
            result.assert_code(2);
            assert_eq!(result.stderr.lines().count(), 1, "{}", result.stderr);
            result
                .assert_stderr_contains(&format!("--mount-namespace {}: ", container.file()))
                .assert_stderr_contains("CAP_SYS_");
        }
    });
}

#[test]
fn setuid_and_setgid_allow_probing_users_fuse_mounts() {
    run_isolated(|lab| {
        let inner = lab.mount_fuse_with("a", "owner=1000");
        let container = Container::with(lab, &[&inner]);
        let command = container.command(lab, &["--once-only", "--timeout", "5"]);
        let result = CommandOutput::run(with_capabilities(&NEEDED, &command), ms(5000));
        result.assert_code(0);
        result.assert_stderr_contains("Mount cannot be checked: ");
        let extended = [&NEEDED[..], &["setuid", "setgid"]].concat();
        let result = CommandOutput::run(with_capabilities(&extended, &command), ms(5000));
        assert!(!result.stderr.contains("cannot be checked"), "{}", result.stderr);
        result.assert_stderr_contains("Checked 1 mount; 0 are dead");
    });
}

#[test]
fn dac_read_search_allows_probing_in_closed_directories() {
    run_isolated(|lab| {
        let container = Container::with(lab, &[]);
        let closed = container.mount_point(7);
        let inside = closed.join("x");
        let script = format!(
            "mkdir -p {inside}; chown 1000 {closed}; chmod 700 {closed}; mount -t tmpfs new {inside}",
            closed = closed.display(),
            inside = inside.display()
        );
        container.run(&["sh", "-c", &script]);
        let command = container.command(lab, &["--once-only", "--timeout", "5"]);
        let result = CommandOutput::run(with_capabilities(&NEEDED, &command), ms(5000));
        result.assert_stderr_contains("Mount cannot be checked: ");
        let extended = [&NEEDED[..], &["dac_read_search"]].concat();
        let result = CommandOutput::run(with_capabilities(&extended, &command), ms(5000));
        assert!(!result.stderr.contains("cannot be checked"), "{}", result.stderr);
        result.assert_stderr_contains("Checked 1 mount; 0 are dead");
    });
}

#[test]
fn file_that_is_no_mount_namespace_is_a_usage_error() {
    run_isolated(|lab| {
        let container = Container::with(lab, &[]);
        let link = lab.scratch_path("link");
        std::os::unix::fs::symlink(container.file(), &link).expect("create a link");
        let fifo = lab.scratch_path("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
        let text = |path| utf8(path).to_owned();
        for (file, message) in [
            ("/no/such".to_owned(), "No such file or directory"),
            ("/etc".to_owned(), "it is not a mount namespace"),
            ("/dev/null".to_owned(), "it is not a mount namespace"),
            (text(&fifo), "it is not a mount namespace"),
            (container.file().replace("mnt", "net"), "it is not a mount namespace"),
            (text(&link), "it must be the file of a process (/proc/PID/ns/mnt) or"),
        ] {
            let result = CommandOutput::run(
                lab.daemon_command(&["--once-only", "--syslog", "off", "--mount-namespace", &file]),
                ms(5000),
            );
            result.assert_code(2);
            result.assert_stderr_contains(&format!(
                "mount_status_monitor: --mount-namespace {file}: {message}"
            ));
            assert_eq!(result.stderr.lines().count(), 1, "{}", result.stderr);
        }
        let own = ["--once-only", "--mount-namespace", "/proc/self/ns/mnt"];
        let result = CommandOutput::run(lab.daemon_command(&own), ms(5000));
        result.assert_code(0);
        result.assert_stderr_contains(
            "--mount-namespace /proc/self/ns/mnt is the namespace that this program is in",
        );
    });
}
