//! The pool with real probers, on mounts that every machine has. What hangs is in the tests of the whole daemon.

use mio::{Events, Poll, Token};
use mount_status_monitor::monitor::Time;
use mount_status_monitor::probe::{Notice, Pool, PoolEvent, ProbeId, SpawnError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use platform::process::Ended;
use platform::{FsKind, MountKey, Outcome, Target};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A machine under load may be slow; one that takes longer than this is taken to be stuck.
const PATIENCE: Duration = Duration::from_secs(30);
const PROGRAM: &str = env!("CARGO_BIN_EXE_mount_status_monitor");

#[test]
fn mounts_that_are_well_answer() {
    let mut daemon = Daemon::new();
    let probes = ["/", "/proc", "/dev"].map(|path| daemon.start(&target(path)));
    daemon.until_ended(probes.len());
    for probe in probes {
        assert!(matches!(daemon.outcome(probe), Outcome::Alive(_)), "{:?}", daemon.seen);
    }
    let Outcome::Alive(usage) = daemon.outcome(probes[0]) else { unreachable!() };
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
    assert_eq!(daemon.outcome(another), Outcome::Elsewhere);
    assert_eq!(daemon.outcome(none), Outcome::Elsewhere);
    assert!(matches!(daemon.outcome(long), Outcome::Failed { .. }));
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
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    assert_eq!(nix::unistd::getsid(Some(pid)).unwrap(), pid, "a session of its own");
    let ignored = u64::from_str_radix(&status_field(pid, "SigIgn"), 16).unwrap();
    let (by_rust, by_libc) = (1 << (Signal::SIGPIPE as u64 - 1), 0b11 << 31);
    assert_eq!(ignored & !(by_rust | by_libc), 0);
    assert_eq!(status_field(pid, "SigBlk"), "0".repeat(16));
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
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    let kib: usize = status_field(pid, "VmRSS").trim_end_matches(" kB").trim().parse().unwrap();
    println!("resident after 10,000 probes: {kib} KiB");
    assert!(kib <= 4 * 1024, "{kib} KiB");
    let before = switches(pid);
    daemon.wait(Duration::from_millis(500));
    assert_eq!(switches(pid), before, "it woke up with nothing to do");
}

#[test]
fn a_prober_ends_with_its_socket() {
    let mut daemon = Daemon::new();
    let pid = daemon.prober();
    drop(daemon.pool);
    let ended = nix::sys::wait::waitpid(Pid::from_raw(i32::try_from(pid).unwrap()), None).unwrap();
    assert!(matches!(ended, nix::sys::wait::WaitStatus::Exited(_, 0)), "{ended:?}");
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
    let died = Notice::ProberDied { pid, how: Ended::Killed(9) };
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
    daemon.until("the notice", |event| *event == PoolEvent::Notice(Notice::ProberUnresponsive { pid }));
    assert!(asked.elapsed() >= Duration::from_millis(900), "{:?}", asked.elapsed());
    assert!(daemon.seen.contains(&PoolEvent::Aborted { probe }));
    assert_ne!(daemon.prober(), pid);
    daemon.until_gone(pid);
    assert!(!daemon.seen.iter().any(|event| matches!(event, PoolEvent::Notice(Notice::ProberDied { .. }))));
}

#[test]
fn a_condemned_prober_keeps_only_until_its_probes_are_answered() {
    let mut daemon = Daemon::new();
    let first = daemon.prober();
    signal(first, Signal::SIGSTOP);
    let hung = daemon.start(&target("/"));
    let slow = daemon.start(&target("/proc"));
    daemon.turn(Duration::ZERO);
    daemon.pool.condemn(hung);
    let second = daemon.prober();
    assert_ne!(second, first, "new probes go to a fresh prober");
    assert_eq!(daemon.pool.probers(), 2, "the other still holds a probe that was not condemned");
    daemon.pool.condemn(slow);
    daemon.until("the first", |event| *event == PoolEvent::Freed { probe: hung });
    daemon.until("the second", |event| *event == PoolEvent::Freed { probe: slow });
    daemon.until_gone(first);
    assert_eq!((daemon.pool.probers(), daemon.pool.probers_lost()), (1, 0));
    assert!(!daemon.seen.iter().any(|event| matches!(event, PoolEvent::Notice(Notice::ProberDied { .. }))));
}

#[test]
fn a_late_answer_of_a_condemned_probe_counts() {
    let mut daemon = Daemon::new();
    let pid = daemon.prober();
    signal(pid, Signal::SIGSTOP);
    let hung = daemon.start(&target("/"));
    let slow = daemon.start(&target("/proc"));
    daemon.turn(Duration::ZERO);
    daemon.pool.condemn(hung);
    signal(pid, Signal::SIGCONT);
    daemon.until_ended(3);
    assert!(matches!(daemon.outcome(hung), Outcome::Alive(_)));
    assert!(matches!(daemon.outcome(slow), Outcome::Alive(_)));
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
            PoolEvent::Notice(Notice::SpawnFailed { error: SpawnError::Ended(how), retry_in }) => {
                assert_eq!(*how, Ended::Exited(127));
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
    let ended = nix::sys::wait::waitpid(Pid::from_raw(i32::try_from(pid).unwrap()), None).unwrap();
    assert!(matches!(ended, nix::sys::wait::WaitStatus::Signaled(_, Signal::SIGKILL, _)), "{ended:?}");
}

/// As much of the daemon as the pool needs: its loop and its clock.
struct Daemon {
    poll: Poll,
    pool: Pool,
    started: Instant,
    seen: Vec<PoolEvent>,
    next: u64,
}

impl Daemon {
    fn new() -> Daemon {
        Daemon::with(Path::new(PROGRAM))
    }

    fn with(program: &Path) -> Daemon {
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let pool = Pool::new(registry, 7, Some(program.to_path_buf())).unwrap();
        Daemon { poll, pool, started: Instant::now(), seen: Vec::new(), next: 0 }
    }

    fn start(&mut self, target: &Target) -> ProbeId {
        self.next += 1;
        self.pool.start(ProbeId(self.next), target);
        ProbeId(self.next)
    }

    /// The active prober, by now at the latest.
    fn prober(&mut self) -> u32 {
        let known = self.seen.len();
        let probe = self.start(&target("/"));
        self.until("an answer", |event| ends(event) == Some(probe));
        let started = |event: &PoolEvent| match event {
            PoolEvent::Notice(Notice::ProberStarted { pid }) => Some(*pid),
            _ => None,
        };
        let pid = self.seen[known..].iter().find_map(started);
        pid.or_else(|| self.seen.iter().rev().find_map(started)).unwrap()
    }

    fn now(&self) -> Time {
        Time::after_start(self.started.elapsed())
    }

    fn turn(&mut self, limit: Duration) {
        self.pool.flush(self.now());
        self.collect();
        let limit = self.pool.next_deadline().map_or(limit, |at| at.since(self.now()).min(limit));
        let mut events = Events::with_capacity(16);
        self.poll.poll(&mut events, Some(limit)).unwrap();
        let now = self.now();
        for event in &events {
            let Token(token) = event.token();
            assert!(self.pool.tokens().contains(&token));
            self.pool.ready(now, event.token());
        }
        self.pool.reap(now); // on SIGCHLD in the daemon
        self.pool.handle_deadline(now);
        self.collect();
    }

    fn collect(&mut self) {
        self.seen.extend(self.pool.drain_events());
    }

    #[track_caller]
    fn until(&mut self, what: &str, wanted: impl Fn(&PoolEvent) -> bool) {
        self.until_so(what, |daemon| daemon.seen.iter().any(&wanted));
    }

    #[track_caller]
    fn until_ended(&mut self, number: usize) {
        self.until_so("the end of probes", |daemon| daemon.ended().count() >= number);
    }

    /// Also reaped: no zombie is left.
    #[track_caller]
    fn until_gone(&mut self, pid: u32) {
        let proc = PathBuf::from(format!("/proc/{pid}/stat"));
        self.until_so("the end of a prober", |_| !proc.try_exists().unwrap());
    }

    #[track_caller]
    fn until_so(&mut self, what: &str, so: impl Fn(&Daemon) -> bool) {
        let begun = Instant::now();
        while !so(self) {
            assert!(begun.elapsed() < PATIENCE, "{what} did not come; seen: {:?}", self.seen);
            self.turn(Duration::from_millis(20));
        }
    }

    fn wait(&mut self, span: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < span {
            self.turn(span.saturating_sub(begun.elapsed()));
        }
    }

    fn ended(&self) -> impl Iterator<Item = ProbeId> {
        self.seen.iter().filter_map(ends)
    }

    #[track_caller]
    fn outcome(&self, wanted: ProbeId) -> Outcome {
        let answer = self.seen.iter().find_map(|event| match event {
            PoolEvent::Answered { probe, outcome, .. } if *probe == wanted => Some(*outcome),
            _ => None,
        });
        answer.unwrap_or_else(|| panic!("no answer for {wanted:?} in {:?}", self.seen))
    }
}

fn ends(event: &PoolEvent) -> Option<ProbeId> {
    match event {
        PoolEvent::Answered { probe, .. } | PoolEvent::Aborted { probe } | PoolEvent::Freed { probe } => {
            Some(*probe)
        }
        PoolEvent::Stuck { .. } | PoolEvent::Lost { .. } | PoolEvent::Notice(_) => None,
    }
}

/// What the mount table says of this mount point.
fn target(path: &str) -> Target {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().rev().find(|line| line.split(' ').nth(4) == Some(path)).unwrap();
    let id: u32 = line.split(' ').next().unwrap().parse().unwrap();
    Target { path: path.into(), kind: FsKind::Local, key: MountKey(id.into()), id, owner: None }
}

fn status_field(pid: Pid, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
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

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}
