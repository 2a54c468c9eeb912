//! What it takes to watch another namespace, which is what `contrib/kubernetes` asks for; and what is said without it.

use super::Container;
use crate::common::{CommandOutput, Daemon, ms, run_isolated};
use crate::{QUICK, QUICK_HANG};
use std::process::Command;

/// A process of root with these capabilities and no others.
pub(super) fn limited(capabilities: &[impl AsRef<str>], command: &Command) -> Command {
    let bound =
        capabilities.iter().fold("-all".to_owned(), |list, name| format!("{list},+{}", name.as_ref()));
    let mut limited = Command::new("setpriv");
    limited.arg(format!("--bounding-set={bound}")).args(["--inh-caps=-all", "--no-new-privs", "--"]);
    limited.arg(command.get_program()).args(command.get_args());
    limited.env_remove("NOTIFY_SOCKET").env("LC_ALL", "C");
    limited
}

const NEEDED: [&str; 3] = ["sys_admin", "sys_chroot", "sys_ptrace"];

#[test]
fn the_manifest_for_kubernetes_asks_for_what_is_needed_and_no_more() {
    assert_eq!(super::kubernetes::capabilities(), NEEDED);
}

#[test]
fn three_capabilities_are_enough() {
    run_isolated(test_name!(), |lab| {
        let inner = lab.mount_fuse("a");
        let container = Container::with(lab, &[&inner]);
        let daemon = Daemon::start(limited(&NEEDED, &container.command(lab, QUICK)));
        daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(2000));
        lab.set_fault("mute", &inner);
        daemon.wait_for_failure(&container.place(0), "hung", QUICK_HANG);
        lab.clear_fault(&inner);
        daemon.wait_for_recovery(&container.place(0), ms(3000));
        lab.set_fault("mute", &inner);
        daemon.stop();
    });
}

#[test]
fn with_each_of_them_missing_it_says_what_is_needed() {
    run_isolated(test_name!(), |lab| {
        let container = Container::with(lab, &[]);
        for missing in NEEDED {
            let left: Vec<&str> = NEEDED.into_iter().filter(|name| *name != missing).collect();
            let done = CommandOutput::run(
                limited(&left, &container.command(lab, &["--once-only", "--syslog", "off"])),
                ms(5000),
            );
            assert_eq!(done.code, Some(2), "without {missing}: {}", done.stderr);
            assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
            done.assert_stderr_contains(&format!("--mount-namespace {}: ", container.file()))
                .assert_stderr_contains("CAP_SYS_");
        }
    });
}

#[test]
fn two_more_are_for_the_mounts_of_users() {
    run_isolated(test_name!(), |lab| {
        let inner = lab.mount_fuse_with("a", "owner=1000");
        let container = Container::with(lab, &[&inner]);
        let command = container.command(lab, &["--once-only", "--timeout", "5"]);
        let done = CommandOutput::run(limited(&NEEDED, &command), ms(5000));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.assert_stderr_contains("Mount cannot be checked: ");
        let with = [&NEEDED[..], &["setuid", "setgid"]].concat();
        let done = CommandOutput::run(limited(&with, &command), ms(5000));
        assert!(!done.stderr.contains("cannot be checked"), "{}", done.stderr);
        done.assert_stderr_contains("Checked 1 mount; 0 are dead");
    });
}

#[test]
fn one_more_is_for_mounts_in_closed_folders() {
    run_isolated(test_name!(), |lab| {
        let container = Container::with(lab, &[]);
        let closed = container.place(7);
        let inside = closed.join("x");
        let script = format!(
            "mkdir -p {inside}; chown 1000 {closed}; chmod 700 {closed}; mount -t tmpfs new {inside}",
            closed = closed.display(),
            inside = inside.display()
        );
        container.run(&["sh", "-c", &script]);
        let command = container.command(lab, &["--once-only", "--timeout", "5"]);
        let done = CommandOutput::run(limited(&NEEDED, &command), ms(5000));
        done.assert_stderr_contains("Mount cannot be checked: ");
        let with = [&NEEDED[..], &["dac_read_search"]].concat();
        let done = CommandOutput::run(limited(&with, &command), ms(5000));
        assert!(!done.stderr.contains("cannot be checked"), "{}", done.stderr);
        done.assert_stderr_contains("Checked 1 mount; 0 are dead");
    });
}

#[test]
fn what_is_no_namespace_is_refused_in_one_line() {
    run_isolated(test_name!(), |lab| {
        let container = Container::with(lab, &[]);
        let link = lab.scratch_path("link");
        std::os::unix::fs::symlink(container.file(), &link).expect("a link");
        let fifo = lab.scratch_path("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
        let plain = |path: &std::path::Path| path.to_str().expect("plain names").to_owned();
        for (file, complaint) in [
            ("/no/such".to_owned(), "No such file or directory"),
            ("/etc".to_owned(), "it is not a mount namespace"),
            ("/dev/null".to_owned(), "it is not a mount namespace"),
            (plain(&fifo), "it is not a mount namespace"),
            (container.file().replace("mnt", "net"), "it is not a mount namespace"),
            (plain(&link), "it has to be the file of a process (/proc/PID/ns/mnt) or"),
        ] {
            let done = CommandOutput::run(
                lab.daemon_command(&["--once-only", "--syslog", "off", "--mount-namespace", &file]),
                ms(5000),
            );
            assert_eq!(done.code, Some(2), "{}", done.stderr);
            done.assert_stderr_contains(&format!(
                "mount_status_monitor: --mount-namespace {file}: {complaint}"
            ));
            assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
        }
        let own = ["--once-only", "--mount-namespace", "/proc/self/ns/mnt"];
        let done = CommandOutput::run(lab.daemon_command(&own), ms(5000));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.assert_stderr_contains(
            "--mount-namespace /proc/self/ns/mnt is the namespace that this program is in",
        );
    });
}
