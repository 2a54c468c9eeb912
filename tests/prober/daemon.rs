//! The parts of the daemon that the pool needs: an event loop and a clock.

use crate::process::Process;
use crate::sleeps;
use mio::{Events, Poll, Token};
use mount_status_monitor::children::prober::{Pool, PoolEvent, ProbeId, ProberNotice};
use mount_status_monitor::monitor::Time;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use platform::{FsKind, MountKey, ProbeOutcome, Target, User};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

/// For expected events on a busy machine.
const EVENT_TIMEOUT: Duration = Duration::from_secs(30);
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_mount_status_monitor");

/// An event loop that runs until an expected event.
pub(crate) struct Daemon {
    poll: Poll,
    pub(crate) pool: Pool,
    started: Instant,
    pub(crate) events: Vec<PoolEvent>,
    next: u64,
}

impl Daemon {
    pub(crate) fn new() -> Daemon {
        Daemon::with(Path::new(PROGRAM))
    }

    pub(crate) fn with(program: &Path) -> Daemon {
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let pool = Pool::new(registry, 7, Some(program.to_path_buf())).unwrap();
        Daemon { poll, pool, started: Instant::now(), events: Vec::new(), next: 0 }
    }

    pub(crate) fn start(&mut self, target: &Target) -> ProbeId {
        self.next += 1;
        self.pool.start(ProbeId(self.next), target);
        ProbeId(self.next)
    }

    /// The process id of the active prober, which is started if there is none.
    pub(crate) fn active_prober(&mut self) -> u32 {
        let earlier = self.events.len();
        let probe = self.start(&target("/"));
        self.run_until_event("a response", |event| ends(event) == Some(probe));
        let pid = self.events[earlier..].iter().find_map(started);
        pid.or_else(|| self.events.iter().rev().find_map(started)).unwrap()
    }

    pub(crate) fn now(&self) -> Time {
        Time::after_start(self.started.elapsed())
    }

    pub(crate) fn turn(&mut self, limit: Duration) {
        self.pool.flush(self.now());
        self.collect();
        let limit = self.pool.next_deadline().map_or(limit, |at| at.since(self.now()).min(limit));
        let mut events = Events::with_capacity(16);
        match self.poll.poll(&mut events, Some(limit)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {} // by SIGCHLD
            polled => polled.unwrap(),
        }
        let now = self.now();
        for event in &events {
            let Token(token) = event.token();
            assert!(self.pool.tokens().contains(&token));
            self.pool.handle_ready(now, event.token());
        }
        self.pool.reap_children(now); // the daemon does this after SIGCHLD
        self.pool.handle_deadline(now);
        self.collect();
    }

    pub(crate) fn collect(&mut self) {
        self.events.extend(self.pool.drain_events());
    }

    #[track_caller]
    pub(crate) fn run_until_event(&mut self, what: &str, wanted: impl Fn(&PoolEvent) -> bool) {
        self.run_until(what, |daemon| daemon.events.iter().any(&wanted));
    }

    #[track_caller]
    pub(crate) fn run_until_ended(&mut self, number: usize) {
        self.run_until("the end of probes", |daemon| daemon.ended().count() >= number);
    }

    #[track_caller]
    pub(crate) fn run_until_reaped(&mut self, pid: u32) {
        let proc = PathBuf::from(format!("/proc/{pid}/stat"));
        self.run_until("the end of a prober", |_| !proc.try_exists().unwrap());
    }

    #[track_caller]
    pub(crate) fn run_until(&mut self, what: &str, condition: impl Fn(&Daemon) -> bool) {
        let started = Instant::now();
        while !condition(self) {
            assert!(started.elapsed() < EVENT_TIMEOUT, "no {what}; events: {:?}", self.events);
            self.turn(Duration::from_millis(20));
        }
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        let started = Instant::now();
        while started.elapsed() < duration {
            self.turn(duration.saturating_sub(started.elapsed()));
        }
    }

    /// The sleeps of an idle prober, when they have not changed for a while. A busy machine ends the last of much work late.
    pub(crate) fn sleeps_when_quiet(&mut self, pid: Pid) -> u64 {
        let started = Instant::now();
        loop {
            let before = sleeps(pid);
            self.run_for(Duration::from_millis(250));
            if sleeps(pid) == before {
                return before;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "it never sleeps for long");
        }
    }

    pub(crate) fn has_notice(&self, notice: ProberNotice) -> bool {
        self.events.contains(&PoolEvent::Notice(User::System, notice))
    }

    pub(crate) fn ended(&self) -> impl Iterator<Item = ProbeId> {
        self.events.iter().filter_map(ends)
    }

    #[track_caller]
    pub(crate) fn outcome(&self, wanted: ProbeId) -> ProbeOutcome {
        let outcome = self.events.iter().find_map(|event| match event {
            PoolEvent::Responded { probe, outcome, .. } if *probe == wanted => Some(*outcome),
            _ => None,
        });
        outcome.unwrap_or_else(|| panic!("no response for {wanted:?} in {:?}", self.events))
    }
}

pub(crate) fn started(event: &PoolEvent) -> Option<u32> {
    match event {
        PoolEvent::Notice(_, ProberNotice::Started { pid }) => Some(*pid),
        _ => None,
    }
}

pub(crate) fn ends(event: &PoolEvent) -> Option<ProbeId> {
    match event {
        PoolEvent::Responded { probe, .. } | PoolEvent::Aborted { probe } | PoolEvent::Freed { probe } => {
            Some(*probe)
        }
        PoolEvent::Stuck { .. }
        | PoolEvent::Located { .. }
        | PoolEvent::Stranded { .. }
        | PoolEvent::Notice(..) => None,
    }
}

/// The mount at this mount point.
pub(crate) fn target(path: &str) -> Target {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let line = table.lines().rev().find(|line| line.split(' ').nth(4) == Some(path)).unwrap();
    let id: u32 = line.split(' ').next().unwrap().parse().unwrap();
    Target {
        path: path.into(),
        kind: FsKind::Local,
        key: MountKey(id.into()),
        id,
        owner: None,
        user: User::System,
        data: None,
    }
}

pub(crate) fn status_field(pid: Pid, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(pid_of(pid), signal).unwrap();
}

/// Stops every thread: the signal reaches each of them in its own time.
pub(crate) fn suspend(pid: u32) {
    signal(pid, Signal::SIGSTOP);
    let start = Instant::now();
    while !Process(pid).is_suspended() {
        assert!(start.elapsed() < EVENT_TIMEOUT, "it is not stopped");
        std::thread::yield_now();
    }
}

pub(crate) fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap())
}
