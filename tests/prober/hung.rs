//! What becomes of probes that hang: told where, killed where that is possible, left behind where it is not.

use crate::daemon::{Daemon, PROGRAM, ends, started, target};
use crate::fuse::{Fuse, GETATTR, private_place};
use mount_status_monitor::children::prober::PoolEvent;
use mount_status_monitor::children::prober::ProbeId;
use mount_status_monitor::children::prober::ProberNotice;
use nix::mount::umount;
use platform::{Call, Errno, FsKind, ProbeOutcome, Target};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

const OURS: &str = "user_id=0,group_id=0";
/// As in the pool: probers that may be left behind.
const MAX_LOST_PROBERS: usize = 16;

#[test]
fn a_stuck_probe_is_found_and_its_mount_given_back() {
    let Some(place) = private_place() else { return };
    let fuse = Fuse::mount(&place, "hung", OURS);
    let mut daemon = Daemon::new();
    let prober = daemon.prober();
    let hung = daemon.start(&fuse_target(&fuse));
    // On a busy machine its thread is still on the way to the call at first.
    for _ in 0..50 {
        daemon.wait(Duration::from_millis(100));
        daemon.pool.confirm(hung);
        daemon.until("where it is", |event| matches!(event, PoolEvent::Stuck { .. }));
        if matches!(daemon.seen.last(), Some(PoolEvent::Stuck { call: Call::Statx, .. })) {
            break;
        }
    }
    let Some(PoolEvent::Stuck { probe, call, elapsed, pid, tid }) = daemon.seen.last() else {
        panic!("{:?}", daemon.seen)
    };
    assert_eq!((*probe, *call, *pid), (hung, Call::Statx, prober));
    assert!(*elapsed >= Duration::from_millis(90), "{elapsed:?}");
    let comm = fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).unwrap();
    assert_eq!(comm, "msm-probe\n");
    assert!(umount(&fuse.path).is_err(), "a stuck probe keeps its mount busy");

    daemon.pool.abandon(hung);
    daemon.until("the end of it", |event| *event == PoolEvent::Freed { probe: hung });
    umount(&fuse.path).expect("nothing of the probe is left");
    assert_ne!(daemon.prober(), prober);
    daemon.until_gone(prober);
}

#[test]
fn what_cannot_be_killed_is_lost_until_the_kernel_lets_go() {
    let Some(place) = private_place() else { return };
    let mut fuse = Fuse::mount(&place, "mute", OURS);
    let mut daemon = Daemon::new();
    let prober = daemon.prober();
    let hung = daemon.start(&fuse_target(&fuse));
    daemon.turn(Duration::ZERO);
    assert_eq!(fuse.read().opcode, GETATTR);
    daemon.pool.abandon(hung);
    daemon.until("that it is lost", |event| *event == PoolEvent::Stranded { probe: hung });
    assert!(daemon.told(ProberNotice::Stranded { pid: prober, mounts: 1 }));
    assert_eq!(daemon.pool.probers_stranded(), 1);
    assert_ne!(daemon.prober(), prober, "others are asked as ever");

    drop(fuse);
    daemon.until("that it is free", |event| *event == PoolEvent::Freed { probe: hung });
    assert!(daemon.told(ProberNotice::StrandedExited { pid: prober }));
    daemon.until_gone(prober);
    assert_eq!((daemon.pool.probers(), daemon.pool.probers_stranded()), (1, 0));
}

/// There are waits that end by themselves and come back at each attempt: those who read of the first need no more.
#[test]
fn as_many_lost_as_before_are_not_told_again() {
    let Some(place) = private_place() else { return };
    let mut daemon = Daemon::new();
    for (attempt, told) in [(0, true), (1, false)] {
        let mut fuse = Fuse::mount(&place, &format!("again{attempt}"), OURS);
        let prober = daemon.prober();
        let hung = daemon.start(&fuse_target(&fuse));
        daemon.turn(Duration::ZERO);
        assert_eq!(fuse.read().opcode, GETATTR);
        daemon.pool.abandon(hung);
        daemon.until("that it is lost", |event| *event == PoolEvent::Stranded { probe: hung });
        assert_eq!(daemon.told(ProberNotice::Stranded { pid: prober, mounts: 1 }), told, "{attempt}");
        drop(fuse);
        daemon.until("that it is free", |event| *event == PoolEvent::Freed { probe: hung });
        daemon.until_gone(prober);
        assert_eq!(daemon.told(ProberNotice::StrandedExited { pid: prober }), told, "{attempt}");
    }
}

