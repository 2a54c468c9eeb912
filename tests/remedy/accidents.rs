//! What happens between the steps, and to the children that make them.

use super::common::{Lab, Process, ms, run_isolated, run_isolated_for, wait_until};
use super::harness::{
    SERVE, dead_mount, details, directory, exists, is_refused, make, make_all, make_with, mount_at,
    provide_mount, remedies, table,
};
use mount_status_monitor::children::remedy::{
    ChildEnd, NotMade, NotVerified, RecordedOutcome, Remedies, StepDetails, StepOutcome,
};
use mount_status_monitor::monitor::remedy::{Guard, StepKind};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, fork};
use platform::process::exit_now;
use platform::{Mount, MountKey};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// `O_PATH` of x86 and Arm.
const O_PATH: i32 = 0o10_000_000;

/// A directory, held without walking to it again, and the path that leads to it.
type Held = (File, PathBuf);

fn hold(path: &Path) -> Held {
    let file = OpenOptions::new().read(true).custom_flags(O_PATH).open(path).unwrap();
    let link = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
    (file, link)
}

fn mount_tmpfs(path: &Path) {
    mount(Some("accident"), path, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
}

/// A mount below another one, which answers no lookup until it is told to, the directory under it, and it itself. `None`
/// where there are no unique ids.
fn slow_path(lab: &mut Lab) -> Option<(PathBuf, Arc<Mount>, [Held; 2])> {
    let slow = lab.mount_fuse("slow");
    let path = slow.join("directory");
    let underneath = hold(&path);
    lab.mount_tmpfs_over(&path);
    let dead = mount_at(&path);
    let mounted = hold(&path);
    lab.set_fault("mute", &slow);
    is_unique(lab, dead.key).then_some((slow, dead, [underneath, mounted]))
}

/// Lets the walk of the check pass, so that the call walks next, and does something meanwhile.
fn in_the_window(lab: &mut Lab, slow: &Path, act: impl FnOnce()) {
    wait_until(ms(5000), "the check walks", || lab.request_counts(slow).contains("pending=1"));
    lab.set_fault("release", slow);
    wait_until(ms(5000), "the call walks", || lab.request_counts(slow).contains("pending=1"));
    act();
    lab.clear_fault(slow);
}

fn is_unique(lab: &Lab, key: MountKey) -> bool {
    let is_unique = key.0 > u64::from(u32::MAX) >> 1;
    if !is_unique {
        lab.skip("this kernel has no unique mount ids");
    }
    is_unique
}

/// A plain unmount goes by path: what is stacked on the mount between its check and the call is hit. It is found, and
/// nothing more is done on this machine.
#[test]
fn unmount_of_what_was_stacked_in_the_window_is_found_and_stops_everything() {
    run_isolated(|lab| {
        let Some((slow, dead, [(_held, underneath), _])) = slow_path(lab) else { return };
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        let before = table();
        let report = make_with(&mut action, StepKind::Unmount, &details(), &mut |call| {
            if call.duration.is_none() {
                in_the_window(lab, &slow, || mount_tmpfs(&underneath)); // on top of what is there
            }
        });
        let StepOutcome::WrongHit(hit) = report.outcome else { panic!("{report:?}") };
        assert!(hit.len() <= 1 && hit.iter().all(|key| before.get(*key).is_none()), "{hit:?}");
        assert_eq!(table(), before, "what was stacked is gone");
        drop(action);
        let refused = remedies.begin(dead.clone(), b"another", 1).map(drop).unwrap_err();
        assert!(is_refused(&refused, &Guard::WrongHit), "{refused:?}");
        assert!(remedies.reset(&dead.mountpoint).unwrap());
        drop(remedies.begin(dead, b"another", 1).unwrap());
    });
}

/// The same when another mount has come to the path meanwhile. Neither table shows it, but the kernel's events do.
#[test]
fn unmount_of_what_replaced_the_mount_in_the_window_is_found() {
    run_isolated(|lab| {
        let Some((slow, dead, [(_held, underneath), (on_mount, mounted)])) = slow_path(lab) else { return };
        if platform::remedy::ChangeWindow::open().is_err() {
            return lab.skip("this kernel has no events of mounts");
        }
        let mut on_mount = Some(on_mount);
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        let mut fresh = None;
        let report = make_with(&mut action, StepKind::Unmount, &details(), &mut |call| {
            if call.duration.is_none() {
                in_the_window(lab, &slow, || {
                    umount2(&mounted, MntFlags::MNT_DETACH).unwrap();
                    on_mount = None;
                    mount_tmpfs(&underneath);
                    fresh = table().iter().map(|mount| mount.key).max();
                });
            }
        });
        assert!(on_mount.is_none() && !exists(dead.key) && !exists(fresh.unwrap()));
        assert_eq!(report.outcome, StepOutcome::WrongHit(vec![fresh.unwrap()]));
    });
}

/// As a container that is built at the same time.
#[test]
fn mount_that_comes_and_goes_elsewhere_in_the_window_is_no_wrong_hit() {
    run_isolated(|lab| {
        let Some((slow, dead, held)) = slow_path(lab) else { return };
        drop(held);
        let elsewhere = lab.scratch_path("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        let report = make_with(&mut action, StepKind::Unmount, &details(), &mut |call| {
            if call.duration.is_none() {
                in_the_window(lab, &slow, || {
                    mount_tmpfs(&elsewhere);
                    umount2(&elsewhere, MntFlags::empty()).unwrap();
                });
            }
        });
        assert_eq!(report.outcome, StepOutcome::Done);
    });
}

