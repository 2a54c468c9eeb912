//! What one run over 10,000 healthy mounts costs, against the bare system calls (`statx` + `statfs` in a loop), all in
//! one go: a run of the daemon that is up (CPU time of daemon and prober together), and a whole `--once-only`, which
//! also starts, reads the mount table for the first time and ends. Needs root: the mounts are made in a mount and pid namespace of their own.

mod median;
mod namespaces;

use median::{Row, median, print_table};
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::fs::{AtFlags, CWD, StatxFlags, statfs, statx};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MOUNTS: usize = 10_000;
const REPEATS: usize = 7;

fn main() {
    namespaces::inside("run", bench);
}

fn bench(folder: &Path) {
    let paths = make_mounts(folder);
    let (mut bare, mut run, mut bare_wall, mut run_wall) = (vec![], vec![], vec![], vec![]);
    for _ in 0..REPEATS {
        let (begun, cpu) = (Instant::now(), used(UsageWho::RUSAGE_SELF));
        ask_bare(&paths);
        bare.push(used(UsageWho::RUSAGE_SELF) - cpu);
        bare_wall.push(begun.elapsed());
        let (begun, cpu) = (Instant::now(), used(UsageWho::RUSAGE_CHILDREN));
        run_once();
        run_wall.push(begun.elapsed());
        while waitpid(Pid::from_raw(-1), None::<WaitPidFlag>).is_ok() {} // the prober, orphaned, is ours
        run.push(used(UsageWho::RUSAGE_CHILDREN) - cpu);
    }
    let (bare, run) = (median(bare), median(run));
    let steady = in_the_daemon();
    print_table(
        &format!("One run over {MOUNTS} healthy tmpfs mounts, median of {REPEATS}"),
        "CPU of bare statx + statfs",
        &[
            Row::new("bare statx + statfs in a loop, CPU", bare, bare),
            Row::new("a run of the daemon, CPU of daemon and prober", steady, bare),
            Row::new("mount_status_monitor --once-only, CPU of all", run, bare),
            Row::new("bare statx + statfs in a loop, wall clock", median(bare_wall), bare),
            Row::new("mount_status_monitor --once-only, wall clock", median(run_wall), bare),
        ],
    );
}

fn make_mounts(folder: &Path) -> Vec<String> {
    mount(Some("bench"), folder, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
    (0..MOUNTS)
        .map(|index| {
            let path = folder.join(format!("m{index:05}"));
            std::fs::create_dir(&path).expect("a folder");
            mount(Some("bench"), &path, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
            path.to_str().expect("plain names").to_owned()
        })
        .collect()
}

fn ask_bare(paths: &[String]) {
    for path in paths {
        let flags = AtFlags::STATX_FORCE_SYNC | AtFlags::NO_AUTOMOUNT;
        statx(CWD, path, flags, StatxFlags::BASIC_STATS).expect("statx");
        statfs(path).expect("statfs");
    }
}

fn run_once() {
    let status = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"))
        .args(["--once-only", "--syslog", "off", "--timeout", "10"])
        .args(["--mount-points-include", "/m[0-9]{5}$"])
        .stderr(Stdio::null())
        .status()
        .expect("the monitor");
    assert!(status.success(), "healthy mounts were called dead");
}

/// The median CPU time of a run while the daemon is up: it runs each second, and is looked at each second.
fn in_the_daemon() -> Duration {
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"))
        .args(["--poll-interval", "1", "--timeout", "10", "--syslog", "off"])
        .args(["--mount-points-include", "/m[0-9]{5}$"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the monitor");
    let mut lines = BufReader::new(daemon.stderr.take().expect("a pipe")).lines();
    let mut after_a_run = || {
        let line = lines.next().expect("the monitor goes on").expect("text");
        assert!(line.starts_with(&format!("Checked {MOUNTS} mounts; 0 are dead")), "{line}");
        cpu_of_all_others()
    };
    let mut before = after_a_run();
    let runs = (0..REPEATS).map(|_| {
        let after = after_a_run();
        let spent = after.saturating_sub(before);
        before = after;
        spent
    });
    let spent = median(runs.collect());
    daemon.kill().expect("our child");
    daemon.wait().expect("our child");
    while waitpid(Pid::from_raw(-1), None::<WaitPidFlag>).is_ok() {}
    spent
}

/// CPU time of all threads in this pid namespace but ours (`/proc/PID/task/TID/schedstat`, nanoseconds).
fn cpu_of_all_others() -> Duration {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").expect("procfs").flatten().map(|entry| entry.path());
    let others = processes.filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.bytes().all(|byte| byte.is_ascii_digit()) && name != own
    });
    let threads =
        others.flat_map(|path| std::fs::read_dir(path.join("task")).into_iter().flatten().flatten());
    let spent = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum::<u64>())
}

fn used(who: UsageWho) -> Duration {
    let usage = getrusage(who).expect("getrusage");
    let spent = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or_default())
    };
    spent(usage.user_time()) + spent(usage.system_time())
}
