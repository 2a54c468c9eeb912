//! What each step does, and for whom.

use super::common::{Process, count_threads_stuck_in_fuse, monitor_command, ms, run_isolated, wait_until};
use super::harness::{
    SERVE, by, dead_mount, details, directory, exists, is_refused, make, make_all, make_with, mount_at,
    provide_mount, provide_program, remedies, table, underneath,
};
use mount_status_monitor::children::remedy::{
    ChildEnd, NotMade, NotVerified, Remedies, Response, SettingsFrom, StepDetails, StepOutcome,
};
use mount_status_monitor::monitor::remedy::{Guard, StepKind};
use nix::mount::{MsFlags, mount};
use platform::Errno;
use std::fs;
use std::process::{Child, Command, Stdio};

/// A process that writes new files into a directory again and again. It is stuck as long as the mount is.
struct Writer(Child);

impl Writer {
    fn start(path: &std::path::Path) -> Writer {
        let script = "while :; do echo written > \"$0/file\"; done";
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Writer(command.spawn().unwrap())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Make before break, with a writer that never stops.
#[test]
fn hung_mount_is_replaced_and_nothing_is_written_underneath() {
    run_isolated(|lab| {
        for (name, fault, freeing) in [("hung", "mute", &[StepKind::Abort][..]), ("disconnected", "die", &[])]
        {
            let Some(dead) = dead_mount(lab, name, fault) else { return };
            if name == "hung" && !provide_mount(lab, &dead.mountpoint, "fuse.fault", SERVE) {
                return;
            }
            let path = dead.mountpoint.to_path_buf();
            lab.write_file("fstab", format!("nowhere:/x {} fuse.fault defaults 0 0\n", path.display()));
            let underneath = underneath(lab, &path);
            let writers = [Writer::start(&path), Writer::start(&path)];
            let mut remedies = remedies(lab);
            let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
            make_all(&mut action, &[StepKind::MountPrivately, StepKind::MoveBeneath]);
            make_all(&mut action, freeing);
            make_all(&mut action, &[StepKind::Detach, StepKind::Verify]);
            action.finish().unwrap();
            let new = mount_at(&path);
            assert!(!exists(dead.key) && new.device_number != dead.device_number);
            let processes: Vec<Process> = writers.iter().map(|writer| Process(writer.0.id())).collect();
            wait_until(ms(2000), "nobody is stuck", || count_threads_stuck_in_fuse(&processes) == 0);
            drop(writers);
            let written: Vec<_> = fs::read_dir(&underneath).unwrap().collect();
            assert!(written.is_empty(), "{name}: {written:?}");
            assert_eq!(remedies.stranded(), 0);
            lab.detach(underneath.parent().unwrap());
        }
    });
}

/// A unit with a file of its own, which fstab does not have.
#[test]
fn mount_of_a_unit_is_made_at_the_private_place_by_what_the_unit_says() {
    run_isolated(|lab| {
        let Some(dead) = dead_mount(lab, "a", "die") else { return };
        if !provide_mount(lab, &lab.mount_point("other"), "tmpfs", SERVE) {
            return;
        }
        let unit = "#!/bin/sh\n[ \"$*\" = 'cat -- m-a.mount' ] && printf '%s\\n' '[Mount]' What=nowhere:/x \
                    Type=fuse.fault Options=nosuid\n";
        provide_program("systemctl", unit);
        let details = StepDetails { how: Some(by(SettingsFrom::MountUnit("m-a.mount".into()))), ..details() };
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        let report = make_with(&mut action, StepKind::MountPrivately, &details, &mut |_| {});
        assert_eq!(report.outcome, StepOutcome::Done, "{}", String::from_utf8_lossy(&report.output));
        make_all(&mut action, &[StepKind::MoveBeneath, StepKind::Detach, StepKind::Verify]);
        action.finish().unwrap();
        assert!(!exists(dead.key));
    });
}

#[test]
fn mount_that_cannot_be_made_anew_gets_an_empty_placeholder() {
    run_isolated(|lab| {
        let Some(dead) = dead_mount(lab, "a", "die") else { return };
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        make_all(&mut action, &[StepKind::Placeholder, StepKind::MoveBeneath, StepKind::Detach]);
        action.finish().unwrap();
        let error = fs::write(dead.mountpoint.join("x"), "x").unwrap_err();
        assert_eq!(Errno::from_io(&error).name(), "EROFS");
        assert_eq!(fs::read_dir(&dead.mountpoint).unwrap().count(), 0);
        let places = fs::read_dir(directory(lab)).unwrap().filter_map(Result::ok);
        let mut names = places.map(|entry| entry.file_name().into_string().unwrap());
        assert!(names.all(|name| !name.starts_with("new-")), "the private place is removed");
    });
}

/// For kernels that cannot move beneath.
#[test]
fn mount_is_replaced_in_one_child() {
    run_isolated(|lab| {
        let Some(dead) = dead_mount(lab, "a", "mute") else { return };
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        assert_eq!(
            make(&mut action, StepKind::Replace).outcome,
            StepOutcome::NotMade(NotMade::PlaceChanged),
            "nothing was made before"
        );
        make_all(&mut action, &[StepKind::Placeholder, StepKind::Replace]);
        action.finish().unwrap();
        assert!(!exists(dead.key));
        assert_eq!(*mount_at(&dead.mountpoint).fstype, *"tmpfs");
    });
}

/// Where the new mount was not moved beneath.
#[test]
fn what_is_at_the_private_place_moves_in_with_the_unmount_and_only_where_nothing_is() {
    run_isolated(|lab| {
        let Some(dead) = dead_mount(lab, "a", "die") else { return };
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        make_all(&mut action, &[StepKind::Placeholder]);
        assert_eq!(make(&mut action, StepKind::MoveIn).outcome, StepOutcome::NotMade(NotMade::Replaced));
        assert!(exists(dead.key));
        make_all(&mut action, &[StepKind::Unmount]);
        assert!(mount_at(&dead.mountpoint).read_only());
        make_all(&mut action, &[StepKind::MoveIn]); // nothing is left to do
        action.finish().unwrap();
        assert!(mount_at(&dead.mountpoint).read_only());
    });
}

/// As on kernels where the mount that has the mount point is the root of the namespace.
#[test]
fn mount_that_the_kernel_cannot_move_beneath_moves_in_with_the_detach() {
    run_isolated(|lab| {
        let Some(dead) = dead_mount(lab, "a", "mute") else { return };
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        make_all(&mut action, &[StepKind::Placeholder]);
        let place = directory(lab).join(format!("new-{}", dead.key.0));
        let propagate = |flags| mount(None::<&str>, &place, None::<&str>, flags, None::<&str>).unwrap();
        propagate(MsFlags::MS_SHARED); // nothing can be moved out of a shared mount
        assert_eq!(make(&mut action, StepKind::MoveBeneath).outcome, StepOutcome::Deferred);
        propagate(MsFlags::MS_PRIVATE);
        let report = make(&mut action, StepKind::Detach);
        assert_eq!(report.outcome, StepOutcome::Done);
        let calls: Vec<&str> = report.calls.iter().map(|call| call.call.as_str()).collect();
        assert_eq!(calls, ["umount2", "move_mount"]);
        action.finish().unwrap();
        assert!(mount_at(&dead.mountpoint).read_only() && !exists(dead.key));
    });
}

/// Afterwards nobody can hold the mount any more, so the number of its superblock may be that of another.
#[test]
fn nfs_client_is_shut_down_by_the_child_that_has_detached_its_mount() {
    run_isolated(|lab| {
        let Some(dead) = dead_mount(lab, "a", "die") else { return };
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        let then_shut_down = StepDetails { then_shut_down: true, ..details() };
        let report = make_with(&mut action, StepKind::Detach, &then_shut_down, &mut |_| {});
        assert_eq!(report.outcome, StepOutcome::Done);
        let calls: Vec<(&str, &[u8])> =
            report.calls.iter().map(|call| (call.call.as_str(), call.path.as_slice())).collect();
        let file = format!("/sys/fs/nfs/{}/shutdown", dead.device_number);
        let path = dead.mountpoint.as_os_str().as_encoded_bytes();
        assert_eq!(calls, [("umount2", path), ("write", file.as_bytes())]);
        // It is not NFS.
        let shut_down = make(&mut action, StepKind::ShutDown);
        let StepOutcome::Failed(Some(error)) = shut_down.outcome else { panic!("{shut_down:?}") };
        assert!(error.errno() == Some(Errno::ENOENT) && shut_down.calls.is_empty());
    });
}

#[test]
fn abort_frees_the_tasks_of_one_connection_and_the_mount_is_made_again() {
    run_isolated(|lab| {
        let Some(dead) = dead_mount(lab, "a", "mute") else { return };
        let other = dead_mount(lab, "b", "mute").unwrap();
        if !provide_mount(lab, &dead.mountpoint, "fuse.fault", SERVE) {
            return;
        }
        let stuck = [&dead, &other].map(|mount| Writer::start(&mount.mountpoint));
        let processes = stuck.each_ref().map(|writer| [Process(writer.0.id())]);
        wait_until(ms(2000), "both are stuck", || {
            processes.iter().all(|process| count_threads_stuck_in_fuse(process) == 1)
        });
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        let busy = make(&mut action, StepKind::Unmount);
        let StepOutcome::StillMounted { error: Some(error), has_failed_requests: false } = busy.outcome
        else {
            panic!("{busy:?}");
        };
        assert_eq!(error.errno(), Some(Errno::EBUSY));
        make_all(&mut action, &[StepKind::Abort]);
        wait_until(ms(2000), "it is free", || count_threads_stuck_in_fuse(&processes[0]) == 0);
        assert_eq!(count_threads_stuck_in_fuse(&processes[1]), 1, "the other connection is not touched");
        lab.set_fault("die", &other.mountpoint); // what its server has read cannot be interrupted
        drop(stuck);
        make_all(&mut action, &[StepKind::Unmount, StepKind::MountAgain]);
        let verified = make(&mut action, StepKind::Verify);
        assert_eq!(verified.outcome, StepOutcome::Done);
        assert_eq!(verified.responses, [Response::Alive; 2]);
    });
}

/// Without the control file, `MNT_FORCE` aborts the connection; it unmounts nothing by itself.
#[test]
fn force_unmounts_exactly_this_mount() {
    run_isolated(|lab| {
        let Some(dead) = dead_mount(lab, "a", "mute") else { return };
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        let report = make(&mut action, StepKind::Force);
        assert_eq!(report.outcome, StepOutcome::Done);
        assert!(!exists(dead.key));
        let flags: Vec<&str> = report.calls.iter().map(|call| call.flags.as_str()).collect();
        assert_eq!(flags, ["MNT_FORCE", "UMOUNT_NOFOLLOW"]);
    });
}

#[test]
fn forced_mount_that_is_in_use_is_harm_done() {
    run_isolated(|lab| {
        let path = lab.mount_fuse_with("a", super::harness::OPTIONS);
        let file = fs::File::open(path.join("file")).unwrap();
        let dead = mount_at(&path);
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        let report = make(&mut action, StepKind::Force);
        assert!(
            matches!(report.outcome, StepOutcome::StillMounted { has_failed_requests: true, .. }),
            "{report:?}"
        );
        assert!(exists(dead.key));
        drop(file);
    });
}

#[test]
fn stopped_server_is_continued_and_the_same_mount_responds() {
    run_isolated(|lab| {
        let path = lab.mount_fuse_with("a", super::harness::OPTIONS);
        let dead = mount_at(&path);
        let server = lab.fuse_server();
        server.freeze();
        let pid = server.process().0;
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        let resume = |pid| StepDetails { fuse_server: Some(pid), ..details() };
        let other = make_with(&mut action, StepKind::Resume, &resume(std::process::id()), &mut |_| {});
        if let StepOutcome::Failed(Some(error)) = &other.outcome {
            return lab.skip(&format!("the kernel does not say whom a process serves: {error:?}"));
        }
        assert_eq!(other.outcome, StepOutcome::NotMade(NotMade::NotItsServer));
        let hung = make_with(
            &mut action,
            StepKind::Verify,
            &StepDetails { timeout: ms(300), ..details() },
            &mut |_| {},
        );
        assert_eq!(hung.outcome, StepOutcome::NotVerified(NotVerified::NoResponse(Vec::new())));
        assert_eq!(hung.end, ChildEnd::Killed);
        let report = make_with(&mut action, StepKind::Resume, &resume(pid), &mut |_| {});
        assert_eq!(report.outcome, StepOutcome::Done);
        make_all(&mut action, &[StepKind::Verify]);
        assert_eq!(mount_at(&path).key, dead.key);
    });
}

#[test]
fn mounts_below_go_along_only_with_permission() {
    run_isolated(|lab| {
        let path = lab.mount_fuse_with("a", super::harness::OPTIONS);
        lab.mount_tmpfs_over(&path.join("directory"));
        let dead = mount_at(&path);
        let nested = mount_at(&path.join("directory"));
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        let refused = make(&mut action, StepKind::Detach);
        assert_eq!(refused.outcome, StepOutcome::NotMade(NotMade::MountsBelow(vec![nested.key.0])));
        assert!(refused.calls.is_empty() && exists(dead.key));
        let permitted = StepDetails { below: vec![nested.key], ..details() };
        let report = make_with(&mut action, StepKind::Detach, &permitted, &mut |_| {});
        assert_eq!(report.outcome, StepOutcome::Done);
        assert!(!exists(dead.key) && !exists(nested.key));
    });
}

#[test]
fn one_action_at_a_time_for_a_server_and_a_number_for_the_machine() {
    run_isolated(|lab| {
        let Some(first) = dead_mount(lab, "a", "die") else { return };
        let second = dead_mount(lab, "b", "die").unwrap();
        let (mut daemon, mut command) = (remedies(lab), remedies(lab));
        let action = daemon.begin(first.clone(), b"one", 1).unwrap();
        let busy = command.begin(second.clone(), b"one", 2).map(drop).unwrap_err();
        assert!(is_refused(&busy, &Guard::ServerBusy), "{busy:?}");
        let busy = command.begin(second.clone(), b"other", 1).map(drop).unwrap_err();
        assert!(is_refused(&busy, &Guard::MachineBusy { running: 1 }), "{busy:?}");
        drop(command.begin(second.clone(), b"other", 2).unwrap());
        drop(action);
        drop(command.begin(second, b"one", 1).unwrap());
    });
}

#[test]
fn calls_are_recorded_and_told_before_and_after() {
    run_isolated(|lab| {
        let Some(dead) = dead_mount(lab, "a", "die") else { return };
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        let mut told = Vec::new();
        let report = make_with(&mut action, StepKind::Detach, &details(), &mut |call| {
            told.push((call.call.clone(), call.duration.is_some()));
        });
        assert_eq!(told, [("umount2".to_owned(), false), ("umount2".to_owned(), true)]);
        let [call] = report.calls.as_slice() else { panic!("{report:?}") };
        assert_eq!((call.mount, call.flags.as_str(), &call.error), (dead.key.0, "MNT_DETACH", &None));
        assert_eq!(call.path, dead.mountpoint.as_os_str().as_encoded_bytes());
        assert!(call.duration.is_some() && !call.at.is_zero());
        make_all(&mut action, &[StepKind::Detach]); // it is gone: nothing is left to do
        drop(action);
        let records = remedies.records_of(b"nowhere").unwrap();
        let steps: Vec<(&str, bool)> =
            records.steps().iter().map(|step| (step.step.as_str(), step.outcome.is_some())).collect();
        assert_eq!(steps, [("detach", true), ("detach", true)]);
        assert_eq!(Remedies::new(&directory(lab), None).unwrap().recorded_steps().unwrap().len(), 2);
        assert!(table().get(dead.key).is_none());
    });
}

#[test]
fn daemon_that_watches_sees_the_new_mount_come_and_the_dead_one_go() {
    run_isolated(|lab| {
        let Some(dead) = dead_mount(lab, "a", "die") else { return };
        if !provide_mount(lab, &dead.mountpoint, "fuse.fault", SERVE) {
            return;
        }
        let daemon = lab.start_daemon(&[]);
        let mut remedies = remedies(lab);
        let mut action = remedies.begin(dead.clone(), b"nowhere", 1).unwrap();
        make_all(&mut action, &[StepKind::MountPrivately, StepKind::MoveBeneath, StepKind::Detach]);
        action.finish().unwrap();
        daemon.wait_for_mount_line("Mount appeared", &dead.mountpoint, ms(2000));
        daemon.wait_for_mount_line("Mount disappeared", &dead.mountpoint, ms(2000));
        let check = monitor_command().arg("check").arg(&dead.mountpoint).output().unwrap();
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
        daemon.stop();
    });
}
