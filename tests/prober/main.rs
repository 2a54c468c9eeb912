//! The pool with real probers.

#![cfg(target_os = "linux")] // FUSE mounts in namespaces
#![allow(clippy::unwrap_used)] // also in helpers

mod daemon;
mod data;
mod fuse;
mod hung;
#[allow(dead_code)] // used by other test binaries
#[path = "../common/process.rs"]
mod process;
mod users;

use daemon::{Daemon, ends, pid_of, signal, status_field, suspend, target};
use mount_status_monitor::children::prober::{PoolEvent, ProbeId, ProberNotice, SpawnError};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use platform::process::ExitStatus;
use platform::{ProbeOutcome, Target, User};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[test]
fn healthy_mounts_respond() {
    let mut daemon = Daemon::new();
    let probes = ["/", "/proc", "/dev"].map(|path| daemon.start(&target(path)));
    daemon.run_until_ended(probes.len());
    for probe in probes {
        assert!(matches!(daemon.outcome(probe), ProbeOutcome::Alive(_)), "{:?}", daemon.events);
    }
    let ProbeOutcome::Alive(usage) = daemon.outcome(probes[0]) else { unreachable!() };
    assert!(usage.blocks > 0, "{usage:?}");
}

#[test]
fn path_to_another_mount_is_the_wrong_mount() {
    let mut daemon = Daemon::new();
    let root = target("/");
    let another = daemon.start(&Target { path: "/proc".into(), ..root.clone() });
    let none = daemon.start(&Target { path: "/no/such/path".into(), ..root.clone() });
    let long = daemon.start(&Target { path: "/x".repeat(3000).as_str().into(), ..root });
    daemon.run_until_ended(3);
    assert_eq!(daemon.outcome(another), ProbeOutcome::WrongMount);
    assert_eq!(daemon.outcome(none), ProbeOutcome::WrongMount);
    assert!(matches!(daemon.outcome(long), ProbeOutcome::Failed { .. }));
}

#[test]
fn each_of_many_probes_ends_once() {
    let mut daemon = Daemon::new();
    let target = target("/");
    for _ in 0..3 {
        let probes: HashSet<ProbeId> = (0..2000).map(|_| daemon.start(&target)).collect();
        daemon.run_until_ended(probes.len());
        let ended: HashSet<ProbeId> = daemon.ended().collect();
        assert_eq!(ended, probes);
        assert_eq!(daemon.events.iter().filter(|event| ends(event).is_some()).count(), probes.len());
        daemon.events.clear();
    }
    assert_eq!(daemon.pool.probers(), 1);
}

#[test]
fn prober_inherits_only_its_socket() {
    let mut daemon = Daemon::new();
    let pid = daemon.active_prober();
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let mut open: Vec<String> = fs::read_dir(proc.join("fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2", "3"]);
    let own = fs::read_link(proc.join("fd/3")).unwrap();
    assert_eq!(own, proc.join("task"), "opened by itself");
    assert_eq!(fs::read_link(proc.join("cwd")).unwrap(), Path::new("/"));
    assert_eq!(fs::read_to_string(proc.join("comm")).unwrap(), "msm-prober\n");
    assert_eq!(fs::read(proc.join("cmdline")).unwrap(), b"mount_status_monitor\0prober\0");
    assert_eq!(fs::read(proc.join("environ")).unwrap(), b"");
    let pid = pid_of(pid);
    assert_eq!(nix::unistd::getsid(Some(pid)).unwrap(), pid, "its own session");
    let ignored = u64::from_str_radix(&status_field(pid, "SigIgn"), 16).unwrap();
    let (by_rust, by_libc) = (1 << (Signal::SIGPIPE as u64 - 1), 0b11 << 31);
    assert_eq!(ignored & !(by_rust | by_libc), 0);
    // The C library blocks all signals for a moment when it starts a thread.
    let started = Instant::now();
    while status_field(pid, "SigBlk") != "0".repeat(16) {
        assert!(started.elapsed() < Duration::from_secs(2), "{}", status_field(pid, "SigBlk"));
        daemon.run_for(Duration::from_millis(5));
    }
}

