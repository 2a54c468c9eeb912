//! Attempts that daemons and commands make, and what they know of each other.

use super::common::{Lab, Process, ms, run_isolated, run_isolated_for, wait_until};
use super::harness::{
    SERVE, dead_mount, directory, exists, is_refused, mount_at, provide_mount, provide_program, remedies,
};
use mount_status_monitor::children::remedy::{
    AttemptEnd, AttemptEvent, BeginError, NotVerified, Remedies, StepOutcome,
};
use mount_status_monitor::monitor::remedy::{
    Ancestor, Guard, Initiator, Kernel, MAX_RUNNING, Machine, Mode, Origin, Outcome, Plan, RemedyFacts,
    RemedySettings, STEP_WORDS, Situation, Standing, StepKind, plan,
};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, fork};
use platform::process::exit_now;
use platform::{Mount, MountTable};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

const FAILS: &str = "echo no such export >&2; exit 32";

fn settings() -> RemedySettings {
    RemedySettings { steps: STEP_WORDS.to_vec(), max_attempts: 1, ..RemedySettings::new(Mode::Act) }
}

/// For a disconnected mount that a line of fstab has, with `systemd-run`.
fn plan_of(dead: &Arc<Mount>) -> Plan {
    let facts = RemedyFacts::of(Arc::clone(dead));
    let facts = RemedyFacts {
        ancestors: vec![Ancestor { mountpoint: "/".into(), is_dead: false }],
        origin: Origin::Fstab { line: 1 },
        kernel: Kernel { has_unique_ids: true, moves_beneath: true, shuts_down_one_superblock: false },
        ..facts
    };
    let facts = facts.supposing(Situation::FuseServerGone, RemedySettings::AFTER);
    let machine = Machine { has_systemd: true, ..facts.machine.clone() };
    let plan = plan(Arc::new(RemedyFacts { machine, ..facts }), &settings(), &Standing::default());
    let kinds: Vec<StepKind> = plan.allowed_steps().iter().map(|step| step.kind).collect();
    assert!(kinds.starts_with(&[StepKind::MountPrivately]) && kinds.contains(&StepKind::Detach), "{plan:?}");
    plan
}

/// A dead mount that mount(8) makes anew as the script says.
fn prepare(lab: &mut Lab, script: &str) -> Option<Arc<Mount>> {
    let dead = dead_mount(lab, "a", "die")?;
    if !provide_mount(lab, &dead.mountpoint, "fuse.fault", script) {
        return None;
    }
    provide_program("systemd-run", "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n");
    Some(dead)
}

fn attempt(
    remedies: &mut Remedies,
    plan: &Plan,
    by: Initiator,
    on_event: &mut dyn FnMut(AttemptEvent<'_>),
) -> Result<AttemptEnd, BeginError> {
    let end = remedies.attempt(plan, &settings(), &MountTable::read().unwrap(), by, &mut |event| {
        println!("{event:?}");
        on_event(event);
    });
    println!("{end:?}");
    end
}

#[test]
fn attempts_count_for_all_processes_and_the_operator_permits_new_ones() {
    run_isolated(|lab| {
        let Some(dead) = prepare(lab, FAILS) else { return };
        let plan = plan_of(&dead);
        let (mut daemon, mut command) = (remedies(lab), remedies(lab));
        let end = attempt(&mut daemon, &plan, Initiator::Daemon, &mut |_| {}).unwrap();
        assert_eq!(end, AttemptEnd { outcome: Outcome::Failed, gave_up: true });
        let mut again = remedies(lab);
        let refused = attempt(&mut again, &plan, Initiator::Daemon, &mut |_| {}).unwrap_err();
        assert!(is_refused(&refused, &Guard::GaveUp), "another process: {refused:?}");
        let facts = plan.facts();
        let standing = again.standing(facts, &settings(), Initiator::Daemon).unwrap();
        assert!(standing.guards.contains(&Guard::GaveUp) && standing.made == [StepKind::MountPrivately]);
        let standing = again.standing(facts, &settings(), Initiator::Operator).unwrap();
        assert_eq!(standing, Standing::default());
        attempt(&mut command, &plan, Initiator::Operator, &mut |_| {}).unwrap();
        assert!(!command.reset(&dead.mountpoint).unwrap());
        // What helps now is done, and counts.
        provide_program("mount.fuse.fault", &helper(SERVE));
        let end = attempt(&mut daemon, &plan, Initiator::Daemon, &mut |_| {}).unwrap();
        assert_eq!(end, AttemptEnd { outcome: Outcome::Remedied, gave_up: false });
        assert!(!exists(dead.key));
        let new = mount_at(&dead.mountpoint);
        let mut facts = plan.facts().clone();
        facts.mount = new;
        let standing = daemon.standing(&facts, &settings(), Initiator::Daemon).unwrap();
        assert!(matches!(standing.guards[..], [Guard::AttemptsSpent { attempts: 1, .. }]), "{standing:?}");
    });
}

/// The text of a helper of mount(8) that was replaced.
fn helper(script: &str) -> String {
    let before = fs::read_to_string("/usr/sbin/mount.fuse.fault").unwrap();
    before.replace(FAILS, script)
}

/// The daemon is killed between the begin and the end of its attempt, in a program that it waits for.
#[test]
fn attempt_of_a_killed_process_has_failed_and_its_steps_are_not_repeated() {
    run_isolated(|lab| {
        let hold = lab.scratch_path("hold");
        let script = format!("until [ -e {} ]; do sleep 0.02; done\n{SERVE}", hold.display());
        let Some(dead) = prepare(lab, &script) else { return };
        let plan = plan_of(&dead);
        // SAFETY: the other threads of this process only wait, and hold no lock of the allocator.
        let parent = match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => Process(child.as_raw().unsigned_abs()),
            ForkResult::Child => {
                let mut remedies = remedies(lab);
                // It ends when the dead mount is about to be removed.
                let _ = attempt(&mut remedies, &plan, Initiator::Daemon, &mut |event| {
                    if matches!(event, AttemptEvent::Call(call) if call.call.contains("umount")) {
                        exit_now(0);
                    }
                });
                exit_now(1)
            }
        };
        let mut next = remedies(lab);
        let is_busy = |next: &mut Remedies| {
            let by = Initiator::Operator;
            next.standing(plan.facts(), &settings(), by).unwrap().guards == [Guard::ServerBusy]
        };
        wait_until(ms(5000), "the attempt has begun", || is_busy(&mut next));
        let refused = attempt(&mut next, &plan, Initiator::Operator, &mut |_| {}).unwrap_err();
        assert!(is_refused(&refused, &Guard::ServerBusy), "two at once: {refused:?}");
        fs::write(hold, "").unwrap();
        wait_until(ms(10_000), "the process has ended", || !parent.is_alive());
        wait_until(ms(10_000), "its child has ended", || !is_busy(&mut next));
        let standing = next.standing(plan.facts(), &settings(), Initiator::Daemon).unwrap();
        assert!(standing.guards.contains(&Guard::GaveUp), "{standing:?}");
        assert!(standing.made.contains(&StepKind::Detach), "{standing:?}");
        let refused = attempt(&mut next, &plan, Initiator::Daemon, &mut |_| {}).unwrap_err();
        assert!(is_refused(&refused, &Guard::MadeBefore), "{refused:?}");
        let _ = parent.try_signal(Signal::SIGKILL);
    });
}

