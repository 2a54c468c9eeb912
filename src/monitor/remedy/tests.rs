//! Plans for each state, and each guard alone.

use super::testing::{KEY, facts, of_mount, plan_for, settings};
use super::*;
use crate::monitor::{Reason, testing};
use platform::{Mount, MountKey};
use std::sync::Arc;
use std::time::Duration;

fn words(plan: &Plan) -> String {
    plan.allowed_steps().iter().map(|step| step.kind.as_str()).collect::<Vec<_>>().join(" ")
}

fn steps_of(facts: RemedyFacts, settings: &RemedySettings) -> String {
    words(&plan_for(facts, settings))
}

fn with_steps(steps: &[StepKind], allow: &[Consent]) -> RemedySettings {
    RemedySettings { steps: steps.to_vec(), allow: allow.to_vec(), ..settings() }
}

#[test]
fn each_state_has_its_ladder() {
    let all = with_steps(STEP_WORDS, &[]);
    let silent = |allow: &[Consent]| with_steps(STEP_WORDS, allow);
    for (situation, settings, expected) in [
        (Situation::NotDead, settings(), ""),
        (Situation::Other, all.clone(), ""),
        (Situation::Stale, settings(), "mount_privately move_beneath detach verify"),
        (Situation::Stale, all.clone(), "mount_privately move_beneath detach verify"),
        (Situation::FuseServerGone, settings(), "mount_privately move_beneath detach verify"),
        (Situation::FuseHung, settings(), "mount_privately move_beneath abort unmount detach verify"),
        (Situation::ServerAnswers, settings(), "mount_privately move_beneath unmount detach verify"),
        (
            Situation::ServerAnswers,
            all.clone(),
            "mount_privately move_beneath unmount force detach shutdown verify",
        ),
        (Situation::ServerSilent, all.clone(), ""),
        (Situation::ServerSilent, silent(&[Consent::SilentServer]), ""),
        (
            Situation::ServerSilent,
            silent(&[Consent::SilentServer, Consent::NotMountedAgain]),
            "placeholder move_beneath unmount force detach shutdown",
        ),
        (Situation::CephEvicted, all.clone(), ""),
        (
            Situation::CephEvicted,
            with_steps(&RemedySettings::STEPS, &[Consent::Evicted]),
            "mount_privately move_beneath unmount detach verify",
        ),
    ] {
        assert_eq!(steps_of(facts(situation), &settings), expected, "{situation:?} {settings:?}");
    }
}

#[test]
fn smb_is_never_forced() {
    let mount = Mount { fstype: "cifs".into(), device: "//nas/x".into(), ..testing::mount(KEY, "/srv/nas") };
    let facts = of_mount(mount, Situation::ServerAnswers);
    let all = with_steps(STEP_WORDS, &[]);
    assert_eq!(steps_of(facts, &all), "mount_privately move_beneath unmount detach verify");
}

#[test]
fn silent_server_may_show_as_hung_or_as_an_error() {
    let confirmed = |situation, reason| {
        let confirmation = Confirmation::Dead { reason, prober_ended: true };
        !plan_for(RemedyFacts { confirmation, ..facts(situation) }, &settings()).is_refused()
    };
    assert!(confirmed(ANSWERS, Reason::IoError) && confirmed(ANSWERS, Reason::Unreachable));
    assert!(!confirmed(ANSWERS, Reason::Stale) && !confirmed(STALE, Reason::IoError));
    assert!(!confirmed(HUNG, Reason::Disconnected));
}

#[test]
fn stopped_fuse_server_is_only_continued_and_aborted_next_time() {
    let stopped =
        RemedyFacts { fuse_server: Ok(FuseServer::Stopped { pid: 7 }), ..facts(Situation::FuseHung) };
    let all = with_steps(STEP_WORDS, &[]);
    assert_eq!(steps_of(stopped.clone(), &all), "resume verify");
    let made = Standing { made: vec![StepKind::Resume, StepKind::Verify], ..Standing::default() };
    let next = plan(Arc::new(stopped.clone()), &all, &made);
    assert_eq!(words(&next), "mount_privately move_beneath abort unmount detach verify");
    // Without permission it is left stopped.
    assert_eq!(steps_of(stopped, &settings()), "mount_privately move_beneath abort unmount detach verify");
}

