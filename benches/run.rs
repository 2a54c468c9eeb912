//! The cost of one run over 10,000 healthy mounts, compared with the bare system calls (`statx` + `statfs` in a loop):
//! a run of a running daemon (CPU time of all its processes), and a whole `--once-only`, which includes start, the first
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
    let (mut once, mut once_wall) = (vec![], vec![]);
    for _ in 0..REPEATS {
        let (start, cpu) = (Instant::now(), cpu_time(UsageWho::RUSAGE_CHILDREN));
        run_once();
        once_wall.push(start.elapsed());
        while waitpid(Pid::from_raw(-1), None::<WaitPidFlag>).is_ok() {} // reaps the orphaned prober
        once.push(cpu_time(UsageWho::RUSAGE_CHILDREN) - cpu);
    }
    let (run, bare, bare_wall) = cpu_of_daemon_run(&paths);
    print_table(
        &format!("One run over {MOUNTS} healthy tmpfs mounts, median of {REPEATS}"),
        "CPU of bare statx + statfs",
        &[
            Row::new("bare statx + statfs in a loop, CPU", bare, bare),
            Row::new("a run of the daemon, CPU of daemon and prober", run, bare),
            Row::new("mount_status_monitor --once-only, CPU of all", median(once), bare),
            Row::new("bare statx + statfs in a loop, wall clock", bare_wall, bare),
            Row::new("mount_status_monitor --once-only, wall clock", median(once_wall), bare),
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

/// The median CPU time of a run of a daemon with a poll interval of one second; and, in the middle between its runs, of
/// the bare loop, and its wall clock time: so both find the caches as a second of other work has left them.
fn cpu_of_daemon_run(paths: &[String]) -> (Duration, Duration, Duration) {
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_mount_status_monitor"))
        .args(["--poll-interval", "1", "--timeout", "10", "--syslog", "off"])
        .args(["--mount-points-include", "/m[0-9]{5}$"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the daemon starts");
    let lines = BufReader::new(daemon.stderr.take().expect("a pipe")).lines();
    let mut runs = lines.map(|line| line.expect("text")).filter(|line| line.starts_with("Checked"));
    let mut cpu_after_run = || {
        let line = runs.next().expect("the daemon runs");
        assert!(line.starts_with(&format!("Checked {MOUNTS} mounts; 0 are dead")), "{line}");
        pause(Duration::from_millis(300)); // what follows the run belongs to it
        cpu_of_all_others()
    };
    cpu_after_run(); // it comes with the start
    let mut before = cpu_after_run();
    let (mut spent, mut bare, mut bare_wall) = (vec![], vec![], vec![]);
    for _ in 0..2 * REPEATS {
        let (start, cpu) = (Instant::now(), cpu_time(UsageWho::RUSAGE_SELF));
        probe_bare(paths);
        bare.push(cpu_time(UsageWho::RUSAGE_SELF) - cpu);
        bare_wall.push(start.elapsed());
        let after = cpu_after_run();
        spent.push(after.saturating_sub(before));
        before = after;
    }
    daemon.kill().expect("our child");
    daemon.wait().expect("our child");
    while waitpid(Pid::from_raw(-1), None::<WaitPidFlag>).is_ok() {}
    (median(spent), median(bare), median(bare_wall))
}

fn pause(time: Duration) {
    let (_sender, receiver) = std::sync::mpsc::channel::<()>();
    let _ = receiver.recv_timeout(time);
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