#[test]
fn many_that_hang_hold_up_nobody() {
    const HUNG: usize = 200;
    let Some(place) = private_place() else { return };
    let mounts: Vec<Fuse> = (0..HUNG).map(|n| Fuse::mount(&place, &n.to_string(), OURS)).collect();
    let targets: Vec<Target> = mounts.iter().map(fuse_target).collect();
    let mut daemon = Daemon::new();
    let prober = daemon.prober();
    let healthy = target("/proc");
    let begun = Instant::now();
    let mut hung = Vec::new();
    for target in &targets {
        hung.push(daemon.start(target));
        for _ in 0..5 {
            daemon.start(&healthy);
        }
    }
    daemon.until_ended(1 + HUNG * 5);
    let took = begun.elapsed();
    println!("{} healthy among {HUNG} hung: {took:?}", HUNG * 5);
    assert!(took < Duration::from_secs(3), "{took:?}");
    daemon.wait(Duration::from_millis(100));
    hung.iter().for_each(|&probe| daemon.pool.confirm(probe));
    let stuck = |event: &&PoolEvent| matches!(event, PoolEvent::Stuck { tid: 1.., .. });
    daemon.until_so("where they are", |daemon| daemon.seen.iter().filter(stuck).count() == HUNG);
    daemon.seen.clear();
    hung.iter().for_each(|&probe| daemon.pool.abandon(probe));
    daemon.until_ended(HUNG);
    let freed = |probe: &ProbeId| daemon.seen.contains(&PoolEvent::Freed { probe: *probe });
    assert!(hung.iter().all(freed), "{:?}", daemon.seen);
    daemon.until_gone(prober);
}

#[test]
fn no_more_probers_are_left_behind_than_the_limit() {
    let Some(place) = private_place() else { return };
    let mut daemon = Daemon::new();
    let mut mounts = Vec::new();
    for n in 0..MAX_LOST_PROBERS {
        let mut fuse = Fuse::mount(&place, &n.to_string(), OURS);
        let probe = daemon.start(&fuse_target(&fuse));
        daemon.turn(Duration::ZERO);
        fuse.read();
        daemon.pool.abandon(probe);
        mounts.push((probe, fuse));
    }
    daemon.until_so("all of them", |daemon| daemon.pool.probers_stranded() == MAX_LOST_PROBERS);
    let mut over: Vec<(ProbeId, Fuse)> = Vec::new();
    for name in ["too-many", "another"] {
        let mut fuse = Fuse::mount(&place, name, OURS);
        let probe = daemon.start(&fuse_target(&fuse));
        daemon.turn(Duration::ZERO);
        fuse.read();
        daemon.pool.abandon(probe);
        daemon.until("that it stays", |event| *event == PoolEvent::Stranded { probe });
        over.push((probe, fuse));
    }
    let limit = PoolEvent::Notice(ProberNotice::StrandedLimit { limit: MAX_LOST_PROBERS });
    assert_eq!(daemon.seen.iter().filter(|event| **event == limit).count(), 1);
    daemon.prober();
    assert_eq!(daemon.pool.probers(), MAX_LOST_PROBERS + 1);

    let (probe, fuse) = over.pop().unwrap();
    drop(fuse);
    daemon.until_so("its late answer", |daemon| daemon.ended().any(|ended| ended == probe));
    assert_eq!(daemon.outcome(probe), failed(Call::Statx, Errno::ECONNABORTED));

    let (freed, fuse) = mounts.pop().unwrap();
    drop(fuse);
    daemon.until("room for another", |event| *event == PoolEvent::Freed { probe: freed });
    daemon.until_so("its use", |daemon| daemon.pool.probers_stranded() == MAX_LOST_PROBERS);
    let (probe, fuse) = over.pop().unwrap();
    drop(fuse);
    daemon.until("the end of the other", |event| *event == PoolEvent::Freed { probe });
    let lost = daemon.seen.iter().filter(|event| **event == PoolEvent::Stranded { probe }).count();
    assert_eq!(lost, 1, "told once");
}