/// The walk to the mount hangs, in a way that nothing can interrupt.
#[test]
fn stranded_child_blocks_its_server_until_it_ends() {
    run_isolated(|lab| {
        let slow = lab.mount_fuse("slow");
        lab.mount_tmpfs_over(&slow.join("directory"));
        let dead = mount_at(&slow.join("directory"));
        if !is_unique(lab, dead.key) {
            return;
        }
        lab.set_fault("mute", &slow);
        let (mut remedies, mut command) = (remedies(lab), remedies(lab));
        let mut action = remedies.begin(dead.clone(), b"nowhere", 2).unwrap();
        let short = StepDetails { timeout: ms(500), ..details() };
        let report = make_with(&mut action, StepKind::Detach, &short, &mut |_| {});
        assert_eq!(report.end, ChildEnd::Stranded);
        assert_eq!(
            report.outcome,
            StepOutcome::StillMounted { error: None, has_failed_requests: false },
            "by the table"
        );
        assert_eq!(make(&mut action, StepKind::Unmount).outcome, StepOutcome::Stranded);
        drop(action);
        assert_eq!(remedies.stranded(), 1);
        let busy = |remedies: &mut Remedies| {
            remedies
                .begin(dead.clone(), b"nowhere", 2)
                .is_err_and(|error| is_refused(&error, &Guard::ServerBusy))
        };
        assert!(busy(&mut remedies));
        // Its parent forgets it, as at the end of a daemon: the child still has the lock.
        drop(remedies);
        assert!(busy(&mut command), "another process");
        drop(command.begin(dead.clone(), b"other", 2).unwrap());
        lab.clear_fault(&slow);
        wait_until(ms(2000), "the child has ended", || !busy(&mut command));
        assert!(exists(dead.key), "a child that was killed goes on with nothing");
        let steps = command.recorded_steps().unwrap();
        assert!(steps.len() == 1 && steps[0].outcome.is_none(), "it was interrupted: {steps:?}");
    });
}

/// The daemon is killed while a child is in its call: the child finishes the step alone, and keeps its locks until then.
#[test]
fn step_is_finished_and_recorded_when_its_parent_is_killed() {
    run_isolated(|lab| {
        let Some((slow, dead, [underneath, on_mount])) = slow_path(lab) else { return };
        drop((underneath, on_mount));
        // SAFETY: the other threads of this process only wait, and hold no lock of the allocator.
        let parent = match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => Process(child.as_raw().unsigned_abs()),
            ForkResult::Child => {
                let mut remedies = remedies(lab);
                let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
                action.run(StepKind::Unmount, &details(), &mut |_| {});
                exit_now(0)
            }
        };
        wait_until(ms(5000), "the child walks", || lab.request_counts(&slow).contains("pending=1"));
        parent.send_signal(Signal::SIGKILL);
        wait_until(ms(5000), "the parent has ended", || !parent.is_alive());
        let mut remedies = remedies(lab);
        let refused = remedies.begin(dead.clone(), b"nowhere", 1).map(drop).unwrap_err();
        assert!(is_refused(&refused, &Guard::ServerBusy), "{refused:?}");
        assert!(remedies.recorded_steps().unwrap()[0].outcome.is_none());
        lab.clear_fault(&slow);
        wait_until(ms(5000), "the locks are free", || remedies.begin(dead.clone(), b"nowhere", 1).is_ok());
        assert!(!exists(dead.key));
        let outcome = remedies.recorded_steps().unwrap()[0].outcome.clone();
        assert_eq!(outcome, Some(RecordedOutcome::Succeeded));
    });
}

/// Right before or in its first call, so the call was made or not: the outcome says what the table shows.
#[test]
fn killed_child_of_any_step_leaves_a_known_state_and_the_next_action_can_begin() {
    run_isolated_for(Duration::from_secs(200), |lab| {
        let Some(first) = dead_mount(lab, "0", "die") else { return };
        if !provide_mount(lab, &first.mountpoint, "fuse.fault", SERVE) {
            return;
        }
        let mut dead = first;
        let mut remedies = remedies(lab);
        let steps = [
            StepKind::MountPrivately,
            StepKind::Placeholder,
            StepKind::Abort,
            StepKind::Unmount,
            StepKind::Force,
            StepKind::Detach,
        ];
        for (n, step) in steps.into_iter().enumerate() {
            let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
            let report = make_with(&mut action, step, &details(), &mut |_| kill_step());
            let is_gone = !exists(dead.key);
            match &report.outcome {
                StepOutcome::Done if step.removes_mount() => assert!(is_gone),
                StepOutcome::StillMounted { .. } => assert!(step.removes_mount() && !is_gone),
                StepOutcome::Done | StepOutcome::Failed(_) => assert!(!step.removes_mount() && !is_gone),
                outcome => panic!("{}: {outcome:?}", step.as_str()),
            }
            action.finish().unwrap();
            assert_eq!(remedies.stranded(), 0);
            let steps = remedies.recorded_steps().unwrap();
            assert_eq!(steps.last().map(|last| last.step.as_str()), Some(step.as_str()));
            if is_gone {
                dead = dead_mount(lab, &(n + 1).to_string(), "die").unwrap();
            }
        }
        let inside = directory(lab);
        assert!(
            !table().iter().any(|mount| mount.mountpoint.starts_with(&inside)),
            "no private place is left"
        );
    });
}