#[test]
fn more_servers_than_places_wait() {
    run_isolated(|lab| {
        let Some(dead) = prepare(lab, FAILS) else { return };
        let plan = plan_of(&dead);
        let mut others: Vec<Remedies> = (0..MAX_RUNNING).map(|_| remedies(lab)).collect();
        let begin = |(n, other): (usize, &mut Remedies)| {
            other
                .begin(Arc::clone(&dead), n.to_string().as_bytes(), MAX_RUNNING)
                .map(std::mem::forget)
                .unwrap();
        };
        others.iter_mut().enumerate().for_each(begin);
        let refused = attempt(&mut remedies(lab), &plan, Initiator::Operator, &mut |_| {}).unwrap_err();
        assert!(is_refused(&refused, &Guard::MachineBusy { running: MAX_RUNNING }), "{refused:?}");
        assert!(exists(dead.key));
    });
}

/// The plan is older than the line of fstab.
#[test]
fn edited_fstab_mounts_something_else_and_nothing_is_removed() {
    run_isolated(|lab| {
        let Some(dead) = prepare(lab, SERVE) else { return };
        let plan = plan_of(&dead);
        let before = fs::read_to_string("/etc/fstab").unwrap();
        fs::write("/etc/fstab", before.replace("nowhere:/x", "elsewhere:/y")).unwrap();
        let mut outcomes = Vec::new();
        let end = attempt(&mut remedies(lab), &plan, Initiator::Daemon, &mut |event| {
            if let AttemptEvent::Ended(report) = event {
                outcomes.push(report.outcome.clone());
            }
        });
        assert_eq!(end.unwrap().outcome, Outcome::Failed);
        let other = NotVerified::OtherSource("elsewhere:/y".into());
        assert_eq!(outcomes, [StepOutcome::NotVerified(other)]);
        assert!(exists(dead.key));
        let inside = directory(lab);
        let table = MountTable::read().unwrap();
        assert!(!table.iter().any(|mount| mount.mountpoint.starts_with(&inside)), "what was mounted is gone");
    });
}

#[test]
fn file_that_cannot_be_read_forbids_everything() {
    run_isolated(|lab| {
        let Some(dead) = prepare(lab, SERVE) else { return };
        let mut remedies = remedies(lab);
        let file = directory(lab).join("attempts.json");
        fs::write(&file, "{").unwrap();
        let error = attempt(&mut remedies, &plan_of(&dead), Initiator::Operator, &mut |_| {}).unwrap_err();
        let BeginError::Io(error) = error else { panic!("{error:?}") };
        assert!(error.to_string().contains("remove it"), "{error}");
        assert!(exists(dead.key));
        fs::remove_file(file).unwrap();
        attempt(&mut remedies, &plan_of(&dead), Initiator::Operator, &mut |_| {}).unwrap();
    });
}

/// It responds at the private place, and hangs when it has moved in.
#[test]
fn last_probe_that_hangs_ends_soon() {
    run_isolated_for(Duration::from_secs(60), |lab| {
        let Some(dead) = prepare(lab, SERVE) else { return };
        let is_server = |process: &Process| {
            let name = fs::read_to_string(format!("/proc/{}/comm", process.0)).unwrap_or_default();
            name.trim_end() == "faultfs"
        };
        let servers = || Process(1).descendants().into_iter().filter(is_server);
        let mut last = None;
        let end = attempt(&mut remedies(lab), &plan_of(&dead), Initiator::Daemon, &mut |event| match event {
            AttemptEvent::Begins(StepKind::Verify) => {
                servers().for_each(|server| server.send_signal(Signal::SIGSTOP));
            }
            AttemptEvent::Ended(report) => last = Some(report.outcome.clone()),
            _ => {}
        });
        servers().for_each(|server| server.send_signal(Signal::SIGCONT));
        assert_eq!(end.unwrap().outcome, Outcome::Failed);
        assert!(matches!(last, Some(StepOutcome::NotVerified(NotVerified::NoResponse(_)))), "{last:?}");
        assert!(!exists(dead.key) && mount_at(&dead.mountpoint).key != dead.key, "the path is covered");
    });
}