#[test]
fn idle_prober_is_small_and_does_not_wake_up() {
    let mut daemon = Daemon::new();
    let pid = daemon.active_prober();
    let target = target("/");
    for _ in 0..10_000 {
        daemon.start(&target);
    }
    daemon.run_until_ended(10_000 + 1);
    let pid = pid_of(pid);
    let before = daemon.sleeps_when_quiet(pid);
    // Its own memory; the program's pages are shared by all its processes.
    let kib: usize = status_field(pid, "RssAnon").trim_end_matches(" kB").trim().parse().unwrap();
    println!("own memory after 10,000 probes: {kib} KiB");
    assert!(kib <= 3 * 1024, "{kib} KiB");
    daemon.run_for(Duration::from_millis(1_000));
    assert_eq!(sleeps(pid), before, "it woke up without work");
}

#[test]
fn prober_ends_when_its_socket_is_closed() {
    let mut daemon = Daemon::new();
    let pid = daemon.active_prober();
    drop(daemon.pool);
    let ended = waitpid(pid_of(pid), None).unwrap();
    assert!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
}

#[test]
fn killed_prober_is_replaced_and_its_probes_are_aborted() {
    let mut daemon = Daemon::new();
    let pid = daemon.active_prober();
    suspend(pid);
    let probe = daemon.start(&target("/"));
    daemon.turn(Duration::ZERO);
    signal(pid, Signal::SIGKILL);
    daemon.run_until_event("abort of the probe", |event| *event == PoolEvent::Aborted { probe });
    let died = ProberNotice::Died { pid, how: ExitStatus::Signaled(9) };
    daemon.run_until_event("notice", |event| *event == PoolEvent::Notice(User::System, died));
    assert_ne!(daemon.active_prober(), pid);
    assert_eq!(daemon.pool.probers(), 1);
}

#[test]
fn stopped_prober_is_replaced() {
    let mut daemon = Daemon::new();
    let pid = daemon.active_prober();
    suspend(pid);
    let probe = daemon.start(&target("/"));
    daemon.turn(Duration::ZERO);
    daemon.pool.confirm(probe);
    let confirmed_at = Instant::now();
    daemon.run_until_event("notice", |event| {
        *event == PoolEvent::Notice(User::System, ProberNotice::Unresponsive { pid })
    });
    assert!(confirmed_at.elapsed() >= Duration::from_millis(900), "{:?}", confirmed_at.elapsed());
    assert!(daemon.events.contains(&PoolEvent::Aborted { probe }));
    assert_ne!(daemon.active_prober(), pid);
    daemon.run_until_reaped(pid);
    assert!(
        !daemon.events.iter().any(|event| matches!(event, PoolEvent::Notice(_, ProberNotice::Died { .. })))
    );
}

#[test]
fn prober_that_is_never_ready_is_killed() {
    let mut daemon = Daemon::with(Path::new("/usr/bin/yes")); // neither reads nor writes its socket
    let probe = daemon.start(&target("/"));
    daemon.turn(Duration::ZERO);
    daemon.pool.confirm(probe);
    daemon.run_until_event("abort of the probe", |event| *event == PoolEvent::Aborted { probe });
    let is_unresponsive = |event: &PoolEvent| {
        matches!(
            event,
            PoolEvent::Notice(_, ProberNotice::SpawnFailed { error: SpawnError::Unresponsive, .. })
        )
    };
    assert!(daemon.events.iter().any(is_unresponsive), "{:?}", daemon.events);
    daemon.run_until("end of the prober", |daemon| daemon.pool.probers() == 0);
}

#[test]
fn requests_without_room_in_the_socket_are_sent_later() {
    const MANY: usize = 20_000;
    let mut daemon = Daemon::new();
    let pid = daemon.active_prober();
    suspend(pid);
    let target = target("/proc");
    for _ in 0..MANY {
        daemon.start(&target);
    }
    daemon.run_for(Duration::from_millis(100));
    assert_eq!(daemon.ended().count(), 1);
    signal(pid, Signal::SIGCONT);
    daemon.run_until_ended(1 + MANY);
    assert_eq!(daemon.active_prober(), pid);
    assert_eq!(daemon.ended().collect::<HashSet<_>>().len(), MANY + 2);
}