/// Without `MOVE_MOUNT_BENEATH`.
#[test]
fn old_kernel_detaches_and_moves_in_at_once() {
    let old = |situation| {
        let kernel = Kernel { moves_beneath: false, ..facts(situation).kernel };
        RemedyFacts { kernel, ..facts(situation) }
    };
    assert_eq!(steps_of(old(Situation::Stale), &settings()), "mount_privately replace verify");
    let plan = plan_for(old(Situation::ServerAnswers), &settings());
    assert_eq!(words(&plan), "mount_privately unmount replace move_in verify");
    assert!(plan.steps()[1].harms.contains(&Harm::PathIsOpen), "{plan:?}");
    let new = plan_for(facts(Situation::ServerAnswers), &settings());
    assert!(!new.steps().iter().any(|step| step.harms.contains(&Harm::PathIsOpen)), "{new:?}");
}

#[test]
fn origin_decides_how_it_is_mounted_again() {
    let hung = || facts(Situation::FuseHung);
    let service = Origin::Service { name: "sshfs.service".into() };
    let autofs = Origin::Autofs { trigger: "/net".into() };
    let no_systemd = Machine { has_systemd: false, ..hung().machine };
    let unit = RemedySettings { remount: Remount::Unit("a.service".into()), ..settings() };
    let without = RemedySettings { remount: Remount::No, ..settings() };
    let consents = RemedySettings { allow: vec![Consent::NotMountedAgain], ..without.clone() };
    let by_unit = "placeholder move_beneath abort unmount detach mount_again verify";
    for (facts, settings, expected) in [
        (RemedyFacts { origin: service, ..hung() }, settings(), by_unit),
        (RemedyFacts { origin: Origin::Unknown, ..hung() }, unit, by_unit),
        (RemedyFacts { origin: autofs, ..hung() }, settings(), "abort unmount detach"),
        (RemedyFacts { origin: Origin::Unknown, ..hung() }, settings(), ""),
        (hung(), without, ""),
        (hung(), consents, "placeholder move_beneath abort unmount detach"),
        (RemedyFacts { machine: no_systemd, ..hung() }, settings(), ""),
    ] {
        let plan = plan_for(facts, &settings);
        assert_eq!(words(&plan), expected, "{:?} {settings:?}", plan.mount_again());
    }
    let again = |situation| plan_for(facts(situation), &settings()).mount_again().clone();
    assert_eq!(again(Situation::Stale), MountAgain::Privately { fresh_superblock: true });
    assert_eq!(again(Situation::FuseHung), MountAgain::Privately { fresh_superblock: false });
}

/// A change of the facts, the guard that it must trip, and the steps that remain.
struct Case {
    situation: Situation,
    change: fn(&mut RemedyFacts),
    guard: &'static str,
    left: &'static str,
}

const fn case(
    situation: Situation,
    guard: &'static str,
    left: &'static str,
    change: fn(&mut RemedyFacts),
) -> Case {
    Case { situation, change, guard, left }
}

fn at(path: &str, facts: &mut RemedyFacts) {
    facts.mount = Arc::new(Mount { mountpoint: path.into(), ..Mount::clone(&facts.mount) });
}

fn copy(is_propagated: bool, has_mounts_below: bool, in_container: bool) -> MountCopy {
    let (process, mountpoint) = ("sh[5]".into(), "/a".into());
    MountCopy { namespace: 7, process, mountpoint, is_propagated, has_mounts_below, in_container }
}

fn set_machine(facts: &mut RemedyFacts, change: fn(&mut Machine)) {
    change(&mut facts.machine);
}

