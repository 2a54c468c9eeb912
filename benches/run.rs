//! What one run over 10,000 healthy mounts costs, against the bare system calls (`statx` + `statfs` in a loop), both
//! in one run and in turns. CPU time of the whole: daemon, prober, reading the mount table, starting and ending.
//! Needs root: the mounts are made in a mount and pid namespace of their own.

mod median;

use median::{Row, median, print_table};
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::fs::{AtFlags, CWD, StatxFlags, statfs, statx};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MOUNTS: usize = 10_000;
const REPEATS: usize = 7;
const INSIDE: &str = "MSM_BENCH_INSIDE";

fn main() {
    if std::env::var_os(INSIDE).is_none() {
        return enter_namespaces();
    }
    let paths = make_mounts();
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
    print_table(
        &format!("One run over {MOUNTS} healthy tmpfs mounts, median of {REPEATS}"),
        "CPU of bare statx + statfs",
        &[
            Row::new("bare statx + statfs in a loop, CPU", bare, bare),
            Row::new("mount_status_monitor --once-only, CPU of all", run, bare),
            Row::new("bare statx + statfs in a loop, wall clock", median(bare_wall), bare),
            Row::new("mount_status_monitor --once-only, wall clock", median(run_wall), bare),
        ],
    );
}

fn enter_namespaces() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED run: needs root for mounts in a namespace of its own");
        return;
    }
    let program = std::env::current_exe().expect("the bench has a path");
    let flags = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let status = Command::new("unshare").args(flags).arg(program).env(INSIDE, "1").status().expect("unshare");
    assert!(status.success(), "the bench failed inside its namespaces");
}

fn make_mounts() -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    mount(Some("bench"), &folder, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
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

fn used(who: UsageWho) -> Duration {
    let usage = getrusage(who).expect("getrusage");
    let spent = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or_default())
    };
    spent(usage.user_time()) + spent(usage.system_time())
}
