//! The pool with real probers.

#![cfg(target_os = "linux")] // file systems that hang on command, in namespaces
#![allow(clippy::unwrap_used)] // also in what helps the tests

mod daemon;
mod fuse;
mod hung;

use daemon::{Daemon, ends, pid_of, signal, status_field, target};
use mount_status_monitor::children::prober::PoolEvent;
use mount_status_monitor::children::prober::ProbeId;
use mount_status_monitor::children::prober::ProberNotice;
use mount_status_monitor::children::prober::SpawnError;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use platform::process::ExitStatus;
use platform::{ProbeOutcome, Target};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[test]
fn mounts_that_are_well_answer() {
    let mut daemon = Daemon::new();
    let probes = ["/", "/proc", "/dev"].map(|path| daemon.start(&target(path)));
    daemon.until_ended(probes.len());
    for probe in probes {
        assert!(matches!(daemon.outcome(probe), ProbeOutcome::Alive(_)), "{:?}", daemon.seen);
    }
    let ProbeOutcome::Alive(usage) = daemon.outcome(probes[0]) else { unreachable!() };
    assert!(usage.blocks > 0, "{usage:?}");
}

#[test]
fn a_verdict_is_given_only_on_the_mount_that_was_meant() {
    let mut daemon = Daemon::new();
    let root = target("/");
    let another = daemon.start(&Target { path: "/proc".into(), ..root.clone() });
    let none = daemon.start(&Target { path: "/no/such/path".into(), ..root.clone() });
    let long = daemon.start(&Target { path: "/x".repeat(3000).into(), ..root });
    daemon.until_ended(3);
    assert_eq!(daemon.outcome(another), ProbeOutcome::WrongMount);
    assert_eq!(daemon.outcome(none), ProbeOutcome::WrongMount);
    assert!(matches!(daemon.outcome(long), ProbeOutcome::Failed { .. }));
}

#[test]
fn each_of_many_is_answered_once() {
    let mut daemon = Daemon::new();
    let target = target("/");
    for _ in 0..3 {
        let probes: HashSet<ProbeId> = (0..2000).map(|_| daemon.start(&target)).collect();
        daemon.until_ended(probes.len());
        let answered: HashSet<ProbeId> = daemon.ended().collect();
        assert_eq!(answered, probes);
        assert_eq!(daemon.seen.iter().filter(|event| ends(event).is_some()).count(), probes.len());
        daemon.seen.clear();
    }
    assert_eq!(daemon.pool.probers(), 1);
}