#[test]
fn abandoned_prober_is_killed_when_all_its_probes_are_abandoned() {
    let mut daemon = Daemon::new();
    let first = daemon.active_prober();
    suspend(first);
    let hung = daemon.start(&target("/"));
    let slow = daemon.start(&target("/proc"));
    daemon.turn(Duration::ZERO);
    daemon.pool.abandon(hung);
    let second = daemon.active_prober();
    assert_ne!(second, first, "new probes go to a new prober");
    assert_eq!(daemon.pool.probers(), 2, "the first still holds a probe that was not abandoned");
    daemon.pool.abandon(slow);
    daemon.run_until_event("end of the first probe", |event| *event == PoolEvent::Freed { probe: hung });
    daemon.run_until_event("end of the second probe", |event| *event == PoolEvent::Freed { probe: slow });
    daemon.run_until_reaped(first);
    assert_eq!((daemon.pool.probers(), daemon.pool.probers_stranded()), (1, 0));
    assert!(
        !daemon.events.iter().any(|event| matches!(event, PoolEvent::Notice(_, ProberNotice::Died { .. })))
    );
}

#[test]
fn late_response_of_an_abandoned_probe_counts() {
    let mut daemon = Daemon::new();
    let pid = daemon.active_prober();
    suspend(pid);
    let hung = daemon.start(&target("/"));
    let slow = daemon.start(&target("/proc"));
    daemon.turn(Duration::ZERO);
    daemon.pool.abandon(hung);
    signal(pid, Signal::SIGCONT);
    daemon.run_until_ended(3);
    assert!(matches!(daemon.outcome(hung), ProbeOutcome::Alive(_)));
    assert!(matches!(daemon.outcome(slow), ProbeOutcome::Alive(_)));
    daemon.run_until_reaped(pid);
}

#[test]
fn missing_program_aborts_probes_and_is_retried_with_pauses() {
    let mut daemon = Daemon::with(Path::new("/no/such/program"));
    let (started, target) = (Instant::now(), target("/"));
    let mut attempts = 0;
    while started.elapsed() < Duration::from_secs(1) {
        daemon.start(&target);
        attempts += 1;
        daemon.run_until_ended(attempts);
    }
    let pauses: Vec<u128> = daemon
        .events
        .iter()
        .filter_map(|event| match event {
            PoolEvent::Notice(_, ProberNotice::SpawnFailed { error: SpawnError::Exited(how), retry_in }) => {
                assert_eq!(*how, ExitStatus::Exited(127));
                Some(retry_in.as_millis())
            }
            PoolEvent::Aborted { .. } => None,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(pauses[..3], [100, 200, 400], "{pauses:?}");
    assert!(attempts <= 6, "{attempts} attempts in a second");
    assert_eq!(daemon.pool.probers(), 0);
}

#[test]
fn shutdown_leaves_no_prober() {
    let mut daemon = Daemon::new();
    let pid = daemon.active_prober();
    suspend(pid);
    daemon.start(&target("/"));
    daemon.turn(Duration::ZERO);
    daemon.pool.shutdown();
    let ended = waitpid(pid_of(pid), None).unwrap();
    assert!(matches!(ended, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "{ended:?}");
}

/// How often the threads of a process have gone to sleep.
fn sleeps(pid: Pid) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let count = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    tasks.map(|task| count(fs::read_to_string(task.unwrap().path().join("status")).unwrap())).sum()
}

#[test]
fn namespace_that_cannot_be_entered_aborts_probes_with_the_reason() {
    let mut daemon = Daemon::new();
    daemon.pool.set_mount_namespace(fs::File::open("/dev/null").unwrap());
    let probe = daemon.start(&target("/"));
    let has_reason = |event: &PoolEvent| match event {
        PoolEvent::Notice(_, ProberNotice::SpawnFailed { error, .. }) => {
            error.to_string() == "the mount namespace cannot be entered"
        }
        _ => false,
    };
    daemon.run_until_event("reason", has_reason);
    daemon.run_until_event("end of the probe", |event| *event == PoolEvent::Aborted { probe });
}
