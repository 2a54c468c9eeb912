//! Hung probes: located, then killed if possible, else stranded.

use crate::daemon::{Daemon, PROGRAM, ends, started, target};
use crate::fuse::{Fuse, GETATTR, private_directory};
use mount_status_monitor::children::prober::{PoolEvent, ProbeId, ProberNotice};
use nix::mount::umount;
use platform::{Call, Errno, FsKind, ProbeOutcome, Target, User};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

const OURS: &str = "user_id=0,group_id=0";
/// The same as in the pool.
const MAX_STRANDED_PROBERS: usize = 16;

#[test]
fn stuck_probe_is_located_and_abandoning_it_frees_its_mount() {
    let Some(directory) = private_directory() else { return };
    let fuse = Fuse::mount(&directory, "hung", OURS);
    let mut daemon = Daemon::new();
    let prober = daemon.active_prober();
    let hung = daemon.start(&fuse_target(&fuse));
    // On a busy machine the thread may not have made the call yet.
    for _ in 0..50 {
        daemon.run_for(Duration::from_millis(100));
        daemon.pool.confirm(hung);
        daemon.run_until_event("proof", |event| matches!(event, PoolEvent::Stuck { .. }));
        if matches!(daemon.events.last(), Some(PoolEvent::Stuck { call: Call::Statx, .. })) {
            break;
        }
    }
    let Some(PoolEvent::Stuck { probe, call, elapsed }) = daemon.events.last() else {
        panic!("{:?}", daemon.events)
    };
    assert_eq!((*probe, *call), (hung, Call::Statx));
    assert!(*elapsed >= Duration::from_millis(90), "{elapsed:?}");
    daemon.pool.locate(hung);
    daemon.run_until_event("position of the probe", |event| matches!(event, PoolEvent::Located { .. }));
    let Some(PoolEvent::Located { pid, tid, .. }) = daemon.events.last() else {
        panic!("{:?}", daemon.events)
    };
    assert_eq!(*pid, prober);
    let comm = fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).unwrap();
    assert_eq!(comm, "msm-probe\n");
    assert!(umount(&fuse.path).is_err(), "a stuck probe keeps its mount busy");

    daemon.pool.abandon(hung);
    daemon.run_until_event("end of the probe", |event| *event == PoolEvent::Freed { probe: hung });
    umount(&fuse.path).expect("nothing of the probe is left");
    assert_ne!(daemon.active_prober(), prober);
    daemon.run_until_reaped(prober);
}

/// Drivers such as that of 9p send each `statx` to the server: a hang in it is one of the mount, but one on the way to
/// the mount's directory is not.
#[test]
fn identifying_a_mount_whose_driver_always_asks_is_a_question_to_it() {
    let Some(directory) = private_directory() else { return };
    let fuse = Fuse::mount(&directory, "hung", OURS);
    for (path, call) in [(fuse.path.clone(), Call::Statx), (fuse.path.join("x/y"), Call::Identify)] {
        let mut daemon = Daemon::new();
        let prober = daemon.active_prober();
        let hung = daemon.start(&Target {
            kind: FsKind::Uncached,
            path: path.as_path().into(),
            ..target(fuse.path.to_str().unwrap())
        });
        let mut found = None;
        for _ in 0..50 {
            daemon.run_for(Duration::from_millis(100));
            daemon.pool.confirm(hung);
            daemon.run_until_event("position of the probe", |event| matches!(event, PoolEvent::Stuck { .. }));
            found = daemon.events.last().cloned();
            if matches!(found, Some(PoolEvent::Stuck { call: found, .. }) if found == call) {
                break;
            }
        }
        assert!(matches!(found, Some(PoolEvent::Stuck { call: found, .. }) if found == call), "{found:?}");
        daemon.pool.abandon(hung);
        daemon.run_until_event("end of the probe", |event| *event == PoolEvent::Freed { probe: hung });
        daemon.run_until_reaped(prober);
    }
}

#[test]
fn unkillable_prober_is_stranded_until_its_server_ends() {
    let Some(directory) = private_directory() else { return };
    let mut fuse = Fuse::mount(&directory, "silent", OURS);
    let mut daemon = Daemon::new();
    let prober = daemon.active_prober();
    let hung = daemon.start(&fuse_target(&fuse));
    daemon.turn(Duration::ZERO);
    assert_eq!(fuse.read_request().opcode, GETATTR);
    daemon.pool.abandon(hung);
    daemon.run_until_event("stranded probe", |event| *event == PoolEvent::Stranded { probe: hung });
    assert!(daemon.has_notice(ProberNotice::Stranded { pid: prober, mounts: 1 }));
    assert_eq!(daemon.pool.probers_stranded(), 1);
    assert_ne!(daemon.active_prober(), prober, "other probes get a new prober");

    drop(fuse);
    daemon.run_until_event("freed probe", |event| *event == PoolEvent::Freed { probe: hung });
    assert!(daemon.has_notice(ProberNotice::StrandedExited { pid: prober }));
    daemon.run_until_reaped(prober);
    assert_eq!((daemon.pool.probers(), daemon.pool.probers_stranded()), (1, 0));
}

