//! The cost of one run over 10,000 healthy mounts, compared with the bare system calls (`statx` + `statfs` in a loop):
//! a run of a running daemon (CPU time of daemon and prober), and a whole `--once-only`, which includes start, the first
//! read of the mount table, and exit. Needs root for its mount and pid namespaces.

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
    namespaces::run_in_namespaces("run", bench);
}

fn bench(directory: &Path) {
    let paths = make_mounts(directory);
    let (mut bare, mut run, mut bare_wall, mut run_wall) = (vec![], vec![], vec![], vec![]);
    for _ in 0..REPEATS {
        let (start, cpu) = (Instant::now(), cpu_time(UsageWho::RUSAGE_SELF));
        probe_bare(&paths);
        bare.push(cpu_time(UsageWho::RUSAGE_SELF) - cpu);
        bare_wall.push(start.elapsed());
        let (start, cpu) = (Instant::now(), cpu_time(UsageWho::RUSAGE_CHILDREN));
        run_once();
        run_wall.push(start.elapsed());
        while waitpid(Pid::from_raw(-1), None::<WaitPidFlag>).is_ok() {} // reaps the orphaned prober
        run.push(cpu_time(UsageWho::RUSAGE_CHILDREN) - cpu);
    }
    let (bare, run) = (median(bare), median(run));
    let steady = cpu_of_daemon_run();
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

fn make_mounts(directory: &Path) -> Vec<String> {
    mount(Some("bench"), directory, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mount a tmpfs");
    (0..MOUNTS)
        .map(|index| {
            let path = directory.join(format!("m{index:05}"));
            std::fs::create_dir(&path).expect("create a directory");
            mount(Some("bench"), &path, Some("tmpfs"), MsFlags::empty(), None::<&str>)
                .expect("mount a tmpfs");
            path.to_str().expect("the path is UTF-8").to_owned()
        })
        .collect()
}

fn probe_bare(paths: &[String]) {
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
        .expect("the daemon starts");
    assert!(status.success(), "a healthy mount was reported dead");
}

/// The median CPU time of a run of a daemon with a poll interval of one second.
fn cpu_of_daemon_run() -> Duration {
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"))
        .args(["--poll-interval", "1", "--timeout", "10", "--syslog", "off"])
        .args(["--mount-points-include", "/m[0-9]{5}$"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the daemon starts");
    let mut lines = BufReader::new(daemon.stderr.take().expect("a pipe")).lines();
    let mut cpu_after_run = || {
        let line = lines.by_ref().map(|line| line.expect("text")).find(|line| line.starts_with("Checked"));
        let line = line.expect("the daemon runs");
        assert!(line.starts_with(&format!("Checked {MOUNTS} mounts; 0 are dead")), "{line}");
        cpu_of_all_others()
    };
    let mut before = cpu_after_run();
    let runs = (0..REPEATS).map(|_| {
        let after = cpu_after_run();
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

/// CPU time of all other threads in this pid namespace (`/proc/PID/task/TID/schedstat`, nanoseconds).
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

fn cpu_time(who: UsageWho) -> Duration {
    let usage = getrusage(who).expect("getrusage");
    let spent = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or_default())
    };
    spent(usage.user_time()) + spent(usage.system_time())
}
