//! Each user has probers of the own, so that no user harms another.

use crate::daemon::{Daemon, ends, started, target};
use crate::fuse::{Fuse, private_directory};
use mount_status_monitor::children::prober::{PoolEvent, ProbeId, ProberNotice};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid;
use platform::{FsKind, Target, User};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const OURS: &str = "user_id=0,group_id=0,allow_other";
const MAX_STRANDED_OF_USER: usize = 2;
const MAX_USERS: u32 = 16;
const IDLE_AFTER: Duration = Duration::from_secs(15);
const USER: u32 = 54321;
const GROUP: u32 = 54322;
/// Set for the test that runs again as the user: the prober that it tries to trace.
const PROBER_VARIABLE: &str = "MSM_TEST_PROBER";

fn target_of(user: u32, fuse: &Fuse) -> Target {
    let user = User::Foreign(user);
    Target { kind: FsKind::Fuse, user, ..target(fuse.path.to_str().unwrap()) }
}

/// A probe of this user that is inside the server and cannot be killed.
fn stick(daemon: &mut Daemon, user: u32, fuse: &mut Fuse) -> ProbeId {
    let probe = daemon.start(&target_of(user, fuse));
    daemon.turn(Duration::ZERO);
    fuse.read_request();
    probe
}

#[test]
fn user_who_strands_probers_takes_none_from_others() {
    let Some(directory) = private_directory() else { return };
    let mut daemon = Daemon::new();
    let mut mounts: Vec<Fuse> = (0..5).map(|n| Fuse::mount(&directory, &n.to_string(), OURS)).collect();
    for fuse in &mut mounts {
        let probe = stick(&mut daemon, USER, fuse);
        daemon.pool.abandon(probe);
    }
    daemon.run_until("stranded probers", |daemon| daemon.pool.probers_stranded() == MAX_STRANDED_OF_USER);
    let limit = ProberNotice::StrandedLimit { limit: MAX_STRANDED_OF_USER };
    let is_limit = |event: &&PoolEvent| **event == PoolEvent::Notice(User::Foreign(USER), limit);
    assert_eq!(daemon.events.iter().filter(is_limit).count(), 1);
    daemon.run_for(Duration::from_millis(700));
    assert_eq!(daemon.pool.probers(), MAX_STRANDED_OF_USER + 1, "the third keeps its hung probes");
    // Another user, and the system, have places of their own.
    for user in [User::Foreign(USER + 1), User::System] {
        let mut fuse = Fuse::mount(&directory, &format!("{user:?}"), OURS);
        let probe = daemon.start(&Target { user, ..target_of(USER, &fuse) });
        daemon.turn(Duration::ZERO);
        fuse.read_request();
        daemon.pool.abandon(probe);
        daemon.run_until_event("stranded probe", |event| *event == PoolEvent::Stranded { probe });
        let healthy = daemon.start(&Target { user, ..target("/proc") });
        daemon.run_until("response", |daemon| daemon.ended().any(|ended| ended == healthy));
        mounts.push(fuse);
    }
    assert_eq!(daemon.pool.probers_stranded(), MAX_STRANDED_OF_USER + 2);
}

#[test]
fn prober_that_was_idle_longest_makes_room_for_another_user() {
    let Some(directory) = private_directory() else { return };
    let mut daemon = Daemon::new();
    let mut mounts = Vec::new();
    let mut stuck = Vec::new();
    for user in 1..MAX_USERS {
        let mut fuse = Fuse::mount(&directory, &user.to_string(), OURS);
        stuck.push(stick(&mut daemon, user, &mut fuse));
        mounts.push(fuse);
    }
    let healthy = |user| Target { user: User::Foreign(user), ..target("/proc") };
    for user in [1000, 1001, 1002] {
        let probe = daemon.start(&healthy(user));
        daemon.run_until("response", |daemon| daemon.ended().any(|ended| ended == probe));
        assert!(matches!(daemon.outcome(probe), platform::ProbeOutcome::Alive(_)), "{user}");
    }
    let mut fuse = Fuse::mount(&directory, "last", OURS);
    let last = stick(&mut daemon, 1002, &mut fuse);
    // All are busy: the next user waits for a second, and is not judged.
    let waits = daemon.start(&healthy(1003));
    let system = daemon.start(&target("/proc"));
    daemon.run_until("the end of both", |daemon| {
        daemon.ended().filter(|&ended| ended == waits || ended == system).count() == 2
    });
    assert!(daemon.events.contains(&PoolEvent::Aborted { probe: waits }), "{:?}", daemon.events);
    assert!(
        !stuck.iter().chain([&last]).any(|&probe| daemon.ended().any(|ended| ended == probe)),
        "nobody was disturbed"
    );
}

