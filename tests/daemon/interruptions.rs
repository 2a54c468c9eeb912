//! The daemon and its children are stopped at random moments and go on: no healthy mount is reported.

use crate::common::{Daemon, Lab, Process, ms, pause, run_isolated_for};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the processes of each test are interrupted, if not [`TRIES`].
const TRIES_VARIABLE: &str = "MSM_TEST_INTERRUPTIONS";
const TRIES: u64 = 100;
/// Interrupted at the same time, to save time.
const DAEMONS: u64 = 5;
const MOUNTS: usize = 4;

/// Runs take longer than the interval, so that probes are always in flight: each of two calls takes 60 ms. An interruption
/// of 200 ms, which the prober may not notice, makes none slow.
const OPTIONS: &[&str] = &["--timeout", "400ms", "--slow-after", "390ms", "--poll-interval", "250ms"];

/// More than enough for 500 tries.
const LIMIT: Duration = Duration::from_secs(400);

#[test]
fn stopped_processes_report_no_healthy_mount() {
    run_isolated_for(LIMIT, |lab| interrupt(lab, |daemon, random| Some(Stopped::choose(daemon, random))));
}

#[test]
fn frozen_processes_report_no_healthy_mount() {
    run_isolated_for(LIMIT, |lab| {
        if Cgroup::create(std::process::id()).is_none() {
            return lab.skip("needs a writable cgroup v2");
        }
        interrupt(lab, Frozen::choose);
    });
}

/// Something that goes on when it is dropped.
fn interrupt<I>(lab: &mut Lab, begin: impl Fn(&Daemon, &mut Random) -> Option<I> + Sync) {
    let mounts = lab.mount_fuses(MOUNTS);
    lab.set_faults("delay 60", 0..MOUNTS);
    let commands: Vec<Command> = (0..DAEMONS).map(|_| lab.daemon_command(OPTIONS)).collect();
    let tries = std::env::var(TRIES_VARIABLE).map_or(TRIES, |tries| tries.parse().expect("a number"));
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos();
    println!("seed {seed}");
    let daemons: Vec<Daemon> = std::thread::scope(|scope| {
        let start = |(n, command)| {
            let (mut random, begin) = (Random(u64::from(seed) + n), &begin);
            scope.spawn(move || {
                let daemon = Daemon::start(command);
                for _ in 0..tries.div_ceil(DAEMONS) {
                    let interruption = begin(&daemon, &mut random);
                    // Around the timeout, around that of the prober's replies, and longer.
                    pause(ms([random.below(400), 300 + random.below(300), 1300 + random.below(300)]
                        [random.index(3)]));
                    drop(interruption);
                    pause(ms(random.below(700)));
                }
                daemon
            })
        };
        let threads: Vec<_> = (0..).zip(commands).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    for daemon in &daemons {
        daemon.assert_no_line("Mount failed");
        daemon.assert_no_line("Mount is slow");
        daemon.skip_earlier_lines();
        daemon.wait_for_line(&format!("Checked {MOUNTS} mounts; 0 are dead"), ms(15_000));
    }
    lab.set_fault("mute", &mounts[0]);
    for daemon in &daemons {
        daemon.wait_for_failure(&mounts[0], "hung", ms(1500));
    }
    lab.clear_fault(&mounts[0]);
    daemons.into_iter().for_each(Daemon::stop);
}

/// The daemon, one of its children or several of them.
fn choose_processes(daemon: &Daemon, random: &mut Random) -> Vec<Process> {
    let mut processes = daemon.process.descendants();
    processes.retain(|process| process.is_alive());
    if random.index(2) == 0 {
        processes.push(daemon.process);
    }
    // In random order: which process goes on first matters.
    for last in (1..processes.len()).rev() {
        processes.swap(last, random.index(last + 1));
    }
    let count = 1 + random.index(processes.len().max(1));
    processes.truncate(count);
    processes
}

struct Stopped(Vec<Process>);

impl Stopped {
    fn choose(daemon: &Daemon, random: &mut Random) -> Stopped {
        let stopped = Stopped(choose_processes(daemon, random));
        for process in &stopped.0 {
            let _ = process.try_signal(Signal::SIGSTOP); // a child may have ended
        }
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for process in self.0.iter().rev() {
            let _ = process.try_signal(Signal::SIGCONT);
        }
    }
}

struct Frozen(Cgroup);

impl Frozen {
    fn choose(daemon: &Daemon, random: &mut Random) -> Option<Frozen> {
        let cgroup = Cgroup::create(random.0 % 1_000_000)?;
        for process in choose_processes(daemon, random) {
            cgroup.add(process);
        }
        cgroup.write("cgroup.freeze", "1");
        Some(Frozen(cgroup))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.write("cgroup.freeze", "0");
    }
}

/// An own cgroup, whose processes return to the root when it is dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn create(name: impl std::fmt::Display) -> Option<Cgroup> {
        let root = [Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/unified")]
            .into_iter()
            .find(|root| root.join("cgroup.controllers").exists())?;
        let path = root.join(format!("msm-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        let cgroup = Cgroup(path);
        cgroup.0.join("cgroup.freeze").exists().then_some(cgroup)
    }

    fn add(&self, process: Process) {
        let _ = std::fs::write(self.0.join("cgroup.procs"), process.0.to_string()); // it may have ended
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.0.join(file), text).expect("the cgroup is ours");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let end = Instant::now() + ms(2000);
        while std::fs::remove_dir(&self.0).is_err() && Instant::now() < end {
            let pids = std::fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
            let root = self.0.parent().expect("it is in the root").join("cgroup.procs");
            for pid in pids.lines() {
                let _ = std::fs::write(&root, pid); // it may have ended
            }
            pause(ms(1));
        }
    }
}

/// xorshift64* (Vigna 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.max(1);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a length")
    }
}