/// Kills the child of the step that is being made.
fn kill_step() {
    let children = Process(std::process::id()).children();
    for child in children.into_iter().filter(|child| child.has_role("remedy-step")) {
        let _ = child.try_signal(Signal::SIGKILL);
    }
}

#[test]
fn remount_of_something_else_is_found_and_the_dead_mount_stays() {
    run_isolated(|lab| {
        let Some(dead) = dead_mount(lab, "a", "die") else { return };
        if !provide_mount(lab, &dead.mountpoint, "tmpfs", SERVE) {
            return;
        }
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        let report = make(&mut action, StepKind::MountPrivately);
        assert_eq!(report.outcome, StepOutcome::NotVerified(NotVerified::OtherType("tmpfs".into())));
        let next = make(&mut action, StepKind::MoveBeneath);
        assert_eq!(next.outcome, StepOutcome::NotMade(NotMade::PlaceChanged));
        let missing = make(&mut action, StepKind::Verify);
        assert!(matches!(missing.outcome, StepOutcome::NotVerified(NotVerified::NoResponse(_))));
        action.finish().unwrap();
        assert!(exists(dead.key));
        // Without make before break, it is found afterwards.
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        make_all(&mut action, &[StepKind::Detach, StepKind::MountAgain]);
        let report = make(&mut action, StepKind::Verify);
        assert_eq!(report.outcome, StepOutcome::NotVerified(NotVerified::OtherType("tmpfs".into())));
    });
}

#[test]
fn new_mount_that_fails_or_hangs_never_takes_the_place() {
    run_isolated(|lab| {
        let Some(dead) = dead_mount(lab, "a", "die") else { return };
        let script = "case $(cat /proc/sys/kernel/hostname) in *) echo no such export >&2; exit 32;; esac";
        if !provide_mount(lab, &dead.mountpoint, "fuse.fault", script) {
            return;
        }
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        let report = make(&mut action, StepKind::MountPrivately);
        assert!(matches!(report.outcome, StepOutcome::Failed(Some(_))), "{report:?}");
        assert!(String::from_utf8_lossy(&report.output).contains("no such export"));
        // It mounts, and then a part of it, which is outside of our process group, goes on forever.
        fs::write("/usr/sbin/mount.fuse.fault", "#!/bin/sh\nsetsid sleep 1000 &\nsleep 1000\n").unwrap();
        let short = StepDetails { timeout: ms(500), ..details() };
        let report = make_with(&mut action, StepKind::MountPrivately, &short, &mut |_| {});
        assert_eq!((report.outcome, report.end), (StepOutcome::Failed(None), ChildEnd::Stranded));
        assert_eq!(make(&mut action, StepKind::Detach).outcome, StepOutcome::Stranded);
        drop(action);
        for child in Process(1).descendants().into_iter().filter(|process| is_sleep(*process)) {
            let _ = child.try_signal(Signal::SIGKILL);
        }
        wait_until(ms(2000), "nothing may act any more", || remedies.stranded() == 0);
        assert!(exists(dead.key));
    });
}

fn is_sleep(process: Process) -> bool {
    let name = fs::read_to_string(format!("/proc/{}/comm", process.0)).unwrap_or_default();
    name.trim_end() == "sleep"
}

/// The mount is replaced at any time between the plan and the end of the step: the new one is never touched.
#[test]
fn mount_that_replaces_the_dead_one_is_never_detached() {
    run_isolated_for(Duration::from_secs(200), |lab| {
        let path = lab.mount_point("a");
        lab.mount_tmpfs(&path);
        if !is_unique(lab, mount_at(&path).key) {
            return;
        }
        let mut remedies = remedies(lab);
        for round in 0..60u32 {
            let dead = mount_at(&path);
            let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
            let replaced = path.clone();
            let replacer = thread::spawn(move || {
                super::common::pause(Duration::from_micros(u64::from(round) * 250));
                // Nothing is there for a moment if the step was first.
                let _ = umount2(&replaced, MntFlags::MNT_DETACH);
                mount_tmpfs(&replaced);
                mount_at(&replaced).key
            });
            let report = action.run(StepKind::Detach, &details(), &mut |_| {});
            let new = replacer.join().unwrap();
            assert!(exists(new) && !exists(dead.key), "round {round}: {report:?}");
            assert_eq!(report.outcome, StepOutcome::Done, "round {round}");
        }
    });
}