#[test]
fn prober_of_a_user_ends_when_it_is_idle() {
    let mut daemon = Daemon::new();
    daemon.active_prober();
    let probe = daemon.start(&Target { user: User::Foreign(USER), ..target("/proc") });
    daemon.run_until("response", |daemon| daemon.ended().any(|ended| ended == probe));
    let pid = daemon.events.iter().rev().find_map(started).unwrap();
    let later = daemon.pool.next_deadline().expect("the end of the idle time");
    assert!(later <= daemon.now() + IDLE_AFTER);
    daemon.pool.handle_deadline(later);
    daemon.run_until_reaped(pid);
    assert_eq!(daemon.pool.probers(), 1, "the system's prober stays");
    assert!(
        !daemon.events.iter().any(|event| matches!(event, PoolEvent::Notice(_, ProberNotice::Died { .. })))
    );
}

#[test]
fn user_who_kills_the_own_prober_harms_nobody_else() {
    let Some(directory) = private_directory() else { return };
    let mut daemon = Daemon::new();
    let mut mounts: Vec<Fuse> = (0..2).map(|n| Fuse::mount(&directory, &n.to_string(), OURS)).collect();
    let other = stick(&mut daemon, USER + 1, &mut mounts[0]);
    let mut fuse = Fuse::mount(&directory, "own", &format!("user_id={USER},group_id={GROUP}"));
    let own = daemon.start(&Target { owner: Some((USER, GROUP)), ..target_of(USER, &fuse) });
    daemon.run_until("two probers", |daemon| daemon.events.iter().filter_map(started).count() == 2);
    daemon.turn(Duration::ZERO);
    fuse.read_request();
    let pid = daemon.events.iter().rev().find_map(started).unwrap();
    let thread = tasks(pid).into_iter().find(|&task| has_identity(task, USER)).expect("a thread of the user");
    let mut kill = Command::new("kill");
    kill.args(["-KILL", &thread.to_string()]).uid(USER).gid(GROUP);
    assert!(
        kill.status().unwrap().success(),
        "a user may kill the process of a thread with the same identity"
    );
    drop(fuse); // its thread cannot be killed before
    daemon.run_until("the end of the probe", |daemon| daemon.ended().any(|ended| ended == own));
    assert!(!daemon.ended().any(|ended| ended == other));
    let system = daemon.start(&target("/proc"));
    daemon.run_until("response", |daemon| daemon.ended().any(|ended| ended == system));
}

/// The prober has an inherited socket and the right to search directories.
#[test]
fn user_cannot_trace_the_prober_that_has_the_users_identity() {
    if let Ok(pid) = std::env::var(PROBER_VARIABLE) {
        return try_to_trace(pid.parse().unwrap());
    }
    let Some(directory) = private_directory() else { return };
    let mut fuse = Fuse::mount(&directory, "own", &format!("user_id={USER},group_id={GROUP}"));
    let mut daemon = Daemon::new();
    let probe = daemon.start(&Target { owner: Some((USER, GROUP)), ..target_of(USER, &fuse) });
    daemon.run_until_event("a prober", |event| started(event).is_some());
    daemon.turn(Duration::ZERO);
    let request = fuse.read_request();
    assert_eq!((request.uid, request.gid), (USER, GROUP));
    let pid = daemon.events.iter().find_map(started).unwrap();
    let program = directory.join("tracer");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut tracer = Command::new(&program);
    tracer.args([
        "--exact",
        "users::user_cannot_trace_the_prober_that_has_the_users_identity",
        "--nocapture",
    ]);
    tracer.env(PROBER_VARIABLE, pid.to_string()).uid(USER).gid(GROUP).current_dir("/");
    let output = tracer.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    drop(fuse);
    daemon.run_until_event("the end of the probe", |event| ends(event) == Some(probe));
}

fn tasks(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
}

fn has_identity(task: u32, user: u32) -> bool {
    fs::read_to_string(format!("/proc/{task}/status")).unwrap().contains(&format!("Uid:\t{user}\t{user}\t"))
}

/// Runs as the user.
fn try_to_trace(pid: u32) {
    let tasks = tasks(pid);
    assert!(tasks.iter().any(|&task| has_identity(task, USER)), "a thread of the prober has this identity");
    for task in tasks {
        let pid = Pid::from_raw(task.cast_signed());
        assert_eq!(ptrace::seize(pid, ptrace::Options::empty()), Err(Errno::EPERM), "task {task}");
        assert_eq!(ptrace::attach(pid), Err(Errno::EPERM), "task {task}");
        let refused = |name: &str| {
            let path = format!("/proc/{task}/{name}");
            let read = File::open(Path::new(&path)).and_then(|mut file| file.read(&mut [0; 1]));
            assert!(read.is_err(), "{path}");
        };
        ["mem", "environ", "maps", "auxv", "syscall", "stack"].iter().for_each(|name| refused(name));
        assert!(fs::read_dir(format!("/proc/{task}/fd")).is_err(), "its descriptors");
    }
}
