//! As much of the daemon as the pool needs: its loop and its clock.

use mio::{Events, Poll, Token};
use mount_status_monitor::children::prober::Pool;
use mount_status_monitor::children::prober::PoolEvent;
use mount_status_monitor::children::prober::ProbeId;
use mount_status_monitor::children::prober::ProberNotice;
use mount_status_monitor::monitor::Time;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use platform::{FsKind, MountKey, ProbeOutcome, Target};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

/// A machine under load may be slow; one that takes longer than this is taken to be stuck.
const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_mount_status_monitor");

/// A loop that ends when what it waits for has come.
pub(crate) struct Daemon {
    poll: Poll,
    pub(crate) pool: Pool,
    started: Instant,
    pub(crate) seen: Vec<PoolEvent>,
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
        Daemon { poll, pool, started: Instant::now(), seen: Vec::new(), next: 0 }
    }

    pub(crate) fn start(&mut self, target: &Target) -> ProbeId {
        self.next += 1;
        self.pool.start(ProbeId(self.next), target);
        ProbeId(self.next)
    }

    /// The active prober, by now at the latest.
    pub(crate) fn prober(&mut self) -> u32 {
        let known = self.seen.len();
        let probe = self.start(&target("/"));
        self.until("an answer", |event| ends(event) == Some(probe));
        let pid = self.seen[known..].iter().find_map(started);
        pid.or_else(|| self.seen.iter().rev().find_map(started)).unwrap()
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
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {} // a child's end can do that
            polled => polled.unwrap(),
        }
        let now = self.now();
        for event in &events {
            let Token(token) = event.token();
            assert!(self.pool.tokens().contains(&token));
            self.pool.handle_ready(now, event.token());
        }
        self.pool.reap_children(now); // on SIGCHLD in the daemon
        self.pool.handle_deadline(now);
        self.collect();
    }

    pub(crate) fn collect(&mut self) {
        self.seen.extend(self.pool.drain_events());
    }

    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&PoolEvent) -> bool) {
        self.until_so(what, |daemon| daemon.seen.iter().any(&wanted));
    }

    #[track_caller]
    pub(crate) fn until_ended(&mut self, number: usize) {
        self.until_so("the end of probes", |daemon| daemon.ended().count() >= number);
    }

    /// Also reaped: no zombie is left.
    #[track_caller]
    pub(crate) fn until_gone(&mut self, pid: u32) {
        let proc = PathBuf::from(format!("/proc/{pid}/stat"));
        self.until_so("the end of a prober", |_| !proc.try_exists().unwrap());
    }

    #[track_caller]
    pub(crate) fn until_so(&mut self, what: &str, so: impl Fn(&Daemon) -> bool) {
        let begun = Instant::now();
        while !so(self) {
            assert!(begun.elapsed() < PATIENCE, "{what} did not come; seen: {:?}", self.seen);
            self.turn(Duration::from_millis(20));
        }
    }

    pub(crate) fn wait(&mut self, span: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < span {
            self.turn(span.saturating_sub(begun.elapsed()));
        }
    }

    pub(crate) fn told(&self, notice: ProberNotice) -> bool {
        self.seen.contains(&PoolEvent::Notice(notice))
    }

    pub(crate) fn ended(&self) -> impl Iterator<Item = ProbeId> {
        self.seen.iter().filter_map(ends)
    }

    #[track_caller]
    pub(crate) fn outcome(&self, wanted: ProbeId) -> ProbeOutcome {
        let answer = self.seen.iter().find_map(|event| match event {
            PoolEvent::Responded { probe, outcome, .. } if *probe == wanted => Some(*outcome),
            _ => None,
        });
        answer.unwrap_or_else(|| panic!("no answer for {wanted:?} in {:?}", self.seen))
    }
}

pub(crate) fn started(event: &PoolEvent) -> Option<u32> {
    match event {
        PoolEvent::Notice(ProberNotice::Started { pid }) => Some(*pid),
        _ => None,
    }
}

pub(crate) fn ends(event: &PoolEvent) -> Option<ProbeId> {
    match event {
        PoolEvent::Responded { probe, .. } | PoolEvent::Aborted { probe } | PoolEvent::Freed { probe } => {
            Some(*probe)
        }
        PoolEvent::Stuck { .. } | PoolEvent::Stranded { .. } | PoolEvent::Notice(_) => None,
    }
}

/// What the mount table says of this mount point.
pub(crate) fn target(path: &str) -> Target {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let line = table.lines().rev().find(|line| line.split(' ').nth(4) == Some(path)).unwrap();
    let id: u32 = line.split(' ').next().unwrap().parse().unwrap();
    Target { path: path.into(), kind: FsKind::Local, key: MountKey(id.into()), id, owner: None }
}

pub(crate) fn status_field(pid: Pid, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(pid_of(pid), signal).unwrap();
}

pub(crate) fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap())
}
