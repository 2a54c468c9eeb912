//! What one change of the mount table costs, with 10 to 10,000 other mounts (100,000 if `fs.mount-max` permits it): the time
//! from mount(2) to the log line of the daemon, and the daemon's CPU time for it, for each source of changes. Beside it the
//! limit: reading the change in this process, without a daemon. Then storms of changes. Needs root for its namespaces.

mod median;
mod namespaces;

use median::median;
use mio::{Events, Interest, Poll, Token};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use platform::{MountSource, MountTree, MountWatch, TableChange, TableUpdate};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
/// Mounts of the machine, and those of the measurement.
const SPARE_MOUNTS: usize = 1_000;
const REPEATS: usize = 60;
/// Changes per second.
const RATES: [u32; 3] = [10, 200, 1_000];
const STORM: Duration = Duration::from_secs(5);
/// Mounts that exist at the same time in a storm: each lives for as many changes.
const LIVING: usize = 20;
/// Between two changes, so that neither waits for the other.
const PAUSE: Duration = Duration::from_millis(150);
const LINE_TIMEOUT: Duration = Duration::from_secs(20);

fn main() {
    namespaces::run_in_namespaces("changes", bench);
}

fn bench(directory: &Path) {
    let most: usize = std::fs::read_to_string("/proc/sys/fs/mount-max")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(100_000);
    mount_on(directory);
    println!("One mount among others, median (99th percentile) of {REPEATS}:");
    println!(
        "{:>9}  {:<10} {:>20} {:>20} {:>16}",
        "mounts", "source", "mount to line, µs", "CPU of daemon, µs", "limit, µs"
    );
    let mut count = 0;
    let mut first = [Duration::ZERO; 3];
    for size in SIZES {
        if size + SPARE_MOUNTS > most {
            println!("SKIPPED {size} mounts: fs.mount-max is {most}");
            continue;
        }
        while count < size {
            mount_on(&directory.join(format!("m{count:06}")));
            count += 1;
        }
        for (n, source) in MountSource::ALL.into_iter().enumerate().rev() {
            let (latency, cpu) = one_change(directory, source);
            let limit = limit_of_one_change(directory, source);
            let median_cpu = median(cpu.clone());
            if size == SIZES[0] {
                first[n] = median_cpu;
            }
            let growth = median_cpu.as_secs_f64() / first[n].as_secs_f64();
            println!(
                "{size:>9}  {:<10} {:>20} {:>20} {:>16}   CPU x{growth:.1} of {} mounts",
                source.name(),
                row(&latency),
                row(&cpu),
                row(&limit),
                SIZES[0]
            );
        }
        if size == 10_000 {
            storms(directory);
        }
    }
}

fn storms(directory: &Path) {
    println!("Storms among 10,000 mounts, {STORM:?} each:");
    println!("{:>9}  {:<10} {:>12} {:>10} {:>10}", "per s", "source", "CPU, % core", "changes", "lost");
    for rate in RATES {
        for source in [MountSource::Events, MountSource::Ids] {
            let (cpu, changes, lost) = storm(directory, source, rate);
            println!("{rate:>9}  {:<10} {cpu:>12.2} {changes:>10} {lost:>10}", source.name());
        }
    }
}

fn row(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let last = sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)];
    format!("{} ({})", median(sorted).as_micros(), last.as_micros())
}