/// Some uninterruptible waits end by themselves and recur at each attempt; only the first is logged.
#[test]
fn repeated_stranding_is_logged_once() {
    let Some(directory) = private_directory() else { return };
    let mut daemon = Daemon::new();
    for (attempt, is_logged) in [(0, true), (1, false)] {
        let mut fuse = Fuse::mount(&directory, &format!("again{attempt}"), OURS);
        let prober = daemon.active_prober();
        let hung = daemon.start(&fuse_target(&fuse));
        daemon.turn(Duration::ZERO);
        assert_eq!(fuse.read_request().opcode, GETATTR);
        daemon.pool.abandon(hung);
        daemon.run_until_event("stranded probe", |event| *event == PoolEvent::Stranded { probe: hung });
        assert_eq!(
            daemon.has_notice(ProberNotice::Stranded { pid: prober, mounts: 1 }),
            is_logged,
            "{attempt}"
        );
        drop(fuse);
        daemon.run_until_event("freed probe", |event| *event == PoolEvent::Freed { probe: hung });
        daemon.run_until_reaped(prober);
        assert_eq!(daemon.has_notice(ProberNotice::StrandedExited { pid: prober }), is_logged, "{attempt}");
    }
}

#[test]
fn many_hung_mounts_do_not_delay_healthy_ones() {
    const HUNG: usize = 200;
    let Some(directory) = private_directory() else { return };
    let mounts: Vec<Fuse> = (0..HUNG).map(|n| Fuse::mount(&directory, &n.to_string(), OURS)).collect();
    let targets: Vec<Target> = mounts.iter().map(fuse_target).collect();
    let mut daemon = Daemon::new();
    let prober = daemon.active_prober();
    let healthy = target("/proc");
    let started_at = Instant::now();
    let mut hung = Vec::new();
    for target in &targets {
        hung.push(daemon.start(target));
        for _ in 0..5 {
            daemon.start(&healthy);
        }
    }
    daemon.run_until_ended(1 + HUNG * 5);
    let took = started_at.elapsed();
    println!("{} healthy among {HUNG} hung: {took:?}", HUNG * 5);
    assert!(took < Duration::from_secs(3), "{took:?}");
    daemon.run_for(Duration::from_millis(100));
    hung.iter().for_each(|&probe| daemon.pool.confirm(probe));
    let stuck = |event: &&PoolEvent| matches!(event, PoolEvent::Stuck { .. });
    daemon.run_until("proofs of the hangs", |daemon| daemon.events.iter().filter(stuck).count() == HUNG);
    daemon.events.clear();
    hung.iter().for_each(|&probe| daemon.pool.abandon(probe));
    daemon.run_until_ended(HUNG);
    let freed = |probe: &ProbeId| daemon.events.contains(&PoolEvent::Freed { probe: *probe });
    assert!(hung.iter().all(freed), "{:?}", daemon.events);
    daemon.run_until_reaped(prober);
}

#[test]
fn stranded_probers_are_limited() {
    let Some(directory) = private_directory() else { return };
    let mut daemon = Daemon::new();
    let mut mounts = Vec::new();
    for n in 0..MAX_STRANDED_PROBERS {
        let mut fuse = Fuse::mount(&directory, &n.to_string(), OURS);
        let probe = daemon.start(&fuse_target(&fuse));
        daemon.turn(Duration::ZERO);
        fuse.read_request();
        daemon.pool.abandon(probe);
        mounts.push((probe, fuse));
    }
    daemon.run_until("all stranded probers", |daemon| daemon.pool.probers_stranded() == MAX_STRANDED_PROBERS);
    let mut retained: Vec<(ProbeId, Fuse)> = Vec::new();
    for name in ["too-many", "another"] {
        let mut fuse = Fuse::mount(&directory, name, OURS);
        let probe = daemon.start(&fuse_target(&fuse));
        daemon.turn(Duration::ZERO);
        fuse.read_request();
        daemon.pool.abandon(probe);
        daemon.run_until_event("stranded probe", |event| *event == PoolEvent::Stranded { probe });
        retained.push((probe, fuse));
    }
    let limit = PoolEvent::Notice(User::System, ProberNotice::StrandedLimit { limit: MAX_STRANDED_PROBERS });
    assert_eq!(daemon.events.iter().filter(|event| **event == limit).count(), 1);
    daemon.active_prober();
    assert_eq!(daemon.pool.probers(), MAX_STRANDED_PROBERS + 1);

    let (probe, fuse) = retained.pop().unwrap();
    drop(fuse);
    daemon.run_until("late response", |daemon| daemon.ended().any(|ended| ended == probe));
    assert_eq!(daemon.outcome(probe), failed(Call::Statx, Errno::ECONNABORTED));

    let (freed, fuse) = mounts.pop().unwrap();
    drop(fuse);
    daemon.run_until_event("freed probe", |event| *event == PoolEvent::Freed { probe: freed });
    daemon
        .run_until("use of the freed slot", |daemon| daemon.pool.probers_stranded() == MAX_STRANDED_PROBERS);
    let (probe, fuse) = retained.pop().unwrap();
    drop(fuse);
    daemon.run_until_event("end of the other probe", |event| *event == PoolEvent::Freed { probe });
    let stranded = daemon.events.iter().filter(|event| **event == PoolEvent::Stranded { probe }).count();
    assert_eq!(stranded, 1, "reported once");
}

