//! What one change of the mount table costs among 10 to 100,000 other mounts: the time from mount(2) to the log line of the
//! daemon, and its CPU time, for each source of changes. Beside it the limit, which is to read the change in this process,
//! without a daemon, and `findmnt --poll` if it is installed. Then storms of changes. Needs root for its namespaces.

mod median;
mod namespaces;
mod program;

use median::{bar, percentile};
use mio::{Events, Interest, Poll, Token};
use namespaces::mount_tmpfs;
use nix::mount::{MntFlags, umount2};
use platform::{MountSource, MountTree, MountWatch, TableChange, TableUpdate};
use program::{Daemon, LINE_TIMEOUT, Line, Program, cpu_of_thread, pause};
use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
/// Mounts of the machine, and those of the measurement.
const SPARE_MOUNTS: usize = 1_000;
const REPEATS: usize = 100;
/// The sources and peers that need seconds for one change are measured less often.
const MAX_TIME: Duration = Duration::from_secs(8);
/// It compares all mounts with all others: minutes for one change of more.
const MAX_MOUNTS_OF_FINDMNT: usize = 10_000;
/// Changes per second.
const RATES: [u32; 3] = [10, 200, 1_000];
const STORM: Duration = Duration::from_secs(5);
const MOUNTS_IN_STORMS: usize = 10_000;
/// Mounts that exist at the same time in a storm: each lives for twice as many changes.
const LIVING: usize = 20;
/// Between two changes, so that neither waits for the other.
const PAUSE: Duration = Duration::from_millis(30);
const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// The probe of a new mount belongs to the change.
const PROBE_TIME: Duration = Duration::from_millis(2);

fn main() {
    let _raised = MountLimit::raise(SIZES[SIZES.len() - 1] + SPARE_MOUNTS);
    namespaces::run_in_namespaces("changes", bench);
}

fn bench(directory: &Path) {
    mount_tmpfs(directory);
    println!(
        "\nOne mount among others, median of up to {REPEATS}, times in µs. The bar is the time to the line, ░ its \
         limit,\non a logarithmic scale: the first character is 10 µs, and five more are ten times as long.\n\
         {:>7}  {:<10} {:>9} {:>9} {:>11} {:>10} | {:>7} {:>7} {:>7}",
        "mounts", "source", "to line", "p99", "CPU to line", "CPU of all", "limit", "p99", "CPU"
    );
    let (mut count, mut growth) = (0, BTreeMap::new());
    for size in SIZES {
        let most = mount_max();
        if size + SPARE_MOUNTS > most {
            println!(
                "SKIPPED {size} mounts: fs.mount-max is {most}, and only root of the machine can raise it"
            );
            continue;
        }
        (count..size).for_each(|n| mount_tmpfs(&directory.join(format!("m{n:06}"))));
        count = size;
        for source in MountSource::ALL.into_iter().rev() {
            let daemon = Daemon::start(directory, &["--mount-source", source.name()]);
            let measured = one_change(directory, &daemon, ("Mount appeared: ", "Mount disappeared: "));
            drop(daemon);
            let limit = limit_of_one_change(directory, source);
            print_row(size, source.name(), &measured, Some(&limit));
            growth.entry(source.name()).or_insert_with(Vec::new).push((size, measured));
        }
        if let Some(measured) = findmnt(directory, size) {
            print_row(size, "findmnt", &measured, None);
            growth.entry("findmnt").or_default().push((size, measured));
        }
        if size == MOUNTS_IN_STORMS {
            storms(directory);
        }
    }
    print_growth(&growth);
}

/// Of several changes: the time to the line, the CPU time up to it, and the CPU time up to shortly after it.
#[derive(Default)]
struct Measured {
    latency: Vec<Duration>,
    until_line: Vec<Duration>,
    all: Vec<Duration>,
}

fn print_row(size: usize, name: &str, measured: &Measured, limit: Option<&Measured>) {
    let us = |times: &[Duration], percent| percentile(times, percent).as_micros().to_string();
    let (latency, median) = (&measured.latency, percentile(&measured.latency, 50));
    let [until, all] = [&measured.until_line, &measured.all].map(|times| us(times, 50));
    let (limits, bare) = limit.map_or(Default::default(), |limit| {
        let limits = [us(&limit.latency, 50), us(&limit.latency, 99), us(&limit.all, 50)];
        (limits, percentile(&limit.latency, 50))
    });
    println!(
        "{size:>7}  {name:<10} {:>9} {:>9} {until:>11} {all:>10} | {:>7} {:>7} {:>7}  {}",
        us(latency, 50),
        us(latency, 99),
        limits[0],
        limits[1],
        limits[2],
        bar(bare, median)
    );
}

