//! Data-path probes that are killed.

use crate::daemon::{Daemon, ends, target};
use crate::fuse::private_directory;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use platform::{DataKind, DataProbe, ProbeOutcome, Target};
use std::fs;
use std::path::Path;
use std::time::Duration;

const KILLS: usize = 200;
/// Milliseconds, on a busy machine.
const WAITS: usize = 10_000;
/// Fewer than a probe has that the traced thread makes.
const MIN_STOPS: usize = 20;
/// More stops than a probe has: one before and one after each system call.
const MAX_STOPS: usize = 120;

/// Each time one system call later, so at each step.
#[test]
fn killed_write_leaves_no_file_after_the_next_success() {
    let Some(directory) = private_directory() else { return };
    fs::create_dir(directory.join("health")).unwrap();
    let own_file = ".mount_status_monitor-1-2".to_owned();
    let data = DataProbe { kind: DataKind::Write, path: "health".into(), identity: None, own_file };
    let target = Target { data: Some(Box::new(data)), ..target(directory.to_str().unwrap()) };
    let left = || fs::read_dir(directory.join("health")).unwrap().count();
    let (mut stop, mut killed, mut had_left, mut stolen, mut steps) = (1, 0, 0, 0, 0);
    while killed < KILLS {
        let mut daemon = Daemon::new(); // one whose probers die again and again pauses before the next
        let prober = Pid::from_raw(daemon.active_prober().cast_signed());
        match kill_at(&mut daemon, prober, &target, stop) {
            Ended::Killed => (stop, killed) = (stop + 1, killed + 1),
            Ended::Complete => (stop, steps) = (1, stop - 1),
            Ended::Elsewhere => stolen += 1,
        }
        assert!(stolen < 20 * KILLS, "the traced thread never gets the probe");
        had_left += left();
        let outcome = succeed(&target);
        assert!(matches!(outcome, ProbeOutcome::DataAlive { .. }), "{outcome:?}");
        assert_eq!(left(), 0, "after a kill at stop {stop}");
    }
    assert!(steps > 20, "each system call is a stop before and after it: {steps}");
    assert!(had_left >= KILLS / 10, "kills hit probes that had a file: {had_left}");
    println!("{killed} kills at {steps} steps, {had_left} left a file");
}

fn succeed(target: &Target) -> ProbeOutcome {
    let mut daemon = Daemon::new();
    let probe = daemon.start(target);
    daemon.run_until_ended(1);
    daemon.outcome(probe)
}

enum Ended {
    Killed,
    /// The probe ended before.
    Complete,
    /// Another thread made the probe, because the traced one was late.
    Elsewhere,
}

/// Kills the prober when the thread of a probe stops the `wanted`th time.
fn kill_at(daemon: &mut Daemon, prober: Pid, target: &Target, wanted: usize) -> Ended {
    let thread = probing_thread(prober);
    ptrace::seize(thread, ptrace::Options::PTRACE_O_TRACESYSGOOD).unwrap();
    ptrace::interrupt(thread).unwrap();
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
    let stopped = (0..WAITS).any(|_| {
        daemon.turn(Duration::from_millis(1));
        waitpid(thread, Some(flags)).unwrap() != WaitStatus::StillAlive
    });
    assert!(stopped, "{thread} does not stop");
    ptrace::syscall(thread, None).unwrap();
    let probe = daemon.start(target);
    let mut stops = 0;
    while !daemon.ended().any(|ended| ended == probe) {
        match waitpid(thread, Some(flags)).unwrap() {
            WaitStatus::StillAlive => daemon.turn(Duration::ZERO),
            WaitStatus::PtraceSyscall(_) if stops + 1 == wanted => {
                kill_traced(daemon, prober, thread);
                daemon.run_until_event("the end of a killed probe", |event| ends(event) == Some(probe));
                return Ended::Killed;
            }
            status => {
                stops += usize::from(matches!(status, WaitStatus::PtraceSyscall(_)));
                assert!(stops < MAX_STOPS);
                ptrace::syscall(thread, None).unwrap();
            }
        }
    }
    kill_traced(daemon, prober, thread);
    daemon.run_until_reaped(prober.as_raw().cast_unsigned());
    if stops < MIN_STOPS { Ended::Elsewhere } else { Ended::Complete }
}

/// A process with a traced thread ends when its tracer knows of the thread's end.
fn kill_traced(daemon: &mut Daemon, prober: Pid, thread: Pid) {
    kill(prober, Signal::SIGKILL).unwrap();
    for _ in 0..WAITS {
        match waitpid(thread, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_) => return,
            Ok(_) => daemon.turn(Duration::from_millis(1)),
        }
    }
    panic!("{thread} does not end: {:?}", fs::read_to_string(format!("/proc/{prober}/task/{thread}/status")));
}

/// The idle thread that takes the next probe.
fn probing_thread(prober: Pid) -> Pid {
    let tasks = fs::read_dir(format!("/proc/{prober}/task")).unwrap();
    let is_worker =
        |path: &Path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm == "msm-probe\n");
    let worker = tasks.map(|task| task.unwrap().path()).find(|path| is_worker(path)).unwrap();
    Pid::from_raw(worker.file_name().unwrap().to_str().unwrap().parse().unwrap())
}