const STALE: Situation = Situation::Stale;
const HUNG: Situation = Situation::FuseHung;
const ANSWERS: Situation = Situation::ServerAnswers;

fn identity_and_time() -> Vec<Case> {
    vec![
        case(STALE, "no_unique_ids", "", |it| it.kernel.has_unique_ids = false),
        case(STALE, "replaced", "", |it| it.death.as_mut().unwrap().key = MountKey(9)),
        case(ANSWERS, "too_soon", "", |it| it.death.as_mut().unwrap().lasted -= Duration::from_millis(1)),
        case(STALE, "may_be_failover", "", |it| {
            it.death.as_mut().unwrap().stale_for -= Duration::from_millis(1);
        }),
        case(ANSWERS, "not_confirmed", "", |it| it.confirmation = Confirmation::None),
        case(STALE, "recovered", "", |it| it.confirmation = Confirmation::Responds),
        case(STALE, "other_fault", "", |it| {
            it.confirmation = Confirmation::Dead { reason: Reason::Hung, prober_ended: true };
        }),
        case(ANSWERS, "prober_alive", "mount_privately move_beneath detach verify", |it| {
            it.confirmation = Confirmation::Dead { reason: Reason::Hung, prober_ended: false };
        }),
        case(ANSWERS, "shutting_down", "", |it| set_machine(it, |machine| machine.is_shutting_down = true)),
        case(ANSWERS, "just_started", "", |it| {
            set_machine(it, |machine| machine.uptime = Duration::from_secs(299));
        }),
        case(ANSWERS, "just_resumed", "", |it| {
            set_machine(it, |machine| machine.resumed = Some(Duration::from_secs(299)));
        }),
        case(HUNG, "foreign_namespace", "abort", |it| {
            set_machine(it, |machine| machine.is_foreign_namespace = true);
        }),
    ]
}

fn places() -> Vec<Case> {
    let mut cases = vec![
        case(STALE, "kept_path", "", |it| {
            it.kept.push(KeptPath { what: "the program", path: "/srv/nas/bin/x".into() });
        }),
        case(STALE, "mounts_below", "", |it| {
            it.below.push(Below { mountpoint: "/srv/nas/a".into(), kind: BelowKind::Other });
        }),
        case(STALE, "autofs_below", "", |it| {
            it.below.push(Below { mountpoint: "/srv/nas/a".into(), kind: BelowKind::AutofsTrigger });
        }),
        case(STALE, "dead_ancestor", "", |it| {
            it.ancestors.push(Ancestor { mountpoint: "/srv".into(), is_dead: true });
        }),
    ];
    let paths: [fn(&mut RemedyFacts); 8] = [
        |it| at("/", it),
        |it| at("/usr", it),
        |it| at("/usr/lib/x", it),
        |it| at("/var", it),
        |it| at("/var/lib", it),
        |it| at("/root", it),
        |it| at("/etc", it),
        |it| at("/run", it),
    ];
    cases.extend(paths.map(|change| case(STALE, "system_path", "", change)));
    cases
}