#[test]
fn a_prober_has_nothing_of_the_daemon_but_its_socket() {
    let mut daemon = Daemon::new();
    let pid = daemon.prober();
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let mut open: Vec<String> = fs::read_dir(proc.join("fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
    assert_eq!(fs::read_link(proc.join("cwd")).unwrap(), Path::new("/"));
    assert_eq!(fs::read_to_string(proc.join("comm")).unwrap(), "msm-prober\n");
    assert_eq!(fs::read(proc.join("cmdline")).unwrap(), b"mount_status_monitor\0prober\0");
    assert_eq!(fs::read(proc.join("environ")).unwrap(), b"");
    let pid = pid_of(pid);
    assert_eq!(nix::unistd::getsid(Some(pid)).unwrap(), pid, "a session of its own");
    let ignored = u64::from_str_radix(&status_field(pid, "SigIgn"), 16).unwrap();
    let (by_rust, by_libc) = (1 << (Signal::SIGPIPE as u64 - 1), 0b11 << 31);
    assert_eq!(ignored & !(by_rust | by_libc), 0);
    // The C library blocks all signals for a moment whenever it starts a thread.
    let begun = Instant::now();
    while status_field(pid, "SigBlk") != "0".repeat(16) {
        assert!(begun.elapsed() < Duration::from_secs(2), "{}", status_field(pid, "SigBlk"));
        daemon.wait(Duration::from_millis(5));
    }
}

#[test]
fn a_prober_stays_small_and_asleep() {
    let mut daemon = Daemon::new();
    let pid = daemon.prober();
    let target = target("/");
    for _ in 0..10_000 {
        daemon.start(&target);
    }
    daemon.until_ended(10_000 + 1);
    daemon.wait(Duration::from_millis(100));
    let pid = pid_of(pid);
    let kib: usize = status_field(pid, "VmRSS").trim_end_matches(" kB").trim().parse().unwrap();
    println!("resident after 10,000 probes: {kib} KiB");
    let limit = if cfg!(debug_assertions) { 12 } else { 4 }; // an unoptimised program is three times as large
    assert!(kib <= limit * 1024, "{kib} KiB");
    let before = switches(pid);
    daemon.wait(Duration::from_millis(500));
    assert_eq!(switches(pid), before, "it woke up with nothing to do");
}

#[test]
fn a_prober_ends_with_its_socket() {
    let mut daemon = Daemon::new();
    let pid = daemon.prober();
    drop(daemon.pool);
    let ended = waitpid(pid_of(pid), None).unwrap();
    assert!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
}

#[test]
fn probes_of_a_prober_that_dies_are_aborted_and_another_takes_over() {
    let mut daemon = Daemon::new();
    let pid = daemon.prober();
    signal(pid, Signal::SIGSTOP);
    let probe = daemon.start(&target("/"));
    daemon.turn(Duration::ZERO);
    signal(pid, Signal::SIGKILL);
    daemon.until("the abort", |event| *event == PoolEvent::Aborted { probe });
    let died = ProberNotice::Died { pid, how: ExitStatus::Signaled(9) };
    daemon.until("the notice", |event| *event == PoolEvent::Notice(died));
    assert_ne!(daemon.prober(), pid);
    assert_eq!(daemon.pool.probers(), 1);
}

#[test]
fn a_prober_that_was_stopped_is_replaced() {
    let mut daemon = Daemon::new();
    let pid = daemon.prober();
    signal(pid, Signal::SIGSTOP);
    let probe = daemon.start(&target("/"));
    daemon.turn(Duration::ZERO);
    daemon.pool.confirm(probe);
    let asked = Instant::now();
    daemon.until("the notice", |event| *event == PoolEvent::Notice(ProberNotice::Unresponsive { pid }));
    assert!(asked.elapsed() >= Duration::from_millis(900), "{:?}", asked.elapsed());
    assert!(daemon.seen.contains(&PoolEvent::Aborted { probe }));
    assert_ne!(daemon.prober(), pid);
    daemon.until_gone(pid);
    assert!(!daemon.seen.iter().any(|event| matches!(event, PoolEvent::Notice(ProberNotice::Died { .. }))));
}

#[test]
fn a_prober_that_does_not_come_up_is_given_up() {
    let mut daemon = Daemon::with(Path::new("/usr/bin/yes")); // says nothing on its socket, and reads nothing
    let probe = daemon.start(&target("/"));
    daemon.turn(Duration::ZERO);
    daemon.pool.confirm(probe);
    daemon.until("the abort", |event| *event == PoolEvent::Aborted { probe });
    let silent = |event: &PoolEvent| {
        matches!(event, PoolEvent::Notice(ProberNotice::SpawnFailed { error: SpawnError::Unresponsive, .. }))
    };
    assert!(daemon.seen.iter().any(silent), "{:?}", daemon.seen);
    daemon.until_so("its end", |daemon| daemon.pool.probers() == 0);
}

#[test]
fn questions_for_which_there_is_no_room_are_sent_later() {
    const MANY: usize = 20_000;
    let mut daemon = Daemon::new();
    let pid = daemon.prober();
    signal(pid, Signal::SIGSTOP);
    let target = target("/proc");
    for _ in 0..MANY {
        daemon.start(&target);
    }
    daemon.wait(Duration::from_millis(100));
    assert_eq!(daemon.ended().count(), 1);
    signal(pid, Signal::SIGCONT);
    daemon.until_ended(1 + MANY);
    assert_eq!(daemon.prober(), pid);
    assert_eq!(daemon.ended().collect::<HashSet<_>>().len(), MANY + 2);
}

#[test]
fn a_condemned_prober_keeps_only_until_its_probes_are_answered() {
    let mut daemon = Daemon::new();
    let first = daemon.prober();
    signal(first, Signal::SIGSTOP);
    let hung = daemon.start(&target("/"));
    let slow = daemon.start(&target("/proc"));
    daemon.turn(Duration::ZERO);
    daemon.pool.abandon(hung);
    let second = daemon.prober();
    assert_ne!(second, first, "new probes go to a fresh prober");
    assert_eq!(daemon.pool.probers(), 2, "the other still holds a probe that was not condemned");
    daemon.pool.abandon(slow);
    daemon.until("the first", |event| *event == PoolEvent::Freed { probe: hung });
    daemon.until("the second", |event| *event == PoolEvent::Freed { probe: slow });
    daemon.until_gone(first);
    assert_eq!((daemon.pool.probers(), daemon.pool.probers_stranded()), (1, 0));
    assert!(!daemon.seen.iter().any(|event| matches!(event, PoolEvent::Notice(ProberNotice::Died { .. }))));
}

#[test]
fn a_late_answer_of_a_condemned_probe_counts() {
    let mut daemon = Daemon::new();
    let pid = daemon.prober();
    signal(pid, Signal::SIGSTOP);
    let hung = daemon.start(&target("/"));
    let slow = daemon.start(&target("/proc"));
    daemon.turn(Duration::ZERO);
    daemon.pool.abandon(hung);
    signal(pid, Signal::SIGCONT);
    daemon.until_ended(3);
    assert!(matches!(daemon.outcome(hung), ProbeOutcome::Alive(_)));
    assert!(matches!(daemon.outcome(slow), ProbeOutcome::Alive(_)));
    daemon.until_gone(pid);
}

#[test]
fn a_program_that_cannot_run_aborts_the_probes_and_is_not_tried_all_the_time() {
    let mut daemon = Daemon::with(Path::new("/no/such/program"));
    let (started, target) = (Instant::now(), target("/"));
    let mut tried = 0;
    while started.elapsed() < Duration::from_secs(1) {
        daemon.start(&target);
        tried += 1;
        daemon.until_ended(tried);
    }
    let pauses: Vec<u128> = daemon
        .seen
        .iter()
        .filter_map(|event| match event {
            PoolEvent::Notice(ProberNotice::SpawnFailed { error: SpawnError::Exited(how), retry_in }) => {
                assert_eq!(*how, ExitStatus::Exited(127));
                Some(retry_in.as_millis())
            }
            PoolEvent::Aborted { .. } => None,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(pauses[..3], [100, 200, 400], "{pauses:?}");
    assert!(tried <= 6, "{tried} attempts in a second");
    assert_eq!(daemon.pool.probers(), 0);
}

#[test]
fn shutting_down_leaves_no_prober() {
    let mut daemon = Daemon::new();
    let pid = daemon.prober();
    signal(pid, Signal::SIGSTOP);
    daemon.start(&target("/"));
    daemon.turn(Duration::ZERO);
    daemon.pool.shutdown();
    let ended = waitpid(pid_of(pid), None).unwrap();
    assert!(matches!(ended, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "{ended:?}");
}

/// How often the threads of a process have been woken.
fn switches(pid: Pid) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let woken = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    tasks.map(|task| woken(fs::read_to_string(task.unwrap().path().join("status")).unwrap())).sum()
}

/// A mount namespace that cannot be entered: nobody is asked, nobody is accused, and it is said why.
#[test]
fn a_namespace_that_cannot_be_entered_leaves_mounts_unjudged() {
    let mut daemon = Daemon::new();
    daemon.pool.set_mount_namespace(fs::File::open("/dev/null").unwrap());
    let probe = daemon.start(&target("/"));
    let refused = |event: &PoolEvent| match event {
        PoolEvent::Notice(ProberNotice::SpawnFailed { error, .. }) => {
            error.to_string() == "the mount namespace cannot be entered"
        }
        _ => false,
    };
    daemon.until("the reason", refused);
    daemon.until("the end of the probe", |event| *event == PoolEvent::Aborted { probe });
}