/// A tmpfs on this directory, which is made.
fn mount_on(path: &Path) {
    std::fs::create_dir_all(path).expect("create a directory");
    mount(Some("bench"), path, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mount a tmpfs");
}

fn pause(time: Duration) {
    let (_sender, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}

fn unmount(path: &Path) {
    umount2(path, MntFlags::MNT_DETACH).expect("unmount");
}

/// The daemon and its lines with the moments at which they arrived.
struct Daemon {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Daemon {
    fn start(source: MountSource) -> Daemon {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"))
            .args([
                "--poll-interval",
                "3600",
                "--timeout",
                "10",
                "--syslog",
                "off",
                "--listen-address",
                "off",
            ])
            .args(["--socket", "off", "--mount-source", source.name()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        let daemon = Daemon { child, lines };
        daemon.wait_for("Checked ");
        pause(Duration::from_secs(1)); // what the start left to do
        daemon
    }

    fn wait_for(&self, text: &str) -> Instant {
        loop {
            let (at, line) = self.lines.recv_timeout(LINE_TIMEOUT).expect("a line");
            if line.contains(text) {
                return at;
            }
        }
    }

    /// CPU time of all its threads (`/proc/PID/task/TID/schedstat`, nanoseconds). Its children are not counted.
    fn cpu(&self) -> Duration {
        let threads =
            std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs").flatten();
        let spent = threads.filter_map(|thread| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(spent.sum())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The times from the mount to its line, and the CPU time that the daemon needed until shortly after it.
fn one_change(directory: &Path, source: MountSource) -> (Vec<Duration>, Vec<Duration>) {
    let daemon = Daemon::start(source);
    let path = directory.join("new");
    let measure = || {
        let cpu = daemon.cpu();
        let begun = Instant::now();
        mount_on(&path);
        let seen = daemon.wait_for("/new (");
        pause(Duration::from_millis(2)); // the probe of the new mount belongs to the change
        let spent = daemon.cpu() - cpu;
        unmount(&path);
        daemon.wait_for("Mount disappeared: ");
        pause(PAUSE);
        (seen - begun, spent)
    };
    (0..REPEATS).map(|_| measure()).unzip()
}

/// The time from the mount until it was read, by the same source in this process.
fn limit_of_one_change(directory: &Path, source: MountSource) -> Vec<Duration> {
    let mut watch = MountWatch::open(Path::new("/proc/self/mountinfo"), source).expect("open");
    let mut poll = Poll::new().expect("poll");
    poll.registry().register(&mut watch, Token(0), Interest::READABLE).expect("register");
    let mut tree = MountTree::new(&watch.read(&MountTree::default()).expect("read"));
    let path = directory.join("new");
    let mut wait_for = |is_present: bool| {
        let mut events = Events::with_capacity(8);
        loop {
            poll.poll(&mut events, Some(LINE_TIMEOUT)).expect("poll");
            if !watch.take_changes().table {
                continue;
            }
            match watch.read_changes(&tree).expect("read changes") {
                TableUpdate::Whole(table) => tree = MountTree::new(&table),
                TableUpdate::Changes(changes) => {
                    for change in changes.changes {
                        match change {
                            TableChange::Present(mount) => tree.insert(mount),
                            TableChange::Gone(key) => tree.remove(key),
                        };
                    }
                }
            }
            if tree.iter().rev().any(|mount| mount.mountpoint == path) == is_present {
                return Instant::now();
            }
        }
    };
    (0..REPEATS)
        .map(|_| {
            let begun = Instant::now();
            mount_on(&path);
            let seen = wait_for(true);
            unmount(&path);
            wait_for(false);
            seen - begun
        })
        .collect()
}

/// The share of a core in percent, how many changes were made, and how many of them were not reported.
fn storm(directory: &Path, source: MountSource, rate: u32) -> (f64, usize, usize) {
    let daemon = Daemon::start(source);
    let mut living: VecDeque<PathBuf> = VecDeque::new();
    let (cpu, begun) = (daemon.cpu(), Instant::now());
    let mut changes = 0;
    while begun.elapsed() < STORM {
        let due = begun + Duration::from_secs(1) * changes as u32 / rate;
        pause(due.saturating_duration_since(Instant::now()));
        if living.len() < LIVING {
            let path = directory.join(format!("storm-{changes}"));
            mount_on(&path);
            living.push_back(path);
        } else if let Some(oldest) = living.pop_front() {
            unmount(&oldest);
        }
        changes += 1;
    }
    pause(Duration::from_secs(1));
    let spent = (daemon.cpu() - cpu).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    let is_report = |line: &str| line.contains("appeared: ") || line.contains("disappeared: ");
    let reported =
        daemon.lines.try_iter().filter(|(_, line)| line.contains("/storm-") && is_report(line)).count();
    living.iter().for_each(|path| unmount(path));
    (spent, changes, changes.saturating_sub(reported))
}