fn surroundings() -> Vec<Case> {
    vec![
        case(STALE, "healthy_sibling", "", |it| {
            it.siblings.push(Sibling { mountpoint: "/b".into(), health: SiblingHealth::Responds });
        }),
        case(HUNG, "unknown_sibling", "mount_privately move_beneath unmount detach verify", |it| {
            it.siblings.push(Sibling { mountpoint: "/b".into(), health: SiblingHealth::Unknown });
        }),
        case(HUNG, "other_user", "abort", |it| {
            it.mount = Arc::new(Mount { connection_owner: Some((1000, 1000)), ..Mount::clone(&it.mount) });
        }),
        case(ANSWERS, "stacked", "mount_privately move_beneath unmount verify", |it| {
            it.stacked = Ok(vec!["loop0".into()]);
        }),
        case(STALE, "stacked_unknown", "mount_privately move_beneath unmount verify", |it| {
            it.stacked = Err("no".into());
        }),
        case(STALE, "copy_in_use", "", |it| it.copies = Ok(vec![copy(true, true, false)])),
        case(STALE, "copy_in_use", "", |it| it.copies = Ok(vec![copy(true, false, true)])),
        // It stays dead in the container, but an abort would reach it.
        case(HUNG, "copy_in_use", "mount_privately move_beneath unmount detach verify", |it| {
            it.copies = Ok(vec![copy(false, false, true)]);
        }),
        case(STALE, "copies_unknown", "", |it| it.copies = Err("no".into())),
        case(STALE, "units_active", "", |it| {
            it.bound_units = Ok(vec![Unit { name: "db.service".into(), is_active: true }]);
        }),
        case(STALE, "units_unknown", "", |it| it.bound_units = Err("no".into())),
        case(STALE, "cannot_mount_again", "", |it| it.origin = Origin::Unknown),
        case(Situation::FuseServerGone, "fuse_server_unknown", "", |it| it.fuse_server = Err("no".into())),
        case(Situation::FuseServerGone, "no_remedy", "", |it| {
            it.fuse_server = Ok(FuseServer::Running { pid: 7 });
        }),
        case(ANSWERS, "server_silent", "", |it| it.server.answers = Err("no".into())),
        case(ANSWERS, "ceph_recovers", "", |it| {
            it.mount = Arc::new(Mount { fstype: "ceph".into(), ..Mount::clone(&it.mount) });
            it.death.as_mut().unwrap().errno = Some(platform::Errno::EACCES);
        }),
    ]
}

#[test]
fn each_guard_forbids_alone() {
    for Case { situation, change, guard, left } in
        identity_and_time().into_iter().chain(places()).chain(surroundings())
    {
        let before = plan_for(facts(situation), &settings());
        assert!(!before.is_refused() && !before.allowed_steps().is_empty(), "{situation:?}");
        let mut changed = facts(situation);
        change(&mut changed);
        let after = plan_for(changed, &settings());
        let tripped: Vec<&str> = after.refusals().iter().map(|refusal| refusal.guard.as_str()).collect();
        assert!(tripped.contains(&guard), "{guard} was not tripped: {tripped:?}");
        assert!(before.refusals().iter().all(|refusal| refusal.guard.as_str() != guard), "{guard}");
        assert_eq!(words(&after), left, "{guard}");
        assert_eq!(after.is_refused(), left.is_empty(), "{guard}");
    }
}

#[test]
fn plan_waits_if_only_time_is_in_its_way() {
    let waits = |change: fn(&mut RemedyFacts)| {
        let mut it = facts(STALE);
        change(&mut it);
        plan_for(it, &settings()).waits()
    };
    assert!(waits(|it| it.death.as_mut().unwrap().lasted = Duration::ZERO));
    assert!(waits(|it| it.machine.uptime = Duration::ZERO));
    assert!(!waits(|_| {}), "it is not refused");
    assert!(!waits(|it| at("/usr", it)));
    assert!(!waits(|it| it.origin = Origin::Unknown), "no step is left");
    assert!(!waits(|it| {
        it.machine.uptime = Duration::ZERO;
        it.machine.is_shutting_down = true;
    }));
}

#[test]
fn document_has_every_guard_step_and_consent() {
    let document = include_str!("../../../docs/remedies.md");
    let cases = identity_and_time().into_iter().chain(places()).chain(surroundings());
    let of_attempts = [
        "server_busy",
        "machine_busy",
        "stranded",
        "attempts_spent",
        "machine_spent",
        "gave_up",
        "wrong_hit",
        "made_before",
        "not_in_rule",
        "shutdown_is_shared",
    ];
    let no_guards = ["no_remedy", "server_silent", "ceph_recovers"]; // they are in the table of decisions
    let guards = cases.map(|case| case.guard).filter(|guard| !no_guards.contains(guard)).chain(of_attempts);
    let steps = STEP_WORDS.iter().map(|step| step.as_str());
    let consents = ["silent_server", "not_mounted_again", "copies", "units", "evicted"];
    for name in guards.chain(steps).chain(consents) {
        assert!(document.contains(&format!("`{name}`")), "{name} is not in docs/remedies.md");
    }
}

