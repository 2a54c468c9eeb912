//! `check --wait`: for programs that may start only when their storage is there.

use crate::check::command;
use crate::common::{
    CommandOutput, Daemon, Lab, count_threads_stuck_in_fuse, display_path, ms, pause, run_isolated, slack,
    utf8,
};
use nix::sys::signal::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

fn start(lab: &Lab, limit: &str, more: &[&str], paths: &[&Path]) -> Daemon {
    let paths: Vec<&str> = paths.iter().map(|path| utf8(path)).collect();
    Daemon::spawn(command(lab, &[&["--wait", limit], more, &paths].concat()))
}

fn ended(waiting: Daemon, limit: Duration) -> CommandOutput {
    waiting.wait_for_exit(Instant::now(), limit)
}

#[test]
fn wait_ends_when_every_mount_is_there_and_responds() {
    run_isolated(|lab| {
        let (there, hung) = (lab.mount_fuse("there"), lab.mount_fuse("hung"));
        lab.set_fault("mute", &hung);
        let late = lab.mount_point("late");
        let waiting = start(lab, "60", &[], &[&there, &hung, &late]);
        pause(ms(1500));
        assert!(waiting.process.is_alive());
        lab.mount_fuse("late");
        pause(ms(1500));
        assert!(waiting.process.is_alive(), "one mount hangs");
        assert_eq!(count_threads_stuck_in_fuse(&[waiting.process]), 0, "its own process does not touch them");
        lab.clear_fault(&hung);
        let result = ended(waiting, ms(3000));
        result.assert_code(0);
        for path in [&there, &hung, &late] {
            result.assert_stdout_contains(&display_path(path));
        }
        assert_eq!(result.stderr, "");
        // At once if nothing is missing.
        let result = ended(start(lab, "60", &["--json"], &[&there, &late]), ms(1000));
        result.assert_code(0);
        assert_eq!(result.json()["mounts"].as_array().map(Vec::len), Some(2));
    });
}

#[test]
fn wait_says_which_mounts_are_not_there() {
    run_isolated(|lab| {
        let names = ["ok", "hung", "failed", "denied"];
        let [ok, hung, failed, denied] = names.map(|name| lab.mount_fuse(name));
        lab.set_fault("mute", &hung);
        lab.set_fault("errno EIO", &failed);
        lab.set_fault("errno EACCES", &denied);
        let (absent, excluded) = (lab.mount_point("absent"), lab.scratch_path("excluded"));
        lab.mount_tmpfs(&excluded);
        let under = lab.mount_fuse("under");
        lab.mount_tmpfs_over(&under);
        let paths = [&ok, &hung, &failed, &denied, &absent, &excluded, &under].map(AsRef::as_ref);
        let waiting = start(lab, "2s", &["--fs-types-include", "fuse"], &paths);
        let result = ended(waiting, ms(2000) + ms(1000));
        result.assert_code(1);
        let problem = |path: &Path, text: &str| {
            result.assert_stderr_contains(&format!("{} after 2s: {text}", display_path(path)));
        };
        problem(&hung, "it is dead (hung)");
        problem(&failed, "it is dead (io_error)");
        problem(&denied, "this user may not check it (EACCES)");
        problem(&absent, &format!("{} is not a mount point", display_path(&absent)));
        problem(&excluded, &format!("{} is excluded by ", display_path(&excluded)));
        problem(&under, "another mount hides it");
        assert!(!result.stderr.contains(&display_path(&ok)), "{}", result.stderr);
        result.assert_stdout_contains(&display_path(&ok));
    });
}

/// A mount that responded is not enough, if it hangs when the last one appears.
#[test]
fn mount_that_hangs_meanwhile_is_waited_for() {
    run_isolated(|lab| {
        let first = lab.mount_fuse("first");
        let second = lab.mount_point("second");
        let waiting = start(lab, "60", &["--timeout", "20", "--slow-after", "300ms"], &[&first, &second]);
        pause(ms(1000));
        lab.set_fault("mute", &first);
        pause(ms(2500)); // its next probe is late
        lab.mount_fuse("second");
        pause(ms(1000));
        assert!(waiting.process.is_alive());
        lab.clear_fault(&first);
        ended(waiting, ms(3000)).assert_code(0);
    });
}

#[test]
fn signals_end_the_wait() {
    run_isolated(|lab| {
        let mount = lab.mount_fuse("a");
        lab.set_fault("mute", &mount);
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let waiting = start(lab, "60", &[], &[&mount]);
            pause(ms(1000));
            let start = Instant::now();
            waiting.send_signal(signal);
            let result = ended(waiting, ms(1000));
            assert!(start.elapsed() < ms(1000) + slack(), "{:?}", start.elapsed());
            result.assert_code(2);
            result.assert_stderr_contains("interrupted before every mount had responded");
        }
    });
}
