//! Automount triggers whose daemon is gone.

use crate::QUICK;
use crate::common::{
    CommandOutput, Daemon, Lab, display_path, monitor_command, ms, pause, run_isolated, wait_until,
};
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::unistd::pipe2;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A trigger, and its daemon: a process group, and a pipe whose other end nobody reads. So a process that uses the trigger
/// waits.
pub(crate) struct Trigger {
    pub(crate) path: PathBuf,
    pub(crate) daemon: Child,
    pipe: Option<File>,
}

impl Trigger {
    pub(crate) fn mount(lab: &Lab, name: &str) -> Result<Trigger, String> {
        let path = lab.mount_point(name);
        std::fs::create_dir_all(&path).expect("create a directory");
        let daemon = Command::new("sleep").arg("1000").process_group(0).spawn().expect("start sleep");
        let (pipe, requests) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        let (fd, group) = (requests.as_raw_fd(), daemon.id());
        let options = format!("fd={fd},pgrp={group},minproto=5,maxproto=5,indirect");
        let trigger = Trigger { path, daemon, pipe: Some(pipe.into()) };
        match mount(Some("map"), &trigger.path, Some("autofs"), MsFlags::empty(), Some(options.as_str())) {
            Ok(()) => Ok(trigger),
            Err(error) => Err(format!("needs autofs: {error}")),
        }
    }

    fn kill_daemon(&mut self) {
        self.daemon.kill().expect("kill");
        self.daemon.wait().expect("wait");
    }
}

impl Drop for Trigger {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// A trigger and a daemon that watches it; `None` if the test is skipped.
fn watched_trigger(lab: &Lab) -> Option<(Trigger, Daemon)> {
    match Trigger::mount(lab, "auto") {
        Ok(trigger) => {
            let daemon = lab.start_daemon(&[QUICK, &["--fs-types-exclude", "^$"]].concat());
            daemon.wait_for_line("Checked 1 mount; 0 are dead", ms(2000));
            Some((trigger, daemon))
        }
        Err(reason) => {
            lab.skip(&reason);
            None
        }
    }
}

#[test]
fn trigger_without_its_daemon_is_dead() {
    run_isolated(|lab| {
        let Some((mut trigger, daemon)) = watched_trigger(lab) else { return };
        trigger.kill_daemon();
        let text = display_path(&trigger.path);
        daemon.wait_for_line(
            &format!(
                "Mount failed health-check: {text} (disconnected: ESRCH from kill, its automount daemon is gone; \
                 autofs from map"
            ),
            ms(3000),
        );
        // In a process namespace that does not have the group, it is not known whether the daemon exists.
        let mut elsewhere = Command::new("unshare");
        elsewhere.args(["--pid", "--fork"]).arg(monitor_command().get_program());
        elsewhere.args(["check", "--direct", "--fs-types-exclude", "^$"]).arg(&trigger.path);
        let result = CommandOutput::run(elsewhere, ms(5000));
        result.assert_code(0);
        daemon.stop();
    });
}

/// The kernel finds nobody at the other end of the pipe when it sends a request.
#[test]
fn trigger_with_a_closed_pipe_is_dead() {
    run_isolated(|lab| {
        let Some((mut trigger, daemon)) = watched_trigger(lab) else { return };
        drop(trigger.pipe.take());
        pause(ms(1200));
        daemon.assert_no_line("Mount failed"); // the daemon never sends a request
        let inside = trigger.path.join("x");
        let mut user = Command::new("stat").arg(inside).stderr(Stdio::null()).spawn().expect("start stat");
        wait_until(ms(2000), "the kernel refuses the request", || user.try_wait().expect("wait").is_some());
        daemon.wait_for_failure(&trigger.path, "disconnected", ms(3000));
        daemon.stop();
    });
}