#[test]
fn a_mount_for_its_owner_alone_is_asked_as_him() {
    let Some(place) = private_place() else { return };
    let closed = place.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let mut fuse = Fuse::mount(&closed, "theirs", "user_id=54321,group_id=54322");
    let mut daemon = Daemon::new();
    let target = fuse_target(&fuse);
    let as_root = daemon.start(&target);
    daemon.until_ended(1);
    let ProbeOutcome::Failed { errno: Errno::EACCES, .. } = daemon.outcome(as_root) else {
        panic!("{:?}", daemon.seen);
    };
    let as_owner = daemon.start(&Target { owner: Some((54321, 54322)), ..target });
    daemon.turn(Duration::ZERO);
    let request = fuse.read();
    assert_eq!((request.opcode, request.uid, request.gid), (GETATTR, 54321, 54322));
    fuse.answer(&request, Errno::EIO.0, &[]);
    daemon.until_ended(2);
    assert_eq!(daemon.outcome(as_owner), failed(Call::Statx, Errno::EIO));
    let probers: HashSet<u32> = daemon.seen.iter().filter_map(started).collect();
    assert_eq!(probers.len(), 2, "what he may kill holds nothing but probes as an owner");
    daemon.wait(Duration::from_millis(100));
    for task in probers.iter().flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).unwrap()) {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert!(status.contains("Uid:\t0\t0\t0\t0"), "no thread stays another user: {status}");
    }
}

#[test]
fn probes_for_which_there_is_no_thread_are_given_back() {
    const HUNG: usize = 40;
    let Some(place) = private_place() else { return };
    let program = place.join("program");
    fs::copy(PROGRAM, &program).unwrap();
    let few = place.join("few-threads");
    let lines = format!(
        "#!/bin/sh\nexec setpriv --reuid=54321 --regid=54321 --clear-groups prlimit --nproc=20 {} \"$@\"\n",
        program.display()
    );
    fs::write(&few, lines).unwrap();
    fs::set_permissions(&few, fs::Permissions::from_mode(0o755)).unwrap();
    let mounts: Vec<Fuse> =
        (0..HUNG).map(|n| Fuse::mount(&place, &n.to_string(), "user_id=0,group_id=0,allow_other")).collect();
    let mut daemon = Daemon::with(Path::new(&few));
    daemon.prober();
    let targets: Vec<Target> = mounts.iter().map(fuse_target).collect();
    let begun = Instant::now();
    let hung: Vec<ProbeId> = targets.iter().map(|target| daemon.start(target)).collect();
    daemon
        .until("the trouble", |event| matches!(event, PoolEvent::Notice(ProberNotice::ThreadsFailed { .. })));
    daemon.until_ended(1 + HUNG - 19);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let aborted = |event: &&PoolEvent| matches!(event, PoolEvent::Aborted { .. });
    assert_eq!(
        daemon.seen.iter().filter(aborted).count(),
        HUNG - 19,
        "all but the 19 threads and the main thread"
    );
    let ended: Vec<ProbeId> = daemon.seen.iter().filter_map(ends).collect();
    hung.iter().filter(|probe| !ended.contains(probe)).for_each(|&probe| daemon.pool.abandon(probe));
    daemon.until_ended(1 + HUNG);
}

fn fuse_target(fuse: &Fuse) -> Target {
    Target { kind: FsKind::Fuse, ..target(fuse.path.to_str().unwrap()) }
}

fn failed(call: Call, errno: Errno) -> ProbeOutcome {
    ProbeOutcome::Failed { call, errno }
}
