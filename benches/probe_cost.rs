//! The cost of a probe beyond its system calls: processor time of the pool and its prober, compared with a loop of `statx`
//! and `statfs`, and with one of all the calls of a probe.
//!
//! `cargo bench --bench probe_cost [-- PATH]` probes the mounts at and below PATH (`/dev/shm`).

use mio::{Events, Poll};
use mount_status_monitor::children::prober::{Pool, PoolEvent, ProbeId, ProberNotice};
use mount_status_monitor::monitor::Time;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use platform::{FsKind, MountKey, Target, User, probe};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PROBES: usize = 10_000;
const ROUNDS: usize = 15;

fn main() {
    let path = std::env::args().skip(1).find(|argument| argument.starts_with('/'));
    let path = path.unwrap_or_else(|| "/dev/shm".to_owned());
    let targets: Vec<Target> = targets(Path::new(&path)).collect();
    assert!(!targets.is_empty(), "no mount at or below {path}");
    // A network mount is probed by one statx and one statfs, the minimum.
    let bare: Vec<Target> = targets.iter().map(|t| Target { kind: FsKind::Network, ..t.clone() }).collect();
    println!(
        "{PROBES} probes of {} mounts, processor time of each, medians of {ROUNDS} rounds",
        targets.len()
    );
    let bare = median(|| loop_over(&bare));
    println!("  statx + statfs                {bare:6.2} us");
    println!("  all calls of a probe          {:6.2} us", median(|| loop_over(&targets)));
    let mut daemon = Daemon::new();
    let pooled = median(|| daemon.probe(&targets));
    println!("  by pool and prober            {pooled:6.2} us   x{:.2}", pooled / bare);
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid)).expect("the prober runs");
    let resident = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    println!("  the prober afterwards         {resident}, {}", daemon.turns);
}

/// Microseconds per probe.
fn median(mut round: impl FnMut() -> Duration) -> f64 {
    round();
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| round()).collect();
    times.sort();
    times[ROUNDS / 2].as_secs_f64() * 1e6 / PROBES as f64
}

fn loop_over(targets: &[Target]) -> Duration {
    let before = cpu_time(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    for target in targets.iter().cycle().take(PROBES) {
        black_box(probe::probe_mount(target, |call| {
            black_box(call);
        }));
    }
    cpu_time(ClockId::CLOCK_PROCESS_CPUTIME_ID) - before
}

fn cpu_time(clock: ClockId) -> Duration {
    clock_gettime(clock).expect("the clock of a running process").into()
}

/// The parts of the daemon that the pool needs.
struct Daemon {
    poll: Poll,
    pool: Pool,
    started: Instant,
    next: u64,
    pid: u32,
    turns: usize,
}

impl Daemon {
    fn new() -> Daemon {
        let poll = Poll::new().expect("a poll");
        let registry = poll.registry().try_clone().expect("its registry");
        let program = PathBuf::from(env!("CARGO_BIN_EXE_mount_status_monitor"));
        let pool = Pool::new(registry, 0, Some(program)).expect("a pool");
        Daemon { poll, pool, started: Instant::now(), next: 0, pid: 0, turns: 0 }
    }

    fn probe(&mut self, targets: &[Target]) -> Duration {
        let before = self.cpu_time();
        for target in targets.iter().cycle().take(PROBES) {
            self.next += 1;
            self.pool.start(ProbeId(self.next), target);
        }
        let mut responses = 0;
        let mut events = Events::with_capacity(64);
        while responses < PROBES {
            let now = Time::after_start(self.started.elapsed());
            self.pool.flush(now);
            self.poll.poll(&mut events, None).expect("a wait");
            self.turns += 1;
            for event in &events {
                self.pool.handle_ready(now, event.token());
            }
            for event in self.pool.drain_events() {
                match event {
                    PoolEvent::Responded { outcome, .. } => {
                        black_box(outcome);
                        responses += 1;
                    }
                    PoolEvent::Notice(_, ProberNotice::Started { pid }) => self.pid = pid,
                    other => panic!("{other:?}"),
                }
            }
        }
        self.cpu_time() - before
    }

    fn cpu_time(&self) -> Duration {
        let prober = if self.pid == 0 {
            Duration::ZERO
        } else {
            let pid = Pid::from_raw(self.pid.cast_signed());
            cpu_time(nix::time::clock_getcpuclockid(pid).expect("the prober's clock"))
        };
        cpu_time(ClockId::CLOCK_PROCESS_CPUTIME_ID) + prober
    }
}

fn targets(root: &Path) -> impl Iterator<Item = Target> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    let lines: Vec<String> = table.lines().map(str::to_owned).collect();
    lines.into_iter().filter_map(move |line| {
        let mut fields = line.split(' ');
        let id: u32 = fields.next()?.parse().ok()?;
        let path = PathBuf::from(fields.nth(3)?);
        let key = MountKey(id.into());
        path.starts_with(root).then_some(Target {
            path: path.into(),
            kind: FsKind::Local,
            key,
            id,
            owner: None,
            user: User::System,
            data: None,
        })
    })
}