#[test]
fn fuse_mount_of_another_user_is_probed_as_its_owner() {
    let Some(directory) = private_directory() else { return };
    let closed = directory.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let mut fuse = Fuse::mount(&closed, "of-user", "user_id=54321,group_id=54322");
    let mut daemon = Daemon::new();
    let target = fuse_target(&fuse);
    let as_root = daemon.start(&target);
    daemon.run_until_ended(1);
    let ProbeOutcome::Failed { errno: Errno::EACCES, .. } = daemon.outcome(as_root) else {
        panic!("{:?}", daemon.events);
    };
    let as_owner =
        daemon.start(&Target { owner: Some((54321, 54322)), user: User::Foreign(54321), ..target });
    daemon.turn(Duration::ZERO);
    let request = fuse.read_request();
    assert_eq!((request.opcode, request.uid, request.gid), (GETATTR, 54321, 54322));
    fuse.reply(&request, Errno::EIO.0, &[]);
    daemon.run_until_ended(2);
    assert_eq!(daemon.outcome(as_owner), failed(Call::Statx, Errno::EIO));
    let probers: HashSet<u32> = daemon.events.iter().filter_map(started).collect();
    assert_eq!(probers.len(), 2, "the mounts of a user have their own prober");
    daemon.run_for(Duration::from_millis(100));
    for task in probers.iter().flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).unwrap()) {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert!(status.contains("Uid:\t0\t0\t0\t0"), "no thread keeps another identity: {status}");
    }
}

#[test]
fn probes_without_a_thread_are_aborted() {
    const HUNG: usize = 40;
    let Some(directory) = private_directory() else { return };
    let program = directory.join("program");
    fs::copy(PROGRAM, &program).unwrap();
    let limited = directory.join("few-threads");
    let lines = format!(
        "#!/bin/sh\nexec setpriv --reuid=54321 --regid=54321 --clear-groups prlimit --nproc=20 {} \"$@\"\n",
        program.display()
    );
    fs::write(&limited, lines).unwrap();
    fs::set_permissions(&limited, fs::Permissions::from_mode(0o755)).unwrap();
    let mounts: Vec<Fuse> = (0..HUNG)
        .map(|n| Fuse::mount(&directory, &n.to_string(), "user_id=0,group_id=0,allow_other"))
        .collect();
    let mut daemon = Daemon::with(Path::new(&limited));
    daemon.active_prober();
    let targets: Vec<Target> = mounts.iter().map(fuse_target).collect();
    let started_at = Instant::now();
    let hung: Vec<ProbeId> = targets.iter().map(|target| daemon.start(target)).collect();
    daemon.run_until_event("failure to start threads", |event| {
        matches!(event, PoolEvent::Notice(_, ProberNotice::ThreadsFailed { .. }))
    });
    daemon.run_until_ended(1 + HUNG - 19);
    assert!(started_at.elapsed() < Duration::from_secs(2), "{:?}", started_at.elapsed());
    let aborted = |event: &&PoolEvent| matches!(event, PoolEvent::Aborted { .. });
    assert_eq!(
        daemon.events.iter().filter(aborted).count(),
        HUNG - 19,
        "all but the 19 threads and the main thread"
    );
    let ended: Vec<ProbeId> = daemon.events.iter().filter_map(ends).collect();
    hung.iter().filter(|probe| !ended.contains(probe)).for_each(|&probe| daemon.pool.abandon(probe));
    daemon.run_until_ended(1 + HUNG);
}

fn fuse_target(fuse: &Fuse) -> Target {
    Target { kind: FsKind::Fuse, ..target(fuse.path.to_str().unwrap()) }
}

fn failed(call: Call, errno: Errno) -> ProbeOutcome {
    ProbeOutcome::Failed { call, errno }
}