/// How often as long one change takes as among the fewest mounts.
fn print_growth(growth: &BTreeMap<&str, Vec<(usize, Measured)>>) {
    println!(
        "\nGrowth with the number of mounts\n{:<10} {:>16} {:>12} {:>12}",
        "source", "mounts", "to line", "CPU to line"
    );
    for (name, sizes) in growth {
        let Some(((first, least), rest)) = sizes.split_first() else { continue };
        for (size, measured) in rest.iter().filter(|(size, _)| *size >= MOUNTS_IN_STORMS) {
            let ratio = |part: fn(&Measured) -> &Vec<Duration>| {
                percentile(part(measured), 50).as_secs_f64() / percentile(part(least), 50).as_secs_f64()
            };
            let (latency, cpu) = (ratio(|it| &it.latency), ratio(|it| &it.until_line));
            println!("{name:<10} {:>16} {latency:>11.1}x {cpu:>11.1}x", format!("{size} / {first}"));
        }
    }
}

/// Mounts and unmounts, and waits for the lines with these texts.
fn one_change(directory: &Path, program: &Program, (mounted, unmounted): (&str, &str)) -> Measured {
    let path = directory.join("new");
    let (mut measured, started) = (Measured::default(), Instant::now());
    while measured.all.len() < REPEATS && (started.elapsed() < MAX_TIME || measured.all.is_empty()) {
        let cpu = program.cpu();
        let begun = Instant::now();
        mount_tmpfs(&path);
        let Line { at, cpu: until_line, .. } = program.wait_for(mounted);
        pause(PROBE_TIME);
        measured.latency.push(at - begun);
        measured.until_line.push(until_line - cpu);
        measured.all.push(program.cpu() - cpu);
        unmount(&path);
        program.wait_for(unmounted);
        pause(PAUSE);
    }
    measured
}

fn findmnt(directory: &Path, size: usize) -> Option<Measured> {
    if size > MAX_MOUNTS_OF_FINDMNT {
        println!("SKIPPED findmnt --poll with {size} mounts: it needs minutes for one change");
        return None;
    }
    let mut command = Command::new("findmnt");
    command.args(["--poll", "--noheadings", "--raw", "--output", "ACTION,TARGET"]);
    let is_installed = Command::new("findmnt").arg("--version").output().is_ok();
    if !is_installed {
        println!("SKIPPED findmnt --poll: it is not installed");
        return None;
    }
    let program = Program::start(&mut command, false);
    pause(Duration::from_secs(1)); // it reads the table
    Some(one_change(directory, &program, ("mount ", "umount ")))
}

/// What a thread of this process has read, without a daemon.
struct Read {
    at: Instant,
    /// What the thread has used up to now.
    cpu: Duration,
    new: usize,
    gone: usize,
}

/// Reads changes until the receiver is gone. Also returns what the first read of the whole table has used.
fn read_changes(source: MountSource) -> (Receiver<Read>, Duration) {
    let (sender, reads) = mpsc::channel();
    std::thread::spawn(move || {
        let mut watch = MountWatch::open(Path::new("/proc/self/mountinfo"), source).expect("open");
        let mut poll = Poll::new().expect("poll");
        poll.registry().register(&mut watch, Token(0), Interest::READABLE).expect("register");
        let mut tree = MountTree::new(&watch.read(&MountTree::default()).expect("read"));
        let (mut events, mut new, mut gone) = (Events::with_capacity(8), 0, 0);
        while sender.send(Read { cpu: cpu_of_thread(), at: Instant::now(), new, gone }).is_ok() {
            (new, gone) = (0, 0);
            if let Err(error) = poll.poll(&mut events, Some(READ_TIMEOUT)) {
                assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
            }
            if events.is_empty() || !watch.take_changes().table {
                continue;
            }
            match watch.read_changes(&tree).expect("read changes") {
                TableUpdate::Whole(table) => {
                    new = table.len().saturating_sub(tree.len());
                    gone = tree.len().saturating_sub(table.len());
                    tree = MountTree::new(&table);
                }
                TableUpdate::Changes(changes) => {
                    for change in changes.changes {
                        match change {
                            TableChange::Present(mount) => new += usize::from(tree.insert(mount).is_none()),
                            TableChange::Gone(key) => gone += usize::from(tree.remove(key).is_some()),
                        }
                    }
                }
            }
        }
    });
    let first = reads.recv().expect("the first read");
    (reads, first.cpu)
}