#[test]
fn consent_lifts_its_guard_alone() {
    let units = vec![Unit { name: "db.service".into(), is_active: true }];
    let bound = RemedyFacts { bound_units: Ok(units), ..facts(STALE) };
    let copied = RemedyFacts { copies: Ok(vec![copy(true, true, true)]), ..facts(STALE) };
    let detached = "mount_privately move_beneath detach verify";
    for (facts, consent, expected) in [
        (bound.clone(), Consent::Units, detached),
        (bound, Consent::Copies, ""),
        (copied.clone(), Consent::Copies, detached),
        (copied, Consent::Units, ""),
    ] {
        assert_eq!(steps_of(facts, &with_steps(&RemedySettings::STEPS, &[consent])), expected, "{consent:?}");
    }
}

#[test]
fn harmless_surroundings_are_no_guards() {
    let child = Below { mountpoint: "/srv/nas/a".into(), kind: BelowKind::SameServer };
    let dead = Sibling { mountpoint: "/b".into(), health: SiblingHealth::Dead };
    let unit = Unit { name: "db.service".into(), is_active: false };
    let copies = vec![copy(true, false, false), copy(false, true, false)];
    let plan = plan_for(
        RemedyFacts {
            below: vec![child],
            siblings: vec![dead],
            copies: Ok(copies.clone()),
            bound_units: Ok(vec![unit]),
            ..facts(STALE)
        },
        &settings(),
    );
    assert_eq!(words(&plan), "mount_privately move_beneath detach verify");
    let expected = [
        Harm::UsersKeepIt,
        Harm::CopiesGo(copies[..1].to_vec()),
        Harm::CopiesStay(copies[1..].to_vec()),
        Harm::SiblingsStay(vec!["/b".into()]),
        Harm::ChildrenGo(vec!["/srv/nas/a".into()]),
    ];
    assert_eq!(plan.steps()[2].harms, expected);
}

#[test]
fn shutdown_of_a_whole_server_needs_that_it_has_no_other_mount() {
    let all = with_steps(STEP_WORDS, &[]);
    let shared = |others: &[&str], alone| {
        let mut it = facts(ANSWERS);
        it.server.others = others.iter().map(Into::into).collect();
        it.kernel.shuts_down_one_superblock = alone;
        steps_of(it, &all).contains("shutdown")
    };
    assert!(shared(&["/b"], true) && shared(&[], false));
    assert!(!shared(&["/b"], false));
}

#[test]
fn other_namespace_is_only_unmounted() {
    let mut it = facts(HUNG);
    it.machine.is_foreign_namespace = true;
    let consents = with_steps(STEP_WORDS, &[Consent::NotMountedAgain]);
    assert_eq!(steps_of(it, &consents), "abort unmount");
}

#[test]
fn what_was_made_is_not_made_again() {
    let all = with_steps(STEP_WORDS, &[]);
    let next = |made: &[StepKind]| {
        let standing = Standing { made: made.to_vec(), ..Standing::default() };
        words(&plan(Arc::new(facts(ANSWERS)), &all, &standing))
    };
    use StepKind::{Detach, Force, Replace, ShutDown, Unmount};
    assert_eq!(next(&[Unmount]), "mount_privately move_beneath unmount force detach shutdown verify");
    assert_eq!(next(&[Force]), "mount_privately move_beneath unmount detach shutdown verify");
    assert_eq!(next(&[Replace]), "mount_privately move_beneath unmount force shutdown verify");
    assert_eq!(next(&[Force, Detach, ShutDown]), "mount_privately move_beneath unmount verify");
}