fn limit_of_one_change(directory: &Path, source: MountSource) -> Measured {
    let (reads, mut last) = read_changes(source);
    let path = directory.join("new");
    let (mut measured, started) = (Measured::default(), Instant::now());
    let mut wait_for = |is_expected: fn(&Read) -> bool| {
        loop {
            let read = reads.recv_timeout(LINE_TIMEOUT).expect("a read");
            let spent = read.cpu - std::mem::replace(&mut last, read.cpu);
            if is_expected(&read) {
                return (read.at, spent);
            }
        }
    };
    while measured.all.len() < REPEATS && started.elapsed() < MAX_TIME {
        let begun = Instant::now();
        mount_tmpfs(&path);
        let (at, spent) = wait_for(|read| read.new == 1);
        measured.all.push(spent);
        measured.latency.push(at - begun);
        unmount(&path);
        wait_for(|read| read.gone == 1);
        pause(PAUSE);
    }
    measured
}

fn storms(directory: &Path) {
    println!(
        "\nStorms of changes among {MOUNTS_IN_STORMS} mounts, {STORM:?} each; a mount lives for {} changes. Missed: \
         mounts that were gone\nbefore they could be read, and are counted as such. Lost: neither reported nor missed. \
         The limit is to read\nthe changes in this process.\n{:>6}  {:<10} {:>10} {:>8} {:>8} {:>8} {:>9} {:>7} {:>6}",
        2 * LIVING,
        "per s",
        "source",
        "% of core",
        "limit",
        "prober",
        "changes",
        "reported",
        "missed",
        "lost"
    );
    for rate in RATES {
        for source in [MountSource::Events, MountSource::Ids] {
            let limit = storm_of_reader(directory, source, rate);
            let daemon = Daemon::start(directory, &["--mount-source", source.name()]);
            let counters = || {
                let event = |kind| format!("mountstatus_mount_events_total{{event=\"{kind}\"}}");
                let [mounted, unmounted] = ["mounted", "unmounted"].map(|kind| daemon.metric(&event(kind)));
                (mounted + unmounted, daemon.metric("mountstatus_mounts_missed_total"))
            };
            let before = counters();
            let (begun, cpu, children) = (Instant::now(), daemon.cpu(), daemon.cpu_of_children());
            let changes = storm(directory, rate);
            pause(Duration::from_secs(1)); // the last ones are read
            let share = |spent: Duration| spent.as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
            let (daemons, probers) = (share(daemon.cpu() - cpu), share(daemon.cpu_of_children() - children));
            let after = counters();
            let (reported, missed) = (after.0 - before.0, after.1 - before.1);
            let lost = i128::from(changes) - i128::from(reported) - 2 * i128::from(missed);
            println!(
                "{rate:>6}  {:<10} {daemons:>10.2} {limit:>8.2} {probers:>8.2} {changes:>8} {reported:>9} {missed:>7} \
                 {lost:>6}",
                source.name()
            );
        }
    }
    println!();
}

/// Makes changes for a while, and unmounts what is left. Returns how many there were.
fn storm(directory: &Path, rate: u32) -> u64 {
    let mut living: VecDeque<PathBuf> = VecDeque::new();
    let (begun, mut changes) = (Instant::now(), 0);
    while begun.elapsed() < STORM || !living.is_empty() {
        pause((begun + Duration::from_secs(1) * changes / rate).saturating_duration_since(Instant::now()));
        if living.len() < LIVING && begun.elapsed() < STORM {
            let path = directory.join(format!("storm-{changes}"));
            mount_tmpfs(&path);
            living.push_back(path);
        } else if let Some(oldest) = living.pop_front() {
            unmount(&oldest);
        }
        changes += 1;
    }
    changes.into()
}

/// The share of a core in percent that a thread of this process needs to read the changes.
fn storm_of_reader(directory: &Path, source: MountSource, rate: u32) -> f64 {
    let (reads, first) = read_changes(source);
    let begun = Instant::now();
    storm(directory, rate);
    let spent = reads.try_iter().last().map_or(Duration::ZERO, |read| read.cpu - first);
    spent.as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0
}

fn unmount(path: &Path) {
    umount2(path, MntFlags::MNT_DETACH).expect("unmount");
}

const MOUNT_MAX: &str = "/proc/sys/fs/mount-max";

fn mount_max() -> usize {
    let text = std::fs::read_to_string(MOUNT_MAX).unwrap_or_default();
    text.trim().parse().unwrap_or(usize::MAX)
}

/// The former limit of mounts in a namespace, which is that of the machine.
struct MountLimit(usize);

impl MountLimit {
    /// `None` if it is high enough or cannot be raised.
    fn raise(needed: usize) -> Option<MountLimit> {
        let before = mount_max();
        let is_raised = before < needed && std::fs::write(MOUNT_MAX, needed.to_string()).is_ok();
        is_raised.then_some(MountLimit(before))
    }
}

impl Drop for MountLimit {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(MOUNT_MAX, self.0.to_string()) {
            println!("fs.mount-max remains raised; it was {}: {error}", self.0);
        }
    }
}
